"""What holds of Tetris, both designs of Architecting Effectual Computation, and Bitlet alike."""

from math import fsum

import numpy as np
import pytest
from essential_bit_cases import LAYER, cycles, simulate, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw

SAC = ["tetris", "aec_kneading", "aec_low_power"]
MACHINES = [*SAC, "bitlet"]


def coupled(name, depth):
    """Options of a machine whose lanes are `depth` entries ahead of the slowest of all, at most."""
    return {"fifo_depth": depth} | ({"barrier": "round"} if name in SAC else {})


@pytest.mark.parametrize("barrier", ["sac", "pe", "round"])
@pytest.mark.parametrize("depth", [0, 2, None])
def test_nothing_to_skip_is_the_dense_bound(depth, barrier):
    full = np.full(LAYER.weight_shape, 0x7FFF)
    dense = hw.simulate(hw.accelerator("dadiannao", dram=None), LAYER).cycles
    for name in SAC:
        assert cycles(name, LAYER, full, fifo_depth=depth, barrier=barrier) == dense


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
    barriers = [{"barrier": b} for b in ("sac", "pe")] if name in SAC else []
    for options in (*barriers, coupled(name, depth)):
        assert cycles(name, LAYER, after, **options) <= cycles(name, LAYER, before, **options)


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


@given(st.integers(0, 1000))
@settings(max_examples=10)
def test_deeper_fifos_never_take_longer_and_signs_do_not_matter(seed):
    w = weights(LAYER, seed)
    for name in MACHINES:
        ahead = [cycles(name, LAYER, w, **coupled(name, d)) for d in (0, 1, 2, 8, None)]
        assert ahead == sorted(ahead, reverse=True)
        assert cycles(name, LAYER, -w) == cycles(name, LAYER, w)


def test_floats_are_quantised_in_fixed_point():
    w = np.random.default_rng(4).standard_normal(LAYER.weight_shape).astype(np.float32)
    same = hw.Operands(w).integer_weights
    for name in MACHINES:
        assert cycles(name, LAYER, w) == cycles(name, LAYER, same)


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


@pytest.mark.parametrize("name", MACHINES)
def test_comparison_at_equal_peak_and_assumptions(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    assert any(a.startswith("Guessed: ") for a in machine.assumptions)
    attention = hw.MatMul("qk", rows=5, inner=20, columns=6)
    assert "second one" in hw.simulate(machine, attention).reason


def test_transposed_convolutions_run():
    up = hw.ConvTranspose("up", in_channels=3, out_channels=2, in_size=(4, 3), kernel=2, stride=2)
    for name in MACHINES:
        assert cycles(name, up, weights(up)) > 0
