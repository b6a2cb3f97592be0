"""Cnvlutin: equal to its stepped model; bricks, slices and first layers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import layers
from zero_skipping_cases import (
    CONV,
    FC,
    SMALL,
    check_equals_stepped,
    nothing_but_zeros,
    random,
    run,
    small,
    stored,
)

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "lanes": st.sampled_from([1, 2, 5, 16]),
        "rows": st.sampled_from([2, 4]),
        "tiles": st.sampled_from([1, 2]),
        "brick": st.sampled_from([1, 3, 4, 16]),
        "slices": st.sampled_from(["bricks", "channels"]),
        "encoded_first_layer": st.booleans(),
        "fold_first_layer": st.booleans(),
    }
)


@given(st.data())
@settings(max_examples=150)
def test_equals_its_stepped_model(data):
    check_equals_stepped("cnvlutin", layers(), OPTIONS, data)


@pytest.mark.parametrize("layer", [CONV, FC], ids=lambda layer: layer.name)
def test_nothing_but_zeros_takes_a_cycle_a_brick(layer):
    bricks = layer.reduction // 4
    expected = layer.positions * bricks // 4 * (layer.filters // 8)
    assert nothing_but_zeros("cnvlutin", layer).cycles == expected


def test_lanes_of_whole_channel_blocks_are_the_same_slices():
    layer = hw.Conv("c", in_channels=32, out_channels=8, in_size=(5, 5), kernel=3, padding=1)
    w, a = random(layer, 0.5)
    options = {"lanes": 4, "brick": 4}
    by_brick = hw.accelerator("cnvlutin", **options)
    by_channel = hw.accelerator("cnvlutin", slices="channels", **options)
    assert run(by_brick, layer, w, a).cycles == run(by_channel, layer, w, a).cycles


def test_on_products_and_transposed_convolutions():
    machine = small("cnvlutin")
    a = np.random.default_rng(3).integers(0, 3, (2, 6, 16))
    product = hw.MatMul("qk", rows=6, inner=16, columns=10, batch=2)
    linear = hw.Linear("l", 16, 10, positions=6)
    expected = sum(machine.run(linear, hw.Operands(activations=x)).cycles for x in a)
    assert machine.run(product, hw.Operands(activations=a)).cycles == expected
    up = hw.ConvTranspose("up", in_channels=16, out_channels=10, in_size=(3, 2), kernel=2, stride=2)
    x = a[0].reshape(3, 2, 16)
    tiled = hw.Linear("l", 64, 10, positions=6)
    scattered = hw.Operands(activations=x.transpose(2, 0, 1))
    read = hw.Operands(activations=np.tile(x.transpose(1, 0, 2).reshape(6, 16), 4))
    assert machine.run(up, scattered).cycles == machine.run(tiled, read).cycles


def test_first_layer_runs_dense_unless_its_input_is_encoded():
    image = hw.Conv("c", in_channels=3, out_channels=20, in_size=(9, 9), kernel=3, stride=2)
    w, a = random(image, 0.9)
    dense = hw.accelerator("dadiannao", lanes=4, rows=4, tiles=2).run(image, hw.Operands(w, a))
    assert run(small("cnvlutin"), image, w, a).cycles == dense.cycles
    encoded = hw.accelerator("cnvlutin", encoded_first_layer=True, **SMALL["cnvlutin"])
    assert run(encoded, image, w, a).cycles != dense.cycles


def test_without_zeros_spends_what_dadiannao_does():
    """But for the format's offsets."""
    w, a = random(CONV, zeros=0)
    o = hw.Operands(w, a, 16, 16)
    dense = hw.accelerator("dadiannao", lanes=4, rows=4, tiles=2).run(CONV, o).energy.events_j
    ours = small("cnvlutin").run(CONV, o).energy.events_j
    for part in ("multipliers", "adder_trees", "accumulators"):
        assert ours[part] == pytest.approx(dense[part])
    assert ours["activation_registers"] > dense["activation_registers"]


def test_stored_bits_by_hand():
    encoded = stored(small("cnvlutin"), FC, *random(FC, 0.9))
    assert (encoded.weights, encoded.activations, encoded.outputs) == (96 * 64 * 16, 192 * 18, 128 * 18)
    image = hw.Conv("c", in_channels=3, out_channels=4, in_size=(5, 5), kernel=3)
    first = stored(small("cnvlutin"), image, *random(image, 0.5))
    assert (first.activations, first.outputs) == (75 * 16, 36 * 18)


def test_paper_configuration():
    assert hw.accelerator("cnvlutin").peak_macs_per_cycle == 4096


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": "rows"}, "slices must be one of bricks, channels, got 'rows'"),
        ({"brick": 0}, "brick must be an integer of at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("cnvlutin", **options)
