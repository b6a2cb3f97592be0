"""Bit-Tactical's weight schedule: lookahead in time, lookaside between lanes. Imports Numba.

Lanes of a filter at one time step are the bits of a word, so that candidates of all lanes are found
at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

Array = npt.NDArray[Any]


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
            # Bit i: lane i has a weight to multiply at this step.
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
    # Steps that are staged beside the current one; they bound how many may be skipped in a row.
    ahead = 0
    for o in range(len(steps_ahead)):
        ahead = max(ahead, steps_ahead[o])
    one, full = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - lanes)
    here = held.copy()  # slots that were not swapped away
    # promoted[h]: slots of step t + h that are read in this step, by their own lane.
    promoted = np.empty(ahead + 1, np.uint64)
    # Candidates of every lane, bit-sliced: bit i of plane[b] is bit b of lane i's count, at most 255.
    plane = np.empty(8, np.uint64)
    skipped, row = 0, 0
    for t in range(steps):
        # A step in which no filter of the tile has a weight left is not executed, so long as the next one is
        # staged already.
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
            # Filters choose by themselves: a weight never leaves its filter. Each round of the loop fills one
            # lane; counts change with every weight that moves, so they are made anew.
            empty = full & ~weights[f, t]
            while empty != 0:
                # Candidates of every lane, counted in bit planes.
                plane[:] = 0
                some = np.uint64(0)
                for o in range(len(steps_ahead)):
                    if t + steps_ahead[o] >= steps:
                        continue
                    source = weights[f, t + steps_ahead[o]]
                    # Turn the word so that bit i is the slot that lane i would take from; lanes wrap around.
                    aside = np.uint64(lanes_aside[o])
                    found = source
                    if aside != 0:
                        found = ((source >> aside) | (source << (np.uint64(lanes) - aside))) & full
                    found &= empty
                    # Empty lanes with a candidate at this place: add one to the counts of all of them at
                    # once, a ripple of carries through the planes.
                    some |= found
                    for b in range(8):
                        carry = plane[b] & found
                        plane[b] ^= found
                        found = carry
                        if found == 0:
                            break
                if some == 0:
                    break
                # Compare the counts from their highest bit down, and keep the lanes with the better bit,
                # unless no lane has it: lanes with most candidates are left, or with fewest.
                chosen = some
                for b in range(7, -1, -1):
                    better = chosen & (plane[b] if most_first else ~plane[b])
                    if better != 0:
                        chosen = better
                # On a tie the lowest lane goes first.
                lane = 0
                while chosen >> np.uint64(lane) & one == 0:
                    lane += 1
                # It takes its first candidate in order of preference. Slots are swapped whole: what is taken
                # is neither weight nor activation of its own step any more.
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
            # By time step and lane, which is how the back ends look activations up.
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
        # `seen` is cleared by what this row has set, so that no row pays for all slots of the layer.
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
    there = np.require(np.broadcast_to(there, used.shape), requirements=["C", "W"])  # else compiled twice
    # Lanes aside become turns to the right, from 0 to lanes - 1.
    ahead = np.array([h for h, _ in places], np.int64)
    aside = np.array([d % lanes for _, d in places], np.int64)
    tiles = np.append(np.arange(0, filters, rows), filters).astype(np.int64)
    place = np.uint16 if steps * lanes <= 1 << 16 else np.uint32
    entries, counts = np.empty((filters, steps, lanes), place), np.zeros((filters, steps), np.uint8)
    # One filter reads at most a slot a lane; all filters of a tile together, all that is staged.
    reach = (1 + max(ahead)) * lanes
    members = np.empty((len(tiles) - 1, steps, reach), place)
    member_counts = np.zeros((len(tiles) - 1, steps), np.uint16)
    done, seen = np.empty(len(tiles) - 1, np.int64), np.zeros(steps * lanes, np.bool_)
    for i, (a, b) in enumerate(pairwise(tiles)):
        done[i] = _schedule(used[a:b], there[a:b], lanes, ahead, aside, most_first, entries[a:b], counts[a:b])
        _join(entries, counts, a, b, done[i], seen, members[i], member_counts[i])
    return WeightSchedule(tiles, done, entries, counts, members, member_counts)
