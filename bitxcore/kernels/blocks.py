"""Pruning in blocks that stay in the first-level cache: the way that almost all groups take.

A block is as many groups as eight registers hold, a lane each. It is worked on in three steps: each
group's largest magnitude and the ones of its rows; the choice of rows, for all groups at once;
the weights. What needs more bits than a lane has, or has no bits to choose from (a NaN, an Inf, a code
outside the format, weights near the smallest normal number), is rare: the kernel stops before such a
block, and `floats` or `integers` takes it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from numba import njit

from bitxcore.jit import kernel
from bitxcore.kernels.aligning import magnitude_of, rows_of
from bitxcore.kernels.float8 import FRACTIONS, GROUP, float8_functions
from bitxcore.kernels.floats import (
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    FLOAT32,
    FLOAT64,
)
from bitxcore.kernels.gathering import (
    TILES,
    WHOLE,
    column_after,
    column_at,
    row_base,
    row_functions,
    spread_out,
    tile_functions,
    tile_lanes,
)
from bitxcore.kernels.rows import keep_energy, keep_rows, keep_threshold, round_signed, round_to_rows
from bitxcore.kernels.vectors import (
    across_ones,
    across_umax,
    address,
    any_lane,
    any_of,
    as_bits,
    as_float,
    as_int,
    ashr,
    clear_bytes,
    copy_bytes,
    fold_ones,
    fold_or,
    fold_umax,
    from_columns,
    fsub,
    has_byte_tables,
    lanes_of,
    leading_zeros,
    like,
    load,
    load_planes,
    popcount,
    prefetch,
    prefetch_second,
    repeat,
    resize,
    scratch,
    shr,
    spread,
    store,
    store_planes,
    stream,
    subtract_to_zero,
    to_columns,
    total,
    umax,
    umin,
    where,
)

PREFETCH_BYTES = 4096
SOON_BYTES = 1 << 14
"""How far ahead lines are asked for, and how far where they need not come to the first-level cache yet."""
UNSIGNED, SIGN_MAGNITUDE, TWOS_COMPLEMENT = -1, -2, -3
"""Storage kinds of integers; those of floats are `floats`'."""


class Lane(NamedTuple):
    """Lane of a float kind: its bits and the fraction's, the least magnitude that is not finite, and p."""

    bits: int
    fraction: int
    limit: int
    significand: int


LANES = {
    FLOAT64: Lane(64, 52, 0x7FF << 52, 53),
    FLOAT32: Lane(32, 23, 0xFF << 23, 24),
    BFLOAT16: Lane(16, 7, 0xFF << 7, 8),
    FLOAT16: Lane(16, 10, 0x1F << 10, 11),
    # As float16 codes: E5M2 is the upper half of one; E4M3 has an exponent bit less, and one NaN.
    FLOAT8_E5M2: Lane(16, 10, 0x1F << 10, 3),
    FLOAT8_E4M3FN: Lane(16, 10, 0x7F << 7, 4),
}
DEEP = 16
"""Added to a float kind of 16-bit lanes: the codes are on top of 32, which hold the rows of any window."""
LANES |= {
    kind + DEEP: Lane(32, lane.fraction + 16, lane.limit << 16, lane.significand)
    for kind, lane in LANES.items()
    if lane.bits == 16
}
WIDE_EXPONENTS = (FLOAT64, FLOAT32, BFLOAT16, BFLOAT16 + DEEP)
"""Kinds with so many exponents that groups near the smallest normal number are rare."""


BYTES = 32
"""Added to a float8 kind whose weights are worked on in bytes, as `float8` does."""


def takes_bytes(kind: int, group: int, window: int) -> bool:
    """Whether weights can be worked on in bytes: the lane's last row must be below the window."""
    return kind in FRACTIONS and group == GROUP and window < LANES[kind].bits and has_byte_tables()


def lane_bits(kind: int, code_bits: int) -> int:
    """Bits of a lane of these kernels: a weight's in a vector, a group's rows."""
    return code_bits if kind < 0 else LANES[kind % BYTES].bits


