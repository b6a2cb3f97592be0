"""Bitlet: rows and groups against their state machines, periods as measured, floats."""

import numpy as np
import pytest
import stepped_essential_bits as stepped
from essential_bit_cases import DEPTHS, LAYER, bitlet_operands, cycles, simulate, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import layers

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.accelerators.engines.bit_rows import fixed_cycles, float_cycles
from hwmodel.accelerators.engines.row_walks import RowWalk, moves


@given(st.data())
@settings(max_examples=60)
def test_equals_its_stepped_model(data):
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
    w, a = bitlet_operands(data, layer, numbers)
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
        found, ones = fixed_cycles(magnitudes, group=64, rows=RowWalk(look=8), bit_rows=bits)
        rows = (magnitudes[:, None, :] >> np.arange(bits)[:, None] & 1).tolist()
        assert found[:, 0].tolist() == [max(stepped.row_cycles(r, 8) for r in group) for group in rows]
        most = np.array(rows).sum(axis=2)
        assert ones == most.sum()
        assert (np.maximum(most.max(axis=1), 8) <= found[:, 0]).all()
        fullest.append(found[:, 0])
    assert min(c.min() for c in fullest) == 8


@pytest.mark.parametrize(("members", "look"), [(10, 2), (12, 4), (12, 8), (12, 1), (13, 5), (14, 3)])
def test_all_short_rows(members, look):
    patterns = np.arange(1 << members, dtype=np.uint32)
    bits = patterns[:, None] >> np.arange(members, dtype=np.uint32) & np.uint32(1)
    found = fixed_cycles(bits, group=64, rows=RowWalk(look=look), bit_rows=1)[0][:, 0]
    assert found.tolist() == [stepped.row_cycles(row, look) for row in bits.tolist()]
    assert (found >= np.maximum(bits.sum(axis=1), -(-members // look))).all()
    for b in range(members):  # clearing a bit never costs a cycle
        assert (found[patterns & ~np.uint32(1 << b)] <= found).all()


def test_float_groups_equal_their_state_machines():
    rng = np.random.default_rng(6)
    products = rng.standard_normal((2, 2600, 64)).astype(np.float32)
    w, a = products.view(np.uint32)
    exponents, others = (((x >> 23) & 0xFF).astype(np.int16) for x in (w, a))
    significands = w & 0x7FFFFF | 0x800000
    found = np.array(
        [
            float_cycles(s[None], e[None], o[None], group=64, rows=RowWalk(look=8), bit_rows=24)[0][0, 0, 0]
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


@pytest.mark.parametrize("depth", [0, 2, None])
def test_nothing_to_skip_is_the_dense_bound(depth):
    full = np.full(LAYER.weight_shape, 0x7FFF)
    groups = -(-LAYER.reduction // 64)
    passes = LAYER.positions
    assert cycles("bitlet", LAYER, full, fifo_depth=depth) == passes * (groups * 22 + LAYER.reduction)


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_double_buffering_never_takes_longer(seed):
    w = weights(LAYER, seed)
    assert cycles("bitlet", LAYER, w, double_buffered=True) <= cycles("bitlet", LAYER, w)


def test_float_parts_rest_in_fixed_point():
    w = np.random.default_rng(6).standard_normal(LAYER.weight_shape).astype(np.float32)
    a = np.ones(LAYER.input_count, np.float32)
    fixed = simulate(hw.accelerator("bitlet", dram=None), LAYER, w)
    floats = simulate(hw.accelerator("bitlet", dram=None, numbers="float"), LAYER, w, a)
    for part in ("exponents", "aligners", "float_packers"):
        assert fixed.energy_parts_j[part] == 0 < floats.energy_parts_j[part]


def test_layers_that_floats_do_not_run():
    up = hw.ConvTranspose("up", in_channels=3, out_channels=2, in_size=(4, 3), kernel=2, stride=2)
    assert "read no windows" in simulate(hw.accelerator("bitlet", numbers="float"), up, weights(up)).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 65}, "group must be at most 64, got 65"),
        ({"look": 13}, "look must be at most 12, got 13"),
        ({"numbers": "bf16"}, "numbers must be one of fixed, float, got 'bf16'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("bitlet", **options)


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


def test_the_published_machine_and_that_of_comparisons():
    published = hw.accelerator("bitlet")
    assert (published.pe_rows, published.pe_columns, published.group) == (32, 1, 64)
    assert hw.accelerator("bitlet", **published.comparison).peak_macs_per_cycle == 4096
