import dataclasses
import inspect

import numpy as np
import pytest

from hwmodel.dram import load_part, part_names, simulate_trace
from hwmodel.dram.energy import energy_parts, idle_power_w

NONE = dict.fromkeys(inspect.signature(energy_parts).parameters, 0)
del NONE["part"]


@pytest.fixture
def part():
    return load_part("DDR4-2400_x64_brc")


@pytest.mark.parametrize(
    ("events", "name", "joules"),
    [  # by hand: clocks × 0.833 ns × (ampere × volt) × 8 devices
        ({"activates": 1}, "activate_j", 39 * 0.833e-9 * ((0.06075 - 0.044) * 1.2 + 0.00405 * 2.5) * 8),
        ({"precharges": 1}, "precharge_j", 16 * 0.833e-9 * ((0.06075 - 0.03825) * 1.2 + 0.00405 * 2.5) * 8),
        ({"reads": 1}, "read_j", 4 * 0.833e-9 * (0.1845 - 0.044) * 1.2 * 8),
        ({"writes": 1}, "write_j", 4 * 0.833e-9 * (0.16875 - 0.044) * 1.2 * 8),
        ({"refreshes": 1, "total_clocks": 312}, "refresh_j", 312 * 0.833e-9 * 0.118 * 1.2 * 8),
        ({"total_clocks": 9, "active_clocks": 9}, "active_standby_j", 9 * 0.833e-9 * 0.044 * 1.2 * 8),
        ({"total_clocks": 9}, "precharged_standby_j", 9 * 0.833e-9 * 0.03825 * 1.2 * 8),
    ],
)
def test_each_part_by_hand(part, events, name, joules):
    got = energy_parts(part, **(NONE | events))
    assert getattr(got, name) == pytest.approx(joules, rel=1e-12)
    assert got.total_j == pytest.approx(joules, rel=1e-12)


@pytest.mark.parametrize("name", part_names())
def test_parts_sum_to_the_energy(name):
    part = load_part(name)
    address = np.random.default_rng(2).integers(0, part.capacity_bytes // 64, 3000) * 64
    got = simulate_trace(part, address, np.arange(3000) % 3 == 0, np.arange(3000) * 20e-9)
    assert got.energy_j == pytest.approx(sum(dataclasses.astuple(got.energy)), rel=1e-15)
    assert min(dataclasses.astuple(got.energy)) > 0


def test_a_memory_that_only_refreshes(part):
    """One read an hour costs little more than nothing but refreshes."""
    got = simulate_trace(part, [0, 0], False, [0.0, 0.01])
    assert got.energy_j / got.total_s == pytest.approx(idle_power_w(part), rel=1e-3)


def test_half_the_clock_period_is_half_the_time(part):
    address = np.random.default_rng(2).integers(0, part.capacity_bytes // 64, 3000) * 64
    fast = dataclasses.replace(part, clock_period_s=part.clock_period_s / 2)
    slow, twice = simulate_trace(part, address), simulate_trace(fast, address)
    assert slow.total_clocks == twice.total_clocks
    assert twice.total_s == slow.total_s / 2
