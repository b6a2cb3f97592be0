"""BitX: by hand, from counts of ones and of rows, and what must hold of its options."""

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
        ({"rows_per_cycle": 1.5}, "rows_per_cycle must be an integer"),
        ({"rows_per_cycle": 2}, "rows_per_cycle=2 needs serial_unit='row'"),
        ({"lane_fifo_depth": -1}, "lane_fifo_depth must be an integer of at least 0"),
        ({"serial_unit": "row", "lane_fifo_depth": 1}, "lane_fifo_depth=1 needs serial_unit='weight'"),
        (
            {"serial_unit": "row", "cu_operands": "weights"},
            "cu_operands='weights' needs serial_unit='weight'",
        ),
        ({"serial_unit": "bit"}, "serial_unit must be one of weight, row, got 'bit'"),
        ({"cu_operands": "filters"}, "cu_operands must be one of positions, weights"),
        ({"fill": "never"}, "fill must be one of load, pass, got 'never'"),
        ({"group": 65}, "group must be an integer from 1 to 64"),
        ({"grouping": "column"}, "grouping"),
        ({"serial": "both"}, "serial must be one of weights, activations, got 'both'"),
        ({"clock_hz": 0}, "clock_hz must be a positive number of cycles per second, got 0"),
        ({"rounding": "up"}, "rounding must be one of truncate, nearest"),
        ({"criterion": "best"}, "criterion must be one of topn"),
        ({"criterion": "threshold", "rows": None}, "needs threshold"),
        ({"criterion": "calibrated"}, "prune the weights with it first"),
        ({"format": "float33"}, "'float33' is not known"),
        ({"window": 65}, "window must be at most 64, got 65"),
        ({"pack_zeros": "no"}, "pack_zeros must be True or False, got 'no'"),
        ({"skip_zero_groups": 2}, "skip_zero_groups must be True or False, got 2"),
        ({"skip_zero_groups": None}, "skip_zero_groups must be True or False, got None"),
    ],
)
def test_bad_values_are_refused_when_the_record_is_made(options, message):
    with pytest.raises(BitxError, match=message):
        hw.accelerator("bitx", **options)


HAND = np.array([[64, 64, 32, 1, 3, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]], np.int8)
HAND_MACHINE = {
    "processing_elements": 2,
    "compute_units": 4,
    "group": 4,
    "rows": 2,
    "fifo_depth": 0,
    "pack_zeros": False,
    "dram": None,
}
BY_ROW = HAND_MACHINE | {"serial_unit": "row", "fill": "pass"}


def test_by_hand():
    """Two filters of two groups, on two PEs in lock step, at five positions.

    N = 2 keeps rows 64 and 32 of the first group, whose weights then have 1, 1, 1 and 0 ones; 3 has 2, 1 has
    one. The groups cost 1, 2 and 1, 1 cycles; lock step takes max(1, 1) + max(2, 1) = 3 cycles at each of
    ceil(5 / 4) = 2 position tiles. The extraction's log2(4) + 1 = 3 cycles fill once.
    """
    r = hw.simulate(
        hw.accelerator("bitx", **HAND_MACHINE), hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND)
    )
    assert (r.fill_cycles, r.cycles) == (3, 9)
    # 6 ones on 8 lanes; 3 + 2 cycles of both filters on 2 PEs; 3 of the slower one.
    assert (r.compute_cycles, r.lane_wait_cycles, r.imbalance_cycles, r.fifo_full_cycles) == (2, 4, 0, 0)
    assert (r.filter_tiles, r.position_tiles, r.groups) == (1, 2, 4)
    assert r.kept_rows_histogram == (1, 1, 2, 0, 0, 0, 0, 0)
    assert r.kept_ones_histogram == (11, 4, 1, 0, 0, 0, 0, 0)
    assert (r.kept_rows_mean, r.kept_ones_mean) == (5 / 4, 6 / 16)
    # Unpruned, no weight has more ones: 64, 64, 32 and 1 have one each. Every bit takes 8 cycles per group.
    assert (r.unpruned_cycles, r.every_bit_cycles) == (9, 2 * 2 * 8 + 3)
    assert r.on_chip_unpruned_fixed16_cycles == 9
    assert (r.work_cycles, r.unpruned_work_cycles) == (2 * max(2, 1), 2 * max(2, 1))
    assert (r.speedup_over_every_bit, r.speedup_over_unpruned, r.work_speedup) == (35 / 9, 1, 1)
    assert r.utilisation == 6 * 5 / (9 * 2 * 4 * 4)
    assert r.window_limited_groups == 0
    assert r.unpruned_all_rows_cycles is None
    assert r.columns()["cycles"] == 9


