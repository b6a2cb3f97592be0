"""Tables of published networks: what the generators write, and the totals that are published."""

import json
from pathlib import Path

import pytest

import hwmodel as hw
from hwmodel.networks import architectures
from hwmodel.networks.tables import network_to_table

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
