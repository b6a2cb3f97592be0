"""Elementwise kernels: the fields of a code, and the ones of its significand."""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.expressions import expression
from bitxcore.kernels.vectors import (
    ashr,
    fold_umax,
    like,
    load,
    popcount,
    resize,
    splat,
    store,
    total,
    umax,
    where,
)

FLOAT, UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = range(4)
VECTOR_BITS = 4096


@expression
def magnitude(v: Any, encoding: int, bits: int) -> Any:
    """Orders codes by size, so that one comparison tells those outside the format."""
    if encoding == UNSIGNED:
        return v
    # Floats of one sign are ordered as their codes; NaN and Inf come after the largest finite one.
    if encoding == FLOAT:
        return v & ((1 << (bits - 1)) - 1)
    # negative: all ones for a negative code, else 0.
    negative = ashr(v, bits - 1)
    if encoding == TWOS_COMPLEMENT:
        return v ^ negative
    return (v ^ negative) - negative


@expression
def significand(v: Any, size: Any, encoding: int, p: int) -> Any:
    """Significands of codes `v` with magnitudes `size`."""
    if encoding == FLOAT:
        # Below 1 << (p - 1) the exponent is 0: zeros and subnormals have no hidden bit.
        hidden = like(v, 1) << (p - 1)
        fraction = v & (hidden - 1)
        return where(size < hidden, fraction, fraction | hidden)
    if encoding == TWOS_COMPLEMENT:
        return v & ((like(v, 1) << p) - 1)
    return size


@cache
def fields_kernel(bits: int, encoding: int) -> Any:
    """Build the kernel that splits whole vectors of codes into sign, exponent and significand.

    The kernel's arguments: codes `x`; `signs` (uint8), `exponents` (int16, the biased field, 1 for
    subnormals and zeros, 0 for integers), `significands` (unsigned, of x's width); the number of
    values, a multiple of the lanes; `p`, the significand bits. It returns the largest magnitude.
    """
    lanes = VECTOR_BITS // bits
    signed = int(encoding in (FLOAT, SIGN_MAGNITUDE))

    @kernel(variant=(bits, encoding))
    def fields(x, signs, exponents, significands, values, p):
        most = splat(0, bits, lanes)
        for i in range(0, values, lanes):
            v = load(x, i, lanes)
            size = magnitude(v, encoding, bits)
            # Checked once at the end: the largest magnitude of all tells whether any code was outside.
            most = umax(most, size)
            sign = v >> (bits - 1)
            if encoding == FLOAT:
                store(exponents, i, resize(umax(size >> (p - 1), 1), 16))
            else:
                store(exponents, i, splat(0, 16, lanes))
            store(signs, i, where(like(v, signed) != 0, sign, 0))
            store(significands, i, significand(v, size, encoding, p))
        return total(fold_umax(most, lanes))

    return fields


@cache
def ones_kernel(bits: int, encoding: int) -> Any:
    """Build the kernel that counts the ones in the significands of whole vectors of codes.

    The kernel's arguments: codes `x`; `ones` (uint8) to write; the number of values, a multiple of
    the lanes; `p`, the significand bits. It returns the largest magnitude.
    """
    lanes = VECTOR_BITS // bits

    @kernel(variant=(bits, encoding))
    def count(x, ones, values, p):
        most = splat(0, bits, lanes)
        for i in range(0, values, lanes):
            v = load(x, i, lanes)
            size = magnitude(v, encoding, bits)
            most = umax(most, size)
            store(ones, i, popcount(significand(v, size, encoding, p)))
        return total(fold_umax(most, lanes))

    return count
