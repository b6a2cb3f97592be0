"""Where the cycles of layers go: causes, and rooflines.

A roofline (S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
multicore architectures", CACM 2009) sets multiply-accumulates per cycle against those per byte of DRAM
traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from bitxcore.showing import record_repr
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.simulation.results import LayerResult


@dataclass(frozen=True)
class Cause:
    """One cause of a network's cycles.

    Attributes
    ----------
    name : str
        A key of `hwmodel.accelerators.cycle_attribution.CAUSES`.
    cycles : int
    share : float
        Of all cycles.
    layers : tuple of (str, int)
        Layers with cycles of this cause, and how many; most first.
    """

    __repr__ = record_repr

    name: str
    cycles: int
    share: float
    layers: tuple[tuple[str, int], ...]

    @property
    def description(self) -> str:
        """The cause in words."""
        return CAUSES[self.name]


ROOFLINE_UNITS: dict[str, str] = {
    "layer": "",
    "macs": "1",
    "cycles": "cycles",
    "bound_by": "",
    "bound_share": "1",
    "attained_macs_per_cycle": "1/cycle",
    "peak_macs_per_cycle": "1/cycle",
    "intensity_macs_per_byte": "1/B",
    "memory_roof_macs_per_cycle": "1/cycle",
    "roof_macs_per_cycle": "1/cycle",
    "roof": "",
    "attained_share_of_roof": "1",
}
"""Unit of each column of `Roofline.columns`; ``""`` for text."""


@dataclass(frozen=True)
class Roofline:
    """One layer on one machine under its roofs.

    Attributes
    ----------
    layer : str
    macs, cycles : int
    causes : mapping of str to int
        Cycles by cause, without those that have none.
    peak_macs_per_cycle : float
        Multiply-accumulates per cycle at 16 bits, nothing skipped. A machine that skips bits or values may
        attain more.
    intensity_macs_per_byte : float or None
        Multiply-accumulates per byte of DRAM traffic; None where no traffic is counted.
    memory_roof_macs_per_cycle : float or None
        Intensity times the bandwidth with which the memory moves this layer's traffic; None for a memory
        without limits.
    """

    __repr__ = record_repr

    layer: str
    macs: int
    cycles: int
    causes: Mapping[str, int]
    peak_macs_per_cycle: float
    intensity_macs_per_byte: float | None
    memory_roof_macs_per_cycle: float | None

    @property
    def bound_by(self) -> str:
        """Cause of most cycles; of equals the first that is charged."""
        return max(self.causes, key=lambda cause: self.causes[cause])

    @property
    def bound_share(self) -> float:
        """Share of the layer's cycles that this cause has."""
        return self.causes[self.bound_by] / self.cycles

    @property
    def attained_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle."""
        return self.macs / self.cycles

    @property
    def roof(self) -> str:
        """Name the lower of the two roofs: ``"compute"`` or ``"memory"``."""
        return "memory" if self.roof_macs_per_cycle < self.peak_macs_per_cycle else "compute"

    @property
    def roof_macs_per_cycle(self) -> float:
        """The lower of the two roofs."""
        memory = self.memory_roof_macs_per_cycle
        return min(self.peak_macs_per_cycle, inf if memory is None else memory)

    @property
    def attained_share_of_roof(self) -> float:
        """What is attained over the roof; above 1 where bits or values are skipped."""
        return self.attained_macs_per_cycle / self.roof_macs_per_cycle

    @property
    def words(self) -> str:
        """The layer in a sentence."""
        shares = sorted(self.causes.items(), key=lambda item: -item[1])
        spent = ", ".join(
            f"{n / self.cycles:.0%} {_short(cause)}" for cause, n in shares if 50 * n >= self.cycles
        )
        return (
            f"{self.layer}: {self.attained_macs_per_cycle:,.4g} MACs per cycle,"
            f" {self.attained_share_of_roof:.1%} of its {self.roof} roof; {spent}"
        )

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `ROOFLINE_UNITS`."""
        return {name: getattr(self, name) for name in ROOFLINE_UNITS}


def causes_of(rows: Sequence[LayerResult], cycles: int) -> Iterator[Cause]:
    """Causes of the `cycles` that rows have together."""
    for name in CAUSES:
        layers = [(row.layer, getattr(row, name) or 0) for row in rows]
        spent = sum(n for _, n in layers)
        if spent:
            ranked = sorted(((layer, n) for layer, n in layers if n), key=lambda item: -item[1])
            yield Cause(name, spent, spent / cycles, tuple(ranked))


def roofline_of(row: LayerResult) -> Roofline:
    """Set a row that has cycles under its roofs."""
    assert row.cycles
    moved, seconds = getattr(row, "dram_bytes", None), getattr(row, "dram_seconds", None)
    intensity = row.macs / moved if moved else None
    memory = None
    if intensity is not None and seconds and row.clock_hz:
        memory = intensity * (moved / seconds) / row.clock_hz
    return Roofline(
        layer=row.layer,
        macs=row.macs,
        cycles=row.cycles,
        causes={name: n for name in CAUSES if (n := getattr(row, name))},
        peak_macs_per_cycle=row.peak_macs_per_cycle,
        intensity_macs_per_byte=intensity,
        memory_roof_macs_per_cycle=memory,
    )


def _short(cause: str) -> str:
    return cause.removesuffix("_cycles").replace("_", " ")
