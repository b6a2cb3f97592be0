"""Architecting Effectual Computation, kneaded: equal to its stepped model, and zeros that regroup."""

import numpy as np
from essential_bit_cases import check_split_accumulate, cycles
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw


@given(st.data())
@settings(max_examples=50)
def test_equals_its_stepped_model(data):
    own = {"kneading_stride": st.sampled_from([1, 2, 5, 16])}
    check_split_accumulate("aec_kneading", own, data)


def test_zeros_that_regroup_can_cost_a_cycle():
    layer = hw.Linear("fc", 4, 1)
    machine = {"kneading_stride": 2, "lanes": 1}
    before, after = np.array([[1, 2, 1, 2]]), np.array([[1, 0, 1, 2]])
    assert cycles("aec_kneading", layer, before, **machine) == 2
    assert cycles("aec_kneading", layer, after, **machine) == 3


def test_kneading_pays_for_its_selectors():
    kneading, plain = (hw.accelerator(n) for n in ("aec_kneading", "aec_low_power"))
    assert plain.area_parts_mm2["splitters"] < kneading.area_parts_mm2["splitters"]
