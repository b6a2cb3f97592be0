"""Tetris, both designs of Architecting Effectual Computation, and Bitlet: engines, properties, costs."""

from math import fsum

import numpy as np
import pytest
import stepped_essential_bits as stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stepped_machines import integers, layers

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.accelerators.engines.bit_rows import fixed_cycles, float_cycles, moves

GRIDS = {
    "lanes": st.sampled_from([2, 4, 7, 16]),
    "columns": st.sampled_from([1, 1, 3]),
    "rows": st.sampled_from([1, 2, 4]),
    "tiles": st.sampled_from([1, 2, 3]),
}
DEPTHS = st.sampled_from([0, 1, 2, 5, None])
SAC = {
    "tetris": {
        "kneading_stride": st.sampled_from([1, 2, 3, 16]),
        "skip_zero_groups": st.booleans(),
    },
    "aec_kneading": {"kneading_stride": st.sampled_from([1, 2, 5, 16])},
    "aec_low_power": {"bits_per_cycle": st.sampled_from([None, 1, 3])},
}
COMMON = {"fifo_depth": DEPTHS, "dual_issue": st.booleans()}
MACHINES = [*SAC, "bitlet"]
LAYER = hw.Conv("c", in_channels=24, out_channels=20, in_size=(7, 5), kernel=(3, 2), padding=1)


def simulate(machine, layer, w, a=None, bits=None):
    return hw.simulate(machine, layer, hw.Operands(w, a, bits))


def cycles(name, layer, w, **options):
    return simulate(hw.accelerator(name, dram=None, **options), layer, w).cycles


def weights(layer, seed=0, zeros=0.3, bits=16):
    rng = np.random.default_rng(seed)
    w = rng.integers(1 - (1 << bits - 1), 1 << bits - 1, layer.weight_shape) >> rng.integers(
        0, bits, layer.weight_shape
    )
    w[rng.random(w.shape) < zeros] = 0
    return w


# Engines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAC)
@given(st.data())
@settings(max_examples=50)
def test_sac_units_equal_their_stepped_models(name, data):
    options = data.draw(st.fixed_dictionaries(GRIDS | COMMON | SAC[name]))
    layer = data.draw(layers())
    bits = data.draw(st.integers(2, 16))
    w = data.draw(integers(layer.parameters, bits, True)).reshape(layer.weight_shape)
    a = np.random.default_rng(1).integers(-9, 10, layer.input_count)
    machine = hw.accelerator(name, dram=None, **options)
    result = simulate(machine, layer, w, bits=bits)
    assert result.cycles == stepped.split_accumulate(machine, layer, a, w, bits)
    assert 0 <= result.utilisation <= 1


@given(st.data())
@settings(max_examples=60)
def test_bitlet_equals_its_stepped_model(data):
    numbers = data.draw(st.sampled_from(["fixed", "float"]))
    layer = data.draw(layers())
    machine = hw.accelerator(
        "bitlet",
        dram=None,
        numbers=numbers,
        pe_rows=data.draw(st.integers(1, 4)),
        pe_columns=data.draw(st.integers(1, 3)),
        group=data.draw(st.sampled_from([3, 8, 20, 64])),
        look=data.draw(st.sampled_from([1, 2, 8, 12])),
        beat=data.draw(st.sampled_from([1, 4, 16])),
        bit_rows=data.draw(st.sampled_from([12, 24])),
        double_buffered=data.draw(st.booleans()),
        fifo_depth=data.draw(DEPTHS),
    )
    a = None
    if numbers == "fixed":
        w = data.draw(integers(layer.parameters, 12, True)).reshape(layer.weight_shape)
    else:
        rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
        w, a = (
            (rng.standard_normal(n) * 2.0 ** rng.integers(-20, 4, n)).astype(np.float32)
            for n in (layer.parameters, layer.input_count)
        )
        w[rng.random(w.shape) < 0.2] = 0
        a[rng.random(a.shape) < 0.3] = 0
        w[:1], a[-1:] = 1e-40, 1e-41  # subnormal
        w = w.reshape(layer.weight_shape)
    result = simulate(machine, layer, w, a)
    assert result.cycles == stepped.bitlet(machine, layer, a, w)
    assert 0 <= result.utilisation <= 1


