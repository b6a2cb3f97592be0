"""Values to bits: sign, exponent and significand, and the essential bits of each value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.engine import buffer, codes_of, locate_nonfinite
from bitxcore.formats import NumberFormat, format_of
from bitxcore.jit import parallel

Array = npt.NDArray[Any]


class Decomposed(NamedTuple):
    """Fields of values ``(-1)**sign * significand * 2**(exponent - bias - (p - 1))``.

    Attributes
    ----------
    sign : ndarray of uint8
        1: negative. Always 0 in two's complement, whose significand's top bit weighs negative.
    exponent : ndarray of int16
        Biased; 1 for subnormals and zeros, 0 for integers.
    significand : ndarray of unsigned int
        Hidden bit included; as wide as the storage.
    """

    sign: npt.NDArray[np.uint8]
    exponent: npt.NDArray[np.int16]
    significand: Array


def _encoding(fmt: NumberFormat) -> int:
    from bitxcore.kernels import bits

    if fmt.is_float:
        return bits.FLOAT
    return {
        "unsigned": bits.UNSIGNED,
        "sign-magnitude": bits.SIGN_MAGNITUDE,
        "twos-complement": bits.TWOS_COMPLEMENT,
    }[fmt.encoding]


def whole_vectors(x: Array, outs: list[Array], run: Callable[..., Any]) -> list[Any]:
    """Call ``run(codes, *outs, values)`` over chunks of whole vectors, on all threads.

    The last, partial vector is worked on in a scratch buffer, filled up with zeros.
    """
    lanes = 512 // x.dtype.itemsize

    def task(start: int, stop: int) -> Any:
        first, last = start * lanes, stop * lanes
        if last <= x.size:
            return run(x[first:last], *(o[first:last] for o in outs), last - first)
        results = [task(start, stop - 1)] if stop - start > 1 else []
        first = (stop - 1) * lanes
        codes = buffer("tail", lanes, x.dtype)
        codes[:] = 0
        codes[: x.size - first] = x[first:]
        tails = [buffer(f"tail {i}", lanes, o.dtype) for i, o in enumerate(outs)]
        results.append(run(codes, *tails, lanes))
        for o, tail in zip(outs, tails, strict=True):
            o[first:] = tail[: x.size - first]
        return results[0] if len(results) == 1 else tuple(np.add(*results)) if results[0] is not None else None

    return parallel(task, -(-x.size // lanes), lanes * x.dtype.itemsize)


def _checked(x: npt.ArrayLike, format: str | NumberFormat | None) -> tuple[Array, NumberFormat]:  # noqa: A002
    array = np.asarray(x)
    fmt = format_of(array.dtype, format)
    native = np.ascontiguousarray(array, dtype=fmt.dtype).reshape(array.shape)
    return native, fmt


def decompose(x: npt.ArrayLike, format: str | NumberFormat | None = None) -> Decomposed:  # noqa: A002
    """Split values into sign, exponent and significand.

    Parameters
    ----------
    x : array_like
        Of any shape.
    format : str or NumberFormat, optional
        Default: the dtype's own.

    Returns
    -------
    Decomposed
        Arrays of x's shape.

    Raises
    ------
    TensorError
        If a value is a NaN, an Inf or an integer outside the format; it names the flat index.
    """
    from bitxcore.kernels.bits import fields_kernel

    native, fmt = _checked(x, format)
    signs, exponents = np.empty(native.shape, np.uint8), np.empty(native.shape, np.int16)
    significands = np.empty(native.shape, fmt.storage_dtype)
    run = fields_kernel(fmt.storage_bits, _encoding(fmt))
    p = fmt.significand_bits

    def task(codes: Array, s: Array, e: Array, m: Array, values: int) -> int:
        run(codes, s, e, m, values, p - 1, p)
        return int(e.max()) if fmt.encoding == "ieee" else int(m.max())

    outs = [signs.reshape(-1), exponents.reshape(-1), significands.reshape(-1)]
    if native.size:
        whole_vectors(codes_of(native, fmt), outs, task)
        check_finite(native, fmt)
    return Decomposed(signs, exponents, significands)


def check_finite(native: Array, fmt: NumberFormat) -> None:
    """Raise the error that names the first value that is none of the format's, if there is one."""
    flat = native.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        part = flat[start : start + (1 << 20)]
        if fmt.is_float:
            broken = not np.isfinite(part).all()
        elif fmt.encoding == "twos-complement":
            half = 1 << (fmt.significand_bits - 1)
            broken = int(part.min()) < -half or int(part.max()) >= half
        else:
            top = fmt.max_magnitude
            broken = int(part.min()) < -top or int(part.max()) > top
        if broken:
            raise locate_nonfinite(native, fmt)


def essential_bits(
    x: npt.ArrayLike,
    format: str | NumberFormat | None = None,  # noqa: A002
) -> npt.NDArray[np.uint8]:
    """Count the ones in the significand of every value.

    Parameters
    ----------
    x : array_like
        Of any shape.
    format : str or NumberFormat, optional
        Default: the dtype's own.

    Returns
    -------
    ndarray of uint8
        x's shape.

    Raises
    ------
    TensorError
        If a value is a NaN, an Inf or an integer outside the format; it names the flat index.
    """
    native, fmt = _checked(x, format)
    ones = np.empty(native.shape, np.uint8)
    if native.size:
        check_finite(native, fmt)
        run = ones_kernel_of(fmt)
        whole_vectors(codes_of(native, fmt), [ones.reshape(-1)], lambda c, o, n: run(c, o, n, True))
    return ones


def ones_kernel_of(fmt: NumberFormat) -> Callable[[Array, Array, int, bool], tuple[int, int]]:
    """Kernel ``(codes, ones, values, keep)`` that gives the sum of the ones and the number of zeros."""
    from bitxcore.kernels.bits import ones_kernel

    run = ones_kernel(fmt.storage_bits, _encoding(fmt))
    p = fmt.significand_bits
    return lambda codes, ones, values, keep: run(codes, ones, values, p - 1, p, keep)
