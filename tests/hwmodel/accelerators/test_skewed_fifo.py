"""The skewed FIFO: the compiled recurrence against a machine that is stepped cycle by cycle."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitxcore.errors import TensorError
from hwmodel.accelerators.engines.skewed_fifo import skewed_fifo

DEPTHS = (0, 1, 2, 7, None)


class Unit:
    """A compute unit with a busy counter."""

    def __init__(self, costs):
        self.costs = costs
        self.next = 0
        self.busy = 0

    def finished(self, group):
        if group >= len(self.costs):
            return self.next == len(self.costs) and not self.busy
        return self.next > group and not (self.next == group + 1 and self.busy)


def stepped(costs, depth):
    """Cycles of one tile: a broadcaster, a FIFO of `depth` groups behind the broadcast register, units.

    The register holds the group that is being handed out; a group leaves when every unit has
    finished it. ``costs`` is a list of lists, one a unit.
    """
    units = [Unit(c) for c in costs]
    groups = max((len(c) for c in costs), default=0)
    room = groups if depth is None else depth + 1
    fifo = deque()
    sent = 0
    time = 0
    while any(u.next < len(u.costs) or u.busy for u in units):
        moved = True
        while moved:  # all that happens at this instant
            moved = False
            while fifo and all(u.finished(fifo[0]) for u in units):
                fifo.popleft()
                moved = True
            while sent < groups and len(fifo) < room:
                fifo.append(sent)
                sent += 1
                moved = True
            for u in units:
                if not u.busy and u.next in fifo and u.next < len(u.costs):
                    u.busy = u.costs[u.next]
                    u.next += 1
                    moved = True
        if any(u.busy for u in units):
            time += 1
            for u in units:
                u.busy = max(0, u.busy - 1)
    return time


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("lowest", [0, 1])
def test_recurrence_equals_the_stepped_machine_on_random_costs(depth, lowest):
    rng = np.random.default_rng(depth)
    for _ in range(40):
        shape = rng.integers(1, 9), rng.integers(1, 30)
        costs = rng.integers(lowest, 9, shape)
        assert skewed_fifo(costs, fifo_depth=depth).tolist() == [stepped(costs.tolist(), depth)]


@given(
    st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=6),
    st.sampled_from((*DEPTHS, 3, 20)),
)
def test_recurrence_equals_the_stepped_machine_on_ragged_filters(filters, depth):
    lengths = [len(f) for f in filters]
    costs = np.full((len(filters), max(lengths)), 99)
    for row, f in zip(costs, filters, strict=True):
        row[: len(f)] = f
    found = skewed_fifo(costs, fifo_depth=depth, lengths=lengths)
    assert found.tolist() == [stepped(filters, depth)]


@given(st.data())
def test_tiles_are_independent(data):
    costs = np.array(
        data.draw(st.lists(st.lists(st.integers(1, 5), min_size=6, max_size=6), min_size=1, max_size=9))
    )
    inner = data.draw(st.lists(st.integers(0, len(costs)), max_size=3).map(sorted))
    bounds = [0, *inner, len(costs)]
    found = skewed_fifo(costs, fifo_depth=1, bounds=bounds)
    expected = [int(skewed_fifo(costs[a:b], fifo_depth=1)[0]) if b > a else 0 for a, b in pairwise(bounds)]
    assert found.tolist() == expected


def test_lock_step_and_unbounded_in_closed_form():
    costs = np.random.default_rng(1).integers(1, 25, (300, 200))
    assert skewed_fifo(costs, fifo_depth=0)[0] == costs.max(axis=0).sum()
    assert skewed_fifo(costs, fifo_depth=None)[0] == costs.sum(axis=1).max()
    cycles = [int(skewed_fifo(costs, fifo_depth=d)[0]) for d in range(12)]
    assert cycles == sorted(cycles, reverse=True)


def test_by_hand():
    # Two units; unit 1 is slow on group 0. D = 1: group 2 waits until group 0 is finished by both.
    costs = [[1, 1, 1, 1], [5, 1, 1, 1]]
    # finish(0, .) = 1, 2, max(2, 5)+1 = 6, max(6, 6)+1 = 7; finish(1, .) = 5, 6, 7, 8
    assert skewed_fifo(np.array(costs), fifo_depth=1).tolist() == [8]
    costs = [[1, 1, 1, 5], [5, 1, 1, 1]]
    assert skewed_fifo(np.array(costs), fifo_depth=1).tolist() == [11]
    assert skewed_fifo(np.array(costs), fifo_depth=None).tolist() == [8]
    assert skewed_fifo(np.array(costs), fifo_depth=0).tolist() == [12]


def test_cycles_do_not_wrap():
    costs = np.full((1, 3000), 2_000_000_000)
    assert skewed_fifo(costs, fifo_depth=2)[0] == 6_000_000_000_000


@pytest.mark.parametrize(
    ("costs", "options", "message"),
    [
        (np.ones(3), {}, "shape"),
        (-np.ones((1, 3)), {}, "negative"),
        (np.ones((2, 3)), {"fifo_depth": -1}, "fifo_depth"),
        (np.ones((2, 3)), {"bounds": [0, 1]}, "bounds"),
        (np.ones((2, 3)), {"lengths": [4, 1]}, "lengths"),
    ],
)
def test_refuses(costs, options, message):
    with pytest.raises(TensorError, match=message):
        skewed_fifo(costs, **({"fifo_depth": 2} | options))
