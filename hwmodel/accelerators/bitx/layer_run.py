"""One layer on a BitX machine: cycles by cause, the same machine unpruned, and what its parts do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitxcore.formats import NumberFormat, number_format
from hwmodel.accelerators.bitx.arrays import PEArray, TileTimes
from hwmodel.accelerators.bitx.counts import format_read
from hwmodel.accelerators.bitx.hardware import Events
from hwmodel.accelerators.bitx.job import Job
from hwmodel.accelerators.bitx.selection import Gathered, Pruning
from hwmodel.accelerators.bitx.work import BitWidths, LayerWork, PassShape
from hwmodel.networks.layers import Layer


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerRun:
    """A layer, and the options of a machine that its cycles depend on.

    Parameters
    ----------
    layer : Layer
    job : Job
        Of its serial operand, as the machine reads it.
    fixed_job : callable
        Makes the one of the same operand in 16-bit fixed point.
    from_floats : bool
        Whether the operand comes as floats, whatever they are quantised to.
    pruning : Pruning
    array : PEArray
    shape : PassShape
    """

    layer: Layer
    job: Job
    fixed_job: Callable[[], Job]
    from_floats: bool
    pruning: Pruning
    array: PEArray
    shape: PassShape

    @property
    def format(self) -> NumberFormat:
        """Format that the PEs see: of ``fixed<N>`` the integers'."""
        return format_read(self.job.values, self.job.format)

    @property
    def window(self) -> int:
        """Rows of the alignment window; of the magnitude, in fixed point."""
        return self.pruning.window or self.format.default_window

    @property
    def widths(self) -> BitWidths:
        """Widths of the layer's numbers."""
        return BitWidths.of(self.format, self.job.other_bits, self.shape.serial)

    def by_weight(self) -> tuple[dict[str, Any], Events]:
        """Run it with lanes that are serial over the ones of their own weights.

        Returns
        -------
        counts : dict
            Of `hwmodel.accelerators.on_chip.OnChip`, energy left out.
        events : Events
        """
        values, form, steps = self.job.values, self.job.format, self.array.steps
        # The unpruned machine comes first: it looks at every value, and names the place of a bad one.
        dense = self.pruning.unpruned(values, form, steps)
        pruned = self.pruning.pruned(values, form, steps) if self.pruning.prunes else dense
        times = self.array.by_weight(pruned, self.job.bounds)
        work = self._work(dense)
        ones = int(pruned.lanes.sums.sum())
        counts = self._counts(work, pruned, times, applied=ones, lanes=self.array.lanes)
        counts |= {
            "work_cycles": self.array.work(pruned, self.job.bounds) * work.passes_of_a_tile,
            "unpruned_work_cycles": self.array.work(dense, self.job.bounds) * work.passes_of_a_tile,
            "unpruned_cycles": self._cycles(work, dense, self.array.by_weight(dense, self.job.bounds)),
            "every_bit_cycles": self._cycles(work, dense, self._every_bit(dense)),
        }
        counts["on_chip_unpruned_fixed16_cycles"] = self._fixed_cycles(counts["unpruned_cycles"])
        events = work.events(pruned.lengths, handed_out=ones, applied=ones, busy=times.busy)
        return counts, events

    def by_row(self) -> tuple[dict[str, Any], Events]:
        """Run it with lanes that each take a whole row; as `by_weight`."""
        values, form, steps = self.job.values, self.job.format, self.array.steps
        every, bounds = self.pruning.nonempty(values, form, steps), self.job.bounds
        pruned = self.pruning.pruned(values, form, steps) if self.pruning.prunes else every
        assert pruned.kept is not None
        times = self.array.by_row(pruned.kept.rows, pruned.lengths, bounds)
        work = self._work(every)
        histogram = np.array(pruned.kept_rows_histogram(self.window))
        kept_rows = int(np.arange(len(histogram)) @ histogram)
        counts = self._counts(work, pruned, times, applied=kept_rows, lanes=self.array.rows_per_cycle)
        every_row = -(-self.window // self.array.rows_per_cycle)
        assert every.kept is not None
        all_rows = self.array.every_group_alike(every_row, every.lengths, bounds)
        nonempty = self.array.by_row(every.kept.rows, every.lengths, bounds)
        counts |= {
            "unpruned_all_rows_cycles": self._cycles(work, every, all_rows),
            "unpruned_nonempty_rows_cycles": self._cycles(work, every, nonempty),
        }
        events = work.events(pruned.lengths, handed_out=kept_rows, applied=kept_rows, busy=times.busy)
        return counts, events

    def _work(self, dense: Gathered, widths: BitWidths | None = None) -> LayerWork:
        return LayerWork(
            layer=self.layer,
            job=self.job,
            widths=widths or self.widths,
            shape=self.shape,
            groups=int(dense.lengths[0]),
        )

    def _counts(
        self, work: LayerWork, found: Gathered, times: TileTimes, *, applied: int, lanes: int
    ) -> dict[str, Any]:
        """Cycles by cause, and what else both kinds of lanes tell.

        Parameters
        ----------
        work : LayerWork
        found : Gathered
        times : TileTimes
        applied : int
            What the lanes of a PE take over all vectors.
        lanes : int
            That take something in a cycle, of a PE at one position.
        """
        causes = work.passes(found.lengths).causes(times.ladder)
        at_once = self.array.processing_elements * lanes * self.shape.positions
        slots = sum(causes.values()) * at_once
        tiles = (self.job.tiles, work.passes_of_a_tile)
        filter_tiles, position_tiles = tiles if self.shape.serial == "weights" else tiles[::-1]
        return {
            **causes,
            "utilisation": applied * self.job.uses * self.job.steps / slots if slots else 0.0,
            "filter_tiles": filter_tiles,
            "position_tiles": position_tiles,
            "groups": int(found.lengths.sum()),
            "kept_rows_histogram": found.kept_rows_histogram(self.window) if found.kept else None,
            "kept_ones_histogram": found.kept_ones_histogram(self.format.significand_bits),
            "window_limited_groups": found.kept.window_limited_groups if found.kept else 0,
            "notes": (f"zero {self.shape.serial} packed away",) if found.packed else (),
        }

    def _cycles(self, work: LayerWork, found: Gathered, times: TileTimes) -> int:
        return work.passes(found.lengths).cycles(times.ladder)

    def _every_bit(self, dense: Gathered) -> TileTimes:
        """Time lanes that take every bit of the format: a float's significand, a whole integer."""
        bits = self.format.significand_bits if self.format.is_float else self.widths.serial
        return self.array.every_group_alike(bits, dense.lengths, self.job.bounds)

    def _fixed_cycles(self, unpruned_cycles: int) -> int:
        """Cycles of the unpruned machine on the same values in 16-bit fixed point."""
        if not self.from_floats:
            return unpruned_cycles
        job = self.fixed_job()
        dense = self.pruning.unpruned(job.values, job.format, self.array.steps)
        widths = BitWidths.of(number_format("int16"), job.other_bits, self.shape.serial)
        times = self.array.by_weight(dense, self.job.bounds)
        return self._cycles(self._work(dense, widths), dense, times)
