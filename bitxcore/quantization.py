"""Fixed point: floats to N-bit signed integers and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of, checked_integer, shown, values_of
from bitxcore.engine import check_subnormals, locate_nonfinite, refuse_flushing
from bitxcore.errors import OptionError, TensorError
from bitxcore.formats import format_of, number_format, supported
from bitxcore.groups import grid
from bitxcore.jit import parallel, writable

BLOCK = 1 << 18
"""Values that one step works on: its copies stay in the cache."""

SINGLE_EXPONENTS = range(-100, 100)
"""Exponents of a scale by which float32 multiplies exactly, results included."""

SMALLEST = 2.0**-1074
"""Smallest number of float64."""

_finfo: Any = ml_dtypes.finfo

Block = Callable[[Any, Any, Any], None]

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
        _blockwise(self.to_values(out.dtype), self.scale, self.codes, out)

    def quantize_from(self, x: npt.NDArray[Any]) -> None:
        """Overwrite the codes with those of `x`, an array of their shape and of a float dtype."""
        _blockwise(self.to_codes(x.dtype), self.scale, x, self.codes)

    def to_codes(self, dtype: np.dtype[Any]) -> Block:
        """Return what quantises a block of values of `dtype`: called with these, the codes and the scales."""
        kernels, top = _kernels(dtype), (1 << self.bits - 1) - 1
        if _multiplies_exactly(self.scale):

            def by_kernel(values: Any, codes: Any, scale: Any) -> None:
                kernels.round(_flat(values, kernels.stored), codes.reshape(-1), scale.reshape(-1), top)

            return by_kernel

        def by_numpy(values: Any, codes: Any, scale: Any) -> None:
            kernels.check(scale)
            with np.errstate(over="ignore"):  # what is beyond a given scale saturates
                rounded = np.divide(values.astype(np.float64), scale)
            np.rint(rounded, out=rounded)
            codes[...] = np.clip(rounded, -top, top, out=rounded)

        return by_numpy

    def to_values(self, dtype: np.dtype[Any]) -> Block:
        """Return what undoes `to_codes`, called with the codes, the values and their scales."""
        kernels = _kernels(dtype)
        top = kernels.most
        if _multiplies_exactly(self.scale):

            def by_kernel(codes: Any, out: Any, scale: Any) -> None:
                values = out if _suits(out, kernels.stored) else np.empty(out.shape, kernels.stored)
                flat = _flat(values, kernels.stored)
                kernels.scale(_flat(codes, codes.dtype.type), flat, scale.reshape(-1), top)
                if values is not out:
                    out[...] = values

            return by_kernel

        def by_numpy(codes: Any, out: Any, scale: Any) -> None:
            kernels.check(scale)
            with np.errstate(over="ignore"):
                values = np.multiply(codes, scale, dtype=np.float64)
            out[...] = np.clip(values, -top, top, out=values)

        return by_numpy

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
    fixed = FixedPoint(np.empty(values.shape, number_format(f"int{bits}").dtype), factor, bits)
    fixed.quantize_from(values)
    return fixed


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
    largest = largest_magnitude(x, per_channel, exact=given is None)
    fitted = np.empty_like(largest)
    kernels = _kernels(x.dtype)
    if not kernels.fit(largest.reshape(-1), fitted.reshape(-1), bits, kernels.most):
        raise locate_nonfinite(x, fmt)
    if given is not None:
        if per_channel:
            raise OptionError(
                f"a scale that is given must be of all channels alike, got {shown(scale)}", value=scale
            )
        return np.asarray(given)
    if scale == "free":
        top = number_format(f"int{bits}").max_magnitude
        fitted = np.asarray(np.where(largest > 0, _free_scale(largest, top), 1.0))
    check_subnormals(fitted.size, fitted)
    return fitted


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
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.astype(dtype).astype(np.float64)).all())


def _free_scale(largest: npt.NDArray[np.float64], top: int) -> npt.NDArray[np.float64]:
    """Return ``largest / top``, rounded such that the largest code neither overflows nor saturates."""
    scale = np.maximum(largest / top, SMALLEST)
    with np.errstate(over="ignore", under="ignore"):
        scale = np.where(np.isinf(scale * top), np.nextafter(scale, 0), scale)
        coarse = (scale < np.finfo(np.float64).tiny) & (scale * top < largest)
        return np.asarray(np.where(coarse, np.nextafter(scale, np.inf), scale))


def largest_magnitude(
    x: npt.NDArray[Any], per_channel: bool = False, exact: bool = True
) -> npt.NDArray[np.float64]:
    """Largest magnitude of each channel, shaped to broadcast, or of all; not finite if a value is not.

    If not `exact`, subnormal ones may be 0.
    """
    kernels, code = _kernels(x.dtype), format_of(x.dtype).storage_dtype
    magnitude = code.type((1 << 8 * x.itemsize - 1) - 1)
    shape = (len(x), *[1] * (x.ndim - 1)) if per_channel and x.ndim > 1 else ()

    def work(part: Any, _: Any) -> Any:
        found = np.empty(len(part) if shape else 1, code)
        kernels.largest(_flat(part, x.dtype.type).view(code), found, magnitude)
        return found

    parts = _blockwise(work, np.empty(shape, bool), x)
    codes = (np.concatenate(parts) if shape else max(parts)).reshape(shape)
    with np.errstate(invalid="ignore"):
        largest: npt.NDArray[np.float64] = codes.view(x.dtype.type).astype(np.float64)
    if exact:
        check_subnormals(np.count_nonzero(codes), largest)
    return largest


@dataclass(frozen=True)
class _Kernels:
    """How floats of a dtype become codes, and codes floats.

    Parameters
    ----------
    stored : dtype
        Of the values that kernels take; those of 8 bits go through float32.
    most, smallest_scale : float
        The largest number of the dtype, and the scale below which subnormal numbers matter: of the dtype, or
        of float32.
    round, scale, largest, fit : callable
        Of `kernels.quantizing`.
    """

    stored: np.dtype[Any]
    most: float
    smallest_scale: float
    round: Callable[..., None]
    scale: Callable[..., None]
    largest: Callable[..., None]
    fit: Callable[..., bool]

    def check(self, scale: npt.NDArray[np.float64]) -> None:
        """Raise if results could be others because this thread flushes subnormal numbers to zero."""
        if scale.min() < self.smallest_scale:
            refuse_flushing()


@cache
def _kernels(dtype: np.dtype[Any]) -> _Kernels:
    from bitxcore.kernels import quantizing

    stored = np.dtype(dtype.type if dtype.itemsize > 1 else np.float32)
    tiny = np.finfo(np.float64 if dtype.itemsize == 8 else np.float32).tiny
    name = stored.name
    return _Kernels(
        stored,
        float(_finfo(dtype).max),
        2 * float(tiny),
        quantizing.rounding_kernel(name),
        quantizing.scaling_kernel(name),
        quantizing.largest_magnitudes,
        quantizing.fit_scales,
    )


def _multiplies_exactly(scale: npt.NDArray[np.float64]) -> bool:
    """Whether float32 and float64 multiply by these scales exactly, so far as the nearest codes need it."""
    if scale.ndim == 0:
        mantissa, exponent = math.frexp(scale)
        return mantissa == 0.5 and exponent in SINGLE_EXPONENTS
    mantissas, exponents = np.frexp(scale)
    inside = exponents.min() in SINGLE_EXPONENTS and exponents.max() in SINGLE_EXPONENTS
    return bool(inside and (mantissas == 0.5).all())


def _suits(x: npt.NDArray[Any], dtype: npt.DTypeLike) -> bool:
    """Whether kernels take an array as it is."""
    return x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned


def _flat(x: npt.NDArray[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """View values or codes as kernels take them, or a copy of them in a dtype that holds them all."""
    flat: npt.NDArray[Any] = writable((x if _suits(x, dtype) else x.astype(dtype, order="C")).reshape(-1))
    return flat.view(np.uint16) if flat.dtype.kind not in "iu" and flat.itemsize == 2 else flat


def _blockwise(work: Any, scale: npt.NDArray[Any], *arrays: npt.NDArray[Any]) -> list[Any]:
    """Call ``work(*blocks, scale)`` on blocks of equal place in all arrays, on all threads."""
    if arrays[0].size <= BLOCK:
        return [work(*arrays, scale)]
    if scale.ndim == 0 and all(a.flags.c_contiguous for a in arrays):
        arrays = tuple(a.reshape(-1) for a in arrays)
    step = max(1, BLOCK // max(1, arrays[0][0].size))
    per_row = scale.ndim > 0

    def task(start: int, stop: int) -> Any:
        return work(*(a[start:stop] for a in arrays), scale[start:stop] if per_row else scale)

    return parallel(task, len(arrays[0]), step)
