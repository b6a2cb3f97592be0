"""The packed form's kernels: bit rows of a group as integers of one bit per member, and back.

Member j is bit j. The rows of a group follow each other, the most significant first.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from bitxcore.jit import kernel
from bitxcore.kernels.floats import FRACTION_BITS, IMAGE_BITS, align, encode, narrow, widen
from bitxcore.kernels.integers import INTEGER, from_top, significand
from bitxcore.kernels.vectors import (
    as_bits,
    as_mask,
    from_rows,
    leading_zeros,
    like,
    load,
    resize,
    splat,
    spread,
    store,
    total,
    umax,
    where,
)


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

    @kernel(variant=(kind, code_bits, group))
    def pack(x, masks, exponents, signs, rows, groups, base, signed, twos, width):
        at = 0
        for g in range(groups):
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
        return at

    return pack


@cache
def unpack_kernel(kind: int, code_bits: int, group: int) -> Any:
    """Build the kernel that undoes `pack_kernel`; its arguments are the same, `x` is written."""
    is_float = kind != INTEGER
    bits = IMAGE_BITS[kind] if is_float else code_bits
    row_bits = max(bits, 32)
    fraction = FRACTION_BITS[bits] if is_float else 0

    @kernel(variant=(kind, code_bits, group))
    def unpack(x, masks, exponents, signs, rows, groups, base, signed, twos, width):
        at = 0
        for g in range(groups):
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
        return at

    return unpack
