"""The closed form against the bank-state model, on lengths and random places it was not fitted to."""

from itertools import pairwise

import numpy as np
import pytest

from bitxcore.errors import OptionError
from hwmodel.dram import Stream, StreamModel, load_part, part_names, simulate_trace
from hwmodel.dram.closed_form import stream_addresses

SHAPES = [  # bursts of a run, bursts from run to run (None: random places)
    (None, None),
    *((run, None) for run in (1, 2, 5, 16, 64, 300)),
    *((1, 2), (1, 3), (2, 7), (4, 28), (9, 100), (4, 128), (3, 2048), (16, 4096), (128, 1000), (1, 1 << 15)),
    *((1, 24.5), (3, 12.25)),
]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("name", part_names())
def test_closed_form_follows_the_bank_state_model(name, write):
    part = load_part(name)
    model = StreamModel(part)
    errors = {1000: [], 30_000: []}
    for run, stride in SHAPES:
        for bursts, found in errors.items():
            stride_bytes = None if stride is None else int(stride * 64)
            truth = simulate_trace(part, stream_addresses(part, bursts, run, stride_bytes, seed=11), write)
            stream = Stream(bursts * 64, write, run and run * 64, stride_bytes)
            cost = model.cost(stream)
            assert cost.bytes == truth.bytes
            found.append((cost.seconds / truth.total_s - 1, cost.joules / truth.energy_j - 1))
    long, short = np.abs(errors[30_000]), np.abs(errors[1000])
    assert long.max() < 0.05
    assert long.mean(axis=0).max() < 0.01
    assert short.max() < 0.14
    assert short.mean(axis=0).max() < 0.05


@pytest.fixture(scope="module")
def model():
    return StreamModel(load_part("DDR4-2400_x64_bgint"))


def test_costs_add_up(model):
    streams = [Stream(100_000), Stream(64_000, True), Stream(0), Stream(5000, run_bytes=50, stride_bytes=500)]
    total = model.cost(streams)
    assert total.seconds == pytest.approx(sum(model.cost(s).seconds for s in streams))
    assert total.joules == pytest.approx(sum(model.cost(s).joules for s in streams))
    assert model.cost([]).bytes == 0


@pytest.mark.parametrize("name", part_names())
def test_short_streams_are_moved_as_they_are(name):
    part = load_part(name)
    timing = part.timing_clocks
    share = timing.REFI / (timing.REFI - timing.RP - timing.RFC - timing.RCD)
    for bursts in (1, 7, 30, 128):
        for run, stride in ((None, None), (1, 3 * 64), (5, 700)):
            for write in (False, True):
                truth = simulate_trace(part, stream_addresses(part, bursts, run, stride), write)
                found = StreamModel(part).cost(Stream(bursts * 64, write, run and run * 64, stride))
                assert found.seconds == pytest.approx(truth.total_s * share)


def test_queued_streams_do_not_start(model):
    short, long = (model.cost(Stream(64 * n), queued=True) for n in (1, 1000))
    assert long.seconds == pytest.approx(1000 * short.seconds)
    assert 2e-8 < model.cost(Stream(64_000)).seconds - long.seconds < 5e-8
    assert model.cost([Stream(64_000)] * 3, queued=True).seconds == pytest.approx(3 * long.seconds)


def test_whole_bursts_are_moved(model):
    assert model.cost(Stream(1)).bytes == 64
    assert model.cost(Stream(65)).bytes == 128
    assert model.cost(Stream(100, run_bytes=10, stride_bytes=1000)).bytes == 640
    assert model.cost(Stream(105, run_bytes=10, stride_bytes=1000)).bytes == 704


def test_runs_that_touch_are_one(model):
    assert model.cost(Stream(64_000, run_bytes=640, stride_bytes=640)) == model.cost(Stream(64_000))


def test_more_bytes_never_cost_less(model):
    costs = [model.cost(Stream(n)) for n in (1, 64, 4096, 10**6, 10**9)]
    assert all(a.seconds <= b.seconds and a.joules <= b.joules for a, b in pairwise(costs))
    assert costs[-1].bytes / costs[-1].seconds < model.part.peak_bytes_per_s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bytes": -1}, "bytes >= 0"),
        ({"bytes": 5, "run_bytes": 0}, "runs of at least 1"),
        (
            {"bytes": 50, "run_bytes": 10, "stride_bytes": 9},
            "stride_bytes must be at least run_bytes 10, got 9",
        ),
    ],
)
def test_bad_streams_are_named(arguments, message):
    with pytest.raises(OptionError, match=message):
        Stream(**arguments)
