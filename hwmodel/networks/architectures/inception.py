"""GoogLeNet (Inception v1) and Inception v3."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodel.networks.architectures.layer_tables import filters, named, pooled, square_conv, untied
from hwmodel.networks.layers import Conv, Layer, Linear
from hwmodel.networks.network import Network, NotSimulated

GOOGLENET_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Filters of each module: 1 × 1, before the 3 × 3, 3 × 3, before the 5 × 5, 5 × 5, behind pooling."""


def googlenet() -> Network:
    """GoogLeNet (Inception v1) at 224 × 224: 57 convolutions and a classifier.

    C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1, as in Caffe's model, whose
    layer names these are. The two auxiliary classifiers run in training only and are not part of it.
    """
    convs = [square_conv("conv1/7x7_s2", 3, 64, 224, 7, 2)]
    size = pooled(convs[-1].out_size[0], 3, 2)
    convs.append(square_conv("conv2/3x3_reduce", 64, 64, size))
    convs.append(square_conv("conv2/3x3", 64, 192, size, 3))
    channels = 192
    for module, (one, before3, three, before5, five, behind) in GOOGLENET_MODULES.items():
        if module.endswith("a"):
            size = pooled(size, 3, 2)
        name = f"inception_{module}"
        convs += [
            square_conv(f"{name}/1x1", channels, one, size),
            square_conv(f"{name}/3x3_reduce", channels, before3, size),
            square_conv(f"{name}/3x3", before3, three, size, 3),
            square_conv(f"{name}/5x5_reduce", channels, before5, size),
            square_conv(f"{name}/5x5", before5, five, size, 5),
            square_conv(f"{name}/pool_proj", channels, behind, size),
        ]
        channels = one + three + five + behind
    layers: list[Layer] = [*convs, Linear("loss3/classifier", in_features=channels, out_features=1000)]
    return Network(
        name="googlenet",
        layers=tuple(untied(layer) for layer in layers),
        source="Szegedy et al., Going Deeper with Convolutions, CVPR 2015; Caffe's model, 224 x 224",
        not_simulated=(
            NotSimulated("Relu", len(convs), "element-wise"),
            NotSimulated("LRN", 2, "normalisation over channels"),
            NotSimulated("Concat", len(GOOGLENET_MODULES), "data movement"),
            NotSimulated("MaxPool", 4 + len(GOOGLENET_MODULES), "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
            NotSimulated("Softmax", 1, "element-wise and reduction"),
        ),
        other_parameters=filters(layers),
        notes=(
            "papers on accelerators count 11 layers: conv1, conv2 with its reduction, and the nine modules",
            "without the two auxiliary classifiers, which run in training only",
        ),
    )


@dataclass(frozen=True)
class _Step:
    """A convolution of a branch; those of stride 2 have no padding."""

    kernel: tuple[int, int]
    outputs: int
    stride: int = 1
    padded: bool = True

    def conv(self, name: str, inputs: int, size: int) -> Conv:
        height, width = self.kernel
        half = (height // 2, width // 2) if self.padded and self.stride == 1 else (0, 0)
        return Conv(
            name,
            in_channels=inputs,
            out_channels=self.outputs,
            in_size=(size, size),
            kernel=self.kernel,
            stride=(self.stride, self.stride),
            padding=((half[0], half[0]), (half[1], half[1])),
        )


def _steps(*steps: tuple[int, int]) -> tuple[_Step, ...]:
    """Make steps of square kernels from kernel and outputs."""
    return tuple(_Step((kernel, kernel), outputs) for kernel, outputs in steps)


def _shrink(outputs: int) -> tuple[_Step, ...]:
    """Make the 3 × 3 step of stride 2 that ends the branches of 6a and 7a."""
    return (_Step((3, 3), outputs, stride=2),)


def _rows_and_columns(outputs: int, inner: int, order: str) -> tuple[_Step, ...]:
    """1 × 7 ("r") and 7 × 1 ("c") steps in that order; the last has `outputs`."""
    widths = [inner] * (len(order) - 1) + [outputs]
    kernels = {"r": (1, 7), "c": (7, 1)}
    return tuple(_Step(kernels[x], width) for x, width in zip(order, widths, strict=True))


_FORK = (_Step((1, 3), 384), _Step((3, 1), 384))
"""Two convolutions of the same activations, whose outputs are concatenated: the end of some branches."""

_Branches = dict[str, tuple[tuple[_Step, ...], bool]]
"""Steps of each branch by name, and whether a fork ends it."""


def _module_a(behind_pool: int) -> _Branches:
    return {
        "branch1x1": (_steps((1, 64)), False),
        "branch5x5": (_steps((1, 48), (5, 64)), False),
        "branch3x3dbl": (_steps((1, 64), (3, 96), (3, 96)), False),
        "branch_pool": (_steps((1, behind_pool)), False),
    }


def _module_c(inner: int) -> _Branches:
    first = _steps((1, inner))
    return {
        "branch1x1": (_steps((1, 192)), False),
        "branch7x7": (first + _rows_and_columns(192, inner, "rc"), False),
        "branch7x7dbl": (first + _rows_and_columns(192, inner, "crcr"), False),
        "branch_pool": (_steps((1, 192)), False),
    }


def _module_e() -> _Branches:
    return {
        "branch1x1": (_steps((1, 320)), False),
        "branch3x3": (_steps((1, 384)), True),
        "branch3x3dbl": (_steps((1, 448), (3, 384)), True),
        "branch_pool": (_steps((1, 192)), False),
    }


# Without a convolution behind their pooling, 6a and 7a pass their inputs on.
V3_MODULES: dict[str, _Branches] = {
    "5b": _module_a(32),
    "5c": _module_a(64),
    "5d": _module_a(64),
    "6a": {
        "branch3x3": (_shrink(384), False),
        "branch3x3dbl": (_steps((1, 64), (3, 96)) + _shrink(96), False),
    },
    "6b": _module_c(128),
    "6c": _module_c(160),
    "6d": _module_c(160),
    "6e": _module_c(192),
    "7a": {
        "branch3x3": (_steps((1, 192)) + _shrink(320), False),
        "branch7x7x3": (_steps((1, 192)) + _rows_and_columns(192, 192, "rc") + _shrink(192), False),
    },
    "7b": _module_e(),
    "7c": _module_e(),
}
"""Branches of each module of Inception v3."""

V3_AUXILIARY = (768 * 128 + 2 * 128) + (128 * 768 * 25 + 2 * 768) + (768 * 1000 + 1000)
"""Parameters of the auxiliary classifier: a 1 × 1 and a 5 × 5 convolution, normalised, and a linear layer."""


def inception_v3() -> Network:
    """Inception v3 at 299 × 299, without the auxiliary classifier.

    C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, table 1.
    Tensors are named as in torchvision. The auxiliary classifier runs in training only: it is not a layer,
    and its parameters are not counted.
    """
    convs: list[Conv] = []
    size, channels = 299, 3
    for name, step, pooling in (
        ("Conv2d_1a_3x3", _Step((3, 3), 32, 2), False),
        ("Conv2d_2a_3x3", _Step((3, 3), 32, padded=False), False),
        ("Conv2d_2b_3x3", _Step((3, 3), 64), True),
        ("Conv2d_3b_1x1", _Step((1, 1), 80), False),
        ("Conv2d_4a_3x3", _Step((3, 3), 192, padded=False), True),
    ):
        convs.append(step.conv(f"{name}.conv", channels, size))
        size, channels = convs[-1].out_size[0], step.outputs
        if pooling:
            size = pooled(size, 3, 2, cut=True)
    for module, branches in V3_MODULES.items():
        added = _module(f"Mixed_{module}", branches, channels, size)
        convs += [conv for conv, _ in added]
        passed_on = 0 if "branch_pool" in branches else channels
        channels = passed_on + sum(conv.out_channels for conv, last in added if last)
        size = added[-1][0].out_size[0] if passed_on else size
    norms = filters(convs)
    forks = sum(fork for branches in V3_MODULES.values() for _, fork in branches.values())
    pools = sum("branch_pool" in branches for branches in V3_MODULES.values())
    return Network(
        name="inception-v3",
        layers=named([*convs, Linear("fc", in_features=channels, out_features=1000)]),
        source="Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016;"
        " 299 x 299",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs), "folded into weights"),
            NotSimulated("Relu", len(convs), "element-wise"),
            NotSimulated("Concat", len(V3_MODULES) + forks, "data movement"),
            NotSimulated("MaxPool", 2 + len(V3_MODULES) - pools, "reduction"),
            NotSimulated("AveragePool", pools, "reduction"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
            NotSimulated(
                "Auxiliary classifier",
                1,
                f"runs in training only; its {V3_AUXILIARY:,} parameters are not counted",
            ),
        ),
        other_parameters=2 * norms + 1000,
        notes=(f"with the auxiliary classifier of training there are {V3_AUXILIARY:,} parameters more",),
    )


def _module(name: str, branches: _Branches, inputs: int, size: int) -> list[tuple[Conv, bool]]:
    """Convolutions of a module, and whether each is the last of its branch."""
    convs: list[tuple[Conv, bool]] = []
    for branch, (steps, fork) in branches.items():
        channels, side = inputs, size
        for i, step in enumerate(steps, start=1):
            number = f"_{i}" if len(steps) > 1 or fork else ""
            conv = step.conv(f"{name}.{branch}{number}.conv", channels, side)
            convs.append((conv, not fork and i == len(steps)))
            channels, side = step.outputs, conv.out_size[0]
        if fork:
            convs += [
                (step.conv(f"{name}.{branch}_{len(steps) + 1}{letter}.conv", channels, side), True)
                for letter, step in zip("ab", _FORK, strict=True)
            ]
    return convs
