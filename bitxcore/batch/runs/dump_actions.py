"""Inspecting and pruning in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from bitxcore.batch.inspect_dumps import inspect_dump
from bitxcore.batch.piecewise import DEFAULT_GROUP
from bitxcore.batch.prune_dumps import check_policy, prune_dump
from bitxcore.batch.pruned_rows import PrunedTensor
from bitxcore.batch.row_errors import MOST_VALUES
from bitxcore.batch.runs.clock import Clock
from bitxcore.batch.runs.keys import Digests
from bitxcore.batch.runs.needs import MemoryNeed, need_of
from bitxcore.batch.runs.parts import BatchFailure, BatchPart, PartWriter
from bitxcore.batch.runs.tolerant import TolerantDump
from bitxcore.batch.runs.units import Action, BatchJob, raise_if_full, reason_of
from bitxcore.batch.selection import Chosen, Selection
from bitxcore.batch.storing import pruned_arrays, write_inspected, write_pruned
from bitxcore.dumps import Dump, Tensor, open_dump
from bitxcore.dumps.shards import INDEX_SUFFIX
from bitxcore.errors import BitxError
from bitxcore.files import together
from bitxcore.policy import load_policy
from bitxcore.remote.remote_path import as_path

MEMORY = "memory_bytes"
"""Option of memory for the work on one tensor, on which no result depends; where the functions take it."""

_SAMPLE_BYTES = 64
"""Of a value of the sample that errors are computed from."""

_MASK_BYTES = 3 * 11
"""Of a group whose row mask, exponent and kept rows are kept: as arrays, and twice as a part's bytes."""


@dataclass(frozen=True)
class _OfTensors(Action):
    """What works on a dump tensor by tensor."""

    selection: Selection = field(default_factory=Selection)
    layout: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    by_tensor = True
    timed_by_size = True

    def document(self, digests: Digests) -> dict[str, Any]:
        """Return the selection and the options."""
        options = {name: value for name, value in self.options.items() if name != MEMORY}
        return {
            "action": self.name,
            "selection": asdict(self.selection),
            "layout": self.layout,
            "options": options,
        }

    def among(self, workers: int) -> Self:
        """Share out a quarter of the machine's memory, where nothing else was asked for."""
        if MEMORY not in self.options or self.options[MEMORY] is not None:
            return self
        return replace(self, options={**self.options, MEMORY: super().budget(workers)})

    def budget(self, workers: int) -> int:
        """Return what was asked for, or a worker's share."""
        return self.options.get(MEMORY) or super().budget(workers)

    def choose(self, dump: Dump) -> Sequence[Tensor]:
        """Return the tensors that are selected."""
        return self._chosen(dump).tensors

    def _chosen(self, dump: Dump) -> Chosen:
        return self.selection.choose(dump, self.options.get("format"))

    def _tensors(self, dump: Dump, job: BatchJob, part: BatchPart, clock: Clock) -> tuple[Tensor, ...]:
        """Return the tensors of a unit, and count them."""
        if job.tensors is None:
            tensors = self._chosen(dump).tensors
        else:
            tensors = tuple(dump[name] for name in job.tensors)
        part.values = sum(tensor.size for tensor in tensors)
        part.nbytes = sum(tensor.nbytes for tensor in tensors)
        clock.time_reading(tensors)
        return tensors


