"""ShapeShifter: the precision that each group of activations needs, found at run time.

A. Delmas Lascorz, S. Sharify, I. Edo, D. Malone Stuart, O. Mohamed Awad, P. Judd, M. Mahmoud, M. Nikolic,
K. Siu, Z. Poulos, A. Moshovos, "ShapeShifter: Enabling Fine-Grain Data Width Adaptation in Deep Learning",
MICRO 2019, on a Stripes-like grid; M. Mahmoud et al., "Diffy", MICRO 2018, has the same detection. From the
papers: each group of activations is processed at the width of its widest member; in memory, groups of
weights and activations have a width, a bit vector of zeros, and the other values. From the public
simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees number by number: signs, groups of
zeros, `minor_bit`, registers and fully connected layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.bricks import present
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.families.activation_widths import ActivationWidths
from hwmodel.accelerators.families.compressed import group_width_bits
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.accelerators.families.grid_work import GridWork, by_block, columns_at_work
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.accelerators.stripes import SERIAL_UNITS, serial_parts, serial_uses
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import width_detector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Layer, MatMul
from hwmodel.operands.operands import Operands, activation_shape
from hwmodel.operands.reads import Reads


@dataclass(frozen=True, kw_only=True)
class ShapeShifter(Grid):
    """Grid whose lanes take one activation bit per cycle, as many as the group's widest value has.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`.
    group_columns : int
        Columns that share a width; must divide `columns`.
    column_registers : int
        Weight sets that let a group of columns run ahead of others; 0 keeps all in step.
    minor_bit : bool
        Leave out the low bits that are 0 in all values of a group, too.
    fc_turns : bool
        What fully connected layers do where `group_columns` is more than 1. True, as DNNsim: the groups take
        turns as single columns, and a time step finds its activations only if its turn is that of
        its own column; else it is a group of zeros. False: every column works on its own.
    stored_group : int
        Values that share a width in DRAM.
    """

    group_columns: int = 1
    column_registers: int = 0
    minor_bit: bool = False
    fc_turns: bool = True
    stored_group: int = 16

    name: ClassVar[str] = "shapeshifter"
    title: ClassVar[str] = "ShapeShifter, MICRO 2019: activation precision of each group"
    source: ClassVar[str] = (
        "Delmas Lascorz et al., ShapeShifter: Enabling Fine-Grain Data Width Adaptation in Deep Learning,"
        " MICRO 2019"
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "Negative values are read in one's complement; one sign bit is added where a tensor has any. A"
        " group of zeros costs one cycle, two with sign.",
        "In fully connected layers columns that share a width take turns as the simulator's do, which"
        " makes most time steps read zeros; fc_turns=False lets each column work on its own. Nothing to"
        " choose with one column per group, the default.",
        "Matrix products of activations stream the second operand as weights.",
        SERIAL_UNITS,
        "DRAM holds the paper's compressed form of both operands: 16 values that follow one another, channels"
        " innermost, share a width; a bit each says which are zero, and those take nothing more. A value has"
        " the same one's complement and sign bit as in the lanes.",
        "Guessed: results, and the second operand of a product of activations, whose values are not looked"
        " at, take as many bits per value in DRAM as the layer's activations do.",
        "Guessed: the dispatcher finds the width of each group of columns, whose activations were read whole;"
        " every further weight set is a register per row and lane.",
    )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(activations=True)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Units and dispatcher of Stripes, width detectors, further weight sets."""
        bits, groups = self.word_bits, self.columns // self.group_columns
        return {
            **serial_parts(self, costs),
            "width_detectors": Part(width_detector(costs, self.lanes * self.group_columns, bits), groups),
            "weight_sets": self.weight_sets(costs, self.column_registers),
        }

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "group_columns", "stored_group")
        self.check_at_least(0, "column_registers")
        self.check_divides("group_columns", "columns")

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: groups of values, each group as wide as its widest, without zeros."""
        shape = activation_shape(layer)
        rows_first = not isinstance(layer, MatMul)
        activations = self._compressed(
            operands.integer_activations.reshape(shape), operands.activation_precision, rows_first
        )

        def alike(values: int) -> int:
            return -(-activations * values // prod(shape))

        if layer.has_weights:
            w = operands.integer_weights.reshape(layer.weight_shape)
            weights = self._compressed(w, operands.weight_precision, True)
        else:
            weights = alike(layer.input_count - prod(shape))
        return StoredBits(weights, activations, alike(layer.output_count))

    def _compressed(self, values: npt.NDArray[Any], precision: int, channels_second: bool) -> int:
        """Bits of a tensor, stored with its channels innermost."""
        if channels_second:
            values = np.moveaxis(values, 1, -1)
        word = whole_words(precision, self.word_bits)
        return group_width_bits(values, group=self.stored_group, word=word)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.column_sync import Staggered, waiting

        p = self.plan_of(layer, operands)
        activations = ActivationWidths.of(p, operands.integer_activations, self.minor_bit)
        turns = p.staggered and self.fc_turns and self.group_columns > 1
        together = 1 if p.staggered and not turns else self.group_columns
        columns = waiting(p, self.column_registers, together)
        if turns:
            columns = Staggered(-(-p.columns // self.group_columns))
        w = GridWork.of(p, operands)
        work = unit_cycles = lane_cycles = 0
        for g in range(p.groups):
            costs = activations.columns(g, together)
            if turns:
                costs = self._in_turns(p, g, costs, activations.of_zeros)
            columns.feed(costs, 1 if turns else p.rounds)
            alone = activations.alone(g)
            work += int(alone @ p.lanes_at_work(g)) * p.filters_at_work
            shared = alone if together == 1 else self._together(p, costs, together)
            units, lanes = w.cycles_at_work(g, shared)
            unit_cycles, lane_cycles = unit_cycles + units, lane_cycles + lanes
        uses = serial_uses(w, unit_cycles, lane_cycles)
        uses["width_detectors"] = int(present(p, together).sum()) * p.groups * p.steps * p.rounds
        uses["weight_sets"] = w.weights_read * p.weight_words * w.weight_share * (self.column_registers > 0)
        return self.grid_result(p, columns.cycles, work, work=w.work(uses))

    @staticmethod
    def _together(p: GridPlan, costs: npt.NDArray[Any], together: int) -> npt.NDArray[np.int64]:
        """Cycles of all columns by channel block where columns share a width (a mean over rounds)."""
        members = columns_at_work(p, together)
        steps = np.einsum("stc,sc->t", costs, members, dtype=np.int64)
        return by_block(p, steps) // np.int64(costs.shape[1] // p.steps)

    def _in_turns(self, p: GridPlan, group: int, costs: npt.NDArray[Any], zero: int) -> npt.NDArray[Any]:
        """Repeat the steps for every round; those that are not in their own column's turn see zeros."""
        costs = np.tile(costs, (1, p.rounds, 1))
        step = np.arange(costs.shape[0] * costs.shape[1]).reshape(costs.shape[:2])
        turn = (group * step.size + step) % -(-p.columns // self.group_columns)
        own = step % p.steps % p.columns
        return np.where((turn == own)[..., None], costs, zero)
