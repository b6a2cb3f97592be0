"""Widths of activations that are found at run time: what Loom and ShapeShifter have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.booth_terms import width_table, word_unions
from hwmodel.accelerators.engines.bricks import Bricks, activation_bricks, present, stream
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.families.grid_work import times_used


@dataclass(frozen=True, eq=False)
class ActivationWidths:
    """Activations of a layer as the detectors see them.

    Attributes
    ----------
    plan : GridPlan
    unions : array of uint16, shape (positions, groups, channel blocks, words)
        OR of the words of a brick's lanes, negative ones as their one's complement.
    table : array of uint8
        Width of a union, in bits, by its value.
    bricks : Bricks
    used : array of int64, shape (positions,)
        How often the walk reads each position.
    """

    plan: GridPlan
    unions: npt.NDArray[np.uint16]
    table: npt.NDArray[np.uint8]
    bricks: Bricks
    used: npt.NDArray[np.int64]

    @classmethod
    def of(cls, p: GridPlan, activations: npt.NDArray[np.integer], minor_bit: bool) -> ActivationWidths:
        """Look at the activations of a layer; with `minor_bit` low zeros of a group are left out, too."""
        signed = bool(activations.min() < 0)
        bricks = activation_bricks(p, activations)
        unions = word_unions(bricks.values, p.activation_words, p.word_bits, signed)
        return cls(p, unions, width_table(signed, minor_bit), bricks, times_used(bricks))

    @property
    def of_zeros(self) -> int:
        """Width of a group of zeros, in bits."""
        return int(self.table[0])

    def columns(self, group: int, together: int) -> npt.NDArray[np.uint8]:
        """Widths of all columns, `together` of which share one.

        Returns
        -------
        array of uint8, shape (window sets, steps, columns)
            0 where there is no window.
        """
        unions = stream(self.plan, self.bricks, self.unions[:, group], together)
        widths: npt.NDArray[np.uint8] = self.table[unions] * present(self.plan, together)
        return widths

    def alone(self, group: int) -> npt.NDArray[np.int64]:
        """Sum the widths that bricks have by themselves, over all windows, shape (channel blocks,)."""
        widths: npt.NDArray[np.int64] = self.table[self.unions[:, group]].sum(axis=-1, dtype=np.int64)
        return self.used @ widths