@pytest.mark.parametrize(
    ("options", "busy", "fill"),
    [
        ({"rows": 1}, 2 * (1 + 1), 3),
        ({"compute_units": 5}, 3, 3),
        ({"processing_elements": 1}, 2 * (3 + 2), 3),
        ({"processing_elements": 1, "fill": "pass"}, 2 * (3 + 2), 12),
        # A load is half a buffer: the tiles' 8 + 8 bytes in parts of 2 bytes.
        ({"processing_elements": 1, "weight_buffer_bytes": 4}, 2 * (3 + 2), 8 * 3),
        ({"skip_zero_groups": True, "processing_elements": 1}, 2 * (3 + 1), 3),
        # Lanes take 1 + 2, 1, 1, 0 ones; the all-zero group of the other filter costs each lane its cycle.
        ({"lane_fifo_depth": None, "processing_elements": 1}, 2 * (3 + 2), 3),
        # All lanes of both groups together: 2 cycles and 1, at each of the five positions.
        ({"cu_operands": "weights", "processing_elements": 1}, 5 * (2 + 1), 3),
        ({"cu_operands": "weights"}, 5 * 2, 3),
        # Packed, filter 0 has 5 non-zero weights (2 groups), filter 1 has one (1 group).
        ({"pack_zeros": True, "processing_elements": 1}, 2 * (3 + 1), 3),
        ({"group": 8, "rows": 7}, 2 * 2, 4),
    ],
)
def test_options_by_hand(options, busy, fill):
    acc = hw.accelerator("bitx", **(HAND_MACHINE | options))
    r = hw.simulate(acc, hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND))
    assert (r.cycles - r.fill_cycles, r.fill_cycles) == (busy, fill)


def test_a_queue_before_each_lane_closes_part_of_the_gap():
    """Gaussian weights: 4.10 cycles per group at a barrier, 2.54 ones per weight, and what lies between."""
    w = floats(64, 1024)
    found = []
    for depth in (0, 1, 2, 4, 8, None):
        acc = hw.accelerator("bitx", processing_elements=1, lane_fifo_depth=depth, dram=None)
        r = hw.simulate(acc, hw.Linear("l", 1024, 64), hw.Operands(w))
        found.append((r.cycles - r.fill_cycles) / r.groups)
        work = r.work_cycles / r.groups
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(4.10, abs=0.03)
    assert work == pytest.approx(2.54, abs=0.02)
    assert found[1] == pytest.approx(3.0, abs=0.1)
    assert work < found[-1] < 1.1 * work


def test_unpruned_ones_are_those_of_whole_significands():
    """A window of 8 rows cuts the smaller weight off, which the unpruned machine still takes."""
    w = np.array([[1.0, 1.9999999 * 2.0**-9]], np.float32)
    acc = hw.accelerator("bitx", group=2, window=8, rows=6, fill="load", dram=None)
    r = hw.simulate(acc, hw.Linear("l", 2, 1), hw.Operands(w))
    assert r.unpruned_cycles - r.fill_cycles == 24
    assert r.cycles - r.fill_cycles == 1
    assert (r.unpruned_work_cycles, r.work_cycles) == (ceil(25 / 2), 1)
    assert r.window_limited_groups == 1
    assert (
        hw.simulate(
            hw.accelerator("bitx", group=2, dram=None), hw.Linear("l", 2, 1), hw.Operands(w)
        ).window_limited_groups
        == 0
    )


