"""The tiles and the order of loops that move fewest bytes between DRAM and the buffers.

A tile stays in its buffer while the loops inside do not ask for another one. So an operand is fetched once
for every turn of all loops down to the innermost one that changes its tile::

    for groups, step, images, plane        steps and planes one at a time
      for ...                              filters, channels and positions (rows, then columns), in some order
        weights      [groups, filters, channels]
        activations  [groups, step, images, plane, channels, rows, columns]   with halo, without padding
        outputs      [groups, step, images, plane, filters, rows, columns]

Several groups are in a tile only with all their filters and channels, several images only with all their rows
and columns.

Outputs that leave before their last channel are partial sums: written, and read back. Runs of activations
and outputs move whole bursts; weights and partial sums lie in the order in which they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import permutations, product
from math import ceil, isqrt, lcm, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.memory.layout import Extent, Runs, runs
from hwmodel.memory.nest import Axis, Nest

PARTIAL_SUM_BITS = 32

ORDERS: tuple[tuple[str, ...], ...] = tuple(permutations(("filters", "positions", "channels")))
"""Orders of the tiled loops, outermost first; of equally good ones the first is taken."""

OUTER = ("groups", "steps", "batch", "depth")
LOOPS = (*OUTER, "filters", "channels", "rows", "columns")
CHANGES = {
    "weights": frozenset({"groups", "filters", "channels"}),
    "activations": frozenset(LOOPS) - {"filters"},
    "outputs": frozenset(LOOPS) - {"channels"},
}
"""Loops whose turn changes the tile of each operand."""

Array = npt.NDArray[np.int64]
Sizes = dict[str, list[int]]
"""Of the tiled loops, as `_extents` orders them."""


@dataclass(frozen=True)
class OperandWidths:
    """What values take, in bits.

    Parameters
    ----------
    weights : int
        All weights in DRAM.
    held_weights : int
        All weights as the weight buffer holds them.
    activation, output : Fraction or int
        One value, in DRAM and in its buffer.
    burst : int
        What the DRAM moves at a time.
    partial_sum : int
    """

    weights: int
    held_weights: int
    activation: Fraction | int
    output: Fraction | int
    burst: int
    partial_sum: int = PARTIAL_SUM_BITS

    def integers(self) -> tuple[_Scaled, int]:
        """Scale to units of 1/n bit, and n: exact if n is at most 256, else rounded up."""
        n = min(256, lcm(Fraction(self.activation).denominator, Fraction(self.output).denominator))
        activation, output = ceil(self.activation * n), ceil(self.output * n)
        every = (self.weights * n, self.held_weights * n, activation, output)
        return _Scaled(*every, self.burst * n, self.partial_sum * n), n


@dataclass(frozen=True)
class _Scaled:
    """`OperandWidths` as integers."""

    weights: int
    held_weights: int
    activation: int
    output: int
    burst: int
    partial_sum: int


@dataclass(frozen=True)
class Buffers:
    """Bytes of the SRAMs, both halves together."""

    weight_buffer: int
    activation_buffer: int
    output_buffer: int


@dataclass(frozen=True)
class Traffic:
    """Bits that a layer moves between DRAM and its buffers.

    Parameters
    ----------
    weights, activations, outputs, partial_sums : int, Fraction or array
        Partial sums: out and in.
    """

    weights: Any
    activations: Any
    outputs: Any
    partial_sums: Any

    @property
    def total(self) -> Any:
        """Everything."""
        return self.weights + self.activations + self.outputs + self.partial_sums


@dataclass(frozen=True)
class Tiling:
    """A layer cut into tiles of equal size, worked on in a given order.

    Parameters
    ----------
    nest : Nest
    order : tuple of str
        One of `ORDERS`.
    filters, channels, rows, columns, batch, groups : int
        Sizes of a tile: divisors of the layer's.
    """

    nest: Nest
    order: tuple[str, ...]
    filters: int
    channels: int
    rows: int
    columns: int
    batch: int = 1
    groups: int = 1

    @property
    def trips(self) -> dict[str, int]:
        """Trips of all loops, outermost first."""
        trips = _trips(self.nest, {loop: getattr(self, loop) for loop in _extents(self.nest)})
        return {loop: trips[loop] for loop in (*OUTER, *_unrolled(self.order))}

    @property
    def tiles(self) -> int:
        """Tiles of the whole layer."""
        return prod(self.trips.values())

    def traffic(self, widths: OperandWidths) -> Traffic:
        """Bits between DRAM and the buffers, in closed form."""
        return _tiling_traffic(self, widths)

    def __str__(self) -> str:
        sizes = {loop: getattr(self, loop) for loop in _extents(self.nest)}
        shown = [f"{loop} {n} x {sizes.get(loop, 1)}" for loop, n in self.trips.items() if n > 1]
        return ", ".join(shown) or "one tile"


def _unrolled(order: tuple[str, ...]) -> tuple[str, ...]:
    """Loops of an order; positions are rows, then columns."""
    return tuple(loop for name in order for loop in (("rows", "columns") if name == "positions" else (name,)))


def _extents(nest: Nest) -> dict[str, int]:
    """Sizes of the tiled loops, in the order in which the search prefers large tiles."""
    rows, columns = nest.rows.outputs, nest.columns.outputs
    inner = {"columns": columns, "rows": rows, "channels": nest.channels, "filters": nest.filters}
    return inner | {"batch": nest.batch, "groups": nest.groups}


def _trips(nest: Nest, sizes: dict[str, Any]) -> dict[str, Any]:
    """Trips of all loops for tiles of given sizes, integers or arrays."""
    tiled = {loop: extent // sizes[loop] for loop, extent in _extents(nest).items()}
    return {"steps": nest.steps, "depth": nest.depth.outputs} | tiled


# -- boxes -------------------------------------------------------------------------------------


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


def activation_bits(nest: Nest, widths: _Scaled, sizes: Sizes) -> Array:
    """Bits of all tiles of activations, each moved once, shape (column, row, channel, image, group sizes)."""
    columns, rows = _classes(nest.columns, sizes["columns"]), _classes(nest.rows, sizes["rows"])
    planes = _classes(nest.depth, [1])
    channels, batch, groups = np.ix_(sizes["channels"], sizes["batch"], sizes["groups"])
    found = activation_runs(
        nest,
        batch[..., None],
        groups[..., None],
        channels[..., None],
        tuple(planes.reads),
        tuple(rows.reads[:, :, None, None, None, None]),
        tuple(columns.reads[:, :, None, None, None, None, None]),
    )
    bits = (found.bits(widths.activation, widths.burst) * planes.count).sum(axis=-1)
    bits = bits * rows.count[:, None, None, None] * columns.count[:, None, None, None, None]
    bits = np.add.reduceat(np.add.reduceat(bits, columns.start, axis=0), rows.start, axis=1)
    tiles = nest.steps * (nest.batch // batch) * (nest.groups // groups) * (nest.channels // channels)
    whole: Array = bits * tiles
    return whole


def output_bits(nest: Nest, widths: _Scaled, sizes: Sizes) -> Array:
    """Bits of all tiles of outputs, each moved once, shape (column, row, filter, image, group sizes)."""
    columns, rows, filters, batch, groups = np.ix_(
        *(sizes[loop] for loop in ("columns", "rows", "filters", "batch", "groups"))
    )
    tiles = nest.steps * nest.depth.outputs * (nest.batch // batch) * (nest.groups // groups)
    tiles = (
        tiles * (nest.filters // filters) * (nest.rows.outputs // rows) * (nest.columns.outputs // columns)
    )
    found = output_runs(nest, batch, groups, filters, rows, columns)
    bits: Array = found.bits(widths.output, widths.burst) * tiles
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

    reads: Array
    count: Array
    start: Array


def _classes(axis: Axis, sizes: Sequence[int]) -> _Classes:
    found = [np.unique(np.stack(axis.reads(size)), axis=1, return_counts=True) for size in sizes]
    lengths = [len(count) for _, count in found]
    return _Classes(
        reads=np.concatenate([reads for reads, _ in found], axis=1),
        count=np.concatenate([count for _, count in found]),
        start=np.cumsum([0, *lengths[:-1]]),
    )


# -- traffic -----------------------------------------------------------------------------------


def _fetches(operand: str, trips: dict[str, Any]) -> Any:
    """Count how often an operand's tile changes; `trips` outermost first, integers or arrays."""
    count: Any = 1
    for loop, n in reversed(trips.items()):
        count = count * (n if loop in CHANGES[operand] else np.where(count > 1, n, 1))
    return count


