"""Weights cut into bit columns. Importing this module imports Numba.

A *bit column* is one bit of every weight of a group. Machines that take weights column by column skip
columns without a one (BitWave), or at least half of every column (BitVert).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

Array = npt.NDArray[Any]

MOST_REDUNDANT = 3
"""Redundant columns that a group of BitVert can tell: two bits of its metadata."""


@dataclass(frozen=True)
class Chunks:
    """Weights as they are taken in, filled up with zeros.

    Parameters
    ----------
    values : array of int32, shape (filters, chunks, size)
    members : array of int64, shape (chunks,)
        Weights of a chunk that are none of the filling, at least 1.
    """

    values: npt.NDArray[np.int32]
    members: npt.NDArray[np.int64]

    def split(self, size: int) -> Chunks:
        """Cut every chunk into chunks of `size`; those of nothing but filling are left out."""
        filters, chunks, whole = self.values.shape
        parts = whole // size
        members = np.clip(self.members[:, None] - size * np.arange(parts), 0, size).reshape(-1)
        values = self.values.reshape(filters, chunks * parts, size)
        used = members > 0
        return self if parts == 1 else Chunks(values[:, used], members[used])


def chunks(weights: Array, size: int) -> Chunks:
    """Cut filters into chunks of `size` weights.

    Along the channels at one kernel position; along the kernel positions of one channel, if there are
    more of those than channels (first and depthwise layers).

    Parameters
    ----------
    weights : array of int, shape (filters, channels, kernel positions)
    size : int
    """
    filters, channels, positions = weights.shape
    if positions <= channels:
        weights = weights.transpose(0, 2, 1)
    _, lines, length = weights.shape
    in_line = -(-length // size)
    # A line is what chunks may not straddle: the channels at a kernel position, or the other way round.
    values = np.zeros((filters, lines, in_line * size), np.int32)
    values[:, :, :length] = weights
    members = np.minimum(length - size * np.arange(in_line), size)
    return Chunks(values.reshape(filters, lines * in_line, size), np.tile(members, lines))


def restore(values: Array, channels: int, positions: int) -> Array:
    """Put chunks back in their places: the reverse of `chunks`.

    Parameters
    ----------
    values : array, shape (filters, chunks, size)
    channels, positions : int

    Returns
    -------
    array, shape (filters, channels, kernel positions)
    """
    lines, length = (channels, positions) if positions > channels else (positions, channels)
    rows = values.reshape(len(values), lines, -1)[:, :, :length]
    return rows if positions > channels else rows.transpose(0, 2, 1)


def slowest_together(costs: Array, together: int) -> npt.NDArray[np.int64]:
    """Largest cost of each chunk over tiles of `together` filters, and at least 1.

    Parameters
    ----------
    costs : array of int, shape (groups, filters, chunks)

    Returns
    -------
    array of int64, shape (groups, tiles, chunks)
    """
    starts = np.arange(0, costs.shape[1], together)
    return np.maximum(np.maximum.reduceat(costs, starts, axis=1), 1).astype(np.int64)


def flip(magnitudes: npt.NDArray[np.int32], columns: int, zero_columns: int) -> npt.NDArray[np.int32]:
    """Flip bits until every group has `zero_columns` columns without a one (BitWave's Bit-Flip).

    Columns that are empty already count; the others are emptied from the least significant one up.
    Magnitudes go to the nearest that is left (of two equally near the smaller one), without a carry
    into or beyond an empty column.

    Parameters
    ----------
    magnitudes : array of int32, shape (..., size)
    columns : int
        Columns of a magnitude.
    zero_columns : int
        Less than `columns`.
    """
    union = np.bitwise_or.reduce(magnitudes, axis=-1, keepdims=True)
    kept = np.full_like(union, columns - zero_columns)  # columns from the top that stay
    fixed = np.zeros_like(union)  # columns from the top that no rounding may touch
    # From the top down: an empty column costs nothing, so one more of the columns below it may stay. Rounding
    # may not carry into it, hence all columns down to it are fixed.
    for column in range(columns):
        empty = (union >> (columns - 1 - column) & 1 == 0) & (kept > column)
        kept += empty
        fixed[empty] = column + 1
    # Columns to be emptied at the bottom; `free`: bits below the fixed columns; `most`: their largest value
    # that leaves the bottom empty, in units of 2**low.
    low = np.maximum(columns - kept, 0)
    free = magnitudes & ((1 << (columns - fixed)) - 1)
    most = (1 << np.maximum(columns - fixed - low, 0)) - 1
    # Half a unit less one is added before cutting, so that ties go down.
    nearest = np.minimum((free + ((1 << low) >> 1) - (low > 0)) >> low, most)
    return magnitudes - free + (nearest << low)


@dataclass(frozen=True)
class Stored:
    """Weights of BitVert as they are stored: some columns left out of every group.

    Parameters
    ----------
    values : array of int32, shape (filters, groups, size)
        Two's complement; the filling is 0.
    redundant, pruned : array of int32, shape (filters, groups)
        Columns left out below the sign, and at the bottom.
    constants : array of int32, shape (filters, groups)
        BBS constant: the bottom columns' value, or what was added before pruning.
    """

    values: npt.NDArray[np.int32]
    redundant: npt.NDArray[np.int32]
    pruned: npt.NDArray[np.int32]
    constants: npt.NDArray[np.int32]


def _redundant(values: npt.NDArray[np.int32], width: int) -> npt.NDArray[np.int32]:
    """Columns below the sign that equal it, in every weight of a group."""
    # Negative values as their one's complement: bits that are set differ from the sign. frexp's exponent is
    # the number of bits of the union.
    union = np.bitwise_or.reduce(values ^ (values >> 31), axis=-1)
    return np.minimum(width - 1 - np.frexp(union)[1], MOST_REDUNDANT).astype(np.int32)


def average(given: Chunks, width: int, columns: int) -> Stored:
    """Leave out `columns` columns of every group: redundant ones, then the lowest (rounded averaging).

    The lowest columns of a group are replaced by their mean, rounded to the nearest even.

    Parameters
    ----------
    given : Chunks
    width : int
        Columns of a weight, the sign's included.
    columns : int
    """
    redundant = np.minimum(_redundant(given.values, width), columns)
    pruned = columns - redundant
    # The lowest columns give way to one mean for the group; the filling stays 0 and does not enter it.
    mask = ((1 << pruned) - 1)[:, :, None]
    low = given.values & mask
    means = np.rint(low.sum(axis=2) / given.members).astype(np.int32)
    real = np.arange(given.values.shape[2]) < given.members[:, None]
    return Stored((given.values - low + means[:, :, None]) * real, redundant, pruned, means)


@kernel
def _shift(values, members, width, columns, constant_bits, stored, redundant, constants):
    # Values are clipped to +-`most` after the constant is added.
    most = (1 << (width - 1)) - 1
    for f in range(values.shape[0]):
        for g in range(values.shape[1]):
            best = np.int64(-1)
            # Try every constant; of equal errors the first, which is the smallest constant, stays.
            for offset in range(-(1 << (constant_bits - 1)), 1 << (constant_bits - 1)):
                union = 0
                for i in range(members[g]):
                    v = values[f, g, i] + offset
                    union |= min(abs(v), most)
                # Columns below the sign that no magnitude reaches: redundant ones, which need not be stored.
                spare = width - 1
                while union:
                    union >>= 1
                    spare -= 1
                spare = min(spare, MOST_REDUNDANT, columns)
                # The rest of the columns to leave out are the lowest. Magnitudes are rounded to multiples of
                # 2**low, ties down, and to no more than the columns in between can hold.
                low = columns - spare
                half = (1 << low >> 1) - (low > 0)
                top = (1 << (width - 1 - columns)) - 1
                # Squared error of the group; a constant that is no better already is given up.
                error = np.int64(0)
                for i in range(members[g]):
                    v = values[f, g, i] + offset
                    m = min(abs(v), most)
                    if low > 0:
                        m = min((m + half) >> low, top) << low
                    d = np.int64((m if v >= 0 else -m) - v)
                    error += d * d
                    if 0 <= best <= error:
                        break
                if best < 0 or error < best:
                    best = error
                    redundant[f, g] = spare
                    constants[f, g] = offset
            # Once more with the best constant, to store what it makes of the group.
            offset = constants[f, g]
            low = columns - redundant[f, g]
            half = (1 << low >> 1) - (low > 0)
            top = (1 << (width - 1 - columns)) - 1
            for i in range(members[g]):
                v = values[f, g, i] + offset
                m = min(abs(v), most)
                if low > 0:
                    m = min((m + half) >> low, top) << low
                stored[f, g, i] = m if v >= 0 else -m


def shift(given: Chunks, width: int, columns: int, constant_bits: int) -> Stored:
    """Leave out `columns` columns of every group, after adding the best constant (zero-point shifting).

    For every constant of `constant_bits` bits: add it, clip, count the redundant columns, and round
    magnitudes to what the other columns can hold (of two equally near the smaller one). The constant of least
    squared error is taken, of equal ones the smallest.

    Parameters
    ----------
    given : Chunks
    width : int
        Columns of a weight, the sign's included; at least ``columns + 2``.
    columns, constant_bits : int
    """
    stored = np.zeros_like(given.values)
    redundant = np.zeros(stored.shape[:2], np.int32)
    constants = np.zeros_like(redundant)
    _shift(given.values, given.members, width, columns, constant_bits, stored, redundant, constants)
    return Stored(stored, redundant, columns - redundant, constants)


@kernel
def _effectual(values, first, last, subgroup, lanes, both_ways, costs):
    total = np.int64(0)
    for n in range(values.shape[0]):
        for column in range(first[n], last[n]):
            # Sub-groups of a PE take a column together; a column takes a cycle even without a one.
            slowest = 1
            for start in range(0, values.shape[1], subgroup):
                ones = 0
                for i in range(start, start + subgroup):
                    ones += values[n, i] >> column & 1
                # Adding the zeros instead, and subtracting from the sum of all, is as good.
                if both_ways:
                    ones = min(ones, subgroup - ones)
                total += ones
                slowest = max(slowest, -(-ones // lanes))
            costs[n] += slowest
    return total


def effectual(
    values: npt.NDArray[np.int32],
    first: npt.NDArray[np.int32],
    last: npt.NDArray[np.int32],
    *,
    subgroup: int,
    lanes: int,
    both_ways: bool,
) -> tuple[npt.NDArray[np.int32], int]:
    """Cycles of a PE for every chunk, and the bits that it adds in all.

    Parameters
    ----------
    values : array of int32, shape (chunks, size)
        Two's complement.
    first, last : array of int32, shape (chunks,)
        Bit positions that are stored, `last` not included.
    subgroup : int
        Weights that share lanes; divides the size.
    lanes : int
        Bits of a subgroup that are added in a cycle.
    both_ways : bool
        Whether the rarer of ones and zeros are added, or always the ones.
    """
    costs = np.zeros(len(values), np.int32)
    return costs, int(_effectual(values, first, last, subgroup, lanes, both_ways, costs))
