"""Tables of published networks: how their layers follow one another, and what tensors they name."""

from itertools import pairwise

import pytest

import hwmodel as hw
from hwmodel.networks.tables import NO_TENSOR


def test_layers_of_efficientnet_follow_one_another():
    layers = [e.layer for e in hw.load_network("efficientnet-lite0").layers]
    for a, b in pairwise(layers[:-1]):
        assert (a.out_channels, a.out_size) == (b.in_channels, b.in_size)


@pytest.mark.parametrize(("name", "pooled"), [("vgg16", 5), ("vgg-small", 3), ("c3d", 5)])
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
