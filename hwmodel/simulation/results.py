"""What a simulation returns: one record per layer and accelerator, and their totals.

The attributes of the records are the columns of `hwmodel.simulation.columns`, where their units and meanings
stand. A layer that an accelerator does not run has a `reason` and no numbers; it never counts as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import fsum
from typing import TYPE_CHECKING, Any

from bitxcore.errors import OptionError
from bitxcore.showing import record_repr, table_repr
from bitxcore.tables import TableCollector, Tables, TabularResult
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.simulation.columns import COLUMNS, DRAM_TRAFFIC, LAYER_COLUMNS, TOTAL_COLUMNS, Column
from hwmodel.simulation.result_tables import write_result

if TYPE_CHECKING:
    from hwmodel.networks.network import NotSimulated

BOUNDS: dict[str, str] = {
    "compute_cycles": "compute",
    "lane_wait_cycles": "lanes",
    "imbalance_cycles": "imbalance",
    "fifo_full_cycles": "FIFO",
    "fill_cycles": "fill",
    "weight_wait_cycles": "weight traffic",
    "activation_wait_cycles": "activation traffic",
    "output_wait_cycles": "output traffic",
}
"""What `bound_by` calls the cause of most cycles; of equals the first."""

_TOLD = ("layer", "accelerator", "operation", "layers", "reason", "macs", "cycles", "bound_by", "energy_j")


def _ratio(over: int | None, cycles: int | None) -> float | None:
    return None if over is None or cycles is None or cycles == 0 else over / cycles


def _values(record: object, columns: tuple[Column, ...]) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in columns}


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is told of a layer and of a whole network alike.

    Attributes
    ----------
    energy_parts_j : mapping of str to float, or None
        Energy by part of the machine, DRAM included, in joules; None if it has no cost model.
    clock_hz : float or None
        Cycles per second.
    accelerator, macs, ...
        The columns of `hwmodel.simulation.columns`; None where there is no number.
    """

    accelerator: str
    macs: int
    parameters: int
    compute_cycles: int | None = None
    lane_wait_cycles: int | None = None
    imbalance_cycles: int | None = None
    fifo_full_cycles: int | None = None
    fill_cycles: int | None = None
    weight_wait_cycles: int | None = None
    activation_wait_cycles: int | None = None
    output_wait_cycles: int | None = None
    on_chip_cycles: int | None = None
    utilisation: float | None = None
    clock_hz: float | None = None
    energy_parts_j: Mapping[str, float] | None = field(default=None, hash=False)
    area_mm2: float | None = None
    dram_weight_bytes: int | None = None
    dram_activation_bytes: int | None = None
    dram_output_bytes: int | None = None
    dram_partial_sum_bytes: int | None = None
    dram_weight_bytes_plain: int | None = None
    dram_seconds: float | None = None
    dram_peak_bytes_per_s: float | None = None
    work_cycles: int | None = None
    unpruned_work_cycles: int | None = None
    unpruned_cycles: int | None = None
    every_bit_cycles: int | None = None
    on_chip_unpruned_cycles: int | None = None
    on_chip_every_bit_cycles: int | None = None
    on_chip_unpruned_fixed16_cycles: int | None = None
    window_limited_groups: int | None = None
    unpruned_all_rows_cycles: int | None = None
    unpruned_nonempty_rows_cycles: int | None = None
    on_chip_unpruned_all_rows_cycles: int | None = None
    on_chip_unpruned_nonempty_rows_cycles: int | None = None

    def __repr__(self) -> str:
        return record_repr(self, *filter(partial(hasattr, self), _TOLD))

    @property
    def cycles(self) -> int | None:
        """All cycles: the sum over all causes."""
        return None if self.compute_cycles is None else sum(getattr(self, cause) or 0 for cause in CAUSES)

    @property
    def seconds(self) -> float | None:
        """Time at the machine's clock."""
        return None if self.cycles is None or self.clock_hz is None else self.cycles / self.clock_hz

    @property
    def energy_j(self) -> float | None:
        """Energy: the sum over all parts, exact but for its last rounding."""
        return None if self.energy_parts_j is None else fsum(self.energy_parts_j.values())

    @property
    def power_w(self) -> float | None:
        """Mean power."""
        return self.energy_j / self.seconds if self.energy_j is not None and self.seconds else None

    @property
    def speedup_over_unpruned(self) -> float | None:
        """Gain over the same machine without pruning, which skips zero bits already."""
        return _ratio(self.unpruned_cycles, self.cycles)

    @property
    def speedup_over_every_bit(self) -> float | None:
        """Gain over the same machine without pruning that takes every bit of the format."""
        return _ratio(self.every_bit_cycles, self.cycles)

    @property
    def on_chip_speedup_over_unpruned(self) -> float | None:
        """The same as over the unpruned one, with a memory without limits on both sides."""
        return _ratio(self.on_chip_unpruned_cycles, self.on_chip_cycles)

    @property
    def on_chip_speedup_over_every_bit(self) -> float | None:
        """The same as over every bit, with a memory without limits on both sides."""
        return _ratio(self.on_chip_every_bit_cycles, self.on_chip_cycles)

    @property
    def work_speedup(self) -> float | None:
        """Gain that perfectly balanced lanes would have over themselves unpruned."""
        return _ratio(self.unpruned_work_cycles, self.work_cycles)

    @property
    def speedup_over_all_rows(self) -> float | None:
        """Gain over the unpruned row-serial machine that takes every row of the window."""
        return _ratio(self.unpruned_all_rows_cycles, self.cycles)

    @property
    def speedup_over_nonempty_rows(self) -> float | None:
        """Gain over the unpruned row-serial machine that skips empty rows."""
        return _ratio(self.unpruned_nonempty_rows_cycles, self.cycles)

    @property
    def on_chip_speedup_over_all_rows(self) -> float | None:
        """The same with a memory without limits, on both sides."""
        return _ratio(self.on_chip_unpruned_all_rows_cycles, self.on_chip_cycles)

    @property
    def on_chip_speedup_over_nonempty_rows(self) -> float | None:
        """The same with a memory without limits, on both sides."""
        return _ratio(self.on_chip_unpruned_nonempty_rows_cycles, self.on_chip_cycles)

    @property
    def dram_bytes(self) -> int | None:
        """All that crosses the DRAM's bus."""
        moved = [getattr(self, name) for name in DRAM_TRAFFIC]
        return None if None in moved else sum(moved)

    @property
    def bound_by(self) -> str | None:
        """Name, as in `BOUNDS`, of the cause of most cycles."""
        return BOUNDS[max(BOUNDS, key=lambda cause: getattr(self, cause) or 0)] if self.cycles else None


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerResult(Measures):
    """One layer on one accelerator.

    Attributes
    ----------
    options : mapping
        Every option of the accelerator.
    kept_rows_histogram : tuple of int or None
        Entry r: the groups with r kept rows.
    kept_ones_histogram : tuple of int or None
        Entry k: the weights with k kept ones.
    layer, operation, reason, ...
        The columns of `hwmodel.simulation.columns.LAYER_COLUMNS`.
    """

    layer: str
    operation: str
    options: Mapping[str, Any] = field(hash=False)
    peak_macs_per_cycle: float
    reason: str | None = None
    tiling: str | None = None
    filter_tiles: int | None = None
    position_tiles: int | None = None
    groups: int | None = None
    kept_rows_histogram: tuple[int, ...] | None = None
    kept_ones_histogram: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    # Properties of `Measures`; as fields they are in ``pandas.DataFrame(run.layers)``, too.
    cycles: int | None = field(init=False, compare=False)
    bound_by: str | None = field(init=False, compare=False)
    seconds: float | None = field(init=False, compare=False)
    energy_j: float | None = field(init=False, compare=False)
    dram_bytes: int | None = field(init=False, compare=False)

    @property
    def applicable(self) -> bool:
        """Whether the accelerator runs this layer."""
        return self.reason is None

    @property
    def kept_rows_mean(self) -> float | None:
        """Mean of the kept rows over groups."""
        return kept_rows_mean([self])

    @property
    def kept_ones_mean(self) -> float | None:
        """Mean of the kept ones over weights."""
        return _mean_of([self.kept_ones_histogram])

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each of `LAYER_COLUMNS`."""
        return _values(self, LAYER_COLUMNS) | {"notes": "; ".join(self.notes)}

    def with_notes(self, notes: tuple[str, ...]) -> LayerResult:
        """Return the same result with `notes` added."""
        return replace(self, notes=self.notes + notes) if notes else self


def kept_rows_mean(rows: Sequence[LayerResult]) -> float | None:
    """Mean of the kept rows over all groups of some layers; None where no rows are pruned."""
    return _mean_of([row.kept_rows_histogram for row in rows])


def _mean_of(histograms: Sequence[tuple[int, ...] | None]) -> float | None:
    """Mean over all that is counted in some histograms; None if that is nothing."""
    counts = [h for h in histograms if h]
    total = sum(map(sum, counts))
    return sum(n * value for c in counts for value, n in enumerate(c)) / total if total else None


@dataclass(frozen=True, kw_only=True, repr=False)
class NetworkTotal(Measures):
    """All layers that an accelerator runs, together: `hwmodel.simulation.columns.TOTAL_COLUMNS`."""

    layers: int
    not_applicable: int

    @property
    def cycles(self) -> int:
        """All cycles: the sum over all causes; 0 if no layer runs."""
        return super().cycles or 0

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each of `TOTAL_COLUMNS`.

        Where no layer runs there are no cycles to tell, not 0 of them.
        """
        row = _values(self, TOTAL_COLUMNS)
        return row if self.layers else row | {"compute_cycles": None, "cycles": None}


