"""SqueezeNet."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, named, pooled, square_conv
from hwmodel.networks.layers import Conv
from hwmodel.networks.network import Network, NotSimulated

_SMALL, _HALF, _LARGE, _FULL = (16, 64), (32, 128), (48, 192), (64, 256)

VERSIONS = {
    "1_0": ((96, 7), ((_SMALL, _SMALL, _HALF), (_HALF, _LARGE, _LARGE, _FULL), (_FULL,))),
    "1_1": ((64, 3), ((_SMALL, _SMALL), (_HALF, _HALF), (_LARGE, _LARGE, _FULL, _FULL))),
}
"""Filters and kernel of the stem; squeezed and expanded channels of each fire module, by pooling stage."""


def squeezenet(version: str) -> Network:
    """SqueezeNet 1.0 or 1.1 at 224 × 224.

    F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
    size", arXiv 1602.07360, 2016, table 1; version 1.1 by the authors, 2016: a smaller stem, pooling
    earlier. A fire module squeezes by a 1 × 1 convolution and expands by a 1 × 1 and a 3 × 3 one, whose
    outputs are concatenated. Tensors are named as in torchvision.
    """
    (channels, kernel), stages = VERSIONS[version]
    convs: list[Conv] = [square_conv("features.0", 3, channels, 224, kernel, 2, padding=0)]
    size, index = convs[0].out_size[0], 2  # a ReLU precedes
    for stage in stages:
        size, index = pooled(size, 3, 2), index + 1
        for squeezed, expanded in stage:
            name = f"features.{index}"
            convs.append(square_conv(f"{name}.squeeze", channels, squeezed, size))
            convs.append(square_conv(f"{name}.expand1x1", squeezed, expanded, size))
            convs.append(square_conv(f"{name}.expand3x3", squeezed, expanded, size, 3))
            channels, index = 2 * expanded, index + 1
    convs.append(square_conv("classifier.1", channels, 1000, size))
    return Network(
        name=f"squeezenet{version}",
        layers=named(convs),
        source="Iandola et al., SqueezeNet, 2016; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", len(convs), "element-wise"),
            NotSimulated("Concat", sum(len(stage) for stage in stages), "data movement"),
            NotSimulated("MaxPool", 3, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=filters(convs),
    )
