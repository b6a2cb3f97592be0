"""All accelerators on one network, under equal conditions: peak, clock, memory.

A comparison is a run of `simulate_network` on machines that were made alike, and what can be said of them:
each pair of machines is compared on the layers that both run, so that what a design leaves out counts
for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import exp, fsum, log
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.accelerators import accelerator, accelerator_class, accelerator_names
from hwmodel.accelerators.base import Accelerator
from hwmodel.activations import DEFAULT_ACTIVATIONS
from hwmodel.feeding import Named, Source, TraceSource
from hwmodel.networks import Network
from hwmodel.precisions import Precisions
from hwmodel.results import LayerResult, NetworkResult
from hwmodel.simulation import Progress, input_files, open_store, simulate_network

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter

BASELINE = "dadiannao"
PEAK_MACS_PER_CYCLE = 4096

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "bit_tactical": ({}, {"back_end": "p"}),
    "bitx": ({}, {"format": "fixed16"}),
    "pragmatic": ({}, {"booth": False, "column_registers": 0}, {"booth": False, "column_registers": 1}),
}
"""Options of the designs that enter more than once: their papers tell results of each."""

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

_DTYPES: dict[str, Any] = {
    name: str if not unit else np.int64 if name in ("layers", "not_applicable", "cycles") else float
    for name, unit in UNITS.items()
} | {"common_layers": np.int64, "best_other_layers": np.int64}


@dataclass(frozen=True)
class Contender:
    """A machine in its setting for comparisons.

    Parameters
    ----------
    name : str
        Of the accelerator, and the options of its variant.
    machine : Accelerator
    """

    name: str
    machine: Accelerator


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


@dataclass(frozen=True, kw_only=True)
class ComparisonResult:
    """A network on all machines.

    Attributes
    ----------
    run : NetworkResult
        Every layer on every machine that takes part.
    rows : tuple of ComparisonRow
        One a machine; those that take no part come last.
    conditions : mapping
        Options that all machines share: clock, cost basis, buffers, DRAM.
    machines : tuple of Accelerator
        Those of the run.
    """

    run: NetworkResult
    rows: tuple[ComparisonRow, ...]
    conditions: Mapping[str, Any]
    machines: tuple[Accelerator, ...]

    def row(self, accelerator: str) -> ComparisonRow:
        """Return the row of an accelerator, by its name in the table."""
        for row in self.rows:
            if row.accelerator == accelerator:
                return row
        known = ", ".join(row.accelerator for row in self.rows)
        raise TensorError(f"accelerator {accelerator!r} is not in this comparison; it has {known}")


def conditions(**options: Any) -> dict[str, Any]:
    """Options that every accelerator has, as given or else at their defaults.

    Raises
    ------
    TensorError
        For another option.
    """
    common = {field.name: field.default for field in fields(Accelerator)}
    for option in options:
        if option not in common:
            raise TensorError(
                f"{option!r} is not an option of every accelerator; these are {', '.join(common)}"
            )
    return common | options


def entries(names: Sequence[str] | None = None) -> list[tuple[str, Mapping[str, Any]]]:
    """List who enters: accelerators, with the options of each variant.

    Parameters
    ----------
    names : sequence of str, optional
        Accelerators; by default all that are registered, those of other packages included. The baseline
        comes first wherever it stands.
    """
    chosen = list(dict.fromkeys(accelerator_names() if names is None else names))
    chosen.sort(key=lambda name: name != BASELINE)
    return [(name, variant) for name in chosen for variant in VARIANTS.get(name, ({},))]


def contenders(
    entered: Sequence[tuple[str, Mapping[str, Any]]], common: Mapping[str, Any]
) -> tuple[Contender, ...]:
    """Make machines that are equal in peak, clock and memory.

    Parameters
    ----------
    entered : sequence of (str, mapping)
        Accelerators and options of their own; of equal machines the first stays.
    common : mapping
        From `conditions`.
    """
    made: dict[str, Contender] = {}
    for name, own in entered:
        machine = accelerator(name, **{**accelerator_class(name).comparison, **common, **own})
        shown = ", ".join(f"{option}={value}" for option, value in own.items())
        made.setdefault(machine.label, Contender(f"{name}({shown})" if shown else name, machine))
    return tuple(made.values())


def compare(
    network: Network,
    *,
    accelerators: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    dump: Source = None,
    traces: TraceSource = None,
    weights: Named = None,
    activations: Named = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | PathLike[str] = None,
    store: str | PathLike[str] | StoreWriter | None = None,
    progress: Progress | None = None,
) -> ComparisonResult:
    """Compare accelerators on a network, at equal peak, clock and memory.

    Parameters
    ----------
    network : Network
    accelerators : sequence of str, optional
        By default all that are registered.
    options : mapping, optional
        Of all machines: clock, buffers, DRAM (see `conditions`).
    dump, traces, weights, activations, precisions, progress
        As for `simulate_network`. A machine whose operands are missing takes no part, and its row says
        so.
    store : path or StoreWriter, optional
        HDF5 file that receives the run, and the table ``comparison``.

    Returns
    -------
    ComparisonResult
    """
    common = conditions(**(options or {}))
    everyone = contenders(entries(accelerators), common)
    source = dump if dump is not None or weights is not None else network.path
    playing, absent = split(
        everyone,
        weights=source is not None or weights is not None,
        activations=traces is not None or activations is not None,
    )
    machines = [c.machine for c in playing]
    with open_store(store, machines, source, *input_files(traces, precisions)) as writer:
        run = simulate_network(
            machines,
            network,
            dump=dump,
            traces=traces,
            weights=weights,
            activations=activations,
            precisions=precisions,
            store=writer,
            progress=progress,
        )
        result = summarise(run, playing, absent, common)
        if writer is not None:
            write_comparison(writer, result)
    return result


def split(
    everyone: Sequence[Contender], *, weights: bool, activations: bool
) -> tuple[tuple[Contender, ...], dict[str, tuple[Contender, str]]]:
    """Tell machines whose operands are there from those that must stay out, and why.

    Parameters
    ----------
    everyone : sequence of Contender
    weights, activations : bool
        Which operands there are.

    Returns
    -------
    tuple of Contender
    dict of str to (Contender, str)
        By name: who takes no part, and the reason.

    Raises
    ------
    TensorError
        If nobody is left.
    """
    absent: dict[str, tuple[Contender, str]] = {}
    for c in everyone:
        needs = [
            what
            for what, needed, there in (
                ("weights", c.machine.needs_weights, weights),
                ("activations", c.machine.needs_activations, activations),
            )
            if needed and not there
        ]
        if needs:
            absent[c.name] = (c, f"needs {' and '.join(needs)}, which are not given")
    playing = tuple(c for c in everyone if c.name not in absent)
    if not playing:
        raise TensorError("; ".join(f"{name} {reason}" for name, (_, reason) in absent.items()))
    return playing, absent


def summarise(
    run: NetworkResult,
    playing: Sequence[Contender],
    absent: Mapping[str, tuple[Contender, str]],
    common: Mapping[str, Any],
) -> ComparisonResult:
    """Compare the machines of a finished run.

    Parameters
    ----------
    run : NetworkResult
        On the machines of `playing`.
    playing, absent
        From `split`.
    common : mapping
        From `conditions`.
    """
    layers = {c.name: run.of(c.machine.label) for c in playing}
    rows = [_row(c, playing, layers) for c in playing]
    rows += [
        ComparisonRow(
            accelerator=name,
            label=c.machine.label,
            reason=reason,
            peak_macs_per_cycle=c.machine.peak_macs_per_cycle,
        )
        for name, (c, reason) in absent.items()
    ]
    return ComparisonResult(
        run=run, rows=tuple(rows), conditions=common, machines=tuple(c.machine for c in playing)
    )


def write_comparison(writer: StoreWriter, result: ComparisonResult) -> None:
    """Write the table ``comparison``; its attributes are the conditions."""
    writer.write_table(
        "comparison",
        (asdict(row) for row in result.rows),
        units=UNITS,
        dtypes=_DTYPES,
        attrs={"network": result.run.network, "baseline": BASELINE}
        | {name: "none" if value is None else value for name, value in result.conditions.items()},
    )


# -- the arithmetic ------------------------------------------------------------------------------

_Layers = Sequence[LayerResult]


def _row(me: Contender, playing: Sequence[Contender], layers: Mapping[str, _Layers]) -> ComparisonRow:
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
        cycles=sum(r.cycles or 0 for r in run),
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
