"""Published architectures as layer tables; ``python -m hwmodel.networks.architectures`` writes them.

The tables in ``data/networks`` are this package's output; a test keeps them equal. A family of networks is
one file, with one function per network and one line in `ARCHITECTURES` for each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hwmodel.networks.architectures.alexnet import alexnet, alexnet_grouped
from hwmodel.networks.architectures.c3d import c3d
from hwmodel.networks.architectures.densenet import CONFIGURATIONS, densenet, densenet_cifar
from hwmodel.networks.architectures.efficientnet import efficientnet_lite0
from hwmodel.networks.architectures.inception import googlenet, inception_v3
from hwmodel.networks.architectures.layer_tables import write_tables
from hwmodel.networks.architectures.mobilenet import mnasnet, mobilenetv2
from hwmodel.networks.architectures.nin import nin
from hwmodel.networks.architectures.resnet import (
    BLOCKS,
    deformable_resnet101,
    nonlocal_resnet50,
    resnet,
    resnet_cifar,
    resnet_full_cifar,
    resnext,
    resnext29_cifar,
)
from hwmodel.networks.architectures.shufflenet import WIDTHS, shufflenetv2
from hwmodel.networks.architectures.squeezenet import VERSIONS, squeezenet
from hwmodel.networks.architectures.transformers import bert_base, bert_large, gpt3_175b, minilm_l6
from hwmodel.networks.architectures.vgg import vgg, vgg_m, vgg_s, vgg_small
from hwmodel.networks.architectures.yolo import yolov3, yolov3_slimmed
from hwmodel.networks.network import Network
from hwmodel.networks.table_files import table_text

__all__ = ["ARCHITECTURES", "main", "table_text"]

ARCHITECTURES: dict[str, Callable[[], Network]] = {
    "alexnet": alexnet,
    "alexnet-grouped": alexnet_grouped,
    "bert-base": bert_base,
    "bert-large": bert_large,
    "c3d": c3d,
    "deformable-resnet101": deformable_resnet101,
    **{f"densenet{depth}": partial(densenet, depth) for depth in CONFIGURATIONS},
    **{f"densenet{depth}-cifar10": partial(densenet_cifar, depth) for depth in CONFIGURATIONS},
    "efficientnet-lite0": efficientnet_lite0,
    "googlenet": googlenet,
    "gpt3-175b": gpt3_175b,
    "inception-v3": inception_v3,
    "minilm-l6": minilm_l6,
    "mnasnet0_5": partial(mnasnet, 0.5),
    "mnasnet1_0": partial(mnasnet, 1.0),
    "mobilenetv2": mobilenetv2,
    "nin": nin,
    "nonlocal-resnet50": nonlocal_resnet50,
    **{f"resnet{depth}": partial(resnet, depth) for depth in BLOCKS},
    **{f"resnet{depth}-cifar10": partial(resnet_cifar, depth) for depth in (20, 56)},
    **{f"resnet{depth}-cifar10": partial(resnet_full_cifar, depth) for depth in BLOCKS},
    "resnext50-32x4d": partial(resnext, 50, 32, 4),
    "resnext101-32x8d": partial(resnext, 101, 32, 8),
    **{
        f"resnext29-{groups}x{width}d-cifar10": partial(resnext29_cifar, groups, width)
        for groups, width in ((2, 64), (4, 64), (8, 64), (32, 4))
    },
    **{f"shufflenetv2-x{width}": partial(shufflenetv2, width) for width in WIDTHS},
    **{f"squeezenet{version}": partial(squeezenet, version) for version in VERSIONS},
    "vgg16": partial(vgg, 16),
    "vgg19": partial(vgg, 19),
    "vgg_m": vgg_m,
    "vgg_s": vgg_s,
    "vgg-small": vgg_small,
    "yolov3": yolov3,
    "yolov3-slimmed": yolov3_slimmed,
}
"""Generators by table name."""


def main(folder: str = "data/networks") -> None:
    """Write every table to `folder`."""
    write_tables([make() for make in ARCHITECTURES.values()], folder)
