"""Bit-Tactical's weight schedule and the cycles of its back ends. Importing this module imports Numba.

Lanes of a filter at one time step are the bits of a word, so that candidates of all lanes are found
at once; windows are the lanes of a SIMD vector, so that 32 columns are worked off at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel
from bitxcore.kernels.vectors import (
    as_bits,
    leading_zeros,
    like,
    load,
    popcount,
    store,
    total,
    umax,
    where,
)
from hwmodel.accelerators.engines.bricks import Bricks, GridPlan, present

Array = npt.NDArray[Any]
BLOCK = 32
"""Columns worked off at once."""


def offsets(pattern: str, lookahead: int, lookaside: int) -> tuple[tuple[int, int], ...]:
    """Places that a lane may take a weight from: (time steps ahead, lanes aside), in order of preference."""
    if pattern == "T":
        return ((1, -1), (1, 0), (1, 1), (1, 3), (2, -2), (2, 0), (2, 2))
    aside = tuple((1, -d) for d in range(lookaside, 0, -1))
    return (*aside, *((h, 0) for h in range(1, lookahead + 1)))


@kernel
def _masks(weights, masks):
    for f in range(weights.shape[0]):
        for t in range(weights.shape[1]):
            mask = np.uint64(0)
            for i in range(weights.shape[2]):
                mask |= np.uint64(weights[f, t, i] != 0) << np.uint64(i)
            masks[f, t] = mask


@kernel
def _schedule(weights, held, lanes, steps_ahead, lanes_aside, most_first, entries, counts):
    """Schedule the filters of one tile; return the number of time steps executed.

    `weights` and `held`: lanes with a weight other than 0, and with any weight, (filters, steps).
    """
    filters, steps = weights.shape
    ahead = 0
    for o in range(len(steps_ahead)):
        ahead = max(ahead, steps_ahead[o])
    one, full = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - lanes)
    here = held.copy()  # slots that were not swapped away
    promoted = np.empty(ahead + 1, np.uint64)
    plane = np.empty(8, np.uint64)
    skipped, row = 0, 0
    for t in range(steps):
        if skipped < ahead:
            used = np.uint64(0)
            for f in range(filters):
                used |= weights[f, t]
            if used == 0:
                skipped += 1
                continue
        skipped = 0
        for f in range(filters):
            promoted[:] = 0
            empty = full & ~weights[f, t]
            while empty != 0:
                # Candidates of every lane, counted in bit planes.
                plane[:] = 0
                some = np.uint64(0)
                for o in range(len(steps_ahead)):
                    if t + steps_ahead[o] >= steps:
                        continue
                    source = weights[f, t + steps_ahead[o]]
                    aside = np.uint64(lanes_aside[o])
                    found = source
                    if aside != 0:
                        found = ((source >> aside) | (source << (np.uint64(lanes) - aside))) & full
                    found &= empty
                    some |= found
                    for b in range(8):
                        carry = plane[b] & found
                        plane[b] ^= found
                        found = carry
                        if found == 0:
                            break
                if some == 0:
                    break
                chosen = some
                for b in range(7, -1, -1):
                    better = chosen & (plane[b] if most_first else ~plane[b])
                    if better != 0:
                        chosen = better
                lane = 0
                while chosen >> np.uint64(lane) & one == 0:
                    lane += 1
                for o in range(len(steps_ahead)):
                    if t + steps_ahead[o] >= steps:
                        continue
                    bit = one << np.uint64((lane + lanes_aside[o]) % lanes)
                    if weights[f, t + steps_ahead[o]] & bit != 0:
                        weights[f, t + steps_ahead[o]] &= ~bit
                        here[f, t + steps_ahead[o]] &= ~bit
                        promoted[steps_ahead[o]] |= bit
                        break
                empty &= ~(one << np.uint64(lane))
            # A weight of 0 that stayed feeds its activation; a slot that never had one, lane 0 of step 0.
            promoted[0] = weights[f, t] | (here[f, t] & empty)
            if t == 0 and empty & ~held[f, 0] != 0:
                promoted[0] |= one
            n = 0
            for h in range(ahead + 1):
                for i in range(lanes):
                    if promoted[h] >> np.uint64(i) & one != 0:
                        entries[f, row, n] = (t + h) * lanes + i
                        n += 1
            counts[f, row] = n
        row += 1
    return row


@kernel
def _join(entries, counts, first, last, rows, seen, members, member_counts):
    """List, for every executed step, what any of the filters reads."""
    for row in range(rows):
        n = 0
        for f in range(first, last):
            for i in range(counts[f, row]):
                entry = entries[f, row, i]
                if not seen[entry]:
                    seen[entry] = True
                    members[row, n] = entry
                    n += 1
        for i in range(n):
            seen[members[row, i]] = False
        member_counts[row] = n


@dataclass(frozen=True)
class WeightSchedule:
    """What the filters of one round read, executed step by executed step.

    Attributes
    ----------
    tiles : array of int64, shape (tiles + 1,)
        Where the filters of each tile begin, and the end.
    steps : array of int64, shape (tiles,)
        Steps that a tile executes.
    entries, counts : array of int, shape (filters, steps, lanes) and (filters, steps)
        Activations that a filter reads, as time step × lanes + lane, and how many.
    members, member_counts : array of int, shape (tiles, steps, ...) and (tiles, steps)
        The same of all filters of a tile together.
    """

    tiles: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    entries: Array
    counts: Array
    members: Array
    member_counts: Array

    @property
    def length(self) -> int:
        """Steps until the last tile is done."""
        return int(self.steps.max())


def schedule(
    weights: Array,
    held: npt.NDArray[np.bool_],
    *,
    rows: int,
    places: tuple[tuple[int, int], ...],
    most_first: bool,
) -> WeightSchedule:
    """Fill lanes whose weight is 0 with weights from later time steps and other lanes.

    At each step, of the lanes of a filter that have candidates the one with most of them (or fewest) takes
    its first; on a tie, the lowest lane. Time steps in which a whole tile has no weight are skipped, as many
    in a row as a lane looks ahead.

    Parameters
    ----------
    weights : array, shape (filters, steps, lanes)
        Of one round, on up to 64 lanes.
    held : array of bool, shape (filters or 1, steps, lanes)
        Lanes that have a weight, be it 0.
    rows : int
        Filters of a tile.
    places : tuple of (int, int)
        From `offsets`.
    most_first : bool
        Which lane chooses first.
    """
    filters, steps, lanes = weights.shape
    used, there = np.empty((filters, steps), np.uint64), np.empty((len(held), steps), np.uint64)
    _masks(np.ascontiguousarray(weights), used)
    _masks(np.ascontiguousarray(held), there)
    there = np.ascontiguousarray(np.broadcast_to(there, used.shape))
    ahead = np.array([h for h, _ in places], np.int64)
    aside = np.array([d % lanes for _, d in places], np.int64)
    tiles = np.append(np.arange(0, filters, rows), filters).astype(np.int64)
    place = np.uint16 if steps * lanes <= 1 << 16 else np.uint32
    entries, counts = np.empty((filters, steps, lanes), place), np.zeros((filters, steps), np.uint8)
    reach = (1 + max(ahead)) * lanes
    members = np.empty((len(tiles) - 1, steps, reach), place)
    member_counts = np.zeros((len(tiles) - 1, steps), np.uint16)
    done, seen = np.empty(len(tiles) - 1, np.int64), np.zeros(steps * lanes, np.bool_)
    for i, (a, b) in enumerate(pairwise(tiles)):
        done[i] = _schedule(used[a:b], there[a:b], lanes, ahead, aside, most_first, entries[a:b], counts[a:b])
        _join(entries, counts, a, b, done[i], seen, members[i], member_counts[i])
    return WeightSchedule(tiles, done, entries, counts, members, member_counts)


@kernel
def _columns(table, base, offset, words, column, first, last, origin, block):
    """OR the activations of columns `first` to `last` into `block`, column fastest."""
    block[:] = 0
    depth = table.shape[1]
    for c in range(first, last):
        place = column[c] - origin
        word = c % words
        for k in range(len(offset)):
            brick = table[base[c // words] + offset[k]]
            for i in range(depth):
                block[(k * depth + i) * 32 + place] |= brick[i, word]


@kernel
def _any(mask):
    return total(as_bits(mask, 32)) != 0


@kernel
def _drain(buffer, n, reach):
    """Cycles of Bit-Pragmatic's two stages on `n` lanes of each column; uses up `buffer`."""
    union = load(buffer, 0, 32)
    zero = like(union, 0)
    for i in range(1, n):
        union = union | load(buffer, i * 32, 32)
    if reach == 1:
        return popcount(union)
    count = zero
    while _any(union > zero):
        window = ((union & (zero - union)) << reach) - like(union, 1)
        count = count + where(union > zero, like(union, 1), zero)
        union = zero
        for i in range(n):
            left = load(buffer, i * 32, 32)
            left = left ^ (left & (zero - left) & window)
            store(buffer, i * 32, left)
            union = union | left
    return count


