"""ShapeShifter: equal to its stepped model, and what its options do."""

import numpy as np
import pytest
from grid_cases import LAYER, check_equals_stepped, cycles, operands, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "group_columns": st.sampled_from([1, 2]),
        "column_registers": st.sampled_from([0, 0, 1, 3]),
        "minor_bit": st.booleans(),
        "fc_turns": st.booleans(),
    }
)


@given(stepped_cases("shapeshifter", OPTIONS))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


def test_words_of_an_activation_share_a_width_where_fully_connected_columns_take_turns():
    layer, w, a = hw.Linear("fc", 1, 1), np.ones((1, 1), np.int16), np.array([0x4001])
    cycles = {}
    for options in ({}, {"group_columns": 2}, {"group_columns": 2, "fc_turns": False}):
        machine = hw.accelerator("shapeshifter", word_bits=8, minor_bit=True, dram=None, **options)
        cycles[machine.label] = hw.simulate(machine, layer, hw.Operands(w, a, 16, 16)).compute_cycles
    assert list(cycles.values()) == [1, 7, 1]


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_groups_cost_nothing_in_lock_step_and_minor_bits_help(seed):
    o = operands(LAYER, seed, 0.4)
    groups = [cycles("shapeshifter", LAYER, o, group_columns=g) for g in (1, 2, 4)]
    assert len(set(groups)) == 1  # all columns wait for the widest
    assert cycles("shapeshifter", LAYER, o, minor_bit=True) <= cycles("shapeshifter", LAYER, o)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_columns": 3}, "group_columns must divide columns 16, got 3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("shapeshifter", **options)
