"""How a tensor is cut into filters and groups: index arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of, checked_integer
from bitxcore.errors import OptionError, TensorError

Grouping = Literal["flat", "channel", "kernel"]
GROUPINGS: tuple[Grouping, ...] = ("flat", "channel", "kernel")
MAX_GROUP = 64
"""Weights of a group that kernels and machines take."""
MAX_WIDE_GROUP = 4096
"""Weights of a group that `bitxcore.prune` takes, for studies of accuracy."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the output channel sits in a stored tensor.

    Parameters
    ----------
    filter_axis : int
        Axis of the output channel (0: convolution; 1: ``K x N`` matrices, transposed convolution).
    conv_groups : int
        Groups of a transposed convolution, whose input channels are split on axis 0; or the channels of a
        depthwise convolution whose `channel_axis` is given.
    channel_axis : int, optional
        Axis of the input channel, where it is not the first of the others.

    Notes
    -----
    Groups must run along the reduction. Pruned that way, a text recogniser reads 20 of 24 lines; pruned
    along the outputs, it reads 4.

    Examples
    --------
    >>> import numpy as np
    >>> matrix = np.zeros((768, 64))  # K x N: of 64 outputs
    >>> Layout(filter_axis=1).turn(matrix).shape
    (64, 768)
    """

    filter_axis: int = 0
    conv_groups: int = 1
    channel_axis: int | None = None

    def turn(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View `x` as ``(filters, channels, kernel...)``; a view where no data need to move."""
        if self.conv_groups == 1:
            return self._moved(x, self.filter_axis, self.channel_axis)
        g = self.conv_groups
        if self.channel_axis is not None:
            x = self._moved(x, self.channel_axis, self.filter_axis)
        split = x.reshape(g, x.shape[0] // g, *x.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(g * x.shape[1], x.shape[0] // g, *x.shape[2:])

    def restore(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Undo `turn`."""
        if self.conv_groups == 1:
            return self._moved(y, self.filter_axis, self.channel_axis, back=True)
        g = self.conv_groups
        split = y.reshape(g, y.shape[0] // g, *y.shape[1:])
        x = np.swapaxes(split, 1, 2).reshape(g * y.shape[1], y.shape[0] // g, *y.shape[2:])
        return (
            x if self.channel_axis is None else self._moved(x, self.channel_axis, self.filter_axis, back=True)
        )

    @staticmethod
    def _moved(
        x: npt.NDArray[Any], first: int, second: int | None, *, back: bool = False
    ) -> npt.NDArray[Any]:
        """Move the axes `first` and `second` to the front, or back from there."""
        axes, front = ((first,), (0,)) if second is None else ((first, second), (0, 1))
        return np.moveaxis(x, front, axes) if back else np.moveaxis(x, axes, front)


LAYOUTS = {
    "oihw": Layout(),
    "ohwi": Layout(channel_axis=-1),
    "hwio": Layout(filter_axis=-1, channel_axis=-2),
}
"""Layouts by name, for kernels of any number of positions: output channel, input channel, height and width;
of PyTorch, TensorFlow Lite, and Keras or TensorFlow."""


@dataclass(frozen=True, slots=True)
class GroupGrid:
    """The cut of one tensor: ``filters`` rows of ``groups`` groups of ``group`` weights.

    A filter has ``parts`` of ``length * stride`` consecutive weights. Group ``g`` of a part belongs to
    lane ``g // blocks`` and block ``g % blocks`` of it; its member ``j`` is element
    ``lane + (block * group + j) * stride`` of the part, and exists while ``block * group + j < length``.
    Flat grouping has one part and one lane (stride 1); channel grouping has one lane per kernel position, its
    members a whole kernel apart; kernel grouping has one part per input channel.
    """

    filters: int
    group: int
    length: int
    stride: int
    parts: int = 1

    @property
    def reduction(self) -> int:
        """Weights of one filter."""
        return self.length * self.stride * self.parts

    @property
    def blocks(self) -> int:
        """Groups of one lane."""
        return -(-self.length // self.group)

    @property
    def groups(self) -> int:
        """Groups of one filter."""
        return self.blocks * self.stride * self.parts


def grid(
    shape: tuple[int, ...], group: int | None, grouping: Grouping = "flat", *, most: int = MAX_GROUP
) -> GroupGrid:
    """Cut a tensor of `shape` (output channel first) into groups.

    Parameters
    ----------
    shape : tuple of int
        At least 1-D, no zero dimension. A 1-D tensor is one filter.
    group : int or None
        Weights per group, 1 to `most`. None: whole kernels, with ``grouping="kernel"`` only.
    grouping : {"flat", "channel", "kernel"}
        ``"flat"``: consecutive weights of a filter in C order. ``"channel"``: consecutive input
        channels at one kernel position; group index is ``position * blocks + channel_block``.
        ``"kernel"``: the weights of one filter and one input channel, cut into pieces of at most `group`;
        group index is ``channel * blocks + piece``. A weight of a matrix is a kernel of its own.
    most : int

    Raises
    ------
    TensorError
        For an empty or 0-d shape.
    OptionError
        For a group size out of range, an unknown grouping.

    Examples
    --------
    >>> grid((64, 3, 7, 7), 16)
    GroupGrid(filters=64, group=16, length=147, stride=1, parts=1)
    >>> grid((64, 3, 7, 7), 16, "channel").groups
    49
    >>> grid((64, 3, 7, 7), None, "kernel").groups, grid((64, 3, 7, 7), 16, "kernel").groups
    (3, 12)
    """
    if not shape:
        raise TensorError("a 0-d tensor has no filters; at least 1 dimension is needed")
    if 0 in shape:
        raise TensorError(f"the tensor is empty: shape {shape}")
    check_one_of(GROUPINGS, "grouping", grouping)
    filters, rest = (1, shape) if len(shape) == 1 else (shape[0], shape[1:])
    if group is None:
        group = _whole_kernel(rest, grouping, most)
    group = checked_integer(most, "group", group)
    if grouping == "kernel":
        return GroupGrid(filters, group, prod(rest[1:]), 1, rest[0])
    if grouping == "flat":
        return GroupGrid(filters, group, prod(rest), 1)
    return GroupGrid(filters, group, rest[0], prod(rest[1:]))


def _whole_kernel(rest: tuple[int, ...], grouping: Grouping, most: int) -> int:
    """Weights of a kernel of a tensor whose filters have the shape `rest`."""
    if grouping != "kernel":
        raise OptionError("group=None stands for whole kernels, and needs grouping='kernel'")
    size = prod(rest[1:])
    if size > most:
        raise TensorError(f"kernels of {size} weights are more than a group of {most}: give group")
    return size