@kernel
def _terms(tiles, steps, entries, counts, members, member_counts, block, ones, reach, buffer, costs):
    """Raise `costs` to the cycles that each step takes with Bit-Pragmatic's lanes.

    More lanes never take fewer cycles. So a tile takes at least the most terms of any lane, and at most what
    one filter would take that read all that its filters read; where the two meet, no filter need be tried.
    """
    for i in range(len(steps)):
        for row in range(steps[i]):
            n = np.int64(member_counts[i, row])
            cost = load(costs, row * 32, 32)
            for j in range(n):
                at = np.int64(members[i, row, j]) * 32
                cost = umax(cost, load(ones, at, 32))
                store(buffer, j * 32, load(block, at, 32))
            if n > 0 and reach < 32:
                most = _drain(buffer, n, reach)
                if _any(most > cost):
                    for f in range(tiles[i], tiles[i + 1]):
                        if counts[f, row] == n:
                            cost = umax(cost, most)
                for f in range(tiles[i], tiles[i + 1]):
                    if not _any(most > cost):
                        break
                    lanes = np.int64(counts[f, row])
                    if lanes > 0:
                        for j in range(lanes):
                            store(buffer, j * 32, load(block, np.int64(entries[f, row, j]) * 32, 32))
                        cost = umax(cost, _drain(buffer, lanes, reach))
            store(costs, row * 32, cost)


