"""Stripes: time proportional to the precision of a layer's activations.

P. Judd, J. Albericio, T. Hetherington, T. Aamodt, A. Moshovos, "Stripes: Bit-Serial Deep Neural Network
Computing", MICRO 2016. From its abstract and its sections on the serial inner-product unit: activations come
one bit a cycle, 16 windows at a time make up for it, and a layer of precision p takes p/16 of DaDianNao's
time. From the public simulator DNNsim (isakedo/DNNsim 4748a60), with which this model agrees number by
number: the walk, and what fully connected layers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwmodel.accelerators.grid import GRID_ASSUMPTIONS, Grid
from hwmodel.layers import Layer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult


@dataclass(frozen=True, kw_only=True)
class Stripes(Grid):
    """Grid whose lanes take one activation bit a cycle.

    Parameters
    ----------
    lanes, columns, rows, tiles, word_bits, fold_first_layer
        As in `Grid`; 16 windows of 1-bit lanes are the peak of DaDianNao.
    """

    name: ClassVar[str] = "stripes"
    title: ClassVar[str] = "Stripes, MICRO 2016: activation precision of each layer"
    source: ClassVar[str] = "Judd et al., Stripes: Bit-Serial Deep Neural Network Computing, MICRO 2016"
    needs_weights: ClassVar[bool] = False
    assumptions: ClassVar[tuple[str, ...]] = (
        *GRID_ASSUMPTIONS,
        "A step costs the layer's activation precision, sign bit included: the one given, else that of"
        " integer activations' dtype, else 16. Nothing is detected at run time.",
        "Matrix products of activations stream the second operand as weights.",
    )

    def run(self, layer: Layer, operands: Operands) -> LayerResult:
        """Count the cycles of `layer`: its precision a time step."""
        p = self._plan(layer, operands)
        cost = min(operands.activation_precision, p.word_bits)
        cycles = p.all_steps * cost
        if p.staggered:
            # Step n begins a cycle after the one before, and once its column is free.
            whole, part = divmod(p.all_steps - 1, p.columns)
            cycles = whole * max(cost, p.columns) + part + cost
        return self._grid_result(p, cycles, layer.macs * cost)
