"""Stripes: equal to its stepped model."""

import pytest
from grid_cases import check_equals_stepped, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError


@given(stepped_cases("stripes", st.fixed_dictionaries({})))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_bits": 17}, "word_bits must be at most 16, got 17"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("stripes", **options)
