"""Loom: both operands bit by bit, time proportional to the product of their precisions.

S. Sharify, A. Delmas Lascorz, K. Siu, P. Judd, A. Moshovos, "Loom: Exploiting Weight and Activation
Precisions to Accelerate Convolutional Neural Networks", DAC 2018. From its abstract and its section on the
architecture: a grid of serial inner-product units, 128 rows of filters, time inversely proportional to both
precisions; LM1b, LM2b and LM4b take 1, 2 and 4 activation bits per cycle; operands are stored bit by bit.
From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees number by number: how
widths are found at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.booth_terms import width_table, word_unions
from hwmodel.accelerators.engines.bricks import present, weight_bricks
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.families.activation_widths import ActivationWidths
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, SECOND_OPERAND, Grid
from hwmodel.accelerators.families.grid_work import GridWork
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import accumulator, adder_tree, tree_bits, width_detector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, dense_bits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads


@dataclass(frozen=True, kw_only=True)
class Loom(Grid):
    """Grid whose lanes multiply one weight bit with one or a few activation bits per cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`. 128 rows are the paper's; 32 tiles of them bring the peak to 4096.
    serial_bits : int
        Activation bits per cycle.
    dynamic_weights : bool
        Find the precision of each step's weights, instead of using the layer's.
    group_columns : int
        Columns, and rows, that share a width; must divide `columns` and `rows`. Only matters with
        `minor_bit`, because all columns wait for the widest.
    minor_bit : bool
        Leave out the low bits that are 0 in all values of a group, too.
    """

    rows: int = 128
    tiles: int = 32
    serial_bits: int = 1
    dynamic_weights: bool = False
    group_columns: int = 1
    minor_bit: bool = False

    name: ClassVar[str] = "loom"
    title: ClassVar[str] = "Loom, DAC 2018: precisions of both operands"
    source: ClassVar[str] = (
        "Sharify et al., Loom: Exploiting Weight and Activation Precisions to Accelerate Convolutional"
        " Neural Networks, DAC 2018"
    )
    slot_cycles_per_mac: ClassVar[int] = 256
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"columns": 256, "tiles": 2})
    width_options: ClassVar[frozenset[str]] = Grid.width_options | {"serial_bits"}
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "DRAM holds operands bit by bit, as many bits per value as the layer's precision: the paper's reduced"
        " footprint. Widths that are found at run time save cycles, not storage.",
        "A step costs the activations' width, found at run time over all columns and counted in"
        " serial_bits, times the layer's weight precision (or with dynamic_weights the width of the step's"
        " weights).",
        "Negative values are read in one's complement; one sign bit is added where a tensor has any.",
        "Peak: a 16-bit multiply-accumulate is 256 products of bits; 32 tiles of the paper's 128 rows.",
        "Guessed: in comparisons 2 tiles of 256 columns. 32 tiles would take 4096 filters at once, more than"
        " nearly all layers have; this way there are as many as on DaDianNao, and the rest are windows.",
        "Guessed: a unit sums over the activation's bits first, then over the weight's, an accumulator each;"
        " a lane holds one weight bit; widths of weights are known before run time, so only activations have"
        " detectors. Turning outputs into bit-serial storage is left out.",
    )

    @property
    def reads(self) -> Reads:
        """Activations; weights only where their widths are found."""
        return Reads(weights=self.dynamic_weights, activations=True)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Units serial in both operands, the dispatcher and its width detectors."""
        bits, serial = self.word_bits, self.serial_bits
        inner = tree_bits(self.lanes, serial) + bits
        return {
            "and_gates": Part(costs.gates("and", serial), self.slots),
            "adder_trees": Part(adder_tree(costs, self.lanes, serial), self.units),
            "activation_accumulators": Part(accumulator(costs, inner), self.units),
            "accumulators": self.accumulators(costs),
            "weight_registers": Part(costs.register(1), self.slots),
            "dispatcher": self.dispatcher(costs),
            "width_detectors": Part(
                width_detector(costs, self.lanes * self.group_columns, bits),
                self.columns // self.group_columns,
            ),
        }

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: planes of bits, as many as the layer's precisions."""
        return dense_bits(layer, operands.weight_precision, operands.activation_precision)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "serial_bits", "group_columns")
        self.check_divides("group_columns", "columns", "rows")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits, nothing skipped."""
        return super().peak_macs_per_cycle * self.serial_bits

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations if weight widths are wanted."""
        return SECOND_OPERAND if self.dynamic_weights and not layer.has_weights else None

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.column_sync import waiting

        p = self.plan_of(layer, operands)
        activations = ActivationWidths.of(p, operands.integer_activations, self.minor_bit)
        weight_widths = self._weight_widths(p, operands)
        columns = waiting(p)
        w = GridWork.of(p, operands)
        # A wide weight's bits are shared out to its words' rows, unless each row finds its own.
        words = 1 if self.dynamic_weights else p.weight_words
        windows = present(p)[:, 0].sum(axis=-1)
        work = unit_cycles = lane_cycles = unit_weight_bits = lane_weight_bits = 0
        for g in range(p.groups):
            width = activations.columns(g, self.group_columns).max(axis=-1)
            cost = -(-width.astype(np.int64) // self.serial_bits)
            costs = cost[:, None, :] * weight_widths[g]
            columns.feed(costs.reshape(len(costs), -1, 1))
            work += int(activations.alone(g) @ p.lanes_at_work(g)) * p.filters_at_work
            filters = [w.filters_in_round(g, r) for r in range(p.rounds)]
            weight_bits = np.array(filters) @ weight_widths[g]
            lanes = np.tile(w.lanes_of_unit(g), p.steps // p.channel_blocks)
            unit_step_cycles = (windows @ cost) * weight_bits
            unit_cycles += int(unit_step_cycles.sum())
            lane_cycles += int(unit_step_cycles @ lanes)
            unit_weight_bits += int(windows.sum() * weight_bits.sum())
            lane_weight_bits += int(windows.sum() * (weight_bits @ lanes))
        per_bit = int(weight_widths.min()) / self.serial_bits
        uses = {
            "and_gates": lane_cycles / words,
            "adder_trees": unit_cycles / words,
            "activation_accumulators": unit_cycles / words,
            "accumulators": (unit_weight_bits / words + w.partial_sums) * w.sum_share,
            "weight_registers": lane_weight_bits / words,
            "dispatcher": w.activations_read * p.activation_words * w.activation_share,
            "width_detectors": int(present(p, self.group_columns).sum()) * p.groups * p.steps * p.rounds,
        }
        return self.grid_result(p, columns.cycles, work * per_bit, work=w.work(uses))

    def _weight_widths(self, p: GridPlan, operands: Operands) -> npt.NDArray[Any]:
        """Weight bits that each step takes, shape (groups, rounds, steps)."""
        shape = (p.groups, p.rounds, p.steps)
        if not self.dynamic_weights:
            return np.full(shape, operands.weight_precision, np.int64)
        weights = operands.integer_weights
        signed = bool(weights.min() < 0)
        bricks = weight_bricks(p, weights)
        unions = word_unions(bricks, p.weight_words, p.word_bits, signed)
        unions = np.moveaxis(unions.reshape(*bricks.shape[:2], p.steps, p.weight_words), 2, 1)
        found = np.empty(shape, np.int64)
        for r in range(p.rounds):
            rows = unions[:, :, p.round_filters(r)]
            per_tile = p.rows * p.weight_words
            rows = rows.reshape(*rows.shape[:2], -1)
            starts = [
                start
                for tile in range(0, rows.shape[2], per_tile)
                for start in range(tile, min(tile + per_tile, rows.shape[2]), self.group_columns)
            ]
            joined = np.bitwise_or.reduceat(rows, starts, axis=-1)
            found[:, r] = width_table(signed, self.minor_bit)[joined].max(axis=-1)
        return found
