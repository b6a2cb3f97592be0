"""Fixed point: scales are powers of two within the range of the floats, so that every product is exact."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba.core import types

from bitxcore.jit import kernel
from bitxcore.kernels.expressions import intrinsic
from bitxcore.kernels.vectors import flushes

SMALLEST_EXPONENT = -1074  # of float64


@intrinsic(prefer_literal=True)
def _widened(typing: Any, x: Any, name: Any) -> Any:
    """Turn what is stored into the float to work with, exactly."""
    dtype = name.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if dtype == "float16":  # the conversion of the machine, which flushes no subnormal number
            return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())
        if dtype == "bfloat16":  # the upper half of a float32
            word = builder.shl(builder.zext(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(word, ir.FloatType())
        return args[0]

    return (types.float32 if x == types.uint16 else x)(x, name), codegen


@intrinsic(prefer_literal=True)
def _narrowed(typing: Any, x: Any, name: Any) -> Any:
    """Undo `_widened`, rounding to the nearest, halves to even; only for finite results."""
    dtype = name.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if dtype == "float16":
            return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))
        if dtype == "bfloat16":
            word = ir.IntType(32)
            bits = builder.bitcast(args[0], word)
            upper = builder.lshr(bits, ir.Constant(word, 16))
            odd = builder.and_(upper, ir.Constant(word, 1))
            rounded = builder.add(builder.add(bits, ir.Constant(word, 0x7FFF)), odd)
            return builder.trunc(builder.lshr(rounded, ir.Constant(word, 16)), ir.IntType(16))
        return args[0]

    return (types.uint16 if "float16" in dtype else x)(x, name), codegen


@cache
def rounding_kernel(name: str) -> Any:
    """Build the kernel that quantises values of the dtype of that name: a float of 16, 32 or 64 bits.

    The kernel's arguments: values `x`, of 16-bit floats their codes; `codes` to write; the `scales`, float64,
    of as many equal parts; and `top`, the largest code.
    """
    wide = np.float64 if name == "float64" else np.float32

    @kernel(variant=name)
    def round_to_codes(x, codes, scales, top):
        step, most = x.size // scales.size, wide(top)
        for part in range(scales.size):
            inverse = wide(1 / scales[part])
            old, new = x[part * step : (part + 1) * step], codes[part * step : (part + 1) * step]
            for i in range(old.size):
                value = np.rint(_widened(old[i], name) * inverse)
                new[i] = np.int32(min(max(value, -most), most))

    return round_to_codes


@cache
def scaling_kernel(name: str) -> Any:
    """Build the kernel that undoes `rounding_kernel`.

    The kernel's arguments: `codes`; values `out` to write; the `scales`; and `top`, the largest value.
    """
    wide = np.float64 if name == "float64" else np.float32

    @kernel(variant=name)
    def scale_codes(codes, out, scales, top):
        step, most = codes.size // scales.size, wide(top)
        for part in range(scales.size):
            scale = wide(scales[part])
            old, new = codes[part * step : (part + 1) * step], out[part * step : (part + 1) * step]
            for i in range(old.size):
                value = wide(old[i]) * scale
                new[i] = _narrowed(min(max(value, -most), most), name)

    return scale_codes


@kernel
def largest_magnitudes(x, largest, magnitude):
    """Write the codes of the largest magnitudes of equal parts of float codes; a NaN is larger than an Inf.

    `magnitude` is the mask of all bits but the sign's.
    """
    step = x.size // largest.size
    for part in range(largest.size):
        most, some = x.dtype.type(0), x[part * step : (part + 1) * step]
        for i in range(some.size):
            most = max(most, x.dtype.type(some[i] & magnitude))
        largest[part] = most


@kernel
def fit_scales(largest, scales, bits, most):
    """Write the smallest powers of two that saturate no code of `bits` bits, and 1 for 0.

    Where the largest magnitude would round to a value beyond `most`, half of them. It returns whether all
    magnitudes are finite.
    """
    for i in range(largest.size):
        value = largest[i]
        if not value <= most:
            return False
        scales[i] = 1.0
        if value > 0:
            mantissa, exponent = math.frexp(value)
            exponent += (mantissa > 1 - 2.0 ** (1 - bits)) - (bits - 1)
            # All of float64 are multiples of its smallest number; a finer scale would be 0.
            exponent = max(exponent, SMALLEST_EXPONENT)
            # Half the scale cuts the largest value to the largest code, whose value is below it.
            rounded = math.ldexp(np.rint(math.ldexp(value, -exponent)), exponent)
            scales[i] = math.ldexp(1.0, exponent - (rounded > most))
    return True


@kernel
def flushes_subnormals(two):
    """Whether this thread flushes subnormal numbers to zero (`two` must be 2)."""
    return flushes(two, 64)
