"""Seconds of a batch by stage, in a store beside that of its results: they differ from run to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("read", "compute", "write", "keep")
"""Of a unit: reading tensors, computing, writing a dump, and keeping its part on the disk."""

UNITS = {"dump": "", "unit": "1", "reused": "", **dict.fromkeys(STAGES, "s"), "seconds": "s"}
"""Unit of each column of the table ``timings``."""


@dataclass(frozen=True)
class UnitTiming:
    """Seconds of one unit.

    Attributes
    ----------
    dump : str
    unit : int
        Its number within the dump.
    reused : bool
        Whether they are those of an earlier run.
    seconds : mapping of str to float
        By stage.
    """

    dump: str
    unit: int
    reused: bool
    seconds: Mapping[str, float]

    def columns(self) -> dict[str, Any]:
        """Return its row of the table ``timings``."""
        stages = {name: float(self.seconds.get(name, 0.0)) for name in STAGES}
        return {
            "dump": self.dump,
            "unit": self.unit,
            "reused": self.reused,
            **stages,
            "seconds": sum(stages.values()),
        }


def timings_path(output: Path) -> Path:
    """Return where the timings of an output are.

    Examples
    --------
    >>> timings_path(Path("run.h5")).name
    'run.timings.h5'
    """
    return output.with_name(f"{output.stem}.timings{output.suffix}")


def write_timings(output: Path, timings: Iterable[UnitTiming], stages: Mapping[str, float]) -> None:
    """Write the tables ``timings``, of units, and ``stages``, of the whole batch."""
    from bitxcore.store import Store

    with Store.create(timings_path(output), parameters={"command": "batch timings"}) as writer:
        dtypes: dict[str, Any] = {
            "dump": str,
            "unit": "i8",
            "reused": bool,
            **dict.fromkeys(STAGES, "f8"),
            "seconds": "f8",
        }
        writer.write_table("timings", [t.columns() for t in timings], units=UNITS, dtypes=dtypes)
        writer.write_table(
            "stages",
            [{"stage": name, "seconds": float(seconds)} for name, seconds in stages.items()],
            units={"stage": "", "seconds": "s"},
            dtypes={"stage": str, "seconds": "f8"},
        )
