"""MobileNetV2 and MNASNet: stacks of inverted residuals."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, named, square_conv
from hwmodel.networks.layers import Conv, Linear
from hwmodel.networks.network import Network, NotSimulated

_FEATURES = 1280


def mobilenetv2() -> Network:
    """MobileNetV2 at 224 × 224.

    M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
    Tensors are named as in torchvision.
    """
    # Expansion, output channels, blocks, stride of the first block.
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    convs = [square_conv("features.0.0", 3, 32, 224, 3, 2)]
    block = 1
    for expansion, outputs, repeats, first_stride in stages:
        for repeat in range(repeats):
            name = f"features.{block}.conv"
            parts = ("0.0", "1.0", "2") if expansion > 1 else ("", "0.0", "1")
            stride = first_stride if repeat == 0 else 1
            convs += _inverted_residual(convs[-1], name, parts, outputs, expansion, 3, stride)
            block += 1
    return _mobile(
        "mobilenetv2",
        convs,
        f"features.{block}.0",
        "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
        "Clip (ReLU6)",
        sum(repeats - 1 for _, _, repeats, _ in stages),
    )


def mnasnet(width: float) -> Network:
    """MNASNet-B1 at 224 × 224, its channels times `width`.

    M. Tan et al., "MnasNet: Platform-Aware Neural Architecture Search for Mobile", CVPR 2019, the form
    without squeeze-and-excitation. Tensors are named as in torchvision, which rounds scaled channels to
    multiples of 8, not below 90 % of their exact number.
    """
    # Expansion, kernel, output channels, blocks, stride of the first block.
    stages = (
        (3, 3, 24, 3, 2),
        (3, 5, 40, 3, 2),
        (6, 5, 80, 3, 2),
        (6, 3, 96, 2, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )

    def scaled(channels: int) -> int:
        exact = channels * width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * exact else rounded + 8

    convs = [square_conv("layers.0", 3, scaled(32), 224, 3, 2)]
    convs += _inverted_residual(convs[-1], "layers", ("", "3", "6"), scaled(16), 1, 3, 1)
    for stage, (expansion, kernel, outputs, repeats, first_stride) in enumerate(stages, start=8):
        for repeat in range(repeats):
            name, stride = f"layers.{stage}.{repeat}.layers", first_stride if repeat == 0 else 1
            convs += _inverted_residual(
                convs[-1], name, ("0", "3", "6"), scaled(outputs), expansion, kernel, stride
            )
    return _mobile(
        f"mnasnet{width:.1f}".replace(".", "_"),
        convs,
        "layers.14",
        "Tan et al., MnasNet: Platform-Aware Neural Architecture Search for Mobile, CVPR 2019",
        "Relu",
        sum(repeats - 1 for *_, repeats, _ in stages),
    )


def _inverted_residual(
    before: Conv,
    name: str,
    parts: tuple[str, str, str],
    outputs: int,
    expansion: int,
    kernel: int,
    stride: int,
) -> list[Conv]:
    """Expand (but by 1), filter each channel, project; behind a convolution, named by `parts`."""
    inputs, size = before.out_channels, before.out_size[0]
    expand, depthwise, project = (f"{name}.{part}" for part in parts)
    wide = inputs * expansion
    filtered = square_conv(depthwise, wide, wide, size, kernel, stride, groups=wide)
    return [
        *([square_conv(expand, inputs, wide, size)] if expansion > 1 else []),
        filtered,
        square_conv(project, wide, outputs, filtered.out_size[0]),
    ]


def _mobile(name: str, convs: list[Conv], head: str, source: str, activation: str, additions: int) -> Network:
    """Head, classifier, and what is not simulated, behind the blocks."""
    convs = [*convs, square_conv(head, convs[-1].out_channels, _FEATURES, convs[-1].out_size[0])]
    projections = sum(layer.groups > 1 for layer in convs)  # one per block; no activation follows them
    return Network(
        name=name,
        layers=named([*convs, Linear("classifier.1", in_features=_FEATURES, out_features=1000)]),
        source=f"{source}; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs), "folded into weights"),
            NotSimulated(activation, len(convs) - projections, "element-wise"),
            NotSimulated("Add", additions, "element-wise"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * filters(convs) + 1000,
    )
