"""What all tables are made of: square convolutions, tied to their tensors, and written as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from hwmodel.networks.layers import Conv, Layer
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.networks.table_files import NO_TENSOR, table_text

FULL_WIDTH_CIFAR = "the ImageNet form with its full widths, and a 3 x 3 stem of stride 1 without pooling"
"""What the CIFAR-10 forms of networks for ImageNet have in common; a note of their tables."""


def square_conv(
    name: str,
    inputs: int,
    outputs: int,
    size: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    dilation: int = 1,
    groups: int = 1,
    padding: int | None = None,
    same: bool = False,
) -> Conv:
    """Convolution of a square plane with a square kernel.

    Parameters
    ----------
    name : str
    inputs, outputs : int
        Channels.
    size : int
        Side of the input.
    kernel, stride, dilation, groups : int
    padding : int, optional
        Values on either side; by default half the (dilated) kernel.
    same : bool
        Pad as TensorFlow's SAME does, instead of `padding`.
    """
    half = dilation * (kernel // 2) if padding is None else padding
    pair = (half, half)
    if same:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pair = (total // 2, total - total // 2)
    return Conv(
        name,
        in_channels=inputs,
        out_channels=outputs,
        in_size=(size, size),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(pair, pair),
        dilation=(dilation, dilation),
        groups=groups,
    )


def pooled(size: int, kernel: int, stride: int, *, cut: bool = False) -> int:
    """Side of a plane after unpadded pooling.

    Parameters
    ----------
    size, kernel, stride : int
    cut : bool
        Leave out a last window that does not fit (PyTorch's default); otherwise it is kept (Caffe's rule,
        ``ceil_mode`` in PyTorch).
    """
    return (size - kernel) // stride + 1 if cut else -(-(size - kernel) // stride) + 1


def filters(layers: Sequence[Layer]) -> int:
    """Output channels of all layers: as many as biases, or as values of each kind in normalisation."""
    return sum(layer.filters for layer in layers)


def named(layers: Sequence[Layer], nameless: Collection[str] = ()) -> tuple[NetworkLayer, ...]:
    """Tie every layer that has weights to the tensor of its name, but for the `nameless` ones."""
    return tuple(
        NetworkLayer(layer, f"{layer.name}.weight")
        if layer.has_weights and layer.name not in nameless
        else untied(layer)
        for layer in layers
    )


def untied(layer: Layer) -> NetworkLayer:
    """Return a layer whose tensor has no name that everybody uses."""
    return NetworkLayer(layer, weight_missing=NO_TENSOR if layer.has_weights else None)


def write_tables(networks: Sequence[Network], folder: str) -> None:
    """Write the table of every network to `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for network in networks:
        (Path(folder) / f"{network.name}.json").write_text(table_text(network))
