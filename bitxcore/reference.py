"""The definition, on Python integers: slow, obvious, and sharing no code with the kernels.

Everything here works on one group at a time, given as integer codes of a `NumberFormat`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from bitxcore.formats import NumberFormat


@dataclass(frozen=True)
class Value:
    """Sign, exponent (biased) and significand of one finite value."""

    sign: int
    exponent: int
    significand: int


def finite(code: int, fmt: NumberFormat) -> bool:
    """Whether `code` is a finite value of the format."""
    if fmt.is_float:
        magnitude = code & ((1 << (fmt.storage_bits - 1)) - 1)
        if fmt.encoding == "finite":
            return magnitude != (1 << (fmt.storage_bits - 1)) - 1
        return magnitude >> (fmt.significand_bits - 1) != (1 << fmt.exponent_bits) - 1
    value = signed(code, fmt)
    if fmt.encoding == "twos-complement":
        return -(1 << (fmt.significand_bits - 1)) <= value < 1 << (fmt.significand_bits - 1)
    return abs(value) <= fmt.max_magnitude


def signed(code: int, fmt: NumberFormat) -> int:
    """Integer value of the stored code of an integer format."""
    if fmt.encoding != "unsigned" and code >> (fmt.storage_bits - 1):
        return code - (1 << fmt.storage_bits)
    return code


def decode(code: int, fmt: NumberFormat) -> Value:
    """Split a code: ``(-1)**sign * significand * 2**(exponent - bias - (p - 1))``.

    In two's complement the significand is the code itself and its top bit weighs negative.
    """
    p = fmt.significand_bits
    if not fmt.is_float:
        value = signed(code, fmt)
        if fmt.encoding == "twos-complement":
            return Value(0, 0, value & ((1 << p) - 1))
        return Value(int(value < 0), 0, abs(value))
    fraction = code & ((1 << (p - 1)) - 1)
    field = (code >> (p - 1)) & ((1 << fmt.exponent_bits) - 1)
    sign = code >> (fmt.storage_bits - 1)
    if field == 0:
        return Value(sign, 1, fraction)
    return Value(sign, field, fraction | 1 << (p - 1))


def encode(sign: int, scaled: int, exponent: int, window: int, fmt: NumberFormat) -> int:
    """Code of ``(-1)**sign * scaled * 2**(exponent - bias - (window - 1))``, which must be exact."""
    p = fmt.significand_bits
    if not fmt.is_float:
        value = Fraction(scaled) * Fraction(2) ** (p - window)
        if value.denominator != 1:
            raise ValueError("not an integer")
        if fmt.encoding == "twos-complement" and value >= 1 << (p - 1):
            value -= 1 << p
        return (-int(value) if sign else int(value)) & ((1 << fmt.storage_bits) - 1)
    head = sign << (fmt.storage_bits - 1)
    if scaled == 0:
        return head
    # Units of the format's smallest subnormal, then of the value's own last place.
    units = Fraction(scaled) * Fraction(2) ** (exponent - window + p - 1)
    if units.denominator != 1:
        raise ValueError("below the smallest subnormal")
    units_int = int(units)
    shift = max(0, units_int.bit_length() - p)
    if units_int & ((1 << shift) - 1):
        raise ValueError("more bits than the significand has")
    significand = units_int >> shift
    if significand >> (p - 1) == 0:
        return head | significand
    return head | (shift + 1) << (p - 1) | (significand & ((1 << (p - 1)) - 1))


@dataclass(frozen=True)
class Group:
    """A group's bit matrix: one integer of W bits per member, row 0 on top."""

    emax: int
    members: tuple[Value, ...]
    aligned: tuple[int, ...]
    window: int


def align(codes: Sequence[int], fmt: NumberFormat, window: int) -> Group:
    """Align the significands to the largest exponent of a non-zero member."""
    members = tuple(decode(code, fmt) for code in codes)
    emax = max((v.exponent for v in members if v.significand), default=0)
    aligned = tuple(
        (v.significand << window) >> (fmt.significand_bits + emax - v.exponent) if v.significand else 0
        for v in members
    )
    return Group(emax, members, aligned, window)


