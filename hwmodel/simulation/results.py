"""What a simulation returns: one record a layer and accelerator, and their totals.

Every field's unit stands in `UNITS`. A layer that an accelerator does not run has a `reason` and
no numbers; it never counts as zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import TYPE_CHECKING, Any

from bitxcore.errors import TensorError
from hwmodel.accelerators.cycle_attribution import CAUSES

if TYPE_CHECKING:
    from hwmodel.networks.network import NotSimulated

DRAM_TRAFFIC = (
    "dram_weight_bytes",
    "dram_activation_bytes",
    "dram_output_bytes",
    "dram_partial_sum_bytes",
)
"""Columns of bytes that cross the memory's bus, by what they are."""

_MEASURES: dict[str, str] = {
    "macs": "1",
    "parameters": "1",
    **dict.fromkeys(CAUSES, "cycles"),
    "cycles": "cycles",
    "on_chip_cycles": "cycles",
    "bound_by": "",
    "utilisation": "1",
    "seconds": "s",
    "energy_j": "J",
    "power_w": "W",
    "area_mm2": "mm2",
    "dram_bytes": "B",
    **dict.fromkeys(DRAM_TRAFFIC, "B"),
    "dram_weight_bytes_plain": "B",
    "dram_seconds": "s",
    "unpruned_all_rows_cycles": "cycles",
    "unpruned_nonempty_rows_cycles": "cycles",
    "speedup_over_all_rows": "1",
    "speedup_over_nonempty_rows": "1",
    "on_chip_speedup_over_all_rows": "1",
    "on_chip_speedup_over_nonempty_rows": "1",
}

UNITS: dict[str, str] = {
    "layer": "",
    "operation": "",
    "accelerator": "",
    "reason": "",
    "notes": "",
    "peak_macs_per_cycle": "1/cycle",
    **_MEASURES,
    "tiling": "",
    "filter_tiles": "1",
    "position_tiles": "1",
    "groups": "1",
    "kept_rows_mean": "1",
}
"""Unit of each column of `LayerResult.columns`; ``""`` for text."""

TOTAL_UNITS: dict[str, str] = {"accelerator": "", "layers": "1", "not_applicable": "1", **_MEASURES}
"""Unit of each column of `NetworkTotal.columns`."""


BOUNDS: dict[str, str] = {
    "compute_cycles": "compute",
    "imbalance_cycles": "imbalance",
    "fifo_full_cycles": "FIFO",
    "fill_cycles": "fill",
    "weight_wait_cycles": "weight traffic",
    "activation_wait_cycles": "activation traffic",
    "output_wait_cycles": "output traffic",
}
"""What `bound_by` calls the cause of most cycles; of equals the first."""


