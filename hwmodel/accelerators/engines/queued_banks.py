"""Cycles of SCNN's PEs whose accumulator banks have queues. Importing this module imports Numba.

A PE multiplies a block of activations with a block of weights per cycle. The crossbar sends each product to
the bank of its sum, a bank adds one per cycle, and those that must wait stand in the bank's queue. What finds
no room stays in the multipliers' registers, and then the next pair of blocks has to wait. Queues hold
products of several channels: they run empty at the end of a group of filters only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel, parallel, share
from hwmodel.accelerators.engines.cartesian import bank
from hwmodel.accelerators.engines.planar_tiles import Mapped, bank_classes, phases

UNLIMITED = 1 << 60
"""Depth of a queue that never is full."""


@kernel
def _pack_weights(weights, order, tap_phase, phases, first_filter, filters_at_once, taps, filters, starts):
    """List the weights that are not 0 by set, group of filters, channel and phase.

    `weights`: not 0, (sets, filters, channels, taps). `order`: 0 for taps outermost, 1 for filters outermost.
    `taps`, `filters`: where they lie, and which of the 8 classes of filters they are of. `starts`: where the
    list of (set, group, channel, phase) begins.
    """
    sets, all_filters, channels, all_taps = weights.shape
    held, part = 0, 0
    for s in range(sets):
        for first in range(0, all_filters, filters_at_once):
            last = min(first + filters_at_once, all_filters)
            outer, inner = (last - first, all_taps) if order == 1 else (all_taps, last - first)
            for c in range(channels):
                for phase in range(phases):
                    starts[part] = held
                    part += 1
                    for i in range(outer):
                        for j in range(inner):
                            f, tap = (first + i, j) if order == 1 else (first + j, i)
                            if tap_phase[tap] == phase and weights[s, f, c, tap]:
                                taps[held], filters[held] = tap, (first_filter + f) & 7
                                held += 1
    starts[part] = held


@kernel
def _tiles(
    start,
    stop,
    activations,
    grid,
    x_phase,
    y_phase,
    x_class,
    y_class,
    taps,
    filters,
    starts,
    sets,
    block_sizes,
    bank_of,
    banks,
    depth,
    cycles,
    counts,
):
    """Write the cycles of tiles `start` to `stop` to `cycles`, (groups of filters, tiles).

    Tiles are numbered round by round, PE by PE. Adds to `counts`: useful products, all products, pairs of
    blocks.
    """
    y_rounds, pe_rows, pe_columns, tw, th = grid
    width, block = block_sizes
    channels, all_x, all_y = activations.shape
    groups, phases = cycles.shape[0], (len(starts) - 1) // (sets * cycles.shape[0] * channels)
    xs, ys = np.empty(channels * tw * th, np.int64), np.empty(channels * tw * th, np.int64)
    a_starts = np.empty(channels * phases + 1, np.int64)
    of_block = np.empty((len(x_class), width), np.int64)
    # The cycle from which on a bank has nothing to add. Its queue is what lies between now and then.
    free = np.zeros(banks, np.int64)
    useful = products = pairs = np.int64(0)
    for tile in range(start, stop):
        pe = tile % (pe_rows * pe_columns)
        turn = tile // (pe_rows * pe_columns)
        x0 = ((turn // y_rounds) * pe_rows + pe // pe_columns) * tw
        y0 = ((turn % y_rounds) * pe_columns + pe % pe_columns) * th
        x1, y1 = min(x0 + tw, all_x), min(y0 + th, all_y)
        # First stage: the tile's activations that are not 0, by channel and phase.
        held = 0
        for c in range(channels):
            for phase in range(phases):
                a_starts[c * phases + phase] = held
                for x in range(x0, x1):
                    for y in range(y0, y1):
                        if activations[c, x, y] and x_phase[x] + y_phase[y] == phase:
                            xs[held], ys[held] = x, y
                            held += 1
        a_starts[channels * phases] = held
        own = pe if sets > 1 else 0
        for q in range(groups):
            # Second stage: group by group of filters, each block of activations stays while the weights of
            # its channel pass. `now` is the cycle in which the next pair of blocks is multiplied.
            free[:] = 0
            now = np.int64(0)
            for part in range(channels * phases):
                first, last = a_starts[part], a_starts[part + 1]
                at = (own * groups + q) * channels * phases + part
                w_first, w_last = starts[at], starts[at + 1]
                if first == last or w_first == w_last:
                    continue
                products += (last - first) * (w_last - w_first)
                for i in range(first, last, width):
                    size = min(width, last - i)
                    for tap in range(len(x_class)):
                        for j in range(size):
                            of_x, of_y = x_class[tap, xs[i + j]], y_class[tap, ys[i + j]]
                            of_block[tap, j] = 8 if of_x | of_y >= 8 else of_x ^ of_y
                    for w in range(w_first, w_last, block):
                        latest = np.int64(0)
                        for k in range(w, min(w + block, w_last)):
                            members, banks_of = of_block[taps[k]], bank_of[filters[k]]
                            for j in range(size):
                                c = members[j]
                                if c < 8:
                                    until = max(free[banks_of[c]], now) + 1
                                    free[banks_of[c]] = until
                                    latest = max(latest, until)
                                    useful += 1
                        # The next pair is multiplied when what is left of this one has room in the queues.
                        # Banks that got nothing now had room before.
                        now = max(now + 1, latest - depth)
                        pairs += 1
            # The group ends when the last bank has added its last product.
            for b in range(banks):
                now = max(now, free[b])
            cycles[q, tile] = now
    counts[0] += useful
    counts[1] += products
    counts[2] += pairs


def tile_cycles(
    layer: Mapped,
    activations: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.bool_],
    first_filter: int,
    *,
    blocks: tuple[int, int],
    banks: int,
    depth: int | None,
    filters_outermost: bool,
) -> tuple[npt.NDArray[np.int64], int, int, int]:
    """Cycles of each group of filters in every tile, for one input and one group of a convolution.

    Parameters
    ----------
    layer : Mapped
    activations : array of bool, shape (channels, x, y)
        Not 0.
    weights : array of bool, shape (sets, filters, channels, kernel positions)
        Not 0.
    first_filter : int
        Number of the first filter, which decides about banks.
    blocks : (int, int)
        Activations and weights that are multiplied per cycle.
    banks : int
    depth : int or None
        Products that a bank's queue holds; None: any number.
    filters_outermost : bool
        Whether a compressed block has filter after filter, or kernel position after kernel position.

    Returns
    -------
    cycles : array of int64, shape (groups of filters, rounds, PEs)
        Halos left out.
    useful, products, pairs : int
        Products that met an output, all, and pairs of blocks.
    """
    tiling = layer.tiling
    tap_phase, x_phase, y_phase = phases(tiling)
    count = tiling.axes[0].stride * tiling.axes[1].stride
    groups = -(-weights.shape[1] // tiling.filters)
    held = int(np.count_nonzero(weights))
    taps, filters = np.empty(held, np.int64), np.empty(held, np.int64)
    starts = np.empty(len(weights) * groups * weights.shape[2] * count + 1, np.int64)
    order = int(filters_outermost)
    weights = np.ascontiguousarray(weights)
    _pack_weights(weights, order, tap_phase, count, first_filter, tiling.filters, taps, filters, starts)
    x, y = tiling.axes
    tiles = x.tiles * y.tiles
    cycles = np.empty((groups, tiles), np.int64)
    grid = (y.cuts, x.pes, y.pes, x.tile, y.tile)
    bank_of = np.array([[bank(a, w, banks) for a in range(8)] for w in range(8)], np.int64)
    classes = bank_classes(tiling)
    given = np.ascontiguousarray(activations)

    def some(start: int, stop: int) -> npt.NDArray[np.int64]:
        counts = np.zeros(3, np.int64)
        _tiles(
            start,
            stop,
            given,
            grid,
            x_phase,
            y_phase,
            *classes,
            taps,
            filters,
            starts,
            len(weights),
            blocks,
            bank_of,
            banks,
            UNLIMITED if depth is None else depth,
            cycles,
            counts,
        )
        return counts

    # Tiles at the edges have less to do, so threads take them a few at a time.
    counts: Any = sum(parallel(some, tiles, share(tiles, 8)))
    useful, products, pairs = (int(n) for n in counts)
    return cycles.reshape(groups, tiling.rounds, -1), useful, products, pairs


def with_exchange(compute: npt.NDArray[np.int64], exchange: npt.NDArray[np.int64], buffers: int) -> int:
    """Cycles of groups that are computed one after another, each followed by the exchange of its halos.

    Parameters
    ----------
    compute, exchange : array of int64, shape (groups,)
        Cycles.
    buffers : int
        Sets of accumulators. A group is computed in one as soon as its last group has been exchanged, so
        with two sets the exchange goes on behind the next group.
    """
    computed = 0
    exchanged = [0] * buffers
    for spent, moved in zip(compute.tolist(), exchange.tolist(), strict=True):
        computed = max(computed, exchanged[-buffers]) + spent
        exchanged.append(max(computed, exchanged[-1]) + moved)
    return exchanged[-1]
