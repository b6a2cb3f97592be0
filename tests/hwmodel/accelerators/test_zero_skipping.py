"""What holds of Cnvlutin, EIE, ESE and Cambricon-S whatever the operands."""

from dataclasses import replace

import numpy as np
import pytest
import stepped_zero_skipping as stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from zero_skipping_cases import CONV, FC, random, run, small

import hwmodel as hw
from hwmodel.costs.figures import BASES, costs

RUNS = [
    ("cnvlutin", CONV),
    ("cnvlutin", FC),
    ("eie", FC),
    ("ese", FC),
    ("cambricon_s", CONV),
    ("cambricon_s", FC),
]


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_nothing_to_skip_is_the_dense_bound(name, layer):
    r = run(small(name), layer, *random(layer, zeros=0))
    dense = layer.macs / small(name).peak_macs_per_cycle
    assert r.cycles - r.fill_cycles == dense
    assert not r.imbalance_cycles
    assert not r.fifo_full_cycles


@pytest.mark.parametrize(("name", "layer"), RUNS)
@pytest.mark.parametrize("zeros", [0.3, 0.8, 0.99])
def test_never_faster_than_its_ideal(name, layer, zeros):
    """All multipliers busy with pairs that are not zero; ESE skips weights, Cnvlutin activations only."""
    w, a = random(layer, zeros)
    if name == "ese":
        a = np.ones_like(a)
    if name == "cnvlutin":
        w = np.ones_like(w)
    held_w, held_a = (w != 0).astype(np.int64), (a != 0).astype(np.int64)
    pairs = sum(
        v * int(held_w[(slice(None), *at)].sum())
        for windows in stepped.gathered(layer, held_a)
        for window in windows
        for at, v in window.items()
    )
    assert run(small(name), layer, w, a).cycles >= pairs / small(name).peak_macs_per_cycle


@pytest.mark.parametrize(("name", "layer"), RUNS)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.02, 0.3, 0.9]))
@settings(max_examples=10)
def test_more_zeros_are_never_slower(name, layer, seed, share):
    """Of activations on all machines; of weights on EIE and ESE (on Cambricon-S segments may split worse)."""
    rng = np.random.default_rng(seed)
    w, a = random(layer, 0.4, seed)
    before = run(small(name), layer, w, a).cycles
    fewer = np.where(rng.random(a.shape) < share, 0, a)
    after = run(small(name), layer, w, fewer).cycles
    assert after <= before
    if name in ("eie", "ese"):
        assert run(small(name), layer, np.where(rng.random(w.shape) < share, 0, w), a).cycles <= before


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_only_zeros_matter(name, layer):
    w, a = random(layer, 0.5)
    expected = run(small(name), layer, w, a).cycles
    assert run(small(name), layer, np.sign(w), -(a // 2 + 1) * np.sign(a)).cycles == expected
    floats = hw.Operands(np.sign(w) * 0.5, np.sign(a) * np.float32(0.25))
    assert small(name).run(layer, floats).cycles == expected


@pytest.mark.parametrize(("name", "layer"), RUNS)
def test_multipliers_spend_what_their_products_need(name, layer):
    machine = small(name)
    cost = machine.parts(costs("aladdin"))["multipliers"].cost.energy_j

    def products(w, a):
        r = machine.run(layer, hw.Operands(w, a, 16, 16))
        return r.energy.events_j["multipliers"] / cost, r.utilisation * r.cycles * machine.peak_macs_per_cycle

    w, a = random(layer, zeros=0)
    assert products(w, a) == pytest.approx((layer.macs, layer.macs))
    fewer = random(layer, zeros=0.5)[1]
    energy, useful = products(w, fewer)
    assert energy == pytest.approx(layer.macs if name == "ese" else useful)


@pytest.mark.parametrize("name", ["cnvlutin", "eie", "ese", "cambricon_s"])
def test_they_enter_comparisons_at_equal_peak(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    for basis in BASES:
        assert min(replace(machine, cost_basis=basis).area_parts_mm2.values()) > 0
    assert any(a.startswith("Guessed: ") for a in machine.assumptions)
