"""Parts of SCNN's PEs, and of those of the dense machine that it is compared with."""

from __future__ import annotations

from math import prod

from hwmodel.costs.area_energy import Part
from hwmodel.costs.components import accumulator, adder_tree, crossbar, memory
from hwmodel.costs.figures import Costs

WORD_BITS, SUM_BITS, RUN_BITS = 16, 24, 4
"""Bits of an operand, of a partial sum, and of the zeros in front of a value that is not zero."""

WEIGHT_FIFO_ENTRIES = 50
"""Blocks of weights that a PE's FIFO holds."""


def product_parts(
    costs: Costs, pes: int, blocks: tuple[int, int], banks: int, sums: int, *, sets: int, queue: int
) -> dict[str, Part]:
    """PEs of multipliers, coordinate computation, crossbar, accumulator banks and weight FIFO.

    Parameters
    ----------
    costs : Costs
    pes : int
    blocks : (int, int)
        Activations and weights that a PE multiplies a cycle.
    banks, sums : int
        Accumulator banks of a PE, and what all of them hold.
    sets : int
        Sets of accumulators.
    queue : int
        Products that wait in front of a bank.
    """
    multipliers, operands = pes * prod(blocks), pes * sum(blocks)
    address = (sums - 1).bit_length()
    bank_bytes = -(-sums // banks) * SUM_BITS // 8
    block = blocks[1] * (WORD_BITS + RUN_BITS)
    # Two spatial coordinates, compared with the output's size, and the address of the sum.
    coordinates = 2 * (costs.adder(8) + costs.comparator(8)) + costs.adder(address)
    parts = {
        "multipliers": Part(costs.multiplier(WORD_BITS), multipliers),
        "coordinates": Part(coordinates, multipliers),
        "index_decoders": Part(accumulator(costs, address), operands),
        "operand_registers": Part(costs.register(WORD_BITS + RUN_BITS), operands),
        "weight_fifos": Part(memory(costs, WEIGHT_FIFO_ENTRIES * block // 8, block), pes),
        "crossbars": Part(crossbar(costs, prod(blocks), banks, SUM_BITS + address), pes),
        "accumulator_banks": Part(memory(costs, bank_bytes, SUM_BITS), pes * banks * sets),
        "accumulator_adders": Part(costs.adder(SUM_BITS), pes * banks),
    }
    if queue:
        parts["bank_queues"] = Part(costs.register(SUM_BITS + address), pes * banks * queue)
    return parts


def dot_parts(costs: Costs, pes: int, multipliers: int, sums: int, sets: int) -> dict[str, Part]:
    """PEs of multipliers, a tree that adds their products, one memory of sums, and weight FIFO.

    Parameters
    ----------
    costs : Costs
    pes : int
    multipliers, sums, sets : int
        Of a PE: multipliers, sums that it holds, and sets of them.
    """
    block = multipliers * WORD_BITS
    return {
        "multipliers": Part(costs.multiplier(WORD_BITS), pes * multipliers),
        "operand_registers": Part(costs.register(WORD_BITS), pes * 2 * multipliers),
        "weight_fifos": Part(memory(costs, WEIGHT_FIFO_ENTRIES * block // 8, block), pes),
        "adder_trees": Part(adder_tree(costs, multipliers, SUM_BITS), pes),
        "accumulator_banks": Part(memory(costs, sums * SUM_BITS // 8, SUM_BITS), pes * sets),
        "accumulator_adders": Part(costs.adder(SUM_BITS), pes),
    }
