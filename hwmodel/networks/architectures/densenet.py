"""DenseNet."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import FULL_WIDTH_CIFAR, named, square_conv
from hwmodel.networks.layers import Conv, Linear
from hwmodel.networks.network import Network, NotSimulated

CONFIGURATIONS = {
    121: (32, 64, (6, 12, 24, 16)),
    161: (48, 96, (6, 12, 36, 24)),
    169: (32, 64, (6, 12, 32, 32)),
    201: (32, 64, (6, 12, 48, 32)),
}
"""Growth rate, channels of the stem, and layers of each dense block, by depth."""

_NORMALISATION = "element-wise; folded into weights where it follows a convolution"
_SOURCE = "Huang et al., Densely Connected Convolutional Networks, CVPR 2017"


def densenet(depth: int) -> Network:
    """DenseNet-BC for ImageNet at 224 × 224.

    G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1: bottlenecks of four
    times the growth rate, transitions that halve the channels. Tensors are named as in torchvision.
    """
    stem = square_conv("features.conv0", 3, CONFIGURATIONS[depth][1], 224, 7, 2)
    convs, norms, channels = _dense_blocks(
        depth, 56, "features.denseblock{}.denselayer{}", "features.transition{}", first=1
    )
    layers = sum(CONFIGURATIONS[depth][2])
    return Network(
        name=f"densenet{depth}",
        layers=named([stem, *convs, Linear("classifier", in_features=channels, out_features=1000)]),
        source=f"{_SOURCE}; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", 2 * layers + 5, _NORMALISATION),
            NotSimulated("Relu", 2 * layers + 5, "element-wise"),
            NotSimulated("Concat", layers, "data movement"),
            NotSimulated("MaxPool", 1, "reduction"),
            NotSimulated("AveragePool", 3, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * (stem.filters + norms) + 1000,
    )


def densenet_cifar(depth: int) -> Network:
    """DenseNet-BC of the ImageNet form's widths for CIFAR-10 at 32 × 32.

    The widely used adaptation: a 3 × 3 stem of stride 1 without normalisation and without pooling.
    Tensors are named as in the implementation ``kuangliu/pytorch-cifar``.
    """
    stem = square_conv("conv1", 3, CONFIGURATIONS[depth][1], 32, 3)
    convs, norms, channels = _dense_blocks(depth, 32, "dense{}.{}", "trans{}", first=0)
    layers = sum(CONFIGURATIONS[depth][2])
    return Network(
        name=f"densenet{depth}-cifar10",
        layers=named([stem, *convs, Linear("linear", in_features=channels, out_features=10)]),
        source=f"{_SOURCE}; CIFAR-10 form of kuangliu/pytorch-cifar, 32 x 32",
        not_simulated=(
            NotSimulated("BatchNormalization", 2 * layers + 4, _NORMALISATION),
            NotSimulated("Relu", 2 * layers + 4, "element-wise"),
            NotSimulated("Concat", layers, "data movement"),
            NotSimulated("AveragePool", 3, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * norms + 10,
        notes=(FULL_WIDTH_CIFAR,),
    )


def _dense_blocks(
    depth: int, size: int, layer_name: str, transition_name: str, *, first: int
) -> tuple[list[Conv], int, int]:
    """Everything between stem and classifier.

    Returns
    -------
    convs : list of Conv
    norms : int
        Channels that are normalised, one before the classifier included.
    channels : int
        Channels that the classifier sees.
    """
    growth, channels, blocks = CONFIGURATIONS[depth]
    convs: list[Conv] = []
    norms = 0
    for b, repeats in enumerate(blocks, start=1):
        for i in range(first, first + repeats):
            name = layer_name.format(b, i)
            convs.append(square_conv(f"{name}.conv1", channels, 4 * growth, size))
            convs.append(square_conv(f"{name}.conv2", 4 * growth, growth, size, 3))
            norms += channels + 4 * growth
            channels += growth
        norms += channels
        if b < len(blocks):
            convs.append(square_conv(f"{transition_name.format(b)}.conv", channels, channels // 2, size))
            channels, size = channels // 2, size // 2
    return convs, norms, channels
