"""Tetris: equal to its stepped model, and what its options do."""

import numpy as np
import pytest
from essential_bit_cases import LAYER, check_split_accumulate, cycles, simulate, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError


@given(st.data())
@settings(max_examples=100)
def test_equals_its_stepped_model(data):
    own = {
        "kneading_stride": st.sampled_from([1, 2, 3, 16]),
        "skip_zero_groups": st.booleans(),
        "encoding": st.sampled_from(["sign-magnitude", "twos-complement"]),
    }
    check_split_accumulate("tetris", own, data)


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_options_help_or_cost_nothing(seed):
    w = weights(LAYER, seed)
    assert cycles("tetris", LAYER, w, skip_zero_groups=True) <= cycles("tetris", LAYER, w)
    by_pe = {b: cycles("tetris", LAYER, w, barrier=b, fifo_depth=None) for b in ("sac", "pe", "round")}
    assert by_pe["sac"] <= by_pe["pe"] <= by_pe["round"]
    for barrier in by_pe:
        run = {"barrier": barrier, "fifo_depth": None}
        strides = [cycles("tetris", LAYER, w, kneading_stride=s, **run) for s in (1, 2, 4, 8, 16)]
        assert strides == sorted(strides, reverse=True)


def test_eight_bit_weights_go_two_at_a_time():
    w = weights(LAYER, 3, bits=8)
    narrow = hw.accelerator("tetris", dram=None)
    wide = hw.accelerator("tetris", dram=None, lanes=32, dual_issue=False)
    assert simulate(narrow, LAYER, w, bits=8).cycles == simulate(wide, LAYER, w).cycles
    assert simulate(narrow, LAYER, w, bits=9).cycles == cycles("tetris", LAYER, w, dual_issue=False)


def test_the_worked_example_of_the_paper():
    """Its Figure 3: six weights of 8 bits, one of them 0, make three kneaded weights."""
    drawn = [0b10001010, 0b11100101, 0b00101011, 0b11010000, 0, 0b00010101]
    one_lane = {"lanes": 1, "rows": 1, "tiles": 1, "dual_issue": False}
    layer = hw.Linear("lane", 6, 1)
    assert cycles("tetris", layer, np.array([drawn]), **one_lane) == 3
    # Its sign column is one of the eight.
    signed = np.array([drawn], np.uint8).view(np.int8)
    assert cycles("tetris", layer, signed, encoding="twos-complement", **one_lane) == 3


def test_a_sum_waits_for_its_lanes_a_pe_for_its_units_and_a_round_for_all():
    # Two filters at once, two lanes, groups of one weight: cycles are the weights that are not zero.
    w = np.zeros((4, 12), int)
    w[0, :12:2] = 1  # filter 0: 6 in lane 0
    w[1, 1:5:2] = 1  # filter 1: 2 in lane 1
    w[2, :2] = 1
    w[3, :10] = 1  # 5 in each lane
    machine = {"kneading_stride": 1, "lanes": 2, "dual_issue": False, "fifo_depth": None}
    layer = hw.Linear("fc", 12, 4)

    def spent(barrier, rows, tiles):
        return cycles("tetris", layer, w, barrier=barrier, rows=rows, tiles=tiles, **machine)

    assert spent("sac", 2, 1) == spent("sac", 1, 2) == spent("pe", 1, 2) == max(6 + 1, 2 + 5)
    assert spent("pe", 2, 1) == spent("round", 1, 2) == 6 + 5


@pytest.mark.parametrize("barrier", ["sac", "pe", "round"])
@pytest.mark.parametrize("encoding", ["sign-magnitude", "twos-complement"])
def test_weights_of_two_words_take_two_filters_places(barrier, encoding):
    run = {"barrier": barrier, "encoding": encoding, "dual_issue": False, "fifo_depth": None, "dram": None}
    w = weights(LAYER, 5, bits=8)
    pairs = np.repeat(w & 0x7F, 2, axis=0)
    narrow = hw.Conv("two", in_channels=24, out_channels=40, in_size=(7, 5), kernel=(3, 2), padding=1)
    one = hw.simulate(hw.accelerator("tetris", **run), narrow, hw.Operands(pairs, None, 16, 8))
    # The same seven bits in both words of a weight.
    both = hw.Operands(w & 0x7F | (w & 0x7F) << 8, None, 16, 8)
    wide = hw.simulate(hw.accelerator("tetris", word_bits=8, **run), LAYER, both)
    assert wide.cycles == one.cycles


def test_throttle_buffers_are_area_only():
    plain, deep = (hw.accelerator("tetris", dram=None, throttle_depth=d) for d in (2, 4))
    w = weights(LAYER)
    assert simulate(plain, LAYER, w).cycles == simulate(deep, LAYER, w).cycles
    for part in ("weight_throttle", "activation_throttle"):
        assert deep.area_parts_mm2[part] == pytest.approx(2 * plain.area_parts_mm2[part])
    # Two kneaded weights of 80 bits a lane are the paper's 5 KB of a PE.
    signs_in_a_column = hw.accelerator("tetris", encoding="twos-complement")
    per_pe = signs_in_a_column.rows * signs_in_a_column.lanes * signs_in_a_column.throttle_depth
    assert per_pe * signs_in_a_column._entry_bits == 5 * 1024 * 8
    # Nothing but what cycles depend on is tried to save some.
    assert not any({"throttle_depth", "fifo_depth"} & set(c.options) for c in plain.own_changes())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kneading_stride": 0}, "kneading_stride must be an integer of at least 1, got 0"),
        ({"fifo_depth": -1}, "fifo_depth must be an integer of at least 0, got -1"),
        ({"throttle_depth": 0}, "throttle_depth must be an integer of at least 1, got 0"),
        ({"barrier": "sum"}, "barrier must be one of sac, pe, round, got 'sum'"),
        ({"encoding": "offset"}, "encoding must be one of sign-magnitude, twos-complement, got 'offset'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("tetris", **options)
