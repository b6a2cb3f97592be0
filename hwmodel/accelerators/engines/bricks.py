"""How a grid of lanes, columns, rows and tiles walks through a layer.

Most machines of this family share DaDianNao's walk (C-order, outermost first)::

    for pass, for group, for window set, for round of filter sets, for time step

A time step multiplies `lanes` channels at one kernel position. Kernel positions are ordered with
the last spatial axis outermost, channel blocks are innermost and never straddle kernel
positions; windows (output positions) are numbered with the first spatial axis fastest. Columns take
windows, rows of all tiles take filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.networks.layers import Conv, ConvTranspose, Layer, Linear

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GridPlan:
    """The walk of one layer over one grid.

    Attributes
    ----------
    layer : Layer
    lanes, columns, rows, tiles : int
        Of the grid as this layer sees it: words taken, depthwise layers narrowed.
    activation_words, weight_words : int
        Words that an operand takes; each activation word needs a physical column, each weight word a row.
    word_bits : int
    groups, filters : int
        Groups that run one after another, and filters of a group (the most, if the last has fewer).
    passes, windows : int
        Passes that must follow one another, and windows of each.
    channels, kernel : int, tuple of int
        Of a filter, once a first layer's stride is folded into its channels.
    folded, depthwise : bool
    """

    layer: Layer
    lanes: int
    columns: int
    rows: int
    tiles: int
    activation_words: int
    weight_words: int
    word_bits: int
    groups: int
    filters: int
    passes: int
    windows: int
    channels: int
    kernel: tuple[int, ...]
    folded: bool
    depthwise: bool

    @property
    def channel_blocks(self) -> int:
        """Time steps at one kernel position."""
        return -(-self.channels // self.lanes)

    @property
    def steps(self) -> int:
        """Time steps of a window."""
        return self.channel_blocks * prod(self.kernel)

    @property
    def rounds(self) -> int:
        """Times that a group's windows are walked through, `rows` × `tiles` filters each."""
        return -(-self.filters // (self.rows * self.tiles))

    @property
    def window_sets(self) -> int:
        """Sets of windows worked on together, over all passes."""
        return self.passes * -(-self.windows // self.columns)

    @property
    def all_steps(self) -> int:
        """Time steps of the layer."""
        return self.groups * self.window_sets * self.rounds * self.steps

    @property
    def staggered(self) -> bool:
        """Whether columns take consecutive time steps of the only window (fully connected layers)."""
        return self.windows == 1 and not isinstance(self.layer, (Conv, ConvTranspose))

    @property
    def physical_columns(self) -> int:
        """Columns that a full window set occupies."""
        return self.columns * self.activation_words

    @property
    def filters_at_work(self) -> int:
        """Filters that use what one lane holds."""
        return 1 if self.depthwise else self.filters

    def lanes_at_work(self, group: int) -> npt.NDArray[np.int64]:
        """Lanes of a group that hold a channel, shape (channel blocks,)."""
        channels = self.channels
        if self.depthwise:
            channels = min(self.lanes, self.layer.filters - group * self.lanes)
        return np.minimum(self.lanes, channels - np.arange(self.channel_blocks) * self.lanes)

    def round_filters(self, index: int) -> slice:
        """Return the filters of a group that a round works on."""
        width = self.rows * self.tiles
        return slice(index * width, min(self.filters, (index + 1) * width))


def plan(
    layer: Layer,
    *,
    lanes: int,
    columns: int,
    rows: int,
    tiles: int,
    activation_bits: int = 16,
    weight_bits: int = 16,
    word_bits: int = 16,
    fold_first_layer: bool = True,
) -> GridPlan:
    """Lay a layer out on a grid.

    Parameters
    ----------
    layer : Layer
    lanes, columns, rows, tiles : int
        Of the grid.
    activation_bits, weight_bits, word_bits : int
        Precisions, and the width of a column's and a row's storage.
    fold_first_layer : bool
        Fold the stride of a 3-channel input into its channels (space to depth).

    Raises
    ------
    TensorError
        If one operand is wider than all columns or rows together.
    """
    activation_words = -(-activation_bits // word_bits)
    weight_words = -(-weight_bits // word_bits)
    columns, rows = columns // activation_words, rows // weight_words
    if not columns or not rows:
        raise TensorError(
            f"operands of {activation_bits} x {weight_bits} bits need more columns or rows than there are",
            layer=layer.name,
        )
    kernel = tuple(layer.weight_shape[2:])
    channels, groups = layer.channels, layer.conv_groups
    filters = layer.filters // groups
    folded = (
        fold_first_layer
        and isinstance(layer, Conv)
        and channels == 3
        and groups == 1
        and max(_tuple(layer.stride)) > 1
        and max(_tuple(layer.dilation)) == 1
    )
    if folded:
        assert isinstance(layer, Conv)
        strides = _tuple(layer.stride)
        channels *= prod(strides)
        kernel = tuple(-(-k // s) for k, s in zip(kernel, strides, strict=True))
    depthwise = layer.has_weights and channels == 1 and groups > 1
    if depthwise:
        lanes = rows = filters = min(lanes, rows)
        channels = lanes
        groups = -(-layer.filters // lanes)
    return GridPlan(
        layer=layer,
        lanes=lanes,
        columns=columns,
        rows=rows,
        tiles=tiles,
        activation_words=activation_words,
        weight_words=weight_words,
        word_bits=word_bits,
        groups=groups,
        filters=filters,
        passes=layer.steps,
        windows=layer.positions // layer.steps,
        channels=channels,
        kernel=kernel,
        folded=folded,
        depthwise=depthwise,
    )


def _tuple(sizes: Any) -> tuple[int, ...]:
    assert isinstance(sizes, tuple)
    return sizes


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
    if p.depthwise:
        channel = np.arange(layer.filters) // (layer.filters // layer.conv_groups)
        values = np.pad(values[:, channel], ((0, 0), (0, p.groups * p.lanes - layer.filters)))
    values = _in_lanes(p, values.reshape(len(values), p.groups, -1))
    return Bricks(values, base.astype(np.int64).reshape(p.passes, p.windows), offset)


def _in_lanes(p: GridPlan, values: Array) -> Array:
    """Cut the last axis, a filter's channels, into (channel blocks, lanes)."""
    missing = p.channel_blocks * p.lanes - values.shape[-1]
    if missing:
        values = np.pad(values, ((0, 0),) * (values.ndim - 1) + ((0, missing),))
    return np.ascontiguousarray(values.reshape(*values.shape[:-1], p.channel_blocks, p.lanes))


def _spatial_bricks(
    p: GridPlan, layer: Conv | ConvTranspose, activations: Array
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bricks with positions numbered first axis fastest: (positions, channels), base, offset."""
    size = _tuple(layer.in_size)
    x = activations.reshape(layer.batch, layer.in_channels, *size)
    transposed = isinstance(layer, ConvTranspose)
    if not transposed:
        padding: Any = layer.padding
        x = np.pad(x, ((0, 0), (0, 0), *padding))
    stride = _tuple(layer.stride)
    if p.folded:
        x, stride = _fold(x, stride), (1,) * len(stride)
    last_axis_first = tuple(range(x.ndim - 1, 1, -1))
    x = x.transpose(0, *last_axis_first, 1)
    sizes = x.shape[1:-1]
    weight = [prod(sizes[d + 1 :]) for d in range(len(sizes))]
    if transposed:
        # Every kernel position meets the same input.
        return (
            x.reshape(-1, x.shape[-1]),
            np.arange(layer.batch * prod(sizes)),
            np.zeros(prod(p.kernel), np.int64),
        )
    base = _grid(layer.out_size[::-1], [w * s for w, s in zip(weight, stride[::-1], strict=True)])
    base = (np.arange(layer.batch)[:, None] * prod(sizes) + base).reshape(-1)
    dilation = _tuple(layer.dilation)[::-1]
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
        w = _fold(w, _tuple(layer.stride))
    axes = (0, *range(w.ndim - 1, 1, -1), 1)
    w = w.transpose(axes).reshape(layer.filters, prod(p.kernel), -1)
    if p.depthwise:
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
    entries = table[bricks.index]  # passes, windows, kernel positions, channel blocks, words
    sets = p.window_sets // p.passes
    missing = sets * p.columns - p.windows
    if missing:
        entries = np.pad(entries, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
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
