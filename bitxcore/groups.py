"""How a tensor is cut into filters and groups: index arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.checks import check_one_of, checked_integer
from bitxcore.errors import TensorError

Grouping = Literal["flat", "channel"]
GROUPINGS: tuple[Grouping, ...] = ("flat", "channel")
MAX_GROUP = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the output channel sits in a stored tensor.

    Parameters
    ----------
    filter_axis : int
        Axis of the output channel (0: convolution; 1: ``K x N`` matrices, transposed convolution).
    conv_groups : int
        Groups of a transposed convolution, whose input channels are split on axis 0.

    Notes
    -----
    Groups must run along the reduction. Pruned along the outputs instead, the same text
    recogniser reads 4 of 24 lines where it reads 20 of 24.

    Examples
    --------
    >>> import numpy as np
    >>> matrix = np.zeros((768, 64))  # K x N: of 64 outputs
    >>> Layout(filter_axis=1).turn(matrix).shape
    (64, 768)
    """

    filter_axis: int = 0
    conv_groups: int = 1

    def turn(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """View `x` as ``(filters, reduction...)``; a view where no data need to move."""
        if self.conv_groups == 1:
            return np.moveaxis(x, self.filter_axis, 0)
        g = self.conv_groups
        split = x.reshape(g, x.shape[0] // g, *x.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(g * x.shape[1], x.shape[0] // g, *x.shape[2:])

    def restore(self, y: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Undo `turn`."""
        if self.conv_groups == 1:
            return np.moveaxis(y, 0, self.filter_axis)
        g = self.conv_groups
        split = y.reshape(g, y.shape[0] // g, *y.shape[1:])
        return np.swapaxes(split, 1, 2).reshape(g * y.shape[1], y.shape[0] // g, *y.shape[2:])


@dataclass(frozen=True, slots=True)
class GroupGrid:
    """The cut of one tensor: ``filters`` rows of ``groups`` groups of ``group`` weights.

    Group ``g`` of filter ``f`` belongs to lane ``g // blocks`` and block ``g % blocks`` of it; its
    member ``j`` is the flat element ``f * reduction + lane + (block * group + j) * stride``, and
    exists while ``block * group + j < length``. Flat grouping has one lane (stride 1); channel
    grouping has one lane a kernel position, its members a whole kernel apart.
    """

    filters: int
    group: int
    length: int
    stride: int

    @property
    def reduction(self) -> int:
        """Weights of one filter."""
        return self.length * self.stride

    @property
    def blocks(self) -> int:
        """Groups of one lane."""
        return -(-self.length // self.group)

    @property
    def groups(self) -> int:
        """Groups of one filter."""
        return self.blocks * self.stride


def grid(shape: tuple[int, ...], group: int, grouping: Grouping = "flat") -> GroupGrid:
    """Cut a tensor of `shape` (output channel first) into groups.

    Parameters
    ----------
    shape : tuple of int
        At least 1-D, no zero dimension. A 1-D tensor is one filter.
    group : int
        Weights a group, 1 to 64.
    grouping : {"flat", "channel"}
        ``"flat"``: consecutive weights of a filter in C order. ``"channel"``: consecutive input
        channels at one kernel position; group index is ``position * blocks + channel_block``.

    Raises
    ------
    TensorError
        For an empty or 0-d shape.
    OptionError
        For a group size out of range, an unknown grouping.

    Examples
    --------
    >>> grid((64, 3, 7, 7), 16)
    GroupGrid(filters=64, group=16, length=147, stride=1)
    >>> grid((64, 3, 7, 7), 16, "channel").groups
    49
    """
    if not shape:
        raise TensorError("a 0-d tensor has no filters; at least 1 dimension is needed")
    if 0 in shape:
        raise TensorError(f"the tensor is empty: shape {shape}")
    group = checked_integer(MAX_GROUP, "group", group)
    check_one_of(GROUPINGS, "grouping", grouping)
    filters, rest = (1, shape) if len(shape) == 1 else (shape[0], shape[1:])
    if grouping == "flat":
        return GroupGrid(filters, group, prod(rest), 1)
    return GroupGrid(filters, group, rest[0], prod(rest[1:]))