def _ratio(over: int | None, cycles: int | None) -> float | None:
    return None if over is None or cycles is None or cycles == 0 else over / cycles


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is told of a layer and of a whole network alike.

    Attributes
    ----------
    accelerator : str
        Label of the accelerator: its name and the options that differ from the defaults.
    macs, parameters : int
        Of the layers counted; padding counts, biases do not.
    compute_cycles, imbalance_cycles, fifo_full_cycles, fill_cycles : int or None
        Cycles by cause, as `hwmodel.accelerators.cycle_attribution.CAUSES` describes them. A machine that
        does not tell stalls apart counts them as compute.
    weight_wait_cycles, activation_wait_cycles, output_wait_cycles : int or None
        Cycles in which only a buffer's port or the DRAM is busy.
    on_chip_cycles : int or None
        Cycles with a memory without limits.
    utilisation : float or None
        Share of the machine's slots, over all cycles, that did useful work.
    clock_hz : float or None
        Cycles a second.
    energy_parts_j : mapping of str to float, or None
        Energy by part of the machine, DRAM included, in joules; None if it has no cost model.
    area_mm2 : float or None
        Of the whole machine; without DRAM.
    dram_weight_bytes, dram_activation_bytes, dram_output_bytes, dram_partial_sum_bytes : int or None
        What crosses the DRAM's bus: weights (or a second operand) and activations in, outputs out, spilled
        partial sums out and in. In whole bytes, not in whole bursts.
    dram_weight_bytes_plain : int or None
        What weights would move if they were not kept compressed; None if they are not.
    dram_seconds : float or None
        Time in which the DRAM is busy; None if it has no limits.
    unpruned_all_rows_cycles, unpruned_nonempty_rows_cycles : int or None
        Total cycles of the same machine without pruning, in both readings.
    on_chip_unpruned_all_rows_cycles, on_chip_unpruned_nonempty_rows_cycles : int or None
        The same with a memory without limits.
    """

    accelerator: str
    macs: int
    parameters: int
    compute_cycles: int | None = None
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
    unpruned_all_rows_cycles: int | None = None
    unpruned_nonempty_rows_cycles: int | None = None
    on_chip_unpruned_all_rows_cycles: int | None = None
    on_chip_unpruned_nonempty_rows_cycles: int | None = None

    @property
    def cycles(self) -> int | None:
        """All cycles: the sum over all causes."""
        if self.compute_cycles is None:
            return None
        return sum(getattr(self, cause) or 0 for cause in CAUSES)

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
    def speedup_over_all_rows(self) -> float | None:
        """Gain over the unpruned machine that spends a slot on every row of the window."""
        return _ratio(self.unpruned_all_rows_cycles, self.cycles)

    @property
    def speedup_over_nonempty_rows(self) -> float | None:
        """Gain over the unpruned machine that skips empty rows already."""
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
        if not self.cycles:
            return None
        return BOUNDS[max(BOUNDS, key=lambda cause: getattr(self, cause) or 0)]


@dataclass(frozen=True, kw_only=True)
class LayerResult(Measures):
    """One layer on one accelerator.

    Attributes
    ----------
    layer, operation : str
        The layer's name and kind.
    options : mapping
        Every option of the accelerator.
    peak_macs_per_cycle : float
        Of the accelerator, at 16 bits.
    reason : str or None
        Why the accelerator does not run the layer; then all measures are None.
    standing_w : mapping of str to float, or None
        Of the energy, by part, what is spent in every cycle, in watts.
    tiling : str or None
        Loops over tiles in DRAM, outermost first, as ``name trips x size``.
    filter_tiles, position_tiles : int or None
        Tiles the layer is cut into; each pair of them is one pass over the filters' weights.
    groups : int or None
        Weight groups, each counted once.
    kept_rows_histogram : tuple of int or None
        Entry r: the groups with r kept rows.
    notes : tuple of str
        Assumptions that apply to this row only.
    """

    layer: str
    operation: str
    options: Mapping[str, Any] = field(hash=False)
    peak_macs_per_cycle: float
    reason: str | None = None
    standing_w: Mapping[str, float] | None = field(default=None, hash=False)
    tiling: str | None = None
    filter_tiles: int | None = None
    position_tiles: int | None = None
    groups: int | None = None
    kept_rows_histogram: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def applicable(self) -> bool:
        """Whether the accelerator runs this layer."""
        return self.reason is None

    @property
    def kept_rows_mean(self) -> float | None:
        """Mean of the kept rows over groups."""
        if not self.kept_rows_histogram or not self.groups:
            return None
        return sum(r * n for r, n in enumerate(self.kept_rows_histogram)) / sum(self.kept_rows_histogram)

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `UNITS`."""
        row = {name: getattr(self, name) for name in UNITS}
        row["notes"] = "; ".join(self.notes)
        return row

    def with_notes(self, notes: tuple[str, ...]) -> LayerResult:
        """Return the same result with `notes` added."""
        return replace(self, notes=self.notes + notes) if notes else self