def test_the_figure_2_of_the_paper():
    """Six weights, three rows kept: two cycles; five unpruned, with the bits of its part (a)."""
    w = np.array([[1.6875, 0.154296875, 0.8125, 0.328125, 0.453125, 0.234375]], np.float32)
    acc = hw.accelerator("bitx", group=6, rows=3, dram=None)
    r = hw.simulate(acc, hw.Linear("l", 6, 1), hw.Operands(w))
    assert r.cycles - r.fill_cycles == 2
    assert r.unpruned_cycles - r.fill_cycles == 5


def test_rows_by_hand():
    """Two filters of two groups, on two PEs in lock step, at five positions.

    Rows with a 1: {64, 32, 1} and {2, 1} in filter 0, {1} and none in filter 1. N = 2 keeps 2, 2,
    1 and 0, which cost 2, 2, 1 and 1 cycles. Lock step takes max(2, 1) + max(2, 1) = 4 cycles at
    each of ceil(5 / 4) = 2 position tiles. The extraction's log2(4) + 1 = 3 cycles fill twice.
    """
    r = hw.simulate(hw.accelerator("bitx", **BY_ROW), hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND))
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
        ({"rows_per_cycle": 2}, 2 * (1 + 1), 6),
        ({"rows": 1}, 2 * (1 + 1), 6),
        ({"compute_units": 5}, 4, 3),
        ({"processing_elements": 1}, 2 * (4 + 2), 12),
        ({"skip_zero_groups": True}, 2 * (2 + 2), 6),
        ({"skip_zero_groups": True, "processing_elements": 1}, 2 * (4 + 1), 12),
        # Packed, filter 0 has 5 non-zero weights (2 groups), filter 1 has one (1 group).
        ({"pack_zeros": True}, 2 * (2 + 2), 6),
        ({"pack_zeros": True, "processing_elements": 1}, 2 * (4 + 1), 12),
        ({"pack_zeros": None, "processing_elements": 1}, 2 * (4 + 1), 12),
        ({"group": 8, "rows": 7}, 2 * 4, 8),
    ],
)
def test_options_of_rows_by_hand(options, busy, fill):
    acc = hw.accelerator("bitx", **(BY_ROW | options))
    r = hw.simulate(acc, hw.Linear("l", 8, 2, positions=5), hw.Operands(HAND))
    assert (r.cycles - r.fill_cycles, r.fill_cycles) == (busy, fill)


def test_bitx_floats_fill_e_align_too():
    w = np.array([[1.5, 0.75, 0.0, -1.0]], np.float32)
    # Aligned to 1.0: 1.5 = 1.1, 0.75 = 0.11, 1.0 = 1.0; three rows hold a 1.
    rows = {"group": 4, "rows": 2, "serial_unit": "row", "pack_zeros": False, "dram": None}
    r = hw.simulate(hw.accelerator("bitx", **rows), hw.Linear("l", 4, 1), hw.Operands(w))
    assert (r.cycles - r.fill_cycles, r.fill_cycles) == (2, 6)
    assert r.unpruned_nonempty_rows_cycles == 3 + 6
    assert r.unpruned_all_rows_cycles == 32 + 6
    fixed = hw.simulate(
        hw.accelerator("bitx", format="fixed16", **rows),
        hw.Linear("l", 4, 1),
        hw.Operands(w),
    )
    assert fixed.fill_cycles == 3
    assert fixed.unpruned_all_rows_cycles == 15 + 3


