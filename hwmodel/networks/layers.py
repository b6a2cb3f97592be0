"""Layers as records: shapes in, and what they imply (output size, weights, multiply-accumulates).

Every layer is seen by an accelerator in the same terms: `conv_groups` independent groups of
`filters / conv_groups` filters, each filter `channels * kernel_positions` weights long (its
`reduction`) and applied at `positions` positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from bitxcore.errors import TensorError

Sizes = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[tuple[int, int]]


def _integer(layer: str, field: str, value: object, minimum: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TensorError(f"{field} must be an integer, got {value!r}", layer=layer)
    number = int(value.__index__())
    if number < minimum:
        raise TensorError(f"{field} must be at least {minimum}, got {number}", layer=layer)
    return number


def _sizes(layer: str, field: str, value: Sizes, ndim: int, minimum: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(values) != ndim:
        raise TensorError(f"{field} must have {ndim} entries as in_size has, got {value!r}", layer=layer)
    return tuple(_integer(layer, field, v, minimum) for v in values)


def _pairs(layer: str, value: Padding, ndim: int) -> tuple[tuple[int, int], ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * ndim
    if len(values) != ndim:
        raise TensorError(f"padding must have {ndim} entries as in_size has, got {value!r}", layer=layer)
    pairs = []
    for v in values:
        pair = tuple(v) if isinstance(v, Sequence) else (v, v)
        if len(pair) != 2:
            raise TensorError(f"padding of one dimension is (before, after), got {v!r}", layer=layer)
        before, after = (_integer(layer, "padding", p, 0) for p in pair)
        pairs.append((before, after))
    return tuple(pairs)


@dataclass(frozen=True)
class Layer(ABC):
    """What every layer tells an accelerator.

    Parameters
    ----------
    name : str
        Unique within its network.
    """

    name: str

    operation: ClassVar[str]
    """Name of the operation, as in tables and results."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TensorError(f"a layer's name must be a non-empty string, got {self.name!r}")

    @property
    @abstractmethod
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""

    @property
    @abstractmethod
    def filters(self) -> int:
        """Output channels, over all groups."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Input channels that one filter reads."""

    @property
    def kernel_positions(self) -> int:
        """Weights of one filter per input channel."""
        return 1

    @property
    @abstractmethod
    def positions(self) -> int:
        """Times each weight is used: output positions of a filter (inputs, if transposed)."""

    @property
    def steps(self) -> int:
        """Parts of `positions` that must follow one another (recurrent layers); else 1."""
        return 1

    @property
    @abstractmethod
    def input_count(self) -> int:
        """Activations read, each counted once, without padding."""

    @property
    @abstractmethod
    def output_count(self) -> int:
        """Activations written."""

    @property
    def has_weights(self) -> bool:
        """Whether one operand is known before run time."""
        return True

    @property
    def reduction(self) -> int:
        """Weights of one filter."""
        return self.channels * self.kernel_positions

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weights, output channel first; empty if there are none."""
        return (self.filters, self.channels)

    @property
    def parameters(self) -> int:
        """Weights, biases not counted."""
        return self.filters * self.reduction if self.has_weights else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates; products with padding count, as is customary."""
        return self.filters * self.reduction * self.positions

    def position_tiles(self, width: int) -> int:
        """Count the passes when `width` positions are worked on at a time."""
        return self.steps * -(-(self.positions // self.steps) // width)


@dataclass(frozen=True)
class _Spatial(Layer):
    """What convolution and transposed convolution have in common."""

    in_channels: int
    out_channels: int
    in_size: Sizes
    kernel: Sizes
    stride: Sizes = 1
    padding: Padding = 0
    dilation: Sizes = 1
    groups: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        put = object.__setattr__
        size = tuple(self.in_size) if isinstance(self.in_size, Sequence) else (self.in_size,)
        if not 1 <= len(size) <= 3:
            raise TensorError(f"in_size must have 1 to 3 dimensions, got {len(size)}", layer=self.name)
        put(self, "in_size", _sizes(self.name, "in_size", size, len(size), 1))
        for field in ("kernel", "stride", "dilation"):
            put(self, field, _sizes(self.name, field, getattr(self, field), len(size), 1))
        put(self, "padding", _pairs(self.name, self.padding, len(size)))
        for field in ("in_channels", "out_channels", "groups", "batch"):
            put(self, field, _integer(self.name, field, getattr(self, field), 1))
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise TensorError(
                    f"{field} {getattr(self, field)} can't be split into {self.groups} groups",
                    layer=self.name,
                )

    def _check_out(self) -> None:
        if min(self.out_size) < 1:
            raise TensorError(
                f"output size {self.out_size} is empty "
                f"(in_size {self.in_size}, kernel {self.kernel}, padding {self.padding})",
                layer=self.name,
            )

    @property
    @abstractmethod
    def out_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""

    def _dimensions(self) -> list[tuple[int, int, int, int, int]]:
        """Per dimension: input size, kernel, stride, padding (both sides), dilation."""
        assert isinstance(self.in_size, tuple)
        assert isinstance(self.kernel, tuple)
        assert isinstance(self.stride, tuple)
        assert isinstance(self.padding, tuple)
        assert isinstance(self.dilation, tuple)
        padding = (sum(p) for p in self.padding)
        return list(zip(self.in_size, self.kernel, self.stride, padding, self.dilation, strict=True))

    @property
    def conv_groups(self) -> int:
        return self.groups

    @property
    def filters(self) -> int:
        return self.out_channels

    @property
    def channels(self) -> int:
        return self.in_channels // self.groups

    @property
    def kernel_positions(self) -> int:
        return prod(d[1] for d in self._dimensions())

    @property
    def input_count(self) -> int:
        return self.batch * self.in_channels * prod(d[0] for d in self._dimensions())

    @property
    def output_count(self) -> int:
        return self.batch * self.out_channels * prod(self.out_size)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.filters, self.channels, *(d[1] for d in self._dimensions()))


@dataclass(frozen=True)
class Conv(_Spatial):
    """Convolution in one to three dimensions, as ``torch.nn.Conv1d`` to ``Conv3d``.

    Parameters
    ----------
    name : str
    in_channels, out_channels : int
    in_size : int or tuple of int
        Spatial size of the input; its length is the number of dimensions.
    kernel, stride, dilation : int or tuple of int
    padding : int, tuple of int, or tuple of (before, after)
        Zeros added to each side of each dimension.
    groups : int
        Convolution groups; ``groups=in_channels`` is depthwise.
    batch : int
        Inputs processed together; multiplies `positions`.

    Raises
    ------
    TensorError
        For sizes that fit no convolution.
    """

    operation: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_out()

    @property
    def out_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        return tuple((i + p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in self._dimensions())

    @property
    def positions(self) -> int:
        """Output positions, over the batch."""
        return self.batch * prod(self.out_size)


@dataclass(frozen=True)
class ConvTranspose(_Spatial):
    """Transposed convolution, as ``torch.nn.ConvTranspose1d`` to ``ConvTranspose3d``.

    A weight meets every input position once and its product is added to one output, so
    `positions` counts input positions, and products that padding crops away count too.

    Parameters
    ----------
    name, in_channels, out_channels, in_size, kernel, stride, padding, dilation, groups, batch
        As in `Conv`; padding crops the output.
    output_padding : int or tuple of int
        Added to one side of the output.
    """

    output_padding: Sizes = 0

    operation: ClassVar[str] = "conv_transpose"

    def __post_init__(self) -> None:
        super().__post_init__()
        ndim = len(self._dimensions())
        object.__setattr__(
            self, "output_padding", _sizes(self.name, "output_padding", self.output_padding, ndim, 0)
        )
        self._check_out()

    @property
    def out_size(self) -> tuple[int, ...]:
        """Spatial size of the output."""
        assert isinstance(self.output_padding, tuple)
        return tuple(
            (i - 1) * s - p + d * (k - 1) + extra + 1
            for (i, k, s, p, d), extra in zip(self._dimensions(), self.output_padding, strict=True)
        )

    @property
    def positions(self) -> int:
        """Input positions, over the batch."""
        return self.batch * prod(d[0] for d in self._dimensions())


@dataclass(frozen=True)
class Linear(Layer):
    """Product of activations with a weight matrix, at `positions` positions.

    Parameters
    ----------
    name : str
    in_features, out_features : int
    positions : int
        Rows of activations: batch, sequence length, or their product.
    steps : int
        Dependent steps that the positions fall into. A recurrent matrix has one a time step;
        only ``positions / steps`` positions are ready together.
    """

    in_features: int
    out_features: int
    positions: int = 1
    steps: int = 1

    operation: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("in_features", "out_features", "positions", "steps"):
            object.__setattr__(self, field, _integer(self.name, field, getattr(self, field), 1))
        if self.positions % self.steps:
            raise TensorError(
                f"positions {self.positions} can't be split into {self.steps} steps", layer=self.name
            )

    @property
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""
        return 1

    @property
    def filters(self) -> int:
        """Output channels."""
        return self.out_features

    @property
    def channels(self) -> int:
        """Inputs that one filter reads."""
        return self.in_features

    @property
    def input_count(self) -> int:
        """Activations read."""
        return self.positions * self.in_features

    @property
    def output_count(self) -> int:
        """Activations written."""
        return self.positions * self.out_features


@dataclass(frozen=True)
class MatMul(Layer):
    """Batched product of two activation matrices, ``rows x inner`` with ``inner x columns``.

    Attention's scores and its weighted sum are such layers. The second operand takes the place
    of the weights; `conv_groups` is the batch.

    Parameters
    ----------
    name : str
    rows, inner, columns : int
    batch : int
        Independent products (batch times heads).
    """

    rows: int
    inner: int
    columns: int
    batch: int = 1

    operation: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("rows", "inner", "columns", "batch"):
            object.__setattr__(self, field, _integer(self.name, field, getattr(self, field), 1))

    @property
    def conv_groups(self) -> int:
        """Groups of filters that share no activations."""
        return self.batch

    @property
    def filters(self) -> int:
        """Output channels."""
        return self.batch * self.columns

    @property
    def channels(self) -> int:
        """Inputs that one filter reads."""
        return self.inner

    @property
    def positions(self) -> int:
        """Rows of the first operand."""
        return self.rows

    @property
    def has_weights(self) -> bool:
        """False: both operands are activations."""
        return False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Empty: there are no weights."""
        return ()

    @property
    def input_count(self) -> int:
        """Activations read."""
        return self.batch * self.inner * (self.rows + self.columns)

    @property
    def output_count(self) -> int:
        """Activations written."""
        return self.batch * self.rows * self.columns


OPERATIONS: dict[str, type[Layer]] = {c.operation: c for c in (Conv, ConvTranspose, Linear, MatMul)}
"""Layer classes by the name that tables use."""