@cache
def access(kind: int) -> tuple[Any, Any]:
    """Make the functions that load codes into lanes, and store them."""
    if kind >= DEEP:
        read_half, write_half = access(kind - DEEP)

        @njit(inline="always")
        def read_deep(x, at, lanes):
            return resize(read_half(x, at, lanes), 32) << 16

        @njit(inline="always")
        def write_deep(out, at, v):
            write_half(out, at, resize(v >> 16, 16))

        return read_deep, write_deep

    @njit(inline="always")
    def read(x, at, lanes):
        v = load(x, at, lanes)
        if kind == FLOAT8_E5M2:
            return resize(v, 16) << 8
        if kind == FLOAT8_E4M3FN:
            half = resize(v, 16)
            return ((half & 0x80) << 8) | ((half & 0x7F) << 7)
        return v

    @njit(inline="always")
    def write(out, at, v):
        if kind == FLOAT8_E5M2:
            store(out, at, v >> 8)
        elif kind == FLOAT8_E4M3FN:
            store(out, at, ((v >> 8) & 0x80) | (v >> 7))
        else:
            store(out, at, v)

    return read, write


@njit(inline="always")
def aligned_to(v: Any, emax: Any, bits: int, fraction: int, wide: bool) -> Any:
    """Significands at the top of their lanes, moved down by their distance to the group's exponent.

    With `wide` exponents a zero or subnormal weight counts as one of exponent 0: that is so far
    below a group's exponent, `lane_bits` + 1 at least, that it leaves the lane.
    """
    e = (v & ((1 << (bits - 1)) - 1)) >> fraction
    significand = v << (bits - 1 - fraction)
    top = -(1 << (bits - 1))
    if wide:
        return (significand | top) >> (emax - e)
    return where(e == 0, significand & (top ^ -1), significand | top) >> (emax - umax(e, 1))


@njit(inline="always")
def stays_of(v: Any, emax: Any, mask: Any, bits: int, fraction: int, wide: bool, padding: int) -> Any:
    """Rows of `mask` in the places of a weight's own bits; above the hidden bit anything."""
    e = (v & ((1 << (bits - 1)) - 1)) >> fraction
    if not wide:
        e = umax(e, 1)
    # padding is what the compiler does not know to be `bits - 1 - fraction`: as a constant it would move
    # the shift into the guard of the other one, and machines have an instruction for shift and guard.
    return shr(mask << (emax - e), padding)


@njit(inline="always")
def cleared(v: Any, stays: Any, bits: int, fraction: int, near: bool) -> Any:
    """Clear the bits of the weights that do not stay, and renormalise where the hidden bit goes.

    near: a weight without its hidden bit has kept at most the bit below, as between neighbours that
    have changed places.
    """
    hidden, head = 1 << fraction, -(1 << fraction)
    left = v & (stays | head)
    if bits >= 32 and bits - 1 - fraction >= 8:
        # Sign and exponent alone are the hidden bit's own value. What is subtracted is exact.
        less = as_int(fsub(as_float(left, bits), as_float(v & head, bits)), bits)
    else:
        rest = left & (hidden - 1)
        exponent = v & (head & ((1 << (bits - 1)) - 1))
        if near:
            less = where(rest != 0, umax(subtract_to_zero(exponent, hidden), rest), 0)
        else:
            # down: places from the hidden bit to the highest that is left.
            down = leading_zeros(rest) - (bits - 1 - fraction)
            e = exponent >> fraction
            normal = (exponent - (down << fraction)) + ((rest << down) - hidden)
            less = where(rest != 0, where(e > down, normal, rest << (umax(e, 1) - 1)), 0)
    # x - x is +0: a weight that loses all its bits keeps its sign.
    return where((stays & hidden) != 0, left, less) | (v & -(1 << (bits - 1)))


