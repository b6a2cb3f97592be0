"""Elementwise kernels: the fields of a code, and the ones of its significand."""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.vectors import (
    ashr,
    like,
    load,
    popcount,
    store,
    total,
    umax,
    where,
)

FLOAT, UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = range(4)


@cache
def fields_kernel(bits: int, encoding: int) -> Any:
    """Build the kernel that splits whole vectors of codes into sign, exponent and significand.

    The kernel's arguments: codes `x`; `signs` (uint8), `exponents` (int16, the biased field, 1 for
    subnormals and zeros, 0 for integers), `significands` (unsigned, of x's width); the number of
    values, a multiple of the lanes; `fraction` bits; `width` of a two's complement code.
    """
    lanes = 4096 // bits
    sign = -(1 << (bits - 1))

    @kernel
    def fields(x, signs, exponents, significands, values, fraction, width):  # type: ignore[no-untyped-def]
        for i in range(0, values, lanes):
            v = load(x, i, lanes)
            if encoding == FLOAT:
                e = (v & (sign ^ -1)) >> fraction
                m = v & ((like(v, 1) << fraction) - 1)
                store(signs, i, v >> (bits - 1))
                store(exponents, i, umax(e, 1))
                store(significands, i, where(e == 0, m, m | (like(v, 1) << fraction)))
            else:
                store(exponents, i, v & 0)
                if encoding == SIGN_MAGNITUDE:
                    negative = ashr(v, bits - 1)
                    store(signs, i, v >> (bits - 1))
                    store(significands, i, (v ^ negative) - negative)
                else:
                    store(signs, i, v & 0)
                    store(significands, i, v & ((like(v, 1) << width) - 1))

    return fields


@cache
def ones_kernel(bits: int, encoding: int) -> Any:
    """Build the kernel that counts the ones in the significands of whole vectors of codes.

    The kernel's arguments: codes `x`; `ones` (uint8); the number of values, a multiple of the
    lanes; `fraction` bits; `width` of a two's complement code; `keep`, whether to write `ones`.
    It returns the sum of the ones and the number of zeros.
    """
    lanes = 4096 // bits
    sign = -(1 << (bits - 1))

    @kernel
    def count(x, ones, values, fraction, width, keep):  # type: ignore[no-untyped-def]
        n = 0
        zeros = 0
        for i in range(0, values, lanes):
            v = load(x, i, lanes)
            if encoding == FLOAT:
                head = like(v, 1) << fraction
                m = v & (head - 1)
                m = where((v & (sign ^ -1)) < head, m, m | head)
            elif encoding == SIGN_MAGNITUDE:
                negative = ashr(v, bits - 1)
                m = (v ^ negative) - negative
            else:
                m = v & ((like(v, 1) << width) - 1)
            c = popcount(m)
            if keep:
                store(ones, i, c)
            n += total(c)
            zeros += total(where(m == 0, like(v, 1), 0))
        return n, zeros

    return count
