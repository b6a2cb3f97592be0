"""Weights in lanes: what the codes of each format look like there, and how rows are cleared.

A lane is as wide as the code, or as a half where codes are of eight bits; a wider one holds windows that go
further down.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bitxcore.kernels.float8 import FRACTIONS, GROUP
from bitxcore.kernels.floats import (
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
)
from bitxcore.kernels.rows import round_signed, round_to_rows
from bitxcore.kernels.vectors import (
    any_lane,
    as_float,
    as_int,
    ashr,
    fsub,
    has_byte_tables,
    leading_zeros,
    like,
    load,
    resize,
    shr,
    store,
    subtract_to_zero,
    umax,
    umin,
    where,
)

UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = -1, -2, -3
"""Storage kinds of integers; those of floats are `floats`'."""


class Lane(NamedTuple):
    """Lane of a kind: its bits and the fraction's, the least magnitude that is not finite, and p.

    far: whether there are so many exponents that groups near the smallest normal number are rare.
    """

    bits: int
    fraction: int = 0
    limit: int = 0
    significand: int = 0
    far: bool = False

    @property
    def low(self) -> int:
        """Mask of a magnitude."""
        return (1 << (self.bits - 1)) - 1

    @property
    def sign(self) -> int:
        """Mask of the sign."""
        return -(1 << (self.bits - 1))

    @property
    def floor(self) -> int:
        """Exponent of groups below which there are weights that need more care; 0: none."""
        return self.bits + 1 if self.far else 0


LANES = {
    FLOAT64: Lane(64, 52, 0x7FF << 52, 53, True),
    FLOAT32: Lane(32, 23, 0xFF << 23, 24, True),
    BFLOAT16: Lane(16, 7, 0xFF << 7, 8, True),
    FLOAT16: Lane(16, 10, 0x1F << 10, 11),
    # As float16 codes: E5M2 is the upper half of one; E4M3 has an exponent bit less, and one NaN.
    FLOAT8_E5M2: Lane(16, 10, 0x1F << 10, 3),
    FLOAT8_E4M3FN: Lane(16, 10, 0x7F << 7, 4),
}
DEEP = 16
"""Added to a float kind of 16-bit lanes: the codes are on top of 32, which hold the rows of any window."""
LANES |= {
    kind + DEEP: Lane(32, lane.fraction + 16, lane.limit << 16, lane.significand, lane.far)
    for kind, lane in LANES.items()
    if lane.bits == 16
}
BYTES = 32
"""Added to a float8 kind whose weights are worked on in bytes, as `float8` does."""


def takes_bytes(kind: int, group: int, window: int) -> bool:
    """Whether weights can be worked on in bytes: the lane's last row must be below the window."""
    return kind in FRACTIONS and group == GROUP and window < LANES[kind].bits and has_byte_tables()


def lane_of(kind: int, code_bits: int) -> Lane:
    """Lane of these kernels: a weight's in a vector, the rows of a group."""
    return Lane(code_bits) if kind < 0 else LANES[kind % BYTES]


def read(kind: int, x: Any, at: Any, lanes: int) -> Any:
    """Load codes into lanes."""
    if kind >= DEEP:
        return resize(read(kind - DEEP, x, at, lanes), 32) << 16
    v = load(x, at, lanes)
    if kind == FLOAT8_E5M2:
        return resize(v, 16) << 8
    if kind == FLOAT8_E4M3FN:
        half = resize(v, 16)
        return ((half & 0x80) << 8) | ((half & 0x7F) << 7)
    return v


def write(kind: int, out: Any, at: Any, v: Any) -> None:
    """Undo `read`."""
    if kind >= DEEP:
        write(kind - DEEP, out, at, resize(v >> 16, 16))
    elif kind == FLOAT8_E5M2:
        store(out, at, v >> 8)
    elif kind == FLOAT8_E4M3FN:
        store(out, at, ((v >> 8) & 0x80) | (v >> 7))
    else:
        store(out, at, v)


def exponent_of(top: Any, lane: Lane) -> Any:
    """Exponent of groups to whose largest magnitude, `top`, their weights are aligned."""
    return umax(top >> lane.fraction, max(lane.floor, 1))


def is_rare(top: Any, lane: Lane) -> Any:
    """Whether there is a group with a NaN or an Inf, or near the smallest normal number."""
    found = any_lane(top >= lane.limit)
    # A group of zeros is none of the latter: top - 1 is then the largest number.
    return found | any_lane(top - 1 < (lane.floor << lane.fraction) - 1) if lane.far else found


def stored_exponent(top: Any, lane: Lane) -> Any:
    """Exponent of groups as results have it."""
    return top >> lane.fraction if lane.far else where(top != 0, umax(top >> lane.fraction, 1), 0)


