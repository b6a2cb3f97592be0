"""What can be said of each machine: pairs are compared on the layers that both run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Any

from hwmodel.simulation.results import LayerResult
from hwmodel.studies.comparison.contenders import BASELINE, Contender

_Layers = Sequence[LayerResult]

UNITS: dict[str, str] = {
    "accelerator": "",
    "label": "",
    "reason": "",
    "peak_macs_per_cycle": "1/cycle",
    "layers": "1",
    "not_applicable": "1",
    "cycles": "cycles",
    "common_layers": "1",
    "speedup": "1",
    "speedup_mean": "1",
    "speedup_on_chip": "1",
    "best_other": "",
    "best_other_layers": "1",
    "speedup_over_best_other": "1",
    "energy_j": "J",
    "energy_ratio": "1",
    "area_mm2": "mm2",
    "speedup_per_area": "1",
}
"""Unit of each column of the table ``comparison``."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """What a comparison says of one machine.

    Attributes
    ----------
    accelerator : str
        Name, and the options of the variant.
    label : str
        Of the machine, as in the run: every option that differs from its defaults.
    reason : str or None
        Why it takes no part; then there are no numbers below.
    peak_macs_per_cycle : float
    layers, not_applicable : int or None
        Layers it runs, and does not.
    cycles : int or None
        Of all layers it runs.
    common_layers : int or None
        Layers that the baseline runs, too.
    speedup, speedup_mean, speedup_on_chip : float or None
        Over the baseline, on these: of all cycles; geometric mean over layers; of all cycles with a memory
        without limits.
    best_other : str or None
        Fastest machine of another design, among those that run half of its multiply-accumulates or more.
    best_other_layers : int or None
        Layers that both run.
    speedup_over_best_other : float or None
        Over it, on these.
    energy_j : float or None
        Of all layers it runs.
    energy_ratio : float or None
        The baseline's energy over its own on the common layers: speed per watt.
    area_mm2 : float or None
    speedup_per_area : float or None
        `speedup`, by the ratio of the areas.
    """

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
    """Compare a machine with all that play; `layers` are the results by their names."""
    mine = layers[me.name]
    run = [r for r in mine if r.applicable]
    base = next((layers[c.name] for c in playing if c.machine.name == BASELINE), None)
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
    mine = layers[me.name]
    half = sum(r.macs for r in mine if r.applicable) / 2
    found = []
    for other in playing:
        both = _common(mine, layers[other.name])
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
