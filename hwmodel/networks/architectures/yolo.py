"""YOLOv3."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import square_conv, untied
from hwmodel.networks.layers import Conv
from hwmodel.networks.network import Network, NotSimulated

CLASSES, ANCHORS = 80, 3


def yolov3() -> Network:
    """YOLOv3 for COCO at 416 × 416.

    J. Redmon, A. Farhadi, "YOLOv3: An Incremental Improvement", arXiv 1804.02767, 2018: Darknet-53
    (table 1) and three heads of strides 32, 16 and 8, joined by upsampling and concatenation. Layers are
    numbered in the order in which they run.
    """
    convs: list[Conv] = []
    heads = ANCHORS * (5 + CLASSES)

    def conv(inputs: int, outputs: int, size: int, kernel: int, stride: int = 1, name: str = "conv") -> int:
        convs.append(square_conv(f"{name}{len(convs)}", inputs, outputs, size, kernel, stride))
        return convs[-1].out_size[0]

    size = conv(3, 32, 416, 3)
    channels, kept = 32, []
    for repeats in (1, 2, 8, 8, 4):
        size = conv(channels, 2 * channels, size, 3, 2)
        channels *= 2
        for _ in range(repeats):
            conv(channels, channels // 2, size, 1)
            conv(channels // 2, channels, size, 3)
        kept.append((channels, size))
    width, inputs = 512, 1024
    for skip, size in (kept[4], kept[3], kept[2]):
        if width < 512:
            conv(2 * width, width, size // 2, 1)  # before upsampling
            inputs = width + skip
        for i in range(3):
            conv(inputs if i == 0 else 2 * width, width, size, 1)
            conv(width, 2 * width, size, 3)
        conv(2 * width, heads, size, 1, name="detect")
        width //= 2
    return Network(
        name="yolov3",
        layers=tuple(untied(layer) for layer in convs),
        source="Redmon, Farhadi, YOLOv3: An Incremental Improvement, 2018; COCO, 416 x 416",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs) - 3, "folded into weights"),
            NotSimulated("LeakyRelu", len(convs) - 3, "element-wise"),
            NotSimulated("Add", 23, "element-wise"),
            NotSimulated("Concat", 2, "data movement"),
            NotSimulated("Upsample", 2, "data movement"),
            NotSimulated("Detection (sigmoid, boxes, suppression)", 3, "element-wise and sorting"),
        ),
        other_parameters=2 * sum(x.filters for x in convs if not x.name.startswith("detect")) + 3 * heads,
        notes=(
            "the authors' weights are one file without tensor names",
            "32.93 GMAC, as the authors' own 65.86 G operations; 32.8 is printed elsewhere",
        ),
    )
