"""How a batch ended, by dump."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitxcore.batch.runs.assembling import DumpParts


@dataclass(frozen=True)
class DumpDone:
    """How one dump of a batch ended.

    Attributes
    ----------
    dump : DumpParts
    reused : bool
        Whether all of it was there.
    seconds : float
        Of the work on it, by whichever run.
    """

    dump: DumpParts
    reused: bool
    seconds: float

    @property
    def status(self) -> str:
        """``done``, ``reused`` or ``failed``."""
        return "failed" if self.dump.failures else "reused" if self.reused else "done"


@dataclass(frozen=True)
class BatchReport:
    """How a batch ended.

    Attributes
    ----------
    dumps : tuple of DumpDone
        In order.
    complete : bool
        Whether the output was there, complete and of the same key, so that nothing was done.
    stages : dict of str to float
        Seconds by stage, summed over workers.
    kept : pathlib.Path or None
        The folder of parts, if it is still there.
    """

    dumps: tuple[DumpDone, ...]
    complete: bool
    stages: dict[str, float]
    kept: Path | None

    @property
    def failed(self) -> int:
        """Number of dumps of which something failed."""
        return sum(done.status == "failed" for done in self.dumps)
