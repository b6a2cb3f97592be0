"""Cycles of SCNN's PEs whose accumulator banks have queues. Importing this module imports Numba.

A PE multiplies a block of activations with a block of weights per cycle. The crossbar sends each product to
the bank of its sum, a bank adds one per cycle, and those that must wait stand in the bank's queue. What finds
no room stays in the multipliers' registers, and then the next pair of blocks has to wait. Queues hold
products of several channels: they run empty at the end of a group of filters only.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel, parallel, share
from bitxcore.kernels.vectors import any_lane, like, load, store, where
from hwmodel.accelerators.engines.cartesian import bank
from hwmodel.accelerators.engines.planar_tiles import Mapped, bank_classes, phases
from hwmodel.accelerators.engines.planes import NOTHING

UNLIMITED = 1 << 60
"""Depth of a queue that never is full."""

BANKS = 32
"""Banks that there is room for, used or not: a vector register of bytes."""


@kernel
def _pack_weights(weights, order, tap_phase, phases, at_once, classes, block, rows, starts, tap_weights):
    """List the weights that are not 0 by set, channel, phase and group of filters, in whole blocks.

    `weights`: not 0, (sets, channels, filters, taps). `order`: 0 for taps outermost, 1 for filters outermost.
    `at_once`: filters of a group. `rows`: where their products' arrivals lie, see `_tiles`; the last block of
    a list is filled up with the row that has none. `starts`: where the list of (set, channel, phase, group)
    begins. `tap_weights`: weights of each tap, (sets, channels, taps).
    """
    sets, channels, all_filters, all_taps = weights.shape
    held, part = 0, 0
    for s in range(sets):
        for c in range(channels):
            for phase in range(phases):
                for first in range(0, all_filters, at_once):
                    last = min(first + at_once, all_filters)
                    outer, inner = (last - first, all_taps) if order == 1 else (all_taps, last - first)
                    starts[part] = held
                    part += 1
                    for i in range(outer):
                        for j in range(inner):
                            f, tap = (first + i, j) if order == 1 else (first + j, i)
                            if tap_phase[tap] == phase and weights[s, c, f, tap]:
                                rows[held] = (tap * classes + (f & 7)) * BANKS
                                tap_weights[s, c, tap] += 1
                                held += 1
                    while (held - starts[part - 1]) % block:
                        rows[held] = all_taps * classes * BANKS
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
    tap_phase,
    rows,
    starts,
    tap_weights,
    block_sizes,
    bank_of,
    queues,
    arrivals,
    depth,
    cycles,
    counts,
):
    """Write the cycles of tiles `start` to `stop` to `cycles`, (groups of filters, tiles).

    Tiles are numbered round by round, PE by PE. `bank_of`: of the classes of filters and of outputs.
    `queues`, (groups of filters, 32), and `arrivals`, (taps * classes of filters + 1, 32), are room for
    counts of products by bank, in a type that holds a full queue and a pair of blocks. Adds to `counts`:
    useful products, all products, pairs of blocks.
    """
    y_rounds, pe_rows, pe_columns, tw, th = grid
    width, block = block_sizes
    channels, all_x, all_y = activations.shape
    groups, (sets, _, taps), classes = len(cycles), tap_weights.shape, len(bank_of) // ((NOTHING + 1) * BANKS)
    phases = (len(starts) - 1) // (sets * groups * channels)
    xs, ys = np.empty(tw * th, np.int64), np.empty(tw * th, np.int64)
    now = np.empty(groups, np.int64)
    members = np.empty(width, np.int64)
    arrivals[:] = 0
    none = load(arrivals, taps * classes * BANKS, BANKS)
    one = like(none, 1)
    useful = products = pairs = np.int64(0)
    for tile in range(start, stop):
        pe = tile % (pe_rows * pe_columns)
        turn = tile // (pe_rows * pe_columns)
        x0 = ((turn // y_rounds) * pe_rows + pe // pe_columns) * tw
        y0 = ((turn % y_rounds) * pe_columns + pe % pe_columns) * th
        x1, y1 = min(x0 + tw, all_x), min(y0 + th, all_y)
        own = pe if sets > 1 else 0
        # `now` is the cycle in which a group of filters multiplies its next pair of blocks, `queues` what its
        # banks have not added by then. No group waits for another, so all of them take a block of
        # activations in turn, and what it sends to the banks is counted once.
        now[:] = 0
        queues[:] = 0
        for part in range(channels * phases):
            channel, phase = part // phases, part % phases
            lists = (own * channels * phases + part) * groups
            if starts[lists] == starts[lists + groups]:
                continue
            # First stage: the tile's activations that are not 0, of one channel and phase.
            held = 0
            for x in range(x0, x1):
                for y in range(y0, y1):
                    if activations[channel, x, y] and x_phase[x] + y_phase[y] == phase:
                        xs[held], ys[held] = x, y
                        held += 1
            for i in range(0, held, width):
                # Second stage: products of the block with a weight, by bank, for each tap and filter.
                size = min(width, held - i)
                for tap in range(taps):
                    times = tap_weights[own, channel, tap]
                    if tap_phase[tap] != phase or times == 0:
                        continue
                    products += size * times
                    for j in range(size):
                        of_x, of_y = x_class[tap, xs[i + j]], y_class[tap, ys[i + j]]
                        members[j] = NOTHING if of_x | of_y >= NOTHING else of_x ^ of_y
                        useful += times * (members[j] != NOTHING)
                    for f in range(classes):
                        row = none
                        for j in range(size):
                            row = row + load(bank_of, (f * (NOTHING + 1) + members[j]) * BANKS, BANKS)
                        store(arrivals, (tap * classes + f) * BANKS, row)
                # Third stage: the block stays while the weights of its channel pass, group by group. (An
                # unsigned index needs no look at its sign.)
                for q in range(groups):
                    at = lists + q
                    queue = load(queues, q * BANKS, BANKS)
                    for w in range(starts[at], starts[at + 1], block):
                        arriving = load(arrivals, rows[np.uint64(w)], BANKS)
                        for k in range(w + 1, w + block):
                            arriving = arriving + load(arrivals, rows[np.uint64(k)], BANKS)
                        queue = queue + arriving
                        # A cycle passes, in which every bank adds a product; and more, until what is left of
                        # this pair has room in the queues.
                        queue = queue - where(queue > 0, one, none)
                        now[q] += 1
                        while any_lane(queue > depth):
                            queue = queue - where(queue > 0, one, none)
                            now[q] += 1
                        pairs += 1
                    store(queues, q * BANKS, queue)
        # A group ends when the last bank has added its last product.
        for q in range(groups):
            longest = np.int64(0)
            for k in range(q * BANKS, (q + 1) * BANKS):
                longest = max(longest, np.int64(queues[k]))
            cycles[q, tile] = now[q] + longest
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
    sets, all_filters, channels, taps = weights.shape
    groups, block = -(-all_filters // tiling.filters), blocks[1]
    # Filters fall into 8 classes that decide about banks, and taps times classes are the rows of arrivals.
    classes = min(8, all_filters)
    starts = np.empty(sets * groups * channels * count + 1, np.int64)
    rows = np.empty(int(np.count_nonzero(weights)) + (len(starts) - 1) * (block - 1), np.int32)
    tap_weights = np.zeros((sets, channels, taps), np.int64)
    order = int(filters_outermost)
    by_channel = np.ascontiguousarray(weights.swapaxes(1, 2))
    _pack_weights(
        by_channel, order, tap_phase, count, tiling.filters, classes, block, rows, starts, tap_weights
    )
    x, y = tiling.axes
    tiles = x.tiles * y.tiles
    cycles = np.empty((groups, tiles), np.int64)
    grid = (y.cuts, x.pes, y.pes, x.tile, y.tile)
    of_x, of_y = bank_classes(tiling)
    given = np.ascontiguousarray(activations)
    # Bytes, wherever they hold what may wait in front of a bank: a register then holds all banks.
    narrow = depth is not None and depth + prod(blocks) <= np.iinfo(np.uint8).max
    dtype = np.uint8 if narrow else np.uint64
    bank_of = np.zeros((classes, NOTHING + 1, BANKS), dtype)
    for f, a in np.ndindex(classes, NOTHING):
        bank_of[f, a, bank(a, first_filter + f, banks)] = 1

    def some(start: int, stop: int) -> npt.NDArray[np.int64]:
        counts = np.zeros(3, np.int64)
        _tiles(
            start,
            stop,
            given,
            grid,
            x_phase,
            y_phase,
            of_x,
            of_y,
            tap_phase,
            rows,
            starts,
            tap_weights,
            blocks,
            bank_of.reshape(-1),
            np.empty(groups * BANKS, dtype),
            np.empty((taps * classes + 1) * BANKS, dtype),
            dtype(UNLIMITED if depth is None else depth),
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
