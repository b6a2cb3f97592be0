"""Calls side by side give what a loop gives: the same results, and the same error."""

from contextvars import ContextVar
from threading import Barrier, Event

import numpy as np
import pytest

import hwmodel as hw
from hwmodel.accelerators.memo import once, shared
from hwmodel.simulation.side_by_side import side_by_side

seen = ContextVar("seen", default=0)


@pytest.fixture(params=["1", "2", "5"])
def threads(request, monkeypatch):
    monkeypatch.setenv("BITX_THREADS", request.param)
    return int(request.param)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_results_come_in_order(threads, count, lanes):
    assert side_by_side(lambda index: 3 * index, count, lanes) == [3 * index for index in range(count)]


def test_two_calls_run_at_a_time(monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "2")
    both = Barrier(2, timeout=60)
    assert side_by_side(lambda index: both.wait() >= 0, 4, 2) == [True] * 4


def test_calls_see_the_context_and_change_only_their_own(threads):
    token = seen.set(5)

    def call(index):
        found = seen.get()
        seen.set(index)
        return found

    assert side_by_side(call, 6, 2) == [5] * 6
    assert seen.get() == 5
    seen.reset(token)


def test_the_first_error_is_raised_and_nothing_begins_after_it(monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "2")
    begun, later_failed = [], Event()

    def call(index):
        begun.append(index)
        if index == 1:
            # The later one fails first.
            assert later_failed.wait(60)
        if index == 2:
            later_failed.set()
        if index:
            raise ValueError(index)

    with pytest.raises(ValueError, match="1"):
        side_by_side(call, 9, 2)
    assert sorted(begun) == [0, 1, 2]


def test_an_interrupt_ends_all_lanes(threads):
    begun = []

    def call(index):
        begun.append(index)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(call, 99, 2)
    assert len(begun) <= 2


def test_work_that_two_threads_want_is_done_once(monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "2")
    calls, both = [], Barrier(2, timeout=60)

    def work(values):
        calls.append(values)
        return values + 1

    x = np.arange(3)

    def call(index):
        both.wait()
        return once(work, x)

    with shared():
        first, second = side_by_side(call, 2, 2)
    assert first is second
    assert len(calls) == 1


def test_a_failed_call_is_made_again():
    calls = []

    def work(values):
        calls.append(values)
        raise ValueError

    with shared():
        for _ in range(2):
            with pytest.raises(ValueError):
                once(work, np.arange(3))
    assert len(calls) == 2


def test_runs_do_not_depend_on_the_threads(monkeypatch):
    found = []
    for count in ("1", "2"):
        monkeypatch.setenv("BITX_THREADS", count)
        found.append(
            hw.simulate_network(["bitx", "mortar", "bitvert", "scnn"], "resnet20-cifar10", weights="normal")
        )
    assert found[0].layers == found[1].layers
