"""Groups copied to whole vectors, and back: what the vector kernels can't read where it lies.

A group's members lie `stride` apart in the tensor: 1 for flat grouping, a whole kernel for channels.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from bitxcore.jit import kernel


@njit(inline="always")
def place(g: Any, group: int, length: int, stride: int, blocks: int) -> Any:
    """Where group `g` begins in the tensor, and how many members it has; they lie `stride` apart."""
    # Groups are numbered filter by filter, lane by lane (kernel positions; one lane if flat), block by block.
    filter_, k = divmod(g, blocks * stride)
    lane, block = divmod(k, blocks)
    return filter_ * length * stride + lane + block * group * stride, min(group, length - block * group)


@kernel
def gather(x, out, first, last, padded, group, length, stride, blocks):
    """Copy groups ``first..last`` to rows of `padded` values, filled up with zeros."""
    for g in range(first, last):
        base, members = place(g, group, length, stride, blocks)
        # row: where the group begins in the vectors. The last group of a lane may lack members.
        row = (g - first) * padded
        for j in range(members):
            out[row + j] = x[base + j * stride]
        # Zeros add no ones and have no exponent: they change no row of the group.
        for j in range(members, padded):
            out[row + j] = 0


@kernel
def scatter(x, out, first, last, padded, group, length, stride, blocks):
    """Undo `gather`."""
    for g in range(first, last):
        base, members = place(g, group, length, stride, blocks)
        row = (g - first) * padded
        for j in range(members):
            out[base + j * stride] = x[row + j]
