"""Ones of the bit rows: of each group, and of a whole tensor.

One kernel serves floats and fixed point; they differ in how a vector of codes becomes rows.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from bitxcore.jit import kernel
from bitxcore.kernels.floats import (
    FRACTION_BITS,
    IMAGE_BITS,
    PREFETCH,
    align,
    largest_exponent,
    widen,
)
from bitxcore.kernels.integers import INTEGER, outside, significand
from bitxcore.kernels.positions import (
    FLUSH,
    PARTS,
    add_counters,
    add_eights,
    add_histogram,
    add_rest,
    carry_save,
    clear_counters,
    count_rest,
)
from bitxcore.kernels.vectors import (
    fold_add,
    fold_or,
    lanes_of,
    like,
    load,
    popcount,
    prefetch,
    resize,
    splat,
    spread,
    store,
    total,
    umax,
    where,
)


@njit(inline="always")
def float_rows(v: Any, emax: Any, window: int, group: int, bits: int, fraction: int) -> Any:
    """Split images into significands, their rows, and 1 for each group with a NaN or Inf.

    Significands stand at the top of their lanes. Rows are those of the window; such a group has none.
    """
    special = (1 << (bits - 1 - fraction)) - 1
    # emax and broken: lanes one per group; v, code and the rows: one per weight.
    broken = where(emax == special, like(emax, 1), 0)
    code = align(v, v & 0, fraction, bits)
    rows = (code >> (spread(emax, group) - umax((v >> fraction) & special, 1))) & window
    return code, where(spread(broken, group) != 0, 0, rows), broken


@njit(inline="always")
def integer_rows(
    v: Any, signed: int, twos: int, width: int, limit: int, window: int, group: int, bits: int
) -> Any:
    """Split codes as `float_rows` splits images; a group with a code outside the format has no rows."""
    code = significand(v, signed, bits) << (bits - width)
    over = fold_or(outside(v, signed, twos, limit, bits), group)
    return code, where(spread(over, group) != 0, 0, code & window), over


@cache
def count_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that counts the ones of every row of whole vectors of groups.

    The kernel's arguments: codes `x`; `counts`, eight rows of lanes: byte q of ``counts[s, g]`` is the
    number of ones in bit ``8 * q + s`` of group g (row 0 is the top bit); `exponents` (int16; of floats
    only); the number of vectors; then as for `prune_kernel`, `emin` of floats, `signed`, `twos`, `width` and
    `limit` of integers, and `window`, in a lane's bits. It returns the number of groups with a NaN,
    an Inf or a code outside the format, which count as empty.

    Parameters
    ----------
    kind : int
        Storage kind of `floats`, or `INTEGER`.
    code_bits : int
        Bits of a stored code.
    group : int
    """
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    fraction = FRACTION_BITS[bits] if is_float else 0
    lanes = lanes_of(bits, group)
    step = lanes // group
    # The lowest bit of each byte of a lane.
    every = sum(1 << k for k in range(0, bits, 8))

    @kernel(variant=(kind, code_bits, group))
    def count(x, counts, exponents, vectors, emin, signed, twos, width, limit, window):
        bad = 0
        for i in range(vectors):
            v = load(x, i * lanes, lanes)
            if is_float:
                v = widen(v, kind)
                emax = largest_exponent(v, emin, group, bits, fraction)
                code, rows, broken = float_rows(v, emax, window, group, bits, fraction)
                some = fold_or(code, group) != 0
                store(exponents, i * step, where(some, emax - (emin - 1), 0))
            else:
                code, rows, broken = integer_rows(v, signed, twos, width, limit, window, group, bits)
            bad += total(broken)
            # Rows 8 apart, each one's bit alone at the bottom of a byte: adding lanes adds all bytes at
            # once, and 64 members do not fill one. Eight such sums hold every row.
            for s in range(8):
                store(counts[s], i * step, fold_add((rows >> s) & every, group))
        return bad

    return count


@cache
def summary_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that adds up the ones of whole vectors of groups by row.

    The kernel's arguments: codes `x`; `rows` (int64, one per bit of a lane, row 0 first), `nonempty`
    (int64, groups by their non-empty rows) and `sums` (int64: ones of all significands, zeros), to
    which it adds; the scratch arrays `counters` (lanes, 8 rows of 512 bits) and `present` (uint8, one per
    group of `FLUSH` vectors); the rest, the result and the parameters are those of `count_kernel`.
    """
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    fraction = FRACTION_BITS[bits] if is_float else 0
    lanes = lanes_of(bits, group)
    step = lanes // group
    part = lanes // PARTS
    quarter = part // 4
    line = 512 // code_bits

    @kernel(variant=(kind, code_bits, group))
    def summarize(
        x, rows, nonempty, sums, counters, present, vectors, emin, signed, twos, width, limit, window
    ):
        bad = 0
        # Two carry-save trees of an eighth of a vector: one, two and four for the rows of the groups,
        # the others (_m) for the significands as they are. They hold what has not made up an eight.
        one = splat(0, bits, part)
        two = splat(0, bits, part)
        four = splat(0, bits, part)
        one_m = splat(0, bits, part)
        two_m = splat(0, bits, part)
        four_m = splat(0, bits, part)
        # Ones of the significands, in eights.
        essential = splat(0, 32, quarter)
        for first in range(0, vectors, FLUSH):
            last = min(first + FLUSH, vectors)
            # At most one eight per vector and position: the bytes of the counters hold FLUSH vectors, and so
            # do the lanes of the zeros. Then all is added to the 64-bit sums.
            clear_counters(counters, bits, part)
            zeros = splat(0, bits, lanes)
            for i in range(first, last):
                for ahead in range(0, lanes, line):
                    prefetch(x, i * lanes + PREFETCH + ahead)
                v = load(x, i * lanes, lanes)
                if is_float:
                    v = widen(v, kind)
                    emax = largest_exponent(v, emin, group, bits, fraction)
                    code, aligned, broken = float_rows(v, emax, window, group, bits, fraction)
                    empty = code == 0
                else:
                    code, aligned, broken = integer_rows(v, signed, twos, width, limit, window, group, bits)
                    empty = v == 0
                bad += total(broken)
                # Non-empty rows of each group, one byte per group.
                store(present, (i - first) * step, popcount(fold_or(aligned, group)))
                zeros = zeros + where(empty, like(v, 1), 0)
                one, two, four, eights = carry_save(aligned, one, two, four)
                add_eights(eights, counters, bits, part)
                # Of the significands only the number of ones is wanted, not their rows.
                one_m, two_m, four_m, eights = carry_save(code, one_m, two_m, four_m)
                essential = essential + resize(fold_add(popcount(eights), 4), 32)
            add_counters(counters, 8, rows, bits, part)
            add_histogram(present, (last - first) * step, nonempty)
            sums[1] += total(zeros)
        add_rest(one, two, four, counters, rows, bits, part)
        sums[0] += 8 * total(essential) + count_rest(one_m, two_m, four_m)
        return bad

    return summarize
