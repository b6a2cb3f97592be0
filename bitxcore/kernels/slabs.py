"""Pruning of channel groups whose members are a kernel apart, by whole slabs.

A slab is what a block of channels has of a filter: it lies in one piece, and has a group for each kernel
position. As many slabs as a register has lanes are put in columns. A vector then has one kernel position of
them all, a register for each channel: no shuffle is needed between weights and what concerns their group,
and the masks of a position go where they belong in one piece.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from bitxcore.groups import GroupGrid
from bitxcore.jit import kernel
from bitxcore.kernels.aligning import magnitude_of, rows_of
from bitxcore.kernels.blocks import (
    LANES,
    SOON_BYTES,
    WIDE_EXPONENTS,
    access,
    aligned_to,
    cleared,
    stays_of,
)
from bitxcore.kernels.floats import FLOAT32
from bitxcore.kernels.rows import keep_energy, keep_rows, keep_threshold
from bitxcore.kernels.vectors import (
    LINE_BYTES,
    across_ones,
    across_or,
    across_umax,
    address,
    any_lane,
    any_of,
    clear_bytes,
    copy_bytes,
    from_columns,
    lanes_of,
    like,
    load,
    load_parts,
    load_planes,
    load_rows,
    place_in_line,
    popcount,
    prefetch_second,
    repeat,
    resize,
    scratch,
    store,
    store_between,
    store_parts,
    store_planes,
    store_rows,
    stream,
    stream_line,
    to_columns,
    total,
    umax,
    where,
)

GROUP = 8
MOST_POSITIONS = 64
"""Kernel positions of the largest slabs: a second-level cache has room for as many slabs as a register has
lanes."""


def takes(grid: GroupGrid) -> bool:
    """Whether groups are those of slabs that the kernel takes."""
    return grid.group == GROUP and grid.length % GROUP == 0 and 1 < grid.stride <= MOST_POSITIONS


@njit(inline="always")
def stream_lines(target: Any, source: Any, first: int, number: int, size: int) -> None:
    """Copy `number` whole cache lines of those that `stream` would, from number `first` on."""
    at = ((LINE_BYTES - place_in_line(target)) & (LINE_BYTES - 1)) + first * LINE_BYTES
    end = min(at + number * LINE_BYTES, size - LINE_BYTES + 1)
    while at < end:
        stream_line(target, source, at)
        at += LINE_BYTES


@njit(inline="always")
def stream_ends(target: Any, source: Any, size: int) -> None:
    """Copy what is not in whole cache lines."""
    head = min((LINE_BYTES - place_in_line(target)) & (LINE_BYTES - 1), size)
    copy_bytes(target, source, head)
    at = head + (size - head) // LINE_BYTES * LINE_BYTES
    copy_bytes(address(target, at, 8), address(source, at, 8), size - at)


@cache
def slab_kernel(kind: int, code_bits: int, mask_bits: int, criterion: str) -> Any:
    """Build the kernel that prunes slabs of floats in groups of `GROUP`.

    Its arguments and results are those of `blocks.prune_kernel`; the first and the last are slabs.
    """
    bits, fraction, not_finite, _ = LANES[kind]
    far, scaled = kind in WIDE_EXPONENTS, kind == FLOAT32
    read, write = access(kind)
    lanes = lanes_of(bits, GROUP)
    step = lanes // GROUP
    value_bytes = code_bits // 8
    low, sign = (1 << (bits - 1)) - 1, -(1 << (bits - 1))
    floor = bits + 1 if far else 0  # groups below have weights that need more care; 0: none
    tiny = (floor << fraction) - 1
    least = 0 if far else 1  # exponent of a subnormal number
    by_rows, by_threshold = criterion == "rows", criterion == "threshold"
    deep = mask_bits > bits  # the window has rows below the lane
    soon, line = SOON_BYTES // value_bytes, LINE_BYTES // value_bytes
    some = lanes // line // 2  # lines of results for each vector, in each of two loops
    values, groups = MOST_POSITIONS * lanes, MOST_POSITIONS * step
    planes = GROUP.bit_length()
    plane_words = planes * groups

    @kernel(variant=(kind, code_bits, mask_bits, criterion))
    def prune(
        x, out, masks, exponents, kept, first, last, rows, refine, window, wanted, reach, shift, width, limit,
        padding, streaming, table, share, members, length, stride, blocks,
    ):  # fmt: skip
        tops = scratch(bits, groups)
        ones = scratch(bits, plane_words)
        chosen = scratch(bits, groups)
        fewer = scratch(bits, groups)
        turned = scratch(bits, values)
        columns = scratch(code_bits, values)
        results = scratch(code_bits, values)
        slab = GROUP * stride
        slab_bytes, end = slab * value_bytes, stride * lanes
        behind = end + soon  # of the next slabs: these are in the second-level cache by then
        # Results go past the caches while the next slabs are worked on: `waiting` bytes that are for `place`.
        held = address(results, 0, 8)
        place, waiting = address(out, 0, 8), 0
        limited = 0
        start = first
        while start < last:
            count = min(step, last - start)
            codes = address(x, start * slab_bytes, code_bits)
            if count < step:
                # Room for the last slabs and zeros, until the first weights are turned.
                tail = address(turned, 0, code_bits)
                copy_bytes(address(tail, 0, 8), address(codes, 0, 8), count * slab_bytes)
                clear_bytes(address(tail, count * slab, 8), (step - count) * slab_bytes)
                codes = tail
            at = 0
            for i in range(stride):
                stream_lines(place, held, i * some, some, waiting)
                v = load_rows(codes, i * GROUP, slab, step, codes, step, GROUP)
                at = store_parts(columns, at, end, to_columns(v, GROUP, 1), GROUP)
            over = False
            for i in range(stride):
                stream_lines(place, held, (stride + i) * some, some, waiting)
                v = read(columns, i * lanes, lanes)
                top = across_umax(v & low, GROUP)
                over |= any_lane(top >= not_finite)
                if far:
                    # A group of zeros is none of the rare ones: top - 1 is then the largest number.
                    over |= any_lane(top - 1 < tiny)
                store(tops, i * step, top)
                emax = umax(top >> fraction, max(floor, 1))
                if scaled:
                    aligned = rows_of(v & low, emax, GROUP, fraction, bits)
                    store(turned, i * lanes, aligned)
                else:
                    aligned = aligned_to(v, repeat(emax, GROUP), bits, fraction, far)
                store_planes(ones, i * planes * step, step, across_ones(aligned, GROUP))
            stream_ends(place, held, waiting)
            if over:
                return start, limited
            # The choice of rows, a lane for each group.
            part, block = divmod(start, blocks)
            short = False
            for i in range(stride):
                for line_at in range(0, lanes, line):
                    prefetch_second(codes, i * lanes + behind + line_at)
                counts = load_planes(address(ones, i * planes * step, bits), planes, step, step)
                if by_rows:
                    mask = keep_rows(counts, window, rows, refine, GROUP)
                elif by_threshold:
                    mask = keep_threshold(counts, window, rows, GROUP, table)
                else:
                    mask, unsure = keep_energy(counts, window, rows, GROUP, share)
                    if unsure:
                        return start, limited
                store(chosen, i * step, mask)
                top = load(tops, i * step, step)
                exponent = top >> fraction
                number = popcount(mask)
                few = popcount(any_of(counts)) < rows + 1 if deep else number < wanted
                # Of the others not even the last bit of a weight can be so far down.
                few = few & (umax(exponent, least) >= reach)
                short |= any_lane(few)
                store(fewer, i * step, where(few, like(mask, 1), 0))
                mask = resize(mask, mask_bits) << -shift if shift < 0 else resize(mask >> shift, mask_bits)
                if not far:
                    exponent = where(top != 0, umax(exponent, 1), 0)
                # Slabs of the same filter have their groups one behind the other.
                told, upto = 0, min(count, blocks - block)
                g = (part * stride + i) * blocks + block
                while told < count:
                    if masks.size > 0:
                        store_between(address(masks, 0, mask_bits), g, mask, told, upto)
                    if exponents.size > 0:
                        store_between(address(exponents, 0, 16), g, exponent, told, upto)
                    if kept.size > 0:
                        store_between(address(kept, 0, 8), g, number, told, upto)
                    told, upto, g = upto, min(count, upto + blocks), g + (stride - 1) * blocks
            if short:
                # Which of these groups have ones below the window? Rare but for groups of zeros.
                found = 0
                for i in range(stride):
                    v = read(columns, i * lanes, lanes)
                    emax = repeat(umax(load(tops, i * step, step) >> fraction, max(floor, 1)), GROUP)
                    stays = stays_of(v, emax, like(v, window), bits, fraction, far, padding)
                    lost = across_or(cleared(v, stays, bits, fraction, False) ^ v, GROUP) != 0
                    found += total(where(lost, load(fewer, i * step, step), 0))
                if deep and found > 0:
                    return start, limited
                limited += found
            if out.size > 0:
                for i in range(stride):
                    v = read(columns, i * lanes, lanes)
                    mask = repeat(load(chosen, i * step, step), GROUP)
                    emax = umax(load(tops, i * step, step) >> fraction, max(floor, 1))
                    if scaled:
                        left = load(turned, i * lanes, lanes) & mask
                        new = magnitude_of(left, emax, GROUP, fraction, bits) | (v & sign)
                    else:
                        stays = stays_of(v, repeat(emax, GROUP), mask, bits, fraction, far, padding)
                        new = cleared(v, stays, bits, fraction, by_rows)
                    write(columns, i * lanes, new)
                target = address(out, start * slab_bytes, code_bits)
                written = results if streaming or count < step else target
                at = 0
                for i in range(stride):
                    v, at = load_parts(columns, at, end, GROUP, lanes)
                    store_rows(written, i * GROUP, slab, step, GROUP, from_columns(v, GROUP), GROUP)
                waiting = 0
                if count < step:
                    copy_bytes(address(target, 0, 8), held, count * slab_bytes)
                elif streaming:
                    place, waiting = address(target, 0, 8), count * slab_bytes
            start += count
        stream(place, held, waiting)
        return last, limited

    return prune
