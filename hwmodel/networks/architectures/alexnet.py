"""AlexNet: in one tower, and in its original groups."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, named, pooled, square_conv, untied
from hwmodel.networks.layers import Layer, Linear
from hwmodel.networks.network import Network, NotSimulated


def alexnet() -> Network:
    """AlexNet in one tower, at 224 × 224.

    A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997,
    2014, as in torchvision, whose tensor names these are.
    """
    layers: list[Layer] = []
    size, channels = 224, 3
    # Index in `features`, filters, kernel, stride, padding, pooling.
    for index, outputs, kernel, stride, padding, pooling in (
        (0, 64, 11, 4, 2, True),
        (3, 192, 5, 1, 2, True),
        (6, 384, 3, 1, 1, False),
        (8, 256, 3, 1, 1, False),
        (10, 256, 3, 1, 1, True),
    ):
        conv = square_conv(f"features.{index}", channels, outputs, size, kernel, stride, padding=padding)
        layers.append(conv)
        size, channels = conv.out_size[0], outputs
        if pooling:
            size = pooled(size, 3, 2, cut=True)
    for index, inputs, outputs in ((1, channels * size**2, 4096), (4, 4096, 4096), (6, 4096, 1000)):
        layers.append(Linear(f"classifier.{index}", in_features=inputs, out_features=outputs))
    return Network(
        name="alexnet",
        layers=named(layers),
        source="Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", 7, "element-wise"),
            NotSimulated("MaxPool", 3, "reduction"),
        ),
        other_parameters=filters(layers),
        notes=("one tower, as in torchvision; the network of 2012 is alexnet-grouped",),
    )


def alexnet_grouped() -> Network:
    """AlexNet in its original two groups, at 227 × 227: the one that papers on accelerators use.

    A. Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012:
    the second, fourth and fifth convolution see one half of the channels each. The paper prints 224; its
    55 × 55 outputs need 227, as in Caffe's model, whose layer names these are.
    """
    layers: list[Layer] = []
    size, channels = 227, 3
    # Filters, kernel, stride, padding, groups, pooling.
    for i, (outputs, kernel, stride, padding, groups, pooling) in enumerate(
        (
            (96, 11, 4, 0, 1, True),
            (256, 5, 1, 2, 2, True),
            (384, 3, 1, 1, 1, False),
            (384, 3, 1, 1, 2, False),
            (256, 3, 1, 1, 2, True),
        ),
        start=1,
    ):
        conv = square_conv(
            f"conv{i}", channels, outputs, size, kernel, stride, padding=padding, groups=groups
        )
        layers.append(conv)
        size, channels = conv.out_size[0], outputs
        if pooling:
            size = pooled(size, 3, 2)
    for i, inputs, outputs in ((6, channels * size**2, 4096), (7, 4096, 4096), (8, 4096, 1000)):
        layers.append(Linear(f"fc{i}", in_features=inputs, out_features=outputs))
    return Network(
        name="alexnet-grouped",
        layers=tuple(untied(layer) for layer in layers),
        source="Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks,"
        " NIPS 2012; 227 x 227",
        not_simulated=(
            NotSimulated("Relu", 7, "element-wise"),
            NotSimulated("LRN", 2, "normalisation over channels"),
            NotSimulated("MaxPool", 3, "reduction"),
            NotSimulated("Softmax", 1, "element-wise and reduction"),
        ),
        other_parameters=filters(layers),
        notes=("the paper prints an input of 224 x 224; outputs of 55 x 55 need 227 x 227, as in Caffe",),
    )
