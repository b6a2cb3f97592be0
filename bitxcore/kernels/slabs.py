"""Pruning of groups whose members are put in columns: one vector has the same member of many groups.

A slab lies in one piece and is cut into groups: one of neighbours, or what a block of channels has of a
filter, a group for each kernel position. The members of as many slabs as a register has lanes are transposed,
eight at a time. No shuffle is needed then between weights and what concerns their group, a group may be of
any size, and the masks of a position go where they belong in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from bitxcore.groups import GroupGrid
from bitxcore.jit import kernel
from bitxcore.kernels.aligning import magnitude_of, rows_of
from bitxcore.kernels.block_steps import SOON_BYTES, Results, RowChoice, Scratch, Weights, keep
from bitxcore.kernels.expressions import expression, least, loop
from bitxcore.kernels.floats import FLOAT32
from bitxcore.kernels.gathering import each_run
from bitxcore.kernels.lanes import (
    aligned_to,
    cleared,
    exponent_of,
    integer_on_rows,
    integer_rows,
    is_rare,
    nearest_of,
    read,
    stays_of,
    stored_exponent,
    write,
)
from bitxcore.kernels.vectors import (
    LINE_BYTES,
    across_ones,
    across_or,
    across_umax,
    add_planes,
    address,
    any_lane,
    as_bits,
    clear_bytes,
    copy_bytes,
    from_columns,
    like,
    load,
    load_parts,
    load_planes,
    load_rows,
    popcount,
    prefetch_second,
    register_bits,
    repeat,
    scratch,
    splat,
    store,
    store_between,
    store_parts,
    store_planes,
    store_rows,
    stream,
    stream_ends,
    stream_lines,
    to_columns,
    total,
    umax,
    where,
)

CHUNK = 8
"""Columns that are transposed together."""
MOST_COLUMNS = 512
"""Columns of the largest slabs: a second-level cache has room for as many slabs as a register has lanes."""
FLAT_PARTS = 4
"""Registers' worth of groups of neighbours that are worked on together."""


def takes(grid: GroupGrid) -> bool:
    """Whether the kernel takes groups."""
    columns = grid.group * grid.stride
    if grid.stride == 1:
        return CHUNK < grid.group <= grid.length
    return CHUNK <= columns <= MOST_COLUMNS and grid.group > 4 and grid.length % grid.group == 0


@dataclass(frozen=True)
class Slabs(Weights):
    """Slabs that are worked on together, and how.

    Parameters
    ----------
    flat : bool
        Whether slabs are single groups; the kernel is told their members.
    """

    flat: bool

    @property
    def scaled(self) -> bool:
        """Whether weights come to their rows by a multiplication."""
        return self.kind == FLOAT32 and not self.nearest

    @property
    def step(self) -> int:
        """Slabs whose columns fill a register."""
        return register_bits() // self.lane.bits

    @property
    def planes(self) -> int:
        """Digits of a row's ones."""
        return self.group.bit_length()

    @property
    def columns(self) -> int:
        """Most columns that there are room for."""
        return FLAT_PARTS * self.group if self.flat else MOST_COLUMNS

    @property
    def parts(self) -> int:
        """Most groups of a slab, or registers' worth of them."""
        return FLAT_PARTS if self.flat else MOST_COLUMNS // 5

    def each_member(self, members: Any, part: Any, visit: Any, *state: Any) -> tuple[Any, ...]:
        """Call ``visit(at, number, *state)`` for all columns of a part, eight or one at a time."""
        first, whole = part * members, members // CHUNK
        state = loop(whole, lambda i, *now: visit((first + i * CHUNK) * self.step, CHUNK, *now), *state)
        first = first + whole * CHUNK
        return loop(members - whole * CHUNK, lambda i, *now: visit((first + i) * self.step, 1, *now), *state)


