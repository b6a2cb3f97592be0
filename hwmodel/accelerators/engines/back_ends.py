"""Cycles of Bit-Tactical's back ends on scheduled weights. Importing this module imports Numba.

Windows are the lanes of a SIMD vector, so that 32 columns are worked off at once.
"""

from __future__ import annotations

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
from hwmodel.accelerators.engines.bricks import Bricks, present
from hwmodel.accelerators.engines.grid_plan import GridPlan
from hwmodel.accelerators.engines.lookahead import WeightSchedule

Array = npt.NDArray[Any]
BLOCK = 32
"""Columns worked off at once."""


@kernel
def _columns(table, base, offset, words, column, first, last, origin, block):
    """OR the activations of columns `first` to `last` into `block`, column fastest."""
    # Entry (time step, lane) of the block is a vector of 32 columns, which the kernels below load in one
    # piece. Columns are sorted by window; words of a value that share a width meet in one place.
    block[:] = 0
    depth = table.shape[1]
    for c in range(first, last):
        # `column`: of each (window, word), its place in the order of window sets and columns.
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
    # Terms of a lane that are not applied yet are set bits; one vector element per column.
    union = load(buffer, 0, 32)
    zero = like(union, 0)
    for i in range(1, n):
        union = union | load(buffer, i * 32, 32)
    # With no first stage, each cycle applies one position of the shift, whichever lanes have a term there.
    if reach == 1:
        return popcount(union)
    count = zero
    while _any(union > zero):
        # Positions from the lowest term of any lane up to `reach` - 1 above it, which the first stage can
        # shift to. Columns that are done have no bits left and are not counted.
        window = ((union & (zero - union)) << reach) - like(union, 1)
        count = count + where(union > zero, like(union, 1), zero)
        union = zero
        # A lane applies its lowest term if that lies within the window.
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
    # Tiles run side by side, so `costs` of a step only rises from tile to tile.
    for i in range(len(steps)):
        for row in range(steps[i]):
            # Lower bound: the lane with most terms, of all that the tile reads.
            n = np.int64(member_counts[i, row])
            cost = load(costs, row * 32, 32)
            for j in range(n):
                at = np.int64(members[i, row, j]) * 32
                cost = umax(cost, load(ones, at, 32))
                store(buffer, j * 32, load(block, at, 32))
            # Upper bound: all of it on one filter. With the widest first stage the lower bound is exact.
            if n > 0 and reach < 32:
                most = _drain(buffer, n, reach)
                if _any(most > cost):
                    for f in range(tiles[i], tiles[i + 1]):
                        # A filter that reads all of it takes just that.
                        if counts[f, row] == n:
                            cost = umax(cost, most)
                for f in range(tiles[i], tiles[i + 1]):
                    # The bounds have met in all 32 columns.
                    if not _any(most > cost):
                        break
                    # Otherwise each filter drains what it reads itself.
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
            # Set bits of the union are bits that some activation needs.
            union = zero
            for j in range(np.int64(member_counts[i, row])):
                union = union | load(block, np.int64(members[i, row, j]) * 32, 32)
            # One's complements have no leading ones, so the highest bit gives the width.
            width = like(cost, 16) - leading_zeros(union)
            if minor_bit:
                # Zeros below the lowest one are left out, too; a group of zeros has none to leave out.
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
        One per round.
    back_end : BackEnd
    together : int
        Neighbouring physical columns that share a width.

    Returns
    -------
    array of uint8, shape (window sets, steps of all rounds, columns)
        0 where there is no window.
    """
    # (positions, lanes of all channel blocks, words), as wide as the back end's vectors want it.
    flat = np.ascontiguousarray(table.reshape(len(table), -1, table.shape[-1]), back_end.dtype)
    exists = present(p, together)
    sets, _, width = exists.shape
    # Where the entries of each (pass, window, word) go: window sets x columns, numbered through. A set that
    # is cut short leaves columns without a window.
    set_of, place = np.divmod(np.arange(p.windows), p.columns)
    physical = place[:, None] * p.activation_words + np.arange(p.activation_words)
    column = (set_of[:, None] * width + physical // together).reshape(-1)
    column = (np.arange(p.passes)[:, None] * (sets // p.passes * width) + column).reshape(-1)
    base = bricks.base.reshape(-1)
    # Executed steps of all rounds follow one another.
    ends = np.cumsum([0] + [s.length for s in schedules])
    found = np.zeros((ends[-1], -(-sets * width // BLOCK) * BLOCK), np.uint8)
    block = np.empty(p.steps * p.lanes * BLOCK, back_end.dtype)
    # A block of columns is laid out once and then read by every round's schedule.
    for origin in range(0, found.shape[1], BLOCK):
        first, last = np.searchsorted(column, [origin, origin + BLOCK])
        _columns(flat, base, bricks.offset, p.activation_words, column, first, last, origin, block)
        back_end.prepare(block)
        for s, a, b in zip(schedules, ends[:-1], ends[1:], strict=True):
            # Every step takes a cycle at least.
            costs = np.ones((b - a) * BLOCK, back_end.dtype)
            back_end.cost(s, costs)
            found[a:b, origin : origin + BLOCK] = costs.reshape(-1, BLOCK)
    ordered = found[:, : sets * width].reshape(-1, sets, width).transpose(1, 0, 2)
    return ordered * exists
