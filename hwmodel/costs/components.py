"""Components that machines of the comparison are built of, each from the figures of one cost basis.

A `Cost` is the energy of one use and the area of one instance. Structures are textbook ones; the papers give
block diagrams, no netlists.
"""

from __future__ import annotations

from hwmodel.costs.figures import Cost, Costs

SUM_GUARD_BITS = 16
"""Bits of an accumulator above a product: sums of up to 65,536 products can't overflow."""


def accumulator_bits(bits: int, other_bits: int) -> int:
    """Bits of the sum of a filter's products."""
    return bits + other_bits + SUM_GUARD_BITS


def tree_bits(inputs: int, bits: int) -> int:
    """Bits of the sum of `inputs` numbers."""
    return bits + (inputs - 1).bit_length()


def adder_tree(c: Costs, inputs: int, bits: int, onto: Cost | None = None) -> Cost:
    """Sum of `inputs` numbers of `bits`, a bit wider at each level.

    Parameters
    ----------
    c : Costs
    inputs, bits : int
    onto : Cost, optional
        What stands before the tree. Levels are added to it one by one, so that the last digits of a sum do
        not depend on where it was begun.
    """
    cost, width = onto or Cost(), bits
    while inputs > 1:
        width += 1
        cost += (inputs // 2) * c.adder(width)
        inputs -= inputs // 2
    return cost


def ones_counter(c: Costs, inputs: int) -> Cost:
    """Count the ones of `inputs` bits: a full adder each, but one."""
    return c.gates("full adder", inputs - 1)


def accumulator(c: Costs, bits: int) -> Cost:
    """Adder and register of a running sum; one use adds once."""
    return c.adder(bits) + c.register(bits)


def selector(c: Costs, inputs: int, bits: int) -> Cost:
    """Choose one of `inputs` words: a tree of multiplexers, of which one use switches a path."""
    path = c.gates("multiplexer", bits * max(0, (inputs - 1).bit_length()))
    return Cost(path.energy_j, c.gates("multiplexer", bits * (inputs - 1)).area_mm2)


def crossbar(c: Costs, inputs: int, outputs: int, bits: int) -> Cost:
    """Send words from any input to any output; one use sends one word.

    One selector per output; one comparator per input-output pair arbitrates between inputs.
    """
    one = selector(c, inputs, bits)
    claim = c.comparator(max(1, (outputs - 1).bit_length()))
    return Cost(one.energy_j + outputs * claim.energy_j, outputs * (one.area_mm2 + inputs * claim.area_mm2))


def leading_one(c: Costs, bits: int) -> Cost:
    """Find the highest one: two gates per bit: one passes "none yet" on, one gives the result."""
    return c.gates("and", 2 * bits)


def serialiser(c: Costs, bits: int) -> Cost:
    """Hold one value and send it out bit by bit; one use is one value."""
    return c.register(bits) + selector(c, bits, 1)


def booth_encoder(c: Costs, bits: int) -> Cost:
    """Recode one value: at each bit an exclusive or with the next, and the two signs of a term."""
    return c.gates("xor", bits) + c.gates("and", 2 * bits)


def oneffset_generator(c: Costs, bits: int) -> Cost:
    """Hold the terms of one value, find the next and clear it; one use is one term."""
    return c.register(bits) + leading_one(c, bits) + c.gates("and", bits)


def one_hot_decoder(c: Costs, outputs: int) -> Cost:
    """Raise one of `outputs` lines: a gate each, of which one use switches two."""
    return Cost(c.gates("and", 2).energy_j, c.gates("and", outputs).area_mm2)


def width_detector(c: Costs, values: int, bits: int) -> Cost:
    """Find the width of the widest of `values` numbers: one's complements, their union, its highest one.

    An OR is counted as an AND.
    """
    flip = c.gates("xor", values * bits)
    return flip + c.gates("and", (values - 1) * bits) + leading_one(c, bits)


def memory(c: Costs, size_bytes: int, width_bits: int) -> Cost:
    """Small SRAM of one bank; a use is an access, at the mean of a read and a write."""
    sram = c.sram(size_bytes, width_bits)
    return Cost((sram.read_j + sram.write_j) / 2, sram.area_mm2)
