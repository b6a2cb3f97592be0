"""Components of a BitX PE, serial over the ones of each weight, or over whole rows.

The block diagram is the paper's (ICPP 2021, Figures 3 and 4); the structures of its blocks are textbook
ones, chosen here. Sizes follow from M (`group`), W (`window`) and A (`parallel_bits`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from hwmodel.costs.components import SUM_GUARD_BITS, adder_tree, leading_one, ones_counter
from hwmodel.costs.figures import Cost, Costs


@dataclass(frozen=True)
class Datapath(ABC):
    """Widths of a PE, and what its parts are made of.

    Parameters
    ----------
    group : int
        M, weights of a group.
    window : int
        W, rows of an aligned group.
    rows : int
        N, rows that are kept at most.
    parallel_bits : int
        A: width of the operand that is shifted (activations, by default), aligned if it is a float.
    exponent_bits : int
        Of a float; 0 for fixed point.
    """

    group: int
    window: int
    rows: int
    parallel_bits: int
    exponent_bits: int

    @property
    def is_float(self) -> bool:
        """Whether numbers are aligned first and sums converted after."""
        return self.exponent_bits > 0

    @property
    def shifted_bits(self) -> int:
        """Bits of a shifted activation."""
        return self.parallel_bits + self.window

    @property
    def sum_bits(self) -> int:
        """Bits of a CU's register, which holds the sum of a filter."""
        return self.shifted_bits + SUM_GUARD_BITS

    def align(self, c: Costs, bits: int) -> Cost:
        """E-align one group to `bits` bits: largest exponent, differences, right shifters."""
        if not self.is_float:
            return Cost()
        largest = (self.group - 1) * c.comparator(self.exponent_bits)
        return largest + self.group * (c.adder(self.exponent_bits) + c.shifter(bits, bits))

    @abstractmethod
    def extract(self, c: Costs) -> Cost:
        """Take in a group's bit matrix and choose its rows."""

    @abstractmethod
    def hand_out(self, c: Costs) -> Cost:
        """Find the next one of a weight, or the next row, and hand it to all CUs."""

    @abstractmethod
    def lane(self, c: Costs) -> Cost:
        """Apply what is handed out, in one CU."""

    def combine(self, c: Costs) -> Cost:
        """Shift a CU's sum to the group's exponent, if it is of floats, and add it to the register."""
        return c.adder(self.sum_bits) + self.hold(c)

    def hold(self, c: Costs) -> Cost:
        """Write a CU's register, which holds the sum of a filter's groups: floats are shifted before it."""
        register = c.register(self.sum_bits)
        return register + c.shifter(self.sum_bits, self.sum_bits) if self.is_float else register

    def convert(self, c: Costs) -> Cost:
        """Make a float of a filter's sum: find the highest one, shift; nothing in fixed point."""
        if not self.is_float:
            return Cost()
        return leading_one(c, self.sum_bits) + c.shifter(self.sum_bits, self.sum_bits)


@dataclass(frozen=True)
class WeightSerial(Datapath):
    """Selectors, shifters and a tree: one lane per weight, which takes the ones of its weight."""

    def extract(self, c: Costs) -> Cost:
        """Count the ones of each row (BITCNT), rank the rows, clear those that are not kept.

        A row can outrank one above it only from so far below as its count makes up for: by d places, if
        ``4**d < M``. Comparators stand between such rows only; counters add up who is ahead.
        """
        matrix = c.register(self.window * (self.group + 1)) + self.window * ones_counter(c, self.group)
        rank = Cost()
        reach = 1
        while 4**reach < self.group:
            rank += max(0, self.window - reach) * c.comparator(self.group.bit_length() + 2 * reach)
            reach += 1
        ahead = self.window * c.adder(self.rows.bit_length())
        return matrix + rank + ahead + c.gates("and", self.window * self.group)

    def hand_out(self, c: Costs) -> Cost:
        """Selector of a weight: find its highest one and clear it."""
        return leading_one(c, self.window) + c.gates("and", self.window)

    def lane(self, c: Costs) -> Cost:
        """Shifter of an activation, its sign, its share of the adder tree."""
        place = c.gates("xor", self.parallel_bits) + c.shifter(self.shifted_bits, self.window)
        tree = adder_tree(c, self.group, self.shifted_bits)
        return place + 1 / self.group * tree


@dataclass(frozen=True)
class RowSerial(Datapath):
    """Gates, a tree and one shifter: one row per lane, for all weights of the group."""

    def extract(self, c: Costs) -> Cost:
        """Count the ones of each row."""
        return c.register(self.window * (self.group + 1)) + self.window * ones_counter(c, self.group)

    def hand_out(self, c: Costs) -> Cost:
        """Find the row of highest significance that is left.

        Keys hold a count and a place: ``BitCnt * 4**(W - 1 - l)`` needs no more to be compared.
        """
        key = self.group.bit_length() + (self.window - 1).bit_length()
        others = self.window - 1
        return others * c.comparator(key) + c.gates("multiplexer", others * self.group)

    def lane(self, c: Costs) -> Cost:
        """Gate, sign and sum M activations, shift the sum to the row's place, add it to the running sum."""
        bits = self.group * self.parallel_bits
        gates = c.gates("and", bits) + c.gates("xor", bits)
        cost = adder_tree(c, self.group, self.parallel_bits, onto=gates)
        return cost + c.shifter(self.shifted_bits, self.window) + c.adder(self.sum_bits)

    def combine(self, c: Costs) -> Cost:
        """Write the register; each lane has an adder of its own."""
        return self.hold(c)
