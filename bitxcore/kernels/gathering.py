"""Groups copied to whole vectors, and back: what the vector kernels can't read where it lies.

A group's members lie `stride` apart in the tensor: 1 for flat grouping, a whole kernel for channels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from bitxcore.jit import kernel
from bitxcore.kernels.vectors import load, store, where


@njit(inline="always")
def place(g: Any, length: int, stride: int, blocks: int) -> Any:
    """Where the lane of group `g` begins in the tensor; the numbers of the lane and of the block."""
    # Groups are numbered part by part, lane by lane (kernel positions; one lane if flat), block by block.
    part, k = divmod(g, blocks * stride)
    lane, block = divmod(k, blocks)
    return part * length * stride + lane, lane, block


@njit(inline="always")
def advance(start: Any, lane: Any, block: Any, length: int, stride: int, blocks: int) -> Any:
    """`place` of the next group, without the divisions, which would take as long as the copy."""
    if block + 1 < blocks:
        return start, lane, block + 1
    if lane + 1 < stride:
        return start + 1, lane + 1, block * 0
    return start + 1 + (length - 1) * stride, lane * 0, block * 0


@cache
def gather_kernel(padded: int) -> Any:
    """Build the kernel that copies groups ``first..last`` to rows of `padded` values, filled up with zeros.

    The kernel's arguments: codes `x` and `out`; `lanes`, the numbers below `padded` in their dtype; the
    groups; and the cut, `group`, `length`, `stride` and `blocks`.
    """

    @kernel(variant=(padded,))
    def gather(x, out, lanes, first, last, group, length, stride, blocks):
        start, lane, block = place(first, length, stride, blocks)
        number = load(lanes, 0, padded)
        for g in range(first, last):
            # row: where the group begins in the vectors. The last group of a lane may lack members.
            base, members = start + block * group * stride, min(group, length - block * group)
            row = (g - first) * padded
            # Zeros add no ones and have no exponent: they change no row of the group.
            if stride == 1 and base + padded <= x.size:
                store(out, row, where(number < members, load(x, base, padded), 0))
            else:
                for j in range(members):
                    out[row + j] = x[base + j * stride]
                for j in range(members, padded):
                    out[row + j] = 0
            start, lane, block = advance(start, lane, block, length, stride, blocks)

    return gather


@cache
def scatter_kernel(padded: int) -> Any:
    """Build the kernel that undoes that of `gather_kernel`; `x` has the rows."""

    @kernel(variant=(padded,))
    def scatter(x, out, first, last, group, length, stride, blocks):
        start, lane, block = place(first, length, stride, blocks)
        # Where the groups end, if they lie one behind the other: the next ones may be another thread's.
        end, _, after = place(last, length, stride, blocks)
        end += after * group * stride
        for g in range(first, last):
            base, members = start + block * group * stride, min(group, length - block * group)
            row = (g - first) * padded
            # What a whole row writes behind its group is written again by the groups that follow.
            if stride == 1 and base + padded <= end:
                store(out, base, load(x, row, padded))
            else:
                for j in range(members):
                    out[base + j * stride] = x[row + j]
            start, lane, block = advance(start, lane, block, length, stride, blocks)

    return scatter