def _own_exponent(v: Any, lane: Lane) -> Any:
    """Exponent of weights; where it is `far` from any that matters, 0 for those that have none."""
    e = (v & lane.low) >> lane.fraction
    return e if lane.far else umax(e, 1)


def aligned_to(v: Any, emax: Any, lane: Lane) -> Any:
    """Significands at the top of their lanes, moved down by their distance to the group's exponent.

    With `far` exponents a zero or subnormal weight counts as one of exponent 0: that is so far below a
    group's exponent, the lane's bits + 1 at least, that it leaves the lane.
    """
    e = (v & lane.low) >> lane.fraction
    code = v << (lane.bits - 1 - lane.fraction)
    if lane.far:
        return (code | lane.sign) >> (emax - e)
    return where(e == 0, code & lane.low, code | lane.sign) >> (emax - umax(e, 1))


def stays_of(v: Any, emax: Any, mask: Any, padding: Any, lane: Lane) -> Any:
    """Rows of `mask` in the places of a weight's own bits; above the hidden bit anything."""
    # padding is what the compiler does not know to be the bits above the hidden one: as a constant it would
    # move the shift into the guard of the other one, and machines have an instruction for shift and guard.
    return shr(mask << (emax - _own_exponent(v, lane)), padding)


def cleared(v: Any, stays: Any, near: bool, lane: Lane) -> Any:
    """Clear the bits of the weights that do not stay, and renormalise where the hidden bit goes.

    near: a weight without its hidden bit has kept at most the bit below, as between neighbours that
    have changed places.
    """
    bits, fraction = lane.bits, lane.fraction
    hidden, head = 1 << fraction, -(1 << fraction)
    left = v & (stays | head)
    if bits >= 32 and bits - 1 - fraction >= 8:
        # Sign and exponent alone are the hidden bit's own value. What is subtracted is exact.
        less = as_int(fsub(as_float(left, bits), as_float(v & head, bits)), bits)
    else:
        rest = left & (hidden - 1)
        exponent = v & (head & lane.low)
        if near:
            less = where(rest != 0, umax(subtract_to_zero(exponent, hidden), rest), 0)
        else:
            # down: places from the hidden bit to the highest that is left.
            down = leading_zeros(rest) - (bits - 1 - fraction)
            e = exponent >> fraction
            normal = (exponent - (down << fraction)) + ((rest << down) - hidden)
            less = where(rest != 0, where(e > down, normal, rest << (umax(e, 1) - 1)), 0)
    # x - x is +0: a weight that loses all its bits keeps its sign.
    return where((stays & hidden) != 0, left, less) | (v & lane.sign)


def nearest_of(v: Any, emax: Any, mask: Any, window: Any, lane: Lane) -> Any:
    """Nearest values on the rows of `mask` that are not below a weight's own last place."""
    bits, fraction = lane.bits, lane.fraction
    # below: rows under the weight's last place, fewer the lower it stands; a code has no bits for them.
    below = like(v, (1 << (bits - lane.significand)) - 1) >> (emax - _own_exponent(v, lane))
    rounded = round_to_rows(aligned_to(v, emax, lane) & window, mask & (below ^ -1), v & 0)
    # down: to where the hidden bit stands, or that of the smallest normal number.
    down = umin(leading_zeros(rounded), emax - 1)
    code = ((emax - down) << fraction) + (((rounded << down) >> (bits - 1 - fraction)) - (1 << fraction))
    return where(rounded == 0, 0, code) | (v & lane.sign)


def integer_rows(v: Any, kind: int, width: Any, lane: Lane) -> tuple[Any, Any]:
    """Split integers into their rows, and what must have no bits above those of the format."""
    if kind == SIGN_MAGNITUDE:
        negative = ashr(v, lane.bits - 1)
        size = (v ^ negative) - negative
        return size, size
    if kind == TWOS_COMPLEMENT:
        return v & ((like(v, 1) << width) - 1), v ^ ashr(v, lane.bits - 1)
    return v, v


def integer_on_rows(v: Any, mask: Any, window: Any, width: Any, nearest: bool, kind: int, lane: Lane) -> Any:
    """Integers on the rows of `mask`: cleared, or the nearest."""
    bits = lane.bits
    if kind == SIGN_MAGNITUDE:
        negative = ashr(v, bits - 1)
        size = (v ^ negative) - negative
        left = round_to_rows(size & window, mask, v & 0) if nearest else size & mask
        return (left ^ negative) - negative
    if kind == TWOS_COMPLEMENT and nearest:
        # Up to the top of the lane and down again, which repeats the sign.
        above = bits - width
        return ashr(round_signed((v & window) << above, mask << above, bits), above)
    if kind == TWOS_COMPLEMENT:
        sign = like(v, 1) << (width - 1)
        return (((v & ((like(v, 1) << width) - 1)) & mask) ^ sign) - sign
    return round_to_rows(v & window, mask, v & 0) if nearest else v & mask