# -- totals ------------------------------------------------------------------------------------


def _count(rows: Sequence[LayerResult], name: str) -> int:
    """Sum of a column that every layer has."""
    return sum(getattr(r, name) for r in rows)


def _sum(rows: Sequence[LayerResult], name: str) -> Any:
    """Sum of a column, exact for integers; None if a row has no value."""
    values = [getattr(r, name) for r in rows]
    if not values or None in values:
        return None
    return fsum(values) if isinstance(values[0], float) else sum(values)


def _told(rows: Sequence[LayerResult], name: str) -> int | None:
    """Cycles of a cause in the layers that tell it apart; None if none does."""
    told = [getattr(r, name) for r in rows if getattr(r, name) is not None]
    return sum(told) if told or name == "compute_cycles" else None


def _mean(rows: Sequence[LayerResult], name: str) -> float | None:
    """Mean over cycles."""
    cycles = sum(r.cycles or 0 for r in rows)
    weighted = sum((getattr(r, name) or 0.0) * (r.cycles or 0) for r in rows)
    return weighted / cycles if cycles else None


def _first(rows: Sequence[LayerResult], name: str) -> Any:
    return getattr(rows[0], name) if rows else None


_RULES: dict[str, Callable[[Sequence[LayerResult], str], Any]] = {
    "count": _count,
    "sum": _sum,
    "told": _told,
    "mean": _mean,
    "first": _first,
}
"""How a network's value comes of its layers', by `Column.total`."""