def _traffic(
    nest: Nest,
    widths: _Scaled,
    order: tuple[str, ...],
    trips: dict[str, Any],
    activations: Any,
    outputs: Any,
) -> Traffic:
    """Bits for one tiling, or for arrays of them; `activations`, `outputs`: of all tiles, moved once."""
    ordered = {loop: trips[loop] for loop in (*OUTER, *_unrolled(order))}

    def sweeps(operand: str) -> Any:
        """How often all of an operand is moved."""
        tiles: Any = 1
        for loop in CHANGES[operand]:
            tiles = tiles * trips[loop]
        return _fetches(operand, ordered) // tiles

    results = nest.steps * nest.depth.outputs * prod(_extents(nest).values()) // nest.channels
    return Traffic(
        weights=widths.weights * sweeps("weights"),
        activations=activations * sweeps("activations"),
        outputs=outputs,
        partial_sums=2 * (sweeps("outputs") - 1) * results * widths.partial_sum,
    )


@lru_cache(maxsize=1 << 12)
def _tiling_traffic(tiling: Tiling, widths: OperandWidths) -> Traffic:
    scaled, unit = widths.integers()
    nest, sizes = tiling.nest, {loop: [getattr(tiling, loop)] for loop in _extents(tiling.nest)}
    activations = activation_bits(nest, scaled, sizes).item()
    outputs = output_bits(nest, scaled, sizes).item()
    found = _traffic(nest, scaled, tiling.order, tiling.trips, activations, outputs)
    return Traffic(*(Fraction(int(bits), unit) for bits in astuple(found)))


