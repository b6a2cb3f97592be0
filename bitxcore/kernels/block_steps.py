"""What is done to a block of whole groups: their rows are found, some are chosen, the others cleared.

Rows and all that concerns a group have a lane per group; they wait in memory of the first-level cache for the
next step. How weights get there differs: those of groups of eight floats are put in columns, float8 codes are
looked up a byte at a time, all others are folded, neighbour by neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bitxcore.kernels.aligning import magnitude_of, rows_of
from bitxcore.kernels.expressions import choose, loop, when
from bitxcore.kernels.float8 import float8_functions
from bitxcore.kernels.floats import FLOAT32
from bitxcore.kernels.lanes import (
    BYTES,
    Lane,
    aligned_to,
    cleared,
    exponent_of,
    integer_on_rows,
    integer_rows,
    is_rare,
    lane_of,
    nearest_of,
    read,
    stays_of,
    stored_exponent,
    write,
)
from bitxcore.kernels.rows import keep_energy, keep_rows, keep_threshold
from bitxcore.kernels.vectors import (
    across_ones,
    across_umax,
    address,
    any_lane,
    any_of,
    as_words,
    fold_ones,
    fold_or,
    fold_umax,
    from_columns,
    lanes_of,
    like,
    load,
    load_planes,
    popcount,
    prefetch,
    prefetch_second,
    register_bits,
    repeat,
    resize,
    spread,
    store,
    store_at,
    store_planes,
    to_columns,
    total,
    umax,
    where,
)

PREFETCH_BYTES = 4096
SOON_BYTES = 1 << 14
"""How far ahead lines are asked for, and how far where they need not come to the first-level cache yet."""
WORD_LANES = 64
"""Codes of a register, and groups of one of columns."""


@dataclass(frozen=True)
class Weights:
    """What one kernel is built for.

    Parameters
    ----------
    kind, code_bits, group : int
        group: of the smallest padded size.
    deep : bool
        Whether the window has rows below the lane.
    criterion : str
    nearest : bool
    """

    kind: int
    code_bits: int
    group: int
    deep: bool
    criterion: str
    nearest: bool

    @property
    def lane(self) -> Lane:
        """Lane of a weight, and of a group's rows."""
        return lane_of(self.kind, self.code_bits)

    @property
    def is_float(self) -> bool:
        """Whether weights have exponents."""
        return self.kind >= 0

    @property
    def in_bytes(self) -> bool:
        """Whether float8 codes are looked up a byte at a time."""
        return self.kind >= BYTES

    @property
    def value_bytes(self) -> int:
        """Bytes of a code."""
        return self.code_bits // 8


