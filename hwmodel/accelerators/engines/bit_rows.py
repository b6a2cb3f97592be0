"""Cycles of Bitlet's bit rows. Importing this module imports Numba.

How a row walks over its group, and the table of its moves, is `hwmodel.accelerators.engines.row_walks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel, parallel
from hwmodel.accelerators.engines.row_walks import RowWalk

_PAIRS_PER_TASK = 1 << 20


@kernel(allocates=False)
def _ones(word):
    """Count the ones of a 64-bit word."""
    # Sums of 2, 4 and 8 neighbouring bits, side by side; the product adds all bytes up in its highest.
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel(allocates=False)
def _most_empty(row, members, look):
    """Bound of the empty windows that a row meets: as many as fit into its runs of zeros.

    One more if its last window may be cut short.
    """
    zeros = ~row & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - members))
    # Bit i stays set if `length` zeros begin at member i: doubling the length takes log2(look) steps.
    length = 1
    while 2 * length <= look:
        zeros &= zeros >> np.uint64(length)
        length *= 2
    zeros &= zeros >> np.uint64(look - length)  # where a window of zeros can begin
    # In a run of r such places at most (r + look - 1) // look windows fit without overlap.
    runs = zeros & ~(zeros << np.uint64(1))
    return (_ones(zeros) + (look - 1) * _ones(runs)) // look + (members % look > 0)


@kernel(allocates=False)
def _walked(row, members, look, is_next, table):
    """Cycles in which a row walks over its members."""
    cycles = at = 0
    if len(table) > 1:
        mask = np.uint64(len(table) - 1)
        while at < members:
            at += table[(row >> np.uint64(at)) & mask]
            cycles += 1
        return cycles
    # A window too wide for a table: count the zeros below the bit to move to.
    one = np.uint64(1)
    mask = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - look)
    while at < members:
        seen = (row >> np.uint64(at)) & mask
        if not is_next:
            seen &= seen - one  # without the first 1; 0 stays 0
        at += _ones(~seen & (seen - one)) + is_next if seen else look
        cycles += 1
    return cycles


@kernel(allocates=False)
def _last(row):
    """Members up to a row's last 1."""
    for shift in (1, 2, 4, 8, 16, 32):
        row |= row >> np.uint64(shift)
    return _ones(row)


@kernel(allocates=False)
def _slowest(rows, bit_rows, ones, members, look, is_next, stops_early, table):
    """Cycles of the slowest row, and the ones of all rows; fills `ones`, those of each."""
    # A row spends a cycle on each of its ones, and one on each window without a one. So none is faster than
    # its ones, nor, unless it stops early, than moving on by `look` members per cycle.
    slowest = 1 if stops_early else (members + look - 1) // look
    all_ones = 0
    for b in range(bit_rows):
        ones[b] = _ones(rows[b])
        slowest = max(slowest, ones[b])
        all_ones += ones[b]
    for b in range(bit_rows):
        # Only a row that could be slower than the slowest so far is walked through. Right behind its last 1
        # a row begins a window of zeros that the end of the group can cut short, wherever that 1 is.
        if ones[b] + _most_empty(rows[b], members, look) + is_next > slowest:
            end = _last(rows[b]) if stops_early else members
            slowest = max(slowest, _walked(rows[b], end, look, is_next, table))
    return slowest, all_ones


@kernel(allocates=False)
def _turn(members, rows):
    """Transpose 64 members of 32 bits into 32 rows of 64 bits, both halves at once."""
    # Rows of two 32 x 32 matrices, side by side: members 0 to 31 in the low halves, the others above.
    for j in range(32):
        rows[j] = np.uint64(members[j]) | np.uint64(members[j + 32]) << np.uint64(32)
    half = 16
    mask = np.uint64(0x0000FFFF0000FFFF)
    # Swap off-diagonal quarters of ever smaller blocks: 16 x 16, 8 x 8, ... 1 x 1 bits.
    while half:
        for first in range(0, 32, 2 * half):
            for j in range(first, first + half):
                swap = ((rows[j] >> np.uint64(half)) ^ rows[j + half]) & mask
                rows[j + half] ^= swap
                rows[j] ^= swap << np.uint64(half)
        half >>= 1
        mask ^= mask << np.uint64(half)


