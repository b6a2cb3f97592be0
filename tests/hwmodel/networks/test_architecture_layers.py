"""Tables of published networks: how their layers follow one another, and what tensors they name."""

from itertools import pairwise
from math import prod

import pytest

import hwmodel as hw
from hwmodel.networks.tables import NO_TENSOR


def test_layers_of_efficientnet_follow_one_another():
    layers = [e.layer for e in hw.load_network("efficientnet-lite0").layers]
    for a, b in pairwise(layers[:-1]):
        assert (a.out_channels, a.out_size) == (b.in_channels, b.in_size)


@pytest.mark.parametrize(
    ("name", "pooled"),
    [
        ("vgg16", 5),
        ("vgg19", 5),
        ("vgg-small", 3),
        ("vgg_m", 3),
        ("vgg_s", 3),
        ("alexnet", 3),
        ("alexnet-grouped", 3),
        ("nin", 3),
        ("c3d", 5),
    ],
)
def test_layers_of_a_plain_stack_follow_one_another(name, pooled):
    layers = list(hw.load_network(name))
    smaller = 0
    for a, b in pairwise(layers):
        if b.operation == "linear" and a.operation == "linear":
            assert a.out_features == b.in_features
            continue
        assert b.input_count <= a.output_count
        smaller += b.input_count < a.output_count
        if b.operation == "conv":
            assert a.out_channels == b.in_channels
    assert smaller == pooled


def test_dense_blocks_concatenate():
    network = hw.load_network("densenet121")
    layers = {x.name: x for x in network}
    for block, (first, repeats) in enumerate(zip((64, 128, 256, 512), (6, 12, 24, 16), strict=True), start=1):
        widths = [
            layers[f"features.denseblock{block}.denselayer{i}.conv1"].in_channels
            for i in range(1, repeats + 1)
        ]
        assert widths == [first + 32 * i for i in range(repeats)]
    assert layers["classifier"].in_features == 1024


# Szegedy et al., CVPR 2015, table 1: millions of multiply-accumulates. For 5a it prints 54; the filters that
# it prints make 51.
GOOGLENET = {
    "3a": 128,
    "3b": 304,
    "4a": 73,
    "4b": 88,
    "4c": 100,
    "4d": 119,
    "4e": 170,
    "5a": 51,
    "5b": 71,
}


def test_modules_of_googlenet_are_as_printed():
    network = hw.load_network("googlenet")
    assert sum(x.operation == "conv" for x in network) == 57
    channels = 192
    for module, macs in GOOGLENET.items():
        layers = {x.name.partition("/")[2]: x for x in network if x.name.startswith(f"inception_{module}/")}
        assert len(layers) == 6
        assert sum(x.macs for x in layers.values()) / 1e6 == pytest.approx(macs, abs=1)
        assert {layers[x].in_channels for x in ("1x1", "3x3_reduce", "5x5_reduce", "pool_proj")} == {channels}
        channels = sum(layers[x].out_channels for x in ("1x1", "3x3", "5x5", "pool_proj"))
    assert network.layers[-1].layer.in_features == channels


def test_inception_leaves_its_training_classifier_out():
    network = hw.load_network("inception-v3")
    assert not any("Aux" in x.name for x in network)
    (auxiliary,) = [n for n in network.not_simulated if n.operation == "Auxiliary classifier"]
    assert f"{768 * 128 + 256 + 128 * 768 * 25 + 1536 + 769_000:,} parameters" in auxiliary.reason
    sizes = {x.name.split(".")[0]: x.in_size[0] for x in network if x.operation == "conv"}
    assert [sizes[f"Mixed_{m}"] for m in ("5b", "6b", "7b")] == [35, 17, 8]


@pytest.mark.parametrize("name", ["mobilenetv2", "mnasnet0_5", "mnasnet1_0"])
def test_inverted_residuals_follow_one_another(name):
    layers = [e.layer for e in hw.load_network(name).layers]
    for a, b in pairwise(layers[:-1]):
        assert (a.out_channels, a.out_size) == (b.in_channels, b.in_size)
        assert b.groups in (1, b.in_channels)
    assert sum(x.groups > 1 for x in layers[:-1]) == 17


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_fire_modules_concatenate(name):
    layers = list(hw.load_network(name))
    channels = layers[0].out_channels
    for squeeze, one, three in zip(*[iter(layers[1:-1])] * 3, strict=True):
        assert squeeze.in_channels == channels
        assert one.in_channels == three.in_channels == squeeze.out_channels
        channels = one.out_channels + three.out_channels
    assert layers[-1].in_channels == channels == 512


@pytest.mark.parametrize("name", ["shufflenetv2-x0_5", "shufflenetv2-x1_0"])
def test_one_half_of_the_channels_passes_by(name):
    layers = {x.name: x for x in hw.load_network(name)}
    for stage, units in ((2, 4), (3, 8), (4, 4)):
        half = layers[f"stage{stage}.0.branch1.2"].out_channels
        for unit in range(units):
            parts = [layers[f"stage{stage}.{unit}.branch2.{i}"] for i in (0, 3, 5)]
            assert {x.out_channels for x in parts} == {half}
            assert parts[0].in_channels == half or unit == 0
        assert parts[2].out_size == {2: (28, 28), 3: (14, 14), 4: (7, 7)}[stage]


