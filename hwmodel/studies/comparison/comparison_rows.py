"""What can be said of each machine: pairs are compared on the layers that both run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Any

from bitxcore.showing import record_repr
from hwmodel.simulation.columns import INTEGER, REAL, TEXT, Column
from hwmodel.simulation.results import LayerResult
from hwmodel.studies.comparison.contenders import BASELINE, Contender

_Layers = Sequence[LayerResult]

COMPARISON_COLUMNS: tuple[Column, ...] = (
    Column("accelerator", "", TEXT, "name, and the options of the variant"),
    Column("label", "", TEXT, "of the machine, as in the run: every option that differs from its defaults"),
    Column("reason", "", TEXT, "why it takes no part; then there are no numbers"),
    Column("peak_macs_per_cycle", "1/cycle", REAL, "at 16 bits, nothing skipped"),
    Column("layers", "1", INTEGER, "layers it runs"),
    Column("not_applicable", "1", INTEGER, "layers it does not run"),
    Column("cycles", "cycles", INTEGER, "of all layers it runs"),
    Column("common_layers", "1", INTEGER, "layers that the baseline runs, too"),
    Column("speedup", "1", REAL, "over the baseline on the common layers, of all cycles"),
    Column("speedup_mean", "1", REAL, "the same, geometric mean over layers"),
    Column("speedup_on_chip", "1", REAL, "the same of all cycles, with a memory without limits"),
    Column("best_other", "", TEXT, "fastest machine of another design that runs half of its MACs or more"),
    Column("best_other_layers", "1", INTEGER, "layers that both run"),
    Column("speedup_over_best_other", "1", REAL, "over it, on these"),
    Column("energy_j", "J", REAL, "of all layers it runs"),
    Column(
        "energy_ratio", "1", REAL, "the baseline's energy over its own on the common layers: speed per watt"
    ),
    Column("area_mm2", "mm2", REAL, "without DRAM"),
    Column("speedup_per_area", "1", REAL, "`speedup`, by the ratio of the areas"),
)
"""Of the table ``comparison``: one row per machine."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """Results of one machine in a comparison: `COMPARISON_COLUMNS`; None where there is no value."""

    __repr__ = record_repr

    accelerator: str
    label: str
    reason: str | None = None
    peak_macs_per_cycle: float
    layers: int | None = None
    not_applicable: int | None = None
    cycles: int | None = None
    common_layers: int | None = None
    speedup: float | None = None
    speedup_mean: float | None = None
    speedup_on_chip: float | None = None
    best_other: str | None = None
    best_other_layers: int | None = None
    speedup_over_best_other: float | None = None
    energy_j: float | None = None
    energy_ratio: float | None = None
    area_mm2: float | None = None
    speedup_per_area: float | None = None


def row_of(me: Contender, playing: Sequence[Contender], layers: Mapping[str, _Layers]) -> ComparisonRow:
    """Compare a machine with all that play; `layers` are the results by their labels."""
    mine = layers[me.machine.label]
    run = [r for r in mine if r.applicable]
    base = next((layers[c.machine.label] for c in playing if c.machine.name == BASELINE), None)
    both = [] if base is None or me.machine.name == BASELINE else _common(mine, base)
    speedup, area = _speedup(both), _area(mine)
    base_area = None if base is None else _area(base)
    best = _best_other(me, playing, layers)
    return ComparisonRow(
        accelerator=me.name,
        label=me.machine.label,
        peak_macs_per_cycle=me.machine.peak_macs_per_cycle,
        layers=len(run),
        not_applicable=len(mine) - len(run),
        cycles=sum(r.cycles or 0 for r in run) if run else None,
        common_layers=len(both) if both else None,
        speedup=speedup,
        speedup_mean=_geometric_mean([b.cycles / m.cycles for m, b in both if m.cycles and b.cycles]),
        speedup_on_chip=_speedup(both, "on_chip_cycles"),
        **best,
        energy_j=_total([r.energy_j for r in run]),
        energy_ratio=_ratio(_total([b.energy_j for _, b in both]), _total([m.energy_j for m, _ in both])),
        area_mm2=area,
        speedup_per_area=None if speedup is None or not area or not base_area else speedup * base_area / area,
    )


def _common(a: _Layers, b: _Layers) -> list[tuple[LayerResult, LayerResult]]:
    """Pairs of results of the layers that both run."""
    return [(x, y) for x, y in zip(a, b, strict=True) if x.applicable and y.applicable]


def _speedup(pairs: Sequence[tuple[LayerResult, LayerResult]], cycles: str = "cycles") -> float | None:
    """Gain of the first of each pair over the second, on all of them together."""
    return _ratio(
        _total([getattr(y, cycles) for _, y in pairs]), _total([getattr(x, cycles) for x, _ in pairs])
    )


def _best_other(me: Contender, playing: Sequence[Contender], layers: Mapping[str, _Layers]) -> dict[str, Any]:
    mine = layers[me.machine.label]
    half = sum(r.macs for r in mine if r.applicable) / 2
    found = []
    for other in playing:
        both = _common(mine, layers[other.machine.label])
        speedup = _speedup(both)
        if other.machine.name != me.machine.name and speedup and sum(x.macs for x, _ in both) >= half:
            found.append((speedup, other.name, len(both)))
    if not found:
        return {}
    speedup, name, count = min(found)
    return {"best_other": name, "best_other_layers": count, "speedup_over_best_other": speedup}


def _area(layers: _Layers) -> float | None:
    return next((r.area_mm2 for r in layers), None)


def _total(values: Sequence[float | None]) -> float | None:
    """Sum; None if there is nothing to add up, or a value is missing."""
    known = [v for v in values if v is not None]
    return fsum(known) if known and len(known) == len(values) else None


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _geometric_mean(ratios: Sequence[float]) -> float | None:
    return exp(fsum(map(log, ratios)) / len(ratios)) if ratios else None
