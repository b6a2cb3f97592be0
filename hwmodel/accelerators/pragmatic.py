"""Bit-Pragmatic: only the essential bits of activations.

J. Albericio, A. Delmas, P. Judd, S. Sharify, G. O'Leary, R. Genov, A. Moshovos, "Bit-Pragmatic Deep Neural
Network Computing", MICRO 2017. From its sections of these names: activations as lists of oneffsets, two-stage
shifting with L first-stage bits, per-column synchronisation with registers for weight sets, improved
oneffset (modified Booth) encoding. From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this
model agrees number by number: the Booth terms, bricks of zeros, and fully connected layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwmodel.accelerators.base import WORDS_IN_DRAM
from hwmodel.accelerators.engines.booth_terms import magnitude_terms, magnitude_words
from hwmodel.accelerators.engines.bricks import activation_bricks, stream
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.accelerators.families.grid_work import GridWork, times_used
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import adder_tree, booth_encoder, oneffset_generator, tree_bits
from hwmodel.costs.figures import Costs
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

TERM_UNITS = (
    "Guessed: a unit holds one weight per lane, shifts each by up to 2**L - 1 places, sums them, shifts the"
    " sum to its place and accumulates; without a second shifter where the first one reaches all places."
)


def term_parts(grid: Grid, c: Costs, first_stage_bits: int) -> dict[str, Part]:
    """Parts of units that apply one term of each lane's activation per cycle."""
    bits, places = grid.word_bits, grid.word_bits + 1
    reach = min(1 << min(first_stage_bits, 8), places)
    shifted = bits + reach - 1
    second = places if reach < places else 1
    lane = c.gates("and", bits) + c.gates("xor", bits) + c.shifter(shifted, reach)
    return {
        "lane_shifters": Part(lane, grid.slots),
        "adder_trees": Part(adder_tree(c, grid.lanes, shifted), grid.units),
        "sum_shifters": Part(c.shifter(tree_bits(grid.lanes, shifted) + places - reach, second), grid.units),
        "accumulators": grid.accumulators(c),
        "weight_registers": grid.weight_registers(c),
    }


def term_uses(w: GridWork, unit_cycles: float, terms: float) -> dict[str, float]:
    """Count the uses of `term_parts`, from the cycles of units and the terms that meet a weight."""
    return {
        "lane_shifters": terms * w.weight_share,
        "adder_trees": unit_cycles * w.weight_share,
        "sum_shifters": unit_cycles * w.weight_share,
        "accumulators": (unit_cycles + w.partial_sums) * w.sum_share,
        "weight_registers": w.products * w.weight_share,
    }


def generator_parts(grid: Grid, c: Costs, booth: bool, sets: int) -> dict[str, Part]:
    """Parts that make oneffsets of the activations of `sets` times all columns and lanes."""
    inputs, bits = grid.lanes * grid.columns, grid.word_bits
    offset = bits.bit_length()
    return {
        "booth_encoders": Part(booth_encoder(c, bits), sets * inputs * booth),
        "oneffset_generators": Part(oneffset_generator(c, bits), sets * inputs),
        "lowest_offset": Part((grid.lanes - 1) * c.comparator(offset), sets * grid.columns),
    }


@dataclass(frozen=True, kw_only=True)
class Pragmatic(Grid):
    """Grid whose lanes take one essential activation bit per cycle.

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
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {},
        {"booth": False, "column_registers": 0},
        {"booth": False, "column_registers": 1},
    )
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        WORDS_IN_DRAM,
        "Activations are sign and magnitude; the sign costs nothing. A brick of zeros costs one cycle.",
        "Booth terms are the public simulator's: a run of ones becomes two terms, 27 keeps its four.",
        "Matrix products of activations stream the second operand as weights.",
        TERM_UNITS,
        "Guessed: one dispatcher generates the oneffsets for all tiles and finds each column's lowest; every"
        " column register is a register per row and lane.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(0, "first_stage_bits", "column_registers")

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(weights=False, activations=True)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Units of two-stage shifters, the oneffset generators, further weight sets."""
        return {
            **term_parts(self, costs, self.first_stage_bits),
            **generator_parts(self, costs, self.booth, 1),
            "weight_sets": self.weight_sets(costs, self.column_registers),
        }

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.column_sync import waiting
        from hwmodel.accelerators.engines.two_stage import two_stage_cycles

        p = self.plan_of(layer, operands)
        bricks = activation_bricks(p, operands.integer_activations)
        magnitudes = magnitude_words(bricks.values, p.activation_words, p.word_bits)
        terms = magnitude_terms(magnitudes, self.booth)
        costs = two_stage_cycles(np.moveaxis(terms, -1, -2), self.first_stage_bits)
        ones = np.bitwise_count(terms).sum(axis=(-1, -2))
        columns = waiting(p, self.column_registers)
        w, used = GridWork.of(p, operands), times_used(bricks)
        work = column_cycles = unit_cycles = 0
        for g in range(p.groups):
            columns.feed(stream(p, bricks, costs[:, g]), p.rounds)
            work += int(used @ ones[:, g].sum(axis=-1, dtype=np.int64))
            busy = int(used @ costs[:, g].sum(axis=(-1, -2), dtype=np.int64))
            column_cycles += busy * p.rounds
            unit_cycles += busy * w.filters_at_work(g)
        uses = {
            **term_uses(w, unit_cycles, work * p.filters_at_work * p.weight_words),
            "booth_encoders": w.activations_read * p.activation_words * w.activation_share * self.booth,
            "oneffset_generators": work * p.rounds,
            "lowest_offset": column_cycles,
            "weight_sets": w.weights_read * p.weight_words * w.weight_share * (self.column_registers > 0),
        }
        return self.grid_result(p, columns.cycles, work * p.filters_at_work, work=w.work(uses))
