"""Choice of the kept rows from the ones of all rows, for many groups at once.

A lane holds the rows of one group, the upper ones in the higher bits. The ones of its rows come as planes
(`fold_ones`): bit b of the k-th is bit k of the number of ones in the row at bit b.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from bitxcore.kernels.vectors import (
    any_lane,
    any_of,
    energy_of,
    fadd,
    float_less,
    fmul,
    fsub,
    leading_zeros,
    like,
    ones_at,
    overtakes,
    reverse_bits,
    to_double,
    where,
)


@njit(inline="always")
def _lowest(x: Any) -> Any:
    return x & ((x ^ -1) + 1)


@njit(inline="always")
def keep_rows(planes: Any, window: int, rows: int, refine: bool, group: int) -> Any:
    """Keep the `rows` most significant rows of each group.

    A row outranks the row k above it only if it holds more than 4**k times as many ones. So
    with at most 16 ones per row only neighbours can change places, and with at most 64 only rows
    up to two apart: no sort is needed. The kept set is the highest non-empty rows but for a
    choice among the last. Without `refine` the highest rows are kept (criterion ``msb``).
    """
    present = any_of(planes) & window
    # The lowest one of a lane is cleared by a subtraction, so the rows are turned upside down meanwhile.
    left = reverse_bits(present)
    for _ in range(rows - 2):
        left = left & (left + -1)
    before = left & 0
    if rows > 1:
        before = _lowest(left)
        left = left ^ before
    last = left & 0
    if rows > 0:
        last = _lowest(left)
        left = left ^ last
    kept = present ^ reverse_bits(left)
    # With four members at most, no row has more than four times the ones of another.
    if not refine or group <= 4:
        return kept
    last = reverse_bits(last)
    next_wins = overtakes(planes, 1)
    # Up to 16 members: only the row right below the last one taken can outrank it.
    if group <= 16:
        swap = last & next_wins & (window << 1)  # the lower one must be a row of the window
        return kept ^ (swap | (swap >> 1))
    # Up to 64 members: of the last two rows taken and the next two, the two most significant are kept.
    second_wins = overtakes(planes, 2)
    before = reverse_bits(before)
    third = _lowest(left)
    fourth = reverse_bits(_lowest(left ^ third))
    third = reverse_bits(third)
    # oJK: the lower row K if it outranks the upper row J.
    o01 = _outranks(before, last, next_wins, second_wins)
    o02 = _outranks(before, third, next_wins, second_wins)
    o03 = _outranks(before, fourth, next_wins, second_wins)
    o12 = _outranks(last, third, next_wins, second_wins)
    o13 = _outranks(last, fourth, next_wins, second_wins)
    o23 = _outranks(third, fourth, next_wins, second_wins)
    # Two of the four stay: those that fewer than two outrank. With one row in all, `before` is
    # empty and represents a row above all others.
    kept = kept ^ (before | last)
    kept = kept | where((o01 + o02) + o03 < 2, before, 0)
    kept = kept | where(o12 + o13 < o01 + 1, last, 0)
    kept = kept | where(o23 < o02 + o12, third, 0)
    return kept | where((o03 + o13) + o23 > 1, fourth, 0)


@njit(inline="always")
def _outranks(upper: Any, lower: Any, next_wins: Any, second_wins: Any) -> Any:
    """1 where the lower of two rows is the more significant, else 0; 64 ones reach no further than two."""
    wins = (((upper & next_wins) >> 1) | ((upper & second_wins) >> 2)) & lower
    return where(wins != 0, (wins ^ wins) + 1, 0)


@njit(inline="always")
def keep_threshold(planes: Any, window: int, rows: int, group: int, least: Any) -> Any:
    """Keep rows whose ones reach ``least[d + 3, n]``, at most `rows`; of groups of at most 16.

    n are the ones of the most significant row, which stands d rows above (at most 1 below).
    """
    highest = reverse_bits(_lowest(reverse_bits(any_of(planes) & window)))
    # The row below the highest can be more significant, and no other.
    swap = highest & overtakes(planes, 1) & (window << 1)
    first = highest ^ (swap | (swap >> 1))
    ones = ones_at(planes, first)
    passed = first
    for distance in range(-1, 64):
        least_needed, most_needed = least[distance + 3, 1], least[distance + 3, group]
        if least_needed > group:
            break
        row = first << 1 if distance < 0 else first >> distance
        if most_needed <= 1:
            passed = passed | row
            continue
        # `least` is a table, so that a threshold's square is never rounded on the way.
        needed = ones & 0
        for n in range(1, group + 1):
            needed = where(ones == n, least[distance + 3, n], needed)
        passed = passed | where(ones_at(planes, row) < needed, 0, row)
    # What passes comes first in order of significance: so do the rows of the limit.
    return keep_rows(planes, window, rows, True, group) & passed


SURE = 2.0**-44
"""Share of a group's energy by which sums in float64 may be wrong, and more."""


@njit(inline="always")
def keep_energy(planes: Any, window: int, rows: int, group: int, share: int) -> Any:
    """Keep the fewest rows, at most `rows`, whose pruned energy is at most ``share / 2**38`` of the group's.

    Returns
    -------
    mask : Vec
    unsure : bool
        Whether it is too close to say for a group; then the mask is of no use.
    """
    if share == 0:
        return keep_rows(planes, window, rows, True, group), False
    if share >= 1 << 38:
        return any_of(planes) & 0, False
    energy = energy_of(planes, window)
    limit = fmul(energy, share * 2.0**-38)
    margin = fmul(energy, SURE)
    low, high = fsub(limit, margin), fadd(limit, margin)
    next_wins = overtakes(planes, 1) & (window << 1)
    left = reverse_bits(any_of(planes) & window)
    pruned = energy  # what is pruned if the rows above are kept, one more in every round
    row = left & 0
    row_energy = fsub(energy, energy)
    kept, chosen, going = row, row, row ^ -1  # going: all ones until the group has its rows
    unsure = False
    for taken in range(rows + 1):
        below = _lowest(left)
        left = left ^ below
        below = reverse_bits(below)
        power = to_double(below)
        below_energy = fmul(fmul(power, power), to_double(ones_at(planes, below)))
        # The last row taken gives way to the next one where that is the more significant.
        swap = row & next_wins
        now = kept ^ (swap | (swap >> 1))
        error = where(swap != 0, fadd(pruned, fsub(row_energy, below_energy)), pruned)
        chosen = where(going != 0, now, chosen)
        if taken < rows:
            over = float_less(high, error)
            unsure |= any_lane(float_less(low, error) & (going != 0) & (over ^ True))
            going = where(over, going, 0)
        row, row_energy = below, below_energy
        kept = kept | below
        pruned = fsub(pruned, below_energy)
    return chosen, unsure


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