# -- search ------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 12)
def best_tiling(nest: Nest, widths: OperandWidths, buffers: Buffers) -> Tiling:
    """Find the tiling that moves fewest bits, of all divisors and orders whose tiles fit half a buffer.

    Of equally good ones, that of fewest tiles; then the order that `ORDERS` states first; then the one of
    more columns (longer runs in DRAM), rows, channels, filters, images and groups, in this order.

    Raises
    ------
    TensorError
        If not even the smallest tile fits: the buffer, its size and the tile's.
    """
    scaled, unit = widths.integers()
    found = [_fitting(nest, scaled, buffers, unit, sizes) for sizes in _searched(nest)]
    size = {loop: np.concatenate([part.size[loop] for part in found]) for loop in _extents(nest)}
    if not len(size["columns"]):
        raise TensorError(_too_small(nest, scaled, buffers, unit))
    activations = np.concatenate([part.activations for part in found])
    outputs = np.concatenate([part.outputs for part in found])
    trips = _trips(nest, size)
    bits = np.stack([_traffic(nest, scaled, o, trips, activations, outputs).total for o in ORDERS])
    tiles = prod(trips.values())
    fewest = np.where(bits == bits.min(), tiles, np.iinfo(np.int64).max)
    order, at = np.nonzero(fewest == fewest.min())
    best = np.lexsort((*(-size[loop][at] for loop in reversed(size)), order))[0]
    return Tiling(nest, ORDERS[order[best]], **{loop: int(size[loop][at[best]]) for loop in size})


def _searched(nest: Nest) -> Iterator[Sizes]:
    """Tile sizes whose combinations are searched."""
    extents = _extents(nest)
    sizes = {loop: _divisors(extent) for loop, extent in extents.items()}
    several = {loop: sizes[loop][:-1] for loop in ("groups", "batch")}
    whole = {loop: [extent] for loop, extent in extents.items()}
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

    size: dict[str, Array]
    activations: Array
    outputs: Array


def _fitting(nest: Nest, widths: _Scaled, buffers: Buffers, unit: int, sizes: Sizes) -> _Fitting:
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
    nest: Nest, widths: _Scaled, groups: Any, filters: Any, channels: Any, outputs: Any, reads: Any
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
    weight_tiles = (nest.groups // groups) * (nest.filters // filters) * (nest.channels // channels)
    weights = -(-widths.held_weights // weight_tiles)
    one_turn = np.where(np.equal(channels, nest.channels), widths.output, widths.partial_sum)
    return weights, groups * channels * reads * widths.activation, groups * filters * outputs * one_turn


def most_reads(nest: Nest, rows: int, columns: int) -> int:
    """Most inputs that a tile reads of a channel of one image."""
    deep, down = nest.depth.reads(1).used.max(), nest.rows.reads(rows).used.max()
    return int(deep * down * nest.columns.reads(columns).span.max())


def _fit(nest: Nest, widths: _Scaled, buffers: Buffers, unit: int, sizes: Sizes) -> Any:
    """Whether tiles fit half of each buffer, for all combinations of sizes."""
    columns, rows, channels, filters, batch, groups = np.ix_(*sizes.values())
    reads = np.array([[most_reads(nest, r, c) for r in sizes["rows"]] for c in sizes["columns"]])
    reads, outputs = batch * reads[:, :, None, None, None, None], batch * rows * columns
    needed = tile_bits(nest, widths, groups, filters, channels, outputs, reads)
    fits: Any = True
    for bits, size in zip(needed, astuple(buffers), strict=True):
        fits = fits & (bits <= size // 2 * 8 * unit)
    return fits


def _too_small(nest: Nest, widths: _Scaled, buffers: Buffers, unit: int) -> str:
    needed = tile_bits(nest, widths, 1, 1, 1, 1, most_reads(nest, 1, 1))
    for name, bits in zip(("weight_buffer", "activation_buffer", "output_buffer"), needed, strict=True):
        size, least = getattr(buffers, name), -(-int(bits) // (8 * unit))
        if least > size // 2:
            return f"{name}_bytes={size}: half of it is {size // 2} bytes, the smallest tile has {least}"
    raise AssertionError("the smallest tile fits every buffer")