@kernel
def _widths(steps, members, member_counts, block, signed, minor_bit, costs):
    """Raise `costs` to the width of all activations that each tile reads."""
    for i in range(len(steps)):
        for row in range(steps[i]):
            cost = load(costs, row * 32, 32)
            zero = like(cost, 0)
            union = zero
            for j in range(np.int64(member_counts[i, row])):
                union = union | load(block, np.int64(members[i, row, j]) * 32, 32)
            width = like(cost, 16) - leading_zeros(union)
            if minor_bit:
                below = popcount((union & (zero - union)) - like(cost, 1))
                width = width - where(union > zero, below, zero)
            store(costs, row * 32, umax(cost, umax(width, like(cost, 1)) + like(cost, signed)))


class BackEnd:
    """How a step's cycles follow from the activations that are read in it."""

    dtype: Any = np.uint16

    def prepare(self, block: Array) -> None:
        """Take the activations of `BLOCK` columns: entries × `BLOCK`, flat."""

    def cost(self, schedule: WeightSchedule, costs: Array) -> None:
        """Raise `costs`, executed steps × `BLOCK`, flat."""
        raise NotImplementedError


class PrecisionBackEnd(BackEnd):
    """TCLp: as many cycles as the widest activation has bits.

    Parameters
    ----------
    signed, minor_bit : bool
        As in `hwmodel.accelerators.engines.booth_terms.width_table`.
    """

    def __init__(self, signed: bool, minor_bit: bool) -> None:
        self._signed, self._minor_bit = int(signed), minor_bit

    def prepare(self, block: Array) -> None:
        """Take the activations of `BLOCK` columns."""
        self._block = block

    def cost(self, schedule: WeightSchedule, costs: Array) -> None:
        """Raise `costs`."""
        _widths(
            schedule.steps,
            schedule.members,
            schedule.member_counts,
            self._block,
            self._signed,
            self._minor_bit,
            costs,
        )


