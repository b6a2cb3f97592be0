"""Residual networks: for ImageNet, for CIFAR-10, with non-local blocks, with deformable convolutions."""

from __future__ import annotations

from dataclasses import replace

from hwmodel.networks.architectures.layer_tables import FULL_WIDTH_CIFAR, filters, named, square_conv
from hwmodel.networks.layers import Conv, Layer, Linear, MatMul
from hwmodel.networks.network import Network, NotSimulated

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Residual blocks of each stage, by depth."""

_SOURCE = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016"
_MISNAMED = (
    "the BitX paper's ResNext29_32x64d is taken to be this one: 32 groups of 64 channels would have 1.2 G"
    " weights, its numbers fit 32 groups of 4, and no public implementation has the other"
)
_XIE = "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017"


def resnet(depth: int) -> Network:
    """ResNet for ImageNet at 224 × 224.

    K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; bottlenecks
    halve the size in their 3 × 3 convolution, as in today's implementations. Tensors are named as
    in torchvision.
    """
    return _residual_network(f"resnet{depth}", depth, f"{_SOURCE}; 224 x 224")


def resnext(depth: int, groups: int, group_width: int) -> Network:
    """ResNeXt for ImageNet at 224 × 224.

    S. Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017, table 1:
    ResNet's bottlenecks with a 3 × 3 convolution in `groups` groups of `group_width` channels in the
    first stage, doubled in each further one. Tensors are named as in torchvision.
    """
    return _residual_network(
        f"resnext{depth}-{groups}x{group_width}d", depth, f"{_XIE}; 224 x 224", groups, group_width
    )


def resnet_full_cifar(depth: int) -> Network:
    """ResNet of the ImageNet form's depths and widths for CIFAR-10 at 32 × 32.

    The widely used adaptation: a 3 × 3 stem of stride 1 and no pooling in front of the residual blocks.
    Tensors are named as in the implementation ``kuangliu/pytorch-cifar``. He et al.'s own networks for
    CIFAR-10 are others: `resnet_cifar`.
    """
    return _residual_network(
        f"resnet{depth}-cifar10",
        depth,
        f"{_SOURCE}; CIFAR-10 form of kuangliu/pytorch-cifar, 32 x 32",
        cifar=True,
    )


def _residual_network(
    name: str, depth: int, source: str, groups: int = 1, group_width: int = 64, *, cifar: bool = False
) -> Network:
    convs = _trunk(depth, groups=groups, group_width=group_width, cifar=cifar)
    classes = 10 if cifar else 1000
    classifier = Linear("linear" if cifar else "fc", in_features=convs[-1].filters, out_features=classes)
    return Network(
        name=name,
        layers=named([*convs, classifier]),
        source=source,
        not_simulated=_not_simulated(depth, norms=len(convs), pooling=not cifar),
        other_parameters=2 * filters(convs) + classes,
        notes=(FULL_WIDTH_CIFAR,) if cifar else (),
    )


def _trunk(
    depth: int,
    *,
    groups: int = 1,
    group_width: int = 64,
    last_stride: int = 2,
    last_dilation: int = 1,
    cifar: bool = False,
) -> list[Conv]:
    """Every convolution.

    Parameters
    ----------
    depth : int
    groups, group_width : int
        Groups of the bottlenecks' 3 × 3, and channels of one of them in the first stage.
    last_stride, last_dilation : int
        Of the last stage's 3 × 3.
    cifar : bool
        For 32 × 32: a 3 × 3 stem of stride 1, no pooling; shortcuts named as in CIFAR-10 implementations.
    """
    layers: list[Conv] = []

    def conv(
        name: str,
        inputs: int,
        outputs: int,
        size: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> int:
        layers.append(
            square_conv(name, inputs, outputs, size, kernel, stride, dilation=dilation, groups=groups)
        )
        return layers[-1].out_size[0]

    # For ImageNet a pooling layer follows the stem.
    size = conv("conv1", 3, 64, 32, 3) if cifar else conv("conv1", 3, 64, 224, 7, stride=2) // 2
    channels = 64
    shortcut = "shortcut.0" if cifar else "downsample.0"
    for stage, repeats in enumerate(BLOCKS[depth]):
        width = 64 << stage
        dilation = last_dilation if stage == 3 else 1
        for repeat in range(repeats):
            name, stride = f"layer{stage + 1}.{repeat}", 1
            if stage and repeat == 0:
                stride = last_stride if stage == 3 else 2
            if depth < 50:
                outputs = width
                out = conv(f"{name}.conv1", channels, width, size, 3, stride, dilation)
                conv(f"{name}.conv2", width, width, out, 3, 1, dilation)
            else:
                outputs, inner = 4 * width, groups * (group_width << stage)
                conv(f"{name}.conv1", channels, inner, size, 1)
                out = conv(f"{name}.conv2", inner, inner, size, 3, stride, dilation, groups)
                conv(f"{name}.conv3", inner, outputs, out, 1)
            if channels != outputs:
                conv(f"{name}.{shortcut}", channels, outputs, size, 1, stride)
            size, channels = out, outputs
    return layers


def _not_simulated(depth: int, *, norms: int, pooling: bool = True) -> tuple[NotSimulated, ...]:
    blocks = sum(BLOCKS[depth])
    return (
        NotSimulated("BatchNormalization", norms, "folded into weights"),
        NotSimulated("Relu", 1 + blocks * (2 if depth < 50 else 3), "element-wise"),
        NotSimulated("Add", blocks, "element-wise"),
        *((NotSimulated("MaxPool", 1, "reduction"),) if pooling else ()),
        NotSimulated("GlobalAveragePool", 1, "reduction"),
    )


def resnet_cifar(depth: int) -> Network:
    """ResNet for CIFAR-10 at 32 × 32, of depth 6 n + 2.

    K. He et al., CVPR 2016, section on CIFAR-10: three stages of n blocks with 16, 32 and 64
    filters, shortcuts without parameters (option A). Tensors are named as in the implementation
    ``akamaster/pytorch_resnet_cifar10``.
    """
    blocks = (depth - 2) // 6
    convs = [square_conv("conv1", 3, 16, 32, 3)]
    size = 32
    for stage in range(3):
        width = 16 << stage
        for block in range(blocks):
            stride = 2 if stage and block == 0 else 1
            first = square_conv(f"layer{stage + 1}.{block}.conv1", convs[-1].filters, width, size, 3, stride)
            size = first.out_size[0]
            convs += [first, square_conv(f"layer{stage + 1}.{block}.conv2", width, width, size, 3)]
    return Network(
        name=f"resnet{depth}-cifar10",
        layers=named([*convs, Linear("linear", in_features=64, out_features=10)]),
        source=f"{_SOURCE}, section on CIFAR-10; 32 x 32",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs), "folded into weights"),
            NotSimulated("Relu", 1 + 6 * blocks, "element-wise"),
            NotSimulated("Add", 3 * blocks, "element-wise"),
            NotSimulated("Pad and slice (shortcuts of option A)", 2, "data movement"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * filters(convs) + 10,
    )


def resnext29_cifar(groups: int, group_width: int) -> Network:
    """ResNeXt-29 for CIFAR-10 at 32 × 32.

    After S. Xie et al., CVPR 2017, section on CIFAR, as in the implementation
    ``kuangliu/pytorch-cifar``, whose tensor names these are: three stages of three bottlenecks, twice as
    many outputs as inner channels (the paper has 256, 512 and 1024 whatever the groups), and a 1 × 1 stem
    (the paper: 3 × 3).
    """
    convs = [square_conv("conv1", 3, 64, 32)]
    size, channels = 32, 64
    for stage in range(3):
        inner = groups * (group_width << stage)
        for block in range(3):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and block == 0 else 1
            convs.append(square_conv(f"{name}.conv1", channels, inner, size))
            convs.append(square_conv(f"{name}.conv2", inner, inner, size, 3, stride, groups=groups))
            convs.append(square_conv(f"{name}.conv3", inner, 2 * inner, convs[-1].out_size[0]))
            if block == 0:
                convs.append(square_conv(f"{name}.shortcut.0", channels, 2 * inner, size, stride=stride))
            size, channels = convs[-1].out_size[0], 2 * inner
    return Network(
        name=f"resnext29-{groups}x{group_width}d-cifar10",
        layers=named([*convs, Linear("linear", in_features=channels, out_features=10)]),
        source=f"{_XIE}; CIFAR-10 form of kuangliu/pytorch-cifar, 32 x 32",
        not_simulated=(
            NotSimulated("BatchNormalization", len(convs), "folded into weights"),
            NotSimulated("Relu", 1 + 3 * 9, "element-wise"),
            NotSimulated("Add", 9, "element-wise"),
            NotSimulated("GlobalAveragePool", 1, "reduction"),
        ),
        other_parameters=2 * filters(convs) + 10,
        notes=(
            "bottlenecks have twice as many outputs as inner channels, and the stem is 1 x 1, as in the"
            " implementation; the paper's have 256, 512 and 1024 outputs and a 3 x 3 stem",
            *((_MISNAMED,) if (groups, group_width) == (32, 4) else ()),
        ),
    )


def nonlocal_resnet50() -> Network:
    """Non-local ResNet-50 with five blocks, on one image of 224 × 224.

    X. Wang et al., "Non-local Neural Networks", CVPR 2018: blocks of the embedded Gaussian kind, with
    half the channels inside and with φ and g subsampled by a pooling layer, behind every other
    residual block of res3 (2) and res4 (3). The paper runs it on videos; with one frame it is this.
    """
    at = {"layer2.1", "layer2.3", "layer3.1", "layer3.3", "layer3.5"}
    layers: list[Layer] = []
    added: list[Conv] = []
    convs = _trunk(50)
    for conv in convs:
        layers.append(conv)
        block, _, part = conv.name.rpartition(".")
        if block not in at or part != "conv3":
            continue
        name, outer, size = f"{block}.nonlocal", conv.filters, conv.out_size[0]
        inner, positions, pooled = outer // 2, size * size, (size // 2) ** 2
        inside = [square_conv(f"{name}.{x}", outer, inner, size) for x in ("theta", "phi", "g")]
        outside = square_conv(f"{name}.out", inner, outer, size)
        layers += [
            *inside,
            MatMul(f"{name}.scores", rows=positions, inner=inner, columns=pooled),
            MatMul(f"{name}.context", rows=positions, inner=pooled, columns=inner),
            outside,
        ]
        added += [*inside, outside]
    layers.append(Linear("fc", in_features=2048, out_features=1000))
    biases = sum(x.filters for x in added)
    norms = filters([x for x in added if x.name.endswith(".out")])
    return Network(
        name="nonlocal-resnet50",
        layers=named(layers, nameless={x.name for x in added}),
        source="Wang et al., Non-local Neural Networks, CVPR 2018; 5 blocks, one frame of 224 x 224",
        not_simulated=(
            *_not_simulated(50, norms=len(convs) + len(at)),
            NotSimulated("MaxPool (non-local)", 2 * len(at), "reduction"),
            NotSimulated("Softmax (non-local)", len(at), "element-wise and reduction"),
            NotSimulated("Add (non-local)", len(at), "element-wise"),
        ),
        other_parameters=2 * (filters(convs) + norms) + biases + 1000,
        notes=(
            "5 non-local blocks (2 in res3, 3 in res4), embedded Gaussian, phi and g subsampled by 2 x 2;"
            " the paper's networks take several frames of a video, this is one",
            "the trunk's tensors are named as in torchvision, those of the non-local blocks differ between"
            " implementations",
        ),
    )


def deformable_resnet101() -> Network:
    """Deformable ResNet-101, the feature extractor, at 224 × 224.

    J. Dai et al., "Deformable Convolutional Networks", ICCV 2017: the three 3 × 3 convolutions of
    res5 are deformable (one offset group), res5 has stride 1 and dilation 2, and there is no
    classifier. A 3 × 3 convolution makes the 2 × 9 offsets.
    """
    layers: list[Layer] = []
    offsets: list[Conv] = []
    convs = _trunk(101, last_stride=1, last_dilation=2)
    for conv in convs:
        if conv.name.startswith("layer4.") and conv.name.endswith(".conv2"):
            offsets.append(replace(conv, name=f"{conv.name}.offset", out_channels=18))
            layers.append(offsets[-1])
        layers.append(conv)
    sampled = sum(x.kernel_positions * x.positions * x.in_channels for x in offsets)
    ordinary = tuple(n for n in _not_simulated(101, norms=len(convs)) if n.operation != "GlobalAveragePool")
    return Network(
        name="deformable-resnet101",
        layers=named(layers, nameless={x.name for x in offsets}),
        source="Dai et al., Deformable Convolutional Networks, ICCV 2017; 224 x 224",
        not_simulated=(
            *ordinary,
            NotSimulated(
                "Bilinear sampling (deformable)",
                len(offsets),
                f"{sampled:,} values, each from 4 neighbours, gathered before the convolution",
                multiplies=True,
            ),
        ),
        other_parameters=2 * filters(convs) + filters(offsets),
        notes=(
            "deformable 3 x 3 convolutions of res5 run as ordinary ones of dilation 2 on sampled activations",
            "feature extractor of the paper's detectors and segmentation: stride 16, no head",
            "the trunk's tensors are named as in torchvision, those of the offsets differ between"
            " implementations",
        ),
    )