def test_rows_equal_their_state_machines_on_ten_thousand_groups():
    rng = np.random.default_rng(5)
    fullest = []
    for bits, count in ((8, 6500), (16, 1000)):
        # Every group has a density of its own, and some are sparse at one end.
        magnitudes = rng.integers(0, 1 << bits, (count, 64))
        keep = rng.random((count, 64, bits)) < rng.random((count, 1, 1)) ** 0.5
        magnitudes &= (keep << np.arange(bits)).sum(axis=2)
        magnitudes[::7, 20:] = 0
        magnitudes = magnitudes.astype(np.uint32)
        found, ones = fixed_cycles(magnitudes, group=64, look=8, bit_rows=bits)
        rows = (magnitudes[:, None, :] >> np.arange(bits)[:, None] & 1).tolist()
        assert found[:, 0].tolist() == [max(stepped.row_cycles(r, 8) for r in group) for group in rows]
        most = np.array(rows).sum(axis=2)
        assert ones == most.sum()
        assert (np.maximum(most.max(axis=1), 8) <= found[:, 0]).all()
        fullest.append(found[:, 0])
    assert min(c.min() for c in fullest) == 8


def test_float_groups_equal_their_state_machines():
    rng = np.random.default_rng(6)
    products = rng.standard_normal((2, 2600, 64)).astype(np.float32)
    w, a = products.view(np.uint32)
    exponents, others = (((x >> 23) & 0xFF).astype(np.int16) for x in (w, a))
    significands = w & 0x7FFFFF | 0x800000
    found = np.array(
        [
            float_cycles(s[None], e[None], o[None], group=64, look=8, bit_rows=24)[0][0, 0, 0]
            for s, e, o in zip(significands, exponents, others, strict=True)
        ]
    )
    sums = exponents.astype(int) + others
    shifted = significands >> np.minimum(sums.max(axis=1, keepdims=True) - sums, 31)
    rows = shifted[:, None, :] >> np.arange(24)[:, None] & 1
    assert found.tolist() == [max(stepped.row_cycles(r, 8) for r in group) for group in rows.tolist()]
    fullest_row = np.maximum(rows.sum(axis=2).max(axis=1), 8)
    assert (fullest_row <= found).all()
    # What was measured from the RTL: nearly always equal, and 39 cycles on average for Gaussian float32.
    assert (fullest_row == found).mean() > 0.99
    assert 38.5 < found.mean() < 39.5


def test_moves_are_those_of_the_published_table():
    # Bits seen -> how far to go on, the nearest member in bit 0.
    table = {0b0: 8, 0b1: 8, 0b10000000: 8, 0b11: 1, 0b101: 2, 0b10000001: 7, 0b110: 2, 0b11000000: 7}
    assert {seen: int(moves(8)[seen]) for seen in table} == table


def test_period_is_the_measured_one():
    layer = hw.Linear("fc", 640, 1)
    w = np.full((1, 640), 0x7FFF)
    assert cycles("bitlet", layer, w) == 10 * (22 + 64)
    assert hw.accelerator("bitlet").latency_cycles == 21
    assert hw.accelerator("bitlet", numbers="float").latency_cycles == 24
    ones = np.ones((1, 640), np.float32)
    machine = hw.accelerator("bitlet", numbers="float", dram=None)
    assert simulate(machine, layer, ones, ones).cycles == 10 * (25 + 64)
    assert cycles("bitlet", layer, w, double_buffered=True) == 21 + 640
    assert cycles("bitlet", layer, w * 0) == 10 * (22 + 8)


