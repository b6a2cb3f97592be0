"""Operands as the lanes of a grid see them, in the order of `hwmodel.accelerators.engines.grid_plan`.

A *brick* is what all lanes take in one time step: `lanes` channels at one position, or at one kernel
position of a filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.grid_plan import GridPlan, axes
from hwmodel.networks.layers import Conv, ConvTranspose, Linear

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Bricks:
    """Activations as the lanes see them: `lanes` channels at one position of the padded input.

    Attributes
    ----------
    values : array of int, shape (positions, groups, channel blocks, lanes)
    base : array of int64, shape (passes, windows)
        Position at which a window begins.
    offset : array of int64, shape (kernel positions,)
        From there to each kernel position, in time order.
    """

    values: Array
    base: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]

    @property
    def index(self) -> npt.NDArray[np.int64]:
        """Position of each (pass, window, kernel position)."""
        return self.base[:, :, None] + self.offset


def activation_bricks(p: GridPlan, activations: Array) -> Bricks:
    """Lay activations out in bricks; missing lanes and padding are 0.

    Parameters
    ----------
    p : GridPlan
    activations : array of int
        ``(batch, channels, *size)`` of a convolution, ``(positions, features)`` of a linear layer,
        ``(batch, rows, inner)`` of a product of activations; or as many values in that order.
    """
    layer = p.layer
    if isinstance(layer, (Conv, ConvTranspose)):
        values, base, offset = _spatial_bricks(p, layer, activations)
    elif isinstance(layer, Linear):
        values = activations.reshape(layer.positions, layer.in_features)
        base, offset = np.arange(layer.positions), np.zeros(1, np.int64)
    else:
        shaped = activations.reshape(p.groups, layer.positions, layer.channels)
        values = shaped.transpose(1, 0, 2).reshape(layer.positions, -1)
        base, offset = np.arange(layer.positions), np.zeros(1, np.int64)
    # A group's lanes are the channels of its filters: repeated where a channel has several, and 0 in the
    # lanes that the last group leaves empty.
    if p.depthwise:
        channel = np.arange(layer.filters) // (layer.filters // layer.conv_groups)
        values = np.pad(values[:, channel], ((0, 0), (0, p.groups * p.lanes - layer.filters)))
    values = _in_lanes(p, values.reshape(len(values), p.groups, -1))
    return Bricks(values, base.astype(np.int64).reshape(p.passes, p.windows), offset)


def _in_lanes(p: GridPlan, values: Array) -> Array:
    """Cut the last axis, a filter's channels, into (channel blocks, lanes)."""
    # The last channel block may leave lanes empty; their activations are 0.
    missing = p.channel_blocks * p.lanes - values.shape[-1]
    if missing:
        values = np.pad(values, ((0, 0),) * (values.ndim - 1) + ((0, missing),))
    return np.ascontiguousarray(values.reshape(*values.shape[:-1], p.channel_blocks, p.lanes))


