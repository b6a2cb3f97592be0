"""What the values of a layer take, in DRAM and in the buffers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm

PARTIAL_SUM_BITS = 32
"""Of a sum that leaves before its last product, in every machine."""


@dataclass(frozen=True)
class OperandWidths:
    """What values take, in bits.

    Parameters
    ----------
    weights : int
        All weights in DRAM.
    held_weights : int
        All weights as the weight buffer holds them.
    activation, output : Fraction or int
        One value, in DRAM and in its buffer.
    burst : int
        What the DRAM moves at a time.
    partial_sum : int
        One partial sum, in DRAM and in the output buffer.
    """

    weights: int
    held_weights: int
    activation: Fraction | int
    output: Fraction | int
    burst: int
    partial_sum: int = PARTIAL_SUM_BITS

    def integers(self) -> tuple[ScaledWidths, int]:
        """Scale to units of 1/n bit, and n: exact if n is at most 256, else rounded up."""
        # The search adds up int64; fractions of a bit are means over a layer.
        n = min(256, lcm(Fraction(self.activation).denominator, Fraction(self.output).denominator))
        activation, output = ceil(self.activation * n), ceil(self.output * n)
        every = (self.weights * n, self.held_weights * n, activation, output)
        return ScaledWidths(*every, self.burst * n, self.partial_sum * n), n


@dataclass(frozen=True)
class ScaledWidths:
    """`OperandWidths` as integers."""

    weights: int
    held_weights: int
    activation: int
    output: int
    burst: int
    partial_sum: int
