"""Fixed point and float32: scales are powers of two, so that every product is exact."""

from __future__ import annotations

import numpy as np

from bitxcore.jit import kernel


@kernel
def round_to_codes(x, codes, inverse, top):
    """Write the nearest integers to ``x * inverse``, halves to the even one, within ``±top``."""
    for i in range(x.size):
        value = np.rint(x[i] * inverse)
        codes[i] = np.int32(min(max(value, -top), top))


@kernel
def scale_codes(codes, out, scale):
    """Write ``codes * scale``."""
    for i in range(codes.size):
        out[i] = np.float32(codes[i]) * scale


@kernel
def largest_magnitude(x):
    """Return the code of the largest magnitude of float32 codes; that of a NaN or Inf if there is one."""
    largest = np.uint32(0)
    for i in range(x.size):
        largest = max(largest, x[i] & np.uint32(0x7FFFFFFF))
    return largest
