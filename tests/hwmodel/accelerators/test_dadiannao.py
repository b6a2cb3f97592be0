"""DaDianNao: equal to DNNsim, to its loop nest and to its stepped model."""

import csv

import pytest
from grid_cases import check_equals_stepped, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import DNNSIM_LAYERS, conv

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError


@given(stepped_cases("dadiannao", st.fixed_dictionaries({})))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


# Compute cycles of the public simulator DNNsim (4748a60) on a grid of 16 x 16 x 16 x 16.
DNNSIM = """\
conv1,7056
conv2,936
conv3,416
fc1,128
"""


@pytest.mark.parametrize(("name", "cycles"), list(csv.reader(DNNSIM.splitlines())))
def test_equals_dnnsim(name, cycles):
    acc = hw.accelerator("dadiannao", columns=16)
    assert hw.simulate(acc, DNNSIM_LAYERS[name]).compute_cycles == int(cycles)


def loop_nest(acc, layer):
    """Walk the loop nest, one step a cycle."""
    cycles = 0
    per_group = layer.filters // layer.conv_groups
    for _ in range(layer.conv_groups):
        for _ in range(0, layer.positions, acc.columns):
            for _ in range(0, per_group, acc.rows * acc.tiles):
                for _ in range(layer.kernel_positions):
                    for _ in range(0, layer.channels, acc.lanes):
                        cycles += 1
    return cycles


@pytest.mark.parametrize(
    "layer",
    [
        conv("grouped", 40, 80, 9, 3, groups=2),
        hw.Conv("1d", in_channels=20, out_channels=300, in_size=50, kernel=7),
        hw.Conv("3d", in_channels=5, out_channels=6, in_size=(4, 5, 6), kernel=(3, 3, 3)),
        hw.ConvTranspose("up", in_channels=24, out_channels=7, in_size=(5, 6), kernel=2, stride=2),
        hw.Linear("tokens", 384, 1536, positions=128),
        hw.MatMul("scores", rows=40, inner=15, columns=40, batch=8),
    ],
)
@pytest.mark.parametrize("columns", [1, 16])
def test_equals_its_loop_nest(layer, columns):
    acc = hw.accelerator("dadiannao", columns=columns, dram=None)
    r = hw.simulate(acc, layer)
    assert r.cycles == loop_nest(acc, layer)
    assert 0 < r.utilisation <= 1
    assert r.cycles >= layer.macs / acc.peak_macs_per_cycle


def test_on_depthwise_and_first_layers():
    acc = hw.accelerator("dadiannao", dram=None)
    assert acc.peak_macs_per_cycle == 4096
    depthwise = conv("d", 32, 32, 112, 3, padding=1, groups=32)
    assert hw.simulate(acc, depthwise).cycles == 2 * 112 * 112 * 9
    first = conv("first", 3, 64, 224, 7, padding=3, stride=2)
    # Stride 2 makes 12 channels of 3, and 4 x 4 kernel positions of 7 x 7.
    assert hw.simulate(acc, first).cycles == 112 * 112 * 16
    unfolded = hw.accelerator("dadiannao", fold_first_layer=False, dram=None)
    assert hw.simulate(unfolded, first).cycles == 112 * 112 * 49


def test_splits_wide_operands():
    acc = hw.accelerator("dadiannao", columns=2, dram=None)
    layer = hw.Linear("l", 16, 256 * 2, positions=2)
    assert hw.simulate(acc, layer).cycles == 2
    assert hw.simulate(acc, layer, hw.Operands(weight_bits=32)).cycles == 4
    assert hw.simulate(acc, layer, hw.Operands(activation_bits=32)).cycles == 4
    with pytest.raises(TensorError, match="more columns or rows"):
        hw.simulate(hw.accelerator("dadiannao"), layer, hw.Operands(activation_bits=17))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiles": True}, "tiles must be an integer"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("dadiannao", **options)
