"""The array of PEs: cycles of each filter tile, serial over the ones of each weight, or over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.bitx.selection import Gathered

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.lane_costs import Steps

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TileTimes:
    """Cycles of an array of PEs, position tiles and fill left out.

    Attributes
    ----------
    ladder : array of int64, shape (tiles, 4)
        As `hwmodel.accelerators.cycle_attribution.Passes.causes` takes it.
    busy : int
        Cycles of all vectors, each alone on its PE.
    """

    ladder: Counts
    busy: int


@dataclass(frozen=True, kw_only=True)
class PEArray:
    """Options of a machine that say how its PEs take in groups.

    Parameters
    ----------
    processing_elements : int
        C.
    lanes : int
        Lanes of a PE that take ones: M, or M per CU where the CUs share out a filter's groups.
    together : int
        Groups that a PE takes in at once.
    fifo_depth, lane_fifo_depth : int or None
    skip_zero_groups : bool
    rows_per_cycle : int
        L, where groups are taken in by rows.
    """

    processing_elements: int
    lanes: int
    together: int
    fifo_depth: int | None
    lane_fifo_depth: int | None
    skip_zero_groups: bool
    rows_per_cycle: int

    @property
    def steps(self) -> Steps:
        """How lanes take in groups."""
        from hwmodel.accelerators.engines.lane_costs import Steps

        return Steps(self.together, self.lane_fifo_depth != 0, 0 if self.skip_zero_groups else 1)

    def by_weight(self, found: Gathered, bounds: Counts) -> TileTimes:
        """Time PEs whose lanes each take the ones of their own weight.

        Parameters
        ----------
        found : Gathered
            With the costs of `steps`.
        bounds : array of int64
            Where tiles of vectors begin, and the end.
        """
        from hwmodel.accelerators.engines.skewed_fifo import fifo_times

        times = fifo_times(
            found.lanes.costs,
            fifo_depth=self.fifo_depth,
            lane_fifo_depth=self.lane_fifo_depth,
            units=self.processing_elements,
            bounds=bounds,
            lengths=-(-found.lengths // self.together),
        )
        ones = np.add.reduceat(found.lanes.sums, bounds[:-1])
        even = -(-ones // (self.processing_elements * self.lanes))
        return TileTimes(np.column_stack([even, times.ladder]), int(times.alone.sum()))

    def by_row(self, rows: npt.NDArray[np.uint8], lengths: Counts, bounds: Counts) -> TileTimes:
        """Time PEs that take the kept rows of a group, `rows_per_cycle` at a time.

        Parameters
        ----------
        rows : array of uint8, shape (vectors, groups)
        lengths : array of int64, shape (vectors,)
            Groups of each vector.
        bounds
            As of `by_weight`.
        """
        from hwmodel.accelerators.engines.skewed_fifo import fifo_times

        cost = -(-np.arange(256) // self.rows_per_cycle)
        cost[0] = 0 if self.skip_zero_groups else 1
        times = fifo_times(
            cost.astype(np.uint8)[rows],
            fifo_depth=self.fifo_depth,
            units=self.processing_elements,
            bounds=bounds,
            lengths=lengths,
        )
        return TileTimes(times.ladder[:, [0, 0, 1, 2]], int(times.alone.sum()))

    def every_group_alike(self, cycles: int, lengths: Counts, bounds: Counts) -> TileTimes:
        """Time PEs whose groups all cost the same, of vectors that all have as many of them."""
        each = -(-int(lengths[0]) // self.together) * cycles
        return TileTimes(np.full((len(bounds) - 1, 4), each, np.int64), each * len(lengths))

    def work(self, found: Gathered, bounds: Counts) -> int:
        """Cycles of all tiles, if the lanes of a PE shared the ones of its vector evenly.

        A tile still takes as long as its longest vector: nothing else waits.
        """
        return int(np.maximum.reduceat(-(-found.lanes.sums // self.lanes), bounds[:-1]).sum())
