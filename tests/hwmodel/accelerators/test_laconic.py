"""Laconic: equal to its stepped model, and zeros of weights."""

import numpy as np
import pytest
from grid_cases import A_BITS, FC, LAYER, W_BITS, check_equals_stepped, cycles, operands, stepped_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw

OPTIONS = st.fixed_dictionaries({"booth": st.booleans()})


@given(stepped_cases("laconic", OPTIONS))
@settings(max_examples=60)
def test_equals_its_stepped_model(case):
    check_equals_stepped(case)


@pytest.mark.parametrize("layer", [LAYER, FC], ids=["conv", "fc"])
@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_more_zero_weights_never_take_longer(layer, seed):
    before = operands(layer, seed, 0.2)
    fewer = np.where(np.random.default_rng(seed).random(before.weights.shape) < 0.7, before.weights, 0)
    fewer = hw.Operands(fewer, before.activations, W_BITS, A_BITS)
    assert cycles("laconic", layer, fewer) <= cycles("laconic", layer, before)
