"""What a batch is going to do: its dumps, their units, where results go, and how much memory that takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from bitxcore.batch.runs.keys import key_of
from bitxcore.batch.runs.needs import MemoryNeed, most_of
from bitxcore.batch.runs.units import Action, reason_of, units_of
from bitxcore.dumps import open_dump
from bitxcore.remote.remote_path import origin_of

PROCESS_BYTES = 250 << 20
"""What a worker takes before it reads a tensor."""

PARENT_BYTES = 120 << 20
"""What the process takes that has workers."""


@dataclass(frozen=True)
class PlannedDump:
    """One dump of a batch.

    Attributes
    ----------
    path : pathlib.Path
    tensors, values, nbytes : int
        Of what is worked on.
    sampled : int
        Values that are worked on again and again.
    files : tuple of pathlib.Path
        That the dump consists of.
    units : tuple
        Names of the tensors of each unit; None: the whole dump. Empty where it can't be worked on.
    listing : str
        Digest of the names, shapes and dtypes of these tensors.
    needs : tuple
        Of each unit, those of its tensors.
    reason : str or None
        Why it can't be worked on.
    tensor : str or None
        Which tensor that is about.
    store : str or None
        Name of its own store, in the folder of results.
    out : str or None
        Name of the dump that is made of it there.
    """

    path: Path
    tensors: int = 0
    values: int = 0
    nbytes: int = 0
    sampled: int = 0
    files: tuple[Path, ...] = ()
    units: tuple[tuple[str, ...] | None, ...] = ()
    listing: str = ""
    needs: tuple[frozenset[MemoryNeed], ...] = ()
    reason: str | None = None
    tensor: str | None = None
    store: str | None = None
    out: str | None = None


@dataclass(frozen=True)
class BatchPlan:
    """All dumps of a batch, in order.

    Attributes
    ----------
    dumps : tuple of PlannedDump
    action : Action
    """

    dumps: tuple[PlannedDump, ...]
    action: Action

    @property
    def units(self) -> int:
        """Units in all."""
        return sum(len(dump.units) for dump in self.dumps)

    @property
    def tensors(self) -> int:
        """Tensors in all."""
        return sum(dump.tensors for dump in self.dumps)

    @property
    def values(self) -> int:
        """Values in all."""
        return sum(dump.values for dump in self.dumps)

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return sum(dump.nbytes for dump in self.dumps)

    @property
    def sampled(self) -> int:
        """Values in all that are worked on again and again."""
        return sum(dump.sampled for dump in self.dumps)

    def memory(self, jobs: int) -> int:
        """Return about the most bytes of memory that so many workers need together."""
        budget = self.action.budget(jobs)
        found = {needs: most_of(needs, budget) for dump in self.dumps for needs in dump.needs}
        largest = nlargest(jobs, (found[needs] for dump in self.dumps for needs in dump.needs))
        return PROCESS_BYTES * jobs + PARENT_BYTES * (jobs > 1) + sum(largest)


def plan_batch(action: Action, paths: Sequence[Path], each: Path | None = None) -> BatchPlan:
    """Open every dump once, which reads headers only.

    Parameters
    ----------
    action : Action
    paths : sequence of pathlib.Path
    each : pathlib.Path, optional
        The folder of results, where every dump is to have its own.
    """
    taken: set[str] = set()
    root = _common_folder(paths)
    return BatchPlan(tuple(_planned(action, path, each, root, taken) for path in paths), action)


def _planned(action: Action, path: Path, each: Path | None, root: Path, taken: set[str]) -> PlannedDump:
    try:
        with open_dump(path) as dump:
            tensors = action.choose(dump)
            writes = each is not None and action.makes_dump
            listing = [[tensor.name, tensor.shape, str(tensor.dtype)] for tensor in tensors]
            units = units_of(action, tensors, whole=writes)
            place = Path(os.path.relpath(os.path.abspath(path), root)).parent
            return PlannedDump(
                path,
                tensors=len(tensors),
                values=sum(tensor.size for tensor in tensors),
                nbytes=sum(tensor.nbytes for tensor in tensors),
                sampled=sum(map(action.sampled, tensors)),
                files=tuple(map(origin_of, dump.files())),
                units=tuple(units),
                listing=key_of({"tensors": listing}),
                needs=tuple(
                    frozenset(action.memory(dump, tensors if names is None else [dump[n] for n in names]))
                    for names in units
                ),
                out=_free(place / action.out_name(dump), taken) if writes else None,
                store=_free(place / f"{path.name}.h5", taken) if each is not None else None,
            )
    except Exception as error:
        return PlannedDump(path, reason=reason_of(error, str(path)), tensor=getattr(error, "tensor", None))


def _common_folder(paths: Iterable[Path]) -> Path:
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    return Path(os.path.commonpath(folders)) if folders else Path()


def _free(name: Path, taken: set[str]) -> str:
    """Return a name that no other result has."""
    found, count = name.as_posix(), 1
    while found.lower() in taken:
        count += 1
        found = name.with_name(f"{count}-{name.name}").as_posix()
    taken.add(found.lower())
    return found
