"""Exponents and significands of float32 values."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError

SIGNIFICAND_BITS = 24
"""Bits of a significand, the one in front included."""


def float32_parts(what: str, x: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint32]]:
    """Cut values, rounded to float32, into biased exponents and significands.

    Parameters
    ----------
    what : str
        What the values are, for the error's text.
    x : array

    Returns
    -------
    exponents : array of int16, same shape
        0 of a value of 0, 1 of a subnormal one: their significands stand at the same place.
    significands : array of uint32, same shape

    Raises
    ------
    TensorError
        If a value is not finite.
    """
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    exponents = (bits >> np.uint32(23) & np.uint32(0xFF)).astype(np.int16)
    if bits.size and exponents.max() == 0xFF:
        index = int(np.argmax(exponents))
        raise TensorError(f"{what} [{index}] = {x.reshape(-1)[index]} is not finite in float32")
    fractions = bits & np.uint32(0x7FFFFF)
    # Normal values have a one in front that is not stored.
    significands = fractions | (exponents > 0).astype(np.uint32) << np.uint32(23)
    exponents[(exponents == 0) & (fractions > 0)] = 1
    return exponents, significands