def row_ones(group: Group) -> list[int]:
    """Ones of every row, row 0 first (BitCnt)."""
    top = group.window - 1
    return [sum(a >> (top - row) & 1 for a in group.aligned) for row in range(group.window)]


def squared_norms(norms: Sequence[float]) -> list[int]:
    """Integers in proportion to the squares of a whole tensor's norms.

    The largest becomes 2**24, in float64 and half to even; zero stays 0, anything above is at least 1. Where
    all are 0, each is 1.
    """
    largest = max(norms)
    if largest == 0:
        return [1] * len(norms)
    shares = [norm / largest for norm in norms]
    return [max(1, round(s * s * 2.0**24)) if n else 0 for s, n in zip(shares, norms, strict=True)]


def row_squares(group: Group, squares: Sequence[int]) -> list[int]:
    """Squared norms of the members with a one in each row, added up; row 0 first."""
    top = group.window - 1
    members = list(zip(group.aligned, squares, strict=True))
    return [sum(q for a, q in members if a >> (top - row) & 1) for row in range(group.window)]


def significance(ones: int, row: int, window: int) -> int:
    """Square of a row's significance, as an integer: BitCnt * 4**(W - 1 - row)."""
    return ones << 2 * (window - 1 - row)


def ranking(ones: Sequence[int]) -> list[int]:
    """Non-empty rows, the most significant first; on a tie the upper row."""
    rows = [row for row, n in enumerate(ones) if n]
    return sorted(rows, key=lambda row: (-significance(ones[row], row, len(ones)), row))


def keep(
    ones: Sequence[int],
    criterion: str,
    rows: int,
    threshold: float | None = None,
    budget: float | None = None,
    weighted: Sequence[int] | None = None,
) -> int:
    """Mask of the kept rows (bit W - 1 - l is row l), at most `rows` of them.

    `weighted` is what ``calibrated`` has in the place of the ones (`row_squares`).
    """
    window = len(ones)
    ranked = ranking(ones)
    squares = {row: significance(ones[row], row, window) for row in ranked}
    if criterion == "msb":
        ranked = sorted(ranked)
    elif criterion == "threshold":
        limit = Fraction(threshold or 0) ** 2 * max(squares.values(), default=0)
        ranked = [row for row in ranked if squares[row] >= limit]
    elif criterion == "energy":
        allowed = Fraction(math.floor(Fraction(budget or 0) ** 2 * 2**38), 2**38) * sum(squares.values())
        pruned = 0
        while ranked and pruned + squares[ranked[-1]] <= allowed:
            pruned += squares[ranked.pop()]
    elif criterion == "calibrated":
        # Rows of members whose norms are all 0 have no significance, and come last, the upper ones first.
        sums = list(weighted or [])
        ranked = sorted(ranked, key=lambda row: (-significance(sums[row], row, window), row))
    elif criterion != "topn":
        raise ValueError(criterion)
    return sum(1 << (window - 1 - row) for row in ranked[:rows])


def round_to(value: int, allowed: Sequence[int]) -> int:
    """Nearest of `allowed`; on a tie the one of smaller magnitude."""
    return min(allowed, key=lambda a: (abs(a - value), abs(a)))


def values_on(mask: int) -> list[int]:
    """All integers whose set bits lie within `mask`."""
    values = [0]
    for bit in range(mask.bit_length()):
        if mask >> bit & 1:
            values += [v | 1 << bit for v in values]
    return values


