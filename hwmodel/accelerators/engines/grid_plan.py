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

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.networks.layers import Conv, ConvTranspose, Layer


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
    # An operand that is wider than a word takes neighbouring columns (activations) or rows (weights).
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
        and max(axes(layer.stride)) > 1
        and max(axes(layer.dilation)) == 1
    )
    # Phases of the stride become channels, and the kernel has a position per stride: 3 channels of a 7 x 7
    # kernel with stride 2 become 12 of a 4 x 4 kernel with stride 1.
    if folded:
        assert isinstance(layer, Conv)
        strides = axes(layer.stride)
        channels *= prod(strides)
        kernel = tuple(-(-k // s) for k, s in zip(kernel, strides, strict=True))
    depthwise = layer.has_weights and channels == 1 and groups > 1
    # Filters share no channel: lane i holds filter i's only channel, so lanes, rows and filters of a group
    # are the same number, and only the diagonal of lanes and rows is at work.
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


def axes(sizes: object) -> tuple[int, ...]:
    """See the sizes of a layer, which are numbers or tuples when it is made, as the tuple they became."""
    assert isinstance(sizes, tuple)
    return sizes
