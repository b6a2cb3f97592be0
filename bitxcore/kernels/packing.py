"""The packed form's kernels: bit rows of a group as integers of one bit per member, and back.

Member j is bit j. The rows of a group follow each other, the most significant first.

Groups of up to eight members are worked on many at a time, one per lane and member j of them all in
column j. Others, and the last ones, are worked on one at a time, one member per lane.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bitxcore.jit import kernel
from bitxcore.kernels.aligning import magnitude_of, rows_of, tiny
from bitxcore.kernels.floats import FRACTION_BITS, IMAGE_BITS, align, encode, narrow, widen
from bitxcore.kernels.integers import INTEGER, from_top, significand
from bitxcore.kernels.vectors import (
    across_or,
    any_lane,
    as_bits,
    as_mask,
    from_columns,
    from_rows,
    leading_zeros,
    like,
    load,
    load_words,
    member_bits,
    popcount,
    register_bits,
    repeat,
    resize,
    splat,
    spread,
    store,
    store_words,
    to_columns,
    total,
    umax,
    where,
)

COLUMNS = 8  # members of groups that are worked on many at a time; their rows are bytes
WORD = 8  # rows that such a group may have


@cache
def kept_rows_kernel(bits: int) -> Any:
    """Build the kernel that counts the ones of masks of `bits` bits: its arguments are the masks."""
    lanes = 4 * register_bits() // bits

    @kernel(variant=(bits,))
    def kept_rows(masks):
        count, whole = 0, masks.size // lanes * lanes
        for i in range(0, whole, lanes):
            count += total(popcount(load(masks, i, lanes)))
        for i in range(whole, masks.size):
            count += total(popcount(load(masks, i, 1)))
        return count

    return kept_rows


@cache
def pack_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that writes the kept rows of groups.

    Parameters
    ----------
    kind : int
        Storage kind of `floats`, or `INTEGER`.
    code_bits : int
        Bits of a stored code.
    group : int
        Members of a (padded) group.

    The kernel's arguments: codes `x`; `masks` (row lanes, row 0 on top) and `exponents` (int16) of
    the groups; `signs` and `rows` to write, unsigned integers of `group` bits (8 at least); the
    number of groups; `base`, which turns an exponent into the image's; the encoding of an integer, `signed`
    and `twos`, and its `width`.
    It returns the number of rows written.
    """
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    row_bits = max(bits, 32)
    fraction = FRACTION_BITS[bits] if is_float else 0
    special = (1 << (bits - 1 - fraction)) - 1
    store_bits = max(group, 8)
    many = group <= COLUMNS
    step = register_bits() // row_bits
    lanes = step * group
    word_rows = row_bits // 8

    @kernel(variant=(kind, code_bits, group))
    def pack(x, masks, exponents, signs, rows, groups, base, signed, twos, width):
        at, g = 0, 0
        while g < groups:
            if many:
                # 8 bytes are written for each group, and what is not its own is written over by the next.
                inside = g + step <= groups and at + WORD * step <= rows.size
                if inside and not any_lane(popcount(load(masks, g, step)) > WORD):
                    left = load(masks, g, step)
                    v = to_columns(load(x, g * group, lanes), group, 1)
                    if is_float:
                        v = widen(v, kind)
                        emax = resize(load(exponents, g, step), bits) + base
                        aligned = rows_of(v & ((1 << (bits - 1)) - 1), emax, group, fraction, bits)
                        if any_lane(tiny(emax, left, bits)):
                            distance = repeat(emax, group) - umax((v >> fraction) & special, 1)
                            aligned = align(v, distance, fraction, bits)
                    else:
                        aligned = resize(significand(v, signed, bits), row_bits) << (row_bits - width)
                    # member: the bit of each member in a byte of its group.
                    member = member_bits(left, group)
                    negative = where((v >> (bits - 1)) != 0, resize(member, bits), v & 0)
                    store(signs, g, across_or(negative, group))
                    # The last row first, into the highest byte: the lowest one of a mask is the easier one.
                    unused = (64 - (resize(popcount(left), 64) << 3)) & 63
                    words = resize(left & 0, 64)
                    for above in range(0, 64, row_bits):
                        word = left & 0
                        for k in range(word_rows):
                            if not any_lane(left != 0):
                                break
                            row = left & (0 - left)
                            left = left ^ row
                            ones = across_or(
                                where((aligned & repeat(row, group)) != 0, member, member & 0), group
                            )
                            word = word | (ones << (row_bits - 8 - 8 * k))
                        words = words | (resize(word, 64) << (64 - row_bits - above))
                    at = store_words(rows, at, masks, g, words >> unused)
                    g += step
                    continue
            # One group per iteration, one member per lane; aligned is its bit matrix, row 0 on top.
            v = load(x, g * group, group)
            if is_float:
                v = widen(v, kind)
                emax = splat(np.int64(exponents[g]) + base, bits, group)
                aligned = align(v, emax - umax((v >> fraction) & special, 1), fraction, bits)
            else:
                aligned = significand(v, signed, bits) << (bits - width)
            # A comparison's lanes of one bit, read as one integer: bit j is member j's sign.
            store(signs, g, resize(as_bits((v >> (bits - 1)) != 0, group), store_bits))
            # Kept rows from above: `row` is one bit, `left` the rows that are still to come.
            left = load(masks, g, 1)
            top = like(left, 1) << (row_bits - 1)
            for _ in range(row_bits):
                row = top >> leading_zeros(left)
                if total(row) == 0:
                    break
                left = left ^ row
                member = spread(from_rows(row, bits), group)
                store(rows, at, resize(as_bits((aligned & member) != 0, group), store_bits))
                at += 1
            g += 1
        return at

    return pack