def test_bitx_filter_tiles_stay_in_their_convolution_group():
    layer = conv("g", 8, 12, 4, 1, groups=4)
    w = floats(12, 2, 1, 1)
    for pes, tiles in ((256, 4), (3, 4), (2, 8), (1, 12)):
        r = hw.simulate(hw.accelerator("bitx", processing_elements=pes), layer, hw.Operands(w))
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
@pytest.mark.parametrize("together", [1, 3])
def test_bitx_cycles_from_row_counts(depth, together):
    w = RNG.integers(-127, 128, (37, 5, 3, 3)).astype(np.int8)
    w[RNG.random(w.shape) < 0.7] = 0
    layer = conv("c", 5, 37, 9, 3)
    acc = hw.accelerator(
        "bitx", processing_elements=8, serial_unit="row", fill="pass", rows_per_cycle=together, rows=3,
        group=4, fifo_depth=depth, pack_zeros=False, dram=None,
    )  # fmt: skip
    r = hw.simulate(acc, layer, hw.Operands(w))
    rows = np.array(rows_of_integers(w, 4))
    tiles = ceil(49 / 16)

    def total(kept):
        cost = np.maximum(1, -(-kept // together))
        return sum(int(skewed_fifo(cost[i : i + 8], fifo_depth=depth)[0]) for i in range(0, 37, 8))

    assert r.cycles - r.fill_cycles == tiles * total(np.minimum(rows, 3))
    assert r.unpruned_nonempty_rows_cycles - r.fill_cycles == tiles * total(rows)
    assert r.unpruned_all_rows_cycles - r.fill_cycles == tiles * 5 * rows.shape[1] * ceil(7 / together)
    assert r.fill_cycles == tiles * 5 * 3
    assert list(r.kept_rows_histogram) == np.bincount(np.minimum(rows, 3).ravel(), minlength=8).tolist()


WEIGHTS = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).standard_normal((20, 40)).astype(np.float32)
        * (np.random.default_rng(seed + 1).random((20, 40)) < 0.6)
    )
)


def cycles(weights, **options):
    base = {"processing_elements": 7, "pack_zeros": False, "window": 64}
    acc = hw.accelerator("bitx", **(base | options))
    return hw.simulate(acc, hw.Linear("l", 40, 20, positions=20), hw.Operands(weights.astype(np.float32)))


@given(WEIGHTS)
def test_bitx_properties(w):
    whole = cycles(w, rows=64)
    assert whole.cycles == whole.unpruned_cycles <= whole.every_bit_cycles
    by_row = cycles(w, rows=64, serial_unit="row")
    assert by_row.cycles == by_row.unpruned_nonempty_rows_cycles <= by_row.unpruned_all_rows_cycles
    assert whole.cycles <= by_row.cycles
    for option, values in {
        "rows": (9, 5, 3, 1),
        "fifo_depth": (0, 1, 2, 7, None),
        "lane_fifo_depth": (0, 1, 2, 7, None),
        "skip_zero_groups": (False, True),
        "compute_units": (1, 3, 16),
    }.items():
        found = [cycles(w, **{option: v}).cycles for v in values]
        assert all(a >= b for a, b in pairwise(found)), option


def test_bitx_packs_sparse_tensors_by_itself():
    w = floats(8, 64)
    dense = cycles_of(w)
    w[:, ::2] = 0
    sparse = cycles_of(w)
    assert dense.notes == ()
    assert sparse.notes == ("zero weights packed away",)
    assert (dense.groups, sparse.groups) == (64, 32)
    assert sparse.every_bit_cycles == dense.every_bit_cycles
    w[3] = 0  # a filter without weights
    assert cycles_of(w).groups == 28


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
        kept = bx.prune(w, **({"rows": 6} | options)).kept_rows
        assert np.bincount(kept.ravel(), minlength=33)[: len(r.kept_rows_histogram)].tolist() == list(
            r.kept_rows_histogram
        )


def test_bitx_channel_grouping():
    w = floats(6, 20, 3, 3)
    layer = conv("c", 20, 6, 8, 3)
    r = hw.simulate(hw.accelerator("bitx", grouping="channel"), layer, hw.Operands(w))
    assert r.groups == 6 * 9 * 3
    assert hw.simulate(hw.accelerator("bitx"), layer, hw.Operands(w)).groups == 6 * ceil(180 / 8)
    kernels = hw.simulate(hw.accelerator("bitx", grouping="kernel"), layer, hw.Operands(w))
    assert kernels.groups == 6 * 20 * 2


def test_bitx_reads_integers_at_their_precision():
    w = RNG.integers(-500, 501, (4, 16)).astype(np.int64)
    layer = hw.Linear("l", 16, 4)
    acc = hw.accelerator("bitx", serial_unit="row", dram=None)
    r = hw.simulate(acc, layer, hw.Operands(w, weight_bits=10))
    assert r.unpruned_all_rows_cycles == 2 * 9 + 4
    same = hw.simulate(acc, layer, hw.Operands(w.astype(np.int16)))
    assert same.compute_cycles == r.compute_cycles
    assert same.unpruned_all_rows_cycles == 2 * 15 + 4


