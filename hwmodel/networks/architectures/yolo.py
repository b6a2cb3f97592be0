"""YOLOv3."""

from __future__ import annotations

from hwmodel.networks.architectures.layer_tables import filters, square_conv, untied
from hwmodel.networks.layers import Conv
from hwmodel.networks.network import Network, NotSimulated

_SOURCE = "Redmon, Farhadi, YOLOv3: An Incremental Improvement, 2018"
CLASSES, ANCHORS = 80, 3

SLIMMED_SHARE = 0.65
"""Share of the channels that `yolov3_slimmed` keeps. It divides the multiply-accumulates by 2.351; no other
multiple of 0.001 comes nearer to 2.35."""


def yolov3() -> Network:
    """YOLOv3 for COCO at 416 × 416.

    J. Redmon, A. Farhadi, "YOLOv3: An Incremental Improvement", arXiv 1804.02767, 2018: Darknet-53
    (table 1) and three heads of strides 32, 16 and 8, joined by upsampling and concatenation. Layers are
    numbered in the order in which they run.
    """
    return _detector(
        "yolov3",
        _convs(),
        f"{_SOURCE}; COCO, 416 x 416",
        (
            "the authors' weights are one file without tensor names",
            "32.93 GMAC, as the authors' own 65.86 G operations; 32.8 is printed elsewhere",
        ),
    )


def yolov3_slimmed() -> Network:
    """YOLOv3 with 2.35 times fewer multiply-accumulates, by channel pruning.

    H. Li et al., "BitX", ICPP 2021, table 6: channel slimming alone speeds YOLOv3 up by 2.35. The paper does
    not print the channels that are left. [chosen]: every convolution but the three detection heads keeps the
    same share of its channels, rounded to a multiple of 8. The share brings the ratio of multiply-accumulates
    nearest to 2.35.
    """
    return _detector(
        "yolov3-slimmed",
        _convs(SLIMMED_SHARE),
        f"{_SOURCE}; COCO, 416 x 416; channels slimmed [chosen] for the 2.35 of Li et al., BitX, ICPP 2021,"
        " table 6",
        (
            f"[chosen] every convolution but the detection heads keeps {SLIMMED_SHARE:g} of its channels,"
            " rounded to a multiple of 8: the paper prints the speed-up of 2.35 and no channels",
        ),
    )


def _convs(share: float = 1.0) -> list[Conv]:
    """Every convolution, with a share of the channels of all but the heads."""
    convs: list[Conv] = []
    heads = ANCHORS * (5 + CLASSES)

    def keep(channels: int) -> int:
        return channels if share == 1 else 8 * max(round(channels * share / 8), 1)

    def conv(inputs: int, outputs: int, size: int, kernel: int, stride: int = 1, name: str = "conv") -> int:
        convs.append(square_conv(f"{name}{len(convs)}", inputs, outputs, size, kernel, stride))
        return convs[-1].out_size[0]

    size = conv(3, keep(32), 416, 3)
    channels, kept = 32, []
    for repeats in (1, 2, 8, 8, 4):
        size = conv(keep(channels), keep(2 * channels), size, 3, 2)
        channels *= 2
        for _ in range(repeats):
            conv(keep(channels), keep(channels // 2), size, 1)
            conv(keep(channels // 2), keep(channels), size, 3)
        kept.append((channels, size))
    width, inputs = 512, keep(1024)
    for skip, size in (kept[4], kept[3], kept[2]):
        if width < 512:
            conv(keep(2 * width), keep(width), size // 2, 1)  # before upsampling
            inputs = keep(width) + keep(skip)
        for i in range(3):
            conv(inputs if i == 0 else keep(2 * width), keep(width), size, 1)
            conv(keep(width), keep(2 * width), size, 3)
        conv(keep(2 * width), heads, size, 1, name="detect")
        width //= 2
    return convs


def _detector(name: str, convs: list[Conv], source: str, notes: tuple[str, ...]) -> Network:
    detections = [layer for layer in convs if layer.name.startswith("detect")]
    return Network(
        name=name,
        layers=tuple(untied(layer) for layer in convs),
        source=source,
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs) - 3, "folded into weights"),
            NotSimulated("LeakyRelu", len(convs) - 3, "element-wise"),
            NotSimulated("Add", 23, "element-wise"),
            NotSimulated("Concat", 2, "data movement"),
            NotSimulated("Upsample", 2, "data movement"),
            NotSimulated("Detection (sigmoid, boxes, suppression)", 3, "element-wise and sorting"),
        ),
        # Normalisation of all but the heads, which have biases instead.
        other_parameters=2 * filters(convs) - filters(detections),
        notes=notes,
    )