@cache
def unpack_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that undoes `pack_kernel`; its arguments are the same, `x` is written."""
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    row_bits = max(bits, 32)
    fraction = FRACTION_BITS[bits] if is_float else 0
    many = group <= COLUMNS
    step = register_bits() // row_bits
    word_rows = row_bits // 8

    @kernel(variant=(kind, code_bits, group))
    def unpack(x, masks, exponents, signs, rows, groups, base, signed, twos, width):
        at, g = 0, 0
        while g < groups:
            if many:
                # 8 bytes are read for each group, wherever its rows end.
                inside = g + step <= groups and at + WORD * step <= rows.size
                if inside and not any_lane(popcount(load(masks, g, step)) > WORD):
                    left = load(masks, g, step)
                    member = member_bits(left, group)
                    aligned = member & 0
                    words, at = load_words(rows, at, masks, g, step)
                    # The last row first, as they were written; it goes to the highest byte.
                    words = words << ((64 - (resize(popcount(left), 64) << 3)) & 63)
                    for above in range(0, 64, row_bits):
                        word = resize(words >> (64 - row_bits - above), row_bits)
                        for _ in range(word_rows):
                            if not any_lane(left != 0):
                                break
                            row = left & (0 - left)
                            left = left ^ row
                            one = (repeat(word, group) & (member << (row_bits - 8))) != 0
                            aligned = aligned | where(one, repeat(row, group), aligned & 0)
                            word = word << 8
                    negative = (repeat(resize(load(signs, g, step), row_bits), group) & member) != 0
                    if is_float:
                        emax = resize(load(exponents, g, step), bits) + base
                        value = magnitude_of(aligned, emax, group, fraction, bits)
                        if any_lane(tiny(emax, load(masks, g, step), bits)):
                            value = encode(aligned, repeat(emax, group), fraction, bits)
                        value = value | where(negative, like(value, -(1 << (bits - 1))), value & 0)
                        code = narrow(value, kind)
                    else:
                        sign = where(negative, like(aligned, -1), aligned & 0)
                        code = resize(from_top(aligned, sign, signed, twos, width, row_bits), bits)
                    store(x, g * group, from_columns(code, group))
                    g += step
                    continue
            zero = splat(0, bits, group)
            aligned = zero
            left = load(masks, g, 1)
            top = like(left, 1) << (row_bits - 1)
            for _ in range(row_bits):
                row = top >> leading_zeros(left)
                if total(row) == 0:
                    break
                left = left ^ row
                member = spread(from_rows(row, bits), group)
                # Bit j of the stored row sets the row's bit in member j's lane.
                ones = as_mask(resize(load(rows, at, 1), group), 1)
                aligned = aligned | where(ones, member, zero)
                at += 1
            negative = as_mask(resize(load(signs, g, 1), group), 1)
            if is_float:
                emax = splat(np.int64(exponents[g]) + base, bits, group)
                value = encode(aligned, emax, fraction, bits)
                value = value | where(negative, like(zero, -(1 << (bits - 1))), zero)
                store(x, g * group, narrow(value, kind))
            else:
                sign = where(negative, like(zero, -1), zero)
                store(x, g * group, from_top(aligned, sign, signed, twos, width, bits))
            g += 1
        return at

    return unpack
