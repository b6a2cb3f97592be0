"""What all tiles of activations and of outputs move, each tile once: the bursts of their boxes in DRAM.

Whole arrays of tile sizes are looked at together, since the search asks for every combination of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hwmodel.memory.layout import CountArray, Extent, Runs, runs
from hwmodel.memory.nest import Axis, Nest
from hwmodel.memory.widths import ScaledWidths

TileSizes = dict[str, list[int]]
"""Sizes of the tiled loops, in the order of `Nest.extents`."""

Sizes = tuple[int, ...]
"""Sizes of one loop."""


def activation_runs(
    nest: Nest, batch: Any, groups: Any, channels: Any, planes: Any, rows: Any, columns: Any
) -> Runs:
    """Find the runs of a tile of activations.

    Parameters
    ----------
    nest : Nest
    batch, groups, channels : int or array
    planes, rows, columns : tuple of (int or array)
        Inputs read, and from the first to the last of them; along columns all between come along.
    """
    across = Extent(columns[1], columns[1], nest.columns.inputs)
    deep = Extent(channels, channels, nest.channels)
    # As tensors lie in DRAM, innermost last: (image, group, position, channel) of matrix products,
    # (image, group, channel, plane, row, column) of convolutions.
    if nest.channels_last:
        return runs((deep, across, *_outside(nest, batch, groups)))
    down, through = (*rows, nest.rows.inputs), (*planes, nest.depth.inputs)
    inside = (across, Extent._make(down), Extent._make(through), deep)
    return runs((*inside, *_outside(nest, batch, groups)))


def output_runs(nest: Nest, batch: Any, groups: Any, filters: Any, rows: Any, columns: Any) -> Runs:
    """Find the runs of a tile of outputs."""
    across = Extent(columns, columns, nest.columns.outputs)
    deep = Extent(filters, filters, nest.filters)
    if nest.channels_last:
        return runs((deep, across, *_outside(nest, batch, groups)))
    inside = (across, Extent(rows, rows, nest.rows.outputs), Extent(1, 1, nest.depth.outputs), deep)
    return runs((*inside, *_outside(nest, batch, groups)))


def _outside(nest: Nest, batch: Any, groups: Any) -> tuple[Extent, Extent]:
    return Extent(groups, groups, nest.groups), Extent(batch, batch, nest.batch)


def activation_bits(nest: Nest, widths: ScaledWidths, sizes: TileSizes) -> CountArray:
    """Bits of all tiles of activations, each moved once, shape (column, row, channel, image, group sizes)."""
    return _activation_bits(nest, widths.activation, widths.burst, *map(tuple, sizes.values()))


def output_bits(nest: Nest, widths: ScaledWidths, sizes: TileSizes) -> CountArray:
    """Bits of all tiles of outputs, each moved once, shape (column, row, filter, image, group sizes)."""
    return _output_bits(nest, widths.output, widths.burst, *map(tuple, sizes.values()))


# The machines of a run, and the halves of their buffers, search the same sizes layer by layer, at few widths.
@lru_cache(maxsize=64)
def _activation_bits(
    nest: Nest, width: int, burst: int, across: Sizes, down: Sizes, deep: Sizes, _: Sizes, *outside: Sizes
) -> CountArray:
    # Tiles at an edge read less than those inside, so the tiles of a size fall into a few classes. Axes of
    # the arrays: column class, row class, channels, images, groups, plane class.
    columns, rows = _classes(nest.columns, across), _classes(nest.rows, down)
    planes = _classes(nest.depth, (1,))
    channels, batch, groups = np.ix_(deep, *outside)
    found = activation_runs(
        nest,
        batch[..., None],
        groups[..., None],
        channels[..., None],
        tuple(planes.reads),
        tuple(rows.reads[:, :, None, None, None, None]),
        tuple(columns.reads[:, :, None, None, None, None, None]),
    )
    # Bits of one tile of each class, times the tiles of the class. Planes have one size and are summed at
    # once; `reduceat` adds up the classes of each column size and of each row size.
    bits = (found.bits(width, burst) * planes.count).sum(axis=-1)
    bits = bits * rows.count[:, None, None, None] * columns.count[:, None, None, None, None]
    bits = np.add.reduceat(np.add.reduceat(bits, columns.start, axis=0), rows.start, axis=1)
    # Along the other loops all tiles of a size are alike.
    tiles = nest.steps * (nest.batch // batch) * (nest.groups // groups) * (nest.channels // channels)
    whole: CountArray = bits * tiles
    return whole


@lru_cache(maxsize=64)
def _output_bits(
    nest: Nest, width: int, burst: int, across: Sizes, down: Sizes, _: Sizes, deep: Sizes, *outside: Sizes
) -> CountArray:
    columns, rows, filters, batch, groups = np.ix_(across, down, deep, *outside)
    tiles = nest.steps * nest.depth.outputs * (nest.batch // batch) * (nest.groups // groups)
    tiles = (
        tiles * (nest.filters // filters) * (nest.rows.outputs // rows) * (nest.columns.outputs // columns)
    )
    found = output_runs(nest, batch, groups, filters, rows, columns)
    bits: CountArray = found.bits(width, burst) * tiles
    return bits


@dataclass(frozen=True)
class _Classes:
    """Different tiles along a dimension, for one tile size after another.

    Parameters
    ----------
    reads : ndarray, shape (2, classes)
        Inputs read, and from the first to the last of them.
    count : ndarray, shape (classes,)
        Tiles of the class.
    start : ndarray, shape (sizes,)
        First class of each size.
    """

    reads: CountArray
    count: CountArray
    start: CountArray


def _classes(axis: Axis, sizes: Sizes) -> _Classes:
    # A class is a pair of counts, read and spanned; classes of one tile size after those of another.
    found = [_different(axis, size) for size in sizes]
    lengths = [len(count) for _, count in found]
    return _Classes(
        reads=np.concatenate([reads for reads, _ in found], axis=1),
        count=np.concatenate([count for _, count in found]),
        start=np.cumsum([0, *lengths[:-1]]),
    )


@lru_cache(maxsize=1 << 14)
def _different(axis: Axis, size: int) -> tuple[CountArray, CountArray]:
    """Different pairs of inputs read and spanned by tiles of a size, and how many tiles have each."""
    tiles = axis.reads(size)
    pairs, which = np.unique(np.stack((tiles.used, tiles.span)), axis=1, return_inverse=True)
    count = np.zeros(pairs.shape[1], np.int64)
    np.add.at(count, which.reshape(-1), tiles.count)
    return pairs, count
