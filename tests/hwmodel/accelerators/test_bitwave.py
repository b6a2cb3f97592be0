"""BitWave: equal to its naive simulation; skipped columns and Bit-Flip."""

import numpy as np
import pytest
import stepped_bit_columns as stepped
from bit_column_cases import (
    LAYERS,
    cases,
    check_floats_have_eight_bits,
    check_floats_keep_their_scale,
    cycles,
    weights_of,
    weights_used,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.engines.column_pruning import flip


@given(
    cases(),
    st.fixed_dictionaries(
        {
            "word_bits": st.sampled_from([4, 8, 16]),
            "skip_columns": st.booleans(),
            "zero_columns": st.sampled_from([0, 0, 1, 3]),
            "arrays": st.sampled_from([1, 4, 6]),
        }
    ),
    st.sampled_from(
        [
            ({"group": 32}, stepped.UNROLLINGS),
            ({"group": 8}, stepped.UNROLLINGS),
            ({"group": 4, "unrollings": "8x4x2/3x2x5"}, ((8, 4, 2), (3, 2, 5))),
        ]
    ),
)
@settings(max_examples=120)
def test_equals_its_naive_simulation(case, options, array):
    layer, w, bits, activation_bits, o = case
    given_options, unrollings = array
    machine = hw.accelerator("bitwave", **options, **given_options)
    if options["zero_columns"] >= stepped.width_of(w, bits) - 1:
        with pytest.raises(OptionError, match="zero_columns must be less than"):
            hw.simulate(machine, layer, o)
        return
    r = hw.simulate(machine, layer, o)
    naive = options | {"group": given_options["group"], "unrollings": unrollings}
    assert r.compute_cycles == stepped.bitwave(layer, w, bits, activation_bits, **naive)
    assert 0 <= r.utilisation <= 1


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_nothing_to_skip_is_the_dense_bound(layer):
    full = np.full(layer.weight_shape, 127)
    dense = cycles("bitwave", layer, full, skip_columns=False)
    assert cycles("bitwave", layer, full) == dense
    assert cycles("bitwave", layer, weights_of(layer, 0), skip_columns=False) == dense
    assert dense >= layer.macs * 7 / hw.accelerator("bitwave").slots


def test_dense_bound_by_hand():
    layer = hw.Conv("c", in_channels=64, out_channels=64, in_size=(6, 16), kernel=3, padding=1)
    # 7 columns of 8 channels x 32 filters x 16 positions.
    assert cycles("bitwave", layer, np.full(layer.weight_shape, 127)) == 7 * 9 * 8 * 2 * 6


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_monotone_and_invariant(layer, seed):
    rng = np.random.default_rng(seed)
    w = weights_of(layer, seed)
    sparser = np.where(rng.random(w.shape) < 0.5, w, 0)
    narrower = np.sign(w) * (np.abs(w) & rng.integers(0, 128, w.shape))
    before = cycles("bitwave", layer, w)
    assert cycles("bitwave", layer, sparser) <= before
    assert cycles("bitwave", layer, narrower) <= before
    assert before <= cycles("bitwave", layer, w, skip_columns=False)
    assert cycles("bitwave", layer, np.clip(w, -127, 127) * rng.choice([-1, 1], w.shape)) == before
    flips = [cycles("bitwave", layer, w, zero_columns=z) for z in range(7)]
    assert flips == sorted(flips, reverse=True)
    # One dataflow more never hurts, nor does a larger array.
    assert before <= cycles("bitwave", layer, w, unrollings="8x32x16")
    assert cycles("bitwave", layer, w, arrays=4) <= before


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=60)
def test_bit_flip_empties_columns_and_moves_little(seed, zero_columns):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 128, (20, 8), np.int32) >> rng.integers(0, 7, (20, 1), np.int32)
    flipped = flip(groups, 7, zero_columns)
    empty = 7 - np.bitwise_count(np.bitwise_or.reduce(flipped, axis=1))
    assert (empty >= zero_columns).all()
    assert (flip(flipped, 7, zero_columns) == flipped).all()
    was = 7 - np.bitwise_count(np.bitwise_or.reduce(groups, axis=1))
    assert (flipped == groups)[was >= zero_columns].all()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_weights_that_are_used(layer):
    flat, saturated = weights_used("bitwave", layer)
    assert (saturated == np.maximum(flat, -127)).all()
    _, flipped = weights_used("bitwave", layer, zero_columns=3, unrollings="8x4x1")
    for f in range(layer.filters):
        before, after = stepped.chunks_of(flat, f, 8), stepped.chunks_of(flipped, f, 8)
        for group, found in zip(before, after, strict=True):
            magnitudes = stepped.bit_flip([min(abs(v), 127) for v in group], 7, 3)
            assert [abs(v) for v in found] == magnitudes
            assert all(a * b >= 0 for a, b in zip(group, found, strict=True))


def test_floats_that_are_used_have_their_scale():
    check_floats_keep_their_scale("bitwave")


def test_floats_have_eight_bits_unless_told_otherwise():
    check_floats_have_eight_bits("bitwave")


def test_products_of_activations_are_refused():
    layer = hw.MatMul("qk", rows=5, inner=20, columns=6, batch=3)
    assert "second" in hw.simulate(hw.accelerator("bitwave"), layer).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unrollings": "8x32"}, "unrollings must be CHANNELSxFILTERSxPOSITIONS .* got '8x32'"),
        ({"group": 24}, "32 channels can't be split into groups of 24"),
        ({"precision": 17}, "precision and word_bits must be at most 16, got 17 and 8"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("bitwave", **options)
