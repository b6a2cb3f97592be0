"""Pruning of floating-point groups.

Every float of up to 32 bits is widened, exactly, to its float32 *image* in registers, worked
on there and narrowed again, exactly; float64 is its own image. A group's bit matrix stands in
the lanes: a member's significand at the top of its lane, shifted right by its distance to the
largest exponent of the group.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.ir as ir

from bitxcore.jit import kernel
from bitxcore.kernels.expressions import expression, intrinsic
from bitxcore.kernels.rows import keep_rows, round_to_rows
from bitxcore.kernels.vectors import (
    Vec,
    any_lane,
    any_of,
    as_float,
    as_int,
    flushes,
    fold_ones,
    fold_or,
    fold_umax,
    fsub,
    lanes_of,
    leading_zeros,
    like,
    load,
    popcount,
    prefetch,
    spread,
    store,
    total,
    umax,
    where,
)

# Storage kinds; the image of all but the last is float32.
FLOAT32, BFLOAT16, FLOAT16, FLOAT8_E5M2, FLOAT8_E4M3FN, FLOAT64 = range(6)
STORAGE_BITS = (32, 16, 16, 8, 8, 64)
IMAGE_BITS = (32, 32, 32, 32, 32, 64)
FRACTION_BITS = {32: 23, 64: 52}
PREFETCH = 1024  # values ahead; a hardware prefetcher alone loses a third on unaligned arrays


def _constant(x: Any, value: int) -> Any:
    return ir.Constant(x.type, [value] * x.type.count)


def _half_image(builder: Any, x: Any, image: Vec) -> Any:
    half = ir.VectorType(ir.HalfType(), image.lanes)
    return builder.fpext(builder.bitcast(x, half), ir.VectorType(ir.FloatType(), image.lanes))


def _half_code(builder: Any, x: Any, lanes: int) -> Any:
    half = builder.fptrunc(x, ir.VectorType(ir.HalfType(), lanes))
    return builder.bitcast(half, ir.VectorType(ir.IntType(16), lanes))


@intrinsic(prefer_literal=True)
def widen(typing: Any, x: Any, kind: Any) -> Any:
    """Turn stored codes into images, as integers."""
    k = kind.literal_value
    image = x if k in (FLOAT32, FLOAT64) else Vec(32, x.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = args[0]
        if image is x:
            return code
        # bfloat16 is the upper half of a float32.
        if k == BFLOAT16:
            wide = builder.zext(code, image.llvm)
            return builder.shl(wide, _constant(wide, 16))
        # float16: the conversion of the machine, exact; subnormals become normal numbers.
        if k == FLOAT16:
            return builder.bitcast(_half_image(builder, code, image), image.llvm)
        wide = builder.zext(code, ir.VectorType(ir.IntType(16), x.lanes))
        # E5M2 is the upper half of a float16.
        if k == FLOAT8_E5M2:
            half = builder.shl(wide, _constant(wide, 8))
            return builder.bitcast(_half_image(builder, half, image), image.llvm)
        # E4M3 is a half with one exponent bit less: shifted into place it is 2**-8 of its value.
        magnitude = builder.and_(wide, _constant(wide, 0x7F))
        sign = builder.shl(builder.and_(wide, _constant(wide, 0x80)), _constant(wide, 8))
        half = builder.or_(sign, builder.shl(magnitude, _constant(wide, 7)))
        value = _half_image(builder, half, image)
        value = builder.fmul(value, ir.Constant(value.type, [256.0] * x.lanes))
        # Its one NaN has the code that would read as 480, and it has no infinities.
        is_nan = builder.icmp_unsigned("==", magnitude, _constant(wide, 0x7F))
        bits = builder.bitcast(value, image.llvm)
        return builder.select(is_nan, _constant(bits, 0x7FC00000), bits)

    return image(x, kind), codegen


@intrinsic(prefer_literal=True)
def narrow(typing: Any, x: Any, kind: Any) -> Any:
    """Turn images into stored codes, exact for finite values of the format."""
    k = kind.literal_value
    code = Vec(STORAGE_BITS[k], x.lanes)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = args[0]
        if k in (FLOAT32, FLOAT64):
            return bits
        if k == BFLOAT16:
            return builder.trunc(builder.lshr(bits, _constant(bits, 16)), code.llvm)
        # Pruning leaves no bit that the format lacks: the conversions round nothing. What they make of
        # NaN and Inf is of no interest, such groups are copied.
        value = builder.bitcast(bits, ir.VectorType(ir.FloatType(), x.lanes))
        if k == FLOAT8_E4M3FN:
            value = builder.fmul(value, ir.Constant(value.type, [2.0**-8] * x.lanes))
        half = _half_code(builder, value, x.lanes)
        if k == FLOAT16:
            return half
        if k == FLOAT8_E5M2:
            return builder.trunc(builder.lshr(half, _constant(half, 8)), code.llvm)
        sign = builder.and_(builder.lshr(half, _constant(half, 8)), _constant(half, 0x80))
        magnitude = builder.and_(builder.lshr(half, _constant(half, 7)), _constant(half, 0x7F))
        return builder.trunc(builder.or_(sign, magnitude), code.llvm)

    return code(x, kind), codegen


@expression
def largest_exponent(v: Any, emin: int, group: int, bits: int, fraction: int) -> Any:
    """Exponent of the largest member of each group, `emin` at least; one group per lane."""
    # The exponent is the upper part of a magnitude: the largest magnitude has the largest one.
    return umax(fold_umax(v & ((1 << (bits - 1)) - 1), group) >> fraction, emin)


@expression
def align(v: Any, distance: Any, fraction: int, bits: int) -> Any:
    """Put significands at the top of their lanes, then `distance` rows down."""
    # The fraction moves below the top bit. That bit is the hidden one, in whose place the exponent's last
    # bit has come to stand, and 0 in a subnormal. Rows pushed out of the lane are below any window.
    significand = v << (bits - 1 - fraction)
    subnormal = (v & (((1 << (bits - 1 - fraction)) - 1) << fraction)) == 0
    return where(subnormal, significand, significand | -(1 << (bits - 1))) >> distance


@expression
def clear(v: Any, stays: Any, fraction: int, bits: int) -> Any:
    """Clear the significand bits that are not in `stays` (a mask in the significand's place).

    A cleared hidden bit is taken off by a subtraction, which renormalises and is exact.
    """
    # head: sign and exponent alone, which read as a float are the hidden bit's own value.
    head = v & -(1 << fraction)
    gone = where((stays & (1 << fraction)) != 0, 0, head)
    value = fsub(as_float(v & (stays | -(1 << fraction)), bits), as_float(gone, bits))
    # x - x is +0: a weight that loses all its bits keeps its sign.
    return as_int(value, bits) | (v & -(1 << (bits - 1)))


@expression
def encode(aligned: Any, emax: Any, fraction: int, bits: int) -> Any:
    """Undo `align`: the magnitude whose rows are `aligned`, row 0 weighing 2**(emax - bias)."""
    # top: rows above the leading bit, by which the exponent is smaller than the group's. Where that
    # leaves no exponent (emax <= top) the value is a subnormal, its bits that much further down.
    top = leading_zeros(aligned)
    significand = (aligned << top) >> (bits - 1 - fraction)
    normal = ((emax - top) << fraction) + (significand & ((1 << fraction) - 1))
    value = where(emax > top, normal, significand >> ((top - emax) + 1))
    return where(aligned == 0, 0, value)


@cache
def prune_kernel(kind: int, group: int) -> Any:
    """Build the kernel that prunes whole vectors of groups by ``topn`` or ``msb``.

    The kernel's arguments: stored codes `x` and `out` (may be the same array); `masks` (lanes of
    the image, row 0 on top), `exponents` (int16) and `kept` (uint8), one per group; the number of
    vectors; `rows`; `emin`, the image exponent of the format's smallest normal number; `window`,
    the rows of the window as a mask, row 0 on top; `refine` (``topn``); `wanted`, the rows that a group
    should keep; the integer 2.

    It returns the number of groups with a NaN or Inf, which it copies, their masks full, or -1
    if this thread flushes subnormal numbers to zero, and nothing was done; and the number of groups that
    kept fewer than `wanted` rows and have ones below the window.
    """
    bits = IMAGE_BITS[kind]
    fraction = FRACTION_BITS[bits]
    pad = bits - fraction - 1
    special = (1 << pad) - 1
    lanes = lanes_of(bits, group)
    step = lanes // group
    line = 512 // STORAGE_BITS[kind]

    @kernel(variant=(kind, group))
    def prune(x, out, masks, exponents, kept, vectors, rows, emin, window, refine, wanted, two):
        if flushes(two, bits):
            return -1, 0
        bad, limited = 0, 0
        for i in range(vectors):
            # `step` groups, one behind the other. Lanes are of two kinds: one per weight (v, distance,
            # aligned), and, after a fold, one per group (emax, present, mask).
            for ahead in range(0, lanes, line):
                prefetch(x, i * lanes + PREFETCH + ahead)
            v = widen(load(x, i * lanes, lanes), kind)
            emax = largest_exponent(v, emin, group, bits, fraction)
            # distance: rows from row 0 down to a weight's leading bit; the field 0 of a subnormal means 1.
            distance = spread(emax, group) - umax((v >> fraction) & special, 1)
            # aligned: the bit matrix. Row r is bit (bits - 1 - r) of the group's lanes.
            aligned = align(v, distance, fraction, bits)
            ones = fold_ones(aligned, group)
            some = any_of(ones) != 0
            mask = keep_rows(ones, window, rows, refine, group)
            # NaN and Inf have the largest exponent there is, so emax tells of them.
            nonfinite = emax == special
            mask = where(nonfinite, window, mask)
            broken = where(nonfinite, like(emax, 1), 0)
            number = popcount(mask)
            short = number < wanted
            if any_lane(nonfinite | short):
                # Rare, and done before `out`, which may be `x`, is written. A group has ones below the window
                # if the whole window would change a weight.
                bad += total(broken)
                v = widen(load(x, i * lanes, lanes), kind)
                whole = clear(v, (like(v, window) << distance) >> pad, fraction, bits)
                cut = where(fold_or(whole ^ v, group) != 0, broken ^ 1, 0)
                limited += total(where(short, cut, 0))
            store(masks, i * step, mask)
            store(kept, i * step, number)
            # The image's exponent, counted from the format's own smallest.
            store(exponents, i * step, where(some, emax - (emin - 1), 0))
            # Loaded again: cheaper than to hold it in registers meanwhile.
            old = load(x, i * lanes, lanes)
            v = widen(old, kind)
            # The kept rows from the group's places to the weight's: the row of its leading bit goes to the
            # top of the lane, then to where the hidden bit would stand in the code.
            new = narrow(clear(v, (spread(mask, group) << distance) >> pad, fraction, bits), kind)
            store(out, i * lanes, where(spread(broken, group) != 0, old, new))
        return bad, limited

    return prune


@cache
def apply_kernel(kind: int, group: int) -> Any:
    """Build the kernel that clears or rounds to given rows; its arguments are those of `prune_kernel`.

    `masks` is read. With `nearest` each weight goes to the nearest value of the kept rows that
    are not below its own last place, which is `last_place` rows above the lowest when the weight
    has the largest exponent; else the other rows are cleared. Groups with a NaN or Inf are copied.
    It returns 0, or -1 as `prune_kernel` does.
    """
    bits = IMAGE_BITS[kind]
    fraction = FRACTION_BITS[bits]
    pad = bits - fraction - 1
    special = (1 << pad) - 1
    lanes = lanes_of(bits, group)
    step = lanes // group
    sign = -(1 << (bits - 1))

    @kernel(variant=(kind, group))
    def apply(x, out, masks, vectors, emin, window, nearest, last_place, two):
        if flushes(two, bits):
            return -1
        for i in range(vectors):
            old = load(x, i * lanes, lanes)
            v = widen(old, kind)
            emax = largest_exponent(v, emin, group, bits, fraction)
            e = (v >> fraction) & special
            distance = spread(emax, group) - umax(e, 1)
            mask = spread(load(masks, i * step, step), group)
            if nearest:
                # below: rows under the weight's last place, fewer the lower it stands; a code has no bits
                # for them. A subnormal of the format stands where its smallest normal number does.
                below = (like(v, 1) << last_place) - 1
                below = below >> (spread(emax, group) - umax(e, emin))
                aligned = align(v, distance, fraction, bits) & window
                rounded = round_to_rows(aligned, mask & (below ^ -1), v & 0)
                value = encode(rounded, spread(emax, group), fraction, bits) | (v & sign)
            else:
                value = clear(v, (mask << distance) >> pad, fraction, bits)
            broken = where(emax == special, like(emax, 1), 0)
            store(out, i * lanes, where(spread(broken, group) != 0, old, narrow(value, kind)))
        return 0

    return apply
