"""Loom: equal to its stepped model."""

import pytest
from grid_cases import check_equals_stepped, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "serial_bits": st.sampled_from([1, 2, 4]),
        "dynamic_weights": st.booleans(),
        "group_columns": st.sampled_from([1, 2]),
        "minor_bit": st.booleans(),
    }
)


@given(stepped_cases("loom", OPTIONS))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 3, "group_columns": 2}, "group_columns must divide rows 3, got 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("loom", **options)
