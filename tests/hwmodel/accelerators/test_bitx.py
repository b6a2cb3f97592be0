"""BitX: by hand, from row counts, and what must hold of its options."""

from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_cases import conv

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import BitxError
from hwmodel.accelerators.engines.skewed_fifo import skewed_fifo

RNG = np.random.default_rng(3)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows must be an integer of at least 1, got 0"),
        ({"fifo_depth": -1}, "fifo_depth must be an integer of at least 0"),
        ({"lanes": 1.5}, "lanes must be an integer"),
        ({"group": 65}, "group must be an integer from 1 to 64"),
        ({"grouping": "column"}, "grouping"),
        ({"serial": "both"}, "serial must be one of weights, activations, got 'both'"),
        ({"clock_hz": 0}, "clock_hz must be a positive number of cycles a second, got 0"),
        ({"rounding": "up"}, "rounding must be one of truncate, nearest"),
        ({"criterion": "best"}, "criterion must be one of topn"),
        ({"criterion": "threshold", "rows": None}, "needs threshold"),
        ({"format": "float33"}, "'float33' is not known"),
    ],
)
def test_bad_values_are_refused_when_the_record_is_made(options, message):
    with pytest.raises(BitxError, match=message):
        hw.accelerator("bitx", **options)


HAND = np.array([[64, 64, 32, 1, 3, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]], np.int8)
HAND_MACHINE = {
    "compute_units": 2,
    "processing_elements": 4,
    "group": 4,
    "rows": 2,
    "fifo_depth": 0,
    "pack_zeros": False,
    "dram": None,
}


def test_bitx_by_hand():
    """Two filters of two groups, on two units in lock step, at five positions.

    Rows with a 1: {64, 32, 1} and {2, 1} in filter 0, {1} and none in filter 1. N = 2 keeps 2, 2,
    1 and 0, which cost 2, 2, 1 and 1 cycles. Lock step takes max(2, 1) + max(2, 1) = 4 cycles at
    each of ceil(5 / 4) = 2 position tiles. The extractor's log2(4) + 1 = 3 cycles fill twice.
    """
    r = hw.simulate(
        hw.accelerator("bitx", **HAND_MACHINE), hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND)
    )
    assert (r.fill_cycles, r.cycles) == (6, 14)
    # An even share is (4 + 2) / 2 cycles; filter 0 alone takes 4, as lock step does.
    assert (r.compute_cycles, r.imbalance_cycles, r.fifo_full_cycles) == (2 * 3, 2 * 1, 0)
    assert (r.filter_tiles, r.position_tiles, r.groups) == (1, 2, 4)
    assert r.kept_rows_histogram == (1, 1, 2, 0, 0, 0, 0, 0)
    assert r.kept_rows_mean == 5 / 4
    assert r.unpruned_all_rows_cycles == 2 * (7 + 7) + 6
    assert r.unpruned_nonempty_rows_cycles == 2 * (3 + 2) + 6
    assert r.speedup_over_all_rows == 34 / 14
    assert r.speedup_over_nonempty_rows == 16 / 14
    assert r.utilisation == 5 * 5 / (14 * 2 * 4)
    assert r.macs == 80
    assert r.applicable
    assert r.columns()["cycles"] == 14


@pytest.mark.parametrize(
    ("options", "busy", "fill"),
    [
        ({"lanes": 2}, 2 * (1 + 1), 6),
        ({"rows": 1}, 2 * (1 + 1), 6),
        ({"processing_elements": 5}, 4, 3),
        ({"compute_units": 1}, 2 * (4 + 2), 12),
        ({"skip_zero_groups": True}, 2 * (2 + 2), 6),
        ({"skip_zero_groups": True, "compute_units": 1}, 2 * (4 + 1), 12),
        # Packed, filter 0 has 5 non-zero weights (2 groups), filter 1 has one (1 group).
        ({"pack_zeros": True}, 2 * (2 + 2), 6),
        ({"pack_zeros": True, "compute_units": 1}, 2 * (4 + 1), 12),
        ({"pack_zeros": None, "compute_units": 1}, 2 * (4 + 1), 12),
        ({"group": 8, "rows": 7}, 2 * 4, 8),
    ],
)
def test_bitx_options_by_hand(options, busy, fill):
    acc = hw.accelerator("bitx", **(HAND_MACHINE | options))
    r = hw.simulate(acc, hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND))
    assert (r.cycles - r.fill_cycles, r.fill_cycles) == (busy, fill)


