"""Units on executors, of which workers die."""

import os
import signal
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path

import pytest

from bitxcore.batch.runs.executing import TRIES, LocalWorkers, execute, local_workers


def double(number):
    return 2 * number


def die_sometimes(job):
    """Kill the process the first `deaths` times."""
    number, folder, deaths = job
    tries = list(Path(folder).glob(f"{number}-*"))
    if len(tries) < deaths:
        (Path(folder) / f"{number}-{len(tries)}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return b"%d" % number


class Dying(Executor):
    """Does what it is given at once, until a unit breaks it; then nothing."""

    def __init__(self, owner):
        self.owner, self.broken = owner, False

    def submit(self, function, /, job):
        future = Future()
        if self.broken or self.owner.kills.get(job, 0) > 0:
            if not self.broken:
                self.owner.kills[job] -= 1
            self.broken = True
            future.set_exception(BrokenExecutor("died"))
        else:
            future.set_result(function(job))
        return future


class DyingWorkers:
    def __init__(self, kills, size=3):
        self.kills, self.size, self.started = kills, size, 0

    def start(self):
        self.started += 1
        return Dying(self)

    def is_death(self, error):
        return isinstance(error, BrokenExecutor)


def ends(work, jobs, workers):
    return {outcome.job: outcome.data for outcome in execute(work, iter(jobs), workers)}


@pytest.mark.parametrize("workers", [LocalWorkers(1), DyingWorkers({})])
def test_all_units_are_done_once(workers):
    begun = []
    found = [(o.job, o.data, o.deaths) for o in execute(double, iter(range(10)), workers, begun.append)]
    assert sorted(found) == [(n, 2 * n, 0) for n in range(10)]
    assert begun == list(range(10))


def test_no_more_is_asked_for_than_workers_need():
    asked = []
    jobs = (asked.append(n) or n for n in range(100))
    outcomes = execute(double, jobs, LocalWorkers(1))
    next(outcomes)
    assert len(asked) == 1
    outcomes.close()


@pytest.mark.parametrize("deaths", [1, 2])
def test_units_that_end_their_worker_are_done_again(deaths):
    workers = DyingWorkers({3: deaths, 7: deaths})
    assert ends(double, range(10), workers) == {n: 2 * n for n in range(10)}
    assert workers.started > 2


def test_a_unit_that_always_ends_its_worker_is_given_up_and_no_other():
    workers = DyingWorkers({3: 10**6, 4: 1})
    assert ends(double, range(10), workers) == {n: None if n == 3 else 2 * n for n in range(10)}
    assert 10**6 - workers.kills[3] <= TRIES + 1


def test_other_errors_are_told():
    def fail(job):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(execute(fail, iter(range(3)), LocalWorkers(1)))


def test_number_of_workers():
    assert local_workers(4, 2).size == 2
    assert local_workers(4, 0).size == 1
    assert local_workers(None, 10**6).size >= 1


@pytest.mark.slow
def test_processes_that_are_killed(tmp_path):
    jobs = [(n, str(tmp_path), {2: 1, 5: 2, 6: 99}.get(n, 0)) for n in range(8)]
    found = {job[0]: data for job, data in ends(die_sometimes, jobs, LocalWorkers(2)).items()}
    assert found == {n: None if n == 6 else b"%d" % n for n in range(8)}
