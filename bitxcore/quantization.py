"""Fixed point: floats to N-bit signed integers and back."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of, checked_integer, shown, values_of
from bitxcore.errors import OptionError, TensorError
from bitxcore.formats import format_of, number_format, supported
from bitxcore.groups import grid
from bitxcore.jit import parallel, writable

BLOCK = 1 << 18
"""Values that one step works on: its copies stay in the cache."""

SINGLE_EXPONENTS = range(-100, 100)
"""Exponents of a scale by which float32 multiplies exactly, results included."""

_SMALLEST_EXPONENT = -1074  # of float64

_finfo: Any = ml_dtypes.finfo

SCALES = ("power-of-two", "free", "unit")


@dataclass(frozen=True)
class FixedPoint:
    """A quantised tensor: ``codes * scale``.

    Attributes
    ----------
    codes : ndarray of int8 or int16
        Shape of the tensor.
    scale : ndarray of float64
        0-d, or one value per output channel (axis 0), shaped to broadcast.
    bits : int
        Width of the codes, sign included.

    Examples
    --------
    >>> fixed = quantize(np.array([0.5, -0.3, 0.0], np.float32), 8)
    >>> fixed.dequantize().tolist()
    [0.5, -0.296875, 0.0]
    """

    codes: npt.NDArray[Any]
    scale: npt.NDArray[np.float64]
    bits: int

    def dequantize(self, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """Return ``codes * scale`` in `dtype`; exact for power-of-two scales in float32 and float64.

        Raises
        ------
        TensorError
            If a value is beyond the finite numbers of `dtype`, or these are not floats.
        """
        out = np.empty(self.codes.shape, dtype)
        if not (supported(out.dtype) and format_of(out.dtype).is_float):
            raise TensorError(f"codes times a scale are floats, but the array is {out.dtype}")
        if self._may_exceed(out.dtype):
            axes = tuple(range(1, self.codes.ndim)) if self.scale.ndim else None
            codes = np.abs(self.codes.astype(np.int32)).max(axis=axes, keepdims=self.scale.ndim > 0)
            if not holds(out.dtype, codes * self.scale):
                raise TensorError(f"values of up to {(codes * self.scale).max():g} are beyond {out.dtype}")
        self.dequantize_into(out)
        return out

    def dequantize_into(self, out: npt.NDArray[Any]) -> None:
        """Write ``codes * scale`` to `out`, an array of the codes' shape and of a float dtype.

        Values beyond the finite numbers of that dtype become its largest.
        """
        wide = _exact_dtype(out.dtype, self.scale)
        top = np.asarray(_finfo(out.dtype).max, wide) if self._may_exceed(out.dtype) else None

        def work(codes: Any, out: Any, scale: Any) -> None:
            if _by_kernel(codes, out) and wide == np.float32 and scale.ndim == 0:
                from bitxcore.kernels.quantizing import scale_codes

                scale_codes(writable(codes), out, scale[()])
                return
            if out.dtype == wide and top is None:
                np.multiply(codes, scale, out=out, dtype=wide)
                return
            with np.errstate(over="ignore"):
                values = np.multiply(codes, scale, dtype=wide)
            out[...] = values if top is None else np.clip(values, -top, top, out=values)

        _blockwise(work, self.scale.astype(wide), self.codes, out)

    def _may_exceed(self, dtype: np.dtype[Any]) -> bool:
        """Whether codes of this width can represent more than the largest number of `dtype`."""
        with np.errstate(over="ignore"):
            return bool(np.ldexp(self.scale, self.bits - 1).max() > float(_finfo(dtype).max))


def quantize(
    x: npt.ArrayLike, bits: int, *, scale: str | float = "power-of-two", per_channel: bool = False
) -> FixedPoint:
    """Round a float tensor to symmetric signed integers of `bits` bits.

    Parameters
    ----------
    x : array_like of float
        Finite.
    bits : int
        2 to 16, sign included; codes lie within ``±(2**(bits - 1) - 1)``.
    scale : {"power-of-two", "free", "unit"} or float
        The smallest power of two that saturates nothing, or half of it where the largest magnitude would
        round to a value beyond the dtype of `x`; exactly the largest magnitude over the largest code; full
        scale 1.0 whatever the values are, larger ones saturating; or the scale itself.
    per_channel : bool
        One scale per output channel (axis 0) instead of one per tensor.

    Returns
    -------
    FixedPoint

    Raises
    ------
    TensorError
        If `x` is not a float tensor, holds a NaN or Inf, or values that no scale reaches.
    OptionError
        If `bits` or `scale` is out of range, or a given scale is to differ by channel.

    Examples
    --------
    >>> fixed = quantize(np.array([0.5, -0.3, 0.0], np.float32), 8)
    >>> fixed.codes.tolist(), float(fixed.scale)
    ([64, -38, 0], 0.0078125)
    """
    values = values_of(x)
    bits = checked_integer(16, "bits", bits, least=2)
    factor = fixed_scale(values, bits, scale, per_channel)
    codes_format = number_format(f"int{bits}")
    top = codes_format.max_magnitude
    codes = np.empty(values.shape, codes_format.dtype)
    wide = np.dtype(np.float64) if scale == "free" else _exact_dtype(values.dtype, factor)

    def work(values: Any, codes: Any, factor: Any) -> None:
        if _by_kernel(codes, values) and wide == np.float32 and factor.ndim == 0:
            from bitxcore.kernels.quantizing import round_to_codes

            # Scales are powers of two here: to divide by one is to multiply by its inverse.
            round_to_codes(writable(values), codes, 1 / factor[()], np.float32(top))
            return
        with np.errstate(over="ignore"):  # what is beyond a given scale saturates
            rounded = np.divide(values.astype(wide, copy=False), factor)
        np.rint(rounded, out=rounded)
        codes[...] = np.clip(rounded, -top, top, out=rounded)

    _blockwise(work, np.asarray(factor).astype(wide), values, codes)
    return FixedPoint(codes, np.asarray(factor), bits)


def fixed_scale(
    x: npt.NDArray[Any], bits: int, scale: str | float = "power-of-two", per_channel: bool = False
) -> npt.NDArray[np.float64]:
    """Find the scale that `quantize` takes: to work on a tensor in parts.

    Parameters
    ----------
    x : ndarray of float
    bits, scale, per_channel
        As of `quantize`.

    Returns
    -------
    ndarray of float64
        0-d, or one value per output channel, shaped to broadcast.

    Examples
    --------
    >>> float(fixed_scale(np.array([0.5, -0.3], np.float32), 8))
    0.0078125
    """
    grid(x.shape, 1)
    fmt = format_of(x.dtype)
    if not fmt.is_float:
        raise TensorError(f"fixed point is made from floats, but the array is {x.dtype}")
    bits = checked_integer(16, "bits", bits, least=2)
    given = _given_scale(bits, scale)
    top = number_format(f"int{bits}").max_magnitude
    largest = _largest(x, per_channel)
    if not np.isfinite(largest).all():
        from bitxcore.engine import locate_nonfinite

        raise locate_nonfinite(x, fmt)
    if given is not None:
        if per_channel:
            raise OptionError(
                f"a scale that is given must be of all channels alike, got {shown(scale)}", value=scale
            )
        return np.asarray(given)
    if scale == "free":
        return np.asarray(np.where(largest > 0, _free_scale(largest, top), 1.0))
    mantissa, exponent = np.frexp(largest)
    exponent = exponent - (bits - 1) + (mantissa > np.ldexp(float(top), 1 - bits))
    # All of float64 are multiples of its smallest number; a finer scale would be 0.
    exponent = np.maximum(exponent, _SMALLEST_EXPONENT)
    with np.errstate(over="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(largest, -exponent)), exponent)
    # Half the scale cuts the largest value to the largest code, whose value is below it.
    exponent = exponent - ~_held(x.dtype, rounded)
    return np.asarray(np.ldexp(1.0, np.where(largest > 0, exponent, 0)))


def _given_scale(bits: int, scale: Any) -> float | None:
    """Return the scale that does not depend on the values, or None; raise `OptionError` if it is none."""
    if isinstance(scale, str):
        check_one_of(SCALES, "scale", scale)
        return 2.0 ** (1 - bits) if scale == "unit" else None
    try:
        given = float(scale) if isinstance(scale, Real) and not isinstance(scale, bool) else np.nan
    except OverflowError:
        given = np.inf
    if not 0 < given < np.inf:
        raise OptionError(f"a scale that is given must be a positive number, got {shown(scale)}", value=scale)
    return given


def holds(dtype: np.dtype[Any], values: npt.NDArray[Any]) -> bool:
    """Whether all of `values` (float64) round to finite numbers of `dtype`."""
    return bool(_held(dtype, values).all())


def _held(dtype: np.dtype[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.isfinite(values.astype(dtype).astype(np.float64)))


def _free_scale(largest: npt.NDArray[np.float64], top: int) -> npt.NDArray[np.float64]:
    """Return ``largest / top``, rounded such that the largest code neither overflows nor saturates."""
    scale = np.maximum(largest / top, np.ldexp(1.0, _SMALLEST_EXPONENT))
    with np.errstate(over="ignore", under="ignore"):
        scale = np.where(np.isinf(scale * top), np.nextafter(scale, 0), scale)
        coarse = (scale < np.finfo(np.float64).tiny) & (scale * top < largest)
        return np.asarray(np.where(coarse, np.nextafter(scale, np.inf), scale))


def _largest(x: npt.NDArray[Any], per_channel: bool) -> npt.NDArray[np.float64]:
    """Largest magnitude of each channel, shaped to broadcast, or of all; not finite if a value is not."""

    def ends(part: Any, _: Any) -> Any:
        with np.errstate(invalid="ignore"):  # NaN is found by the caller
            axes = tuple(range(1, x.ndim)) if per_channel else None
            low, high = part.min(axis=axes, keepdims=per_channel), part.max(axis=axes, keepdims=per_channel)
            return np.maximum(-low.astype(np.float64), high.astype(np.float64))

    def codes_end(part: Any, _: Any) -> Any:
        from bitxcore.kernels.quantizing import largest_magnitude

        return np.float64(np.uint32(largest_magnitude(writable(part).view(np.uint32))).view(np.float32))

    per_channel = per_channel and x.ndim > 1
    if not per_channel and x.flags.c_contiguous and x.dtype == np.float32 and x.dtype.isnative:
        return np.asarray(np.max(_blockwise(codes_end, np.zeros(()), x)))
    if per_channel:
        return np.concatenate(_blockwise(ends, np.zeros((len(x), 1)), x))
    return np.asarray(np.max(_blockwise(ends, np.zeros(()), x)))


def _exact_dtype(dtype: np.dtype[Any], scale: npt.NDArray[Any]) -> np.dtype[Any]:
    """Dtype that scales values of `dtype`, and codes, by powers of two exactly; float64 for other scales."""
    mantissas, exponents = np.frexp(scale)
    narrow = dtype.itemsize <= 4 and (mantissas == 0.5).all()
    narrow = narrow and exponents.min() in SINGLE_EXPONENTS and exponents.max() in SINGLE_EXPONENTS
    return np.dtype(np.float32 if narrow else np.float64)


def _by_kernel(codes: npt.NDArray[Any], values: npt.NDArray[Any]) -> bool:
    """Whether codes and float32 values are blocks that a kernel can turn into each other."""
    flat = codes.ndim == values.ndim == 1 and codes.flags.c_contiguous and values.flags.c_contiguous
    return flat and values.dtype == np.float32 and values.dtype.isnative and values.flags.aligned


def _blockwise(work: Any, scale: npt.NDArray[Any], *arrays: npt.NDArray[Any]) -> list[Any]:
    """Call ``work(*blocks, scale)`` on blocks of equal place in all arrays, on all threads."""
    if scale.ndim == 0 and all(a.flags.c_contiguous for a in arrays):
        arrays = tuple(a.reshape(-1) for a in arrays)
    step = max(1, BLOCK // max(1, arrays[0][0].size))
    per_row = scale.ndim > 0

    def task(start: int, stop: int) -> Any:
        return work(*(a[start:stop] for a in arrays), scale[start:stop] if per_row else scale)

    return parallel(task, len(arrays[0]), step)
