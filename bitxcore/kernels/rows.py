"""Choice of the kept rows from the ones of all rows, for many groups at once.

A lane holds the rows of one group, the upper ones in the higher bits. The ones of its rows come as planes
(`fold_ones`): bit b of the k-th is bit k of the number of ones in the row at bit b.
"""

from __future__ import annotations

from typing import Any

from bitxcore.kernels.expressions import branch, choose, expression, loop, when
from bitxcore.kernels.vectors import (
    any_lane,
    any_of,
    element,
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
    to_float,
    where,
)

MAX_ROWS = 64
LEAST_ONES = 65
"""Columns of the table of `keep_threshold`."""


@expression
def _lowest(x: Any) -> Any:
    return x & ((x ^ -1) + 1)


@expression
def keep_rows(planes: Any, window: int, rows: int, refine: bool, group: int) -> Any:
    """Keep the `rows` most significant rows of each group.

    A row outranks the row k above it only if it holds more than 4**k times as many ones. So
    with at most 16 ones per row only neighbours can change places, and with at most 64 only rows
    up to two apart: no sort is needed. The kept set is the highest non-empty rows but for a
    choice among the last. Without `refine` the highest rows are kept (criterion ``msb``).
    """
    present = any_of(planes) & window
    # The lowest one of a lane is cleared by a subtraction, so the rows are turned upside down meanwhile.
    (left,) = loop(rows - 2, lambda _, some: (some & (some + -1),), reverse_bits(present))
    none = left & 0
    before = choose(rows > 1, _lowest(left), none)
    left = left ^ before
    last = choose(rows > 0, _lowest(left), none)
    left = left ^ last
    kept = present ^ reverse_bits(left)
    # With four members at most, no row has more than four times the ones of another.
    if group <= 4:
        return kept
    return choose(refine != 0, _refined(planes, window, kept, left, before, last, group), kept)


def _refined(planes: Any, window: int, kept: Any, left: Any, before: Any, last: Any, group: int) -> Any:
    """Choose among the last rows of `kept` and the next ones."""
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


def _outranks(upper: Any, lower: Any, next_wins: Any, second_wins: Any) -> Any:
    """1 where the lower of two rows is the more significant, else 0; 64 ones reach no further than two."""
    wins = (((upper & next_wins) >> 1) | ((upper & second_wins) >> 2)) & lower
    return where(wins != 0, (wins ^ wins) + 1, 0)


@expression
def keep_threshold(planes: Any, window: int, rows: int, group: int, least: Any, distances: int) -> Any:
    """Keep rows whose ones reach ``least[d + 3, n]``, at most `rows`.

    n are the ones of the most significant row, which stands d rows above (at most 2 below). Of the table,
    flat here, come the first `distances` from -2 on; further down nothing passes.
    """
    first = keep_rows(planes, window, 1, True, group)
    ones = ones_at(planes, first)

    def look(i: Any, passed: Any) -> Any:
        at, distance = (i + 1) * LEAST_ONES, i - 2
        # A shift by less than 0 is one by more than a lane has bits.
        row = (first << (0 - distance)) | (first >> distance)

        def count() -> Any:
            # `least` is a table, so that a threshold's square is never rounded on the way.
            needed = ones & 0
            for n in range(1, group + 1):
                needed = where(ones == n, element(least, at + n), needed)
            return (passed | where(ones_at(planes, row) < needed, 0, row),)

        return branch(element(least, at + group) <= 1, lambda: (passed | row,), count)

    (passed,) = loop(distances, look, first & 0)
    passed = (first | passed) & any_of(planes) & window
    # What passes comes first in order of significance: so do the rows of the limit.
    return choose(rows < MAX_ROWS, passed & keep_rows(planes, window, rows, True, group), passed)


SURE = 2.0**-44
"""Share of a group's energy by which sums in float64 may be wrong, and more."""


@expression
def keep_energy(planes: Any, window: int, rows: int, group: int, share: int) -> Any:
    """Keep the fewest rows, at most `rows`, whose pruned energy is at most ``share / 2**38`` of the group's.

    Returns
    -------
    mask : Vec
    unsure : bool
        Whether it is too close to say for a group; then the mask is of no use.
    """
    return branch(
        share == 0,
        lambda: (keep_rows(planes, window, rows, True, group), False),
        lambda: _keep_share(planes, window, rows, group, share),
    )


def _keep_share(planes: Any, window: int, rows: int, group: int, share: Any) -> Any:
    """Keep rows until what is pruned is little enough: `keep_energy` where some may be pruned."""
    energy = energy_of(planes, window)
    limit = fmul(energy, to_float(share) * 2.0**-38)
    margin = fmul(energy, SURE)
    low, high = fsub(limit, margin), fadd(limit, margin)
    next_wins, second_wins = reverse_bits(overtakes(planes, 1)), reverse_bits(overtakes(planes, 2))
    left = reverse_bits(any_of(planes) & window)

    # pruned: what is pruned if the rows before are kept, one more in every round; going: all ones until the
    # group has its rows.
    def take(left: Any, kept: Any, going: Any, pruned: Any, unsure: Any) -> Any:
        over = float_less(high, pruned)
        unsure = unsure | any_lane(float_less(low, pruned) & (going != 0) & (over ^ True))
        going = where(over, going, 0)
        turned = _most_significant(left, next_wins, second_wins, group)
        row = reverse_bits(turned)
        power = to_double(row)
        pruned = fsub(pruned, fmul(fmul(power, power), to_double(ones_at(planes, row))))
        return left ^ turned, kept | (row & going), going, pruned, unsure

    def take_if_any(_: Any, *state: Any) -> Any:
        return when(any_lane(state[2] != 0), take, *state)

    none = left & 0
    _, kept, _, _, unsure = loop(rows, take_if_any, left, none, none ^ -1, energy, False)
    everything = share >= 1 << 38
    return choose(everything, none, kept), unsure & (everything ^ True)


def _most_significant(left: Any, next_wins: Any, second_wins: Any, group: int) -> Any:
    """Most significant of the rows `left`; here the upper ones are in the lower bits."""
    upper = _lowest(left)
    if group <= 4:
        return upper
    rest = left ^ upper
    lower = _lowest(rest)
    if group <= 16:
        return where((((upper & next_wins) << 1) & lower) != 0, lower, upper)
    # Only a row up to two below can outrank one.
    third = _lowest(rest ^ lower)
    over_upper = ((upper & next_wins) << 1) | ((upper & second_wins) << 2)
    over_lower = ((lower & next_wins) << 1) | ((lower & second_wins) << 2)
    best = where((over_upper & lower) != 0, lower, upper)
    over_best = where((over_upper & lower) != 0, over_lower, over_upper)
    return where((over_best & third) != 0, third, best)


@expression
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


@expression
def round_signed(lanes: Any, rows: Any, bits: int) -> Any:
    """Round two's complement numbers, their sign on top of the lane, to the nearest values of `rows`.

    A lane is -2**(bits - 1) * s + a. A negative one goes to the nearest a under its sign row, unless that
    row is cleared or 0 is as near.
    """
    sign = -(1 << (bits - 1))
    negative = (lanes & sign) != 0
    nearest = round_to_rows(lanes & (sign ^ -1), rows & (sign ^ -1), where(negative, like(lanes, 1), 0))
    below = nearest | sign
    off = where(below < lanes, lanes - below, below - lanes)
    to_zero = ((rows & sign) == 0) | ((like(lanes, 0) - lanes) <= off)
    return where(negative, where(to_zero, 0, below), nearest)
