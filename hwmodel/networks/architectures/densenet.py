"""DenseNet."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import named, square_conv
from hwmodel.networks.layers import Conv, Linear
from hwmodel.networks.network import Network, NotSimulated

CONFIGURATIONS = {
    121: (32, 64, (6, 12, 24, 16)),
    161: (48, 96, (6, 12, 36, 24)),
    201: (32, 64, (6, 12, 48, 32)),
}
"""Growth rate, channels of the stem, and layers of each dense block, by depth."""


def densenet(depth: int) -> Network:
    """DenseNet-BC for ImageNet at 224 × 224.

    G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1: bottlenecks of four
    times the growth rate, transitions that halve the channels. Tensors are named as in torchvision.
    """
    growth, channels, blocks = CONFIGURATIONS[depth]
    convs: list[Conv] = [square_conv("features.conv0", 3, channels, 224, 7, 2)]
    norms, size = channels, 56
    for b, repeats in enumerate(blocks, start=1):
        for i in range(1, repeats + 1):
            name = f"features.denseblock{b}.denselayer{i}"
            convs.append(square_conv(f"{name}.conv1", channels, 4 * growth, size))
            convs.append(square_conv(f"{name}.conv2", 4 * growth, growth, size, 3))
            norms += channels + 4 * growth
            channels += growth
        norms += channels
        if b < len(blocks):
            convs.append(square_conv(f"features.transition{b}.conv", channels, channels // 2, size))
            channels, size = channels // 2, size // 2
    layers = sum(blocks)
    return Network(
        name=f"densenet{depth}",
        layers=named([*convs, Linear("classifier", in_features=channels, out_features=1000)]),
        source="Huang et al., Densely Connected Convolutional Networks, CVPR 2017; 224 x 224",
        not_simulated=(
            NotSimulated(
                "BatchNormalization",
                2 * layers + 5,
                "element-wise; folded into weights where it follows a convolution",
            ),
            NotSimulated("Relu", 2 * layers + 5, "element-wise"),
            NotSimulated("Concat", layers, "data movement"),
            NotSimulated("MaxPool", 1, "reduction"),
            NotSimulated("AveragePool", 3, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * norms + 1000,
    )
