"""Number formats as records: widths are stated once, masks and shifts are derived.

A finite value is ``(-1)**sign * m * 2**(e - bias - (p - 1))`` with the significand ``m`` an
unsigned integer of ``p`` bits. Integers fit the same formula with ``e = 0`` and ``bias = 1 - p``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import ml_dtypes
import numpy as np

from bitxcore.checks import shown
from bitxcore.errors import OptionError, TensorError

Encoding = Literal["ieee", "finite", "sign-magnitude", "unsigned", "twos-complement"]


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """One number format.

    Parameters
    ----------
    name : str
        As users write it, e.g. ``"float32"``, ``"int8"``, ``"int8-twos"``.
    dtype : numpy.dtype
        The array dtype that stores it.
    significand_bits : int
        ``p``, the hidden bit included.
    exponent_bits : int
        0 for integers.
    encoding : {"ieee", "finite", "sign-magnitude", "unsigned", "twos-complement"}
        ``"ieee"``: the largest exponent is kept for Inf and NaN. ``"finite"``: only the
        all-ones code is NaN (OCP OFP8 E4M3).

    Examples
    --------
    >>> import ml_dtypes, numpy as np
    >>> fmt = NumberFormat("bfloat16", np.dtype(ml_dtypes.bfloat16), 8, 8, "ieee")
    >>> fmt.storage_bits, fmt.bias, fmt.max_magnitude
    (16, 127, 255)
    """

    name: str
    dtype: np.dtype[Any]
    significand_bits: int
    exponent_bits: int
    encoding: Encoding

    @property
    def storage_bits(self) -> int:
        """Bits of one stored element."""
        return self.dtype.itemsize * 8

    @property
    def storage_dtype(self) -> np.dtype[Any]:
        """Unsigned integer dtype of the stored codes."""
        return np.dtype(f"u{self.dtype.itemsize}")

    @property
    def is_float(self) -> bool:
        """Whether values have an exponent, and so are aligned."""
        return self.exponent_bits > 0

    @property
    def bias(self) -> int:
        """Exponent bias; for integers the value that makes the common formula hold."""
        return (1 << (self.exponent_bits - 1)) - 1 if self.is_float else 1 - self.significand_bits

    @property
    def default_window(self) -> int:
        """Rows of the alignment window: 32 for float32, p + 8 for other floats, p for integers."""
        if not self.is_float:
            return self.significand_bits
        return 32 if self.name == "float32" else self.significand_bits + 8

    @property
    def max_magnitude(self) -> int:
        """Largest significand."""
        return (1 << self.significand_bits) - 1

    @property
    def largest_magnitude_code(self) -> int:
        """Code of the largest finite magnitude; in two's complement that of the largest number."""
        if self.encoding == "ieee":
            return (((1 << self.exponent_bits) - 1) << (self.significand_bits - 1)) - 1
        if self.encoding == "finite":
            return (1 << (self.storage_bits - 1)) - 2
        return self.max_magnitude >> (self.encoding == "twos-complement")

    def __str__(self) -> str:
        return self.name


def _float(name: str, dtype: Any, p: int, exponent_bits: int, encoding: Encoding = "ieee") -> NumberFormat:
    return NumberFormat(name, np.dtype(dtype), p, exponent_bits, encoding)


FLOATS = {
    f.name: f
    for f in (
        _float("float64", np.float64, 53, 11),
        _float("float32", np.float32, 24, 8),
        _float("float16", np.float16, 11, 5),
        _float("bfloat16", ml_dtypes.bfloat16, 8, 8),
        _float("float8_e4m3fn", ml_dtypes.float8_e4m3fn, 4, 4, "finite"),
        _float("float8_e5m2", ml_dtypes.float8_e5m2, 3, 5),
    )
}

_INTEGER = re.compile(r"(?P<kind>u?int)(?P<width>[0-9]{1,9})(?P<twos>-twos)?")
_FIXED = re.compile(r"fixed(?P<width>[0-9]{1,9})")


def number_format(name: str) -> NumberFormat:
    """Return the format with a name.

    Parameters
    ----------
    name : str
        A float of `FLOATS`; ``int<N>`` for N in 2..16 (sign-magnitude), ``int<N>-twos``
        (two's complement), ``uint8``; or ``fixed<N>``, whose codes are ``int<N>``.

    Returns
    -------
    NumberFormat

    Raises
    ------
    OptionError
        If no format has that name.

    Examples
    --------
    >>> fmt = number_format("bfloat16")
    >>> fmt.significand_bits, fmt.exponent_bits, fmt.bias, fmt.default_window
    (8, 8, 127, 16)
    """
    if not isinstance(name, str):
        raise OptionError(f"a format is the name of one, or a NumberFormat, got {shown(name)}", value=name)
    return _number_format(name)


@cache
def _number_format(name: str) -> NumberFormat:
    if name in FLOATS:
        return FLOATS[name]
    if width := fixed_width(name):
        return number_format(f"int{width}")
    match = _INTEGER.fullmatch(name)
    if match:
        width = int(match["width"])
        if match["kind"] == "uint" and width == 8 and not match["twos"]:
            return NumberFormat(name, np.dtype(np.uint8), 8, 0, "unsigned")
        if match["kind"] == "int" and 2 <= width <= 16:
            dtype = np.dtype(np.int8 if width <= 8 else np.int16)
            if match["twos"]:
                return NumberFormat(name, dtype, width, 0, "twos-complement")
            return NumberFormat(name, dtype, width - 1, 0, "sign-magnitude")
    known = ", ".join([*FLOATS, "int2..int16", "int2-twos..int16-twos", "uint8", "fixed2..fixed16"])
    raise OptionError(f"format {shown(name)} is not known", value=name, hint=f"known: {known}")


def fixed_width(name: str | NumberFormat | None) -> int | None:
    """Width N of a ``fixed<N>`` name, or None if the name is not of that family."""
    match = _FIXED.fullmatch(name) if isinstance(name, str) else None
    if not match:
        return None
    width = int(match["width"])
    if not 2 <= width <= 16:
        raise OptionError(f"format {name!r}: the width must be 2 to 16, got {width}", value=name)
    return width


OWN_FORMATS = (*FLOATS, "int8", "int16", "uint8")
"""Formats that are those of a dtype."""


@cache
def _own(dtype: np.dtype[Any]) -> NumberFormat | None:
    name = dtype.newbyteorder("=").name
    return number_format(name) if name in OWN_FORMATS else None


def supported(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of `dtype` have a number format of their own."""
    return _own(dtype) is not None


CONVERT = "a format tells how stored numbers are read; only fixed<N> converts: cast the values first"
"""What to do where a format is given for values of another dtype."""


def format_of(dtype: np.dtype[Any], name: str | NumberFormat | None = None) -> NumberFormat:
    """Return the format named `name`, or the dtype's own, checked against the dtype.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the array whose elements are to be read.
    name : str or NumberFormat, optional
        ``None`` means the dtype's own format.

    Raises
    ------
    TensorError
        If the dtype has no format, or does not store the named one.
    OptionError
        If no format has that name.
    """
    if name is None:
        own = _own(dtype)
        if own is None:
            raise TensorError(
                f"dtype {dtype} has no number format", hint=f"supported: {', '.join(OWN_FORMATS)}"
            )
        return own
    fmt = name if isinstance(name, NumberFormat) else number_format(name)
    if dtype.newbyteorder("=") != fmt.dtype:
        raise TensorError(
            f"format {fmt.name} is stored as {fmt.dtype}, but the array is {dtype}", hint=CONVERT
        )
    return fmt
