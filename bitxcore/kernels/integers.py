"""Pruning of fixed-point groups: no exponents, so rows are the bits of the code as they stand.

A member's magnitude (or, in two's complement, its code) stands at the top of its lane.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.expressions import expression
from bitxcore.kernels.rows import keep_rows, round_signed, round_to_rows
from bitxcore.kernels.vectors import (
    ashr,
    fold_ones,
    fold_or,
    from_rows,
    lanes_of,
    like,
    load,
    popcount,
    prefetch,
    spread,
    store,
    to_counts,
    to_rows,
    total,
    where,
)

PREFETCH = 1024  # codes ahead
INTEGER = -1  # stands beside the storage kinds of floats

# An encoding is two arguments, so that one kernel serves all: `signed` is -1 where the sign stands
# apart from a magnitude, `twos` is -1 in two's complement, else they are 0.
UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = (0, 0), (-1, 0), (0, -1)


@expression
def significand(v: Any, signed: int, bits: int) -> Any:
    """Magnitude, or in two's complement the code itself."""
    # negative: all ones or 0; with it, complement and subtraction make -v or leave v.
    negative = ashr(v, bits - 1) & signed
    return (v ^ negative) - negative


@expression
def outside(v: Any, signed: int, twos: int, limit: int, bits: int) -> Any:
    """1 where a code has more than `limit` bits: it is not of the format."""
    # In two's complement a negative code is inverted, so that its redundant sign bits become zeros.
    size = significand(v, signed, bits) ^ (ashr(v, bits - 1) & twos)
    return where((size >> limit) != 0, like(v, 1), 0)


@expression
def from_top(aligned: Any, v: Any, signed: int, twos: int, width: int, bits: int) -> Any:
    """Turn significands at the top of their lanes into codes; magnitudes take the sign of `v`."""
    # Two's complement needs its sign bit repeated to the lane's width, a magnitude zeros.
    value = (ashr(aligned, bits - width) & twos) | ((aligned >> (bits - width)) & (like(v, twos) ^ -1))
    negative = ashr(v, bits - 1) & signed
    return (value ^ negative) - negative


@cache
def prune_kernel(bits: int, group: int) -> Any:
    """Build the kernel that prunes whole vectors of groups by ``topn`` or ``msb``.

    The kernel's arguments: codes `x` and `out` (unsigned views, may be the same array); `masks`
    (32-bit lanes, row 0 on top) and `kept` (uint8), one per group; the number of vectors; `rows`;
    the encoding, `signed` and `twos`; `width`, the significand bits; `limit`, the bits that a magnitude may
    have; `window`, the rows of the window as a mask, row 0 on top; `refine` (``topn``).

    It returns the number of groups with a code outside the format, which it copies.
    """
    lanes = lanes_of(bits, group)
    step = lanes // group
    line = 512 // bits

    @kernel(variant=(bits, group))
    def prune(x, out, masks, kept, vectors, rows, signed, twos, width, limit, window, refine):
        bad = 0
        inside = window >> (32 - bits)
        for i in range(vectors):
            for ahead in range(0, lanes, line):
                prefetch(x, i * lanes + PREFETCH + ahead)
            # Lanes one per weight, `bits` wide; after a fold one per group, widened to row lanes of 32 bits.
            # aligned: the bit matrix. Row r is bit (bits - 1 - r) of the group's lanes.
            v = load(x, i * lanes, lanes)
            aligned = significand(v, signed, bits) << (bits - width)
            mask = to_rows(keep_rows(fold_ones(aligned, group), inside, rows, refine, group), bits)
            # over: 1 for a group with a code outside the format; it is copied, its mask full.
            over = to_counts(fold_or(outside(v, signed, twos, limit, bits), group), bits)
            mask = where(over != 0, window, mask)
            bad += total(over)
            store(masks, i * step, mask)
            store(kept, i * step, popcount(mask))
            stays = spread(from_rows(mask, bits), group)
            new = from_top(aligned & stays, v, signed, twos, width, bits)
            # from_rows takes the upper `bits` bits of a row lane: the 1 of `over` is put at their bottom.
            store(out, i * lanes, where(spread(from_rows(over << (32 - bits), bits), group) != 0, v, new))
        return bad

    return prune


@cache
def apply_kernel(bits: int, group: int) -> Any:
    """Build the kernel that clears or rounds to given rows; its arguments are those of `prune_kernel`.

    `masks` is read; `window` is in `bits` bits. With `nearest` each weight goes to the nearest value
    of the kept rows.
    """
    lanes = lanes_of(bits, group)
    step = lanes // group

    @kernel(variant=(bits, group))
    def apply(x, out, masks, vectors, signed, twos, width, limit, window, nearest):
        for i in range(vectors):
            v = load(x, i * lanes, lanes)
            mask = spread(from_rows(load(masks, i * step, step), bits), group)
            aligned = (significand(v, signed, bits) << (bits - width)) & window
            if not nearest:
                rounded = aligned & mask
            elif twos:
                rounded = round_signed(aligned, mask, bits)
            else:
                rounded = round_to_rows(aligned, mask, v & 0)
            new = from_top(rounded, v, signed, twos, width, bits)
            over = fold_or(outside(v, signed, twos, limit, bits), group)
            store(out, i * lanes, where(spread(over, group) != 0, v, new))

    return apply
