"""Fixed point: floats to N-bit signed integers and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError, TensorError
from bitxcore.formats import format_of, number_format
from bitxcore.groups import grid

SCALES = ("power-of-two", "free")


@dataclass(frozen=True)
class FixedPoint:
    """A quantised tensor: ``codes * scale``.

    Attributes
    ----------
    codes : ndarray of int8 or int16
        Shape of the tensor.
    scale : ndarray of float64
        0-d, or one value an output channel (axis 0), shaped to broadcast.
    bits : int
        Width of the codes, sign included.
    """

    codes: npt.NDArray[Any]
    scale: npt.NDArray[np.float64]
    bits: int

    def dequantize(self, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """Return ``codes * scale`` in `dtype`; exact for power-of-two scales in float32 and float64."""
        product: npt.NDArray[Any] = np.multiply(self.codes, self.scale, dtype=np.float64).astype(dtype)
        return product


def quantize(
    x: npt.ArrayLike, bits: int, *, scale: str = "power-of-two", per_channel: bool = False
) -> FixedPoint:
    """Round a float tensor to symmetric signed integers of `bits` bits.

    Parameters
    ----------
    x : array_like of float
        Finite.
    bits : int
        2 to 16, sign included; codes lie within ``±(2**(bits - 1) - 1)``.
    scale : {"power-of-two", "free"}
        The smallest power of two that saturates nothing, or exactly the largest magnitude
        over the largest code.
    per_channel : bool
        One scale an output channel (axis 0) instead of one a tensor.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TensorError
        If `x` is no float tensor, or holds a NaN or Inf.
    """
    values = np.asarray(x)
    grid(values.shape, 1)
    fmt = format_of(values.dtype)
    if not fmt.is_float:
        raise TensorError(f"fixed point is made from floats, but the array is {values.dtype}")
    if scale not in SCALES:
        raise BitxError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    codes_format = number_format(f"int{bits}")
    top = codes_format.max_magnitude
    axes = tuple(range(1, values.ndim)) if per_channel and values.ndim > 1 else None
    with np.errstate(invalid="ignore"):  # NaN is found below
        low = values.min(axis=axes, keepdims=axes is not None)
        high = values.max(axis=axes, keepdims=axes is not None)
        largest = np.maximum(-low.astype(np.float64), high.astype(np.float64))
    if not np.isfinite(largest).all():
        from bitxcore.engine import locate_nonfinite

        raise locate_nonfinite(values, fmt)
    if scale == "free":
        factor = np.where(largest > 0, largest / top, 1.0)
    else:
        exponent = np.frexp(largest / top)[1] - 1
        exponent = np.where(largest > np.ldexp(float(top), exponent), exponent + 1, exponent)
        factor = np.ldexp(1.0, np.where(largest > 0, exponent, 0))
    codes = np.empty(values.shape, codes_format.dtype)
    step = max(1, (1 << 20) // values[0].size)
    for start in range(0, values.shape[0], step):
        part = slice(start, start + step)
        divisor = factor[part] if axes else factor
        rounded = np.rint(values[part].astype(np.float64) / divisor)
        codes[part] = np.clip(rounded, -top, top)
    return FixedPoint(codes, np.asarray(factor), bits)