class TermBackEnd(BackEnd):
    """TCLe: as many cycles as Bit-Pragmatic's lanes take.

    Parameters
    ----------
    first_stage_bits : int
    wide : bool
        Whether terms lie above bit 15.
    """

    def __init__(self, first_stage_bits: int, wide: bool) -> None:
        self._reach = 1 << min(first_stage_bits, 5)
        self.dtype = np.uint32 if wide else np.uint16

    def prepare(self, block: Array) -> None:
        """Take the terms of `BLOCK` columns."""
        self._block, self._ones = block, np.bitwise_count(block).astype(block.dtype)

    def cost(self, schedule: WeightSchedule, costs: Array) -> None:
        """Raise `costs`."""
        _terms(
            schedule.tiles,
            schedule.steps,
            schedule.entries,
            schedule.counts,
            schedule.members,
            schedule.member_counts,
            self._block,
            self._ones,
            self._reach,
            np.empty(schedule.members.shape[-1] * BLOCK, self._block.dtype),
            costs,
        )


def step_costs(
    p: GridPlan,
    bricks: Bricks,
    table: Array,
    schedules: list[WeightSchedule],
    back_end: BackEnd,
    together: int = 1,
) -> npt.NDArray[np.uint8]:
    """Cycles of every executed step.

    Parameters
    ----------
    p : GridPlan
    bricks : Bricks
    table : array of uint16 or uint32, shape (positions, channel blocks, lanes, words)
        What the back end takes of one group's activations.
    schedules : list of WeightSchedule
        One a round.
    back_end : BackEnd
    together : int
        Neighbouring physical columns that share a width.

    Returns
    -------
    array of uint8, shape (window sets, steps of all rounds, columns)
        0 where there is no window.
    """
    flat = np.ascontiguousarray(table.reshape(len(table), -1, table.shape[-1]), back_end.dtype)
    exists = present(p, together)
    sets, _, width = exists.shape
    set_of, place = np.divmod(np.arange(p.windows), p.columns)
    physical = place[:, None] * p.activation_words + np.arange(p.activation_words)
    column = (set_of[:, None] * width + physical // together).reshape(-1)
    column = (np.arange(p.passes)[:, None] * (sets // p.passes * width) + column).reshape(-1)
    base = bricks.base.reshape(-1)
    ends = np.cumsum([0] + [s.length for s in schedules])
    found = np.zeros((ends[-1], -(-sets * width // BLOCK) * BLOCK), np.uint8)
    block = np.empty(p.steps * p.lanes * BLOCK, back_end.dtype)
    for origin in range(0, found.shape[1], BLOCK):
        first, last = np.searchsorted(column, [origin, origin + BLOCK])
        _columns(flat, base, bricks.offset, p.activation_words, column, first, last, origin, block)
        back_end.prepare(block)
        for s, a, b in zip(schedules, ends[:-1], ends[1:], strict=True):
            costs = np.ones((b - a) * BLOCK, back_end.dtype)
            back_end.cost(s, costs)
            found[a:b, origin : origin + BLOCK] = costs.reshape(-1, BLOCK)
    ordered = found[:, : sets * width].reshape(-1, sets, width).transpose(1, 0, 2)
    return ordered * exists
