"""VGG: very deep ones, for CIFAR-10, and the medium and slow ones of 2014."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, named, pooled, square_conv, untied
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.networks.network import Network, NotSimulated

CONFIGURATIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each stage, by depth."""

_CHATFIELD = "Chatfield et al., Return of the Devil in the Details, BMVC 2014"


def vgg(depth: int) -> Network:
    """VGG-16 or VGG-19 at 224 × 224.

    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, table 1, columns D and E. Tensors are named as in torchvision.
    """
    layers: list[Layer] = []
    size, channels, index = 224, 3, 0
    for repeats, outputs in zip(CONFIGURATIONS[depth], (64, 128, 256, 512, 512), strict=True):
        for _ in range(repeats):
            layers.append(square_conv(f"features.{index}", channels, outputs, size, 3))
            channels, index = outputs, index + 2  # a ReLU follows
        size, index = size // 2, index + 1  # and a pooling layer
    for i, inputs, outputs in ((0, 512 * 7 * 7, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        layers.append(Linear(f"classifier.{i}", in_features=inputs, out_features=outputs))
    return Network(
        name=f"vgg{depth}",
        layers=named(layers),
        source="Simonyan, Zisserman, Very Deep Convolutional Networks, ICLR 2015; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", depth - 1, "element-wise"),
            NotSimulated("MaxPool", 5, "reduction"),
        ),
        other_parameters=filters(layers),
    )


def vgg_m() -> Network:
    """VGG-M at 224 × 224.

    K. Chatfield et al., "Return of the Devil in the Details: Delving Deep into Convolutional Nets",
    BMVC 2014, table 1, CNN-M. Pooling is 3 × 3 of stride 2 and, as in Caffe, keeps the last window.
    """
    convs = [square_conv("conv1", 3, 96, 224, 7, 2, padding=0)]
    size = pooled(convs[-1].out_size[0], 3, 2)
    convs.append(square_conv("conv2", 96, 256, size, 5, 2, padding=1))
    size = pooled(convs[-1].out_size[0], 3, 2)
    return _chatfield("vgg_m", convs, size, pooled(size, 3, 2))


def vgg_s() -> Network:
    """VGG-S at 224 × 224.

    K. Chatfield et al., BMVC 2014, table 1, CNN-S. Pooling is 3 × 3 of stride 3, 2 × 2 of stride 2 and
    3 × 3 of stride 3, and keeps the last window. The authors' model has no padding in its second
    convolution, where the paper prints 1.
    """
    convs = [square_conv("conv1", 3, 96, 224, 7, 2, padding=0)]
    size = pooled(convs[-1].out_size[0], 3, 3)
    convs.append(square_conv("conv2", 96, 256, size, 5, padding=0))
    size = pooled(convs[-1].out_size[0], 2, 2)
    return _chatfield(
        "vgg_s",
        convs,
        size,
        pooled(size, 3, 3),
        notes=("conv2 has no padding, as in the authors' model; the paper's table prints 1",),
    )


def _chatfield(
    name: str, stem: list[Conv], size: int, last_size: int, notes: tuple[str, ...] = ()
) -> Network:
    """Three 3 × 3 convolutions of `size` and the classifier, which sees `last_size`, behind a stem."""
    layers: list[Layer] = [*stem]
    for i, inputs in ((3, 256), (4, 512), (5, 512)):
        layers.append(square_conv(f"conv{i}", inputs, 512, size, 3))
    for i, inputs, outputs in ((6, 512 * last_size**2, 4096), (7, 4096, 4096), (8, 4096, 1000)):
        layers.append(Linear(f"fc{i}", in_features=inputs, out_features=outputs))
    return Network(
        name=name,
        layers=tuple(untied(layer) for layer in layers),
        source=f"{_CHATFIELD}; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", 7, "element-wise"),
            NotSimulated("LRN", 2 if name == "vgg_m" else 1, "normalisation over channels"),
            NotSimulated("MaxPool", 3, "reduction"),
            NotSimulated("Softmax", 1, "element-wise and reduction"),
        ),
        other_parameters=filters(layers),
        notes=notes,
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
