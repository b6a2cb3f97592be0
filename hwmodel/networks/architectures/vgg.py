"""VGG."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import named, square_conv, untied
from hwmodel.networks.layers import Layer, Linear
from hwmodel.networks.network import Network, NotSimulated


def vgg16() -> Network:
    """VGG-16 at 224 × 224.

    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, table 1, column D. Tensors are named as in torchvision.
    """
    layers: list[Layer] = []
    size, channels, index = 224, 3, 0
    for repeats, outputs in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            layers.append(square_conv(f"features.{index}", channels, outputs, size, 3))
            channels, index = outputs, index + 2  # a ReLU follows
        size, index = size // 2, index + 1  # and a pooling layer
    for i, inputs, outputs in ((0, 512 * 7 * 7, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        layers.append(Linear(f"classifier.{i}", in_features=inputs, out_features=outputs))
    return Network(
        name="vgg16",
        layers=named(layers),
        source="Simonyan, Zisserman, Very Deep Convolutional Networks, ICLR 2015; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", 15, "element-wise"),
            NotSimulated("MaxPool", 5, "reduction"),
        ),
        other_parameters=sum(layer.filters for layer in layers),
    )


def vgg_small() -> Network:
    """VGG-small for CIFAR-10 at 32 × 32.

    D. Zhang et al., "LQ-Nets: Learned Quantization for Highly Accurate and Compact Deep Neural
    Networks", ECCV 2018, after Z. Cai et al., "Deep Learning with Low Precision by Half-wave Gaussian
    Quantization", CVPR 2017: six convolutions, a pooling layer after every other, one linear layer.
    """
    layers: list[Layer] = []
    size, channels = 32, 3
    for outputs in (128, 256, 512):
        for _ in range(2):
            layers.append(square_conv(f"conv{len(layers)}", channels, outputs, size, 3))
            channels = outputs
        size //= 2
    norms = sum(layer.filters for layer in layers)
    layers.append(Linear("fc", in_features=512 * 4 * 4, out_features=10))
    return Network(
        name="vgg-small",
        layers=tuple(untied(layer) for layer in layers),
        source="Zhang et al., LQ-Nets, ECCV 2018 (after Cai et al., HWGQ, CVPR 2017); CIFAR-10, 32 x 32",
        not_simulated=(
            NotSimulated("BatchNormalization", 6, "folded into weights"),
            NotSimulated("Relu", 6, "element-wise"),
            NotSimulated("MaxPool", 3, "reduction"),
        ),
        other_parameters=2 * norms + 10,
        notes=("tensors are named differently by every implementation",),
    )
