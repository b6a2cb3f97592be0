"""A layer as loops: groups, steps and images around filters, input channels and output positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np

from hwmodel.memory.layout import CountArray
from hwmodel.networks.layers import Conv, ConvTranspose, Layer


@dataclass(frozen=True)
class Axis:
    """One dimension of the output, and what it reads of the input.

    Parameters
    ----------
    outputs, inputs : int
        Sizes.
    kernel, stride, dilation, padding : int
        `padding` before the first input.
    transposed : bool
        Whether the stride spreads the inputs instead of skipping outputs.
    """

    outputs: int = 1
    inputs: int = 1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    transposed: bool = False

    def reads(self, size: int) -> TileReads:
        """Find the inputs that tiles of `size` outputs read: with their halo, without padding.

        Parameters
        ----------
        size : int
            A divisor of `outputs`.
        """
        return _reads(self, size)

    @property
    def _reach(self) -> tuple[CountArray, int, int]:
        """Places of output 0 through each kernel position, in steps of 1/stride if transposed; the ends."""
        places = self.dilation * np.arange(self.kernel, dtype=np.int64) - self.padding
        if self.transposed:
            places = -places
        return places, int(places.min()), int(places.max())


@dataclass(frozen=True, eq=False)
class TileReads:
    """Inputs that tiles read along one dimension, however many tiles there are.

    Only some tiles are looked at: the first ones and the last ones, which reach into the padding, and one
    period of those between. The others repeat that period.

    Parameters
    ----------
    turns : ndarray of int64, shape (kept,)
        Tiles that are looked at; always the first and the last.
    count : ndarray of int64, shape (kept,)
        How many tiles each represents. What they read, and what their next ones read, is alike.
    used : ndarray of int64, shape (kept,)
        Inputs that are used.
    span : ndarray of int64, shape (kept,)
        Inputs from the first to the last of them.
    head, period, tail : int
        First tile of the first period, tiles of a period, and the first tile behind all periods.
    """

    turns: CountArray
    count: CountArray
    used: CountArray
    span: CountArray
    head: int
    period: int
    tail: int

    def at(self, turns: CountArray) -> CountArray:
        """Make the inputs used, and from the first to the last of them, of any tiles, shape (2, turns)."""
        between = self.head + (turns - self.head) % self.period
        # Behind the periods, `turns` are kept one by one: the last of them is the last that is kept.
        last = len(self.turns) - 1 - (self.turns[-1] - turns)
        kept = np.where(turns < self.head, turns, np.where(turns < self.tail, between, last))
        return np.stack((self.used[kept], self.span[kept]))


@lru_cache(maxsize=1 << 14)
def _reads(axis: Axis, size: int) -> TileReads:
    tiles = axis.outputs // size
    _, nearest, farthest = axis._reach
    # Tiles before `head` reach in front of the inputs, those from `tail` on behind them. A transposed
    # convolution has `stride` outputs from one input to the next, else an input has one output in `stride`.
    if axis.transposed:
        head = -(-max(0, -nearest) // size)
        tail = max(0, (axis.inputs * axis.stride - farthest) // size)
        period = axis.stride // gcd(axis.stride, size)
    else:
        head = -(-max(0, -nearest) // (axis.stride * size))
        tail = max(0, ((axis.inputs - 1 - farthest) // axis.stride + 1) // size)
        period = 1
    # The next one of a tile in a period is inside, too; the first and the last tile represent themselves.
    head, tail = min(tiles, max(1, head)), max(0, min(tiles, tail) - 1)
    if tail - head <= period:
        head = tail = tiles
    inside = np.arange(head, min(head + period, tail), dtype=np.int64)
    turns = np.concatenate((np.arange(head), inside, np.arange(tail, tiles)))
    count = np.ones(len(turns), np.int64)
    count[head : head + len(inside)] = (tail - inside + period - 1) // period
    return TileReads(turns, count, *_read_by(axis, size, turns), head, period, tail)


def _read_by(axis: Axis, size: int, turns: CountArray) -> tuple[CountArray, CountArray]:
    """Count what tiles read: places used, and from the first to the last of them."""
    # A kernel position takes a tile to an interval of places, `step` apart: from `low` to `high`, counted
    # from `base`. Shape (kernel, tiles). Those of one base are in order, both ends of them.
    places, begin = axis._reach[0], turns * size
    if axis.transposed:
        places, step = places[::-1, None], 1
        low, high = -((-begin - places) // axis.stride), (begin + size - 1 + places) // axis.stride
        base = np.zeros((axis.kernel, 1), np.int64)
    else:
        places = places[np.lexsort((places, places % axis.stride))][:, None]
        step, base = axis.stride, places % axis.stride
        low = begin + places // step
        high = low + size - 1
    # Of each interval, what is inside the inputs.
    first, last = np.maximum(low, 0), np.minimum(high, (axis.inputs - 1 - base) // step)
    inside = first <= last
    ends = np.where(inside, last * step + base, -1).max(axis=0)
    begins = np.where(inside, first * step + base, axis.inputs).min(axis=0)
    # Of that, what is behind the interval before: places that more than one kernel position reads count once.
    fresh = first.copy()
    fresh[1:] = np.where(base[1:] == base[:-1], np.maximum(first[1:], high[:-1] + 1), first[1:])
    used = np.maximum(last - fresh + 1, 0).sum(axis=0)
    return used, np.where(ends < 0, 0, ends - begins + 1)


@dataclass(frozen=True)
class Nest:
    """A layer's loops; equal for all layers that move the same values the same way.

    Parameters
    ----------
    groups, steps, batch : int
        Loops around all others: convolution groups, recurrent steps, images; of weights, only groups have
        some of their own.
    filters, channels : int
        Of a group.
    depth, rows, columns : Axis
        Spatial dimensions; of fewer than three, the first ones are of size 1.
    channels_last : bool
        Whether a position's channels are neighbours in DRAM; else a row's positions are.
    """

    groups: int
    steps: int
    batch: int
    filters: int
    channels: int
    depth: Axis
    rows: Axis
    columns: Axis
    channels_last: bool

    @property
    def extents(self) -> dict[str, int]:
        """Sizes of the tiled loops, in the order in which the search prefers large tiles."""
        inner = {"columns": self.columns.outputs, "rows": self.rows.outputs}
        inner |= {"channels": self.channels, "filters": self.filters}
        return inner | {"batch": self.batch, "groups": self.groups}

    @classmethod
    def of(cls, layer: Layer) -> Nest:
        """See `layer` as loops."""
        filters = layer.filters // layer.conv_groups
        if isinstance(layer, Conv | ConvTranspose):
            axes = spatial_axes(layer)
            depth, rows, columns = (*(Axis(),) * (3 - len(axes)), *axes)
            batch, channels = layer.batch, layer.channels
            return cls(layer.groups, 1, batch, filters, channels, depth, rows, columns, False)
        ready = layer.positions // layer.steps
        columns = Axis(ready, ready)
        return cls(layer.conv_groups, layer.steps, 1, filters, layer.channels, Axis(), Axis(), columns, True)


def spatial_axes(layer: Conv | ConvTranspose) -> tuple[Axis, ...]:
    """Return the dimensions of a convolution."""
    assert isinstance(layer.in_size, tuple)
    assert isinstance(layer.kernel, tuple)
    assert isinstance(layer.stride, tuple)
    assert isinstance(layer.dilation, tuple)
    assert isinstance(layer.padding, tuple)
    before = [pair[0] for pair in layer.padding if isinstance(pair, tuple)]
    sizes = (layer.out_size, layer.in_size, layer.kernel, layer.stride, layer.dilation, before)
    transposed = isinstance(layer, ConvTranspose)
    return tuple(Axis(o, i, k, s, d, p, transposed) for o, i, k, s, d, p in zip(*sizes, strict=True))
