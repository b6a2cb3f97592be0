"""Points of a sweep, simulated in this process or in others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

from bitxcore.batch.runs.executing import Workers, execute
from bitxcore.errors import BitxError
from bitxcore.policy import Policy
from bitxcore.processes import begin_worker, starting_processes, wait_if_ending
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import accelerator
from hwmodel.operands.workload import Workload
from hwmodel.simulation.columns import TOTAL_COLUMNS
from hwmodel.studies.sweeps.space import Space
from hwmodel.studies.variants import Variant, simulate_variants

Row = dict[str, Any]

POINTS_AT_ONCE = 32
"""Most points that share a reading of the weights: what is lost, at most, when a worker is killed."""

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


def run_points(
    task: SweepTask, points: Sequence[int], jobs: int, workers: Workers | None = None
) -> Generator[list[Row], None, None]:
    """Simulate points in no certain order.

    Parameters
    ----------
    task : SweepTask
        With more than one job, no file of its operands may be open.
    points : sequence of int
    jobs : int
        Processes. One is this process; others are started afresh, with one thread each.
    workers : Workers, optional
        Who simulates instead; `jobs` is then how many they are.

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
    # Each part reads the weights anew, so there are no more parts than workers need to end together.
    size = max(1, min(POINTS_AT_ONCE, -(-len(ordered) // max(8, 4 * jobs))))
    chunks = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    if workers is not None:
        yield from _elsewhere(task, chunks, workers)
        return
    if jobs == 1:
        yield from map(task.rows, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with starting_processes():
        stop = context.Event()
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(task, stop))
    try:
        waiting = iter(chunks)
        running: set[Future[list[Row]]] = set()
        while True:
            # No more than the workers need: a stop then has little to wait for.
            for chunk in waiting:
                with starting_processes():  # it may start a process
                    running.add(pool.submit(_run, chunk))
                if len(running) >= 2 * jobs:
                    break
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        wait_if_ending()
        raise BitxError(
            "a worker process of the sweep died (out of memory? a script without the guard"
            ' `if __name__ == "__main__":`?); finished points are kept'
        ) from error
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _elsewhere(
    task: SweepTask, chunks: Sequence[Sequence[int]], workers: Workers
) -> Generator[list[Row], None, None]:
    with closing(execute(_run_alone, ((task, chunk) for chunk in chunks), workers)) as outcomes:
        for outcome in outcomes:
            if outcome.data is None:
                raise BitxError(
                    "workers of the sweep died (out of memory?), again and again; finished points are kept"
                )
            yield outcome.data


def _run_alone(job: tuple[SweepTask, Sequence[int]]) -> list[Row]:
    task, points = job
    return task.rows(points)


# -- in a worker -------------------------------------------------------------------------------

_task: SweepTask
_stop: Event


def _start(task: SweepTask, stop: Event) -> None:
    """Prepare a process, which has one thread."""
    global _task, _stop
    begin_worker(threads=1)
    _task, _stop = task, stop


def _run(points: Sequence[int]) -> list[Row]:
    return _task.rows(points, _stop)
