"""BitVert: equal to its naive simulation; binary pruning, and the rarer of ones and zeros."""

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
from hwmodel.accelerators.engines.column_pruning import Chunks, average, shift


@given(
    cases(),
    st.fixed_dictionaries(
        {
            "word_bits": st.sampled_from([4, 8, 16]),
            "arrays": st.sampled_from([1, 4, 6]),
            "rows": st.sampled_from([1, 3, 32]),
            "columns": st.sampled_from([1, 4, 16]),
            "both_ways": st.booleans(),
            "pruned_columns": st.sampled_from([0, 2, 2, 4, 6]),
            "method": st.sampled_from(["average", "shift"]),
            "constant_bits": st.sampled_from([1, 3]),
            "sensitive": st.sampled_from([0, 0.1, 0.5, 1]),
            "lanes": st.integers(1, 4),
        }
    ),
    st.sampled_from([(16, 8, 32), (4, 4, 8), (8, 4, 8)]),
)
@settings(max_examples=150)
def test_equals_its_naive_simulation(case, options, sizes):
    layer, w, bits, activation_bits, o = case
    options |= dict(zip(("pe_weights", "subgroup", "group"), sizes, strict=True))
    machine = hw.accelerator("bitvert", **options)
    r = hw.simulate(machine, layer, o)
    most = max(0, stepped.width_of(w, bits) - 2)
    if options["pruned_columns"] > most:
        assert any(note.startswith(f"{most} columns pruned") for note in r.notes)
        options["pruned_columns"] = most
    naive, added = stepped.bitvert(layer, w, bits, activation_bits, **options)
    assert r.compute_cycles == naive
    passes = -(-activation_bits // options["word_bits"])
    assert r.utilisation * r.cycles * machine.slots == pytest.approx(added * layer.positions * passes)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_values_do_not_matter_with_lanes_for_half_a_sub_group(layer):
    full = np.full(layer.weight_shape, 127)
    lossless = {"pruned_columns": 0}
    assert cycles("bitvert", layer, full, **lossless) == cycles("bitvert", layer, full * 0, **lossless)
    one_lane = cycles("bitvert", layer, full * 0 - 1, both_ways=False, lanes=1, **lossless)
    assert one_lane <= 8 * cycles("bitvert", layer, full, **lossless)


def test_dense_bound_by_hand():
    layer = hw.Conv("c", in_channels=64, out_channels=64, in_size=(6, 16), kernel=3, padding=1)
    full = np.full(layer.weight_shape, 127)
    # 8 columns of 16 channels x 32 filters x 16 positions; half of the filters lose 2.
    assert cycles("bitvert", layer, full, pruned_columns=0) == 8 * 9 * 4 * 2 * 6
    assert cycles("bitvert", layer, full) == (8 + 6) * 9 * 4 * 6


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_monotone_and_invariant(layer, seed):
    w = weights_of(layer, seed)
    # Inverting all bits of a sub-group only swaps ones and zeros.
    if layer.channels % 8 == 0:
        o = {"lanes": 1, "pruned_columns": 0}
        assert cycles("bitvert", layer, ~w, **o) == cycles("bitvert", layer, w, **o)
        ones = cycles("bitvert", layer, w, both_ways=False, **o)
        assert cycles("bitvert", layer, w, **o) <= ones
    pruned = [cycles("bitvert", layer, w, pruned_columns=k, sensitive=0) for k in (0, 2, 4, 6)]
    assert pruned == [c * pruned[0] // 8 for c in (8, 6, 4, 2)]
    shares = [cycles("bitvert", layer, w, sensitive=s, rows=4) for s in (0, 0.2, 0.6, 1)]
    assert shares == sorted(shares)


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=40)
def test_binary_pruning_is_near_and_shifting_helps_where_columns_are_many(seed, columns):
    rng = np.random.default_rng(seed)
    values = np.rint(rng.normal(0, 30, (1, 40, 32))).clip(-127, 127).astype(np.int32)
    given_chunks = Chunks(values, np.full(40, 32))
    by_average = average(given_chunks, 8, columns)
    by_shift = shift(given_chunks, 8, columns, 6)
    for found in (by_average, by_shift):
        assert (found.redundant + found.pruned == columns).all()
        limit = 1 << 7 - found.redundant[:, :, None]
        assert ((-limit <= found.values) & (found.values < limit)).all()
    step = 1 << by_shift.pruned
    assert (by_shift.values % step[:, :, None] == 0).all()
    moved = np.abs(by_average.values - values).max(axis=2)
    assert (moved < 1 << by_average.pruned).all()
    if columns >= 4:
        errors = [
            np.square(x.astype(float) - values).sum()
            for x in (by_average.values, by_shift.values - by_shift.constants[:, :, None])
        ]
        assert errors[1] < errors[0]


def test_worked_example_of_the_paper():
    """-57 is 11000111: its second bit is redundant, and four columns remain when three more are averaged."""
    group = Chunks(np.array([[[-57, -57, -57, -57]]], np.int32), np.array([4]))
    stored = average(group, 8, 4)
    assert stored.values[0, 0].tolist() == [-57] * 4
    assert (int(stored.redundant[0, 0]), int(stored.pruned[0, 0]), int(stored.constants[0, 0])) == (1, 3, 7)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_weights_that_are_used(layer):
    flat, whole = weights_used("bitvert", layer, pruned_columns=0)
    assert (whole == flat).all()
    assert (weights_used("bitvert", layer, sensitive=1)[1] == flat).all()
    _, averaged = weights_used("bitvert", layer, pruned_columns=3, sensitive=0)
    _, shifted = weights_used(
        "bitvert", layer, pruned_columns=3, sensitive=0, method="shift", constant_bits=3
    )
    for f in range(layer.filters):
        before = stepped.chunks_of(flat, f, 32)
        for group, found in zip(before, stepped.chunks_of(averaged, f, 32), strict=True):
            assert found == stepped.averaged(group, 8, 3)[0]
        for group, found in zip(before, stepped.chunks_of(shifted, f, 32), strict=True):
            stored = stepped.shifted(group, 8, 3, 3)[0]
            assert len({s - v for s, v in zip(stored, found, strict=True)}) == 1


def test_floats_that_are_used_have_their_scale():
    check_floats_keep_their_scale("bitvert", pruned_columns=0)


def test_floats_have_eight_bits_unless_told_otherwise():
    check_floats_have_eight_bits("bitvert")


def test_products_of_activations_are_refused():
    layer = hw.MatMul("qk", rows=5, inner=20, columns=6, batch=3)
    assert "second" in hw.simulate(hw.accelerator("bitvert"), layer).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "both"}, "method must be one of average, shift, got 'both'"),
        ({"subgroup": 5}, "subgroup must divide pe_weights, got 5 and 16"),
        ({"lanes": 9}, "lanes must be at most subgroup 8, got 9"),
        ({"sensitive": 1.5}, "sensitive must be a share from 0 to 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("bitvert", **options)