def _turn(s: Slabs, codes: Any, m: Scratch, members: Any, parts: Any, visit: Any) -> None:
    """Put codes in columns; `visit` is called before every chunk with its number."""
    width = members if s.flat else members * parts
    chunks = (width + (CHUNK - 1)) // CHUNK

    def load_chunk(base: Any, c: Any) -> Any:
        v = load_rows(codes, base + c, width, s.step, codes, s.step, CHUNK)
        return to_columns(v, CHUNK, 1)

    if s.flat:

        def part(p: Any) -> None:
            def chunk(i: Any) -> None:
                visit(p * chunks + i)
                c = least(i * CHUNK, width - CHUNK)
                store(m.columns, (p * members + c) * s.step, load_chunk(p * (s.step * members), c))

            loop(chunks, chunk)

        loop(parts, part)
    else:

        def strided(i: Any) -> None:
            visit(i)
            c = least(i * CHUNK, width - CHUNK)
            apart = members * s.step
            at = (c % parts) * apart + (c // parts) * s.step
            store_parts(m.columns, at, apart, parts * apart, load_chunk(0, c), CHUNK)

        loop(chunks, strided)


def _turn_back(s: Slabs, m: Scratch, written: Any, members: Any, parts: Any) -> None:
    """Undo `_turn`."""
    width = members if s.flat else members * parts
    chunks = (width + (CHUNK - 1)) // CHUNK

    def store_chunk(base: Any, c: Any, v: Any) -> None:
        store_rows(written, base + c, width, s.step, CHUNK, from_columns(v, CHUNK), CHUNK)

    if s.flat:

        def part(p: Any) -> None:
            def chunk(i: Any) -> None:
                c = least(i * CHUNK, width - CHUNK)
                v = load(m.columns, (p * members + c) * s.step, CHUNK * s.step)
                store_chunk(p * (s.step * members), c, v)

            loop(chunks, chunk)

        loop(parts, part)
    else:

        def strided(i: Any) -> None:
            c = least(i * CHUNK, width - CHUNK)
            apart = members * s.step
            at = (c % parts) * apart + (c // parts) * s.step
            store_chunk(0, c, load_parts(m.columns, at, apart, parts * apart, CHUNK, s.step))

        loop(chunks, strided)


def _scan(
    s: Slabs, m: Scratch, members: Any, parts: Any, width: Any, limit: Any, visit: Callable[[Any], None]
) -> Any:
    """Find the largest magnitude of each group and the ones of its rows; return whether one needs care."""
    lane = s.lane
    zero = splat(0, lane.bits, s.step)

    def part(p: Any, over: Any) -> Any:
        visit(p)

        def size(at: Any, number: int, top: Any) -> Any:
            return (umax(top, across_umax(read(s.kind, m.columns, at, number * s.step) & lane.low, number)),)

        def float_rows(at: Any, number: int, *planes: Any) -> Any:
            v = read(s.kind, m.columns, at, number * s.step)
            if s.scaled:
                rows = rows_of(v & lane.low, emax, number, lane.fraction, lane.bits)
                store(m.turned, at, rows)
            else:
                rows = aligned_to(v, repeat(emax, number), lane)
            return add_planes(planes, across_ones(rows, number))

        def code_rows(at: Any, number: int, largest: Any, *planes: Any) -> Any:
            rows, size = integer_rows(load(m.columns, at, number * s.step), s.kind, width, lane)
            return across_or(size, number) | largest, *add_planes(planes, across_ones(rows, number))

        planes = (zero,) * s.planes
        if s.is_float:
            (top,) = s.each_member(members, p, size, zero)
            store(m.tops, p * s.step, top)
            emax = exponent_of(top, lane)
            planes = s.each_member(members, p, float_rows, *planes)
            over = over | is_rare(top, lane)
        else:
            largest, *planes = s.each_member(members, p, code_rows, zero, *planes)
            over = over | any_lane((largest >> limit) != 0)
        store_planes(m.ones, p * (s.planes * s.step), s.step, tuple(planes))
        return (over,)

    (over,) = loop(parts, part, False)
    return over


def _keep(s: Slabs, m: Scratch, to: Results, c: RowChoice, place: tuple[Any, ...], visit: Any) -> Any:
    """Choose rows as `block_steps.keep_block` does; `place` tells where the slabs are."""
    lane = s.lane
    start, count, parts, blocks = place

    def part(p: Any, unsure: Any, short: Any, below: Any) -> Any:
        visit(p)
        ones = address(m.ones, p * (s.planes * s.step), lane.bits)
        planes = load_planes(ones, s.planes, s.step, s.step)
        top = load(m.tops, p * s.step, s.step) if s.is_float else None
        found = keep(s, planes, top, c)
        store(m.chosen, p * s.step, found.mask)
        store(m.fewer, p * s.step, where(found.few, like(found.mask, 1), 0))
        if s.is_float:
            below = below + total(popcount(as_bits(found.limited, s.step)))
        exponent = stored_exponent(top, lane) if s.is_float else None

        def put(g: Any, first: Any, last: Any) -> None:
            to.put(g, found, exponent, c.shift, lambda place, x: store_between(place, 0, x, first, last))

        if s.flat:
            put(start + p * s.step, 0, least(s.step, count - p * s.step))
        else:
            # Slabs of the same filter have their groups one behind the other.
            filter_, block = start // blocks, start % blocks

            def one_filter(_: Any, g: Any, told: Any, upto: Any) -> Any:
                put(g, told, upto)
                return g + (parts - 1) * blocks, upto, least(count, upto + blocks)

            first = (filter_ * parts + p) * blocks + block
            filters = (block + count - 1) // blocks + 1
            loop(filters, one_filter, first, 0, least(count, blocks - block))
        return unsure | found.unsure, short | any_lane(found.few), below

    return loop(parts, part, False, False, 0)


def _count_limited(s: Slabs, m: Scratch, members: Any, parts: Any, window: Any, padding: Any) -> Any:
    """Count the groups of `fewer` that have ones below the window: few but for groups of zeros."""
    lane = s.lane

    def part(p: Any, found: Any) -> Any:
        emax = exponent_of(load(m.tops, p * s.step, s.step), lane)

        def lost(at: Any, number: int, some: Any) -> Any:
            v = read(s.kind, m.columns, at, number * s.step)
            stays = stays_of(v, repeat(emax, number), like(v, window), padding, lane)
            return (some | across_or(cleared(v, stays, False, lane) ^ v, number),)

        (some,) = s.each_member(members, p, lost, emax & 0)
        return (found + total(where(some != 0, load(m.fewer, p * s.step, s.step), 0)),)

    (found,) = loop(parts, part, 0)
    return found


def _clear(s: Slabs, m: Scratch, members: Any, parts: Any, window: Any, width: Any, padding: Any) -> None:
    """Leave of the weights what is kept of them."""
    lane, near = s.lane, s.criterion == "rows" and s.group <= 16

    def part(p: Any) -> None:
        kept_rows = load(m.chosen, p * s.step, s.step)
        emax = exponent_of(load(m.tops, p * s.step, s.step), lane) if s.is_float else kept_rows

        def clear(at: Any, number: int) -> None:
            v, mask = read(s.kind, m.columns, at, number * s.step), repeat(kept_rows, number)
            if not s.is_float:
                new = integer_on_rows(v, mask, window, width, s.nearest, s.kind, lane)
            elif s.scaled:
                left = load(m.turned, at, number * s.step) & mask
                new = magnitude_of(left, emax, number, lane.fraction, lane.bits) | (v & lane.sign)
            elif s.nearest:
                new = nearest_of(v, repeat(emax, number), mask, window, lane)
            else:
                stays = stays_of(v, repeat(emax, number), mask, padding, lane)
                new = cleared(v, stays, near, lane)
            write(s.kind, m.columns, at, new)

        s.each_member(members, p, clear)

    loop(parts, part)


def _pieces(start: Any, count: Any, slab: Any, length: Any, blocks: Any, visit: Callable[..., None]) -> None:
    """Call ``visit(place, at, number, room)`` for slabs that lie in one piece.

    So many values from `place` on in the tensor are of `room` values of slabs, those from number `at` on; a
    lane's last group may be short.
    """

    def piece(base: Any, row: Any, block: Any, run: Any) -> None:
        number = least((block + run) * slab, length) - block * slab
        visit(base, row * slab, number, run * slab)

    each_run(start, count, slab, length, blocks, piece)


@cache
def slab_kernel(
    kind: int, code_bits: int, group: int, deep: bool, criterion: str, nearest: bool, flat: bool
) -> Any:
    """Build the kernel that prunes slabs.

    Its arguments and results are those of `blocks.prune_kernel`; the first and the last are slabs.
    """
    slabs = Slabs(kind, code_bits, group, deep, criterion, nearest, flat)
    bits, step, value_bytes, deep, is_float = (
        slabs.lane.bits,
        slabs.step,
        slabs.value_bytes,
        slabs.deep,
        kind >= 0,
    )
    values, groups = slabs.columns * step, slabs.parts * step
    turned_values = values if slabs.scaled else 1
    plane_words = slabs.planes * groups
    soon, line = SOON_BYTES // value_bytes, LINE_BYTES // value_bytes
    chunk_lines = CHUNK * step // line  # of results for every chunk that is read

    @expression
    def scan(codes, memory, members, parts, width, limit, place, held, waiting):
        m = Scratch(*memory)
        chunks = ((members if flat else members * parts) + (CHUNK - 1)) // CHUNK * (parts if flat else 1)
        # Results go past the caches while the next slabs are worked on: half of the lines here, half there.
        early = chunk_lines // 2
        late = chunks * (chunk_lines - early) // parts + 1
        _turn(slabs, codes, m, members, parts, lambda i: stream_lines(place, held, i * early, early, waiting))
        behind = chunks * early
        rare = _scan(
            slabs, m, members, parts, width, limit,
            lambda p: stream_lines(place, held, behind + p * late, late, waiting),
        )  # fmt: skip
        # The last slabs may be fewer than those before, whose results are longer then.
        stream_lines(place, held, behind + parts * late, waiting, waiting)
        stream_ends(place, held, waiting)
        return rare

    @expression
    def keep_slabs(codes, memory, results, choice, start, count, members, parts, blocks):
        part = members * step
        behind = part * parts + soon  # of the next slabs: in the second-level cache by then

        def ask(p: Any) -> None:
            loop((part + line - 1) // line, lambda i: prefetch_second(codes, behind + p * part + i * line))

        place = start, count, parts, blocks
        return _keep(slabs, Scratch(*memory), Results(*results), RowChoice(*choice), place, ask)

    @expression
    def find_limited(memory, members, parts, window, padding):
        return _count_limited(slabs, Scratch(*memory), members, parts, window, padding)

    @expression
    def write_slabs(memory, written, members, parts, window, width, padding):
        _clear(slabs, Scratch(*memory), members, parts, window, width, padding)
        _turn_back(slabs, Scratch(*memory), written, members, parts)

    @expression
    def spread_slabs(x, to, start, count, slab, length, blocks, most):
        room = address(to, 0, 8)

        def copy(place: Any, at: Any, number: Any, whole: Any) -> None:
            source = address(x, place * value_bytes, 8)
            target = address(room, at * value_bytes, 8)
            copy_bytes(target, source, number * value_bytes)
            clear_bytes(address(target, number * value_bytes, 8), (whole - number) * value_bytes)

        _pieces(start, count, slab, length, blocks, copy)
        clear_bytes(address(room, count * slab * value_bytes, 8), (most - count) * slab * value_bytes)

    @expression
    def gather_slabs(finished, out, start, count, slab, length, blocks):
        room = address(finished, 0, 8)

        def copy(place: Any, at: Any, number: Any, whole: Any) -> None:
            source, target = address(room, at * value_bytes, 8), address(out, place * value_bytes, 8)
            copy_bytes(target, source, number * value_bytes)

        _pieces(start, count, slab, length, blocks, copy)

    @kernel(variant=(kind, code_bits, group, deep, criterion, nearest, flat))
    def prune(
        x, out, masks, exponents, kept, first, last, rows, refine, window, wanted, reach, mask_bytes, shift,
        width, limit, padding, streaming, table, extent, members, length, stride, blocks,
    ):  # fmt: skip
        memory = (
            scratch(bits, groups), scratch(bits, plane_words), scratch(bits, groups), scratch(bits, groups),
            scratch(bits, turned_values), scratch(code_bits, values),
        )  # fmt: skip
        finished = scratch(code_bits, values)
        tail = scratch(code_bits, values)
        wants = masks.size > 0, exponents.size > 0, kept.size > 0
        results = address(masks, 0, 8), address(exponents, 0, 8), address(kept, 0, 8), wants, mask_bytes
        choice = rows, refine, window, wanted, reach, shift, table, extent
        slab, most = members * stride, step * (FLAT_PARTS if flat else 1)
        # Where slabs lie one behind the other, they are as one lane.
        slab_length, slab_blocks = (length, blocks) if flat else (last * slab, last)
        regular = slab_length == slab_blocks * slab
        # `waiting` bytes of `held` are for `place`.
        held = address(finished, 0, 8)
        place, waiting = address(out, 0, 8), 0
        limited = 0
        start = first
        while start < last:
            count = min(most, last - start)
            parts = (count + step - 1) // step if flat else stride
            codes = tail
            # base: the byte where they begin, in a lane whose last group may be short.
            block = start % slab_blocks
            base = (start // slab_blocks * slab_length + block * slab) * value_bytes
            in_place = count == most and (regular or (block + count) * slab <= slab_length)
            if in_place:
                codes = address(x, base, code_bits)
            else:
                spread_slabs(x, tail, start, count, slab, slab_length, slab_blocks, most)
            rare = scan(codes, memory, members, parts, width, limit, place, held, waiting)
            waiting = 0
            if rare:
                return start, limited
            unsure, short, found = keep_slabs(
                codes, memory, results, choice, start, count, members, parts, blocks
            )
            if unsure:
                return start, limited
            if is_float and short:
                found += find_limited(memory, members, parts, window, padding)
                if deep and found > 0:
                    return start, limited
            limited += found
            if out.size > 0:
                written = finished
                if in_place and not streaming:
                    written = address(out, base, code_bits)
                write_slabs(memory, written, members, parts, window, width, padding)
                if not in_place:
                    gather_slabs(finished, out, start, count, slab, slab_length, slab_blocks)
                elif streaming:
                    place, waiting = address(out, base, 8), count * slab * value_bytes
            start += count
        stream(place, held, waiting)
        return last, limited

    return prune
