"""Bitlet: essential bits of weights, every bit row on its own.

H. Lu, L. Chang, C. Li, Z. Zhu, S. Lu, Y. Liu, M. Zhang, "Distilling Bit-level Sparsity Parallelism for
General Purpose Deep Learning Acceleration", MICRO 2021. A PE takes a group of 64 weights and activations,
aligns the weights' significands by the exponents of the *products*, and turns them into bit rows. All rows
work at once; each looks for its next 1 and adds that weight's activation.

From the PE's public RTL (Zhu-Zixuan/Bitlet-PE), with the port connected that its first top level leaves open:
the row's state machine (`hwmodel.accelerators.engines.bit_rows`), and what a group takes, as measured
there: latency 16 + log2(16) + 64/16 + C in floating point and 3 less in fixed point, and one cycle more
between the starts of groups, for the PE holds one group at a time. C is the slowest row's. How PEs form an
array is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hwmodel.accelerators.base import WORDS_IN_DRAM, Accelerator
from hwmodel.accelerators.engines.float_parts import SIGNIFICAND_BITS
from hwmodel.accelerators.families.grid import SECOND_OPERAND
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import SUM_GUARD_BITS, accumulator, adder_tree, leading_one, selector
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, dense_bits
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.operands.operands import Operands
from hwmodel.operands.reads import Reads

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.bit_row_passes import Counts

NUMBERS = ("fixed", "float")
MAX_GROUP = 64
MAX_LOOK = 12
MAX_ROWS = 24
FLOAT_BITS = 32
EXPONENT_BITS = 8
STAGES = {"float": 16, "fixed": 13}
"""Cycles of a group besides loading it, finding its largest exponent, and C."""


@dataclass(frozen=True, kw_only=True)
class Bitlet(Accelerator):
    """Array of PEs whose bit rows work in parallel.

    Parameters
    ----------
    pe_rows, pe_columns : int
        PEs that work on different filters, and those that apply a filter to different positions.
    numbers : {"fixed", "float"}
        Fixed point, in which cycles depend on the weights alone; or float32, in which alignment depends on
        the activations' exponents as well.
    group : int
        Weights that a PE takes in at once, at most 64.
    look : int
        Bits that a row sees, at most 12; as many weights are aligned in a cycle.
    beat : int
        Pairs that enter a PE in a cycle.
    bit_rows : int
        Rows of a PE, at most 24. Floats use the upper ones of their 24.
    double_buffered : bool
        Whether the next group is taken in while the rows work on this one: ours, not in the RTL.
    fifo_depth : int or None
        Groups that a PE may be ahead of the slowest; 0 is lock step, None is unbounded.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    pe_rows: int = 256
    pe_columns: int = 16
    numbers: str = "fixed"
    group: int = 64
    look: int = 8
    beat: int = 16
    bit_rows: int = 24
    double_buffered: bool = False
    fifo_depth: int | None = 0

    name: ClassVar[str] = "bitlet"
    title: ClassVar[str] = "Bitlet, MICRO 2021: essential bits of weights, all bit rows at once"
    source: ClassVar[str] = (
        "Lu et al., Distilling Bit-level Sparsity Parallelism for General Purpose Deep Learning Acceleration,"
        " MICRO 2021"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"pe_rows": 64, "pe_columns": 64})
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"double_buffered": True})
    assumptions: ClassVar[tuple[str, ...]] = (
        "A row sees 8 bits, emits the first 1 and moves on to the second 1 that it sees; past all 8 if"
        " there is none. A group takes C cycles, those of its slowest row, at least ceil(members / 8).",
        "Groups follow one another in a PE every 22 + C cycles (fixed point) or 25 + C (floating point), as"
        " measured from the RTL; double_buffered hides all but max(C, 4), and is ours.",
        "Guessed: for other sizes than the RTL's, the parts of that overhead: ceil(log2 beat) to find the"
        " largest exponent, ceil(group / beat) to load. A group with fewer members loads as a whole one and"
        " its rows stop after its members.",
        "Guessed: groups run along a filter in C order; a PE works on one filter and position, rows of PEs on"
        " filters of one convolution group, which share the activations; all PEs begin a group together"
        " (fifo_depth=0).",
        "Guessed: the number of PEs is ours, 256 x 16 for the common peak; in comparisons 64 x 64, since PEs"
        " in lock step wait for the slowest filter, of 64 a less slow one than of 256. A PE takes 64 cycles"
        " for 64 weights of nothing but ones.",
        "Fixed point: sign and magnitude; floats are quantised to 16 bits (or the precision given).",
        "Floating point: weights and activations as float32; a weight's significand moves right by what the"
        " exponent of its product lacks to the largest of the group, truncating. A value of 0 has exponent"
        " 0. float64 is rounded to float32.",
        "Transposed convolution scatters; in fixed point only.",
        f"Guessed: in fixed point, {WORDS_IN_DRAM}",
        "Energy is components x events, the inventory being ours: it follows the RTL's blocks, not its"
        " synthesis. All rows look in every cycle of C; adders for floats and alignment rest in fixed point."
        " Weights are read once a pass, activations once for all filters.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "pe_rows", "pe_columns", "group", "look", "beat", "bit_rows")
        if self.fifo_depth is not None:
            self.check_at_least(0, "fifo_depth")
        self.check_one_of(NUMBERS, "numbers")
        for option, most in (("group", MAX_GROUP), ("look", MAX_LOOK), ("bit_rows", MAX_ROWS)):
            self.check_at_most(most, option)

    @property
    def reads(self) -> Reads:
        """Weights; activations, too, where exponents of products are aligned."""
        return Reads(activations=self.numbers == "float")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates a cycle: one a PE, loading hidden and a row full of ones."""
        return self.pe_rows * self.pe_columns

    @property
    def load_cycles(self) -> int:
        """Cycles in which a group enters."""
        return -(-self.group // self.beat)

    @property
    def latency_cycles(self) -> int:
        """Cycles from a group's first pair to its result, besides C."""
        return STAGES[self.numbers] + (self.beat - 1).bit_length() + self.load_cycles

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations; in floating point also what reads no windows."""
        if not layer.has_weights:
            return SECOND_OPERAND
        if self.numbers == "float" and not isinstance(layer, (Conv, Linear)):
            return f"numbers='float': the positions of {layer.operation} read no windows of its input"
        return None

    def _widths(self, operands: Operands) -> tuple[int, int]:
        """Bits of a weight and of an activation."""
        if self.numbers == "float":
            return FLOAT_BITS, FLOAT_BITS
        return operands.weight_precision, operands.activation_precision

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits that a layer takes in DRAM: every value as float32, or in 16-bit words."""
        if self.numbers == "float":
            return dense_bits(layer, FLOAT_BITS, FLOAT_BITS)
        return super().stored_bits(layer, operands, on_chip)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.bit_row_passes import BitRowArray

        array = BitRowArray(
            pe_rows=self.pe_rows,
            pe_columns=self.pe_columns,
            group=self.group,
            look=self.look,
            bit_rows=self.bit_rows,
            load_cycles=self.load_cycles,
            latency_cycles=self.latency_cycles,
            double_buffered=self.double_buffered,
            fifo_depth=self.fifo_depth,
        )
        count = array.count_float if self.numbers == "float" else array.count_fixed
        counts = count(layer, operands)
        fill, even, unequal, waiting = np.diff(counts.ladder, prepend=0).tolist()
        cycles = fill + even + unequal + waiting
        position_tiles = layer.position_tiles(self.pe_columns)
        filter_tiles = layer.conv_groups * -(-layer.filters // layer.conv_groups // self.pe_rows)
        return self.on_chip(
            work=self._work(layer, operands, counts, (filter_tiles, position_tiles)),
            fill_cycles=fill,
            compute_cycles=even,
            imbalance_cycles=unequal,
            fifo_full_cycles=waiting,
            utilisation=counts.ones / (cycles * self.pe_rows * self.pe_columns * self.bit_rows),
            filter_tiles=filter_tiles,
            position_tiles=position_tiles,
            groups=layer.filters * self._groups(layer),
        )

    def _groups(self, layer: Layer) -> int:
        """Count the groups of a filter."""
        return -(-layer.reduction // self.group)

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Components, by the blocks of the RTL; built for floats, whatever runs on it.

        Parameters
        ----------
        costs : Costs
            Figures of `cost_basis`.
        """
        pes = self.pe_rows * self.pe_columns
        exponent, word = EXPONENT_BITS + 1, SIGNIFICAND_BITS + 1
        pointer = max(1, (self.group - 1).bit_length())
        product = word + self.bit_rows
        total = product + pointer
        match = costs.adder(exponent) + costs.comparator(exponent)
        look = selector(costs, self.group, self.look) + 2 * leading_one(costs, self.look)
        return {
            "exponents": Part(match, pes * self.beat),
            "aligners": Part(
                costs.adder(exponent) + costs.shifter(SIGNIFICAND_BITS, SIGNIFICAND_BITS), pes * self.look
            ),
            "pair_buffers": Part(costs.register(SIGNIFICAND_BITS + word + exponent), pes * self.group),
            "row_windows": Part(look + costs.adder(pointer) + costs.register(pointer), pes * self.bit_rows),
            "activation_selectors": Part(selector(costs, self.group, word), pes * self.bit_rows),
            "row_adders": Part(
                adder_tree(costs, self.bit_rows, product) + costs.adder(total) + costs.register(total), pes
            ),
            "group_sums": Part(accumulator(costs, total + SUM_GUARD_BITS), pes),
            "float_packers": Part(costs.shifter(total, total) + costs.float32_adder(), pes),
        }

    def _work(self, layer: Layer, operands: Operands, counts: Counts, tiles: tuple[int, int]) -> Work:
        """Count the uses of the parts; `tiles`: of filters and of positions."""
        is_float = self.numbers == "float"
        weight_bits, activation_bits = self._widths(operands)
        sums = layer.filters * self._groups(layer) * layer.positions
        return Work(
            uses={
                "exponents": is_float * layer.macs,
                "aligners": is_float * layer.macs,
                "pair_buffers": layer.macs,
                "row_windows": counts.pe_cycles * self.bit_rows,
                "activation_selectors": counts.ones,
                "row_adders": counts.pe_cycles,
                "group_sums": sums,
                "float_packers": is_float * sums,
            },
            read_bits={
                "weight_buffer": layer.parameters * tiles[1] * weight_bits,
                "activation_buffer": layer.reduction * layer.positions * tiles[0] * activation_bits,
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": layer.filters * layer.positions * activation_bits,
            },
        )
