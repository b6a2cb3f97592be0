"""Weights and activations of one layer, checked against it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError, TensorError
from bitxcore.showing import record_repr
from hwmodel.networks.layers import Conv, ConvTranspose, Layer, MatMul

FIXED_POINT_BITS = 16
"""Precision of the fixed-point machines where nothing else is given."""


def activation_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of a layer's activations; of a product of activations, of its first operand."""
    if isinstance(layer, Conv | ConvTranspose):
        assert isinstance(layer.in_size, tuple)
        return (layer.batch, layer.in_channels, *layer.in_size)
    if isinstance(layer, MatMul):
        return (layer.batch, layer.rows, layer.inner)
    return (layer.positions, layer.channels)


def _check_precision(layer: Layer, what: str, x: npt.NDArray[Any] | None, bits: int | None) -> None:
    if bits is None:
        return
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 64:
        raise OptionError(
            f"{what} precision must be 1 to 64 bits, got {bits!r}", layer=layer.name, value=bits
        )
    if x is None or x.dtype.kind not in "iu" or not x.size:
        return
    low, high = int(x.min()), int(x.max())
    limit = 1 << (bits - (low < 0))
    if low < -limit or high >= limit:
        index = int(np.argmax(x) if high >= limit else np.argmin(x))
        value = x.reshape(-1)[index]
        raise TensorError(
            f"{what} [{index}] = {value} does not fit {bits} bits",
            layer=layer.name,
            index=index,
            value=value,
        )


@dataclass(frozen=True, eq=False)
class Operands:
    """Operands of one layer.

    Parameters
    ----------
    weights : array_like, optional
        Output channel first: the layer's `weight_shape`; a `Linear` also takes
        ``(filters, ...)`` with as many values. Of a product of activations the second operand, columns
        first: ``(batch * columns, inner)``. Floats, or integers.
    activations : array_like, optional
        The layer's input: ``(batch, channels, *size)`` of a convolution (without `batch`, if it is 1),
        ``(positions, features)`` of a linear layer; of a product of activations the first operand,
        ``(batch, rows, inner)``. Floats, or integers.
    weight_bits, activation_bits : int, optional
        Precision of integer operands, including a sign bit where there are negative values. Where a machine
        looks at integers and operands are floats: the precision to which they are quantised, sign bit
        included.

    Examples
    --------
    >>> import numpy as np
    >>> from hwmodel import Linear
    >>> operands = Operands(weights=np.ones((10, 64), np.float32), weight_bits=8)
    >>> operands.check(Linear("fc", in_features=64, out_features=10))
    >>> operands.integer_weights.dtype, int(operands.integer_weights.max())
    (dtype('int8'), 64)
    """

    __repr__ = record_repr

    weights: npt.NDArray[Any] | None = None
    activations: npt.NDArray[Any] | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None

    def __post_init__(self) -> None:
        for field in ("weights", "activations"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, np.asarray(value))

    def check(self, layer: Layer) -> None:
        """Check shapes and precisions against `layer`.

        Raises
        ------
        TensorError
            Naming the layer, the operand, the shape it must have and the one it has.
        OptionError
            For a precision that can't be.
        """
        w, a = self.weights, self.activations
        if w is not None:
            needed = layer.weight_shape if layer.has_weights else (layer.filters, layer.channels)
            flat = layer.operation == "linear" and w.ndim >= 1 and w.shape[0] == layer.filters
            if w.shape != needed and not (flat and w.size == layer.parameters):
                what = "weights" if layer.has_weights else "a second operand, in the place of weights,"
                raise TensorError(
                    f"{what} must have shape {needed}, got {w.shape}",
                    layer=layer.name,
                    value=w.shape,
                )
        count = prod(activation_shape(layer))
        if a is not None and prod(a.shape) != count:
            raise TensorError(
                f"activations must have {count} values, got {a.size} (shape {a.shape})",
                layer=layer.name,
                value=a.shape,
            )
        _check_precision(layer, "weights", w, self.weight_bits)
        _check_precision(layer, "activations", a, self.activation_bits)

    @property
    def weight_precision(self) -> int:
        """Bits of a weight in fixed point."""
        return _precision(self.weights, self.weight_bits)

    @property
    def activation_precision(self) -> int:
        """Bits of an activation in fixed point."""
        return _precision(self.activations, self.activation_bits)

    @cached_property
    def integer_weights(self) -> npt.NDArray[Any]:
        """Weights in fixed point; floats are quantised to `weight_precision` bits.

        The scale is the smallest power of two that saturates nothing.

        Raises
        ------
        TensorError
            If there are none, or for a NaN, an Inf or a float's precision outside of 2 to 16 bits.
        """
        return _fixed_point("weights", self.weights, self.weight_precision)

    @cached_property
    def integer_activations(self) -> npt.NDArray[Any]:
        """Activations in fixed point, as `integer_weights`."""
        return _fixed_point("activations", self.activations, self.activation_precision)


def _precision(x: npt.NDArray[Any] | None, bits: int | None) -> int:
    """Bits given; or those of a narrow integer dtype, or those that wider integers need; or 16."""
    if bits is not None:
        return bits
    if x is None or x.dtype.kind not in "iu" or not x.size:
        return FIXED_POINT_BITS
    if x.dtype.itemsize * 8 <= FIXED_POINT_BITS:
        return x.dtype.itemsize * 8
    low, high = int(x.min()), int(x.max())
    return max(1, high.bit_length() + (low < 0), (~low).bit_length() + 1 if low < 0 else 1)


def _fixed_point(what: str, x: npt.NDArray[Any] | None, bits: int) -> npt.NDArray[Any]:
    if x is None:
        raise TensorError(f"{what} are needed, none were given")
    if x.dtype.kind in "iu":
        return x
    from bitxcore import quantize

    return quantize(x, bits).codes