def prune_group(
    codes: Sequence[int],
    fmt: NumberFormat,
    window: int,
    *,
    criterion: str = "topn",
    rows: int | None = None,
    threshold: float | None = None,
    budget: float | None = None,
    squares: Sequence[int] | None = None,
    rounding: str = "truncate",
) -> tuple[list[int], int, int]:
    """Prune one group; `squares` are those of its members, of ``calibrated``.

    Returns
    -------
    codes : list of int
        The pruned codes.
    mask : int
        Kept rows; bit W - 1 - l set: row l kept.
    emax : int
        Largest exponent of a non-zero member; 0 if there is none, and for integers.
    """
    group = align(codes, fmt, window)
    weighted = None if squares is None else row_squares(group, squares)
    mask = keep(row_ones(group), criterion, window if rows is None else rows, threshold, budget, weighted)
    out = []
    for member, aligned in zip(group.members, group.aligned, strict=True):
        if rounding == "truncate":
            result = aligned & mask
        elif fmt.encoding == "twos-complement":
            result = _round_twos_complement(aligned, mask, window)
        else:
            # Rows below the weight's own last place are left out.
            last_place = max(0, window - fmt.significand_bits - (group.emax - member.exponent))
            allowed = mask >> last_place << last_place if fmt.is_float else mask
            result = round_to(aligned, values_on(allowed))
        out.append(encode(member.sign, result, group.emax, window, fmt))
    return out, mask, group.emax


def window_limited(
    codes: Sequence[int],
    fmt: NumberFormat,
    window: int,
    *,
    criterion: str = "topn",
    rows: int | None = None,
    threshold: float | None = None,
    budget: float | None = None,
    squares: Sequence[int] | None = None,
) -> bool:
    """Whether a group keeps fewer than `rows` rows (None: the window's) though ones fell out of the window.

    Integers are not aligned: nothing falls out.
    """
    group = align(codes, fmt, window)
    wanted = window if rows is None else rows
    weighted = None if squares is None else row_squares(group, squares)
    kept = keep(row_ones(group), criterion, wanted, threshold, budget, weighted).bit_count()
    # A member stands `window - p - distance` places up; below place 0 is what `align` shifts out.
    fallen = [
        (v.significand << window) & ((1 << (fmt.significand_bits + group.emax - v.exponent)) - 1)
        for v in group.members
        if v.significand
    ]
    return fmt.is_float and kept < wanted and any(fallen)


def values_within(mask: int, ones: int) -> list[int]:
    """All integers with at most `ones` bits set, all of them within `mask`."""
    bits = [1 << bit for bit in range(mask.bit_length()) if mask >> bit & 1]
    return [sum(some) for count in range(ones + 1) for some in combinations(bits, count)]


def fit_group(
    values: Sequence[Fraction], fmt: NumberFormat, window: int, *, ones: int, rows: int
) -> list[Fraction]:
    """Bring one group within a budget of ones per weight and of rows; see `bitxcore.prepare`.

    Places are exponents of two: of floats `window` of them, from one above the largest magnitude's down, or
    from that of the smallest normal number, as far as the format has them.
    """
    if fmt.is_float:
        least = 1 - fmt.bias - (fmt.significand_bits - 1)
        most = (1 << fmt.exponent_bits) - 2 - fmt.bias
        largest = max(map(abs, values))
        high = most if largest == 0 else max(1 - fmt.bias, min(most, _exponent(largest) + 1))
        low = max(high - window + 1, least)
    else:
        low, high = 0, fmt.significand_bits - 1
    every = (1 << (high - low + 1)) - 1
    unit = Fraction(2) ** low

    def fitted(value: Fraction, mask: int) -> int:
        scaled = abs(value) / unit
        if fmt.is_float and scaled >= 1:
            last = max(0, _exponent(scaled) - (fmt.significand_bits - 1))
            mask = mask >> last << last
        return min(values_within(mask, ones), key=lambda v: (abs(v - scaled), v))

    codes = [fitted(value, every) for value in values]
    counts = [sum(code >> (high - low - row) & 1 for code in codes) for row in range(high - low + 1)]
    mask = keep(counts, "topn", rows)
    signs = [-1 if value < 0 else 1 for value in values]
    return [sign * fitted(value, mask) * unit for sign, value in zip(signs, values, strict=True)]


def _exponent(value: Fraction) -> int:
    """Exponent of the highest power of two that is not above a positive value."""
    found = value.numerator.bit_length() - value.denominator.bit_length()
    return found if Fraction(2) ** found <= value else found - 1


def _round_twos_complement(code: int, mask: int, window: int) -> int:
    top = 1 << (window - 1)

    def value(c: int) -> int:
        return c - 2 * top if c & top else c

    return round_to(value(code), [value(c) for c in values_on(mask)]) % (2 * top)