def _spatial_bricks(
    p: GridPlan, layer: Conv | ConvTranspose, activations: Array
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bricks with positions numbered first axis fastest: (positions, channels), base, offset."""
    size = axes(layer.in_size)
    x = activations.reshape(layer.batch, layer.in_channels, *size)
    transposed = isinstance(layer, ConvTranspose)
    if not transposed:
        padding: Any = layer.padding
        x = np.pad(x, ((0, 0), (0, 0), *padding))
    stride = axes(layer.stride)
    # From here on sizes are those of the padded, folded input.
    if p.folded:
        x, stride = _fold(x, stride), (1,) * len(stride)
    # Channels last; axes reversed, so that the first axis is the fastest of the position numbers.
    last_axis_first = tuple(range(x.ndim - 1, 1, -1))
    x = x.transpose(0, *last_axis_first, 1)
    sizes = x.shape[1:-1]
    # Position numbers that one step along each axis is worth.
    weight = [prod(sizes[d + 1 :]) for d in range(len(sizes))]
    if transposed:
        # Every kernel position meets the same input.
        return (
            x.reshape(-1, x.shape[-1]),
            np.arange(layer.batch * prod(sizes)),
            np.zeros(prod(p.kernel), np.int64),
        )
    base = _grid(layer.out_size[::-1], [w * s for w, s in zip(weight, stride[::-1], strict=True)])
    # Windows of all images of the batch, image after image.
    base = (np.arange(layer.batch)[:, None] * prod(sizes) + base).reshape(-1)
    dilation = axes(layer.dilation)[::-1]
    offset = _grid(p.kernel[::-1], [w * d for w, d in zip(weight, dilation, strict=True)])
    return x.reshape(-1, x.shape[-1]), base, offset


def _grid(counts: tuple[int, ...], weights: list[int]) -> npt.NDArray[np.int64]:
    """Flat index of each point of a grid, last axis fastest."""
    index = np.zeros(1, np.int64)
    for count, weight in zip(counts, weights, strict=True):
        index = (index[:, None] + np.arange(count) * weight).reshape(-1)
    return index


def _fold(x: Array, stride: tuple[int, ...]) -> Array:
    """Space to depth of ``(n, channels, *size)``: the first axis's phase next to the channel."""
    fill = [(0, -size % s) for size, s in zip(x.shape[2:], stride, strict=True)]
    x = np.pad(x, ((0, 0), (0, 0), *fill))
    n, channels, *sizes = x.shape
    # Each axis becomes (places, phases); phases join the channels, the last axis's outermost.
    split = [v for size, s in zip(sizes, stride, strict=True) for v in (size // s, s)]
    phases = tuple(3 + 2 * d for d in reversed(range(len(sizes))))
    places = tuple(2 + 2 * d for d in range(len(sizes)))
    x = x.reshape(n, channels, *split).transpose(0, *phases, 1, *places)
    return x.reshape(n, -1, *x.shape[len(sizes) + 2 :])


def weight_bricks(p: GridPlan, weights: Array) -> Array:
    """Lay weights out as the lanes see them.

    Returns
    -------
    array of int, shape (groups, filters, kernel positions, channel blocks, lanes)
        0 in missing lanes; a depthwise filter has its weights in its own lane only.
    """
    layer = p.layer
    w = weights.reshape(layer.weight_shape)
    if p.folded:
        assert isinstance(layer, Conv)
        w = _fold(w, axes(layer.stride))
    # Kernel positions in time order, last axis outermost; channels innermost.
    walk = (0, *range(w.ndim - 1, 1, -1), 1)
    w = w.transpose(walk).reshape(layer.filters, prod(p.kernel), -1)
    if p.depthwise:
        # Filter f of a group has its only channel in lane f; the other lanes multiply nothing.
        spread = np.zeros((p.groups * p.lanes, w.shape[1], p.lanes), w.dtype)
        f = np.arange(layer.filters)
        spread[f, :, f % p.lanes] = w[:, :, 0]
        w = spread
    return _in_lanes(p, w.reshape(p.groups, -1, *w.shape[1:]))


def words(values: Array, count: int, bits: int) -> npt.NDArray[np.uint16]:
    """Cut integers (two's complement) into words, lowest first, on a new last axis.

    Parameters
    ----------
    values : array of int
    count : int
        Words of a value.
    bits : int
        Of a word, at most 16.
    """
    mask = np.uint16((1 << bits) - 1)
    if count == 1:
        return values.astype(np.uint16)[..., None] & mask
    wide = values.astype(np.int64)
    return np.stack([(wide >> bits * b).astype(np.uint16) & mask for b in range(count)], axis=-1)


def stream(p: GridPlan, bricks: Bricks, table: Array, columns_at_once: int = 1) -> Array:
    """Give every (window set, time step, column) the entry of its brick.

    Parameters
    ----------
    p : GridPlan
    bricks : Bricks
    table : array, shape (positions, channel blocks, words)
        Of one group.
    columns_at_once : int
        Neighbouring physical columns whose entries are ORed together.

    Returns
    -------
    array, shape (window sets, steps, ceil(physical columns / columns_at_once))
        0 where there is no window.
    """
    # What every window reads, in time order.
    entries = table[bricks.index]  # passes, windows, kernel positions, channel blocks, words
    sets = p.window_sets // p.passes
    missing = sets * p.columns - p.windows
    if missing:
        entries = np.pad(entries, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
    # A window set takes a step together: columns innermost, words of a value in neighbouring columns.
    entries = entries.reshape(p.window_sets, p.columns, p.steps, p.activation_words)
    entries = entries.transpose(0, 2, 1, 3).reshape(p.window_sets, p.steps, p.physical_columns)
    if columns_at_once == 1:
        return entries
    starts = np.arange(0, p.physical_columns, columns_at_once)
    joined: Array = np.bitwise_or.reduceat(entries, starts, axis=-1)
    return joined


def present(p: GridPlan, columns_at_once: int = 1) -> npt.NDArray[np.bool_]:
    """Which entries of `stream` belong to a window, shape (window sets, 1, columns)."""
    sets = p.window_sets // p.passes
    # Window of each entry's first column; only the last set of a pass may lack some.
    first = np.arange(0, p.physical_columns, columns_at_once) // p.activation_words
    exists = np.arange(sets)[:, None] * p.columns + first < p.windows
    return np.tile(exists, (p.passes, 1))[:, None, :]


def held_lanes(p: GridPlan) -> npt.NDArray[np.bool_]:
    """Which lanes of which time steps hold a weight, be it 0, shape (filters or 1, steps, lanes)."""
    if p.depthwise:
        return np.repeat(np.eye(p.lanes, dtype=np.bool_)[:, None], p.steps, axis=1)
    blocks = np.arange(p.channel_blocks * p.lanes).reshape(-1, p.lanes) < p.channels
    return np.tile(blocks, (prod(p.kernel), 1))[None]


def meetings(bricks: Bricks, activations: Array, weights: Array) -> int:
    """Sum of activation × weight over all windows and filters.

    Parameters
    ----------
    bricks : Bricks
    activations : array, shape (positions, channel blocks, lanes)
    weights : array, shape (kernel positions, channel blocks, lanes)
        Summed over filters.
    """
    base = bricks.base.reshape(-1)
    return sum(
        int((activations[base + o].sum(axis=0, dtype=np.int64) * w).sum())
        for o, w in zip(bricks.offset, weights, strict=True)
    )
