"""Actions of a batch, and the unit of their work: a plain function of what can be sent to another process."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from bitxcore.batch.memory import memory_budget
from bitxcore.batch.runs.clock import Clock
from bitxcore.batch.runs.keys import Digests, Stamp, check_unchanged, nbytes_of
from bitxcore.batch.runs.needs import MemoryNeed
from bitxcore.batch.runs.parts import BatchFailure, BatchPart, to_bytes
from bitxcore.dumps import Dump, Tensor
from bitxcore.errors import BitxError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk that has no room: they end a batch, where others only fail a dump."""

UNIT_BYTES = 1 << 28
"""Tensors of a dump are gathered into units of about this size, where an action works tensor by tensor."""


class FullDiskError(BitxError):
    """There is no room for what a batch writes."""


@dataclass(frozen=True)
class BatchJob:
    """A unit of a batch, as it is sent to whoever does it.

    Parameters
    ----------
    key : str
        Digest of all that its results depend on.
    action : Action
    path : str
        Of the dump.
    tensors : tuple of str or None
        Those of the unit; None: the whole dump, which the action chooses from itself.
    stamps : tuple of Stamp
        Of the dump's files, when their content was hashed.
    scratch : str
        A folder that the unit may make, and that is there again if it is done again.
    out : str or None
        Where the dump that the action makes is to appear, if it is wanted.
    """

    key: str
    action: Action
    path: str
    tensors: tuple[str, ...] | None
    stamps: tuple[Stamp, ...]
    scratch: str
    out: str | None = None


class Action(ABC):
    """What a batch does with each dump: a record that can be pickled.

    Attributes
    ----------
    name : str
    packages : tuple of str
        Whose source the results depend on.
    by_tensor : bool
        Whether a dump may be cut into several units.
    makes_dump : bool
        Whether each dump gives another one.
    by_path : bool
        Whether results depend on the dump's path, besides its content.
    timed_by_size : bool
        Whether the time follows from how many values there are, and `try_out` is there.
    """

    name: ClassVar[str] = ""
    packages: tuple[str, ...] = ("bitxcore",)
    by_tensor: bool = False
    makes_dump: bool = False
    by_path: bool = False
    timed_by_size: bool = False

    @abstractmethod
    def document(self, digests: Digests) -> dict[str, Any]:
        """Return all that results depend on besides the dump, in JSON's types; files by their SHA-256."""

    def files(self) -> list[Path]:
        """Files that are read besides the dumps."""
        return []

    def choose(self, dump: Dump) -> Sequence[Tensor]:
        """Return the tensors that are worked on, for the plan; by default all."""
        return tuple(dump.values())

    def memory(self, dump: Dump, tensors: Sequence[Tensor]) -> Iterable[MemoryNeed]:
        """Return about the memory that a unit takes; by default, of one tensor at a time."""
        return {MemoryNeed.fixed(4 * tensor.nbytes) for tensor in tensors}

    def budget(self, workers: int) -> int:
        """Return the bytes that each of so many workers may take for the work on one tensor."""
        return max(1, memory_budget() // workers)

    def sampled(self, tensor: Tensor) -> int:
        """Return how many values of a tensor are worked on again and again."""
        return 0

    def try_out(self, dump: Dump, *, errors: bool) -> None:
        """Do the work on all tensors of a dump, for its time; without `errors` on no value repeatedly."""
        raise NotImplementedError

    def among(self, workers: int) -> Self:
        """Return the action as each of so many workers is to do it; results are the same."""
        return self

    def out_name(self, dump: Dump) -> str:
        """Return the name of the dump that is made of one."""
        return dump.path.name

    @abstractmethod
    def run(self, job: BatchJob, part: BatchPart, clock: Clock) -> None:
        """Do the work of a unit; results, and failures of single tensors, go to `part`."""


def units_of(action: Action, tensors: Sequence[Tensor], *, whole: bool) -> list[tuple[str, ...] | None]:
    """Cut the tensors of a dump into units.

    Parameters
    ----------
    action : Action
    tensors : sequence of Tensor
    whole : bool
        Whether the dump must stay one unit.

    Returns
    -------
    list
        Names of the tensors of each unit; None for a whole dump.
    """
    if whole or not action.by_tensor or sum(tensor.nbytes for tensor in tensors) <= UNIT_BYTES:
        return [None]
    found: list[tuple[str, ...] | None] = []
    names: list[str] = []
    size = 0
    for tensor in tensors:
        if names and size + tensor.nbytes > UNIT_BYTES:
            found.append(tuple(names))
            names, size = [], 0
        names.append(tensor.name)
        size += tensor.nbytes
    return [*found, tuple(names)]


def run_job(job: BatchJob) -> bytes:
    """Do a unit, and return the bytes of its `BatchPart`.

    A dump or a tensor that can't be worked on is told in the part.

    Parameters
    ----------
    job : BatchJob

    Raises
    ------
    FullDiskError
        If the disk is full: other units would fail as well.
    """
    part, clock = BatchPart(), Clock()
    try:
        with clock.stage("compute"):
            job.action.run(job, part, clock)
        with clock.stage("read"):
            check_unchanged(job.stamps)
        if job.out is not None and not part.failures:
            with clock.stage("write"):
                part.written[Path(job.out).name] = Digests().of_path(Path(job.out))
                part.written_bytes = nbytes_of(Path(job.out))
    except Exception as error:
        raise_if_full(error)
        part = BatchPart(failures=[BatchFailure(getattr(error, "tensor", None), reason_of(error, job.path))])
    part.seconds = clock.seconds
    return to_bytes(part)


def reason_of(error: BaseException, path: str) -> str:
    """Tell an error in one line, without the path of the dump and the name of its tensor.

    Examples
    --------
    >>> reason_of(BitxError("holds a NaN", path="a.npz", tensor="w"), "a.npz")
    'holds a NaN'
    """
    if isinstance(error, BitxError):
        text = error.message if error.hint is None else f"{error.message}; {error.hint}"
        places = [] if error.path is None or str(error.path) == path else [str(error.path)]
        places += [place for place in (error.part, error.layer and f"layer {error.layer!r}") if place]
        text = ": ".join([*places, text])
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, Exception) and hasattr(error, "format_message"):  # of click
        text = str(error.format_message())
    else:
        text = f"internal error: {type(error).__name__}: {error}"
    return " ".join(text.split()) or type(error).__name__


def raise_if_full(error: BaseException) -> None:
    """Raise `FullDiskError` if that is what lies behind an error."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL:
            raise FullDiskError(
                f"can't be written: {seen.strerror}",
                path=getattr(error, "path", None) or seen.filename,
                hint="make room, and give the same command again",
            ) from error
        seen = seen.__cause__ or seen.__context__