@njit(inline="always")
def _nearest(
    v: Any, emax: Any, mask: Any, window: int, bits: int, fraction: int, wide: bool, significand: int
) -> Any:
    """Nearest values on the rows of `mask` that are not below a weight's own last place."""
    pad = bits - 1 - fraction
    e = (v & ((1 << (bits - 1)) - 1)) >> fraction
    if not wide:
        e = umax(e, 1)
    # below: rows under the weight's last place, fewer the lower it stands; a code has no bits for them.
    below = like(v, (1 << (bits - significand)) - 1) >> (emax - e)
    rounded = round_to_rows(aligned_to(v, emax, bits, fraction, wide) & window, mask & (below ^ -1), v & 0)
    # down: to where the hidden bit stands, or that of the smallest normal number.
    down = umin(leading_zeros(rounded), emax - 1)
    code = ((emax - down) << fraction) + (((rounded << down) >> pad) - (1 << fraction))
    return where(rounded == 0, 0, code) | (v & -(1 << (bits - 1)))


def block_groups(bits: int, group: int, by_rows: bool) -> int:
    """Return the groups of a block: as many as eight registers hold, fewer where their weights need room.

    Where the choice of rows takes longer than the weights, it fills two registers at least.
    """
    least = lanes_of(bits, group) // group
    return max(lanes_of(bits, 1) * 8 // max(group, 8), least if by_rows else lanes_of(bits, 1) // 4)


@cache
def prune_kernel(
    kind: int, code_bits: int, group: int, mask_bits: int, criterion: str, nearest: bool, layout: str
) -> Any:
    """Build the kernel that prunes groups of one size and layout.

    The kernel's arguments: codes `x` and `out` as bytes (may be the same array; without `out` only rows
    are chosen); `masks` (bit 0 is the window's last row), `exponents` (int16; floats only) and `kept`
    (uint8), one per group, each empty if not wanted; the first group and the one after the last; `rows`;
    `refine` (``topn``, not ``msb``); `window`, its rows as a mask with row 0 on top of the lane, of
    integers with their highest bit; `wanted`, the rows that a group should keep; `reach`, of floats the
    least exponent of a group whose weights can have ones below the window; `shift` from a lane's mask to a
    stored one, left if negative; `width`, the significand bits of integers; `limit`, the bits that their
    magnitudes may have; `padding`, of floats the bits of a lane above the hidden one; `streaming`, whether
    what is written will not be read soon; what the criterion needs, a table of bytes and an integer; and of
    other layouts than `WHOLE` the cut, `members` of a group, `length`, `stride` and `blocks`. In `TILES` the
    first and the last are columns, as `gathering` numbers them.

    It returns the group (or column) before which it stopped, and the number of groups that kept fewer than
    `wanted` rows and have ones below the window.
    """
    variant = kind, code_bits, group, mask_bits, criterion, nearest, layout
    in_bytes = kind >= BYTES
    find = clear = None  # a variable that is not set would keep the kernel out of the cache
    if in_bytes:
        kind -= BYTES
        find, clear = float8_functions(kind)
    is_float, far = kind >= 0, kind in WIDE_EXPONENTS
    lane = LANES[kind] if is_float else Lane(code_bits, 0, 0, 0)
    bits, fraction, not_finite, precision = lane
    storage = code_bits
    read, write = access(kind)
    lanes = lanes_of(bits, group)
    step = lanes // group
    by_rows, by_threshold = criterion == "rows", criterion == "threshold"
    groups = block_groups(bits, group, by_rows)
    half = min(max(groups // 2, 1), 64)  # of which rows are chosen at once
    vectors = groups // step
    values = groups * group
    value_bytes = storage // 8
    has_sign, twos = kind == SIGN_MAGNITUDE, kind == TWOS_COMPLEMENT
    counted = criterion != "rows" or group > 4
    planes = group.bit_length() if counted else 1
    plane_words = planes * groups
    ahead, soon, line = PREFETCH_BYTES // value_bytes, SOON_BYTES // value_bytes, 64 // value_bytes
    # Whether weights are put in columns, where what concerns a group needs no shuffles.
    turns = is_float and not nearest and group == 8 and not in_bytes
    scaled = kind == FLOAT32
    turned_values = groups * group if turns else 1
    word_groups, column_groups = 64 // group, 64  # of a register of codes, and of one of columns
    columns_values = column_groups * group
    # The lines of the next block are asked for step by step, so that memory is always at work.
    later, spacing = (2 * line, 3 * line) if is_float and not turns else (line, 2 * line)
    low = (1 << (bits - 1)) - 1
    # Groups below have weights that need more care; 0: none.
    floor = bits + 1 if far else 0
    tiny = (floor << fraction) - 1
    least = 0 if far else 1  # exponent of a subnormal number
    near = by_rows and group <= 16
    deep = is_float and mask_bits > bits  # the window has rows below the lane
    more = 0 if group <= 4 else 1 if group <= 16 else 2
    block_bytes = values * value_bytes
    in_place, tiled = layout == WHOLE, layout == TILES
    tile = tile_lanes(group)
    spare_values = values + tile * group  # a whole tile is written, of which less may be needed
    gather_rows, scatter_rows = row_functions(group)
    gather_tiles, scatter_tiles = tile_functions(code_bits, group)

    @njit(inline="always")
    def rare(tops):
        found = False
        for i in range(0, groups, half):
            top = load(tops, i, half)
            found |= any_lane(top >= not_finite)
            if far:
                # A group of zeros is none of the rare ones: top - 1 is then the largest number.
                found |= any_lane(top - 1 < tiny)
        return found

    @kernel(variant=variant)
    def prune(
        x, out, masks, exponents, kept, first, last, rows, refine, window, wanted, reach, shift, width, limit,
        padding, streaming, table, share, members, length, stride, blocks,
    ):  # fmt: skip
        tops = scratch(bits, groups)
        ones = scratch(bits, plane_words)
        chosen = scratch(bits, groups)
        fewer = scratch(bits, groups)
        turned = scratch(bits, turned_values)
        source = scratch(storage, spare_values)
        target = scratch(storage, spare_values)
        short_masks = scratch(mask_bits, groups)
        short_exponents = scratch(16, groups)
        short_kept = scratch(8, groups)
        limited = 0
        significand = (1 << width) - 1
        whole_x, whole_out, size = address(x, 0, storage), address(out, 0, storage), x.size // value_bytes
        start = first
        while start < last:
            # Groups `start` and on, or in tiles columns of them, `apart` groups each.
            apart = min(tile, stride) if tiled else 1
            columns = min(groups // apart, last - start)
            count = apart * columns
            codes = source
            if in_place:
                codes = address(x, start * group * value_bytes, storage)
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
            # One lane per weight (v, aligned), and, after a fold, one per group.
            if in_bytes:
                for i in range(0, groups, column_groups):
                    if in_place:
                        for line_at in range(0, columns_values, 2 * line):
                            prefetch(codes, i * group + ahead + line_at)
                    top, counts = find(to_columns(load(codes, i * group, columns_values), group, 1))
                    store(tops, i, top)
                    store_planes(ones, i, groups, counts)
                if rare(tops):
                    return start, limited
            elif turns:
                for i in range(vectors):
                    if in_place:
                        for line_at in range(0, lanes, 2 * line):
                            prefetch_second(codes, i * lanes + soon + line_at)
                    v = to_columns(read(codes, i * lanes, lanes), group, 1)
                    top = across_umax(v & low, group)
                    store(tops, i * step, top)
                    emax = umax(top >> fraction, max(floor, 1))
                    if scaled:
                        aligned = rows_of(v & low, emax, group, fraction, bits)
                        store(turned, i * lanes, aligned)
                    else:
                        aligned = aligned_to(v, repeat(emax, group), bits, fraction, far)
                        store(turned, i * lanes, v)
                    store_planes(ones, i * step, groups, across_ones(aligned, group))
                if rare(tops):
                    return start, limited
            elif is_float:
                for i in range(vectors):
                    if in_place:
                        for line_at in range(0, lanes, 3 * line):
                            prefetch(codes, i * lanes + ahead + line_at)
                    store(tops, i * step, fold_umax(read(codes, i * lanes, lanes) & low, group))
                if rare(tops):
                    return start, limited
                for i in range(vectors):
                    if in_place:
                        for line_at in range(line, lanes, 3 * line):
                            prefetch(codes, i * lanes + ahead + line_at)
                    emax = umax(load(tops, i * step, step) >> fraction, max(floor, 1))
                    v = read(codes, i * lanes, lanes)
                    aligned = aligned_to(v, spread(emax, group), bits, fraction, far)
                    if counted:
                        store_planes(ones, i * step, groups, fold_ones(aligned, group))
                    else:
                        store_planes(ones, i * step, groups, (fold_or(aligned, group),))
            else:
                largest = load(codes, 0, lanes) & 0
                for i in range(vectors):
                    if in_place:
                        for line_at in range(0, lanes, 2 * line):
                            prefetch(codes, i * lanes + ahead + line_at)
                    v = load(codes, i * lanes, lanes)
                    if has_sign:
                        negative = ashr(v, bits - 1)
                        aligned = (v ^ negative) - negative
                        largest = largest | aligned
                    elif twos:
                        largest = largest | (v ^ ashr(v, bits - 1))
                        aligned = v & significand
                    else:
                        aligned = v
                    if counted:
                        store_planes(ones, i * step, groups, fold_ones(aligned, group))
                    else:
                        store_planes(ones, i * step, groups, (fold_or(aligned, group),))
                if any_lane((largest >> limit) != 0):
                    return start, limited
            # The choice: one lane per group, a bit per row.
            short = False
            below = 0  # groups with ones below the window that kept too few rows
            mask_target = address(masks, start, mask_bits)
            exponent_target = address(exponents, start, 16)
            kept_target = address(kept, start, 8)
            if count < groups or tiled:
                mask_target, exponent_target, kept_target = short_masks, short_exponents, short_kept
            for i in range(0, groups, half):
                counts = load_planes(address(ones, i, bits), planes, half, groups)
                if by_rows:
                    mask = keep_rows(counts, window, rows, refine, group)
                elif by_threshold:
                    mask = keep_threshold(counts, window, rows, group, table)
                else:
                    mask, unsure = keep_energy(counts, window, rows, group, share)
                    if unsure:
                        return start, limited
                number = popcount(mask)
                if in_bytes:
                    few = (number < wanted) & ((any_of(counts) & (window ^ -1)) != 0)
                    below += total(popcount(as_bits(few, half)))
                else:
                    few = popcount(any_of(counts)) < rows + more if deep else number < wanted
                    if is_float:
                        # Of the others not even the last bit of a weight can be so far down.
                        few = few & (umax(load(tops, i, half) >> fraction, least) >= reach)
                    if any_lane(few):
                        short = True
                    store(fewer, i, where(few, like(mask, 1), 0))
                store(chosen, i, mask)
                if masks.size > 0:
                    if shift < 0:
                        store(mask_target, i, resize(mask, mask_bits) << -shift)
                    else:
                        store(mask_target, i, resize(mask >> shift, mask_bits))
                if kept.size > 0:
                    store(kept_target, i, number)
                if is_float and exponents.size > 0:
                    top = load(tops, i, half)
                    if far:
                        store(exponent_target, i, top >> fraction)
                    else:
                        store(exponent_target, i, where(top != 0, umax(top >> fraction, 1), 0))
                if in_bytes:
                    store(tops, i, umax(load(tops, i, half) >> fraction, 1))
            limited += below
            if is_float and not in_bytes and short:
                # Which of these groups have ones below the window? Rare but for groups of zeros.
                found = 0
                for i in range(vectors):
                    some = load(fewer, i * step, step)
                    if any_lane(some != 0):
                        v = read(codes, i * lanes, lanes)
                        emax = spread(umax(load(tops, i * step, step) >> fraction, max(floor, 1)), group)
                        stays = stays_of(v, emax, like(v, window), bits, fraction, far, padding)
                        whole = cleared(v, stays, bits, fraction, False)
                        found += total(where(fold_or(whole ^ v, group) != 0, some, 0))
                if deep and found > 0:
                    return start, limited
                limited += found
            # The weights.
            if out.size > 0:
                at = address(out, start * group * value_bytes, 8)
                written = target
                if in_place and not streaming and count == groups:
                    written = address(out, start * group * value_bytes, storage)
                if in_bytes:
                    for i in range(0, groups, word_groups):
                        if in_place and i % (2 * word_groups) == 0:
                            prefetch(codes, i * group + ahead + line)
                        emax = resize(load(tops, i, word_groups), 64)
                        kept_rows = resize(load(chosen, i, word_groups), 64) << emax
                        store(written, i * group, clear(load(codes, i * group, 64), kept_rows))
                for i in range(0 if in_bytes else vectors):
                    if in_place:
                        for line_at in range(later, lanes, spacing):
                            if turns:
                                prefetch_second(codes, i * lanes + soon + line_at)
                            else:
                                prefetch(codes, i * lanes + ahead + line_at)
                    v = read(codes, i * lanes, lanes)
                    if turns:
                        mask = load(chosen, i * step, step)
                        emax = umax(load(tops, i * step, step) >> fraction, max(floor, 1))
                        x_turned = load(turned, i * lanes, lanes)
                        if scaled:
                            left = magnitude_of(x_turned & repeat(mask, group), emax, group, fraction, bits)
                            new = from_columns(left, group) | (v & -(1 << (bits - 1)))
                        else:
                            mask, emax = repeat(mask, group), repeat(emax, group)
                            stays = stays_of(x_turned, emax, mask, bits, fraction, far, padding)
                            new = from_columns(cleared(x_turned, stays, bits, fraction, near), group)
                        write(written, i * lanes, new)
                    elif is_float:
                        mask = spread(load(chosen, i * step, step), group)
                        emax = spread(umax(load(tops, i * step, step) >> fraction, max(floor, 1)), group)
                        if nearest:
                            new = _nearest(v, emax, mask, window, bits, fraction, far, precision)
                        else:
                            stays = stays_of(v, emax, mask, bits, fraction, far, padding)
                            new = cleared(v, stays, bits, fraction, near)
                        write(written, i * lanes, new)
                    else:
                        mask = spread(load(chosen, i * step, step), group)
                        if has_sign:
                            negative = ashr(v, bits - 1)
                            magnitude = (v ^ negative) - negative
                            left = (
                                round_to_rows(magnitude & window, mask, v & 0)
                                if nearest
                                else magnitude & mask
                            )
                            new = (left ^ negative) - negative
                        elif twos and nearest:
                            # Up to the top of the lane and down again, which repeats the sign.
                            above = bits - width
                            new = ashr(round_signed((v & window) << above, mask << above, bits), above)
                        elif twos:
                            sign = like(v, 1) << (width - 1)
                            new = (((v & significand) & mask) ^ sign) - sign
                        else:
                            new = round_to_rows(v & window, mask, v & 0) if nearest else v & mask
                        store(written, i * lanes, new)
                if tiled:
                    scatter_tiles(target, whole_out, start, columns, apart, members, length, stride, blocks)
                elif not in_place and streaming:
                    # Rows fill a piece of the tensor: put together first.
                    base = row_base(start, members, length, blocks)
                    filled = row_base(start + count, members, length, blocks) - base
                    together = address(source, -base, storage)
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
                part, block, lane = column_at(start, stride, blocks, tile)
                for c in range(columns):
                    g, slot = (part * stride + lane) * blocks + block, c * apart
                    found = min(tile, stride - lane)
                    if masks.size > 0:
                        spread_out(address(masks, g, mask_bits), short_masks, slot, found, blocks)
                    if kept.size > 0:
                        spread_out(address(kept, g, 8), short_kept, slot, found, blocks)
                    if is_float and exponents.size > 0:
                        spread_out(address(exponents, g, 16), short_exponents, slot, found, blocks)
                    part, block, lane = column_after(part, block, lane, stride, blocks, tile)
            elif count < groups:
                if masks.size > 0:
                    copy_bytes(address(masks, start, 8), address(short_masks, 0, 8), count * mask_bits // 8)
                if kept.size > 0:
                    copy_bytes(address(kept, start, 8), address(short_kept, 0, 8), count)
                if is_float and exponents.size > 0:
                    copy_bytes(address(exponents, start, 8), address(short_exponents, 0, 8), 2 * count)
            start += columns
        return last, limited

    return prune
