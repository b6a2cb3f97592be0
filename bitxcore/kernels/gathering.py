"""Groups copied to whole vectors, and back: what the vector kernels can't read where it lies.

A group's members lie `stride` apart in the tensor: 1 for flat grouping, a whole kernel for channels. Those of
neighbouring kernel positions are transposed a tile at a time. A tile takes up to `tile_lanes` lanes of one
part; its groups of the same block are a column. Columns are numbered as they lie in memory, part by part,
block by block, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.expressions import branch, choose, expression, least, loop, when
from bitxcore.kernels.vectors import (
    address,
    clear_bytes,
    element,
    lane_numbers,
    load,
    load_rows,
    prefetch,
    prefetch_second,
    put,
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


@expression
def place(g: Any, length: int, stride: int, blocks: int) -> Any:
    """Where the lane of group `g` begins in the tensor; the numbers of the lane and of the block."""
    # Groups are numbered part by part, lane by lane (kernel positions; one lane if flat), block by block.
    part, k = g // (blocks * stride), g % (blocks * stride)
    lane, block = k // blocks, k % blocks
    return part * length * stride + lane, lane, block


def tile_lanes(padded: int) -> int:
    """Lanes of a tile: whole registers of 32-bit values where groups are not too large for it."""
    return min(16, max(4, 128 // padded))


def each_run(
    first: Any, count: Any, group: Any, length: Any, blocks: Any, visit: Callable[[Any, Any, Any, Any], None]
) -> None:
    """Call ``visit(base, row, block, run)`` for each lane, of stride 1, of `count` groups from `first` on.

    `run` groups from number `block` of the lane on begin at `base` in the tensor; `row` came before them.
    """
    lane, block = first // blocks, first % blocks

    def one(i: Any, row: Any) -> Any:
        start = choose(i == 0, block, 0)
        run = least(count - row, blocks - start)
        visit((lane + i) * length + start * group, row, start, run)
        return (row + run,)

    loop((block + count - 1) // blocks + 1, one, 0)


@expression
def row_base(number: Any, group: Any, length: Any, blocks: Any) -> Any:
    """Return where group `number` of lanes of stride 1 begins in the tensor."""
    return number // blocks * length + number % blocks * group


def _fitting(room: Any, padded: int, group: Any) -> Any:
    """Return how many rows of `padded` values fit, one `group` values after the other."""
    return choose(room < padded, 0, (room - padded) // group + 1)


@cache
def row_functions(padded: int) -> tuple[Any, Any]:
    """Make the functions that copy `count` groups of lanes of stride 1 to rows of `padded` values, and back.

    `x` and `out` are addresses, `size` the values of the tensor.
    """

    @expression
    def gather(x, size, out, first, count, group, length, blocks):
        number = lane_numbers(out, padded)

        def run_of_rows(base: Any, row: Any, block: Any, run: Any) -> None:
            # Whole groups that can be read with what is behind them.
            whole = least(run, least(length // group - block, _fitting(size - base, padded, group)))

            def one(i: Any) -> None:
                at = base + i * group
                # Measured: groups of 7 are a third faster this way, those of 17 slower.
                (prefetch_second if padded <= 16 else prefetch)(x, at + AHEAD_VALUES)
                store(out, (row + i) * padded, where(number < group, load(x, at, padded), 0))

            def short(i: Any) -> None:
                # The last of a lane, or of the tensor. Zeros change no row of the group.
                at, to = base + (whole + i) * group, (row + whole + i) * padded
                members = least(group, length - (block + whole + i) * group)
                loop(members, lambda j: put(out, to + j, element(x, at + j)))
                loop(padded - members, lambda j: put(out, to + members + j, 0))

            loop(whole, one)
            loop(run - whole, short)

        each_run(first, count, group, length, blocks, run_of_rows)

    @expression
    def scatter(x, out, first, count, group, length, blocks):
        def run_of_rows(base: Any, row: Any, block: Any, run: Any) -> None:
            # What a whole row writes behind its group is written again by the groups that follow. The last
            # ones must not: what is behind them is others', and not read yet.
            ends = least(run, length // group - block)
            whole = _fitting(ends * group, padded, group)

            def short(i: Any) -> None:
                at, to = (row + whole + i) * padded, base + (whole + i) * group
                members = least(group, length - (block + whole + i) * group)
                loop(members, lambda j: put(out, to + j, element(x, at + j)))

            loop(whole, lambda i: store(out, base + i * group, load(x, (row + i) * padded, padded)))
            loop(run - whole, short)

        each_run(first, count, group, length, blocks, run_of_rows)

    return gather, scatter


@expression
def column_at(number: Any, stride: Any, blocks: Any, tile: int) -> Any:
    """Return the part, the block and the first lane of a column."""
    tiles = (stride + (tile - 1)) // tile
    rest = number // tiles
    return rest // blocks, rest % blocks, number % tiles * tile


@expression
def column_after(part: Any, block: Any, lane: Any, stride: Any, blocks: Any, tile: int) -> Any:
    """`column_at` of the next one, without the divisions, which would take as long as the copy."""
    same_block = lane + tile < stride
    same_part = same_block | (block + 1 < blocks)
    next_block = choose(same_block, block, choose(same_part, block + 1, 0))
    return choose(same_part, part, part + 1), next_block, choose(same_block, lane + tile, 0)


def each_column(
    first: Any, columns: Any, stride: Any, blocks: Any, tile: int, visit: Callable[..., None]
) -> None:
    """Call ``visit(number, part, block, lane)`` for columns from `first` on."""

    def one(c: Any, *place: Any) -> Any:
        visit(c, *place)
        return column_after(*place, stride, blocks, tile)

    loop(columns, one, *column_at(first, stride, blocks, tile))


@expression
def spread_out(out: Any, x: Any, first: Any, count: Any, apart: Any) -> None:
    """Copy neighbouring elements from an address to places that are `apart`."""
    loop(count, lambda k: put(out, k * apart, element(x, first + k)))


@cache
def tile_functions(bits: int, padded: int) -> tuple[Any, Any]:
    """Make the functions that copy columns to rows of `padded` values, and back; as `row_functions` does.

    A column takes `apart` rows, as many as it has lanes or more: then the others are zeros.
    """
    tile = tile_lanes(padded)
    tile_values = tile * padded
    zero_values = max(tile, padded)
    value_bytes = bits // 8

    @expression
    def gather(x, size, out, first, columns, apart, group, length, stride, blocks):
        zeros = scratch(bits, zero_values)
        store(zeros, 0, lane_numbers(out, zero_values) & 0)

        def column(c: Any, part: Any, block: Any, lane: Any) -> None:
            wide = least(tile, stride - lane)
            members = least(group, length - block * group)
            base = (part * length + block * group) * stride + lane
            row = c * apart * padded

            def whole() -> tuple[()]:
                # Whole tiles are stored; the next column takes the place of lanes that this one has not.
                loop(group, lambda j: prefetch(x, base + (group + j) * stride))
                rows = load_rows(x, base, stride, members, zeros, padded, tile)
                store(out, row, transposed(rows, padded))
                return ()

            def at_the_end() -> tuple[()]:
                def one(k: Any) -> None:
                    to = row + k * padded
                    loop(members, lambda j: put(out, to + j, element(x, base + k + j * stride)))
                    loop(padded - members, lambda j: put(out, to + members + j, 0))

                loop(wide, one)
                return ()

            branch(base + (members - 1) * stride + tile <= size, whole, at_the_end)
            free = address(out, row + wide * padded, 8)
            when(wide < apart, lambda: clear_bytes(free, (apart - wide) * (padded * value_bytes)))

        each_column(first, columns, stride, blocks, tile, column)

    @expression
    def scatter(x, out, first, columns, apart, group, length, stride, blocks):
        def column(c: Any, part: Any, block: Any, lane: Any) -> None:
            wide = least(tile, stride - lane)
            members = least(group, length - block * group)
            base = (part * length + block * group) * stride + lane
            rows = transposed(load(x, c * apart * padded, tile_values), tile)
            store_rows(out, base, stride, members, wide, rows, tile)

        each_column(first, columns, stride, blocks, tile, column)

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