def test_bitx_floats_fill_e_align_too():
    w = np.array([[1.5, 0.75, 0.0, -1.0]], np.float32)
    # Aligned to 1.0: 1.5 = 1.1, 0.75 = 0.11, 1.0 = 1.0; three rows hold a 1.
    acc = hw.accelerator("bitx", group=4, rows=2, pack_zeros=False, dram=None)
    r = hw.simulate(acc, hw.Linear("l", 4, 1), hw.Operands(w))
    assert (r.cycles - r.fill_cycles, r.fill_cycles) == (2, 6)
    assert r.unpruned_nonempty_rows_cycles == 3 + 6
    assert r.unpruned_all_rows_cycles == 32 + 6
    fixed = hw.simulate(
        hw.accelerator("bitx", group=4, rows=2, format="fixed16", dram=None),
        hw.Linear("l", 4, 1),
        hw.Operands(w),
    )
    assert fixed.fill_cycles == 3
    assert fixed.unpruned_all_rows_cycles == 15 + 3


def test_bitx_filter_tiles_stay_in_their_convolution_group():
    layer = conv("g", 8, 12, 4, 1, groups=4)
    w = floats(12, 2, 1, 1)
    for units, tiles in ((256, 4), (3, 4), (2, 8), (1, 12)):
        r = hw.simulate(hw.accelerator("bitx", compute_units=units), layer, hw.Operands(w))
        assert r.filter_tiles == tiles
    depthwise = conv("d", 8, 8, 4, 3, groups=8)
    assert hw.simulate(hw.accelerator("bitx"), depthwise, hw.Operands(floats(8, 1, 3, 3))).filter_tiles == 8


def rows_of_integers(w, group):
    """Non-empty rows of each group, counted on Python integers."""
    flat = np.abs(w.astype(int)).reshape(len(w), -1)
    return [
        [bin(int(np.bitwise_or.reduce(f[i : i + group]))).count("1") for i in range(0, len(f), group)]
        for f in flat
    ]


@pytest.mark.parametrize("depth", [0, 2, None])
@pytest.mark.parametrize("lanes", [1, 3])
def test_bitx_cycles_from_row_counts(depth, lanes):
    w = RNG.integers(-127, 128, (37, 5, 3, 3)).astype(np.int8)
    w[RNG.random(w.shape) < 0.7] = 0
    layer = conv("c", 5, 37, 9, 3)
    acc = hw.accelerator(
        "bitx", compute_units=8, lanes=lanes, rows=3, group=4, fifo_depth=depth, pack_zeros=False, dram=None
    )
    r = hw.simulate(acc, layer, hw.Operands(w))
    rows = np.array(rows_of_integers(w, 4))
    tiles = ceil(49 / 16)

    def total(kept):
        cost = np.maximum(1, -(-kept // lanes))
        return sum(int(skewed_fifo(cost[i : i + 8], fifo_depth=depth)[0]) for i in range(0, 37, 8))

    assert r.cycles - r.fill_cycles == tiles * total(np.minimum(rows, 3))
    assert r.unpruned_nonempty_rows_cycles - r.fill_cycles == tiles * total(rows)
    assert r.unpruned_all_rows_cycles - r.fill_cycles == tiles * 5 * rows.shape[1] * ceil(7 / lanes)
    assert r.fill_cycles == tiles * 5 * 3
    assert list(r.kept_rows_histogram) == np.bincount(np.minimum(rows, 3).ravel(), minlength=8).tolist()


WEIGHTS = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).standard_normal((20, 40)).astype(np.float32)
        * (np.random.default_rng(seed + 1).random((20, 40)) < 0.6)
    )
)


