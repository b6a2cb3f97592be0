"""Convolution and transposed convolution, in one to three dimensions."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from bitxcore.errors import TensorError
from hwmodel.networks.layers.fields import (
    Padding,
    SpatialSizes,
    is_sequence,
    padding_pairs,
    sizes_of,
    whole_number,
)
from hwmodel.networks.layers.layer import Layer


@dataclass(frozen=True)
class _Spatial(Layer):
    """What convolution and transposed convolution have in common."""

    in_channels: int
    out_channels: int
    in_size: SpatialSizes
    kernel: SpatialSizes
    stride: SpatialSizes = 1
    padding: Padding = 0
    dilation: SpatialSizes = 1
    groups: int = 1
    batch: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        put = object.__setattr__
        size = tuple(self.in_size) if is_sequence(self.in_size) else (self.in_size,)
        if not 1 <= len(size) <= 3:
            raise TensorError(
                f"in_size must have 1 to 3 dimensions, got {len(size)}", layer=self.name, value=self.in_size
            )
        put(self, "in_size", sizes_of(self.name, "in_size", size, len(size), 1))
        for field in ("kernel", "stride", "dilation"):
            put(self, field, sizes_of(self.name, field, getattr(self, field), len(size), 1))
        put(self, "padding", padding_pairs(self.name, self.padding, len(size)))
        for field in ("in_channels", "out_channels", "groups", "batch"):
            put(self, field, whole_number(self.name, field, getattr(self, field), 1))
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise TensorError(
                    f"{field} {getattr(self, field)} can't be split into {self.groups} groups",
                    layer=self.name,
                    value=getattr(self, field),
                )

    def _check_out(self) -> None:
        if min(self.out_size) < 1:
            raise TensorError(
                f"output size {self.out_size} is empty "
                f"(in_size {self.in_size}, kernel {self.kernel}, padding {self.padding})",
                layer=self.name,
                value=self.out_size,
            )
        self.check_size()

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

    Examples
    --------
    >>> layer = Conv("c", in_channels=3, out_channels=64, in_size=(224, 224), kernel=7, stride=2, padding=3)
    >>> layer.out_size, layer.parameters, layer.macs
    ((112, 112), 9408, 118013952)
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

    Each weight is multiplied once with every input position, and the product is added to one output.
    `positions` therefore counts input positions, and products that padding crops also count.

    Parameters
    ----------
    name, in_channels, out_channels, in_size, kernel, stride, padding, dilation, groups, batch
        As in `Conv`; padding crops the output.
    output_padding : int or tuple of int
        Added to one side of the output.

    Raises
    ------
    TensorError
        For sizes that fit no transposed convolution.

    Examples
    --------
    >>> layer = ConvTranspose("up", in_channels=64, out_channels=32, in_size=(8, 8), kernel=2, stride=2)
    >>> layer.out_size, layer.positions
    ((16, 16), 64)
    """

    output_padding: SpatialSizes = 0

    operation: ClassVar[str] = "conv_transpose"

    def __post_init__(self) -> None:
        super().__post_init__()
        ndim = len(self._dimensions())
        object.__setattr__(
            self, "output_padding", sizes_of(self.name, "output_padding", self.output_padding, ndim, 0)
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
