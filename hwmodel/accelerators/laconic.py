"""Laconic: the product of both operands' essential bits.

S. Sharify, A. Delmas Lascorz, M. Mahmoud, M. Nikolic, K. Siu, D. Malone Stuart, Z. Poulos, A. Moshovos,
"Laconic Deep Learning Inference Acceleration", ISCA 2019. From its abstract and its section on the
processing element: a multiplication takes as many cycles as there are pairs of terms, one of each operand.
From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees number by number: the
grid, and that all lanes wait for the slowest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import WORDS_IN_DRAM
from hwmodel.accelerators.engines.booth_terms import magnitude_words, term_counts
from hwmodel.accelerators.engines.bricks import activation_bricks, meetings, weight_bricks
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, SECOND_OPERAND, Grid
from hwmodel.accelerators.families.grid_work import GridWork, times_used
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import (
    adder_tree,
    booth_encoder,
    one_hot_decoder,
    oneffset_generator,
    ones_counter,
)
from hwmodel.costs.figures import Costs
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads


@dataclass(frozen=True, kw_only=True)
class Laconic(Grid):
    """Grid whose lanes multiply one term of each operand per cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`. 32 tiles of 128 rows bring the peak to 4096.
    booth : bool
        Recode runs of ones in both operands.
    """

    rows: int = 128
    tiles: int = 32
    booth: bool = True

    name: ClassVar[str] = "laconic"
    title: ClassVar[str] = "Laconic, ISCA 2019: essential bits of both operands"
    source: ClassVar[str] = "Sharify et al., Laconic Deep Learning Inference Acceleration, ISCA 2019"
    slot_cycles_per_mac: ClassVar[int] = 256
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"columns": 256, "tiles": 2})
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        f"Guessed: {WORDS_IN_DRAM}",
        "A step lasts as long as the slowest lane of all columns, rows and tiles, at least one cycle;"
        " nobody runs ahead.",
        "Operands are sign and magnitude; signs cost nothing.",
        "Booth terms are the public simulator's: a run of ones becomes two terms, 27 keeps its four.",
        "Peak: a 16-bit multiply-accumulate is 256 pairs of bits; the 32 tiles of 128 rows that reach 4096"
        " are chosen here.",
        "Guessed: in comparisons 2 tiles of 256 columns. 32 tiles would take 4096 filters at once, more than"
        " nearly all layers have; this way there are as many as on DaDianNao, and the rest are windows.",
        "Guessed: a lane adds two exponents and raises one of 2 w + 1 lines; a unit counts the lines of its"
        " lanes, adds the counts at their places and accumulates. Cycles of a unit with work are taken for as"
        " many as its pairs fill all lanes, at least one per step, which is a lower bound; a term is"
        " generated once per step.",
    )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(activations=True)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Units of exponent adders, decoders and a histogram; generators of both operands' terms."""
        bits, lines = self.word_bits, 2 * self.word_bits + 1
        exponent, count = bits.bit_length(), self.lanes.bit_length() + 1
        generator = oneffset_generator(costs, bits)
        inputs = self.lanes * (self.columns + self.rows * self.tiles)
        return {
            "exponent_adders": Part(costs.adder(exponent) + costs.gates("xor", 1), self.slots),
            "decoders": Part(one_hot_decoder(costs, lines), self.slots),
            "histograms": Part(lines * ones_counter(costs, self.lanes), self.units),
            "count_adders": Part(adder_tree(costs, count, 2 * bits), self.units),
            "accumulators": self.accumulators(costs),
            "booth_encoders": Part(booth_encoder(costs, bits), inputs * self.booth),
            "term_generators": Part(generator, inputs),
        }

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations."""
        return None if layer.has_weights else SECOND_OPERAND

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.column_sync import waiting
        from hwmodel.accelerators.engines.pairs import slowest_pairs

        p = self.plan_of(layer, operands)
        bricks = activation_bricks(p, operands.integer_activations)
        a = self._counts(bricks.values, p.activation_words, p.word_bits)
        w = self._counts(weight_bricks(p, operands.integer_weights), p.weight_words, p.word_bits)
        columns = waiting(p)
        used = times_used(bricks)
        events = GridWork.of(p, operands)
        work = terms = 0
        for g in range(p.groups):
            rounds = [w[g, p.round_filters(r)].max(axis=(0, -1)) for r in range(p.rounds)]
            costs = slowest_pairs(a[:, g].max(axis=-1), np.stack(rounds), bricks, p)
            columns.feed(costs.reshape(len(costs), -1, 1))
            filters = w[g].sum(axis=(0, -1), dtype=np.int64)
            ones = a[:, g].sum(axis=-1, dtype=np.int64)
            work += meetings(bricks, ones, filters)
            of_position = a[:, g].reshape(len(a), -1).sum(axis=1, dtype=np.uint32)
            terms += int(used @ of_position) * p.rounds + int(filters.sum()) * p.window_sets
        unit_cycles = max(work / self.lanes, events.unit_steps)
        words = events.activations_read * p.activation_words * events.activation_share
        words += events.weights_read * p.weight_words * events.weight_share
        uses = {
            "exponent_adders": work,
            "decoders": work,
            "histograms": work / self.lanes,
            "count_adders": unit_cycles,
            "accumulators": unit_cycles + events.partial_sums,
            "booth_encoders": words * self.booth,
            "term_generators": terms,
        }
        return self.grid_result(p, columns.cycles, work, work=events.work(uses))

    def _counts(self, values: npt.NDArray[Any], count: int, bits: int) -> npt.NDArray[np.uint8]:
        """Terms of each word, on a new last axis."""
        return term_counts(magnitude_words(values, count, bits), self.booth)
