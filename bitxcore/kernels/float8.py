"""Groups of eight float8 codes, a byte a weight: what a code stands for is looked up in tables.

Rows are those of 16-bit lanes, an upper and a lower byte. Ones that fall out of the lane are put in its last
row. The window must end above that row, which then tells of all ones below the window.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.kernels.expressions import expression
from bitxcore.kernels.floats import FLOAT8_E4M3FN, FLOAT8_E5M2
from bitxcore.kernels.vectors import (
    across_ones,
    across_umax,
    as_words,
    bits_from,
    lookup,
    paired,
    repeat,
    resize,
    subtract_to_zero,
    umax,
    umin,
    where,
)

GROUP, ROWS, HALF_FRACTION = 8, 16, 10
FRACTIONS = {FLOAT8_E4M3FN: 3, FLOAT8_E5M2: 2}
"""Bits of the fraction of each kind."""
SIZES = range(128)
"""Magnitudes: codes without their sign."""
FAR = 7
"""The last index of `_rows` below which all are of weights that are out of the lane, or in its last row."""


def _place(size: int, fraction: int) -> int:
    """Return what is an index of `_rows` once the group's exponent field is subtracted; 0 for zero."""
    field, rest = divmod(size, 1 << fraction)
    if field == 0:
        if rest == 0:
            return 0
        # As a normal number whose field is 0 or less.
        field = 1 + rest.bit_length() - (fraction + 1)
        rest = (rest << (1 - field)) - (1 << fraction)
    return 127 + (field << fraction) - rest


def _rows(index: int, fraction: int) -> int:
    """Return the rows of a significand: 127 is 1.0 in row 0, and the index falls as it grows or goes down."""
    distance, rest = divmod(127 - index, 1 << fraction)
    wide = (rest + (1 << fraction)) << (ROWS - 1 - fraction)
    rows = wide >> distance
    return (rows | int(rows << distance != wide)) if index else 0


def _without_hidden_bit(size: int, fraction: int) -> int:
    """Return the magnitude that is left without the hidden bit; a subnormal one has none."""
    field, rest = divmod(size, 1 << fraction)
    if field == 0 or rest == 0:
        return rest
    down = min(fraction + 1 - rest.bit_length(), field - 1)
    # A normal number's leading one adds 1 to the field.
    return ((field - down - 1) << fraction) + (rest << down)


@cache
def float8_functions(kind: int) -> tuple[Any, Any]:
    """Make the functions that find the rows of groups, and that clear rows of codes."""
    fraction = FRACTIONS[kind]
    hidden = 1 << fraction
    exponent = 0x7F & -hidden
    place_of = lookup([_place(size, fraction) for size in SIZES])
    upper = lookup([_rows(index, fraction) >> 8 for index in SIZES])
    lower = lookup([_rows(index, fraction) & 0xFF for index in SIZES])
    # The bit of a group's rows, shifted up by the group's exponent, that a code's last bit stands at.
    last_bit = lookup([ROWS - 1 - fraction + max(size >> fraction, 1) for size in SIZES])
    rest_of = lookup([_without_hidden_bit(size, fraction) for size in SIZES])

    @expression
    def find(v):
        """Codes in columns: each group's largest magnitude, in half precision, and the ones of its rows."""
        size = v & 0x7F
        top = across_umax(size, GROUP)
        index = subtract_to_zero(place_of(v), repeat(umax(top & exponent, hidden), GROUP))
        # 0 is for zeros alone: of others that are as far down, the rows are those of any index up to FAR.
        index = umax(index, umin(size, FAR))
        half = resize(top, ROWS) << (HALF_FRACTION - fraction)
        return half, paired(across_ones(upper(index), GROUP), across_ones(lower(index), GROUP))

    @expression
    def clear(v, rows):
        """Clear all but `rows` of codes; these are a 64-bit word a group, shifted up by its exponent."""
        stays = bits_from(as_words(rows, 8), last_bit(v))
        left = v & (stays | -hidden)
        return where((stays & hidden) != 0, left, rest_of(left)) | (v & 0x80)

    return find, clear
