"""Bit-Pragmatic: only the essential bits of activations.

J. Albericio, A. Delmas, P. Judd, S. Sharify, G. O'Leary, R. Genov, A. Moshovos, "Bit-Pragmatic Deep Neural
Network Computing", MICRO 2017. From its sections of these names: activations as lists of oneffsets, two-stage
shifting with L first-stage bits, per-column synchronisation with registers for weight sets, improved
oneffset (modified Booth) encoding. From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this
model agrees number by number: the Booth terms, bricks of zeros, and fully connected layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwmodel.accelerators.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.engines.grid import activation_bricks, stream
from hwmodel.engines.terms import magnitude_terms, magnitude_words
from hwmodel.layers import Layer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult


@dataclass(frozen=True, kw_only=True)
class Pragmatic(Grid):
    """Grid whose lanes take one essential activation bit a cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`.
    first_stage_bits : int
        L: lanes of a column apply terms up to ``2**L - 1`` positions apart in one cycle.
    booth : bool
        Recode runs of ones.
    column_registers : int
        Weight sets that let a column run ahead of others; 0 keeps all columns in step.
    """

    first_stage_bits: int = 2
    booth: bool = True
    column_registers: int = 1

    name: ClassVar[str] = "pragmatic"
    title: ClassVar[str] = "Bit-Pragmatic, MICRO 2017: essential activation bits"
    source: ClassVar[str] = "Albericio et al., Bit-Pragmatic Deep Neural Network Computing, MICRO 2017"
    needs_weights: ClassVar[bool] = False
    needs_activations: ClassVar[bool] = True
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "Activations are sign and magnitude; the sign costs nothing. A brick of zeros costs one cycle.",
        "Booth terms are the public simulator's: a run of ones becomes two terms, 27 keeps its four.",
        "Matrix products of activations stream the second operand as weights.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(0, "first_stage_bits", "column_registers")

    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`."""
        from hwmodel.engines.two_stage import two_stage_cycles
        from hwmodel.engines.waiting import waiting

        p = self._plan(layer, operands)
        bricks = activation_bricks(p, operands.integer_activations)
        magnitudes = magnitude_words(bricks.values, p.activation_words, p.word_bits)
        terms = magnitude_terms(magnitudes, self.booth)
        costs = two_stage_cycles(np.moveaxis(terms, -1, -2), self.first_stage_bits)
        ones = np.bitwise_count(terms).sum(axis=(-1, -2))
        columns = waiting(p, self.column_registers)
        work = 0
        for g in range(p.groups):
            columns.feed(stream(p, bricks, costs[:, g]), p.rounds)
            work += int(ones[bricks.index, g].sum(dtype=np.int64))
        return self._grid_result(p, columns.cycles, work * p.filters_at_work)