@dataclass(frozen=True, kw_only=True)
class NetworkTotal(Measures):
    """Sum over the layers that an accelerator runs; of the utilisation the mean over cycles.

    Attributes
    ----------
    layers, not_applicable : int
        Layers counted and left out.
    """

    layers: int
    not_applicable: int

    @property
    def cycles(self) -> int:
        """All cycles: the sum over all causes; 0 if no layer runs."""
        return super().cycles or 0

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `TOTAL_UNITS`.

        Where no layer runs there are no cycles to tell, not 0 of them.
        """
        row = {name: getattr(self, name) for name in TOTAL_UNITS}
        return row if self.layers else row | {"compute_cycles": None, "cycles": None}


_SUMMED = (
    "on_chip_cycles",
    *DRAM_TRAFFIC,
    "dram_weight_bytes_plain",
    "dram_seconds",
    "unpruned_all_rows_cycles",
    "unpruned_nonempty_rows_cycles",
    "on_chip_unpruned_all_rows_cycles",
    "on_chip_unpruned_nonempty_rows_cycles",
)


def _sum(rows: Sequence[LayerResult], name: str) -> Any:
    """Sum of a column, exact for integers; None if a row has no value."""
    values = [getattr(r, name) for r in rows]
    if not values or None in values:
        return None
    return fsum(values) if isinstance(values[0], float) else sum(values)


def _cause(rows: Sequence[LayerResult], cause: str) -> int | None:
    """Cycles of a cause in the layers that tell it apart; None if none does."""
    told = [getattr(r, cause) for r in rows if getattr(r, cause) is not None]
    return sum(told) if told or cause == "compute_cycles" else None


def _energy(rows: Sequence[LayerResult]) -> dict[str, float] | None:
    """Energy by part over all rows; None if a row has none."""
    parts = [r.energy_parts_j for r in rows]
    if not parts or None in parts:
        return None
    names = dict.fromkeys(name for p in parts if p is not None for name in p)
    return {name: fsum(p.get(name, 0.0) for p in parts if p is not None) for name in names}


@dataclass(frozen=True, kw_only=True)
class NetworkResult:
    """All layers of a network on all accelerators.

    Attributes
    ----------
    network : str
    accelerators : tuple of str
        Labels, in the order given.
    layers : tuple of LayerResult
        Layer by layer, each on every accelerator.
    not_simulated : tuple of NotSimulated
        Operators of the network that are no layers here, and why.
    notes : tuple of str
        Assumptions that apply to the whole run.
    """

    network: str
    accelerators: tuple[str, ...]
    layers: tuple[LayerResult, ...]
    not_simulated: tuple[NotSimulated, ...] = ()
    notes: tuple[str, ...] = ()

    def of(self, accelerator: str) -> tuple[LayerResult, ...]:
        """Rows of one accelerator, by its label."""
        if accelerator not in self.accelerators:
            known = ", ".join(self.accelerators)
            raise TensorError(f"accelerator {accelerator!r} is not in this run; it has {known}")
        return tuple(r for r in self.layers if r.accelerator == accelerator)

    def total(self, accelerator: str) -> NetworkTotal:
        """Sum over the layers that `accelerator` runs."""
        rows = self.of(accelerator)
        run = [r for r in rows if r.applicable]
        cycles = sum(r.cycles or 0 for r in run)
        used = sum((r.utilisation or 0.0) * (r.cycles or 0) for r in run)
        return NetworkTotal(
            accelerator=accelerator,
            layers=len(run),
            not_applicable=len(rows) - len(run),
            macs=sum(r.macs for r in run),
            parameters=sum(r.parameters for r in run),
            **{cause: _cause(run, cause) for cause in CAUSES},
            **{name: _sum(run, name) for name in _SUMMED},
            utilisation=used / cycles if cycles else None,
            clock_hz=run[0].clock_hz if run else None,
            energy_parts_j=_energy(run),
            area_mm2=run[0].area_mm2 if run else None,
        )

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