@dataclass(frozen=True)
class GroupBlock(Weights):
    """Block of whole groups, and how the steps go.

    Parameters
    ----------
    in_place : bool
        Whether groups are read where they lie.
    """

    in_place: bool

    @property
    def turns(self) -> bool:
        """Whether weights are put in columns, where what concerns a group needs no shuffles."""
        return self.is_float and not self.nearest and self.group == 8 and not self.in_bytes

    @property
    def scaled(self) -> bool:
        """Whether weights come to their rows by a multiplication."""
        return self.turns and self.kind == FLOAT32

    @property
    def lanes(self) -> int:
        """Weights of a vector."""
        return lanes_of(self.lane.bits, self.group)

    @property
    def step(self) -> int:
        """Groups of a vector."""
        return self.lanes // self.group

    @property
    def groups(self) -> int:
        """Groups of a block: as many as eight registers hold, fewer where their weights need room."""
        # Where the choice of rows takes longer than the weights, it fills two registers at least.
        bits, least = self.lane.bits, self.step
        few = least if self.criterion == "rows" else lanes_of(bits, 1) // 4
        return max(lanes_of(bits, 1) * 8 // max(self.group, 8), few)

    @property
    def some(self) -> int:
        """Groups of which rows are chosen at once: of more, not all digits would stay in registers."""
        return min(self.groups, 4 * register_bits() // self.lane.bits)

    @property
    def vectors(self) -> int:
        """Vectors of a block."""
        return self.groups // self.step

    @property
    def values(self) -> int:
        """Weights of a block."""
        return self.groups * self.group

    @property
    def counted(self) -> bool:
        """Whether the ones of a row matter; else whether there are any."""
        return self.criterion != "rows" or self.group > 4

    @property
    def planes(self) -> int:
        """Digits of a row's ones."""
        return self.group.bit_length() if self.counted else 1

    @property
    def line(self) -> int:
        """Codes of a cache line."""
        return 64 // self.value_bytes

    # -- lines of the next block, which are asked for step by step, so that memory is always at work ---

    def ask(self, codes: Any, at: Any, first: int, spacing: int) -> None:
        """Ask for every `spacing`-th line of what lies ahead of a vector's codes, from line `first` on."""
        if not self.in_place:
            return
        ahead = (SOON_BYTES if self.turns else PREFETCH_BYTES) // self.value_bytes
        for line_at in range(first * self.line, self.lanes, spacing * self.line):
            (prefetch_second if self.turns else prefetch)(codes, at + (ahead + line_at))


class Scratch(NamedTuple):
    """Where things wait for the next step: largest magnitudes, digits of the ones of rows, kept rows.

    fewer: 1 for each group that may have kept too few rows.
    turned: weights in columns, or their rows.
    columns: of `slabs`, the codes in columns.
    """

    tops: Any
    ones: Any
    chosen: Any
    fewer: Any
    turned: Any
    columns: Any = None


def scan_block(b: GroupBlock, codes: Any, m: Scratch, width: Any, limit: Any) -> Any:
    """Find the largest magnitude of each group and the ones of its rows; return whether one needs care."""
    if b.in_bytes:
        return _scan_bytes(b, codes, m)
    if b.turns:
        return _scan_columns(b, codes, m)
    return _scan_floats(b, codes, m) if b.is_float else _scan_integers(b, codes, m, width, limit)


def _any_rare(b: GroupBlock, m: Scratch) -> Any:
    found = False
    for i in range(0, b.groups, b.some):
        found = found | is_rare(load(m.tops, i, b.some), b.lane)
    return found


def _planes(b: GroupBlock, aligned: Any) -> tuple[Any, ...]:
    return fold_ones(aligned, b.group) if b.counted else (fold_or(aligned, b.group),)


def _scan_bytes(b: GroupBlock, codes: Any, m: Scratch) -> Any:
    find, _ = float8_functions(b.kind - BYTES)
    values = WORD_LANES * b.group

    def part(i: Any) -> None:
        if b.in_place:
            for line_at in range(0, values, 2 * b.line):
                prefetch(codes, i * values + (PREFETCH_BYTES // b.value_bytes + line_at))
        top, counts = find(to_columns(load(codes, i * values, values), b.group, 1))
        store(m.tops, i * WORD_LANES, top)
        store_planes(m.ones, i * WORD_LANES, b.groups, counts)

    loop(b.groups // WORD_LANES, part)
    return _any_rare(b, m)


def _scan_columns(b: GroupBlock, codes: Any, m: Scratch) -> Any:
    lane = b.lane

    def part(i: Any) -> None:
        b.ask(codes, i * b.lanes, 0, 2)
        v = to_columns(read(b.kind, codes, i * b.lanes, b.lanes), b.group, 1)
        top = across_umax(v & lane.low, b.group)
        store(m.tops, i * b.step, top)
        emax = exponent_of(top, lane)
        if b.scaled:
            aligned = rows_of(v & lane.low, emax, b.group, lane.fraction, lane.bits)
            store(m.turned, i * b.lanes, aligned)
        else:
            aligned = aligned_to(v, repeat(emax, b.group), lane)
            store(m.turned, i * b.lanes, v)
        store_planes(m.ones, i * b.step, b.groups, across_ones(aligned, b.group))

    loop(b.vectors, part)
    return _any_rare(b, m)


def _scan_floats(b: GroupBlock, codes: Any, m: Scratch) -> Any:
    lane = b.lane

    def size(i: Any) -> None:
        b.ask(codes, i * b.lanes, 0, 3)
        v = read(b.kind, codes, i * b.lanes, b.lanes)
        store(m.tops, i * b.step, fold_umax(v & lane.low, b.group))

    def part(i: Any) -> None:
        b.ask(codes, i * b.lanes, 1, 3)
        emax = exponent_of(load(m.tops, i * b.step, b.step), lane)
        v = read(b.kind, codes, i * b.lanes, b.lanes)
        aligned = aligned_to(v, spread(emax, b.group), lane)
        store_planes(m.ones, i * b.step, b.groups, _planes(b, aligned))

    loop(b.vectors, size)
    rare = _any_rare(b, m)
    loop(b.vectors, part)
    return rare


def _scan_integers(b: GroupBlock, codes: Any, m: Scratch, width: Any, limit: Any) -> Any:
    def part(i: Any, largest: Any) -> Any:
        b.ask(codes, i * b.lanes, 0, 2)
        rows, size = integer_rows(load(codes, i * b.lanes, b.lanes), b.kind, width, b.lane)
        store_planes(m.ones, i * b.step, b.groups, _planes(b, rows))
        return (largest | size,)

    (largest,) = loop(b.vectors, part, load(codes, 0, b.lanes) & 0)
    return any_lane((largest >> limit) != 0)


class RowChoice(NamedTuple):
    """What tells which rows of a group are kept, known when the kernel runs.

    `wanted`, `reach` and `shift` are those of `blocks.prune_kernel`.
    """

    rows: Any
    refine: Any
    window: Any
    wanted: Any
    reach: Any
    shift: Any
    table: Any
    extent: Any


class ChosenRows(NamedTuple):
    """What is chosen of groups: masks, their rows; whether it is too close to say; and those with too few.

    limited, few: masks of the float groups that have kept fewer rows than wanted for want of a wider window,
    and of those that may have, since the lane has no rows further down.
    """

    mask: Any
    number: Any
    unsure: Any
    limited: Any
    few: Any


def keep(b: Weights, planes: tuple[Any, ...], top: Any, c: RowChoice) -> ChosenRows:
    """Choose rows of groups from their ones."""
    unsure: Any = False
    if b.criterion == "rows":
        mask = keep_rows(planes, c.window, c.rows, c.refine, b.group)
    elif b.criterion == "threshold":
        mask = keep_threshold(planes, c.window, c.rows, b.group, c.table, c.extent)
    else:
        mask, unsure = keep_energy(planes, c.window, c.rows, b.group, c.extent)
    number, more = popcount(mask), 0 if b.group <= 4 else 1 if b.group <= 16 else 2
    few = popcount(any_of(planes)) < c.rows + more if b.deep else number < c.wanted
    if not b.is_float:
        return ChosenRows(mask, number, unsure, few, few)
    outside = any_of(planes) & (c.window ^ -1)
    limited, few = few & (outside != 0), few & (outside == 0)
    if not b.in_bytes:
        # Of the others not even the last bit of a weight can be below the lane.
        few = few & (umax(top >> b.lane.fraction, 0 if b.lane.far else 1) >= c.reach)
    return ChosenRows(mask, number, unsure, limited, few)


MASK_BYTES = (1, 2, 4, 8)


class Results(NamedTuple):
    """Where masks, exponents and numbers of rows go, as addresses of bytes; and which of them are wanted.

    mask_bytes: of a mask, known when the kernel runs: one kernel serves all windows.
    """

    masks: Any
    exponents: Any
    kept: Any
    wants: Any
    mask_bytes: Any

    def put(
        self,
        at: Any,
        found: ChosenRows,
        exponent: Any,
        shift: Any,
        write: Callable[[Any, Any], None] = store_at,
    ) -> None:
        """Store what is wanted of the groups from number `at` on; ``write(place, lanes)`` does it."""
        want_masks, want_exponents, want_kept = self.wants

        def masks(size: int) -> None:
            up = resize(found.mask, 8 * size) << (0 - shift)
            mask = choose(shift < 0, up, resize(found.mask >> shift, 8 * size))
            write(address(address(self.masks, at * size, 8), 0, 8 * size), mask)

        for size in MASK_BYTES:
            when(want_masks & (self.mask_bytes == size), lambda size=size: masks(size))
        when(want_kept, lambda: write(address(self.kept, at, 8), found.number))
        if exponent is not None:
            when(want_exponents, lambda: write(address(address(self.exponents, at * 2, 8), 0, 16), exponent))


def keep_block(b: GroupBlock, m: Scratch, to: Results, c: RowChoice) -> Any:
    """Choose the rows of all groups, and store what is wanted of them.

    Returns whether it is too close to say for a group; whether there are some that may have kept fewer rows
    than wanted for want of a wider window; and how many are known to.
    """
    lane = b.lane

    def part(i: Any, unsure: Any, short: Any, below: Any) -> Any:
        at = i * b.some
        planes = load_planes(address(m.ones, at, lane.bits), b.planes, b.some, b.groups)
        top = load(m.tops, at, b.some) if b.is_float else None
        found = keep(b, planes, top, c)
        if b.is_float:
            below = below + total(popcount(as_words(found.limited, min(b.some, 64))))
        if not b.in_bytes:
            short = short | any_lane(found.few)
            store(m.fewer, at, where(found.few, like(found.mask, 1), 0))
        store(m.chosen, at, found.mask)
        to.put(at, found, stored_exponent(top, lane) if b.is_float else None, c.shift)
        if b.in_bytes:
            store(m.tops, at, umax(top >> lane.fraction, 1))
        return unsure | found.unsure, short, below

    return loop(b.groups // b.some, part, False, False, 0)


def count_limited(b: GroupBlock, codes: Any, m: Scratch, window: Any, padding: Any) -> Any:
    """Count the groups of `fewer` that have ones below the window: few but for groups of zeros."""
    lane = b.lane
    if b.in_bytes:
        return 0  # their last row tells of all ones below the window

    def part(i: Any, found: Any) -> Any:
        some = load(m.fewer, i * b.step, b.step)

        def count(found: Any) -> Any:
            v = read(b.kind, codes, i * b.lanes, b.lanes)
            emax = spread(exponent_of(load(m.tops, i * b.step, b.step), lane), b.group)
            whole = cleared(v, stays_of(v, emax, like(v, window), padding, lane), False, lane)
            return (found + total(where(fold_or(whole ^ v, b.group) != 0, some, 0)),)

        return when(any_lane(some != 0), count, found)

    (found,) = loop(b.vectors, part, 0)
    return found


def write_block(
    b: GroupBlock, codes: Any, written: Any, m: Scratch, window: Any, width: Any, padding: Any
) -> None:
    """Write the weights with what is kept of them."""
    lane, near = b.lane, b.criterion == "rows" and b.group <= 16
    later, spacing = (2, 3) if b.is_float and not b.turns else (1, 2)

    def columns(i: Any, v: Any) -> Any:
        mask = load(m.chosen, i * b.step, b.step)
        emax = exponent_of(load(m.tops, i * b.step, b.step), lane)
        waiting = load(m.turned, i * b.lanes, b.lanes)
        if b.scaled:
            left = magnitude_of(waiting & repeat(mask, b.group), emax, b.group, lane.fraction, lane.bits)
            return from_columns(left, b.group) | (v & lane.sign)
        stays = stays_of(waiting, repeat(emax, b.group), repeat(mask, b.group), padding, lane)
        return from_columns(cleared(waiting, stays, near, lane), b.group)

    def part(i: Any) -> None:
        b.ask(codes, i * b.lanes, later, spacing)
        v = read(b.kind, codes, i * b.lanes, b.lanes)
        if b.turns:
            new = columns(i, v)
        else:
            mask = spread(load(m.chosen, i * b.step, b.step), b.group)
            if b.is_float:
                emax = spread(exponent_of(load(m.tops, i * b.step, b.step), lane), b.group)
                if b.nearest:
                    new = nearest_of(v, emax, mask, window, lane)
                else:
                    new = cleared(v, stays_of(v, emax, mask, padding, lane), near, lane)
            else:
                new = integer_on_rows(v, mask, window, width, b.nearest, b.kind, lane)
        write(b.kind, written, i * b.lanes, new)

    if b.in_bytes:
        loop(b.groups * b.group // WORD_LANES, lambda i: _write_bytes(b, codes, written, m, i))
    else:
        loop(b.vectors, part)


def _write_bytes(b: GroupBlock, codes: Any, written: Any, m: Scratch, i: Any) -> None:
    _, clear = float8_functions(b.kind - BYTES)
    groups = WORD_LANES // b.group
    if b.in_place:
        prefetch(codes, i * WORD_LANES + (PREFETCH_BYTES // b.value_bytes + b.line))
    emax = resize(load(m.tops, i * groups, groups), 64)
    kept_rows = resize(load(m.chosen, i * groups, groups), 64) << emax
    store(written, i * WORD_LANES, clear(load(codes, i * WORD_LANES, WORD_LANES), kept_rows))