def cycles(weights, **options):
    acc = hw.accelerator("bitx", **({"compute_units": 7, "pack_zeros": False} | options))
    return hw.simulate(acc, hw.Linear("l", 40, 20, positions=20), hw.Operands(weights.astype(np.float32)))


@given(WEIGHTS)
def test_bitx_properties(w):
    whole = cycles(w, rows=32)
    assert whole.cycles == whole.unpruned_nonempty_rows_cycles
    assert whole.cycles <= whole.unpruned_all_rows_cycles
    for option, values in {
        "rows": (9, 5, 3, 1),
        "fifo_depth": (0, 1, 2, 7, None),
        "lanes": (1, 2, 4, 9),
        "skip_zero_groups": (False, True),
        "processing_elements": (1, 3, 16),
    }.items():
        found = [cycles(w, **{option: v}).cycles for v in values]
        assert all(a >= b for a, b in pairwise(found)), option
    assert cycles(w, pack_zeros=True, fifo_depth=None).cycles <= cycles(w, fifo_depth=None).cycles + 20 * 3


def test_bitx_packs_sparse_tensors_by_itself():
    w = floats(8, 64)
    dense = cycles_of(w)
    w[:, ::2] = 0
    sparse = cycles_of(w)
    assert dense.notes == ()
    assert sparse.notes == ("zero weights packed away",)
    assert (dense.groups, sparse.groups) == (32, 16)
    assert sparse.unpruned_all_rows_cycles == dense.unpruned_all_rows_cycles
    w[3] = 0  # a filter without weights
    assert cycles_of(w).groups == 14


def cycles_of(w):
    return hw.simulate(hw.accelerator("bitx"), hw.Linear("l", w.shape[1], len(w)), hw.Operands(w))


def test_bitx_hands_its_criterion_to_the_pruner():
    w = floats(8, 64)
    for options in (
        {"criterion": "threshold", "rows": None, "threshold": 0.1},
        {"criterion": "energy", "rows": None, "budget": 0.01},
        {"criterion": "msb", "rows": 3},
        {"rounding": "nearest", "rows": 4},
        {"window": 12},
    ):
        acc = hw.accelerator("bitx", **options)
        r = hw.simulate(acc, hw.Linear("l", 64, 8), hw.Operands(w))
        kept = bx.prune(w, **({"rows": 5, "group": acc.group} | options)).kept_rows
        assert np.bincount(kept.ravel(), minlength=33)[: len(r.kept_rows_histogram)].tolist() == list(
            r.kept_rows_histogram
        )


def test_bitx_channel_grouping():
    w = floats(6, 20, 3, 3)
    layer = conv("c", 20, 6, 8, 3)
    r = hw.simulate(hw.accelerator("bitx", grouping="channel"), layer, hw.Operands(w))
    assert r.groups == 6 * 9 * 2
    assert hw.simulate(hw.accelerator("bitx"), layer, hw.Operands(w)).groups == 6 * ceil(180 / 16)


def test_bitx_reads_integers_at_their_precision():
    w = RNG.integers(-500, 501, (4, 16)).astype(np.int64)
    layer = hw.Linear("l", 16, 4)
    acc = hw.accelerator("bitx", dram=None)
    r = hw.simulate(acc, layer, hw.Operands(w, weight_bits=10))
    assert r.unpruned_all_rows_cycles == 9 + 5
    same = hw.simulate(acc, layer, hw.Operands(w.astype(np.int16)))
    assert same.compute_cycles == r.compute_cycles
    assert same.unpruned_all_rows_cycles == 15 + 5


def test_bitx_does_not_run_products_of_activations():
    r = hw.simulate(hw.accelerator("bitx"), hw.MatMul("qk", rows=4, inner=8, columns=4))
    assert not r.applicable
    assert "activations" in r.reason
    assert (r.cycles, r.utilisation, r.speedup_over_all_rows) == (None, None, None)


def test_peaks_are_equal_by_default():
    assert (
        hw.accelerator("bitx").peak_macs_per_cycle == hw.accelerator("dadiannao").peak_macs_per_cycle == 4096
    )
