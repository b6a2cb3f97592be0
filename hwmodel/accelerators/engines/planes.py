"""Layers as SCNN's PEs share them: planes cut into tiles, one tile per PE.

Nothing here counts cycles; `hwmodel.accelerators.engines.cartesian` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.networks.layers import Conv, Layer, Linear

FC_PLANE = 16
"""Side of the plane that a fully connected layer's inputs are arranged in."""

NOTHING = 8
"""Class, for its bank, of what meets no output or is not there."""


@dataclass(frozen=True)
class Plane:
    """A convolution over a padded plane, as SCNN's PEs share it.

    Attributes
    ----------
    outputs, stride : (int, int)
    kernel, dilation : (int, int)
    padding : (int, int)
        In front of each axis.
    pes : (int, int)
        PEs along each axis.
    phase_shift : bool
        Whether phases of the stride are compared after moving kernel positions by the padding.
    """

    outputs: tuple[int, int]
    stride: tuple[int, int]
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    pes: tuple[int, int]
    phase_shift: bool

    @property
    def output_tile(self) -> int:
        """Partial sums that a PE holds for one output channel."""
        return output_tile(self.outputs, self.pes)

    def halo(self, size: tuple[int, ...]) -> int:
        """Partial sums of the largest halo, for one output channel, over a padded input of `size`."""
        # Along each axis: what reaches beyond the tile, the tile itself, and what lies in front of it.
        sides = []
        for d in (0, 1):
            reach = (self.kernel[d] - 1) * self.dilation[d] - self.padding[d]
            sides.append((max(reach, 0), -(-size[d] // self.pes[d]), self.padding[d]))
        around = [x * y for i, x in enumerate(sides[0]) for j, y in enumerate(sides[1]) if (i, j) != (1, 1)]
        return int(max(around))

    def products(self, activations: npt.NDArray[np.bool_], weights: npt.NDArray[np.bool_]) -> int:
        """Products of a group's walk: each weight meets each activation of its channel and phase.

        Wherever they fall: products that meet no output are multiplied, too.

        Parameters
        ----------
        activations : array of bool, shape (channels, x, y)
            Not 0; padding included.
        weights : array of bool, shape (filters, channels, r, s)
            Not 0.
        """
        a_phase = [np.arange(n) % s for n, s in zip(activations.shape[1:], self.stride, strict=True)]
        shift = self.padding if self.phase_shift else (0, 0)
        w_phase = [
            (np.arange(k) * d + moved) % s
            for k, d, moved, s in zip(self.kernel, self.dilation, shift, self.stride, strict=True)
        ]
        products = 0
        for px in range(self.stride[0]):
            for py in range(self.stride[1]):
                a, w = (
                    _in_phase(x, phases[0] == px, phases[1] == py)
                    for x, phases in ((activations, a_phase), (weights, w_phase))
                )
                # By channel: how many of each kind there are; their product is all pairs.
                of_activations = a.reshape(len(a), -1).sum(axis=1, dtype=np.int32).astype(np.int64)
                of_weights = w.sum(axis=0, dtype=np.int32).sum(axis=(1, 2), dtype=np.int64)
                products += int(of_activations @ of_weights)
        return products


@dataclass(frozen=True, eq=False)
class Arranged:
    """A layer's operands over one plane.

    Attributes
    ----------
    plane : Plane
    activations : array, shape (inputs, channels, x, y)
        With padding.
    weights : array, shape (filters, channels of a group, r, s)
    groups : int
        Groups of channels, which run one after another.
    halo : int
        Partial sums that a PE exchanges for one output channel.
    """

    plane: Plane
    activations: npt.NDArray[Any]
    weights: npt.NDArray[Any]
    groups: int
    halo: int

    def filters_at_once(self, sums: int) -> int:
        """Count the filters whose output tiles accumulators of `sums` hold together."""
        if self.groups > 1 and self.weights.shape[1] == 1:
            return 1
        return max(1, sums // self.plane.output_tile)


def shares(filters: int, groups: int, units: int) -> Iterator[list[tuple[int, range]]]:
    """Share filters out to copies of a machine: groups, and which of their filters, by copy.

    Parameters
    ----------
    filters : int
        Of all groups.
    groups, units : int
    """
    size = filters // groups
    for unit in range(units):
        first, last = (filters * u // units for u in (unit, unit + 1))
        parts = ((g, range(max(first, g * size), min(last, (g + 1) * size))) for g in range(groups))
        yield [(g, part) for g, part in parts if part]


def output_tile(outputs: tuple[int, int], pes: tuple[int, int]) -> int:
    """Partial sums of the largest output tile, for one output channel."""
    return -(-outputs[0] // pes[0]) * -(-outputs[1] // pes[1])


def conv_output_tile(layer: Conv, pes: tuple[int, int]) -> int:
    """Partial sums of a convolution's largest output tile, for one output channel."""
    return output_tile(conv_outputs(layer), pes)


def conv_outputs(layer: Conv) -> tuple[int, int]:
    """Sizes of a convolution's output along two axes."""
    x, y = (*layer.out_size, 1)[:2]
    return x, y


def input_planes(layer: Conv, activations: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """See a convolution's activations as (inputs, channels, x, y), without padding."""
    return activations.reshape(layer.batch, layer.in_channels, *two(layer.in_size, 1))


def arrange(
    layer: Layer,
    activations: npt.NDArray[Any],
    weights: npt.NDArray[Any],
    *,
    pes: tuple[int, int],
    phase_shift: bool,
) -> Arranged:
    """See a convolution or a fully connected layer as planes that the PEs share.

    Parameters
    ----------
    layer : Conv or Linear
    activations, weights : array
        As the layer has them.
    pes : (int, int)
        PEs along each axis.
    phase_shift : bool
        As in `Plane`.
    """
    if isinstance(layer, Conv):
        return _conv(layer, activations, weights, pes, phase_shift)
    assert isinstance(layer, Linear)
    return _linear(layer, activations, weights, pes, phase_shift)


def _conv(
    layer: Conv, a: npt.NDArray[Any], w: npt.NDArray[Any], pes: tuple[int, int], phase_shift: bool
) -> Arranged:
    padding = two(layer.padding, (0, 0))
    a = np.pad(input_planes(layer, a), ((0, 0), (0, 0), *padding))
    kernel = two(layer.weight_shape[2:], 1)
    w = w.reshape(*layer.weight_shape[:2], *kernel)
    plane = Plane(
        outputs=conv_outputs(layer),
        stride=two(layer.stride, 1),
        kernel=kernel,
        dilation=two(layer.dilation, 1),
        padding=(padding[0][0], padding[1][0]),
        pes=pes,
        phase_shift=phase_shift,
    )
    return Arranged(plane, a, w, layer.groups, plane.halo(a.shape[2:]))


def _linear(
    layer: Linear, a: npt.NDArray[Any], w: npt.NDArray[Any], pes: tuple[int, int], phase_shift: bool
) -> Arranged:
    a = a.reshape(layer.steps, -1, layer.in_features)
    w = w.reshape(layer.out_features, layer.in_features)
    at_once = layer.positions // layer.steps
    one = (1, 1)
    if at_once > 1:
        # Positions become a plane as wide as there are columns of PEs, under a 1 x 1 kernel.
        rows, columns = -(-at_once // pes[1]), pes[1]
        a = np.pad(a, ((0, 0), (0, rows * columns - at_once), (0, 0)))
        a = a.transpose(0, 2, 1).reshape(layer.steps, layer.in_features, rows, columns)
        plane = Plane((rows, columns), one, one, one, (0, 0), pes, phase_shift)
        return Arranged(plane, a, w[:, :, None, None], 1, 0)
    # Inputs become planes of 16 x 16 under a kernel of that size, whose sums all meet in one output.
    square = FC_PLANE * FC_PLANE
    missing = -layer.in_features % square
    a = np.pad(a, ((0, 0), (0, 0), (0, missing))).reshape(len(a), -1, FC_PLANE, FC_PLANE)
    w = np.pad(w, ((0, 0), (0, missing))).reshape(len(w), -1, FC_PLANE, FC_PLANE)
    plane = Plane(one, one, (FC_PLANE, FC_PLANE), one, (0, 0), pes, phase_shift)
    return Arranged(plane, a, w, 1, 1)


def two(sizes: Any, other: Any) -> Any:
    """Sizes along two axes; `other` along a second one that is missing."""
    return tuple((*sizes, other)[:2])


def _in_phase(
    x: npt.NDArray[np.bool_], rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Entries of the chosen rows and columns of the last two axes."""
    if rows.all() and columns.all():
        return x
    return x[..., rows, :][..., columns]
