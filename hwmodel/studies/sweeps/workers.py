"""Points of a sweep, simulated in this process or in others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.synchronize import Event
from typing import Any

from bitxcore.errors import BitxError
from bitxcore.policy import Policy
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import accelerator
from hwmodel.operands.workload import Workload
from hwmodel.simulation.columns import TOTAL_COLUMNS
from hwmodel.studies.sweeps.space import Space
from hwmodel.studies.variants import Variant, simulate_variants

Row = dict[str, Any]

POINTS_AT_ONCE = 32
"""Most points that share a reading of the weights: what is lost, at most, when a worker is killed."""

ENDING_SECONDS = 3.0
"""For which an end of this process waits for workers that it has killed: one in the kernel may be slow."""

METRICS = {
    **{column.name: column.unit for column in TOTAL_COLUMNS if column.name != "accelerator"},
    "kept_rows_mean": "1",
    "relative_error": "1",
    "reason": "",
}
"""Unit of each column that a point gets."""


@dataclass(frozen=True)
class SweepTask:
    """What every worker needs to know.

    Parameters
    ----------
    load : Workload
        With more than one process, its files by their paths: each opens them itself.
    space : Space
    policy : Policy, optional
    """

    load: Workload
    space: Space
    policy: Policy | None = None

    def rows(self, points: Sequence[int], stop: Event | None = None) -> list[Row]:
        """Simulate some points.

        Parameters
        ----------
        points : sequence of int
        stop : Event, optional
            Looked at before each layer.

        Returns
        -------
        list of dict
            ``point`` and the `METRICS`.
        """
        machines: dict[int, Accelerator] = {}
        rows = {}
        for point in points:
            try:
                options = {**self.space.fixed, **self.space.options(point)}
                machines[point] = accelerator(self.space.accelerator, **options)
            except BitxError as error:
                rows[point] = {"point": point, **dict.fromkeys(METRICS), "reason": str(error)}

        def check(*_: object) -> None:
            if stop is not None and stop.is_set():
                raise InterruptedError("the sweep was stopped")

        if machines:
            every = list(machines.values())
            with self.load.open(every) as source:
                variants = simulate_variants(
                    every, self.load.network, source, policy=self.policy, progress=check
                )
            rows |= {point: _row(point, v) for point, v in zip(machines, variants, strict=True)}
        return [rows[point] for point in points]


def _row(point: int, variant: Variant) -> Row:
    row: Row = {"point": point, **dict.fromkeys(METRICS)}
    total = variant.total
    if total is None:
        return row | {"reason": variant.reason}
    if not total.layers:
        return row | {"layers": 0, "not_applicable": total.not_applicable, "reason": variant.rows[0].reason}
    row |= {name: value for name, value in total.columns().items() if name in METRICS}
    return row | {"kept_rows_mean": variant.kept_rows_mean, "relative_error": variant.relative_error}


def run_points(task: SweepTask, points: Sequence[int], jobs: int) -> Generator[list[Row], None, None]:
    """Simulate points in no certain order.

    Parameters
    ----------
    task : SweepTask
        With more than one job, no file of its operands may be open.
    points : sequence of int
    jobs : int
        Processes. One is this process; others are started afresh, with one thread each.

    Yields
    ------
    list of dict
        Rows as they are done, up to `POINTS_AT_ONCE` together.

    Raises
    ------
    BitxError
        If the weights can't be read, or a process died.
    """
    ordered = task.space.by_shared_work(points)
    size = max(1, min(POINTS_AT_ONCE, -(-len(ordered) // (8 * jobs))))
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if jobs == 1:
        yield from map(task.rows, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with _starting():
        stop = context.Event()
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(task, stop))
    try:
        waiting = iter(chunks)
        running: set[Future[list[Row]]] = set()
        while True:
            # No more than the workers need: a stop then has little to wait for.
            for chunk in waiting:
                with _starting():  # it may start a process
                    running.add(pool.submit(_run, chunk))
                if len(running) >= 2 * jobs:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        if ending.is_set():  # the pool is broken by that, and whoever ends this process has said why
            time.sleep(2 * ENDING_SECONDS)
        raise BitxError(
            "a worker process of the sweep died (out of memory? a script without the guard"
            ' `if __name__ == "__main__":`?); finished points are kept'
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


starting = threading.Lock()
"""Held while processes are started, which read what they need from this one and then from named objects."""

ending = threading.Event()
"""Set when this process is about to end, and kills its workers."""

_OF_TERMINALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def _starting() -> Iterator[None]:
    """Let processes begin with signals of the terminal held back, until they ignore them.

    The process that multiprocessing starts beside them, to clean up, is never to have a hangup.
    """
    with starting:
        if not hasattr(signal, "pthread_sigmask"):
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_workers() -> None:
    """Kill the workers and give back the names of what they share; for a process that ends at once.

    Otherwise multiprocessing, whose own end of process is not reached, warns that they leaked.
    """
    from multiprocessing.synchronize import SemLock

    starting.acquire(timeout=5)  # and never released: no more are to be started
    ending.set()
    for finalizer in tuple(vars(util)["_finalizer_registry"].values()):
        if finalizer._callback is vars(SemLock)["_cleanup"].__func__:
            with suppress(Exception):
                finalizer()
    workers = multiprocessing.active_children()
    for process in workers:
        with suppress(Exception):
            process.kill()
    deadline = time.monotonic() + ENDING_SECONDS
    for process in workers:  # whoever waits for this process finds none of them
        with suppress(Exception):
            process.join(max(0, deadline - time.monotonic()))


# -- in a worker -------------------------------------------------------------------------------

_task: SweepTask
_stop: Event


def _start(task: SweepTask, stop: Event) -> None:
    """Prepare a process: one thread, no interrupts of its own, and an end when its parent is killed."""
    global _task, _stop
    os.environ["BITX_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    for number in _OF_TERMINALS:  # the parent has them, too
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _task, _stop = task, stop


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(points: Sequence[int]) -> list[Row]:
    return _task.rows(points, _stop)
