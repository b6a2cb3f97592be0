"""DaDianNao: the dense baseline that the field compares with.

Y. Chen et al., "DaDianNao: A Machine-Learning Supercomputer", MICRO 2014: 16 tiles, each with
16 neural units of 16 multipliers. A cycle multiplies 16 activations of one window with the
matching weights of 16 x 16 filters. The loop order and the treatment of depthwise and first
layers are those of the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model
agrees number by number at ``columns=16``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwmodel.accelerators.base import WORDS_IN_DRAM
from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.accelerators.families.grid_work import GridWork
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import adder_tree
from hwmodel.costs.figures import Costs
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads


@dataclass(frozen=True, kw_only=True)
class DaDianNao(Grid):
    """Value-parallel grid that skips nothing.

    Parameters
    ----------
    lanes, rows, tiles, fold_first_layer
        As in `Grid`.
    columns : int
        Windows that are processed together. 1 in the paper. DNNsim gives every machine 16, which for this
        one is 16 times the peak.
    word_bits : int
        Width of a multiplier; wider operands take several columns or rows.
    """

    columns: int = 1

    name: ClassVar[str] = "dadiannao"
    title: ClassVar[str] = "DaDianNao, MICRO 2014: dense baseline"
    source: ClassVar[str] = "Chen et al., DaDianNao: A Machine-Learning Supercomputer, MICRO 2014"
    slot_cycles_per_mac: ClassVar[int] = 1
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        WORDS_IN_DRAM,
        "Matrix products of activations stream the second operand as weights.",
        "Guessed: one register per multiplier for its weight, and one per lane, column and tile for"
        " activations.",
    )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(weights=False)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """Multipliers, adder trees and accumulators of the tiles, and their input registers."""
        bits = self.word_bits
        return {
            "multipliers": Part(costs.multiplier(bits), self.slots),
            "adder_trees": Part(adder_tree(costs, self.lanes, 2 * bits), self.units),
            "accumulators": self.accumulators(costs),
            "weight_registers": Part(costs.register(bits), self.lanes * self.rows * self.tiles),
            "activation_registers": Part(costs.register(bits), self.lanes * self.columns * self.tiles),
        }

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`: one per time step."""
        p = self.plan_of(layer, operands)
        w = GridWork.of(p, operands)
        uses = {
            "multipliers": w.products * w.weight_share * w.activation_share,
            "adder_trees": w.unit_steps * (w.weight_share + w.activation_share) / 2,
            "accumulators": (w.unit_steps + w.partial_sums) * w.sum_share,
            "weight_registers": w.weights_read * p.weight_words * w.weight_share,
            "activation_registers": w.tile_activations * w.activation_share,
        }
        return self.grid_result(p, p.all_steps, layer.macs, work=w.work(uses))
