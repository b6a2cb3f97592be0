"""Bitlet: essential bits of weights, every bit row on its own.

H. Lu, L. Chang, C. Li, Z. Zhu, S. Lu, Y. Liu, M. Zhang, "Distilling Bit-level Sparsity Parallelism for
General Purpose Deep Learning Acceleration", MICRO 2021. A PE takes a group of 64 weights and activations,
aligns the weights' significands by the exponents of the *products*, and turns them into bit rows. All rows
work at once; each looks for its next 1 and adds that weight's activation.

Three machines go by that name; `variant` says which:

``"rtl"``
    The PE's public RTL (Zhu-Zixuan/Bitlet-PE), with the port connected that its first top level leaves open:
    the row's state machine (`hwmodel.accelerators.engines.bit_rows`), and what a group takes, as measured
    there: latency 16 + log2(16) + 64/16 + C in floating point and 3 less in fixed point, and one cycle more
    between the starts of groups, for the PE holds one group at a time. C is the slowest row's. The default.
``"paper"``
    The machine of the paper's figures: 10 cycles per group in fixed point or 13 in float32, whatever its
    size, which do not overlap with other groups; then the steps of the fullest row. This is the
    paper's rule: its frames per second without distillation fit N + 10 cycles for groups of N = 1, 32 and 64
    in fixed point, and N + 13 for N = 32 and 64 in float32.
``"ip"``
    The MAC engine that the authors made of it (user manual, version 11.0): 17 cycles per group and the steps
    of a sliding window of 2 bits. All 12 cycle counts that the manual prints are met exactly.

Bitlet-X ("General Purpose Deep Learning Accelerator Based on Bit Interleaving", IEEE TCAD 43(5), 2024)
works on the top 8 rows after alignment: ``kept_rows=8``. How PEs form an array is in none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import WORDS_IN_DRAM, Accelerator
from hwmodel.accelerators.changes import Change
from hwmodel.accelerators.engines.bit_row_sums import group_sums
from hwmodel.accelerators.engines.float_parts import SIGNIFICAND_BITS
from hwmodel.accelerators.engines.row_walks import VARIANTS, WALKS, GroupRules, RowWalk
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
MAX_ROWS = 24
FLOAT_BITS = 32
EXPONENT_BITS = 8
STAGES = {"float": 16, "fixed": 13}
"""Cycles of a group in the RTL besides loading it, finding its largest exponent, and C."""


@dataclass(frozen=True, kw_only=True)
class Bitlet(Accelerator):
    """Array of PEs whose bit rows work in parallel.

    Parameters
    ----------
    variant : {"rtl", "paper", "ip"}
        Which machine: sets the overhead per group, and the defaults of `look`, `walk` and `pads_groups`.
    pe_rows, pe_columns : int
        PEs that work on different filters, and those that apply a filter to different positions.
    numbers : {"fixed", "float"}
        Fixed point, in which cycles depend on the weights alone; or float32, in which alignment depends on
        the activations' exponents as well.
    group : int
        Weights that a PE takes at once, at most 64.
    look : int or None
        Bits that a row sees; as many weights are aligned in a cycle. None: 8, with "ip" 2. At most 12 with
        "rtl", at least 8 with "paper", at most 64.
    walk : {"second", "next"} or None
        Where a row continues after the first 1 that it sees. "second": at the second 1 that it sees, or
        past its window if there is none. "next": directly behind the first 1. None: "second", with "ip"
        "next".
    stops_early : bool
        Whether a row ends with its last 1 instead of at the end of the group.
    pads_groups : bool or None
        Whether rows process a group with fewer members like a whole one. None: no, with "ip" yes.
    beat : int
        Pairs that enter a PE per cycle.
    bit_rows : int
        Rows of a PE, at most 24. Floats use the upper ones of their 24.
    kept_rows : int or None
        Rows that work in floating point, from the top, after alignment; the others rest. None: all. 8 is
        Bitlet-X, and the IP's hardware pruning.
    double_buffered : bool
        Whether the next group is taken in while the rows work on this one: ours, in none of the variants.
    fifo_depth : int or None
        Groups that a PE may be ahead of the slowest; 0 is lock step, None is unbounded.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    variant: str = "rtl"
    pe_rows: int = 32
    pe_columns: int = 1
    numbers: str = "fixed"
    group: int = 64
    look: int | None = None
    walk: str | None = None
    stops_early: bool = False
    pads_groups: bool | None = None
    beat: int = 16
    bit_rows: int = 24
    kept_rows: int | None = None
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
    width_options: ClassVar[frozenset[str]] = frozenset({"kept_rows"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "variant='rtl', the default: a row sees 8 bits, emits the first 1 and moves on to the second 1 that"
        " it sees; past all 8 if there is none. A group takes C cycles, those of its slowest row, at least"
        " ceil(members / 8).",
        "Groups follow one another in a PE every 22 + C cycles (fixed point) or 25 + C (floating point), as"
        " measured from the RTL; double_buffered hides all but max(C, 4), and is ours, with every variant.",
        "Guessed: for other sizes than the RTL's, the parts of that overhead: ceil(log2 beat) to find the"
        " largest exponent, ceil(group / beat) to load. A group with fewer members loads as a whole one and"
        " its rows stop after its members.",
        "variant='paper', the paper's rule: groups follow every 10 + C cycles (fixed point) or 13 + C"
        " (float32), for every group size. Not stated in the paper: its frames per second without"
        " distillation fit this, with C = N, for N = 1 (fixed point), 32 and 64.",
        "Guessed: with variant='paper' a row sees 8 bits, as drawn (look, 8 or more), moves as the RTL's"
        " (walk='second'), is done at the end of the group (stops_early=False) and after the members of a"
        " shorter one (pads_groups=False). walk='next' without stops_early takes 2 steps for nearly every"
        " pair of weights, where the paper's Fig. 10 leaves 1.2 to 1.8 in fixed point.",
        "variant='ip': groups follow every 17 + C cycles; a row sees 2 bits and moves on right behind the"
        " first 1, past both if there is none, so that an empty row takes half the members. This meets all"
        " 12 cycle counts of the manual. Groups are filled up with zeros to whole ones, as the manual says.",
        "Guessed: variant='ip' takes the same 17 cycles in fixed point, which its manual announces only; and"
        " for groups of other sizes than 64.",
        "Guessed: with variant='paper' and 'ip', double_buffered hides the whole overhead but the first"
        " group's, and a group takes at least ceil(group / beat) cycles, as with 'rtl'.",
        "kept_rows=8 is Bitlet-X: in floating point only the top rows after alignment work, the others are"
        " gated but there. Operands are stored in 8 + kept_rows bits (16: sign, exponent, 7 bits). Guessed:"
        " activations are cut in DRAM and buffers only; the IP's results are those of whole ones.",
        "Guessed: groups run along a filter in C order; a PE works on one filter and position, rows of PEs on"
        " filters of one convolution group, which share the activations; all PEs begin a group together"
        " (fifo_depth=0).",
        "32 PEs, as in the paper. Guessed: they work on 32 filters at one position. In comparisons 64 x 64,"
        " for the common peak: PEs in lock step wait for the slowest filter, of 64 a less slow one than of"
        " 256. A PE takes 64 cycles for 64 weights of nothing but ones.",
        "Fixed point: sign and magnitude; floats are quantised to 16 bits (or the precision given).",
        "Floating point: weights and activations as float32; a weight's significand moves right by what the"
        " exponent of its product lacks to the largest of the group, truncating. A value of 0 has exponent"
        " 0. float64 is rounded to float32.",
        "Transposed convolution scatters; in fixed point only.",
        f"Guessed: in fixed point, {WORDS_IN_DRAM}",
        "Energy is components x events, the inventory being ours: it follows the RTL's blocks, not its"
        " synthesis. All rows look in every cycle of C; adders for floats and alignment rest in fixed point."
        " Weights are read once per pass, activations once for all filters.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_one_of(VARIANTS, "variant")
        self.check_at_least(1, "pe_rows", "pe_columns", "group", "beat", "bit_rows")
        least, most = self.rules.look_range
        for option in ("fifo_depth", "look", "kept_rows"):
            if getattr(self, option) is not None:
                self.check_at_least({"fifo_depth": 0, "look": least, "kept_rows": 1}[option], option)
        self.check_one_of(NUMBERS, "numbers")
        if self.walk is not None:
            self.check_one_of(WALKS, "walk")
        for option, limit in (("group", MAX_GROUP), ("look", most), ("bit_rows", MAX_ROWS)):
            self.check_at_most(limit, option)
        self.check_at_most(self.bit_rows, "kept_rows")
        if self.kept_rows is not None and self.numbers != "float":
            raise self.refusal(f"kept_rows needs numbers='float', got numbers={self.numbers!r}")

    @property
    def rules(self) -> GroupRules:
        """What the variant says."""
        return VARIANTS[self.variant]

    @property
    def row_walk(self) -> RowWalk:
        """How rows walk: the options, where these are None the variant's."""
        rules = self.rules
        return RowWalk(
            look=self.window,
            walk=self.walk or rules.walk,
            stops_early=self.stops_early,
            pads_groups=rules.pads_groups if self.pads_groups is None else self.pads_groups,
        )

    @property
    def window(self) -> int:
        """Bits that a row sees."""
        return self.rules.look if self.look is None else self.look

    @property
    def working_rows(self) -> int:
        """Rows of a PE that are not at rest."""
        return self.bit_rows if self.kept_rows is None else self.kept_rows

    @property
    def reads(self) -> Reads:
        """Weights; activations, too, where exponents of products are aligned."""
        return Reads(activations=self.numbers == "float")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle: one per PE, loading hidden and a row full of ones."""
        return self.pe_rows * self.pe_columns

    @property
    def load_cycles(self) -> int:
        """Cycles in which a group enters."""
        return -(-self.group // self.beat)

    @property
    def latency_cycles(self) -> int:
        """Cycles from a group's first pair to its result, besides C."""
        if self.rules.overhead is not None:
            return self.rules.overhead[self.numbers]
        return STAGES[self.numbers] + (self.beat - 1).bit_length() + self.load_cycles

    @property
    def apart_cycles(self) -> int:
        """Cycles between the starts of two groups of a PE that is not double-buffered, besides C."""
        return self.latency_cycles + (self.rules.overhead is None)

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations; in floating point also what reads no windows."""
        if not layer.has_weights:
            return SECOND_OPERAND
        if self.numbers == "float" and not isinstance(layer, (Conv, Linear)):
            return f"numbers='float': the positions of {layer.operation} read no windows of its input"
        return None

    @property
    def float_bits(self) -> int:
        """Bits of a stored float: sign, exponent, and what the working rows hold of its fraction."""
        return FLOAT_BITS if self.kept_rows is None else EXPONENT_BITS + self.kept_rows

    def group_sums(self, weights: npt.NDArray[Any], activations: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Sum the products of groups as a PE does in floating point, cut to the working rows.

        Parameters
        ----------
        weights, activations : array, shape (..., members)
            Groups of at most 64 members; rounded to float32.

        Returns
        -------
        array of float64, shape (...)

        Raises
        ------
        TensorError
            If shapes differ, a group has more than 64 members or a value is not finite in float32.

        Examples
        --------
        >>> import numpy as np
        >>> import hwmodel as hw
        >>> pe = hw.accelerator("bitlet", numbers="float", kept_rows=8)
        >>> float(pe.group_sums(np.array([1 + 2**-7 + 2**-8, 0.5]), np.array([1.0, 1.0])))
        1.5078125
        """
        return group_sums(weights, activations, kept_rows=self.working_rows)

    def _widths(self, operands: Operands) -> tuple[int, int]:
        """Bits of a weight and of an activation."""
        if self.numbers == "float":
            return self.float_bits, self.float_bits
        return operands.weight_precision, operands.activation_precision

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits that a layer takes in DRAM: every value as a float, or in 16-bit words."""
        if self.numbers == "float":
            return dense_bits(layer, self.float_bits, self.float_bits)
        return super().stored_bits(layer, operands, on_chip)

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.bit_row_passes import BitRowArray

        array = BitRowArray(
            pe_rows=self.pe_rows,
            pe_columns=self.pe_columns,
            group=self.group,
            rows=self.row_walk,
            bit_rows=self.working_rows,
            load_cycles=self.load_cycles,
            latency_cycles=self.latency_cycles,
            apart_cycles=self.apart_cycles,
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

    def own_changes(self) -> Iterator[Change]:
        """List changes of its own options, the variant's window among them."""
        yield from Accelerator.own_changes(replace(self, look=self.window))

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
        look = selector(costs, self.group, self.window) + 2 * leading_one(costs, self.window)
        return {
            "exponents": Part(match, pes * self.beat),
            "aligners": Part(
                costs.adder(exponent) + costs.shifter(SIGNIFICAND_BITS, SIGNIFICAND_BITS), pes * self.window
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
                "row_windows": counts.pe_cycles * self.working_rows,
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
