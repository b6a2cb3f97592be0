"""Choice of the kept rows of a group. A lane holds the rows of one group, row 0 on top."""

from __future__ import annotations

from typing import Any

from numba import njit

from bitxcore.kernels.vectors import (
    fold_add,
    from_rows,
    leading_zeros,
    like,
    spread,
    to_counts,
    to_rows,
    where,
)


@njit(inline="always")
def count(aligned: Any, row: Any, group: int, bits: int) -> Any:
    """Ones of each group in its `row` (one bit of a row lane)."""
    # The row's one bit, from the group's lane to each member's: is it set there?
    member = spread(from_rows(row, bits), group)
    return to_counts(fold_add(where((aligned & member) != 0, like(aligned, 1), 0), group), bits)


@njit(inline="always")
def outranks(lower: Any, upper: Any, distance: Any) -> Any:
    """1 where the lower of two rows, `distance` rows apart, is the more significant; else 0.

    The arguments `lower` and `upper` are numbers of ones, 64 at most.
    """
    # 64 ones weigh no more than one of the row three above: beyond that nothing can outrank it. A
    # `distance` below 0 wraps, and is far as well.
    near = distance < 4
    wins = where(near, lower, 0) > (upper << (where(near, distance, 0) << 1))
    return where(wins, like(lower, 1), 0)


@njit(inline="always")
def keep_topn(aligned: Any, present: Any, rows: int, refine: bool, group: int, bits: int) -> Any:
    """Keep the `rows` most significant rows of each group.

    A row outranks the row k above it only if it holds more than 4**k times as many ones. So
    with at most 16 ones per row only neighbours can change places, and with at most 64 only rows
    up to two apart: no sort is needed. The kept set is the highest non-empty rows but for a
    choice among the last, and only the rows of that choice are counted. Without `refine` the
    highest rows are kept (criterion ``msb``).

    Parameters
    ----------
    aligned : Vec
        Bit matrix: a member a lane of `bits` bits.
    present : Vec
        Non-empty rows, one group per lane, as `to_rows` gives them.
    """
    # All lanes here are one per group, with one bit per row. Shifts by the width give 0, so `top >>
    # leading_zeros(x)` is the highest row of x, and no row if there is none.
    top = like(present, 1) << leading_zeros(like(present, 1))
    left = present
    before = present & 0
    last = present & 0
    # Row by row from above: `last` was taken now, `before` just before it, `left` are still there.
    for _ in range(rows):
        before = last
        last = top >> leading_zeros(left)
        left = left & (last ^ -1)
    kept = present & (left ^ -1)
    # With four members at most, no row has more than four times the ones of another.
    if not refine or group <= 4:
        return kept
    # Up to 16 members: only the row right below the last one taken can outrank it. surplus: its ones, less
    # four for each one of the last row. From -64 to 16, that fits a lane of 8 bits.
    if group <= 16:
        after = (last >> 1) & present
        none = aligned & 0
        surplus = where((aligned & spread(from_rows(last, bits), group)) != 0, -4, none)
        surplus = surplus + where((aligned & spread(from_rows(after, bits), group)) != 0, 1, none)
        surplus = to_rows(fold_add(surplus, group), bits)
        # Signed > 0: the neighbour below holds more than four times the ones of the last row.
        swap = (surplus + -1) < (top + -1)
        return where(swap, (kept & (last ^ -1)) | after, kept)
    # Up to 64 members: of the last two rows taken and the next two, the two most significant are kept.
    # nK: ones of the row, zK: its number, oJK: 1 where the lower row K outranks the upper row J.
    third = top >> leading_zeros(left)
    fourth = top >> leading_zeros(left & (third ^ -1))
    n0 = count(aligned, before, group, bits)
    n1 = count(aligned, last, group, bits)
    n2 = count(aligned, third, group, bits)
    n3 = count(aligned, fourth, group, bits)
    z0, z1, z2, z3 = leading_zeros(before), leading_zeros(last), leading_zeros(third), leading_zeros(fourth)
    o01, o02, o03 = outranks(n1, n0, z1 - z0), outranks(n2, n0, z2 - z0), outranks(n3, n0, z3 - z0)
    o12, o13, o23 = outranks(n2, n1, z2 - z1), outranks(n3, n1, z3 - z1), outranks(n3, n2, z3 - z2)
    # Two of the four stay: those that fewer than two outrank. With one row in all, `before` is
    # empty and represents a row above all others.
    kept = kept & ((before | last) ^ -1)
    kept = kept | where((o01 + o02) + o03 < 2, before, 0)
    kept = kept | where(o12 + o13 < o01 + 1, last, 0)
    kept = kept | where(o23 < o02 + o12, third, 0)
    return kept | where((o03 + o13) + o23 > 1, fourth, 0)


@njit(inline="always")
def round_to_rows(aligned: Any, rows: Any, ties_up: Any) -> Any:
    """Round to the nearest value of the lane's `rows`, saturating; ties go up where `ties_up` is 1.

    With h the highest bit outside `rows`, the largest value not above keeps what stands above h
    and sets every row below; the next one up is an increment within the rows.
    """
    outside = aligned & (rows ^ -1)
    # up_to_h: h and all below it; nothing where the value has no bit outside the rows, and is exact.
    up_to_h = where(outside == 0, like(aligned, 0), like(aligned, -1) >> leading_zeros(outside))
    lower = (aligned & rows & (up_to_h ^ -1)) | (rows & up_to_h)
    # Ones in all places that are not rows let the carry of the increment pass through them.
    upper = where(lower == rows, lower, ((lower | (rows ^ -1)) + 1) & rows)
    return where((upper - aligned) < (aligned - lower) + ties_up, upper, lower)