@kernel
def _fixed(magnitudes, group, bit_rows, cycles, look, is_next, stops_early, pads_groups, table):
    # Members of one group, one bit row per word after turning; missing members are 0.
    members = np.zeros(64, np.uint32)
    rows, row_ones = np.empty(32, np.uint64), np.empty(32, np.int64)
    ones = np.int64(0)
    for f in range(magnitudes.shape[0]):
        for g in range(cycles.shape[1]):
            first = g * group
            count = min(group, magnitudes.shape[1] - first)
            for j in range(64):
                members[j] = magnitudes[f, first + j] if j < count else 0
            _turn(members, rows)
            walked = group if pads_groups else count
            cycles[f, g], found = _slowest(
                rows, bit_rows, row_ones, walked, look, is_next, stops_early, table
            )
            ones += found
    return ones


@kernel
def _float(
    significands,
    exponents,
    others,
    group,
    bit_rows,
    cycles,
    look,
    is_next,
    stops_early,
    pads_groups,
    table,
):
    # As in `_fixed`, with significands that are aligned for one position.
    members = np.zeros(64, np.uint32)
    rows, row_ones = np.empty(32, np.uint64), np.empty(32, np.int64)
    sums = np.empty(group, np.int32)
    ones = np.int64(0)
    for f in range(significands.shape[0]):
        for p in range(others.shape[0]):
            for g in range(cycles.shape[2]):
                first = g * group
                count = min(group, significands.shape[1] - first)
                # Biased exponents of the products; an activation's significand does not enter.
                largest = np.int32(0)
                for j in range(count):
                    sums[j] = np.int32(exponents[f, first + j]) + np.int32(others[p, first + j])
                    largest = max(largest, sums[j])
                for j in range(count):
                    # Nothing is left of 24 bits beyond a shift of 24; Numba's shift by 32 or more would wrap.
                    shift = np.uint32(min(largest - sums[j], 31))
                    members[j] = significands[f, first + j] >> shift
                members[count:] = 0
                _turn(members, rows)
                walked = group if pads_groups else count
                cycles[f, p, g], found = _slowest(
                    rows, bit_rows, row_ones, walked, look, is_next, stops_early, table
                )
                ones += found
    return ones


def fixed_cycles(
    magnitudes: npt.NDArray[np.uint32], *, group: int, rows: RowWalk, bit_rows: int
) -> tuple[npt.NDArray[np.int32], int]:
    """Cycles of the slowest bit row of every group of fixed-point weights.

    Parameters
    ----------
    magnitudes : array of uint32, shape (filters, reduction)
        Below ``2**bit_rows``.
    group, bit_rows : int
        Members of a group (the last of a filter may have fewer), rows.
    rows : RowWalk

    Returns
    -------
    cycles : array of int32, shape (filters, groups)
        C of each group.
    ones : int
        Essential bits of all of them.
    """
    filters, reduction = magnitudes.shape
    cycles = np.zeros((filters, -(-reduction // group)), np.int32)
    flat: Any = np.ascontiguousarray(magnitudes)
    return cycles, int(_fixed(flat, group, bit_rows, cycles, *rows.in_kernels))


def float_cycles(
    significands: npt.NDArray[np.uint32],
    exponents: npt.NDArray[np.int16],
    others: npt.NDArray[np.int16],
    *,
    group: int,
    rows: RowWalk,
    bit_rows: int,
) -> tuple[npt.NDArray[np.int32], int]:
    """Cycles of the slowest bit row of every group of float weights at every position.

    A weight's significand moves right by what its product's exponent is below the largest of the group.

    Parameters
    ----------
    significands : array of uint32, shape (filters, reduction)
        Of the weights, below ``2**bit_rows``.
    exponents : array of int16, shape (filters, reduction)
        Of the weights; not negative.
    others : array of int16, shape (positions, reduction)
        Of the activations; not negative.
    group, bit_rows : int
    rows : RowWalk
        As in `fixed_cycles`.

    Returns
    -------
    cycles : array of int32, shape (filters, positions, groups)
    ones : int
    """
    filters, reduction = significands.shape
    cycles = np.zeros((filters, len(others), -(-reduction // group)), np.int32)
    weights, own, activations = (np.ascontiguousarray(x) for x in (significands, exponents, others))

    def some(start: int, stop: int) -> int:
        part = slice(start, stop)
        return int(
            _float(weights[part], own[part], activations, group, bit_rows, cycles[part], *rows.in_kernels)
        )

    # Filters are shared out to threads, in pieces of about a million weight-activation pairs.
    step = max(1, _PAIRS_PER_TASK // max(1, reduction * len(others)))
    return cycles, sum(parallel(some, filters, step))