def _energy(rows: Sequence[LayerResult]) -> dict[str, float] | None:
    """Energy by part over all rows; None if a row has none."""
    parts = [r.energy_parts_j for r in rows]
    if not parts or None in parts:
        return None
    names = dict.fromkeys(name for p in parts if p is not None for name in p)
    return {name: fsum(p.get(name, 0.0) for p in parts if p is not None) for name in names}


def total_of(accelerator: str, rows: Sequence[LayerResult]) -> NetworkTotal:
    """Sum the rows of one accelerator over the layers that it runs."""
    run = [r for r in rows if r.applicable]
    combined = {c.name: _RULES[c.total](run, c.name) for c in COLUMNS if c.total in _RULES}
    return NetworkTotal(
        **(combined | {"accelerator": accelerator}),
        layers=len(run),
        not_applicable=len(rows) - len(run),
        clock_hz=_first(run, "clock_hz"),
        energy_parts_j=_energy(run),
    )


@dataclass(frozen=True, kw_only=True)
class NetworkResult(TabularResult):
    """All layers of a network on all accelerators.

    Attributes
    ----------
    network : str
    accelerators : tuple of str
        Labels, in the order given.
    layers : tuple of LayerResult
        Layer by layer, each on every accelerator.
    not_simulated : tuple of NotSimulated
        Operators that are not simulated as layers, and why.
    notes : tuple of str
        Assumptions that apply to the whole run.
    """

    _main_table = "simulation"
    network: str
    accelerators: tuple[str, ...]
    layers: tuple[LayerResult, ...]
    not_simulated: tuple[NotSimulated, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        totals = ({name: getattr(t, name) for name in _TOLD if hasattr(t, name)} for t in self.totals)
        return table_repr(f"NetworkResult: {self.network}", totals, "by layer: .of(label), .to_pandas()")

    def of(self, accelerator: str) -> tuple[LayerResult, ...]:
        """Rows of one accelerator, by its label."""
        if accelerator not in (known := self.accelerators):
            raise OptionError(f"accelerator {accelerator!r} is not in this run; it has {', '.join(known)}")
        return tuple(r for r in self.layers if r.accelerator == accelerator)

    def total(self, accelerator: str) -> NetworkTotal:
        """Sum over the layers that `accelerator` runs."""
        return total_of(accelerator, self.of(accelerator))

    @property
    def totals(self) -> tuple[NetworkTotal, ...]:
        """Totals of every accelerator, in order."""
        return tuple(self.total(a) for a in self.accelerators)

    def speedup(self, accelerator: str, over: str) -> float | None:
        """Gain of one accelerator over another on the layers that both run; None if there are none."""
        pairs = [
            (a.cycles, b.cycles)
            for a, b in zip(self.of(accelerator), self.of(over), strict=True)
            if a.cycles is not None and b.cycles is not None
        ]
        return _ratio(sum(b for _, b in pairs), sum(a for a, _ in pairs))

    def tables(self) -> Tables:
        """Return the tables of a store, without ``area`` and ``costs``, which need the machines.

        Examples
        --------
        >>> import hwmodel as hw
        >>> len(hw.simulate_network("dadiannao", "resnet20-cifar10").tables()["simulation"])
        20
        """
        write_result(collector := TableCollector(), self)
        return collector.tables()

    def _shown(self) -> tuple[str, Iterable[str]]:
        return "networks", _TOLD
