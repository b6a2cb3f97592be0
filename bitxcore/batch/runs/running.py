"""A batch from its plan to its store, which goes on where an earlier run of it ended."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from bitxcore.batch.runs.assembling import DumpParts, write_own_store, write_store
from bitxcore.batch.runs.clock import Clock
from bitxcore.batch.runs.events import Tell
from bitxcore.batch.runs.executing import TRIES, Outcome, Workers, execute, local_workers
from bitxcore.batch.runs.finished import Finished, Written, is_intact, own_key
from bitxcore.batch.runs.inputs import is_dump_name
from bitxcore.batch.runs.keys import Digests, Stamp, code_hash, key_of
from bitxcore.batch.runs.parts import BatchFailure, BatchPart, from_bytes, to_bytes
from bitxcore.batch.runs.places import Places
from bitxcore.batch.runs.planning import BatchPlan, PlannedDump
from bitxcore.batch.runs.results import BatchReport, DumpDone
from bitxcore.batch.runs.spool import Spool
from bitxcore.batch.runs.timings import UnitTiming, write_timings
from bitxcore.batch.runs.units import Action, BatchJob, FullDiskError, raise_if_full, reason_of, run_job
from bitxcore.errors import BitxError

DIED = (
    f"the process that worked on it died {TRIES} times, the last time with nothing beside it"
    " (killed, or out of memory)"
)


def run_batch(
    action: Action,
    plan: BatchPlan,
    places: Places,
    *,
    workers: Workers | None = None,
    jobs: int | None = None,
    wait: bool = False,
    keep_parts: bool = False,
    parameters: Mapping[str, Any] | None = None,
    tell: Tell = lambda event, facts: None,
) -> BatchReport:
    """Do all units of a plan that have not been done, and write the store.

    Finished units are files beside the output. A run that was killed at any moment, or that found the disk
    full, goes on there when it is started again; its store then equals that of a run that was not disturbed,
    but for the time of its making.

    Parameters
    ----------
    action : Action
    plan : BatchPlan
        As of `plan_batch`.
    places : Places
    workers : Workers, optional
        Who does the units; by default processes of this machine.
    jobs : int, optional
        How many of these (default: one per core, but no more than there are units).
    wait : bool
        Whether to wait for another run on the same output to end.
    keep_parts : bool
        Whether finished units stay on the disk when all is done.
    parameters : mapping, optional
        To record in the store's provenance.
    tell : callable
        Called with every event.

    Returns
    -------
    BatchReport

    Raises
    ------
    BitxError
        If another run is at work on the output, or the output can't be written.
    FullDiskError
        If the disk is full; what was finished is kept.
    """
    places.check(plan, action.files())
    workers = workers or local_workers(jobs, plan.units)
    action = action.among(workers.size)
    with Spool(places.output, wait=wait) as spool:
        run = _Run(action, plan, places, spool, dict(parameters or {}), tell)
        try:
            found = run.whole(workers, keep_parts=keep_parts)
        except (BitxError, OSError) as error:
            found_full = _full_disk(error)
            with suppress(BitxError):  # the log may be on the disk that is full
                run.tell_end(reason_of(found_full or error, ""))
            if found_full is not None and found_full is not error:
                raise found_full from error
            raise
        run.tell_end()
        return found


class _Run:
    """One run of a batch, whose output is locked."""

    def __init__(
        self,
        action: Action,
        plan: BatchPlan,
        places: Places,
        spool: Spool,
        parameters: dict[str, Any],
        tell: Tell,
    ) -> None:
        self._action, self._plan, self._places, self._spool = action, plan, places, spool
        self._tell = tell
        self._clock = Clock()
        self._digests = Digests()
        self._document = action.document(self._digests)
        self._parameters = parameters | {"batch": self._document}
        self._code = code_hash(action.packages)
        self._sha: dict[int, str | None] = {}
        self._stamps: dict[int, tuple[Stamp, ...]] = {}
        self._keys: dict[int, tuple[str, ...]] = {}
        self._lost: dict[int, BatchFailure] = {}  # dumps that can't be read
        self._where: dict[str, tuple[int, int]] = {}  # of each key: dump and unit
        self._failures: dict[str, list[BatchFailure]] = {}
        self._timings: dict[str, tuple[bool, dict[str, float]]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._written: dict[str, Written] = {}
        self._intact: dict[int, Written] = {}  # dumps whose own results are there: no part is needed

    def whole(self, workers: Workers, *, keep_parts: bool) -> BatchReport:
        """Do what is to be done."""
        if self._is_complete():
            if not keep_parts:  # a run may have been killed while it removed them
                self._spool.remove()
            return BatchReport((), True, {}, None)
        plan = self._plan
        facts = {"action": self._action.name, "output": str(self._places.output), "units": plan.units}
        facts |= {"dumps": len(plan.dumps), "values": plan.values, "bytes": plan.nbytes}
        self._tell("start", {**facts, "workers": workers.size, "tensors": plan.tensors})
        for outcome in execute(run_job, self._jobs(), workers, self._begun):
            self._keep(outcome)
        found = [self._of_dump(index) for index in range(len(plan.dumps))]
        write_timings(self._places.output, self._timed(), self._stages())
        with self._clock.stage("store"):
            self._write([done.dump for done in found])
        stages = self._stages()
        failed = sum(done.status == "failed" for done in found)
        keeps = keep_parts or failed > 0
        if not keeps:
            self._spool.remove()
        return BatchReport(tuple(found), False, stages, self._spool.folder if keeps else None)

    def tell_end(self, error: str | None = None) -> None:
        """Tell how much was done, and what ended the run before all was."""
        failed = sum(bool(failures) for failures in self._failures.values()) + len(self._lost)
        reused = sum(was for was, _ in self._timings.values())
        done = len(self._timings) - reused
        why = {} if error is None else {"error": error}
        self._tell("end", {"units_done": done, "units_reused": reused, "failed": failed, **why})

    # -- before ----------------------------------------------------------------------------------

    def _hash(self, index: int) -> None:
        """Find the content of a dump, and the keys of its units."""
        if index in self._keys:
            return
        dump = self._plan.dumps[index]
        self._keys[index], self._sha[index] = (), None
        if dump.reason is not None:
            self._lost[index] = BatchFailure(dump.tensor, dump.reason)
            return
        try:
            with self._clock.stage("hash"):
                self._sha[index], self._stamps[index] = self._digests.of(dump.files)
        except BitxError as error:
            self._lost[index] = BatchFailure(None, reason_of(error, str(dump.path)))
            return
        self._keys[index] = tuple(key_of(self._facts(index, names)) for names in dump.units)

    def _facts(self, index: int, names: tuple[str, ...] | None) -> dict[str, Any]:
        """All that the results of a unit depend on."""
        dump = self._plan.dumps[index]
        return {
            "dump": self._sha[index],
            "suffix": dump.path.suffix.lower(),  # which says how it is read
            "listing": dump.listing,  # some containers name tensors after files
            "tensors": names,
            "action": self._document,
            "code": self._code,
            "path": str(dump.path) if self._action.by_path else None,
            "out": None if dump.out is None else str(self._out(dump)),
        }

    def _is_complete(self) -> bool:
        """Whether the output is what this batch would write, with nothing failed."""
        before = Finished.at(self._places.output)
        if before is None:
            return False
        for index in range(len(self._plan.dumps)):
            self._hash(index)
        if self._lost or before.key != self._key():
            return False
        each = self._places.each
        if each is None:
            return before.whole
        with self._clock.stage("check"):
            for index, (dump, made) in enumerate(zip(self._plan.dumps, before.written, strict=True)):
                if made is not None and is_intact(each, dump, self._keys[index], made, self._digests):
                    self._intact[index] = made
        return len(self._intact) == len(self._plan.dumps)

    def _key(self) -> str:
        """Digest of all that the store depends on."""
        dumps = [
            {"path": str(dump.path), "keys": self._keys[index], "store": dump.store, "out": dump.out}
            for index, dump in enumerate(self._plan.dumps)
        ]
        return key_of({"dumps": dumps, "parameters": _text(self._parameters)})

    # -- units -----------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[BatchJob]:
        """Go through all units, and give those that have not been done."""
        for index, dump in enumerate(self._plan.dumps):
            self._hash(index)
            if (lost := self._lost.get(index)) is not None:
                self._tell("failed", {"dump": str(dump.path), **lost._asdict()})
                continue
            if index in self._intact:
                facts = {"dump": str(dump.path), "unit": 0, "of": 1, "seconds": {}}
                self._tell("reused", {**facts, "values": dump.values, "bytes": dump.nbytes})
                continue
            for unit, (key, names) in enumerate(zip(self._keys[index], dump.units, strict=True)):
                if key in self._where:
                    continue  # the same content under another name
                self._where[key] = index, unit
                if self._is_there(key, dump):
                    continue
                self._spool.drop(key)
                stamps = self._stamps[index]
                scratch = str(self._spool.scratch(key).absolute())
                out = None if dump.out is None else self._room_for(key, self._out(dump))
                yield BatchJob(key, self._action, str(dump.path), names, stamps, scratch, out)

    def _room_for(self, key: str, out: Path) -> str:
        """Make a place for the dump that a unit writes."""
        out.parent.mkdir(parents=True, exist_ok=True)
        if not is_dump_name(out):  # a folder
            self._spool.claim(key, out)
        return str(out)

    def _out(self, dump: PlannedDump) -> Path:
        assert self._places.each is not None
        assert dump.out is not None
        return Path(os.path.abspath(self._places.each / dump.out))

    def _is_there(self, key: str, dump: PlannedDump) -> bool:
        """Whether a unit has been done, and all that it has written is still there."""
        with self._clock.stage("check"):
            data = self._spool.read(key)
            if data is None:
                return False
            part = from_bytes(data)
            if part.failures:
                return False
            if dump.out is not None:
                out = self._out(dump)
                try:
                    if self._digests.of_path(out) != part.written.get(out.name):
                        return False
                except (BitxError, OSError):
                    return False
        self._note(key, part, reused=True)
        self._tell("reused", self._told(key, part))
        return True

    def _begun(self, job: BatchJob) -> None:
        dump, unit = self._where[job.key]
        self._tell("begun", {"dump": job.path, "unit": unit, "of": len(self._keys[dump])})

    def _keep(self, outcome: Outcome[bytes]) -> None:
        """Keep what a unit gave."""
        job: BatchJob = outcome.job
        if outcome.deaths:
            self._tell("died", {"dump": job.path, "unit": self._where[job.key][1], "times": outcome.deaths})
        data = outcome.data or to_bytes(BatchPart(failures=[BatchFailure(None, DIED)]))
        start = perf_counter()
        self._spool.write(job.key, data)
        self._spool.clear_scratch(job.key)
        part = from_bytes(data)
        part.seconds["keep"] = perf_counter() - start
        self._note(job.key, part, reused=False)
        told = self._told(job.key, part)
        if part.failures:
            for failure in part.failures:
                self._tell("failed", told | failure._asdict())
        else:
            self._tell("done", told)

    def _note(self, key: str, part: BatchPart, *, reused: bool) -> None:
        self._timings[key] = reused, part.seconds
        self._failures[key] = part.failures
        self._sizes[key] = part.values, part.nbytes
        dump = self._plan.dumps[self._where[key][0]]
        if dump.out is not None and part.written:
            self._written[key] = Written(part.written[self._out(dump).name], part.written_bytes)

    def _told(self, key: str, part: BatchPart) -> dict[str, Any]:
        dump, unit = self._where[key]
        facts = {"dump": str(self._plan.dumps[dump].path), "unit": unit, "of": len(self._keys[dump])}
        return {**facts, "values": part.values, "bytes": part.nbytes, "seconds": part.seconds}

    # -- after -----------------------------------------------------------------------------------

    def _of_dump(self, index: int) -> DumpDone:
        dump, keys = self._plan.dumps[index], self._keys[index]
        lost = self._lost.get(index)
        intact = self._intact.get(index)
        done = () if intact else keys
        failures = [lost] if lost else [each for key in done for each in self._failures[key]]
        made = intact or next((self._written[key] for key in done if key in self._written), Written())
        found = DumpParts(
            path=str(dump.path),
            files=dump.files,
            sha256=self._sha[index],
            keys=keys,
            failures=tuple(failures),
            tensors=dump.tensors,
            values=dump.values,
            nbytes=dump.nbytes,
            store=dump.store,
            out=dump.out,
            out_sha256=made.sha256,
            out_bytes=made.nbytes,
        )
        seconds = sum(sum(self._timings[key][1].values()) for key in done)
        own = [key for key in done if self._where[key][0] == index]
        reused = bool(keys) and all(self._timings[key][0] for key in own)
        return DumpDone(found, reused, seconds)

    def _write(self, dumps: list[DumpParts]) -> None:
        """Write the stores."""
        places, files = self._places, self._action.files()
        parameters = self._parameters | {"key": self._key()}
        if places.each is not None:
            for index, dump in enumerate(dumps):
                if dump.store is not None and dump.keys and index not in self._intact:
                    own = self._parameters | {"key": own_key(dump.keys)}
                    write_own_store(places.each / dump.store, dump, self._spool, own, files)
        write_store(places.output, dumps, self._spool, parameters, files, results=places.each is None)
        self._tell("store", {"path": str(places.output), "dumps": len(dumps)})

    def _timed(self) -> list[UnitTiming]:
        """Seconds of each unit, in order."""
        return [
            UnitTiming(str(self._plan.dumps[dump].path), unit, *self._timings[key])
            for key, (dump, unit) in sorted(self._where.items(), key=lambda item: item[1])
        ]

    def _stages(self) -> dict[str, float]:
        """Seconds of this run by stage, summed over the units that it did."""
        stages: dict[str, float] = {}
        for reused, seconds in self._timings.values():
            for name, value in seconds.items() if not reused else ():
                stages[name] = stages.get(name, 0.0) + value
        return stages | self._clock.seconds


def _full_disk(error: Exception) -> FullDiskError | None:
    """Return the error of a full disk, if that is what lies behind an error."""
    try:
        raise_if_full(error)
    except FullDiskError as full:
        return error if isinstance(error, FullDiskError) else full
    return error if isinstance(error, FullDiskError) else None


def _text(value: Any) -> Any:
    """Reduce parameters to JSON's types, for a digest."""
    if isinstance(value, Mapping):
        return {str(key): _text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
