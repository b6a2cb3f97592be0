"""Forms in which machines keep operands in DRAM with fewer bits than one word a value.

Sizes are counted from the values themselves; nothing is packed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_AT_ONCE = 1 << 22
"""Values looked at together, which bounds the memory of large tensors."""


def group_width_bits(values: npt.NDArray[Any], *, group: int, word: int) -> int:
    """Bits of ShapeShifter's form: each group has a width, a bit a value for zeros, and its other values.

    Parameters
    ----------
    values : array of int
        In the order in which they are stored. Read in one's complement; if any is negative, all have a sign.
    group : int
        Values that share a width; the last group may have fewer.
    word : int
        Most bits of a value.

    Returns
    -------
    int
        Of all groups: ``ceil(log2 word)`` bits that give the width, a bit for each value, and the width for
        each that is not zero.
    """
    flat = values.reshape(-1)
    signed = bool(flat.size and flat.min() < 0)
    bits = -(-flat.size // group) * (word - 1).bit_length() + flat.size
    step = max(1, _AT_ONCE // group) * group
    for first in range(0, flat.size, step):
        part = flat[first : first + step]
        part = np.pad(part, (0, -part.size % group)).reshape(-1, group)
        bits += int(_widths(part, signed) @ np.count_nonzero(part, axis=1))
    return bits


def _widths(groups: npt.NDArray[Any], signed: bool) -> npt.NDArray[np.int64]:
    """Bits of the widest value of each group, shape (groups,)."""
    if signed:
        groups = groups ^ (groups >> (groups.dtype.itemsize * 8 - 1))
    joined = np.bitwise_or.reduce(groups, axis=1).astype(np.uint64)
    powers = np.uint64(1) << np.arange(64, dtype=np.uint64)
    widths: npt.NDArray[np.int64] = np.searchsorted(powers, joined, side="right") + int(signed)
    return widths


def run_length_entries(held: npt.NDArray[np.bool_], run_bits: int) -> int:
    """Count the entries of blocks whose values each come with the number of zeros before them.

    Parameters
    ----------
    held : array of bool, shape (blocks, values of a block)
        Which values are not zero.
    run_bits : int
        Width of a number of zeros. A longer run takes entries of value zero; zeros at the end of a block
        take nothing.
    """
    if held.shape[1] <= 1 << run_bits:
        return int(np.count_nonzero(held))
    from hwmodel.accelerators.engines.interleaved_csc import count_entries

    return int(count_entries(held.T, 1, run_bits).sum(dtype=np.int64))
