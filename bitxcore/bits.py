"""Values to bits: sign, exponent and significand, and the essential bits of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.checks import values_of
from bitxcore.engine import Array, buffer, codes_of, locate_nonfinite
from bitxcore.formats import NumberFormat, format_of
from bitxcore.jit import CHUNK_BYTES, parallel, share
from bitxcore.tables import data_frame, data_set, facts_html


class Decomposed(NamedTuple):
    """Fields of values ``(-1)**sign * significand * 2**(exponent - bias - (p - 1))``.

    Attributes
    ----------
    sign : ndarray of uint8
        1: negative. Always 0 in two's complement, where the top bit of the significand has negative weight.
    exponent : ndarray of int16
        Biased; 1 for subnormals and zeros, 0 for integers.
    significand : ndarray of unsigned int
        Hidden bit included; as wide as the storage.

    Examples
    --------
    >>> parts = decompose(np.array([1.5, -0.25], np.float16))
    >>> parts.sign.tolist(), parts.exponent.tolist()
    ([0, 1], [15, 13])
    >>> [f"{m:011b}" for m in parts.significand]
    ['11000000000', '10000000000']
    """

    sign: npt.NDArray[np.uint8]
    exponent: npt.NDArray[np.int16]
    significand: Array

    def _repr_html_(self) -> str:
        ones = int(np.bitwise_count(self.significand).sum(dtype=np.int64))
        return facts_html(
            "Decomposed",
            {
                "shape": ("x".join(map(str, self.sign.shape)), ""),
                "values": (self.sign.size, ""),
                "negative values": (int(self.sign.sum(dtype=np.int64)), ""),
                "zero values": (self.sign.size - int(np.count_nonzero(self.significand)), ""),
                "ones": (ones, "bit"),
            },
        )

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a row per value, in C order: sign, exponent and significand.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> decompose(np.array([3, -9], np.int8)).to_pandas().significand.tolist()
        [3, 9]
        """
        columns = {name: array.reshape(-1) for name, array in self._asdict().items()}
        return data_frame(columns, dict.fromkeys(columns, "1"))

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset` with the dimensions ``axis_0``, ``axis_1``, … of the values.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> decompose(np.array([[3, -9]], np.int8)).to_xarray().sign.dims
        ('axis_0', 'axis_1')
        """
        axes = [f"axis_{i}" for i in range(self.sign.ndim)]
        return data_set({name: (axes, array, "1") for name, array in self._asdict().items()}, {})


def _encoding(fmt: NumberFormat) -> int:
    from bitxcore.kernels import fields

    if fmt.is_float:
        return fields.FLOAT
    return {
        "unsigned": fields.UNSIGNED,
        "sign-magnitude": fields.SIGN_MAGNITUDE,
        "twos-complement": fields.TWOS_COMPLEMENT,
    }[fmt.encoding]


def whole_vectors(x: Array, outs: list[Array], run: Callable[..., Any]) -> list[Any]:
    """Call ``run(codes, *outs, values)`` over chunks of whole vectors, on all threads.

    The last, partial vector is worked on in a scratch buffer, filled up with zeros.
    """
    from bitxcore.kernels.fields import VECTOR_BITS

    lanes = VECTOR_BITS // 8 // x.dtype.itemsize

    def task(start: int, stop: int) -> list[Any]:
        first, last = start * lanes, min(stop, x.size // lanes) * lanes
        results = []
        if last > first:
            results.append(run(x[first:last], *(o[first:last] for o in outs), last - first))
        if stop * lanes > x.size:
            rest = x.size - last
            codes = buffer("tail", lanes, x.dtype)
            codes[:rest] = x[last:]
            codes[rest:] = 0
            tails = [buffer(f"tail {i}", lanes, o.dtype) for i, o in enumerate(outs)]
            results.append(run(codes, *tails, lanes))
            for o, tail in zip(outs, tails, strict=True):
                o[last:] = tail[:rest]
        return results

    count = -(-x.size // lanes)
    parts = parallel(task, count, share(count, CHUNK_BYTES * 8 // VECTOR_BITS))
    return [result for part in parts for result in part]


def _checked(x: npt.ArrayLike, format: str | NumberFormat | None) -> tuple[Array, NumberFormat]:  # noqa: A002
    array = values_of(x)
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

    Examples
    --------
    >>> decompose(np.array([3, -9], np.int8)).significand.tolist()
    [3, 9]
    """
    from bitxcore.kernels.fields import fields_kernel

    native, fmt = _checked(x, format)
    signs, exponents = np.empty(native.shape, np.uint8), np.empty(native.shape, np.int16)
    significands = np.empty(native.shape, fmt.storage_dtype)
    kernel, p = fields_kernel(fmt.storage_bits, _encoding(fmt)), fmt.significand_bits
    outs: list[Array] = [signs.reshape(-1), exponents.reshape(-1), significands.reshape(-1)]
    largest = whole_vectors(codes_of(native, fmt), outs, lambda c, s, e, m, n: kernel(c, s, e, m, n, p))
    _check(largest, native, fmt)
    return Decomposed(signs, exponents, significands)


def _check(magnitudes: Iterable[int], x: Array, fmt: NumberFormat) -> None:
    """Raise if the largest magnitudes of the chunks tell of a value outside the format."""
    if max((int(m) for m in magnitudes), default=0) > fmt.largest_magnitude_code:
        raise locate_nonfinite(x, fmt)


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

    Examples
    --------
    >>> essential_bits(np.array([1.5, -0.25, 0.0], np.float32)).tolist()
    [2, 1, 0]
    """
    from bitxcore.kernels.fields import ones_kernel

    native, fmt = _checked(x, format)
    ones = np.empty(native.shape, np.uint8)
    kernel, p = ones_kernel(fmt.storage_bits, _encoding(fmt)), fmt.significand_bits
    largest = whole_vectors(codes_of(native, fmt), [ones.reshape(-1)], lambda c, o, n: kernel(c, o, n, p))
    _check(largest, native, fmt)
    return ones
