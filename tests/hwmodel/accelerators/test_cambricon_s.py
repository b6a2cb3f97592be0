"""Cambricon-S: equal to its stepped model; blocks, copies and storage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import layers
from zero_skipping_cases import (
    CONV,
    FC,
    NO_PRODUCT,
    NO_TRANSPOSED,
    SMALL,
    check_codes_are_storage_only,
    check_equals_stepped,
    nothing_but_zeros,
    random,
    reasons,
    run,
    small,
    stored,
)

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.cambricon_s import CambriconS

OPTIONS = st.fixed_dictionaries(
    {
        "pes": st.sampled_from([1, 2, 4]),
        "multipliers": st.sampled_from([1, 2, 4]),
        "conv_block": st.tuples(*(st.integers(1, n) for n in (3, 8, 2, 2))),
        "fc_block": st.tuples(st.integers(1, 8), st.integers(1, 8)),
        "narrow_fc_block": st.tuples(st.integers(1, 8), st.integers(1, 8)),
        "narrow_fc_outputs": st.sampled_from([0, 7, 1000]),
        "neuron_window": st.sampled_from([1, 3, 8, 70, 256]),
        "synapse_window": st.sampled_from([1, 2, 5, 64]),
        "units": st.sampled_from([1, 2, 3]),
    }
)


@given(st.data())
@settings(max_examples=150)
def test_equals_its_stepped_model(data):
    check_equals_stepped("cambricon_s", layers(), OPTIONS, data)


@pytest.mark.parametrize("layer", [CONV, FC], ids=lambda layer: layer.name)
def test_nothing_but_zeros_takes_a_look_a_window(layer):
    chunks = -(-layer.reduction // 32)
    expected = chunks * layer.positions * layer.filters // 4
    assert nothing_but_zeros("cambricon_s", layer).cycles == expected


def test_blocks_that_are_pruned_whole_are_skipped():
    w, a = random(FC, 0)
    w[:, 32:] = 0
    machine = small("cambricon_s")
    r = run(machine, FC, w, a)
    # A third of the inputs is multiplied, the others cost a look a window of 32.
    assert r.cycles == 2 * 16 * (32 // 4 + 2)
    w[::8, 32:] = 1  # one weight of every block: nothing is pruned any more
    assert run(machine, FC, w, a).cycles == 2 * 16 * 96 // 4


def test_units_share_windows_and_outputs():
    w, a = random(CONV, 0.5)
    many = hw.accelerator("cambricon_s", units=4, **SMALL["cambricon_s"])
    one, four = run(small("cambricon_s"), CONV, w, a), run(many, CONV, w, a)
    assert four.compute_cycles == -(-one.cycles // 4)
    assert four.cycles >= four.compute_cycles
    assert many.area_mm2 > small("cambricon_s").area_mm2


def test_codes_change_storage_and_energy_but_no_cycle():
    check_codes_are_storage_only("cambricon_s", "conv_code_bits", "fc_code_bits")
    fc_codes = replace(small("cambricon_s"), conv_code_bits=None)
    assert "decoders" in run(fc_codes, CONV, *random(CONV, 0)).energy.events_j


def test_stored_bits_by_hand():
    w, a = random(FC, 0.9)
    pruned = np.zeros_like(w)
    pruned[3, 5] = pruned[40, 90] = 1
    assert stored(small("cambricon_s"), FC, pruned, a).weights == 2 * 4 * 8 * 4 + 24 * 8
    assert stored(replace(small("cambricon_s"), fc_code_bits=None), FC, pruned, a).weights == 64 * 16 + 192
    image = hw.Conv("c", in_channels=3, out_channels=4, in_size=(5, 5), kernel=3)
    w, a = random(image, 0.5)
    kept = np.count_nonzero(w.any(axis=0))  # blocks of all 4 filters
    assert stored(CambriconS(), image, w, a).weights == kept * 4 * 8 + 27


def test_what_it_does_not_run():
    assert reasons("cambricon_s", NO_TRANSPOSED, NO_PRODUCT) == [
        "runs convolutions and fully connected layers only",
        "both operands are activations: there are no weights to index",
    ]


def test_fc8_has_smaller_blocks_than_the_layers_before_it():
    fc7, fc8 = hw.Linear("fc7", 64, 4096), hw.Linear("fc8", 64, 1000)
    for layer, size in ((fc7, 32), (fc8, 16)):
        w = np.zeros(layer.weight_shape, np.int8)
        w[0, 0] = 1  # one block is kept, and read by 16 outputs at a time
        kept = stored(CambriconS(), layer, w, np.ones(64, np.int8)).weights
        blocks = -(-layer.out_features // size) * (64 // size)
        assert kept == size * size * 4 + blocks
    # A layer's outputs say which it is.
    assert not any("narrow_fc_outputs" in change.options for change in CambriconS().own_changes())


def test_paper_configuration():
    assert CambriconS().peak_macs_per_cycle == 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conv_block": (1, 16)}, r"conv_block must be 4 integers of at least 1, got \(1, 16\)"),
        ({"fc_block": (0, 1)}, r"fc_block must be 2 integers of at least 1, got \(0, 1\)"),
        ({"narrow_fc_block": 16}, "narrow_fc_block must be 2 integers of at least 1, got 16"),
        ({"narrow_fc_outputs": -1}, "narrow_fc_outputs must be an integer of at least 0, got -1"),
        ({"fc_block": 32}, "fc_block must be 2 integers of at least 1, got 32"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("cambricon_s", **options)
