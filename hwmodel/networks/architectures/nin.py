"""Network in Network."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, pooled, square_conv, untied
from hwmodel.networks.layers import Conv
from hwmodel.networks.network import Network, NotSimulated


def nin() -> Network:
    """Network in Network for ImageNet at 224 × 224.

    M. Lin et al., "Network In Network", ICLR 2014, in the authors' model for ImageNet of Caffe's model
    zoo, whose layer names these are: four convolutions, each with two of 1 × 1 behind it; global average
    pooling in the place of a classifier.
    """
    convs: list[Conv] = []
    size, channels, behind = 224, 3, 1
    # Name, filters, filters of the last 1 × 1, kernel, stride, padding.
    for name, suffix, outputs, last, kernel, stride, padding in (
        ("conv1", "", 96, 96, 11, 4, 0),
        ("conv2", "", 256, 256, 5, 1, 2),
        ("conv3", "", 384, 384, 3, 1, 1),
        ("conv4", "-1024", 1024, 1000, 3, 1, 1),
    ):
        if convs:
            size = pooled(size, 3, 2)
        convs.append(square_conv(f"{name}{suffix}", channels, outputs, size, kernel, stride, padding=padding))
        size = convs[-1].out_size[0]
        convs.append(square_conv(f"cccp{behind}{suffix}", outputs, outputs, size))
        convs.append(square_conv(f"cccp{behind + 1}{suffix}", outputs, last, size))
        channels, behind = last, behind + 2
    return Network(
        name="nin",
        layers=tuple(untied(layer) for layer in convs),
        source="Lin et al., Network In Network, ICLR 2014; the model for ImageNet of Caffe's zoo, 224 x 224",
        not_simulated=(
            NotSimulated("Relu", len(convs), "element-wise"),
            NotSimulated("MaxPool", 3, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
            NotSimulated("Softmax", 1, "element-wise and reduction"),
        ),
        other_parameters=filters(convs),
    )
