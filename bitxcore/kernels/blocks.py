"""Pruning in blocks that stay in the first-level cache: the way that almost all groups take.

A block is as many groups as eight registers hold, a lane each. It is worked on in three steps: each
group's largest magnitude and the ones of its rows; the choice of rows, for all groups at once;
the weights. What needs more bits than a lane has, or has no bits to choose from (a NaN, an Inf, a code
outside the format, weights near the smallest normal number), is rare: the kernel stops before such a
block, and `floats` or `integers` takes it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.block_steps import (
    MASK_BYTES,
    GroupBlock,
    Results,
    RowChoice,
    Scratch,
    count_limited,
    keep_block,
    scan_block,
    write_block,
)
from bitxcore.kernels.expressions import expression, least, when
from bitxcore.kernels.gathering import (
    TILES,
    WHOLE,
    each_column,
    row_base,
    row_functions,
    spread_out,
    tile_functions,
    tile_lanes,
)
from bitxcore.kernels.vectors import address, clear_bytes, copy_bytes, scratch, stream


@cache
def prune_kernel(
    kind: int, code_bits: int, group: int, deep: bool, criterion: str, nearest: bool, layout: str
) -> Any:
    """Build the kernel that prunes groups of one size and layout.

    The kernel's arguments, arrays as bytes: codes `x` and `out` (may be the same array; without `out` only
    rows are chosen); `masks` (bit 0 is the window's last row), `exponents` (int16; floats only) and `kept`
    (uint8), one per group, each empty if not wanted; the first group and the one after the last; `rows`;
    `refine` (``topn``, not ``msb``); `window`, its rows as a mask with row 0 on top of the lane, of
    integers with their highest bit; `wanted`, the rows that a group should keep; `reach`, of floats the
    least exponent of a group whose weights can have ones below the lane; `mask_bytes` of a mask, and
    `shift` from a lane's mask to a stored one, left if negative; `width`, the significand bits of integers;
    `limit`, the bits that their magnitudes may have; `padding`, of floats the bits of a lane above the
    hidden one; `streaming`, whether what is written will not be read soon; what the criterion needs, a table
    of bytes and an integer; and of other layouts than `WHOLE` the cut, `members` of a group, `length`,
    `stride` and `blocks`. In `TILES` the first and the last are columns, as `gathering` numbers them.

    It returns the group (or column) before which it stopped, and the number of groups that kept fewer than
    `wanted` rows and have ones below the window. With `deep` windows the lane lacks rows of them.
    """
    block = GroupBlock(kind, code_bits, group, deep, criterion, nearest, layout == WHOLE)
    in_place, tiled, is_float = block.in_place, layout == TILES, block.is_float
    bits, groups, value_bytes = block.lane.bits, block.groups, block.value_bytes
    plane_words, turned_values = block.planes * groups, block.values if block.turns else 1
    block_bytes = block.values * value_bytes
    tile = tile_lanes(group)
    spare_values = block.values + tile * group  # a whole tile is written, of which less may be needed
    gather_rows, scatter_rows = row_functions(group)
    gather_tiles, scatter_tiles = tile_functions(code_bits, group)

    @expression
    def scan(codes, memory, width, limit):
        return scan_block(block, codes, Scratch(*memory), width, limit)

    @expression
    def keep(memory, results, choice):
        return keep_block(block, Scratch(*memory), Results(*results), RowChoice(*choice))

    @expression
    def find_limited(codes, memory, window, padding):
        return count_limited(block, codes, Scratch(*memory), window, padding)

    @expression
    def write(codes, written, memory, window, width, padding):
        write_block(block, codes, written, Scratch(*memory), window, width, padding)

    @expression
    def spread_results(first, columns, apart, stride, blocks, results, arrays):
        own, to = Results(*results), Results(*arrays)
        parts = [(own.wants[0] & (own.mask_bytes == size), own.masks, to.masks, size) for size in MASK_BYTES]
        parts += [(own.wants[1], own.exponents, to.exponents, 2), (own.wants[2], own.kept, to.kept, 1)]

        def column(c: Any, part: Any, number: Any, lane: Any) -> None:
            g, some = (part * stride + lane) * blocks + number, least(tile, stride - lane)
            for wanted, x, out, size in parts:

                def spread(x: Any = x, out: Any = out, size: int = size) -> None:
                    place = address(address(out, g * size, 8), 0, 8 * size)
                    spread_out(place, address(x, 0, 8 * size), c * apart, some, blocks)

                when(wanted, spread)

        each_column(first, columns, stride, blocks, tile, column)

    @kernel(variant=(kind, code_bits, group, deep, criterion, nearest, layout))
    def prune(
        x, out, masks, exponents, kept, first, last, rows, refine, window, wanted, reach, mask_bytes, shift,
        width, limit, padding, streaming, table, extent, members, length, stride, blocks,
    ):  # fmt: skip
        memory = (
            scratch(bits, groups), scratch(bits, plane_words), scratch(bits, groups), scratch(bits, groups),
            scratch(bits, turned_values),
        )  # fmt: skip
        source = scratch(code_bits, spare_values)
        target = scratch(code_bits, spare_values)
        short_masks = address(scratch(64, groups), 0, 8)
        short_exponents = address(scratch(16, groups), 0, 8)
        short_kept = scratch(8, groups)
        wants = masks.size > 0, is_float and exponents.size > 0, kept.size > 0
        arrays = address(masks, 0, 8), address(exponents, 0, 8), address(kept, 0, 8), wants, mask_bytes
        choice = rows, refine, window, wanted, reach, shift, table, extent
        limited = 0
        whole_x, whole_out = address(x, 0, code_bits), address(out, 0, code_bits)
        size = x.size // value_bytes
        start = first
        while start < last:
            # Groups `start` and on, or in tiles columns of them, `apart` groups each.
            apart = min(tile, stride) if tiled else 1
            columns = min(groups // apart, last - start)
            count = apart * columns
            codes = source
            if in_place:
                codes = address(x, start * group * value_bytes, code_bits)
            if count < groups or not in_place:
                if tiled:
                    gather_tiles(
                        whole_x, size, source, start, columns, apart, members, length, stride, blocks
                    )
                elif in_place:
                    at = start * group * value_bytes
                    copy_bytes(address(source, 0, 8), address(x, at, 8), count * group * value_bytes)
                else:
                    gather_rows(whole_x, size, source, start, count, members, length, blocks)
                clear_bytes(address(source, count * group, 8), block_bytes - count * group * value_bytes)
                codes = source
            if scan(codes, memory, width, limit):
                return start, limited
            mask_target = address(masks, start * mask_bytes, 8)
            exponent_target = address(exponents, start * 2, 8)
            kept_target = address(kept, start, 8)
            if count < groups or tiled:
                mask_target, exponent_target, kept_target = short_masks, short_exponents, short_kept
            results = mask_target, exponent_target, kept_target, wants, mask_bytes
            unsure, short, found = keep(memory, results, choice)
            if unsure:
                return start, limited
            if is_float and short:
                found += find_limited(codes, memory, window, padding)
                if deep and found > 0:
                    return start, limited
            limited += found
            if out.size > 0:
                at = address(out, start * group * value_bytes, 8)
                written = target
                if in_place and not streaming and count == groups:
                    written = address(out, start * group * value_bytes, code_bits)
                write(codes, written, memory, window, width, padding)
                if tiled:
                    scatter_tiles(target, whole_out, start, columns, apart, members, length, stride, blocks)
                elif not in_place and streaming:
                    # Rows fill a piece of the tensor: put together first.
                    base = row_base(start, members, length, blocks)
                    filled = row_base(start + count, members, length, blocks) - base
                    together = address(source, -base, code_bits)
                    scatter_rows(target, together, start, count, members, length, blocks)
                    at = address(out, base * value_bytes, 8)
                    stream(at, address(source, 0, 8), filled * value_bytes)
                elif not in_place:
                    scatter_rows(target, whole_out, start, count, members, length, blocks)
                elif count < groups:
                    copy_bytes(at, address(target, 0, 8), count * group * value_bytes)
                elif streaming:
                    stream(at, address(target, 0, 8), block_bytes)
            if tiled:
                spread_results(start, columns, apart, stride, blocks, results, arrays)
            elif count < groups:
                if wants[0]:
                    copy_bytes(address(masks, start * mask_bytes, 8), short_masks, count * mask_bytes)
                if wants[1]:
                    copy_bytes(address(exponents, start * 2, 8), short_exponents, 2 * count)
                if wants[2]:
                    copy_bytes(address(kept, start, 8), short_kept, count)
            start += columns
        return last, limited

    return prune
