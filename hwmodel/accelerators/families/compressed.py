"""Forms in which machines keep operands in DRAM with fewer bits than one word per value.

Sizes are counted from the values themselves; nothing is packed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_AT_ONCE = 1 << 22
"""Values looked at together, which bounds the memory of large tensors."""


def group_width_bits(values: npt.NDArray[Any], *, group: int, word: int) -> int:
    """Bits of ShapeShifter's form: each group has a width, one bit per value for zeros, and its other values.

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


def block_entries(
    weights: npt.NDArray[np.bool_], filters: int, run_bits: int, *, filters_last: bool = False
) -> int:
    """Count the entries of weights in blocks: a channel's of some filters at a time.

    Parameters
    ----------
    weights : array of bool, shape (sets, filters, channels, kernel positions)
        Which values are not zero.
    filters : int
        Of a block; the last one may have fewer.
    run_bits : int
        As in `run_length_entries`.
    filters_last : bool
        Whether a block has position after position, else filter after filter.
    """
    axes = (0, 2, 3, 1) if filters_last else (0, 2, 1, 3)
    entries = 0
    for first in range(0, weights.shape[1], filters):
        part = weights[:, first : first + filters].transpose(axes)
        entries += run_length_entries(part.reshape(part.shape[0] * part.shape[1], -1), run_bits)
    return entries


def tile_entries(planes: npt.NDArray[np.bool_], sides: tuple[int, int], run_bits: int) -> int:
    """Count the entries of activations in blocks: a channel's of one tile.

    Parameters
    ----------
    planes : array of bool, shape (inputs, channels, x, y)
        Which values are not zero.
    sides : (int, int)
        Of a tile; those at the end of either axis are cut off.
    run_bits : int
        As in `run_length_entries`.
    """
    entries = 0
    # Tiles of full size, and those that are cut off.
    for rows in np.split(planes, [planes.shape[2] // sides[0] * sides[0]], axis=2):
        for part in np.split(rows, [planes.shape[3] // sides[1] * sides[1]], axis=3):
            x, y = (min(side, size) for side, size in zip(sides, part.shape[2:], strict=True))
            if part.size:
                tiles = part.reshape(-1, part.shape[2] // x, x, part.shape[3] // y, y)
                entries += run_length_entries(tiles.swapaxes(2, 3).reshape(-1, x * y), run_bits)
    return entries
