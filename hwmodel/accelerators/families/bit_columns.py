"""Base of the machines that take weights bit column by bit column: BitWave and BitVert."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.families.grid import SECOND_OPERAND
from hwmodel.accelerators.memo import once
from hwmodel.memory.stored import StoredBits, whole_words
from hwmodel.networks.layers import Conv, ConvTranspose, Layer
from hwmodel.operands.operands import FIXED_POINT_BITS, Operands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hwmodel.accelerators.engines.column_pruning import Chunks

COLUMN_ASSUMPTIONS = (
    "Walk as in the cycle simulator that the authors of BBS published: a chunk of weights lies along the"
    " input channels at one kernel position, or along the kernel positions of one channel where there are"
    " more of those than channels. Filters of a tile are in lock step, chunk by chunk; a chunk takes at least"
    " one cycle.",
    "Output positions worked on together are neighbours in the last spatial dimension. Groups of channels run"
    " one after another; a depthwise layer keeps one row of PEs busy.",
    "Floats without a precision are quantised to `precision` bits, one power-of-two scale per tensor."
    " Activations wider than `word_bits` are fed in several passes.",
    "Transposed convolution scatters: every weight meets every input position.",
    "Guessed: the scale-up for comparisons, by copies of the published array (arrays).",
    "Reading the buffers never waits.",
)
"""What the machines of this family have in common."""

GUARD_BITS = 16
"""Bits of an accumulator above a product."""

BLOCK = 1 << 20
"""Weights that are worked on at a time, to bound memory."""


@dataclass(frozen=True, kw_only=True)
class BitColumns(Accelerator):
    """PEs that take a bit column of a group of weights per cycle, with whole activations.

    Parameters
    ----------
    precision : int or None
        Bits of weights and of activations where floats come without a precision; None: 16, as on
        the other fixed-point machines.
    word_bits : int
        Width of an activation in the PEs; wider ones take several passes.
    arrays : int
        Copies of the published array. Some take other filters, in lock step, the rest other positions,
        divided as suits each layer.
    """

    precision: int | None = 8
    word_bits: int = 8
    arrays: int = 1

    width_options: ClassVar[frozenset[str]] = frozenset({"precision", "word_bits"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(1, "word_bits", "arrays")
        if self.precision is not None:
            self.check_at_least(2, "precision")
        if max(self.precision or 0, self.word_bits) > FIXED_POINT_BITS:
            raise self.refusal(
                f"precision and word_bits must be at most {FIXED_POINT_BITS},"
                f" got {self.precision} and {self.word_bits}"
            )

    def not_applicable(self, layer: Layer) -> str | None:
        """Refuse products of two activations."""
        return None if layer.has_weights else SECOND_OPERAND

    @property
    def word_passes(self) -> int:
        """Passes of a 16-bit activation."""
        return -(-FIXED_POINT_BITS // self.word_bits)

    def activation_bits(self, operands: Operands) -> int:
        """Bits of an activation: `precision` for floats that come without one."""
        x = operands.activations
        if (
            self.precision is not None
            and operands.activation_bits is None
            and (x is None or x.dtype.kind not in "iu")
        ):
            return self.precision
        return operands.activation_precision

    def column_weights(self, layer: Layer, operands: Operands) -> ColumnWeights:
        """Weights in fixed point: floats that come without a precision have `precision` bits.

        Raises
        ------
        TensorError
            If a weight needs more than 16 bits and a sign.
        """
        w, bits = operands.weights, operands.weight_bits
        if self.precision is not None and bits is None and w is not None and w.dtype.kind not in "iu":
            bits = self.precision
        found = once(_fixed_point, w, bits=bits)
        if found.width > FIXED_POINT_BITS + 1:
            raise TensorError(f"accelerator {self.name!r}: weights need {found.width} bits, 16 fit")
        return replace(
            found, values=found.values.reshape(layer.filters, layer.channels, layer.kernel_positions)
        )

    @abstractmethod
    def _changed(self, layer: Layer, operands: Operands) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield filters and their weights as PEs multiply them, shape (filters, channels, positions)."""

    def weights_used(self, layer: Layer, operands: Operands) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Give the weights, and what quantisation and pruning make of them."""
        assert operands.weights is not None
        return once(_used, operands.weights, machine=self, layer=layer, bits=operands.weight_bits)

    def stored_columns(self, layer: Layer, operands: Operands, weight_bits: int) -> StoredBits:
        """Bits in DRAM of a layer whose weights take `weight_bits` in all; activations take whole words."""
        bits = whole_words(self.activation_bits(operands), self.word_bits)
        return StoredBits(weight_bits, layer.input_count * bits, layer.output_count * bits)


@dataclass(frozen=True)
class ColumnWeights:
    """Weights of a layer in fixed point.

    Parameters
    ----------
    values : array of int, shape (filters, channels, kernel positions)
    width : int
        Bits of a value in two's complement, the sign's included.
    scale : float or None
        What a unit represents; None: the weights were integers.
    """

    values: npt.NDArray[Any]
    width: int
    scale: float | None

    def blocks(self, size: int) -> Iterator[tuple[slice, Chunks]]:
        """Yield filters, a bounded number of weights at a time, and their chunks of `size`."""
        from hwmodel.accelerators.engines.column_pruning import chunks

        step = max(1, BLOCK // self.values[0].size)
        for start in range(0, len(self.values), step):
            filters = slice(start, start + step)
            yield filters, chunks(self.values[filters], size)


def _fixed_point(weights: npt.NDArray[Any], *, bits: int | None) -> ColumnWeights:
    from bitxcore import quantize

    operands = Operands(weights, weight_bits=bits)
    precision, scale = operands.weight_precision, None
    if weights.dtype.kind in "iu":
        values = weights
    else:
        found = quantize(weights, precision)
        values, scale = found.codes, float(found.scale)
    return ColumnWeights(values, max(precision + (int(values.max()) >> (precision - 1) > 0), 2), scale)


def _used(
    weights: npt.NDArray[Any], *, machine: BitColumns, layer: Layer, bits: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    operands = Operands(weights, weight_bits=bits)
    scale = machine.column_weights(layer, operands).scale
    dtype = np.int32 if scale is None else np.float32
    after = np.empty((layer.filters, layer.channels, layer.kernel_positions), dtype)
    for filters, values in machine._changed(layer, operands):
        after[filters] = values if scale is None else values * scale
    return weights, after.reshape(weights.shape)


def position_steps(layer: Layer, width: int, copies: int) -> int:
    """Count the steps over a layer's positions, `width` neighbours of the last dimension at a time.

    Parameters
    ----------
    layer : Layer
    width : int
    copies : int
        Arrays that each take another step.
    """
    if isinstance(layer, (Conv, ConvTranspose)):
        size = layer.out_size if isinstance(layer, Conv) else tuple(np.atleast_1d(layer.in_size))
        steps = int(layer.batch * prod(size[:-1]) * -(-size[-1] // width))
        return -(-steps // copies)
    return layer.position_tiles(width * copies)


def divisions(arrays: int) -> list[tuple[int, int]]:
    """Ways to give arrays other filters and other positions: how many of each, fewest filters first."""
    return [(f, arrays // f) for f in range(1, arrays + 1) if arrays % f == 0]
