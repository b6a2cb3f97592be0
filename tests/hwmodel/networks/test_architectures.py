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


def cifar_parameters(imagenet, features, stem=64):
    """A 3 x 3 stem for the 7 x 7 one, and 10 classes for 1000."""
    return imagenet - 3 * stem * (7 * 7 - 3 * 3) - 990 * (features + 1)


def cifar_gmacs(imagenet, features, stem=64):
    """Planes of 32, 16, 8 and 4 for those of 56, 28, 14 and 7; other stem and classifier."""
    blocks = imagenet - (112**2 * 3 * stem * 49 + features * 1000) / 1e9
    return blocks * (32 / 56) ** 2 + (32**2 * 3 * stem * 9 + features * 10) / 1e9


def resnext29(groups, width, positions=(1, 1, 1, 1)):
    """Weights of ResNeXt-29, times the positions of its stem and stages, normalisation, other values."""
    weights, norms, inputs = positions[0] * 3 * 64, 64, 64
    for stage, times in enumerate(positions[1:]):
        g = groups * width * 2**stage
        three = 9 * g * (g // groups) + g * 2 * g
        before = 4 if stage and times > 1 else 1  # the first 1 x 1 runs before the plane shrinks
        weights += times * (before * inputs * g + three + inputs * 2 * g + 2 * (2 * g * g + three))
        norms += 3 * (g + g + 2 * g) + 2 * g
        inputs = 2 * g
    return weights + inputs * 10, 2 * norms + 10


VGG_CNN = (
    7 * 7 * 3 * 96
    + 5 * 5 * 96 * 256
    + 3 * 3 * (256 + 512 + 512) * 512
    + (6 * 6 * 512 + 4096) * 4096
    + 4096 * 1000
    + (96 + 256 + 3 * 512 + 2 * 4096 + 1000)
)

# Trained values, exact: those of the public implementations whose tensors the tables name; for others, the
# papers' own arithmetic written out.
PARAMETERS = {
    "alexnet": 61_100_840,
    "alexnet-grouped": 60_965_224,
    "bert-base": 85_054_464,
    "bert-large": 302_309_376,
    "c3d": 78_409_573,
    "deformable-resnet101": 44_549_160 - (2048 * 1000 + 1000) + 3 * (18 * 512 * 9 + 18),
    "densenet121": 7_978_856,
    "densenet161": 28_681_000,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    # Without normalisation behind the stem.
    "densenet121-cifar10": cifar_parameters(7_978_856, 1024) - 2 * 64,
    "densenet161-cifar10": cifar_parameters(28_681_000, 2208, stem=96) - 2 * 96,
    "densenet169-cifar10": cifar_parameters(14_149_480, 1664) - 2 * 64,
    "densenet201-cifar10": cifar_parameters(20_013_928, 1920) - 2 * 64,
    "efficientnet-lite0": 4_652_008,
    "googlenet": 6_998_552,
    "gpt3-175b": 96 * (12 * 12288**2 + 13 * 12288) + (50257 + 2048 + 2) * 12288,
    "inception-v3": 27_161_264 - 3_326_696,  # without the auxiliary classifier
    "minilm-l6": 10_646_784,
    "mnasnet0_5": 2_218_512,
    "mnasnet1_0": 4_383_312,
    "mobilenetv2": 3_504_872,
    "nin": (3 * 121 + 2 * 96) * 96
    + (96 * 25 + 2 * 256) * 256
    + (256 * 9 + 2 * 384) * 384
    + (384 * 9 + 1024 + 1000) * 1024
    + (3 * (96 + 256 + 384) + 2 * 1024 + 1000),
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
    "resnet18-cifar10": cifar_parameters(11_689_512, 512),
    "resnet34-cifar10": cifar_parameters(21_797_672, 512),
    "resnet50-cifar10": cifar_parameters(25_557_032, 2048),
    "resnet101-cifar10": cifar_parameters(44_549_160, 2048),
    "resnet152-cifar10": cifar_parameters(60_192_808, 2048),
    "resnext50-32x4d": 25_028_904,
    "resnext101-32x8d": 88_791_336,
    "resnext29-2x64d-cifar10": sum(resnext29(2, 64)),
    "resnext29-4x64d-cifar10": sum(resnext29(4, 64)),
    "resnext29-8x64d-cifar10": sum(resnext29(8, 64)),
    "resnext29-32x4d-cifar10": sum(resnext29(32, 4)),
    "shufflenetv2-x0_5": 1_366_792,
    "shufflenetv2-x1_0": 2_278_604,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg_m": VGG_CNN,
    "vgg_s": VGG_CNN,
    "vgg-small": 4_660_106,
    "yolov3": 61_949_149,
    "yolov3-slimmed": 26_490_965,  # ours: see the test of its rule
}

# Multiply-accumulates as published (by torchvision's documentation where it has the network), in units of the
# last digit printed: sources count those of normalisation and activation or not, which is what the larger
# tolerances are for.
GMACS = {
    "alexnet": (0.714, 0.001),
    "alexnet-grouped": (0.724, 0.001),  # V. Sze et al., Proceedings of the IEEE, 2017
    "bert-base": (11.17, 0.01),  # 85 M weights at 128 positions, and attention
    "bert-large": (39.46, 0.01),
    "c3d": (38.5, 0.05),
    "densenet121": (2.83, 0.01),
    "densenet161": (7.73, 0.01),
    "densenet169": (3.36, 0.01),
    "densenet201": (4.29, 0.01),
    "densenet121-cifar10": (cifar_gmacs(2.83, 1024), 0.005),
    "densenet161-cifar10": (cifar_gmacs(7.73, 2208, stem=96), 0.005),
    "densenet169-cifar10": (cifar_gmacs(3.36, 1664), 0.005),
    "densenet201-cifar10": (cifar_gmacs(4.29, 1920), 0.005),
    "efficientnet-lite0": (0.407, 0.025),
    # The paper's table 1, but for conv1: its 7 x 7 filters on 112 x 112 positions make 118 M, it prints 34 M.
    "googlenet": (1.502 - 0.034 + 112**2 * 7 * 7 * 3 * 64e-9, 0.005),
    "inception-v3": (5.713, 0.001),
    "minilm-l6": (0.128 * 10.617 + 2 * 6 * 128 * 128 * 384e-9, 0.001),
    "mnasnet0_5": (0.104, 0.001),
    "mnasnet1_0": (0.314, 0.001),
    "mobilenetv2": (0.301, 0.001),
    "nin": (
        54**2 * (3 * 121 + 2 * 96) * 96e-9
        + 27**2 * (96 * 25 + 2 * 256) * 256e-9
        + 13**2 * (256 * 9 + 2 * 384) * 384e-9
        + 6**2 * (384 * 9 + 1024 + 1000) * 1024e-9,
        1e-9,
    ),
    "resnet18": (1.814, 0.001),
    "resnet34": (3.664, 0.001),
    "resnet50": (4.09, 0.005),
    "resnet101": (7.80, 0.005),
    "resnet152": (11.51, 0.01),
    "resnet20-cifar10": (0.0406, 0.0001),
    "resnet56-cifar10": (0.1255, 0.0001),
    "resnet18-cifar10": (cifar_gmacs(1.814, 512), 0.001),
    "resnet34-cifar10": (cifar_gmacs(3.664, 512), 0.001),
    "resnet50-cifar10": (cifar_gmacs(4.089, 2048), 0.001),
    "resnet101-cifar10": (cifar_gmacs(7.801, 2048), 0.001),
    "resnet152-cifar10": (cifar_gmacs(11.514, 2048), 0.001),
    "resnext50-32x4d": (4.23, 0.005),
    "resnext101-32x8d": (16.414, 0.001),
    "resnext29-2x64d-cifar10": (resnext29(2, 64, (1024, 1024, 256, 64))[0] / 1e9, 1e-5),
    "resnext29-4x64d-cifar10": (resnext29(4, 64, (1024, 1024, 256, 64))[0] / 1e9, 1e-5),
    "resnext29-8x64d-cifar10": (resnext29(8, 64, (1024, 1024, 256, 64))[0] / 1e9, 1e-5),
    "resnext29-32x4d-cifar10": (resnext29(32, 4, (1024, 1024, 256, 64))[0] / 1e9, 1e-5),
    "shufflenetv2-x0_5": (0.040, 0.001),
    "shufflenetv2-x1_0": (0.145, 0.001),
    "squeezenet1_0": (0.819, 0.001),
    "squeezenet1_1": (0.349, 0.001),
    "vgg16": (15.47, 0.005),
    "vgg19": (19.632, 0.001),
    # S. Albanie's convnet-burden: of 128 images up to pool5, other operations counted as well.
    "vgg_m": (204 / 128 + (18432 * 4096 + 4096 * 4096 + 4096 * 1000) / 1e9, 0.02),
    "vgg_s": (327 / 128 + (18432 * 4096 + 4096 * 4096 + 4096 * 1000) / 1e9, 0.02),
    "vgg-small": (0.61, 0.01),
    "yolov3": (65.86 / 2, 0.005),  # the authors count multiplication and addition apart
    "yolov3-slimmed": (65.86 / 2 / 2.35, 0.01),  # H. Li et al., ICPP 2021, table 6
}

# MiB of float32, in the digits printed: H. Li et al., ICPP 2021, section 4 (whose 356.71 for ResNext101_32x8d
# are 338.71); the model's page in Caffe's zoo; S. Albanie's convnet-burden.
MEBIBYTES = {
    "densenet201": "76.35",
    "squeezenet1_1": "4.71",
    "resnext101-32x8d": "338.71",
    "nin": "29",
    "alexnet-grouped": "233",
    "vgg_m": "393",
    "vgg_s": "393",
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


@pytest.mark.parametrize("name", MEBIBYTES)
def test_sizes_are_the_published_ones(name):
    network, published = hw.load_network(name), MEBIBYTES[name]
    size = 4 * (network.parameters + network.other_parameters) / 2**20
    assert f"{size:.{len(published.partition('.')[2])}f}" == published
