"""What serial processing costs: Booth terms, widths, and the two-stage shift of Bit-Pragmatic.

Rules as measured from the public simulator DNNsim (isakedo/DNNsim 4748a60).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.bricks import words

Array = npt.NDArray[Any]


@cache
def booth_table() -> npt.NDArray[np.uint32]:
    """Positions of the Booth terms of every 16-bit magnitude, as set bits.

    A run of ones becomes a term above it and one at its end. Signs are dropped, for they cost no
    cycles. This is not the shortest form: 27 keeps its four ones.
    """
    v = np.arange(1 << 16, dtype=np.uint32)
    terms = np.zeros_like(v)
    run = np.zeros(len(v), bool)
    # All magnitudes at once, from the highest bit down; `run`: within a run of ones. Each turn looks at bit j
    # and the two below it.
    for j in range(16, -1, -1):
        bits = (v << np.uint32(2)) >> np.uint32(j) & np.uint32(7)
        terms <<= np.uint32(1)
        # Outside of a run a one is a term, within it a zero is; a one before two zeros is a term in either
        # case, and ends the run.
        ends = bits == 4
        terms |= (ends | (((bits == 2) | (bits == 3)) & run) | (((bits == 5) | (bits == 6)) & ~run)).astype(
            np.uint32
        )
        # Three ones begin a run: a term one position above.
        starts = (bits == 7) & ~run
        terms |= starts.astype(np.uint32) << np.uint32(1)
        run = (run & ~ends) | starts
    terms.setflags(write=False)
    return terms


def magnitude_words(values: Array, count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Cut magnitudes into words, as `hwmodel.accelerators.engines.bricks.words` does values."""
    if count > 1 or values.dtype == np.int8:
        values = values.astype(np.int64 if count > 1 else np.int16)
    return words(np.abs(values), count, bits)  # -2**15 stays negative, and is right as an unsigned word


def magnitude_terms(words: npt.NDArray[np.uint16], booth: bool) -> npt.NDArray[np.uint32]:
    """Terms of each magnitude, as set bits: its ones, or its Booth terms."""
    return booth_table()[words] if booth else words.astype(np.uint32)


def term_counts(words: npt.NDArray[np.uint16], booth: bool) -> npt.NDArray[np.uint8]:
    """Count the terms of each magnitude."""
    return np.bitwise_count(booth_table()).take(words) if booth else np.bitwise_count(words)


def ones_complement(words: npt.NDArray[np.uint16], bits: int, signed: bool) -> npt.NDArray[np.uint16]:
    """Turn negative words into their one's complement, so that leading ones cost nothing."""
    if not signed:
        return words
    negative = words >> np.uint16(bits - 1) & np.uint16(1) != 0
    flipped: npt.NDArray[np.uint16] = np.where(negative, words ^ np.uint16((1 << bits) - 1), words)
    return flipped


def word_unions(values: Array, count: int, bits: int, signed: bool) -> npt.NDArray[np.uint16]:
    """OR of the last axis's values, cut into words: what `width_table` looks up.

    Parameters
    ----------
    values : array of int, shape (..., lanes)
        Two's complement; negative words count as their one's complement.
    count, bits : int
        Words of a value, bits of a word.
    signed : bool
        Whether the tensor has negative values.

    Returns
    -------
    array of uint16, shape (..., count)
    """
    cut = ones_complement(words(values, count, bits), bits, signed)
    union: npt.NDArray[np.uint16] = np.bitwise_or.reduce(cut, axis=-2)
    return union


@cache
def width_table(signed: bool, minor_bit: bool) -> npt.NDArray[np.uint8]:
    """Bits that a group of values needs, by the OR of its members.

    From the highest one down to bit 0, or with `minor_bit` to the lowest one; plus the sign.
    A group of zeros takes one bit plus the sign.
    """
    # By the value of the union. Smearing sets all bits below the highest one, so that a count of ones is the
    # width.
    masks = np.arange(1 << 16, dtype=np.uint32)
    low = masks & -masks
    width = np.bitwise_count(_smear(masks)).astype(np.int64)
    if minor_bit:
        width -= np.bitwise_count(low - np.uint32(1)) * (masks > 0)
    table = (np.maximum(width, 1) + signed).astype(np.uint8)
    table.setflags(write=False)
    return table


def _smear(masks: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    for shift in (1, 2, 4, 8):
        masks = masks | masks >> np.uint32(shift)
    return masks
