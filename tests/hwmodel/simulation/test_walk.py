"""A walk leaves nothing behind: neither results of a layer nor a machine that has failed."""

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.accelerators.memo import once, shared
from hwmodel.simulation.run import as_machines
from hwmodel.simulation.walk import walk


def counted(calls):
    def work(values):
        calls.append(values)
        return values + 1

    return work


@pytest.fixture
def load():
    return hw.Workload.of("resnet20-cifar10", weights="normal")


def test_a_walk_that_is_left_half_way_remembers_nothing(load):
    machines, calls = as_machines(["bitx", "bitvert"]), []
    work, x = counted(calls), np.arange(3)
    with load.open(machines) as source:
        walks = [walk(machines, load.network, source) for _ in range(2)]
        for one in walks:
            next(one)
        for one in walks:
            once(work, x)
            once(work, x)
            one.close()
    assert len(calls) == 4


def test_a_visit_brings_the_work_of_its_layer(load):
    machines, calls = as_machines("dadiannao"), []
    work, x = counted(calls), np.arange(3)
    with load.open(machines) as source:
        for visit in walk(machines, load.network, source):
            with shared(visit.memory):
                once(work, x)
            with shared(visit.memory):
                once(work, x)
    assert len(calls) == len(load.network)


@pytest.mark.parametrize("given", [None, 3, hw.accelerators.BitX, [None], [hw.accelerators.BitX]])
def test_what_is_no_machine_is_named(given):
    with pytest.raises(OptionError, match="an accelerator or the name of one is needed, got"):
        as_machines(given)