@dataclass(frozen=True)
class InspectAction(_OfTensors):
    """Statistics of the bits of each dump, as of `inspect_dump`.

    Parameters
    ----------
    selection : Selection
    layout : str, optional
    options : mapping
        As of `inspect_dump`.
    """

    name = "inspect"

    def memory(self, dump: Dump, tensors: Sequence[Tensor]) -> Iterable[MemoryNeed]:
        """Pieces, and the sample that errors are computed from."""
        return {
            need_of(
                dump,
                tensor,
                layout=self.layout,
                options={**self.options},
                beside=_SAMPLE_BYTES * self.sampled(tensor),
            )
            for tensor in tensors
        }

    def sampled(self, tensor: Tensor) -> int:
        """Return of how many values the errors are computed: a filter at least."""
        return min(tensor.size, max(MOST_VALUES, tensor.size // tensor.shape[0]))

    def try_out(self, dump: Dump, *, errors: bool) -> None:
        """Inspect the tensors of a dump."""
        for _ in inspect_dump(dump, tuple(dump.values()), layout=self.layout, errors=errors, **self.options):
            pass

    def run(self, job: BatchJob, part: BatchPart, clock: Clock) -> None:
        """Inspect the tensors of a unit."""
        found = []
        with open_dump(job.path) as dump:
            for tensor in self._tensors(dump, job, part, clock):
                try:
                    found += list(
                        inspect_dump(dump, (tensor,), layout=self.layout, errors=True, **self.options)
                    )
                except Exception as error:
                    raise_if_full(error)
                    part.failures.append(BatchFailure(tensor.name, reason_of(error, job.path)))
        write_inspected(PartWriter(part), (({}, row.tensor, row) for row in found))


@dataclass(frozen=True)
class PruneAction(_OfTensors):
    """Pruning of each dump, as of `prune_dump`; pruned dumps are written where there is a place for them.

    Parameters
    ----------
    selection : Selection
    layout : str, optional
    options : mapping
        As of `prune_dump`.
    policy : str, optional
        Path of a policy.
    norms : callable, optional
        Gives the norms of ``criterion="calibrated"``.
    norms_path : str, optional
        The file that they are in.
    masks : bool
        Whether to keep row masks, exponents and kept rows of every group.
    """

    policy: str | None = None
    norms: Callable[[], Mapping[str, Any]] | None = None
    norms_path: str | None = None
    masks: bool = False
    name = "prune"
    makes_dump = True

    def document(self, digests: Digests) -> dict[str, Any]:
        """Return the selection, the options, and what the files hold."""
        hashes = {name: path and digests.of_path(as_path(path)) for name, path in self._named().items()}
        return super().document(digests) | {"masks": self.masks} | hashes

    def _named(self) -> dict[str, str | None]:
        return {"policy": self.policy, "norms": self.norms_path}

    def files(self) -> list[Path]:
        """Return policy and norms."""
        return [as_path(path) for path in self._named().values() if path]

    def choose(self, dump: Dump) -> Sequence[Tensor]:
        """Return the tensors that are selected, after a look at the policy."""
        chosen = self._chosen(dump)
        if self.policy is not None:
            check_policy(load_policy(self.policy), dump, chosen)
        return chosen.tensors

    def memory(self, dump: Dump, tensors: Sequence[Tensor]) -> Iterable[MemoryNeed]:
        """Pieces, and the masks of all tensors of the unit."""
        group = self.options.get("group") or DEFAULT_GROUP
        kept = sum(_MASK_BYTES * -(-tensor.size // group) for tensor in tensors) if self.masks else 0
        return {
            need_of(dump, tensor, layout=self.layout, options={**self.options}, parts=self.masks, beside=kept)
            for tensor in tensors
        }

    def try_out(self, dump: Dump, *, errors: bool) -> None:
        """Prune the tensors of a dump; with a policy or norms, as by their number of rows alone."""
        options: dict[str, Any] = {"rows": 6, **self.options}
        if options.get("criterion") == "calibrated":
            options["criterion"] = "topn"
        tensors = tuple(dump.values())
        shown = TolerantDump(dump, tensors, Clock(), writes=False)
        each = pruned_arrays(PartWriter(BatchPart())) if self.masks else None
        prune_dump(shown, shown.place(None), tensors, layout=self.layout, each=each, **options)
        if shown.failures:
            raise BitxError(shown.failures[0].reason)

    def out_name(self, dump: Dump) -> str:
        """Return the name of the pruned dump: its own, or that of a container that can be written."""
        if dump.container == "shards" and dump.path.is_file():
            return dump.path.name[: -len(INDEX_SUFFIX)]
        writes = type(dump).rewrite is not Dump.rewrite
        return dump.path.name if writes else f"{dump.path.name}.safetensors"

    def run(self, job: BatchJob, part: BatchPart, clock: Clock) -> None:
        """Prune the tensors of a unit."""
        writer = PartWriter(part)
        with open_dump(job.path) as dump:
            tensors = self._tensors(dump, job, part, clock)
            try:
                rows, failures = self._pruned(
                    TolerantDump(dump, tensors, clock, writes=job.out is not None), job.out, writer
                )
            except Exception as error:
                # A piece, or a tensor of a dump that is converted, fails within what writes it.
                raise_if_full(error)
                tensor = getattr(error, "tensor", None)
                if job.out is None or tensor is None:
                    raise
                part.tensors.clear()
                rows, failures = self._pruned(TolerantDump(dump, tensors, clock, writes=False), None, writer)
                failures = failures or [BatchFailure(tensor, reason_of(error, job.path))]
        part.failures += failures
        write_pruned(writer, rows, histograms=not self.masks)

    def _pruned(
        self, shown: TolerantDump, out: str | None, writer: PartWriter
    ) -> tuple[list[PrunedTensor], list[BatchFailure]]:
        """Prune the tensors of a dump, and write it where all of them can be pruned."""
        with suppress(_NotWhole), together():
            rows = prune_dump(
                shown,
                shown.place(out),
                shown.tensors,
                policy=self.policy,
                layout=self.layout,
                each=pruned_arrays(writer) if self.masks else None,
                norms=None if self.norms is None else self.norms(),
                **self.options,
            )
            if shown.failures:
                raise _NotWhole
        return rows, shown.failures


class _NotWhole(Exception):  # noqa: N818 - never leaves this file
    """A tensor of a dump that was to be written can't be pruned."""
