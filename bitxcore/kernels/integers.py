"""Pruning of fixed-point groups: no exponents, so rows are the bits of the code as they stand.

A member's magnitude (or, in two's complement, its code) stands at the top of its lane.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from bitxcore.jit import kernel
from bitxcore.kernels.rows import keep_topn, round_to_rows
from bitxcore.kernels.vectors import (
    ashr,
    fold_add,
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

UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = range(3)
PREFETCH = 1024


@njit(inline="always")
def magnitude(v: Any, encoding: int, bits: int) -> Any:
    """Absolute value; in two's complement what must fit in the bits below the sign."""
    if encoding == UNSIGNED:
        return v
    negative = ashr(v, bits - 1)
    if encoding == TWOS_COMPLEMENT:
        return v ^ negative
    return (v ^ negative) - negative


@njit(inline="always")
def on_top(v: Any, encoding: int, width: int, bits: int) -> Any:
    """Put the `width` significand bits at the top of the lane."""
    code = v if encoding == TWOS_COMPLEMENT else magnitude(v, encoding, bits)
    return code << (bits - width)


@njit(inline="always")
def from_top(aligned: Any, v: Any, encoding: int, width: int, bits: int) -> Any:
    """Undo `on_top`; a magnitude takes the sign of `v`."""
    if encoding == TWOS_COMPLEMENT:
        return ashr(aligned, bits - width)
    value = aligned >> (bits - width)
    if encoding == UNSIGNED:
        return value
    negative = ashr(v, bits - 1)
    return (value ^ negative) - negative


@cache
def prune_kernel(bits: int, encoding: int, group: int) -> Any:
    """Build the kernel that prunes whole vectors of groups by ``topn`` or ``msb``.

    The kernel's arguments: codes `x` and `out` (unsigned views, may be the same array); `masks`
    (32-bit lanes, row 0 on top) and `kept` (uint8), one a group; the number of vectors; `rows`;
    `width`, the significand bits; `limit`, the bits a magnitude may have; `window`, the rows of
    the window as a mask, row 0 on top; `refine` (``topn``).

    It returns the number of groups with a code outside the format, which it copies.
    """
    lanes = lanes_of(bits, group)
    step = lanes // group
    line = 512 // bits

    @kernel
    def prune(x, out, masks, kept, vectors, rows, width, limit, window, refine):
        bad = 0
        for i in range(vectors):
            for ahead in range(0, lanes, line):
                prefetch(x, i * lanes + PREFETCH + ahead)
            v = load(x, i * lanes, lanes)
            aligned = on_top(v, encoding, width, bits)
            present = to_rows(fold_or(aligned, group), bits)
            mask = keep_topn(aligned, present & window, rows, refine, group, bits)
            over = to_counts(fold_or(magnitude(v, encoding, bits) >> limit, group), bits)
            mask = where(over != 0, window, mask)
            bad += total(where(over != 0, like(over, 1), 0))
            store(masks, i * step, mask)
            store(kept, i * step, popcount(mask))
            stays = spread(from_rows(mask, bits), group)
            new = from_top(aligned & stays, v, encoding, width, bits)
            store(out, i * lanes, where(spread(from_rows(over << (32 - bits), bits), group) != 0, v, new))
        return bad

    return prune


@cache
def apply_kernel(bits: int, encoding: int, group: int) -> Any:
    """Build the kernel that clears or rounds to given rows; its arguments are those of `prune_kernel`.

    `masks` is read; `window` is in `bits` bits. With `nearest` each weight goes to the nearest value
    of the kept rows.
    """
    lanes = lanes_of(bits, group)
    step = lanes // group
    sign = -(1 << (bits - 1))

    @kernel
    def apply(x, out, masks, vectors, width, limit, window, nearest):
        for i in range(vectors):
            v = load(x, i * lanes, lanes)
            mask = spread(from_rows(load(masks, i * step, step), bits), group)
            aligned = on_top(v, encoding, width, bits) & window
            if not nearest:
                rounded = aligned & mask
            elif encoding == TWOS_COMPLEMENT:
                # A lane is -2**(bits - 1) * s + a. A negative one goes to the nearest a under its
                # sign row, unless that row is cleared or 0 is as near.
                negative = (aligned & sign) != 0
                low = mask & (sign ^ -1)
                nearest_low = round_to_rows(aligned & (sign ^ -1), low, where(negative, like(v, 1), 0))
                below = nearest_low | sign
                off = where(below < aligned, aligned - below, below - aligned)
                to_zero = ((mask & sign) == 0) | ((like(v, 0) - aligned) <= off)
                rounded = where(negative, where(to_zero, 0, below), nearest_low)
            else:
                rounded = round_to_rows(aligned, mask, v & 0)
            new = from_top(rounded, v, encoding, width, bits)
            over = where((magnitude(v, encoding, bits) >> limit) != 0, like(v, 1), 0)
            store(out, i * lanes, where(spread(fold_or(over, group), group) != 0, v, new))

    return apply


@cache
def count_kernel(bits: int, encoding: int, group: int) -> Any:
    """Build the kernel that counts the ones of every row of whole vectors of groups.

    The kernel's arguments: codes `x`; `counts`, eight rows of lanes: byte q of ``counts[s, g]`` is
    the number of ones in bit ``8 * q + s`` of group g (row 0 is the top bit); the number of
    vectors; `width`, `limit` and `window` (in `bits` bits) as for `prune_kernel`. It returns the
    number of groups with a code outside the format, which count as empty.
    """
    lanes = lanes_of(bits, group)
    step = lanes // group
    every = sum(1 << k for k in range(0, bits, 8))

    @kernel
    def count(x, counts, vectors, width, limit, window):
        bad = 0
        for i in range(vectors):
            v = load(x, i * lanes, lanes)
            over = fold_or(where((magnitude(v, encoding, bits) >> limit) != 0, like(v, 1), 0), group)
            bad += total(over)
            aligned = on_top(v, encoding, width, bits) & window
            aligned = where(spread(over, group) != 0, 0, aligned)
            for s in range(8):
                store(counts[s], i * step, fold_add((aligned >> s) & every, group))
        return bad

    return count
