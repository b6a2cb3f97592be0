"""Layers as the SCNN paper's PEs share them: one tile of inputs per PE, output halos, groups of filters.

Geometry only, in NumPy; `hwmodel.accelerators.engines.queued_banks` counts the cycles. Unlike
`hwmodel.accelerators.engines.planes`, which follows a public simulator, tiles cut the plane without its
padding, phases of a stride are those that make the outputs, and a PE holds the halo's sums beside its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.planes import NOTHING, conv_outputs, input_planes, two
from hwmodel.networks.layers import Conv, Layer, Linear


@dataclass(frozen=True)
class TiledAxis:
    """One spatial axis of a convolution over PEs.

    Parameters
    ----------
    inputs, outputs : int
        Sizes; inputs without padding.
    kernel, stride, dilation : int
    padding : int
        In front.
    pes : int
    cuts : int
        Rounds of tiles, one after another.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    dilation: int
    padding: int
    pes: int
    cuts: int = 1

    @property
    def tiles(self) -> int:
        """Tiles along the axis, empty ones included."""
        return self.pes * self.cuts

    @property
    def tile(self) -> int:
        """Inputs of a tile; the last ones may have fewer."""
        return -(-self.inputs // self.tiles)

    @property
    def owned(self) -> npt.NDArray[np.int64]:
        """First output of each tile and the one behind its last, shape (tiles, 2)."""
        size = -(-self.outputs // self.tiles)
        first = np.arange(self.tiles) * size
        return np.minimum(np.stack([first, first + size], axis=1), self.outputs)

    @property
    def reached(self) -> npt.NDArray[np.int64]:
        """First output that each tile's inputs add to and the one behind the last, shape (tiles, 2)."""
        first = np.arange(self.tiles) * self.tile
        end = np.minimum(first + self.tile, self.inputs)
        low = -(-(first + self.padding - self.dilation * (self.kernel - 1)) // self.stride)
        high = (end - 1 + self.padding) // self.stride + 1
        low, high = (np.clip(bound, 0, self.outputs) for bound in (low, high))
        # Nothing is reached from a tile without inputs.
        return np.stack([low, np.where(first < end, np.maximum(low, high), low)], axis=1)

    @property
    def span(self) -> int:
        """Outputs from the first to the last that a tile owns or reaches, of the tile with most."""
        owned, reached = self.owned, self.reached
        any_owned, any_reached = (bounds[:, 0] < bounds[:, 1] for bounds in (owned, reached))
        low = np.minimum(
            np.where(any_owned, owned[:, 0], self.outputs), np.where(any_reached, reached[:, 0], self.outputs)
        )
        high = np.maximum(np.where(any_owned, owned[:, 1], 0), np.where(any_reached, reached[:, 1], 0))
        return int((high - low).max())

    @property
    def beyond(self) -> npt.NDArray[np.int64]:
        """Outputs that each tile reaches in front of its own, among them, and behind, shape (tiles, 3)."""
        low, high = self.reached.T
        first, end = self.owned.T
        before = np.maximum(np.minimum(high, first) - low, 0)
        behind = np.maximum(high - np.maximum(low, end), 0)
        return np.stack([before, high - low - before - behind, behind], axis=1)

    @property
    def tap(self) -> npt.NDArray[np.int64]:
        """Distance of each kernel position from the first."""
        return np.arange(self.kernel) * self.dilation

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Two lowest bits of the output that (kernel position, input) add to; `NOTHING` if there is none."""
        apart = np.arange(self.inputs) + self.padding - self.tap[:, None]
        out = apart // self.stride
        meets = (apart % self.stride == 0) & (out >= 0) & (out < self.outputs)
        found: npt.NDArray[np.int64] = np.where(meets, out & 3, NOTHING)
        return found

    def cut(self) -> TiledAxis:
        """Cut into the fewest rounds whose tiles are smaller."""
        cuts = -(-self.inputs // (self.pes * (self.tile - 1)))
        return TiledAxis(**{**self.__dict__, "cuts": cuts})


@dataclass(frozen=True)
class PlaneTiling:
    """How a layer is cut.

    Attributes
    ----------
    axes : (TiledAxis, TiledAxis)
    filters : int
        Filters of a group, whose sums a PE holds together. 0: not even one filter's sums fit.
    own_inputs : bool
        Whether each PE has inputs of its own of a fully connected layer; `axes` then are a plane of PEs.
    """

    axes: tuple[TiledAxis, TiledAxis]
    filters: int
    own_inputs: bool = False

    @property
    def rounds(self) -> int:
        """Rounds of tiles."""
        return self.axes[0].cuts * self.axes[1].cuts

    @property
    def halo(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Sums of one filter that leave a PE: on the busiest link, and on all; each of shape (rounds,)."""
        if self.own_inputs:
            # All PEs' sums of a filter meet in one output.
            return np.ones(1, np.int64), np.full(1, prod(a.pes for a in self.axes) - 1, np.int64)
        x, y = (a.beyond for a in self.axes)
        # (tile, direction) of either axis; the sums in the middle stay.
        leave = x[:, :, None, None] * y
        leave[:, 1, :, 1] = 0
        (mx, px), (my, py) = ((a.cuts, a.pes) for a in self.axes)
        by_round = leave.reshape(mx, px, 3, my, py, 3).transpose(0, 3, 1, 4, 2, 5).reshape(mx * my, -1)
        return by_round.max(axis=1), by_round.sum(axis=1)

    @property
    def outputs(self) -> npt.NDArray[np.int64]:
        """Outputs of a filter on the PE that has most, shape (rounds,)."""
        if self.own_inputs:
            return np.ones(1, np.int64)
        x, y = (np.diff(a.owned, axis=1).reshape(a.cuts, a.pes).max(axis=1) for a in self.axes)
        return (x[:, None] * y).reshape(-1)


@dataclass(frozen=True, eq=False)
class Mapped:
    """A layer's operands over tiles.

    Attributes
    ----------
    tiling : PlaneTiling
    activations : array of bool, shape (inputs, channels, x, y)
        Not 0; without padding.
    weights : array of bool, shape (1 or PEs, filters, channels of a convolution's group, kernel positions)
        Not 0. One set of weights for all PEs, or one for each.
    groups : int
        Groups of a convolution's channels, which run one after another.
    """

    tiling: PlaneTiling
    activations: npt.NDArray[np.bool_]
    weights: npt.NDArray[np.bool_]
    groups: int


def tiling_of(
    layer: Layer, *, pes: tuple[int, int], filters: int, sums: int, smaller_tiles: bool = True
) -> PlaneTiling:
    """Cut a convolution or a fully connected layer for PEs that hold `sums`.

    Parameters
    ----------
    layer : Conv or Linear
    pes : (int, int)
    filters : int
        Most filters of a group.
    sums : int
        Sums that a PE holds: those of its own outputs, and of its halo.
    smaller_tiles : bool
        What happens if a tile has too many outputs for a group of `filters`: the tiles are cut, along the
        axis on which they have more outputs, into rounds; or, if False, a group has fewer filters. Tiles of
        one input are not cut.
    """
    if isinstance(layer, Conv):
        padding = two(layer.padding, (0, 0))
        each = (
            two(layer.in_size, 1),
            conv_outputs(layer),
            two(layer.weight_shape[2:], 1),
            two(layer.stride, 1),
            two(layer.dilation, 1),
            (padding[0][0], padding[1][0]),
            pes,
        )
        x, y = (TiledAxis(*sizes) for sizes in zip(*each, strict=True))
        if layer.groups > 1 and layer.weight_shape[1] == 1:
            filters = 1
    else:
        assert isinstance(layer, Linear)
        at_once = layer.positions // layer.steps
        if at_once == 1:
            x, y = (TiledAxis(n, n, 1, 1, 1, 0, n) for n in pes)
            return PlaneTiling((x, y), min(filters, sums), own_inputs=True)
        # Positions become a plane as wide as there are columns of PEs.
        rows = -(-at_once // pes[1])
        x, y = (TiledAxis(n, n, 1, 1, 1, 0, p) for n, p in zip((rows, pes[1]), pes, strict=True))
    while smaller_tiles and filters * x.span * y.span > sums and max(x.tile, y.tile) > 1:
        if y.tile == 1 or (x.tile > 1 and x.span >= y.span):
            x = x.cut()
        else:
            y = y.cut()
    return PlaneTiling((x, y), min(filters, sums // (x.span * y.span)))


def mapped(
    layer: Layer, activations: npt.NDArray[np.bool_], weights: npt.NDArray[np.bool_], tiling: PlaneTiling
) -> Mapped:
    """See a layer's operands (not 0) as `tiling` cuts them."""
    a, w = activations, weights
    if isinstance(layer, Conv):
        planes = input_planes(layer, a)
        return Mapped(tiling, planes, w.reshape(1, *layer.weight_shape[:2], -1), layer.groups)
    assert isinstance(layer, Linear)
    a = a.reshape(layer.steps, -1, layer.in_features)
    w = w.reshape(layer.out_features, layer.in_features)
    x, y = (axis.inputs for axis in tiling.axes)
    if tiling.own_inputs:
        # Input i is channel i // PEs of PE i % PEs, whose plane it is alone.
        missing = -layer.in_features % (x * y)
        a = np.pad(a, ((0, 0), (0, 0), (0, missing))).reshape(len(a), -1, x, y)
        w = np.pad(w, ((0, 0), (0, missing))).reshape(len(w), -1, x * y).transpose(2, 0, 1)
        return Mapped(tiling, a, w[..., None], 1)
    a = np.pad(a, ((0, 0), (0, x * y - a.shape[1]), (0, 0))).transpose(0, 2, 1)
    return Mapped(tiling, a.reshape(len(a), -1, x, y), w[None, :, :, None], 1)


def phases(tiling: PlaneTiling) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Phase of the stride of each kernel position, and of each input along either axis.

    An input and a kernel position make an output only if they have the same phase, so sub-planes and
    sub-kernels of one phase are worked off together.

    Returns
    -------
    tuple of array
        Shapes (kernel positions,), (x,) and (y,); a phase is the sum of both axes' numbers.
    """
    x, y = tiling.axes
    taps = (x.tap % x.stride * y.stride)[:, None] + y.tap % y.stride
    inputs = [(np.arange(a.inputs) + a.padding) % a.stride for a in (x, y)]
    return taps.reshape(-1), inputs[0] * y.stride, inputs[1]


def bank_classes(tiling: PlaneTiling) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Parts of an output's class, by (kernel position, x) and (kernel position, y); `NOTHING` if none.

    Both exclusive-ored are the class of `hwmodel.accelerators.engines.cartesian.bank`.
    """
    x, y = tiling.axes
    if tiling.own_inputs:
        return np.zeros((1, x.inputs), np.int64), np.zeros((1, y.inputs), np.int64)
    # A coordinate gives its second bit, which both share, and its first.
    parts = []
    for classes, low in ((x.classes, 1), (y.classes, 0)):
        bits = (classes >> 1 & 1) << 2 | (classes & 1) << low
        parts.append(np.where(classes == NOTHING, NOTHING, bits))
    return np.repeat(parts[0], y.kernel, axis=0), np.tile(parts[1], (x.kernel, 1))