def test_slimmed_channels_follow_their_rule():
    plain = list(hw.load_network("yolov3"))
    slimmed = {x.name: x for x in hw.load_network("yolov3-slimmed")}

    def kept(layer, share):
        def keep(channels):
            return 8 * round(channels * share / 8)

        joined = {384: (128, 256), 768: (256, 512)}.get(layer.in_channels, (layer.in_channels,))
        inputs = 3 if layer.in_channels == 3 else sum(keep(c) for c in joined)
        return inputs, layer.out_channels if layer.name.startswith("detect") else keep(layer.out_channels)

    def ratio(share):
        new = [x.kernel_positions * x.positions * prod(kept(x, share)) for x in plain]
        return sum(x.macs for x in plain) / sum(new)

    for layer in plain:
        assert (slimmed[layer.name].in_channels, slimmed[layer.name].out_channels) == kept(layer, 0.65)
        assert slimmed[layer.name].in_size == layer.in_size
    nearest = min(abs(ratio(k / 1000) - 2.35) for k in range(300, 1000))
    assert abs(ratio(0.65) - 2.35) == nearest < 0.002


def test_non_local_blocks_see_every_position():
    trunk = {x.name: x for x in hw.load_network("resnet50")}
    extra = [x for x in hw.load_network("nonlocal-resnet50") if x.name not in trunk]
    assert len(extra) == 5 * 6
    for theta, phi, g, scores, context, out in zip(*[iter(extra)] * 6, strict=True):
        assert theta.in_channels == phi.in_channels == g.in_channels == out.out_channels
        assert scores.rows == context.rows == theta.positions == 4 * scores.columns
        assert (scores.inner, context.columns) == (theta.out_channels, g.out_channels)
        assert (context.inner, out.in_channels) == (scores.columns, context.columns)


def test_deformable_convolutions_have_offsets():
    network = hw.load_network("deformable-resnet101")
    layers = {x.name: x for x in network}
    for block in range(3):
        conv, offset = layers[f"layer4.{block}.conv2"], layers[f"layer4.{block}.conv2.offset"]
        assert offset.out_channels == 2 * 9
        assert (offset.in_size, offset.out_size) == (conv.in_size, conv.out_size) == ((14, 14), (14, 14))
        assert conv.dilation == (2, 2)
    (sampling,) = [n for n in network.not_simulated if n.multiplies]
    assert (sampling.count, sampling.reason.split()[0]) == (3, f"{3 * 9 * 196 * 512:,}")


def test_attention_of_gpt3_has_96_heads_of_128():
    network = hw.load_network("gpt3-175b")
    products = [x for x in network if x.operation == "matmul"]
    assert len(products) == 2 * 96
    assert {(x.batch, x.rows, x.inner, x.columns) for x in products} == {
        (96, 2048, 128, 2048),
        (96, 2048, 2048, 128),
    }
    assert network.macs == 2048 * network.parameters + 96 * 2 * 96 * 2048 * 2048 * 128


# Names out of the state dicts that users have.
@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("densenet121", "features.denseblock4.denselayer16.conv2.weight"),
        ("densenet201", "features.transition3.conv.weight"),
        ("densenet169-cifar10", "dense4.31.conv2.weight"),
        ("resnet18-cifar10", "layer2.0.shortcut.0.weight"),
        ("resnext29-32x4d-cifar10", "layer3.2.conv3.weight"),
        ("resnext101-32x8d", "layer3.22.conv2.weight"),
        ("squeezenet1_0", "features.12.expand3x3.weight"),
        ("squeezenet1_1", "features.6.squeeze.weight"),
        ("mobilenetv2", "features.17.conv.1.0.weight"),
        ("mnasnet0_5", "layers.13.0.layers.6.weight"),
        ("shufflenetv2-x1_0", "stage3.7.branch2.3.weight"),
        ("inception-v3", "Mixed_7c.branch3x3dbl_3b.conv.weight"),
        ("inception-v3", "Mixed_6e.branch7x7dbl_5.conv.weight"),
        ("alexnet", "features.10.weight"),
        ("vgg19", "features.34.weight"),
        ("bert-large", "encoder.layer.23.attention.output.dense.weight"),
        ("resnet20-cifar10", "layer3.2.conv2.weight"),
        ("resnet56-cifar10", "linear.weight"),
        ("nonlocal-resnet50", "layer3.5.conv3.weight"),
        ("deformable-resnet101", "layer4.2.conv2.weight"),
    ],
)
def test_tensors_have_their_public_names(name, tensor):
    assert tensor in {e.weight for e in hw.load_network(name).layers}


@pytest.mark.parametrize("name", hw.network_names())
def test_layers_without_a_tensor_say_why(name):
    for entry in hw.load_network(name).layers:
        expected = NO_TENSOR if entry.layer.has_weights and entry.weight is None else None
        assert entry.weight_missing == expected
