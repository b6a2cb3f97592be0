"""What machines keep in DRAM, counted by hand on small tensors."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.families.compressed import group_width_bits, run_length_entries
from hwmodel.memory.stored import StoredBits

FC = hw.Linear("fc", 32, 4, positions=2)
CONV = hw.Conv("conv", in_channels=20, out_channels=6, in_size=(9, 9), kernel=3, padding=1)
WORDS = (
    "aec_kneading",
    "aec_low_power",
    "bitlet",
    "dadiannao",
    "laconic",
    "pragmatic",
    "stripes",
    "tetris",
)


def stored(machine, layer, w, a, weight_bits=None, activation_bits=None):
    if isinstance(machine, str):
        machine = hw.accelerator(machine)
    operands = hw.Operands(w, a, weight_bits, activation_bits)
    operands.check(layer)
    return machine.stored_bits(layer, operands, machine.run(layer, operands))


def tensors(layer, density=1.0, low=1, high=100, seed=0):
    rng = np.random.default_rng(seed)
    w, a = (
        rng.integers(low, high, shape, np.int16) * (rng.random(shape) < density)
        for shape in (layer.weight_shape, (layer.input_count,))
    )
    return w, a.reshape(layer.positions, -1) if isinstance(layer, hw.Linear) else a


# Whole words, and precisions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORDS)
def test_words_do_not_shrink_with_precision(name):
    w, a = tensors(FC)
    expected = StoredBits(4 * 32 * 16, 2 * 32 * 16, 2 * 4 * 16)
    machine = hw.accelerator(name, **({"dual_issue": False} if name == "tetris" else {}))
    for bits in (7, 8, 16):
        assert stored(machine, FC, w, a, bits, bits) == expected


def test_wide_values_take_several_words():
    w, a = tensors(FC)
    assert stored("dadiannao", FC, w, a, 17, 9) == StoredBits(128 * 32, 64 * 16, 8 * 16)
    narrow = hw.accelerator("dadiannao", word_bits=8, columns=2)
    assert stored(narrow, FC, w, a, 8, 9) == StoredBits(128 * 8, 64 * 16, 8 * 16)


def test_loom_and_unpu_keep_precisions():
    w, a = tensors(FC)
    assert stored("loom", FC, w, a, 9, 7) == StoredBits(128 * 9, 64 * 7, 8 * 7)
    assert stored("unpu", FC, w, a, 9, 7) == StoredBits(128 * 9, 64 * 16, 8 * 16)
    assert stored(hw.accelerator("unpu", weight_bits=5), FC, w, a, 9, 7).weights == 128 * 5


@pytest.mark.parametrize("name", ["bitvert", "bitwave"])
def test_machines_for_bit_columns_keep_activations_in_words_of_their_pes(name):
    w, a = tensors(FC)
    wide = hw.accelerator(name, **hw.accelerator(name).comparison)
    for machine, word in ((hw.accelerator(name), 8), (wide, 16)):
        found = stored(machine, FC, w, a, 8, 7)
        assert (found.activations, found.outputs) == (64 * word, 8 * word)


def test_two_weights_in_a_word_where_splitters_take_two():
    w, a = tensors(FC)
    both = hw.accelerator("tetris")
    assert stored(both, FC, w, a, 8, 8) == StoredBits(128 * 8, 64 * 16, 8 * 16)
    assert stored(both, FC, w, a, 9, 8).weights == 128 * 16


def test_bitlet_in_floating_point_keeps_float32():
    rng = np.random.default_rng(1)
    w, a = rng.standard_normal((4, 32), np.float32), rng.random((2, 32), np.float32)
    machine = hw.accelerator("bitlet", numbers="float")
    assert stored(machine, FC, w, a, 9, 9) == StoredBits(128 * 32, 64 * 32, 8 * 32)


def test_cnvlutin_adds_offsets_to_words():
    w, a = tensors(FC)
    assert stored("cnvlutin", FC, w, a, 8, 7) == StoredBits(128 * 16, 64 * 20, 8 * 20)


@pytest.mark.parametrize(
    ("options", "dtype", "bits", "expected"),
    [
        ({"format": "fixed16"}, np.float32, (9, 7), (16, 16)),
        ({}, np.float32, (9, 7), (32, 32)),
        ({}, np.float16, (None, None), (16, 16)),
        ({}, np.int8, (None, None), (8, 16)),
        ({}, np.int8, (8, 8), (8, 8)),
        ({}, np.int16, (9, 7), (16, 16)),
    ],
)
def test_bitx_keeps_its_format(options, dtype, bits, expected):
    w, a = tensors(FC)
    weight, activation = expected
    found = stored(hw.accelerator("bitx", **options), FC, w.astype(dtype), a, *bits)
    assert found == StoredBits(128 * weight, 64 * activation, 8 * activation)


def test_a_second_operand_takes_words_too():
    product = hw.MatMul("qk", rows=2, inner=16, columns=3)
    a = np.arange(32, dtype=np.int16).reshape(1, 2, 16)
    assert stored("dadiannao", product, None, a, None, 6) == StoredBits(48 * 16, 32 * 16, 6 * 16)
    found = stored("shapeshifter", product, None, a, None, 6)
    assert found.activations == 2 * (4 + 16) + 15 * 4 + 16 * 5
    assert (found.weights, found.outputs) == (
        ceil(found.activations * 48 / 32),
        ceil(found.activations * 6 / 32),
    )


# ShapeShifter ---------------------------------------------------------------------------------------------


def test_group_widths_by_hand():
    values = np.array([0, 0, 0, 5, 1, 0, 0, 0, 0, 3])  # widths 3, none, 2; groups of 4, 4 and 2
    assert group_width_bits(values, group=4, word=16) == 3 * 4 + 10 + 1 * 3 + 1 * 1 + 1 * 2
    signed = np.array([-1, 2, 0, -5])  # one's complement: 0, 2, 0, 4; 3 bits and the sign
    assert group_width_bits(signed, group=4, word=16) == 4 + 4 + 3 * 4
    assert group_width_bits(np.array([-32768], np.int16), group=16, word=16) == 4 + 1 + 16
    assert group_width_bits(np.array([65535], np.uint16), group=16, word=16) == 4 + 1 + 16
    assert group_width_bits(np.zeros(0, np.int16), group=16, word=16) == 0


@given(
    st.lists(st.integers(-300, 300), max_size=50), st.integers(1, 20), st.sampled_from([np.int16, np.int64])
)
def test_group_widths_are_those_of_each_group_alone(values, group, dtype):
    signed = any(v < 0 for v in values)
    bits = 0
    for first in range(0, len(values), group):
        members = values[first : first + group]
        width = max((v if v >= 0 else ~v).bit_length() for v in members) + signed
        bits += 4 + len(members) + width * sum(v != 0 for v in members)
    assert group_width_bits(np.array(values, dtype), group=group, word=16) == bits


def test_large_tensors_are_counted_in_parts(monkeypatch):
    values = np.random.default_rng(2).integers(-99, 99, 1003, np.int16)
    whole = group_width_bits(values, group=16, word=16)
    monkeypatch.setattr("hwmodel.accelerators.families.compressed._AT_ONCE", 100)
    assert group_width_bits(values, group=16, word=16) == whole


def test_shapeshifter_groups_run_along_channels():
    layer = hw.Conv("c", in_channels=2, out_channels=1, in_size=(1, 2), kernel=1)
    a = np.array([[100, 0], [100, 0]], np.int16)  # channel 0: 100, 0; channel 1: 100, 0
    w = np.array([1, 3], np.int16).reshape(1, 2, 1, 1)
    pairs = hw.accelerator("shapeshifter", stored_group=2)
    found = stored(pairs, layer, w, a)
    assert found.activations == 2 * 4 + 4 + 2 * 7  # groups (100, 100) and (0, 0)
    assert found.weights == 4 + 2 + 2 * 2
    assert found.outputs == ceil(found.activations * 2 / 4)
    with pytest.raises(OptionError, match="stored_group must be an integer of at least 1, got 0"):
        hw.accelerator("shapeshifter", stored_group=0)


# SCNN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "entries"),
    [
        ([1, 0, 1], 2),
        ([0] * 15 + [1], 1),
        ([0] * 16 + [1], 2),
        ([0] * 31 + [1], 2),
        ([0] * 32 + [1], 3),
        ([1] + [0] * 40, 1),
        ([0] * 40, 0),
        ([1] + [0] * 16 + [1], 3),
    ],
)
def test_run_lengths_by_hand(row, entries):
    assert run_length_entries(np.array([row, [0] * len(row)], bool), 4) == entries


def test_scnn_without_zeros_keeps_a_word_and_an_index_of_each_value():
    w, a = tensors(CONV)
    found = stored("scnn", CONV, w, a, 8, 8)
    assert found == StoredBits(w.size * 20, a.size * 20, CONV.output_count * 20)


def test_scnn_runs_begin_anew_in_each_block():
    layer = hw.Conv("c", in_channels=2, out_channels=4, in_size=(10, 7), kernel=3, padding=1)
    w, a = np.zeros(layer.weight_shape, np.int16), np.zeros((2, 10, 7), np.int16)
    w[3, :, 2, 2] = 1  # 35 zeros before it in a channel's 4 filters
    w[0, 1, 0, 0] = 1
    a[0, 9, 6] = 1  # in a tile of 10 x 7: 69 zeros before it
    one = hw.accelerator("scnn", rules="dnnsim", pe_rows=1, pe_columns=1)
    found = stored(one, layer, w, a)
    assert found.weights == ((1 + 2) + (1 + 1 + 2)) * 20
    assert found.activations == (1 + 4) * 20
    assert found.outputs == ceil(100 * 280 / 140)
    # 5 x 4 and, cut off, 5 x 3 values a PE; filters one at a time, or one on each copy.
    four = hw.accelerator("scnn", rules="dnnsim", pe_rows=2, pe_columns=2, units=4)
    found = stored(four, layer, w, a)
    assert found.weights == 3 * 20
    assert found.activations == 1 * 20
    assert stored(replace(one, accumulator_entries=70), layer, w, a) == replace(
        found, activations=100, outputs=200
    )


def test_copies_of_scnn_share_the_filters():
    """Filters of a group, and groups; a machine with more copies than filters leaves some idle."""
    for groups, outputs in ((1, 6), (2, 6), (2, 2), (6, 6)):
        layer = hw.Conv("c", in_channels=6, out_channels=outputs, in_size=(8, 8), kernel=3, groups=groups)
        w, a = tensors(layer, 0.5)
        for units in (1, 2, 4):
            own = {"rules": "dnnsim", "pe_rows": 2, "pe_columns": 2, "accumulator_entries": 9}
            machine = hw.accelerator("scnn", units=units, **own)
            r = machine.run(layer, hw.Operands(w, a))
            size, alone = outputs // groups, []
            for u in range(units):
                mine = range(outputs * u // units, outputs * (u + 1) // units)
                cycles = 0
                for g in range(groups):
                    filters = [f for f in mine if f // size == g]
                    if filters:
                        # Zero filters in front keep each filter's number, which chooses its bank.
                        part = np.zeros((max(filters) + 1, *w.shape[1:]), np.int16)
                        part[filters] = w[filters]
                        channels = slice(g * 6 // groups, (g + 1) * 6 // groups)
                        one = replace(layer, in_channels=6 // groups, out_channels=len(part), groups=1)
                        operands = hw.Operands(part, a.reshape(6, -1)[channels].reshape(-1))
                        halo = replace(machine, units=1).run(one, operands)
                        cycles += halo.cycles - (len(part) - len(filters)) * _halo_of_a_filter(halo, part)
                alone.append(cycles)
            assert r.cycles == max(alone)
            assert machine.peak_macs_per_cycle == units * 64


def _halo_of_a_filter(result, filters):
    cycles = int(result.notes[0].split()[0]) if result.notes else 0
    return cycles // len(filters)


# Bit-Tactical ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_end", ["e", "p", None])
def test_bit_tactical_keeps_its_schedule(back_end):
    machine = hw.accelerator("bit_tactical", back_end=back_end)
    w, a = tensors(FC)
    dense = stored(machine, FC, w, a, 9, 8)
    assert dense == StoredBits(128 * (16 + 3), 64 * 16, 8 * 16)
    w[:, 16:] = 0  # the second of two steps
    assert stored(machine, FC, w, a, 9, 8) == replace(dense, weights=64 * 19)
    w[:] = 0
    w[0, 0] = w[1, 16] = 1  # 0 of step 1 moves ahead into lane 0 of step 0
    assert stored(machine, FC, w, a).weights == 64 * 19
    six = hw.accelerator("bit_tactical", back_end=back_end, pattern="L", lookahead=1, lookaside=1)
    assert stored(six, FC, *tensors(FC)).weights == 128 * (16 + 2)


# Laws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [FC, CONV], ids=lambda layer: layer.name)
@pytest.mark.parametrize("name", ["shapeshifter", "scnn"])
def test_more_zeros_never_take_more_bits(name, layer):
    """Where runs are short. (A longer one can cost SCNN an entry, but never more than it saves.)"""
    w, a = tensors(layer)
    order = np.random.default_rng(3)
    last = stored(name, layer, w, a)
    for density in (0.9, 0.7, 0.5, 0.2, 0.0):
        w, a = w * (order.random(w.shape) < density), a * (order.random(a.shape) < density)
        now = stored(name, layer, w, a, 16, 16)
        assert now.weights <= last.weights
        assert now.activations <= last.activations
        last = now
    assert last == StoredBits(0, 0, 0) if name == "scnn" else last.weights > 0


@pytest.mark.parametrize(
    "name", sorted(set(hw.accelerator_names()) - {"bitvert", "loom", "unpu", "shapeshifter"})
)
def test_dense_tensors_take_a_word_a_value_at_least(name):
    """Values without zeros of 15 bits and a sign; the machines left out keep precisions or fewer columns."""
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    w, a = tensors(FC, low=2**14, high=2**15 - 1)
    found = stored(machine, FC, w, a, 16, 16)
    assert found.weights >= w.size * 16
    assert found.activations >= a.size * 16
    assert found.outputs >= FC.output_count * 16


def test_incompressible_values_cost_shapeshifter_its_metadata():
    w, a = tensors(FC, low=2**14, high=2**15 - 1)
    found = stored("shapeshifter", FC, w, a, 16, 16)
    assert found == StoredBits(128 * 15 + 8 * 20, 64 * 15 + 4 * 20, ceil((64 * 15 + 80) * 8 / 64))


def test_traffic_of_a_profiled_network_is_words():
    w, a = tensors(FC)
    narrow, wide = (
        hw.simulate(hw.accelerator("dadiannao"), FC, hw.Operands(w, a, bits, bits)) for bits in (7, 16)
    )
    assert narrow.dram_weight_bytes == wide.dram_weight_bytes == 128 * 2
    assert narrow.dram_activation_bytes == wide.dram_activation_bytes
