"""Tetris: equal to its stepped model, and what its options do."""

import pytest
from essential_bit_cases import LAYER, check_split_accumulate, cycles, simulate, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError


@given(st.data())
@settings(max_examples=50)
def test_equals_its_stepped_model(data):
    own = {"kneading_stride": st.sampled_from([1, 2, 3, 16]), "skip_zero_groups": st.booleans()}
    check_split_accumulate("tetris", own, data)


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_options_help_or_cost_nothing(seed):
    w = weights(LAYER, seed)
    assert cycles("tetris", LAYER, w, skip_zero_groups=True) <= cycles("tetris", LAYER, w)
    strides = [cycles("tetris", LAYER, w, kneading_stride=s, fifo_depth=None) for s in (1, 2, 4, 8, 16)]
    assert strides == sorted(strides, reverse=True)


def test_eight_bit_weights_go_two_at_a_time():
    w = weights(LAYER, 3, bits=8)
    narrow = hw.accelerator("tetris", dram=None, dual_issue=True)
    wide = hw.accelerator("tetris", dram=None, lanes=32)
    assert simulate(narrow, LAYER, w, bits=8).cycles == simulate(wide, LAYER, w).cycles
    assert simulate(narrow, LAYER, w, bits=9).cycles == cycles("tetris", LAYER, w)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kneading_stride": 0}, "kneading_stride must be an integer of at least 1, got 0"),
        ({"fifo_depth": -1}, "fifo_depth must be an integer of at least 0, got -1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("tetris", **options)
