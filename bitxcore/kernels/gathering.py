"""Groups copied to whole vectors, and back: what the vector kernels can't read where it lies.

A group's members lie `stride` apart in the tensor: 1 for flat grouping, a whole kernel for channels. Those of
neighbouring kernel positions are transposed a tile at a time. A tile takes up to `tile_lanes` lanes of one
part; its groups of the same block are a column. Columns are numbered as they lie in memory, part by part,
block by block, tile by tile.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from bitxcore.jit import kernel
from bitxcore.kernels.vectors import (
    address,
    clear_bytes,
    lane_numbers,
    load,
    load_rows,
    prefetch,
    prefetch_second,
    scratch,
    store,
    store_rows,
    transposed,
    where,
)

WHOLE, ROWS, TILES = "whole", "rows", "tiles"
"""Layouts: groups as the kernels want them; members one behind the other; members apart."""

AHEAD_VALUES = 1024
"""How far ahead memory is asked for."""


@njit(inline="always")
def place(g: Any, length: int, stride: int, blocks: int) -> Any:
    """Where the lane of group `g` begins in the tensor; the numbers of the lane and of the block."""
    # Groups are numbered part by part, lane by lane (kernel positions; one lane if flat), block by block.
    part, k = divmod(g, blocks * stride)
    lane, block = divmod(k, blocks)
    return part * length * stride + lane, lane, block


def tile_lanes(padded: int) -> int:
    """Lanes of a tile: whole registers of 32-bit values where groups are not too large for it."""
    return min(16, max(4, 128 // padded))


@njit(inline="always")
def row_base(number: int, group: int, length: int, blocks: int) -> Any:
    """Return where group `number` of lanes of stride 1 begins in the tensor."""
    lane, block = divmod(number, blocks)
    return lane * length + block * group


@cache
def row_functions(padded: int) -> tuple[Any, Any]:
    """Make the functions that copy `count` groups of lanes of stride 1 to rows of `padded` values, and back.

    `x` and `out` are addresses, `size` the values of the tensor.
    """

    @njit(inline="always")
    def gather(x, size, out, first, count, group, length, blocks):
        number = lane_numbers(out, padded)
        lane, block = divmod(first, blocks)
        row = 0
        while row < count:
            base = lane * length + block * group
            # Whole groups that can be read with what is behind them.
            whole = min(count - row, length // group - block, (size - padded - base) // group + 1)
            for _ in range(whole):
                # Measured: groups of 7 are a third faster this way, those of 17 slower.
                if padded <= 16:
                    prefetch_second(x, base + AHEAD_VALUES)
                else:
                    prefetch(x, base + AHEAD_VALUES)
                store(out, row * padded, where(number < group, load(x, base, padded), 0))
                row, base, block = row + 1, base + group, block + 1
            if row < count and block < blocks:
                # The last of a lane, or of the tensor. Zeros change no row of the group.
                members = min(group, length - block * group)
                for j in range(members):
                    out[row * padded + j] = x[base + j]
                for j in range(members, padded):
                    out[row * padded + j] = 0
                row, block = row + 1, block + 1
            if block == blocks:
                lane, block = lane + 1, 0

    @njit(inline="always")
    def scatter(x, out, first, count, group, length, blocks):
        lane, block = divmod(first, blocks)
        row = 0
        while row < count:
            base = lane * length + block * group
            # What a whole row writes behind its group is written again by the groups that follow. The last
            # ones must not: what is behind them is others', and not read yet.
            ends = min(count - row, length // group - block)
            for _ in range((ends * group - padded) // group + 1):
                store(out, base, load(x, row * padded, padded))
                row, base, block = row + 1, base + group, block + 1
            if row < count and block < blocks:
                for j in range(min(group, length - block * group)):
                    out[base + j] = x[row * padded + j]
                row, block = row + 1, block + 1
            if block == blocks:
                lane, block = lane + 1, 0

    return gather, scatter


@njit(inline="always")
def column_at(number: int, stride: int, blocks: int, tile: int) -> Any:
    """Return the part, the block and the first lane of a column."""
    rest, tile_number = divmod(number, -(-stride // tile))
    part, block = divmod(rest, blocks)
    return part, block, tile_number * tile


@njit(inline="always")
def column_after(part: int, block: int, lane: int, stride: int, blocks: int, tile: int) -> Any:
    """`column_at` of the next one, without the divisions, which would take as long as the copy."""
    if lane + tile < stride:
        return part, block, lane + tile
    if block + 1 < blocks:
        return part, block + 1, lane * 0
    return part + 1, block * 0, lane * 0


@njit(inline="always")
def spread_out(out: Any, x: Any, first: int, count: int, apart: int) -> None:
    """Copy neighbouring elements from an address to places that are `apart`."""
    at = 0
    for k in range(first, first + count):
        out[at] = x[k]
        at += apart


@cache
def tile_functions(bits: int, padded: int) -> tuple[Any, Any]:
    """Make the functions that copy columns to rows of `padded` values, and back; as `row_functions` does.

    A column takes `apart` rows, as many as it has lanes or more: then the others are zeros.
    """
    tile = tile_lanes(padded)
    tile_values = tile * padded
    zero_values = max(tile, padded)
    value_bytes = bits // 8

    @njit(inline="always")
    def gather(x, size, out, first, columns, apart, group, length, stride, blocks):
        zeros = scratch(bits, zero_values)
        store(zeros, 0, lane_numbers(out, zero_values) & 0)
        part, block, lane = column_at(first, stride, blocks, tile)
        for c in range(columns):
            wide = min(tile, stride - lane)
            members = min(group, length - block * group)
            base = (part * length + block * group) * stride + lane
            row = c * apart * padded
            if base + (members - 1) * stride + tile <= size:
                # Whole tiles are stored; the next column takes the place of lanes that this one has not.
                for j in range(group, 2 * group):
                    prefetch(x, base + j * stride)
                rows = load_rows(x, base, stride, members, zeros, padded, tile)
                store(out, row, transposed(rows, padded))
            else:
                for k in range(wide):
                    for j in range(members):
                        out[row + k * padded + j] = x[base + k + j * stride]
                    for j in range(members, padded):
                        out[row + k * padded + j] = 0
            if wide < apart:
                clear_bytes(address(out, row + wide * padded, 8), (apart - wide) * padded * value_bytes)
            part, block, lane = column_after(part, block, lane, stride, blocks, tile)

    @njit(inline="always")
    def scatter(x, out, first, columns, apart, group, length, stride, blocks):
        part, block, lane = column_at(first, stride, blocks, tile)
        for c in range(columns):
            wide = min(tile, stride - lane)
            members = min(group, length - block * group)
            base = (part * length + block * group) * stride + lane
            rows = transposed(load(x, c * apart * padded, tile_values), tile)
            store_rows(out, base, stride, members, wide, rows, tile)
            part, block, lane = column_after(part, block, lane, stride, blocks, tile)

    return gather, scatter


@cache
def gather_kernel(bits: int, padded: int) -> Any:
    """Build the kernel that copies groups ``first..last`` to rows of `padded` values, filled up with zeros.

    The kernel's arguments: codes `x` of `bits` bits and `out`; the groups; the cut, `group`, `length`,
    `stride` and `blocks`.
    """
    rows, _ = row_functions(padded)

    @kernel(variant=(bits, padded))
    def gather(x, out, first, last, group, length, stride, blocks):
        if stride == 1:
            whole_x, target = address(x, 0, bits), address(out, 0, bits)
            rows(whole_x, x.size, target, first, last - first, group, length, blocks)
            return
        for g in range(first, last):
            start, _, block = place(g, length, stride, blocks)
            base, members = start + block * group * stride, min(group, length - block * group)
            row = (g - first) * padded
            for j in range(members):
                out[row + j] = x[base + j * stride]
            for j in range(members, padded):
                out[row + j] = 0

    return gather


@cache
def scatter_kernel(bits: int, padded: int) -> Any:
    """Build the kernel that undoes that of `gather_kernel`; `x` has the rows."""
    _, rows = row_functions(padded)

    @kernel(variant=(bits, padded))
    def scatter(x, out, first, last, group, length, stride, blocks):
        if stride == 1:
            rows(address(x, 0, bits), address(out, 0, bits), first, last - first, group, length, blocks)
            return
        for g in range(first, last):
            start, _, block = place(g, length, stride, blocks)
            base, members = start + block * group * stride, min(group, length - block * group)
            row = (g - first) * padded
            for j in range(members):
                out[base + j * stride] = x[row + j]

    return scatter
