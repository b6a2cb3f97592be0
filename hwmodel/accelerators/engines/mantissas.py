"""Mantissas that are morphed one by one, weight by weight. Importing this module imports Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

Array = npt.NDArray[Any]

FRACTION_BITS = 3
"""Mantissa bits of Mortar-FP8's weights, the hidden one not counted."""
MOST_EXPONENT = 15
AT_ONCE = 1 << 16


@kernel
def _morph(significands, threshold, every_zero, morphed):
    for n in range(significands.size):
        s = np.int64(significands[n])
        morphed[n] = significands[n]
        # From the highest 1, which is the hidden bit, down.
        place = np.int64(1) << 31
        while place > s:
            place >>= 1
        place >>= 1
        while place > 0:
            # A 0 here, and a 1 right behind it, or anywhere behind it.
            below = s & (place - 1)
            candidate = s & place == 0 and (below > 0 if every_zero else s & (place >> 1) != 0)
            if candidate:
                # The 0 becomes a 1, all behind it is cleared.
                new = s - below + place
                if float(new - s) / float(s) < threshold:
                    morphed[n] = np.uint32(new)
                    break
            place >>= 1


def morph(
    significands: npt.NDArray[np.uint32], threshold: float, *, every_zero: bool
) -> npt.NDArray[np.uint32]:
    """Round each significand up at the first place where that changes it by less than `threshold`.

    At such a place a 0 becomes 1 and all bits behind it are cleared. What has no such place stays.

    Parameters
    ----------
    significands : array of uint32
        Hidden bit included; the highest 1 is taken for it.
    threshold : float
        Of the relative change.
    every_zero : bool
        Whether every 0 with a 1 somewhere behind it is a place; else those with a 1 right behind.

    Returns
    -------
    array of uint32, same shape

    Examples
    --------
    >>> drawn = np.array([0b1101, 0b11011100, 0b1001001], np.uint32)
    >>> [f"{x:b}" for x in morph(drawn, 0.1, every_zero=False)]
    ['1110', '11100000', '1010000']
    """
    flat: Any = np.ascontiguousarray(significands).reshape(-1)
    morphed = np.empty_like(flat)
    _morph(flat, threshold, every_zero, morphed)
    return morphed.reshape(significands.shape)


@kernel
def _intervals(significands, lengths):
    for n in range(significands.size):
        # A loop over an unsigned number's bits is one instruction, for the highest 1 as for the lowest.
        s = np.uint64(significands[n])
        lowest = s & (~s + np.uint64(1))
        length = 1 if s else 0
        while s:
            s >>= np.uint64(1)
            length += 1
        while lowest:
            lowest >>= np.uint64(1)
            length -= 1
        lengths[n] = length


def intervals(significands: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Count the bits from the highest 1 to the lowest, both included; 0 for 0.

    Examples
    --------
    >>> intervals(np.array([0, 1, 0b1010, 0b1001], np.uint32)).tolist()
    [0, 1, 3, 4]
    """
    flat: Any = np.ascontiguousarray(significands).reshape(-1)
    lengths = np.empty(flat.size, np.uint8)
    _intervals(flat, lengths)
    return lengths.reshape(significands.shape)


def to_fp8(values: Array, kernels: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    """Convert weights as Mortar-FP8 does: 4 exponent bits above the smallest of a kernel, 3 of mantissa.

    Parameters
    ----------
    values : array of float32, shape (filters, weights)
    kernels : int
        Kernels of a filter, of equal size; each has a bias of its own.

    Returns
    -------
    significands : array of uint32, same shape
        Of 4 bits, the hidden one included; 0 for 0.
    converted : array of float32, same shape

    Examples
    --------
    >>> significands, converted = to_fp8(np.array([[1.0, -1.3125, 80000, 0]], np.float32), 1)
    >>> significands.tolist(), converted.tolist()
    ([[8, 11, 10, 0]], [[1.0, -1.375, 40960.0, 0.0]])
    """
    # A few filters at a time: what stands in between is several times as large as the weights.
    rows = max(1, AT_ONCE // max(1, values.shape[1]))
    parts = [_some_to_fp8(values[first : first + rows], kernels) for first in range(0, len(values), rows)]
    significands, converted = (np.concatenate(of) for of in zip(*parts, strict=True))
    return significands, converted


def _some_to_fp8(values: Array, kernels: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
    fractions, exponents = np.frexp(np.abs(values).astype(np.float64))
    held = fractions > 0
    # One bit more than is kept: a 1 there rounds up, unless the kept ones are full.
    five = np.floor(fractions * (1 << FRACTION_BITS + 2)).astype(np.uint32)
    four = five >> np.uint32(1)
    up = (five & np.uint32(1)).astype(bool) & (four != (1 << FRACTION_BITS + 1) - 1)
    significands = np.where(held, four + up, 0).astype(np.uint32)
    by_kernel = np.where(held, exponents, np.iinfo(np.int32).max).reshape(len(values), kernels, -1)
    bias = np.repeat(by_kernel.min(axis=2), by_kernel.shape[2], axis=1)
    kept = np.where(held, np.minimum(exponents - bias, MOST_EXPONENT) + bias, 0)
    magnitudes = np.ldexp(significands.astype(np.float64), kept - (FRACTION_BITS + 1))
    with np.errstate(over="ignore"):
        converted = np.copysign(magnitudes, values).astype(np.float32)
    return significands, converted
