"""A layer as loops: groups, steps and images around filters, input channels and output positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

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

    def taps(self) -> CountArray:
        """Make the input that each output reads through each kernel position, shape (outputs, kernel).

        Returns
        -------
        ndarray of int64
            -1 where there is none: in the padding, and between the inputs of a transposed convolution.
        """
        # Shape (outputs, kernel). A transposed convolution spreads its inputs: where the stride leaves a
        # rest, there is a gap between two of them.
        out = np.arange(self.outputs, dtype=np.int64)[:, None]
        reach = self.dilation * np.arange(self.kernel, dtype=np.int64)
        if self.transposed:
            place, phase = np.divmod(out + self.padding - reach, self.stride)
            place = np.where(phase == 0, place, -1)
        else:
            place = out * self.stride - self.padding + reach
        return np.where((place >= 0) & (place < self.inputs), place, -1)

    def reads(self, size: int) -> TileReads:
        """Find the inputs that tiles of `size` outputs read: with their halo, without padding.

        Parameters
        ----------
        size : int
            A divisor of `outputs`.
        """
        return _reads(self, size)

    @property
    def pointwise(self) -> bool:
        """Whether output i reads input i and no other."""
        plain = self.kernel == self.stride == 1 and not self.padding and not self.transposed
        return plain and self.outputs <= self.inputs


class TileReads(NamedTuple):
    """Inputs that tiles read along one dimension, shape (tiles,).

    Attributes
    ----------
    used : ndarray of int64
        Inputs that are used.
    span : ndarray of int64
        Inputs from the first to the last of them.
    """

    used: CountArray
    span: CountArray


@lru_cache(maxsize=1 << 14)
def _reads(axis: Axis, size: int) -> TileReads:
    # A matrix product has up to millions of positions, which all read one input each.
    if axis.pointwise:
        every = np.full(axis.outputs // size, size, np.int64)
        return TileReads(every, every)
    taps = axis.taps().reshape(axis.outputs // size, -1)
    last = taps.max(axis=1)
    first = np.where(taps < 0, axis.inputs, taps).min(axis=1)
    span = np.where(last < 0, 0, last - first + 1)
    # Different inputs of a tile: in sorted taps, those above their forerunner; the -1 in front drops padding.
    fresh = np.diff(np.sort(taps, axis=1), axis=1, prepend=-1) > 0
    return TileReads(fresh.sum(axis=1, dtype=np.int64), span)


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
