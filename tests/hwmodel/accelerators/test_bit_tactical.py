"""Bit-Tactical: equal to its stepped model; with and without a back end."""

import numpy as np
import pytest
from grid_cases import FC, check_equals_stepped, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "back_end": st.sampled_from(["p", "e", None]),
        "order": st.sampled_from(["most", "fewest"]),
        "first_stage_bits": st.integers(0, 5),
        "booth": st.booleans(),
        "group_columns": st.sampled_from([1, 2]),
        "minor_bit": st.booleans(),
        "column_registers": st.sampled_from([None, 0, 2]),
    }
)


@st.composite
def options(draw):
    """Options of all patterns; T has a reach of its own."""
    pattern = draw(st.sampled_from(["T", "L"]))
    chosen = draw(OPTIONS) | {"pattern": pattern}
    if pattern == "L":
        chosen |= {"lookahead": draw(st.integers(1, 3)), "lookaside": draw(st.integers(0, 6))}
    return chosen


@given(stepped_cases("bit_tactical", options()))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


def test_without_a_back_end_activations_are_not_needed():
    scheduled = hw.accelerator("bit_tactical", back_end=None)
    assert hw.simulate(scheduled, FC, hw.Operands(np.ones((30, 100), np.int8))).applicable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"back_end": "x"}, "back_end must be one of p, e, None, got 'x'"),
        ({"order": "first"}, "order must be one of most, fewest"),
        ({"lookahead": 1}, "pattern 'T' needs lookahead=2 and lookaside=5"),
        ({"lanes": 65}, "lanes must be at most 64"),
        ({"back_end": "p", "group_columns": 5}, "group_columns must divide columns 16"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("bit_tactical", **options)
