"""Published architectures as layer tables; ``python -m hwmodel.networks.architectures`` writes them.

The tables in ``data/networks`` are this package's output; a test keeps them equal. A family of networks is
a file, a network a function, and a line in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hwmodel.networks.architectures.c3d import c3d
from hwmodel.networks.architectures.densenet import CONFIGURATIONS, densenet
from hwmodel.networks.architectures.efficientnet import efficientnet_lite0
from hwmodel.networks.architectures.layer_tables import table_text, write_tables
from hwmodel.networks.architectures.resnet import (
    BLOCKS,
    deformable_resnet101,
    nonlocal_resnet50,
    resnet,
    resnet_cifar,
)
from hwmodel.networks.architectures.transformers import bert_base, bert_large, gpt3_175b, minilm_l6
from hwmodel.networks.architectures.vgg import vgg16, vgg_small
from hwmodel.networks.architectures.yolo import yolov3
from hwmodel.networks.network import Network

__all__ = ["ARCHITECTURES", "main", "table_text"]

ARCHITECTURES: dict[str, Callable[[], Network]] = {
    "bert-base": bert_base,
    "bert-large": bert_large,
    "c3d": c3d,
    "deformable-resnet101": deformable_resnet101,
    **{f"densenet{depth}": partial(densenet, depth) for depth in CONFIGURATIONS},
    "efficientnet-lite0": efficientnet_lite0,
    "gpt3-175b": gpt3_175b,
    "minilm-l6": minilm_l6,
    "nonlocal-resnet50": nonlocal_resnet50,
    **{f"resnet{depth}": partial(resnet, depth) for depth in BLOCKS},
    **{f"resnet{depth}-cifar10": partial(resnet_cifar, depth) for depth in (20, 56)},
    "vgg16": vgg16,
    "vgg-small": vgg_small,
    "yolov3": yolov3,
}
"""Generators by table name."""


def main(folder: str = "data/networks") -> None:
    """Write every table to `folder`."""
    write_tables([make() for make in ARCHITECTURES.values()], folder)
