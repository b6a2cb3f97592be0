"""What a layer does on a machine's chip, before any memory is looked at: the result of `Accelerator.run`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hwmodel.accelerators.cycle_attribution import CAUSES


@dataclass(frozen=True)
class ChipEnergy:
    """Energy of a layer by part of the machine.

    Parameters
    ----------
    events_j : mapping of str to float
        In joules: what the uses of each part take, however long the layer lasts.
    standing_w : mapping of str to float
        In watts: what every cycle takes, waiting for DRAM included (leakage, clock).
    """

    events_j: Mapping[str, float]
    standing_w: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class OnChip:
    """Cycles and energy of a layer whose operands are all in the buffers.

    Parameters
    ----------
    compute_cycles : int
        Cycles by cause, as described by `hwmodel.accelerators.cycle_attribution.CAUSES`; the next seven as
        well. A machine that does not distinguish stalls counts them as compute.
    lane_wait_cycles, imbalance_cycles, fifo_full_cycles, fill_cycles : int, optional
    weight_wait_cycles, activation_wait_cycles, output_wait_cycles : int, optional
        Waits for the machine's own buffer ports.
    utilisation : float, optional
        Share of the machine's slots, over all cycles, that did useful work.
    filter_tiles, position_tiles : int, optional
        Tiles the layer is cut into; each pair of them is one pass over the filters' weights.
    groups : int, optional
        Weight groups, each counted once.
    kept_rows_histogram : tuple of int, optional
        Entry r: the groups with r kept rows.
    kept_ones_histogram : tuple of int, optional
        Entry k: the weights with k kept ones.
    window_limited_groups : int, optional
        Groups that kept fewer rows than they might while a one fell out of the alignment window.
    work_cycles, unpruned_work_cycles : int, optional
        Of PEs with perfectly balanced lanes, pruned or not.
    unpruned_cycles, every_bit_cycles : int, optional
        All cycles of the same machine without pruning, which skips zero bits or takes every bit.
    on_chip_unpruned_fixed16_cycles : int, optional
        The first of these two in 16-bit fixed point.
    unpruned_all_rows_cycles, unpruned_nonempty_rows_cycles : int, optional
        All cycles of the same row-serial machine without pruning: every row of the window, or those that
        hold a one.
    energy : ChipEnergy, optional
        None if the machine has no cost model.
    notes : tuple of str
        Assumptions that apply to this layer only.
    """

    compute_cycles: int
    lane_wait_cycles: int | None = None
    imbalance_cycles: int | None = None
    fifo_full_cycles: int | None = None
    fill_cycles: int | None = None
    weight_wait_cycles: int | None = None
    activation_wait_cycles: int | None = None
    output_wait_cycles: int | None = None
    utilisation: float | None = None
    filter_tiles: int | None = None
    position_tiles: int | None = None
    groups: int | None = None
    kept_rows_histogram: tuple[int, ...] | None = None
    kept_ones_histogram: tuple[int, ...] | None = None
    window_limited_groups: int | None = None
    work_cycles: int | None = None
    unpruned_work_cycles: int | None = None
    unpruned_cycles: int | None = None
    every_bit_cycles: int | None = None
    on_chip_unpruned_fixed16_cycles: int | None = None
    unpruned_all_rows_cycles: int | None = None
    unpruned_nonempty_rows_cycles: int | None = None
    energy: ChipEnergy | None = field(default=None, hash=False)
    notes: tuple[str, ...] = ()

    @property
    def cycles(self) -> int:
        """All cycles: the sum over all causes."""
        return sum(getattr(self, cause) or 0 for cause in CAUSES)
