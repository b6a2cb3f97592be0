"""Tables of published networks: what the generators write, and the totals that are published."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

import hwmodel as hw
from hwmodel.networks import architectures
from hwmodel.networks.tables import NO_TENSOR, network_to_table

TABLES = Path(__file__).parents[3] / "data" / "networks"


@pytest.mark.parametrize("name", hw.network_names())
def test_tables_are_what_the_generator_writes(name):
    made = architectures.ARCHITECTURES[name]()
    assert made.name == name
    assert (TABLES / f"{name}.json").read_text() == architectures.table_text(made)
    read = hw.load_network(name)
    assert json.dumps(network_to_table(read)) == json.dumps(network_to_table(made))
    assert read.layers == made.layers


def test_every_architecture_has_its_table(tmp_path):
    assert sorted(architectures.ARCHITECTURES) == hw.network_names()
    architectures.main(str(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in TABLES.glob("*.json")}


# Trained values, exact: those of the public implementations whose tensors the tables name; for others, the
# papers' own arithmetic written out.
PARAMETERS = {
    "bert-base": 85_054_464,
    "bert-large": 302_309_376,
    "c3d": 78_409_573,
    "deformable-resnet101": 44_549_160 - (2048 * 1000 + 1000) + 3 * (18 * 512 * 9 + 18),
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet201": 20_013_928,
    "efficientnet-lite0": 4_652_008,
    "gpt3-175b": 96 * (12 * 12288**2 + 13 * 12288) + (50257 + 2048 + 2) * 12288,
    "minilm-l6": 10_646_784,
    "nonlocal-resnet50": 25_557_032
    + 2 * (4 * 512 * 256 + 3 * 256 + 3 * 512)
    + 3 * (4 * 1024 * 512 + 3 * 512 + 3 * 1024),
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet20-cifar10": 269_722,
    "resnet56-cifar10": 853_018,
    "vgg16": 138_357_544,
    "vgg-small": 4_660_106,
    "yolov3": 61_949_149,
}

# Multiply-accumulates as published, in units of the last digit printed: sources count those of normalisation
# and activation or not, which is what the larger tolerances are for.
GMACS = {
    "bert-base": (11.17, 0.01),  # 85 M weights at 128 positions, and attention
    "bert-large": (39.46, 0.01),
    "c3d": (38.5, 0.05),
    "densenet121": (2.83, 0.01),
    "densenet161": (7.73, 0.01),
    "densenet201": (4.29, 0.01),
    "efficientnet-lite0": (0.407, 0.025),
    "minilm-l6": (0.128 * 10.617 + 2 * 6 * 128 * 128 * 384e-9, 0.001),
    "resnet18": (1.814, 0.001),
    "resnet34": (3.664, 0.001),
    "resnet50": (4.09, 0.005),
    "resnet101": (7.80, 0.005),
    "resnet152": (11.51, 0.01),
    "resnet20-cifar10": (0.0406, 0.0001),
    "resnet56-cifar10": (0.1255, 0.0001),
    "vgg16": (15.47, 0.005),
    "vgg-small": (0.61, 0.01),
    "yolov3": (65.86 / 2, 0.005),  # the authors count multiplication and addition apart
}


def test_no_table_goes_without_totals():
    assert sorted(PARAMETERS) == hw.network_names()
    assert set(hw.network_names()) - set(GMACS) == {"deformable-resnet101", "gpt3-175b", "nonlocal-resnet50"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    network = hw.load_network(name)
    assert network.parameters + network.other_parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", GMACS)
def test_macs_are_the_published_ones(name):
    published, tolerance = GMACS[name]
    assert hw.load_network(name).macs / 1e9 == pytest.approx(published, abs=tolerance)


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
