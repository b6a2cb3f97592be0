"""Stripes: time proportional to the precision of a layer's activations.

P. Judd, J. Albericio, T. Hetherington, T. Aamodt, A. Moshovos, "Stripes: Bit-Serial Deep Neural Network
Computing", MICRO 2016. From its abstract and its sections on the serial inner-product unit: activations come
one bit per cycle, 16 windows at a time make up for it, and a layer of precision p takes p/16 of DaDianNao's
time. From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees number by
number: the walk, and what fully connected layers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwmodel.accelerators.families.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.accelerators.families.grid_work import GridWork
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import adder_tree
from hwmodel.costs.figures import Costs
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

SERIAL_UNITS = (
    "Guessed: a serial inner-product unit holds one weight per lane; one dispatcher serialises activations"
    " for all tiles. Turning outputs into bit-serial storage is left out."
)


def serial_parts(grid: Grid, c: Costs) -> dict[str, Part]:
    """Parts of a grid of serial inner-product units, which Stripes' successors share."""
    bits = grid.word_bits
    return {
        "and_gates": Part(c.gates("and", bits), grid.slots),
        "adder_trees": Part(adder_tree(c, grid.lanes, bits), grid.units),
        "accumulators": grid.accumulators(c),
        "weight_registers": grid.weight_registers(c),
        "dispatcher": grid.dispatcher(c),
    }


def serial_uses(w: GridWork, unit_cycles: float, lane_cycles: float) -> dict[str, float]:
    """Count the uses of `serial_parts`, from the cycles in which units and lanes are at work."""
    return {
        "and_gates": lane_cycles * w.weight_share,
        "adder_trees": unit_cycles * w.weight_share,
        "accumulators": (unit_cycles + w.partial_sums) * w.sum_share,
        "weight_registers": w.products * w.weight_share,
        "dispatcher": w.activations_read * w.plan.activation_words * w.activation_share,
    }


@dataclass(frozen=True, kw_only=True)
class Stripes(Grid):
    """Grid whose lanes take one activation bit per cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`; 16 windows of 1-bit lanes are the peak of DaDianNao.
    """

    name: ClassVar[str] = "stripes"
    title: ClassVar[str] = "Stripes, MICRO 2016: activation precision of each layer"
    source: ClassVar[str] = "Judd et al., Stripes: Bit-Serial Deep Neural Network Computing, MICRO 2016"
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "Guessed: DRAM holds whole words, as the activation memory does, whose values are turned into bits on"
        " their way to the tiles; storing them at their precision came with later work.",
        "A step costs the layer's activation precision, sign bit included: the one given, else that of"
        " integer activations' dtype, else 16. Nothing is detected at run time.",
        "Matrix products of activations stream the second operand as weights.",
        SERIAL_UNITS,
    )

    @property
    def reads(self) -> Reads:
        """Operands whose values its cycles depend on."""
        return Reads(weights=False)

    def parts(self, costs: Costs) -> dict[str, Part]:
        """List the serial inner-product units, and the dispatcher that feeds them bits."""
        return serial_parts(self, costs)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`: its precision a time step."""
        p = self.plan_of(layer, operands)
        cost = min(operands.activation_precision, p.word_bits)
        cycles = p.all_steps * cost
        if p.staggered:
            # Step n begins a cycle after the one before, and once its column is free.
            whole, part = divmod(p.all_steps - 1, p.columns)
            cycles = whole * max(cost, p.columns) + part + cost
        w = GridWork.of(p, operands)
        uses = serial_uses(w, w.unit_steps * cost, w.products * cost)
        return self.grid_result(p, cycles, layer.macs * cost, work=w.work(uses))
