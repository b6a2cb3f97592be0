"""ShuffleNetV2."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, named, square_conv
from hwmodel.networks.layers import Conv, Linear
from hwmodel.networks.network import Network, NotSimulated

WIDTHS = {"0_5": (48, 96, 192), "1_0": (116, 232, 464)}
"""Output channels of the three stages, by width."""

_UNITS = (4, 8, 4)
_STEM, _FEATURES = 24, 1024


def shufflenetv2(width: str) -> Network:
    """ShuffleNetV2 at 224 × 224.

    N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
    table 5. A stage's first unit has two branches that see all channels; in the others one half of the
    channels passes by. Tensors are named as in torchvision.
    """
    convs: list[Conv] = [square_conv("conv1.0", 3, _STEM, 224, 3, 2)]
    size, channels = convs[0].out_size[0] // 2, _STEM  # a pooling layer follows
    for stage, (units, outputs) in enumerate(zip(_UNITS, WIDTHS[width], strict=True), start=2):
        half = outputs // 2
        for unit in range(units):
            name = f"stage{stage}.{unit}"
            inputs, stride = (channels, 2) if unit == 0 else (half, 1)
            if unit == 0:
                convs.append(square_conv(f"{name}.branch1.0", inputs, inputs, size, 3, 2, groups=inputs))
                convs.append(square_conv(f"{name}.branch1.2", inputs, half, convs[-1].out_size[0]))
            convs.append(square_conv(f"{name}.branch2.0", inputs, half, size))
            convs.append(square_conv(f"{name}.branch2.3", half, half, size, 3, stride, groups=half))
            size = convs[-1].out_size[0]
            convs.append(square_conv(f"{name}.branch2.5", half, half, size))
        channels = outputs
    convs.append(square_conv("conv5.0", channels, _FEATURES, size))
    depthwise = sum(layer.groups > 1 for layer in convs)
    return Network(
        name=f"shufflenetv2-x{width}",
        layers=named([*convs, Linear("fc", in_features=_FEATURES, out_features=1000)]),
        source="Ma et al., ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design,"
        " ECCV 2018; 224 x 224",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs), "folded into weights"),
            NotSimulated("Relu", len(convs) - depthwise, "element-wise"),
            NotSimulated("Split", sum(_UNITS) - len(_UNITS), "data movement"),
            NotSimulated("Concat", sum(_UNITS), "data movement"),
            NotSimulated("Channel shuffle", sum(_UNITS), "data movement"),
            NotSimulated("MaxPool", 1, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * filters(convs) + 1000,
    )
