"""The search for the tiles, and the orders of loops, that move fewest bytes between DRAM and the buffers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from functools import lru_cache
from itertools import product
from math import isqrt, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from hwmodel.memory.layout import CountArray
from hwmodel.memory.nest import Nest
from hwmodel.memory.tile_boxes import TileSizes, activation_bits, output_bits
from hwmodel.memory.tiling import ORDERS, Buffers, Order, Tiling, traffic_of, trips_of
from hwmodel.memory.widths import OperandWidths, ScaledWidths

MOST_BITS = 1 << 62
"""Tilings that move more are not looked at: their sums are beyond 64 bits."""


def best_tiling(nest: Nest, widths: OperandWidths, buffers: Buffers) -> Tiling:
    """Find the tiling that moves fewest bits, of equally good ones the first of `equal_tilings`.

    Raises
    ------
    OptionError
        If not even the smallest tile fits: the buffer, its size and the tile's.

    Examples
    --------
    >>> from hwmodel import Linear
    >>> nest = Nest.of(Linear("fc", in_features=4096, out_features=1000))
    >>> weight_bits = 4096 * 1000 * 16
    >>> widths = OperandWidths(weight_bits, weight_bits, activation=16, output=16, burst=512)
    >>> str(best_tiling(nest, widths, Buffers(1 << 19, 1 << 19, 1 << 18)))
    'channels 32 x 128'
    """
    return equal_tilings(nest, widths, buffers)[0]


@lru_cache(maxsize=1 << 12)
def equal_tilings(nest: Nest, widths: OperandWidths, buffers: Buffers) -> tuple[Tiling, ...]:
    """Find all tilings that move fewest bits, of all divisors and orders whose tiles fit half a buffer.

    Orders that turn the same loops are one tiling, in the order that `ORDERS` states first.

    Returns
    -------
    tuple of Tiling
        Those of fewest tiles first; then by order, as in `ORDERS`; then those of more columns (longer runs in
        DRAM), rows, channels, filters, images and groups, in this order.

    Raises
    ------
    OptionError
        If not even the smallest tile fits: the buffer, its size and the tile's.
    """
    scaled, unit = widths.integers()
    found = [_fitting(nest, scaled, buffers, unit, sizes) for sizes in _searched(nest)]
    size = {loop: np.concatenate([part.size[loop] for part in found]) for loop in nest.extents}
    if not len(size["columns"]):
        raise _too_small(nest, scaled, buffers, unit)
    # One entry per tiling that fits, in 1/unit bits; in `bits`, orders are the first axis.
    activations = np.concatenate([part.activations for part in found])
    outputs = np.concatenate([part.outputs for part in found])
    trips = trips_of(nest, size)
    bits = np.stack([_total(nest, scaled, order, trips, activations, outputs) for order in ORDERS])
    order, at = np.nonzero((bits == bits.min()) & _different_orders(trips))
    # `lexsort`, whose last key counts most: fewest tiles, the first order, the largest tile, loop by loop.
    tiles = prod(trips.values())[at]
    ranked = np.lexsort((*(-size[loop][at] for loop in reversed(size)), order, tiles))
    return tuple(
        Tiling(nest, ORDERS[order[n]], **{loop: int(size[loop][at[n]]) for loop in size}) for n in ranked
    )


def _total(nest: Nest, widths: ScaledWidths, order: Order, trips: Any, activations: Any, outputs: Any) -> Any:
    """All bits that tilings move, or the largest integer where these are beyond `MOST_BITS`."""
    total = traffic_of(nest, widths, order, trips, activations, outputs).total
    # Integers wrap around without a word; the same sum in floating point does not. Few layers need it.
    turns = nest.steps * nest.depth.outputs * prod(nest.extents.values())
    if (widths.weights + int(activations.max()) + 2 * widths.partial_sum) * turns < MOST_BITS:
        return total
    floats = {loop: np.asarray(n, np.float64) for loop, n in trips.items()}
    about = traffic_of(nest, widths, order, floats, 1.0 * activations, 1.0 * outputs).total
    return np.where(about < MOST_BITS, total, np.iinfo(np.int64).max)


def _different_orders(trips: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """For each order and tiling, whether no order before turns the same loops the same way."""
    turns = {"filters": trips["filters"] > 1, "channels": trips["channels"] > 1}
    turns["positions"] = (trips["rows"] > 1) | (trips["columns"] > 1)
    which = sum(turns[loop] << n for n, loop in enumerate(turns))
    # One row per set of loops that turn, one column per order.
    table = []
    for chosen in range(1 << len(turns)):
        turning = {loop for n, loop in enumerate(turns) if chosen >> n & 1}
        kept = [tuple(loop for loop in order if loop in turning) for order in ORDERS]
        table.append([order not in kept[:n] for n, order in enumerate(kept)])
    different: npt.NDArray[np.bool_] = np.array(table)[which].T
    return different


def _searched(nest: Nest) -> Iterator[TileSizes]:
    """Tile sizes whose combinations are searched."""
    extents = nest.extents
    sizes = {loop: _divisors(extent) for loop, extent in extents.items()}
    several = {loop: sizes[loop][:-1] for loop in ("groups", "batch")}
    whole = {loop: [extent] for loop, extent in extents.items()}
    # Four disjoint families: one group or several, one image or several. Several groups or images take whole
    # extents inside, so that the families with them are small.
    for groups, batch in product(([1], several["groups"]), ([1], several["batch"])):
        found = sizes | {"groups": groups, "batch": batch}
        if groups != [1]:
            found |= {loop: whole[loop] for loop in ("filters", "channels")}
        if batch != [1]:
            found |= {loop: whole[loop] for loop in ("rows", "columns")}
        if groups and batch:
            yield found


class _Fitting(NamedTuple):
    """Tiles that fit their buffers: sizes, and bits of all tiles, each moved once; arrays of one length."""

    size: dict[str, CountArray]
    activations: CountArray
    outputs: CountArray


def _fitting(nest: Nest, widths: ScaledWidths, buffers: Buffers, unit: int, sizes: TileSizes) -> _Fitting:
    # Places along the six axes of `sizes`. Activations have no filters and outputs no channels, so each array
    # of bits has five of these axes.
    at = np.nonzero(_fit(nest, widths, buffers, unit, sizes))
    column, row, channel, filters, batch, group = at
    return _Fitting(
        {loop: np.array(sizes[loop])[n] for loop, n in zip(sizes, at, strict=True)},
        activation_bits(nest, widths, sizes)[column, row, channel, batch, group],
        output_bits(nest, widths, sizes)[column, row, filters, batch, group],
    )


def _divisors(n: int) -> list[int]:
    """Divisors, largest first."""
    small = [d for d in range(1, isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)}, reverse=True)


def tile_bits(
    nest: Nest, widths: ScaledWidths, groups: Any, filters: Any, channels: Any, outputs: Any, reads: Any
) -> tuple[Any, Any, Any]:
    """Bits of a tile in the weight, the activation and the output buffer.

    Parameters
    ----------
    nest : Nest
    widths : OperandWidths
    groups, filters, channels, outputs : int or array
        Of a tile; `outputs` counts positions, of all its images.
    reads : int or array
        Most inputs that a tile reads of a channel, in all its images.
    """
    # All weights are cut into equal shares, of compressed ones too: a tile's is rounded up.
    weight_tiles = (nest.groups // groups) * (nest.filters // filters) * (nest.channels // channels)
    weights = -(-widths.held_weights // weight_tiles)
    # With all channels at once sums are finished in the buffer; else they wait there as partial sums.
    one_turn = np.where(np.equal(channels, nest.channels), widths.output, widths.partial_sum)
    return weights, groups * channels * reads * widths.activation, groups * filters * outputs * one_turn


def most_reads(nest: Nest, rows: int, columns: int) -> int:
    """Most inputs that a tile reads of a channel of one image."""
    # Planes and rows that no output uses stay in DRAM; along columns all from the first to the last come
    # along.
    deep, down = nest.depth.reads(1).used.max(), nest.rows.reads(rows).used.max()
    return int(deep * down * nest.columns.reads(columns).span.max())


@lru_cache(maxsize=64)
def _all_reads(nest: Nest, rows: tuple[int, ...], columns: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """`most_reads` of tiles of all sizes, shape (columns, rows)."""
    return np.array([[most_reads(nest, r, c) for r in rows] for c in columns], np.float64)


def _fit(nest: Nest, widths: ScaledWidths, buffers: Buffers, unit: int, sizes: TileSizes) -> Any:
    """Whether tiles fit half of each buffer, for all combinations of sizes."""
    # One axis per loop, in the order of `Nest.extents`; NumPy broadcasts these to all combinations.
    columns, rows, channels, filters, batch, groups = np.ix_(*sizes.values())
    # Floating point: a tile of the largest layers has more bits than an integer. Those that fit are exact.
    reads = _all_reads(nest, tuple(sizes["rows"]), tuple(sizes["columns"]))
    reads, outputs = batch * reads[:, :, None, None, None, None], 1.0 * batch * rows * columns
    needed = tile_bits(nest, widths, groups, filters, channels, outputs, reads)
    fits: Any = True
    # Half a buffer, in 1/unit bits, since the next tile is loaded into the other half.
    for bits, size in zip(needed, astuple(buffers), strict=True):
        fits = fits & (bits <= size // 2 * 8 * unit)
    return fits


def _too_small(nest: Nest, widths: ScaledWidths, buffers: Buffers, unit: int) -> OptionError:
    """Make the error that names the buffer, which is an option of the machine."""
    needed = tile_bits(nest, widths, 1, 1, 1, 1, most_reads(nest, 1, 1))
    for name, bits in zip(("weight_buffer", "activation_buffer", "output_buffer"), needed, strict=True):
        size, least = getattr(buffers, name), -(-int(bits) // (8 * unit))
        if least > size // 2:
            return OptionError(
                f"{name}_bytes={size}: half of it is {size // 2} bytes, the smallest tile has {least}",
                value=size,
            )
    raise AssertionError("the smallest tile fits every buffer")
