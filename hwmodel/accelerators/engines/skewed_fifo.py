"""Compiled cycle engines that accelerators share.

Importing this module imports Numba; accelerators do so when they first count cycles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from bitxcore.jit import kernel


def _fifo_times(costs, lengths, bounds, widest, lane_depth, depth, units, ladder, alone):
    """Fill `ladder`, one row per tile of filters ``bounds[t]:bounds[t + 1]``, and `alone`, each a filter.

    `widest`: filters of the largest tile.
    """
    lanes = costs.shape[2]
    slots, lane_slots = depth + lane_depth + 1, lane_depth + 1
    # In cycles from the tile's start: when each lane is done with the group before; and, in rings, when all
    # lanes of a unit were done with the last groups, and when all lanes of all units were.
    finish = np.empty((widest, lanes), np.int64)
    unit_finished = np.empty((widest, lane_slots), np.int64)
    all_finished = np.empty(slots, np.int64)
    for t in range(len(ladder)):
        first, last = bounds[t], bounds[t + 1]
        # First two rungs: the time that each unit takes alone, shared out evenly and of the slowest.
        groups = 0
        work = np.int64(0)
        longest = np.int64(0)
        for c in range(first, last):
            groups = max(groups, lengths[c])
            finish[0] = 0
            unit_finished[0] = 0
            own = np.int64(0)
            for g in range(lengths[c]):
                gate = unit_finished[0, g % lane_slots]
                for j in range(lanes):
                    done = max(finish[0, j], gate) + costs[c, g, j]
                    finish[0, j] = done
                    own = max(own, done)
                unit_finished[0, g % lane_slots] = own
            alone[c] = own
            work += own
            longest = max(longest, own)
        # Third rung: the recurrence, group by group as they are broadcast.
        finish[: last - first] = 0
        unit_finished[: last - first] = 0
        all_finished[:] = 0
        latest = np.int64(0)
        for g in range(groups):
            # The slot that group g takes is the one that group g - slots leaves.
            open_at = all_finished[g % slots]
            latest = np.int64(0)
            for c in range(last - first):
                # The slot of the group before.
                done_at = unit_finished[c, (g + lane_depth) % lane_slots] if g else np.int64(0)
                # A unit that has no group g any more is done with it when it is done at all.
                if g < lengths[first + c]:
                    gate = max(open_at, unit_finished[c, g % lane_slots])
                    for j in range(lanes):
                        done = max(finish[c, j], gate) + costs[first + c, g, j]
                        finish[c, j] = done
                        done_at = max(done_at, done)
                unit_finished[c, g % lane_slots] = done_at
                latest = max(latest, done_at)
            all_finished[g % slots] = latest
        # Units without a filter share the work of the first rung, too.
        ladder[t, 0] = (work + units - 1) // units
        ladder[t, 1] = longest
        ladder[t, 2] = latest


_fifo_times_compiled: Any = kernel(_fifo_times)


def skewed_fifo(
    costs: npt.NDArray[Any],
    *,
    fifo_depth: int | None,
    bounds: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int64]:
    """Cycles of compute units that are fed groups by broadcast through a FIFO.

    Unit c starts its group g once it has finished group g - 1 and every unit of its tile has
    finished group g - D - 1 ::

        start(c, g) = max(finish(c, g - 1), max over c' of finish(c', g - D - 1))
        finish(c, g) = start(c, g) + cost(c, g)

    Parameters
    ----------
    costs : array of int, shape (filters, groups)
        Cycles of each group; one compute unit per filter.
    fifo_depth : int or None
        D. 0 is lock step; None is a FIFO without bound.
    bounds : array_like of int, optional
        Filters where tiles begin, and the end; tiles run one after another from an empty FIFO.
        By default all filters are one tile.
    lengths : array_like of int, optional
        Groups of each filter, at most ``groups``; what lies behind does not exist.

    Returns
    -------
    array of int64, shape (tiles,)
        Cycles until the last unit of each tile has finished.

    Notes
    -----
    Time is proportional to filters × groups, extra memory to units + D.
    """
    return fifo_ladder(costs, fifo_depth=fifo_depth, bounds=bounds, lengths=lengths)[:, 2]


def fifo_ladder(
    costs: npt.NDArray[Any],
    *,
    fifo_depth: int | None,
    units: int | None = None,
    bounds: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int64]:
    """Cycles of each tile on three machines: `FifoTimes.ladder` of units without lanes.

    Parameters
    ----------
    costs, fifo_depth, units, bounds, lengths
        As in `fifo_times`.
    """
    return fifo_times(costs, fifo_depth=fifo_depth, units=units, bounds=bounds, lengths=lengths).ladder


class FifoTimes(NamedTuple):
    """Cycles of units that are fed by broadcast.

    Attributes
    ----------
    ladder : array of int64, shape (tiles, 3)
        Three machines, each held up by one thing more than the last: cycles if all units shared evenly what
        each takes alone; if each works on its own filter, with a FIFO without bound; and with this FIFO. A
        row never falls from left to right.
    alone : array of int64, shape (filters,)
        Cycles that each filter takes alone.
    """

    ladder: npt.NDArray[np.int64]
    alone: npt.NDArray[np.int64]


def fifo_times(
    costs: npt.NDArray[Any],
    *,
    fifo_depth: int | None,
    lane_fifo_depth: int | None = 0,
    units: int | None = None,
    bounds: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
) -> FifoTimes:
    """Cycles of units that are fed by broadcast, each with lanes of its own.

    Parameters
    ----------
    costs : array of int, shape (filters, groups) or (filters, groups, lanes)
        Cycles of each group, or of each lane of its unit for it.
    fifo_depth, bounds, lengths
        As in `skewed_fifo`.
    lane_fifo_depth : int or None
        d, groups that a lane may be ahead of the slowest of its unit. 0: lanes begin each group together;
        None: without bound.
    units : int, optional
        Compute units that there are, at least as many as filters in a tile (default: as many as
        the largest tile has filters).

    Returns
    -------
    FifoTimes

    Notes
    -----
    A unit takes group g into all its lanes at once: when they have all finished group g - d - 1, and all
    lanes of all units have finished group g - D - d - 1, whose place in the FIFO it takes ::

        start(c, j, g) = max(finish(c, j, g - 1), max over j' of finish(c, j', g - d - 1),
                             max over c', j' of finish(c', j', g - D - d - 1))
        finish(c, j, g) = start(c, j, g) + cost(c, g, j)
    """
    costs = np.asarray(costs)
    if costs.dtype != np.uint8:  # which most costs fit, and large layers are spared a wider copy
        costs = costs.astype(np.int32, copy=False)
    if costs.ndim == 2:
        costs = costs[:, :, None]
    if costs.ndim != 3 or costs.shape[2] == 0:
        raise TensorError(f"costs must have shape (filters, groups) or one lane more, got {costs.shape}")
    costs = np.ascontiguousarray(costs)
    filters, groups, _ = costs.shape
    for name, depth in (("fifo_depth", fifo_depth), ("lane_fifo_depth", lane_fifo_depth)):
        if depth is not None and depth < 0:
            raise TensorError(f"{name} must be at least 0, or None for no bound, got {depth}")
    if costs.size and costs.min() < 0:
        raise TensorError(f"costs must not be negative, got {costs.min()}")
    ends = np.asarray([0, filters] if bounds is None else bounds, np.int64)
    if ends.ndim != 1 or len(ends) < 2 or ends[0] != 0 or ends[-1] != filters or (np.diff(ends) < 0).any():
        raise TensorError(f"bounds must rise from 0 to {filters} filters")
    sizes = np.full(filters, groups, np.int64) if lengths is None else np.asarray(lengths, np.int64)
    if sizes.shape != (filters,) or (filters and not 0 <= sizes.min() <= sizes.max() <= groups):
        raise TensorError(f"lengths must be {filters} numbers from 0 to {groups}")
    largest = int(np.diff(ends).max())
    if units is not None and units < max(1, largest):
        raise TensorError(f"units must be at least {max(1, largest)}, got {units}")
    # A FIFO for all groups is without bound, and the ring need not be longer.
    depths = (groups if d is None else min(d, groups) for d in (lane_fifo_depth, fifo_depth))
    ladder, alone = np.zeros((len(ends) - 1, 3), np.int64), np.zeros(filters, np.int64)
    _fifo_times_compiled(costs, sizes, ends, largest, *depths, units or max(1, largest), ladder, alone)
    return FifoTimes(ladder, alone)
