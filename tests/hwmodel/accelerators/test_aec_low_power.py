"""Architecting Effectual Computation, one weight at a time: equal to its stepped model."""

import numpy as np
import pytest
from essential_bit_cases import LAYER, check_split_accumulate, cycles, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError


@given(st.data())
@settings(max_examples=50)
def test_equals_its_stepped_model(data):
    own = {"bits_per_cycle": st.sampled_from([None, 1, 3])}
    check_split_accumulate("aec_low_power", own, data)


@pytest.mark.parametrize("depth", [0, 2, None])
def test_bits_one_by_one_take_a_cycle_each(depth):
    full = np.full(LAYER.weight_shape, 0x7FFF)
    dense = hw.simulate(hw.accelerator("dadiannao", dram=None), LAYER).cycles
    assert cycles("aec_low_power", LAYER, full, fifo_depth=depth, bits_per_cycle=1) == 15 * dense


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_order_of_steps_does_not_matter_without_a_bound(seed):
    rng = np.random.default_rng(seed)
    layer = hw.Linear("fc", 256, 40)
    w = weights(layer, seed)
    # Lane i takes weights i, i + 16, ...: a permutation of steps stays within lanes.
    shuffled = w.reshape(40, 16, 16)[:, rng.permutation(16)].reshape(40, 256)
    assert cycles("aec_low_power", layer, shuffled, fifo_depth=None) == cycles(
        "aec_low_power", layer, w, fifo_depth=None
    )


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_more_bits_per_cycle_never_take_longer(seed):
    w = weights(LAYER, seed)
    serial = [cycles("aec_low_power", LAYER, w, bits_per_cycle=b) for b in (1, 2, 4, 16, None)]
    assert serial == sorted(serial, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits_per_cycle": 0}, "bits_per_cycle must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("aec_low_power", **options)
