"""Bit-Pragmatic: equal to its stepped model, and what its options do."""

import pytest
from grid_cases import LAYER, check_equals_stepped, cycles, operands, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "first_stage_bits": st.integers(0, 6),
        "booth": st.booleans(),
        "column_registers": st.sampled_from([0, 1, 2]),
    }
)


@given(stepped_cases("pragmatic", OPTIONS))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_a_wider_first_stage_never_takes_longer(seed):
    o = operands(LAYER, seed, 0.4)
    lock = {"column_registers": 0}
    stages = [cycles("pragmatic", LAYER, o, first_stage_bits=b, **lock) for b in range(6)]
    assert stages == sorted(stages, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_stage_bits": -1}, "first_stage_bits must be an integer of at least 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("pragmatic", **options)
