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
