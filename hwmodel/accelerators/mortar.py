"""Mortar and Mortar-FP8: mantissas of weights made short, one by one, without groups.

"Mortar: Morphing the Bit Level Sparsity for General Purpose Deep Learning Acceleration", ASP-DAC 2023, and
"Mortar-FP8: Morphing the Existing FP32 Infrastructure for High-Performance Deep Learning Acceleration", IEEE
TCAD 43(3), 2024, by way of a summary of both. A weight's mantissa is rounded up at the first 0 in front of a
1 where that changes the weight by less than a threshold; the machine then works through the bits from the
hidden one to the last 1, zeros in between included. Mortar-FP8 cuts mantissas to 3 bits instead. 16 compute
units (CUs) in a PE, as in BitX; weights are prepared off-line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.engines.float_parts import SIGNIFICAND_BITS, float32_parts
from hwmodel.accelerators.engines.tiles import tile_bounds
from hwmodel.accelerators.families.grid import SECOND_OPERAND
from hwmodel.accelerators.memo import once
from hwmodel.accelerators.on_chip import OnChip
from hwmodel.costs.area_energy import Part, Work
from hwmodel.costs.components import SUM_GUARD_BITS, accumulator, adder_tree, selector, tree_bits
from hwmodel.costs.figures import Costs
from hwmodel.memory.stored import StoredBits, dense_bits
from hwmodel.networks.layers import Layer
from hwmodel.operands.operands import Operands

NUMBERS = ("float32", "fp8")
SEARCHES = ("algorithm", "figure")
FLOAT_BITS, FP8_BITS, EXPONENT_BITS = 32, 8, 8
ACTIVATION_BITS = 16
"""Bits in which a CU's shifted activations are added: BitX's."""

Prepared = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Mortar(Accelerator):
    """PEs that process the bits of short mantissas serially.

    Parameters
    ----------
    numbers : {"float32", "fp8"}
        Mortar, which morphs mantissas, or Mortar-FP8, which cuts them to 3 bits.
    threshold : float
        P: relative change below which a weight is morphed.
    search : {"algorithm", "figure"}
        Which zeros a mantissa may be rounded up at: those right in front of a 1 (the paper's algorithm), or
        all that have a 1 behind them (as its figure draws).
    pes : int
        PEs, each with a filter of its own. The paper's figures are of one; 512 have the peak of the others.
    compute_units : int
        CUs per PE, each with an output position of its own.
    lanes : int
        Weights per group. A CU multiplies them together; they wait for the longest.
    activation_bits_per_cycle : int or None
        Bits of an activation's 24-bit significand that are multiplied with a bit of a weight per cycle.
        None: all.
    fifo_depth : int or None
        Groups that a PE may be ahead of the slowest; 0 is lock step, None is unbounded.
    clock_hz, cost_basis, weight_buffer_bytes, activation_buffer_bytes, output_buffer_bytes
        As in `Accelerator`.
    """

    numbers: str = "float32"
    threshold: float = 0.1
    search: str = "algorithm"
    pes: int = 1
    compute_units: int = 16
    lanes: int = 8
    activation_bits_per_cycle: int | None = None
    fifo_depth: int | None = 2

    name: ClassVar[str] = "mortar"
    title: ClassVar[str] = "Mortar, ASP-DAC 2023: mantissas of weights cut short, one by one"
    source: ClassVar[str] = (
        "Mortar: Morphing the Bit Level Sparsity for General Purpose Deep Learning Acceleration, ASP-DAC"
        " 2023; Mortar-FP8, IEEE TCAD 43(3), 2024"
    )
    comparison: ClassVar[Mapping[str, Any]] = MappingProxyType({"pes": 512})
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"numbers": "fp8"})
    width_options: ClassVar[frozenset[str]] = frozenset({"activation_bits_per_cycle"})
    lossy_options: ClassVar[frozenset[str]] = frozenset({"threshold"})
    assumptions: ClassVar[tuple[str, ...]] = (
        "A weight's mantissa is rounded up at the first 0 in front of a 1 where that changes the weight by"
        " less than P = 0.1 (threshold), once at most. The paper's figure tries every 0 instead"
        " (search='figure').",
        "A weight takes as many cycles as bits from its hidden one to its last 1, zeros in between included.",
        "numbers='fp8': exponents are 4 bits above the smallest of a kernel, mantissas 3 bits, rounded up"
        " by the next bit unless they are full; a weight takes 4 cycles at most. Guessed: 1 x 1 kernels and"
        " fully connected layers take one bias per filter; zeros have no exponent. The last fully connected"
        " layer, which the paper leaves out, is converted, too.",
        "16 CUs per PE, as in BitX. Guessed: a CU multiplies 8 weights at a time with 8 activations and"
        " waits for the longest interval (lanes); the CUs of a PE apply the same weights to 16 output"
        " positions. A group of zeros takes one cycle.",
        "Guessed: a weight's bit meets a whole activation. The text says one bit by one bit per cycle"
        " (activation_bits_per_cycle=1), which takes 24 times as long and does not fit the paper's gains.",
        "Guessed: PEs work on filters, behind FIFOs of 2 groups of activations (fifo_depth), which is"
        " BitX's.",
        "All values are float32; integers are exact up to 24 bits. Subnormal weights have their highest 1"
        " for a hidden bit. Guessed: DRAM holds float32, with numbers='fp8' weights of 8 bits and 8 bits of"
        " bias per kernel or filter.",
        "The pipeline's fill is not counted. Transposed convolution scatters.",
        "Energy is components x events, the inventory being ours. Sums are of 16-bit shifted activations.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_one_of(NUMBERS, "numbers")
        self.check_one_of(SEARCHES, "search")
        self.check_at_least(1, "pes", "compute_units", "lanes")
        if not (isinstance(self.threshold, (int, float)) and 0 <= self.threshold <= 1):
            raise self.refusal(f"threshold must be a number from 0 to 1, got {self.threshold!r}")
        if self.activation_bits_per_cycle is not None:
            self.check_at_least(1, "activation_bits_per_cycle")
            self.check_at_most(SIGNIFICAND_BITS, "activation_bits_per_cycle")
        if self.fifo_depth is not None:
            self.check_at_least(0, "fifo_depth")

    @property
    def number_format(self) -> str:
        """Numbers it computes with, in words."""
        return self.numbers

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle at 16 bits of a weight, nothing skipped."""
        return self.pes * self.compute_units * self.lanes / (16 * self._passes)

    @property
    def _passes(self) -> int:
        """Cycles in which a weight's bit meets an activation."""
        return -(-SIGNIFICAND_BITS // (self.activation_bits_per_cycle or SIGNIFICAND_BITS))

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations: there is nothing to prepare."""
        return None if layer.has_weights else SECOND_OPERAND

    def weights_used(
        self, layer: Layer, operands: Operands
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Give the weights as float32, and what they are morphed or converted to."""
        before, (_, after) = self._prepared(layer, operands)
        return before, after

    def run(self, layer: Layer, operands: Operands) -> OnChip:
        """Count the cycles of `layer`."""
        from hwmodel.accelerators.engines.mantissas import intervals
        from hwmodel.accelerators.engines.skewed_fifo import fifo_ladder

        _, (significands, _) = self._prepared(layer, operands)
        lengths = intervals(significands)
        bits = int(lengths.sum(dtype=np.int64))
        lengths = np.pad(lengths, ((0, 0), (0, -lengths.shape[1] % self.lanes)))
        longest = lengths.reshape(len(lengths), -1, self.lanes).max(axis=2).astype(np.int32)
        costs = np.maximum(longest, 1) * self._passes
        per_group = layer.filters // layer.conv_groups
        ladder = fifo_ladder(
            costs,
            fifo_depth=self.fifo_depth,
            units=self.pes,
            bounds=tile_bounds(layer.conv_groups, per_group, self.pes),
        ).sum(axis=0)
        position_tiles = layer.position_tiles(self.compute_units)
        even, unequal, waiting = (position_tiles * np.diff(ladder, prepend=0)).tolist()
        cycles = even + unequal + waiting
        work = bits * self._passes * layer.positions
        filter_tiles = layer.conv_groups * -(-per_group // self.pes)
        return self.on_chip(
            work=self._work(layer, costs, bits, (filter_tiles, position_tiles)),
            compute_cycles=even,
            imbalance_cycles=unequal,
            fifo_full_cycles=waiting,
            fill_cycles=0,
            utilisation=work / (cycles * self.pes * self.compute_units * self.lanes),
            filter_tiles=filter_tiles,
            position_tiles=position_tiles,
            groups=costs.size,
        )

    def _prepared(self, layer: Layer, operands: Operands) -> tuple[npt.NDArray[np.float32], Prepared]:
        """Weights in float32, shape (filters, reduction), and their significands and values once prepared."""
        values = once(_as_floats, operands.weights, filters=layer.filters)
        if self.numbers == "fp8":
            return values, once(_converted, values, kernels=self._kernels(layer))
        morphing = {"threshold": float(self.threshold), "every_zero": self.search == "figure"}
        return values, once(_morphed, values, **morphing)

    @staticmethod
    def _kernels(layer: Layer) -> int:
        """Kernels of a filter with a bias of their own."""
        return layer.weight_shape[1] if prod(layer.weight_shape[2:]) > 1 else 1

    def stored_bits(self, layer: Layer, operands: Operands, on_chip: OnChip) -> StoredBits:
        """Count the bits in DRAM: float32, or weights of 8 bits with their biases."""
        if self.numbers == "float32":
            return dense_bits(layer, FLOAT_BITS, FLOAT_BITS)
        plain = dense_bits(layer, FP8_BITS, FLOAT_BITS)
        biases = layer.filters * self._kernels(layer) * EXPONENT_BITS
        return StoredBits(plain.weights + biases, plain.activations, plain.outputs)

    @property
    def _weight_bits(self) -> int:
        """Bits of a weight in the buffer and the registers."""
        return FLOAT_BITS if self.numbers == "float32" else FP8_BITS

    @property
    def _significand_bits(self) -> int:
        return SIGNIFICAND_BITS if self.numbers == "float32" else 4

    def parts(self, costs: Costs) -> Mapping[str, Part]:
        """Components: a group's registers and bit selectors, and the shifters and trees of the CUs.

        Parameters
        ----------
        costs : Costs
            Figures of `cost_basis`.
        """
        cus = self.pes * self.compute_units
        count = self._significand_bits.bit_length()
        total = tree_bits(self.lanes, ACTIVATION_BITS) + SUM_GUARD_BITS
        return {
            "weight_registers": Part(costs.register(self._weight_bits), 2 * self.pes * self.lanes),
            "bit_selectors": Part(
                selector(costs, self._significand_bits, 1)
                + costs.adder(count)
                + costs.comparator(count)
                + costs.register(count),
                self.pes * self.lanes,
            ),
            "activation_fifo": Part(
                costs.register(FLOAT_BITS), self.compute_units * self.lanes * (1 + (self.fifo_depth or 0))
            ),
            "exponent_adders": Part(costs.adder(EXPONENT_BITS + 1), cus * self.lanes),
            "shifters": Part(costs.shifter(ACTIVATION_BITS, ACTIVATION_BITS), cus * self.lanes),
            "adder_trees": Part(adder_tree(costs, self.lanes, ACTIVATION_BITS), cus),
            "accumulators": Part(accumulator(costs, total), cus),
        }

    def _work(self, layer: Layer, costs: npt.NDArray[np.int32], bits: int, tiles: tuple[int, int]) -> Work:
        """Count the uses of the parts; `bits` of all intervals, `tiles` of filters and positions."""
        busy = int(costs.sum(dtype=np.int64))
        weights = layer.parameters * tiles[1]
        read = layer.reduction * layer.positions * tiles[0]
        return Work(
            uses={
                "weight_registers": weights,
                "bit_selectors": bits * self._passes * tiles[1],
                "activation_fifo": read,
                "exponent_adders": layer.macs,
                "shifters": bits * self._passes * layer.positions,
                "adder_trees": busy * layer.positions,
                "accumulators": busy * layer.positions,
            },
            read_bits={
                "weight_buffer": weights * self._weight_bits,
                "activation_buffer": read * FLOAT_BITS,
                "output_buffer": 0,
            },
            written_bits={
                "weight_buffer": 0,
                "activation_buffer": 0,
                "output_buffer": layer.filters * layer.positions * FLOAT_BITS,
            },
        )


def _as_floats(weights: npt.NDArray[Any], *, filters: int) -> npt.NDArray[np.float32]:
    """Weights as float32, one filter per row."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(weights.reshape(filters, -1), np.float32)


def _morphed(values: npt.NDArray[np.float32], *, threshold: float, every_zero: bool) -> Prepared:
    """Significands and values of morphed weights."""
    from hwmodel.accelerators.engines.mantissas import morph

    _, significands = float32_parts("weights", values)
    morphed = morph(significands, threshold, every_zero=every_zero)
    # Nothing is carried past the highest 1, so sign and exponent stay.
    changed = values.view(np.uint32) & np.uint32(0xFF800000) | morphed & np.uint32(0x7FFFFF)
    return morphed, changed.view(np.float32)


def _converted(values: npt.NDArray[np.float32], *, kernels: int) -> Prepared:
    """Significands and values of weights in Mortar-FP8's format."""
    from hwmodel.accelerators.engines.mantissas import to_fp8

    float32_parts("weights", values)
    return to_fp8(values, kernels)
