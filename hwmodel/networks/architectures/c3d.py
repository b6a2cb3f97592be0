"""C3D."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import untied
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.networks.network import Network, NotSimulated

CLASSES = 101


def c3d() -> Network:
    """C3D on clips of 16 frames of 112 × 112.

    D. Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015, figure of
    the architecture: eight 3 × 3 × 3 convolutions, five pooling layers of which the first keeps all
    frames, two linear layers of 4096 and a classifier, here of UCF-101's 101 classes.
    """
    layers: list[Layer] = []
    channels, size = 3, (16, 112, 112)
    for stage, (repeats, outputs) in enumerate(((1, 64), (1, 128), (2, 256), (2, 512), (2, 512)), start=1):
        for part in "ab"[:repeats]:
            layers.append(
                Conv(
                    f"conv{stage}{part}",
                    in_channels=channels,
                    out_channels=outputs,
                    in_size=size,
                    kernel=(3, 3, 3),
                    padding=((1, 1),) * 3,
                )
            )
            channels = outputs
        frames, side = size[0], size[1]
        # The last pooling layer pads 7 x 7 to 8 x 8, which makes the 8192 inputs of fc6.
        size = (frames if stage == 1 else frames // 2, -(-side // 2), -(-side // 2))
    features = channels * size[0] * size[1] * size[2]
    for name, inputs, outputs in (("fc6", features, 4096), ("fc7", 4096, 4096), ("fc8", 4096, CLASSES)):
        layers.append(Linear(name, in_features=inputs, out_features=outputs))
    return Network(
        name="c3d",
        layers=tuple(untied(layer) for layer in layers),
        source="Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks, ICCV 2015;"
        " 16 x 112 x 112, UCF-101",
        not_simulated=(
            NotSimulated("Relu", 10, "element-wise"),
            NotSimulated("MaxPool", 5, "reduction"),
            NotSimulated("Softmax", 1, "element-wise and reduction"),
        ),
        other_parameters=sum(layer.filters for layer in layers),
        notes=("classifier of 101 classes (UCF-101); of Sports-1M's 487 there are 1.58 M weights more",),
    )
