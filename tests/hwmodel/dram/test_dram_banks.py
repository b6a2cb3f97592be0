"""The compiled bank-state engine equals the stepped one, clock for clock."""

import dataclasses
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stepped_dram import simulate

from bitxcore.errors import OptionError, TensorError
from hwmodel.dram import load_part, part_names, simulate_trace


@st.composite
def traces(draw):
    part = load_part(draw(st.sampled_from(part_names())))
    # Refreshes fall into short traces.
    part = dataclasses.replace(part, timing_clocks=part.timing_clocks._replace(REFI=700))
    part = dataclasses.replace(
        part,
        controller=part.controller._replace(
            bank_buffer=draw(st.sampled_from([1, 2, 8])),
            max_in_flight=draw(st.sampled_from([1, 5, 128])),
            request_clocks=draw(st.sampled_from([1, 3])),
            response_clocks=draw(st.sampled_from([1, 2])),
        ),
    )
    if draw(st.booleans()):
        part = dataclasses.replace(part, timing_clocks=part.timing_clocks._replace(AL=4, RL=20, WL=18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 60))
    banks = rng.integers(0, draw(st.sampled_from([1, 2, part.organisation.banks])), n)
    rows = rng.integers(0, draw(st.sampled_from([1, 2, 50])), n)
    writes = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    arrivals = np.cumsum(rng.integers(0, draw(st.sampled_from([1, 10, 120])), n))
    return part, arrivals, banks, rows, writes


def address_of(part, bank, row):
    """Inverse of `Part.locate`, column 0."""
    bits = part.address_bits
    group, within = np.divmod(bank, part.organisation.banks // part.organisation.bank_groups)
    address = np.zeros_like(bank)
    for value, places in ((group, bits.bank_group), (within, bits.bank), (row, bits.row)):
        for i, place in enumerate(places):
            address |= ((value >> i) & 1) << place
    return address


@settings(max_examples=60, deadline=None, derandomize=True)
@given(traces())
def test_engine_equals_the_stepped_model(case):
    check(*case)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", part_names())
def test_engine_equals_the_stepped_model_when_activates_are_scarce(name, seed):
    part = load_part(name)
    rng = np.random.default_rng(seed)
    banks = rng.permutation(part.organisation.banks)[np.arange(40) % part.organisation.banks]
    check(part, np.zeros(40, np.int64), banks, rng.integers(0, 1000, 40), np.zeros(40, np.bool_))


def check(part, arrivals, banks, rows, writes):
    got = simulate_trace(
        part, address_of(part, banks, rows), writes, arrivals * part.clock_period_s, keep_latencies=True
    )
    responses, latencies, log, open_clocks = simulate(
        part, *(a.tolist() for a in (arrivals, banks, rows, writes))
    )
    assert got.total_clocks == max(responses)
    np.testing.assert_array_equal(np.rint(got.latencies_s / part.clock_period_s), latencies)
    assert got.commands == {c: Counter(c for _, c, _ in log)[c] for c in got.commands}
    standby = part.currents_a.IDD3N * part.voltages_v.VDD * part.clock_period_s * part.organisation.devices
    assert got.energy.active_standby_j == pytest.approx(open_clocks * standby)


@pytest.mark.parametrize("name", part_names())
def test_locate_takes_the_bits_that_the_part_names(name):
    part = load_part(name)
    address = np.random.default_rng(3).integers(0, part.capacity_bytes, 200)
    bank, row = part.locate(address)
    bits = part.address_bits

    def number(value, places):
        return sum((value >> place & 1) << i for i, place in enumerate(places))

    for a, b, r in zip(address.tolist(), bank.tolist(), row.tolist(), strict=True):
        assert r == number(a, bits.row)
        assert b == number(a, bits.bank) + (number(a, bits.bank_group) << len(bits.bank))
    np.testing.assert_array_equal(part.locate(address_of(part, bank, row))[0], bank)


def test_chunks_change_nothing():
    part = load_part("DDR4-2400_x64_bgint")
    rng = np.random.default_rng(1)
    address = rng.integers(0, part.capacity_bytes // 64, 5000) * 64
    write = rng.random(5000) < 0.4
    arrival = np.cumsum(rng.random(5000)) * 8e-9
    whole = simulate_trace(part, address, write, arrival, keep_latencies=True)
    cuts = [0, 1, 1, 7, 2500, 4999, 5000]
    parts = ((address[a:b], write[a:b], arrival[a:b]) for a, b in pairwise(cuts))
    pieces = simulate_trace(part, parts, keep_latencies=True)
    np.testing.assert_array_equal(whole.latencies_s, pieces.latencies_s)
    assert dataclasses.replace(whole, latencies_s=None) == dataclasses.replace(pieces, latencies_s=None)


def test_memory_does_not_grow_with_the_trace():
    part = load_part("DDR4-2400_x64_bgint")

    def peak(chunks):
        tracemalloc.start()
        simulate_trace(part, ((np.arange(50_000) * 64, False, 0.0) for _ in range(chunks)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)
    assert peak(8) < 1.2 * peak(2)


def test_no_requests():
    result = simulate_trace(load_part("DDR3-1600_x64_brc"), np.empty(0, np.int64))
    assert (result.requests, result.total_s, result.energy_j, result.bandwidth_bytes_per_s) == (
        0,
        0.0,
        0.0,
        0.0,
    )


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (
            ([0, 1 << 32],),
            "request 1: addresses of DDR4-2400_x64_brc go from 0 to 4294967295, got 4294967296",
        ),
        (([0, -64],), "request 1: addresses .* got -64"),
        (([0.5],), "addresses must be a row of integers, got float64"),
        (([0, 64], False, [1e-9, 0.0]), r"request 1: arrivals must be finite and rise from 0 on, got 0.0 s"),
        (([0], False, [-1.0]), r"request 0: arrivals .* got -1.0 s"),
        (([0], False, [float("nan")]), r"request 0: arrivals .* got nan s"),
        (([0], False, [float("inf")]), r"request 0: arrivals .* got inf s"),
        (([0, 64], [True] * 3), "is_write and arrival_s must be one for all or one for each of 2 addresses"),
    ],
)
def test_bad_traces_are_named(trace, message):
    with pytest.raises(TensorError, match=message):
        simulate_trace(load_part("DDR4-2400_x64_brc"), *trace)


def test_chunks_bring_everything_along():
    with pytest.raises(OptionError, match="chunks bring is_write and arrival_s along"):
        simulate_trace(load_part("DDR4-2400_x64_brc"), iter([]), True)


def test_errors_count_requests_from_the_begin_of_the_trace():
    chunks = iter([([0, 64], False, 0.0), ([128, -64], False, 0.0)])
    with pytest.raises(TensorError, match="request 3") as raised:
        simulate_trace(load_part("DDR4-2400_x64_brc"), chunks)
    assert (raised.value.index, raised.value.value) == (3, -64)
