"""Compiled cycle engines that accelerators share.

Importing this module imports Numba; accelerators do so when they first count cycles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from bitxcore.jit import kernel


def _fifo_ladder(costs, lengths, bounds, depth, units, ladder):
    """Fill `ladder`, one row a tile of filters ``bounds[t]:bounds[t + 1]``."""
    # In cycles from the tile's start: when each unit is done with the group before, and, in a ring, when all
    # units were done with the last depth + 1 groups.
    finish = np.empty(np.max(bounds[1:] - bounds[:-1]), np.int64)
    all_finished = np.empty(depth + 1, np.int64)
    for t in range(len(ladder)):
        first, last = bounds[t], bounds[t + 1]
        # The first two rungs need sums only: all work of the tile, and that of the unit with most.
        groups = 0
        work = np.int64(0)
        longest = np.int64(0)
        for c in range(first, last):
            finish[c - first] = 0
            groups = max(groups, lengths[c])
            alone = np.int64(0)
            for g in range(lengths[c]):
                alone += costs[c, g]
            work += alone
            longest = max(longest, alone)
        for d in range(depth + 1):
            all_finished[d] = 0
        # Third rung: the recurrence, group by group as they are broadcast.
        latest = 0
        for g in range(groups):
            # The slot that group g takes is the one that group g - depth - 1 leaves.
            gate = all_finished[g % (depth + 1)]
            latest = 0
            for c in range(last - first):
                # A unit that has no group g any more is done with it when it is done at all.
                if g < lengths[first + c]:
                    finish[c] = max(finish[c], gate) + costs[first + c, g]
                latest = max(latest, finish[c])
            all_finished[g % (depth + 1)] = latest
        # Units without a filter share the work of the first rung, too.
        ladder[t, 0] = (work + units - 1) // units
        ladder[t, 1] = longest
        ladder[t, 2] = latest


_fifo_ladder_compiled: Any = kernel(_fifo_ladder)


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
        Cycles of each group; one compute unit a filter.
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
    """Cycles of each tile on three machines, each held up by one thing more than the last.

    Parameters
    ----------
    costs, fifo_depth, bounds, lengths
        As in `skewed_fifo`.
    units : int, optional
        Compute units that there are, at least as many as filters in a tile (default: as many as
        the largest tile has filters).

    Returns
    -------
    array of int64, shape (tiles, 3)
        Cycles if all units shared the tile's work evenly; if each works on its own filter, with a FIFO
        without bound; and with this FIFO. A row never falls from left to right.
    """
    costs = np.ascontiguousarray(costs, np.int32)
    if costs.ndim != 2:
        raise TensorError(f"costs must have shape (filters, groups), got {costs.shape}")
    filters, groups = costs.shape
    if fifo_depth is not None and fifo_depth < 0:
        raise TensorError(f"fifo_depth must be at least 0, or None for no bound, got {fifo_depth}")
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
    depth = groups if fifo_depth is None else min(fifo_depth, groups)
    ladder = np.zeros((len(ends) - 1, 3), np.int64)
    _fifo_ladder_compiled(costs, sizes, ends, depth, units or max(1, largest), ladder)
    return ladder