# Bounds and invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 2, None])
def test_nothing_to_skip_is_the_dense_bound(depth):
    full = np.full(LAYER.weight_shape, 0x7FFF)
    dense = hw.simulate(hw.accelerator("dadiannao", dram=None), LAYER).cycles
    for name in SAC:
        assert cycles(name, LAYER, full, fifo_depth=depth) == dense
    serial = cycles("aec_low_power", LAYER, full, fifo_depth=depth, bits_per_cycle=1)
    assert serial == 15 * dense
    groups = -(-LAYER.reduction // 64)
    passes = LAYER.position_tiles(16)
    assert cycles("bitlet", LAYER, full, fifo_depth=depth) == passes * (groups * 22 + LAYER.reduction)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("zeros", [0, 0.6, 1])
def test_no_machine_is_faster_than_its_own_ideal(name, zeros):
    machine = hw.accelerator(name, dram=None)
    r = simulate(machine, LAYER, weights(LAYER, 1, zeros))
    assert 0 <= r.utilisation <= 1
    assert r.cycles == sum(
        x or 0 for x in (r.fill_cycles, r.compute_cycles, r.imbalance_cycles, r.fifo_full_cycles)
    )
    ideal = int(np.bitwise_count(np.abs(weights(LAYER, 1, zeros))).sum()) * LAYER.positions
    rows = machine.bit_rows if name == "bitlet" else machine.word_bits
    assert r.cycles * machine.peak_macs_per_cycle * rows >= ideal


@pytest.mark.parametrize("name", MACHINES)
@given(st.integers(0, 1000), st.sampled_from([0, 2, None]))
@settings(max_examples=15)
def test_fewer_essential_bits_never_take_longer(name, seed, depth):
    before = weights(LAYER, seed)
    after = before - np.sign(before) * (np.abs(before) & np.random.default_rng(seed).integers(0, 1 << 15))
    if name == "aec_kneading":
        after = np.where(after == 0, before, after)  # else groups form anew
    assert cycles(name, LAYER, after, fifo_depth=depth) <= cycles(name, LAYER, before, fifo_depth=depth)


def test_zeros_that_regroup_can_cost_a_cycle():
    layer = hw.Linear("fc", 4, 1)
    machine = {"kneading_stride": 2, "lanes": 1}
    before, after = np.array([[1, 2, 1, 2]]), np.array([[1, 0, 1, 2]])
    assert cycles("aec_kneading", layer, before, **machine) == 2
    assert cycles("aec_kneading", layer, after, **machine) == 3


@pytest.mark.parametrize(("members", "look"), [(10, 2), (12, 4), (12, 8), (12, 1), (13, 5), (14, 3)])
def test_all_short_rows(members, look):
    patterns = np.arange(1 << members, dtype=np.uint32)
    bits = patterns[:, None] >> np.arange(members, dtype=np.uint32) & np.uint32(1)
    found = fixed_cycles(bits, group=64, look=look, bit_rows=1)[0][:, 0]
    assert found.tolist() == [stepped.row_cycles(row, look) for row in bits.tolist()]
    assert (found >= np.maximum(bits.sum(axis=1), -(-members // look))).all()
    for b in range(members):  # clearing a bit never costs a cycle
        assert (found[patterns & ~np.uint32(1 << b)] <= found).all()


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_order_within_a_kneaded_group_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    layer = hw.Linear("fc", 256, 40)
    w = weights(layer, seed)
    # Lane i takes weights i, i + 16, ...: a permutation of steps stays within lanes and groups.
    shuffled = w.reshape(40, 16, 16)[:, rng.permutation(16)].reshape(40, 256)
    for name in ("tetris", "aec_kneading"):
        assert cycles(name, layer, shuffled) == cycles(name, layer, w)
    assert cycles("aec_low_power", layer, shuffled, fifo_depth=None) == cycles(
        "aec_low_power", layer, w, fifo_depth=None
    )


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_options_help_or_cost_nothing(seed):
    w = weights(LAYER, seed)
    for name in MACHINES:
        ahead = [cycles(name, LAYER, w, fifo_depth=d) for d in (0, 1, 2, 8, None)]
        assert ahead == sorted(ahead, reverse=True)
        assert cycles(name, LAYER, -w) == cycles(name, LAYER, w)
    assert cycles("tetris", LAYER, w, skip_zero_groups=True) <= cycles("tetris", LAYER, w)
    strides = [cycles("tetris", LAYER, w, kneading_stride=s, fifo_depth=None) for s in (1, 2, 4, 8, 16)]
    assert strides == sorted(strides, reverse=True)
    assert cycles("bitlet", LAYER, w, double_buffered=True) <= cycles("bitlet", LAYER, w)
    serial = [cycles("aec_low_power", LAYER, w, bits_per_cycle=b) for b in (1, 2, 4, 16, None)]
    assert serial == sorted(serial, reverse=True)


def test_eight_bit_weights_go_two_at_a_time():
    w = weights(LAYER, 3, bits=8)
    narrow = hw.accelerator("tetris", dram=None, dual_issue=True)
    wide = hw.accelerator("tetris", dram=None, lanes=32)
    assert simulate(narrow, LAYER, w, bits=8).cycles == simulate(wide, LAYER, w).cycles
    assert simulate(narrow, LAYER, w, bits=9).cycles == cycles("tetris", LAYER, w)


def test_floats_are_quantised_in_fixed_point():
    w = np.random.default_rng(4).standard_normal(LAYER.weight_shape).astype(np.float32)
    same = hw.Operands(w).integer_weights
    for name in MACHINES:
        assert cycles(name, LAYER, w) == cycles(name, LAYER, same)


# Costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_energy_and_area_by_part(name):
    machine = hw.accelerator(name, dram=None)
    sparse, full = (
        simulate(machine, LAYER, w) for w in (weights(LAYER), np.full(LAYER.weight_shape, 0x7FFF))
    )
    for r in (sparse, full):
        assert r.energy_j == fsum(r.energy_parts_j.values())
        assert min(r.energy_parts_j.values()) >= 0
    assert sparse.energy_j < full.energy_j
    assert machine.area_parts_mm2["weight_buffer"] > 0
    assert fsum(machine.area_parts_mm2.values()) == sparse.area_mm2
    assert hw.accelerator(name, cost_basis="neurosim").area_parts_mm2.keys() == machine.area_parts_mm2.keys()


def test_kneading_pays_for_its_selectors():
    kneading, plain = (hw.accelerator(n) for n in ("aec_kneading", "aec_low_power"))
    assert plain.area_parts_mm2["splitters"] < kneading.area_parts_mm2["splitters"]


def test_float_parts_rest_in_fixed_point():
    w = np.random.default_rng(6).standard_normal(LAYER.weight_shape).astype(np.float32)
    a = np.ones(LAYER.input_count, np.float32)
    fixed = simulate(hw.accelerator("bitlet", dram=None), LAYER, w)
    floats = simulate(hw.accelerator("bitlet", dram=None, numbers="float"), LAYER, w, a)
    for part in ("exponents", "aligners", "float_packers"):
        assert fixed.energy_parts_j[part] == 0 < floats.energy_parts_j[part]


# Refusals and speed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MACHINES)
def test_comparison_at_equal_peak_and_assumptions(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    assert any(a.startswith("Guessed: ") for a in machine.assumptions)
    attention = hw.MatMul("qk", rows=5, inner=20, columns=6)
    assert "second one" in hw.simulate(machine, attention).reason


def test_layers_that_floats_do_not_run():
    up = hw.ConvTranspose("up", in_channels=3, out_channels=2, in_size=(4, 3), kernel=2, stride=2)
    w = weights(up)
    assert "read no windows" in simulate(hw.accelerator("bitlet", numbers="float"), up, w).reason
    for name in MACHINES:
        assert cycles(name, up, w) > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tetris", {"kneading_stride": 0}, "kneading_stride must be an integer of at least 1, got 0"),
        ("tetris", {"fifo_depth": -1}, "fifo_depth must be an integer of at least 0, got -1"),
        ("aec_low_power", {"bits_per_cycle": 0}, "bits_per_cycle must be an integer of at least 1"),
        ("bitlet", {"group": 65}, "group must be at most 64, got 65"),
        ("bitlet", {"look": 13}, "look must be at most 12, got 13"),
        ("bitlet", {"numbers": "bf16"}, "numbers must be one of fixed, float, got 'bf16'"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator(name, **options)


def test_bad_operands_are_named():
    w = weights(LAYER)
    with pytest.raises(TensorError, match=r"weights of magnitude \d+ have more bits than bit_rows=8"):
        cycles("bitlet", LAYER, w, bit_rows=8)
    floats = hw.accelerator("bitlet", numbers="float")
    with pytest.raises(TensorError, match="layer 'c': bitlet needs activations"):
        simulate(floats, LAYER, w)
    bad = np.ones(LAYER.input_count)
    bad[7] = np.inf
    with pytest.raises(TensorError, match=r"activations \[7\] = inf is not finite in float32"):
        simulate(floats, LAYER, w, bad)
