"""Kernels that a command compiles in other processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bitxcore import jit
from hwmodel.simulation import warmup

MACHINES = [("dadiannao", {}), ("stripes", {}), ("cnvlutin", {})]
WAITING = """
import time
from hwmodel.simulation.warmup import warming
with warming([("dadiannao", {}), ("stripes", {})]):
    print("begun", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Folder of a cache of its own, of this process and of those that it starts."""
    monkeypatch.setenv("BITX_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("BITX_THREADS", "2")
    jit.cache_directory.cache_clear()
    yield jit.cache_directory()
    jit.cache_directory.cache_clear()


@pytest.fixture
def started(monkeypatch):
    """Processes that were started."""
    found = []
    start = subprocess.Popen

    def popen(*args, **kwargs):
        found.append(start(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(warmup.subprocess, "Popen", popen)
    return found


def gone(number):
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_kernels_are_there_when_the_wait_is_over(cache, started):
    with warmup.warming(MACHINES) as wait:
        wait()
    assert [worker.returncode for worker in started] == [0, 0]
    assert {path.name for path in cache.glob("*.ready")} == {
        "memory.ready", "dadiannao.ready", "stripes.ready", "cnvlutin.ready"
    }  # fmt: skip
    assert list(cache.glob("advance-*/**/*.nbc"))
    started.clear()
    with warmup.warming(MACHINES) as wait:
        wait()
    assert not started


def test_a_machine_that_fails_ends_nothing(cache, started):
    with warmup.warming([("dadiannao", {"no_such_option": 1})]) as wait:
        wait()
    assert [worker.returncode for worker in started] == [0, 0]


def test_workers_end_with_the_block(cache, started):
    with pytest.raises(ZeroDivisionError), warmup.warming(MACHINES):
        raise ZeroDivisionError
    assert all(worker.returncode for worker in started)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="children are listed in /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(cache, sent):
    parent = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE)
    with parent:
        parent.stdout.readline()
        with open(f"/proc/{parent.pid}/task/{parent.pid}/children", encoding="ascii") as file:
            children = [int(number) for number in file.read().split()]
        parent.send_signal(sent)
    assert len(children) == 2
    assert all(gone(child) for child in children)


@pytest.mark.parametrize("why", ["one thread", "no place"])
def test_nothing_is_started_where_it_does_not_pay(cache, started, monkeypatch, why):
    if why == "one thread":
        monkeypatch.setenv("BITX_THREADS", "1")
    else:
        monkeypatch.setattr(warmup, "cache_writable", lambda: False)
    with warmup.warming(MACHINES) as wait:
        wait()
    assert not started


def test_results_do_not_depend_on_it(tmp_path):
    printed = []
    for threads in ("1", "2"):
        environment = {**os.environ, "BITX_THREADS": threads, "BITX_CACHE_DIR": str(tmp_path / threads)}
        command = "from hwmodel.cli import main; main(['simulate', 'vgg-small', '-a', 'dadiannao', '--json'])"
        done = subprocess.run(
            [sys.executable, "-c", command], env=environment, capture_output=True, timeout=300, check=True
        )
        printed.append(done.stdout)
    assert printed[0] == printed[1]