def test_bitx_does_not_run_products_of_activations():
    r = hw.simulate(hw.accelerator("bitx"), hw.MatMul("qk", rows=4, inner=8, columns=4))
    assert not r.applicable
    assert "activations" in r.reason
    assert (r.cycles, r.utilisation, r.speedup_over_unpruned) == (None, None, None)


def test_peaks_are_equal_by_default():
    assert (
        hw.accelerator("bitx").peak_macs_per_cycle == hw.accelerator("dadiannao").peak_macs_per_cycle == 4096
    )


def test_the_machine_of_the_first_release_is_still_there():
    """Cycles of 0.1.0 with its defaults, written down from it: 300 filters of 1000 Gaussian weights."""
    first = {
        "serial_unit": "row", "fill": "pass", "processing_elements": 256, "compute_units": 16, "rows": 5,
        "group": 16, "dram": None,
    }  # fmt: skip
    w = np.random.default_rng(0).standard_normal((300, 1000)).astype(np.float32)
    r = hw.simulate(hw.accelerator("bitx", **first), hw.Linear("l", 1000, 300, positions=20), hw.Operands(w))
    causes = (r.fill_cycles, r.compute_cycles, r.imbalance_cycles, r.fifo_full_cycles)
    assert (*causes, r.unpruned_all_rows_cycles, r.unpruned_nonempty_rows_cycles) == (
        40,
        740,
        520,
        0,
        8104,
        7304,
    )


def test_the_baseline_in_fixed_point_is_that_of_16_bits_whatever_the_format():
    w = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    layer = hw.Linear("l", 64, 8)
    found = {
        form: hw.simulate(hw.accelerator("bitx", format=form, dram=None), layer, hw.Operands(w))
        for form in (None, "fixed8", "fixed12", "fixed16")
    }
    assert len({r.on_chip_unpruned_fixed16_cycles for r in found.values()}) == 1
    assert found["fixed16"].unpruned_cycles == found["fixed16"].on_chip_unpruned_fixed16_cycles
    assert found["fixed8"].unpruned_cycles < found["fixed8"].on_chip_unpruned_fixed16_cycles


def test_no_machine_reaches_its_work():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        w = rng.standard_normal((int(rng.integers(1, 40)), 72)).astype(np.float32)
        pes = int(rng.integers(1, 20))
        acc = hw.accelerator("bitx", processing_elements=pes, lane_fifo_depth=None, dram=None)
        r = hw.simulate(acc, hw.Linear("l", 72, len(w), positions=20), hw.Operands(w))
        assert r.work_cycles <= r.on_chip_cycles - r.fill_cycles
        assert r.unpruned_work_cycles <= r.unpruned_cycles - r.fill_cycles


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"format": "fixed16"},
        {"cu_operands": "weights"},
        {"serial_unit": "row"},
        {"dram": None, "rows": 2},
    ],
)
def test_the_machine_without_pruning_is_that_of_the_columns(options):
    layer, w = conv("c", 16, 20, 7, 3), floats(20, 16, 3, 3)
    w[RNG.random(w.shape) < 0.4] = 0  # which a machine that prunes packs away
    pruned = hw.simulate(hw.accelerator("bitx", **options), layer, hw.Operands(w))
    machine = hw.accelerator("bitx", prunes=False, **options)
    whole = hw.simulate(machine, layer, hw.Operands(w))
    by_row = "serial_unit" in options
    name = "unpruned_nonempty_rows_cycles" if by_row else "unpruned_cycles"
    assert whole.cycles == getattr(whole, name) == getattr(pruned, name) > pruned.cycles
    assert whole.work_cycles == pruned.unpruned_work_cycles
    assert whole.energy_j > pruned.energy_j
    before, after = machine.weights_used(layer, hw.Operands(w))
    if "format" in options:
        fixed = bx.quantize(w, 16)
        assert np.array_equal(after, fixed.codes * fixed.scale)
    elif not by_row:
        assert before is after
