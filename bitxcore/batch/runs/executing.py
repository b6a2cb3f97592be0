"""Units on executors: a worker that dies is replaced, and its unit is done again.

An executor is one of `concurrent.futures`, or alike: what is here calls `submit` and `shutdown` only.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from bitxcore.processes import begin_worker, starting_processes, wait_if_ending

TRIES = 3
"""How often a unit may end the process that does it."""

Result = TypeVar("Result")
Work = Callable[[Any], Result]


class Workers(Protocol):
    """Those who do units."""

    @property
    def size(self) -> int:
        """How many units they do at a time."""
        ...

    def start(self) -> Executor:
        """Return a new executor, also in place of one that broke."""
        ...

    def is_death(self, error: BaseException) -> bool:
        """Whether an error of a future says that its worker died."""
        ...


class _Here(Executor):
    """Does each unit in this process when it is submitted."""

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        """Call `function`."""
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future


class _Pool(ProcessPoolExecutor):
    """Processes that end with this one."""

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        """Send `function` and what it is called with."""
        with starting_processes():  # it may start a process
            return super().submit(function, *args, **options)


@dataclass(frozen=True)
class LocalWorkers:
    """Processes of this machine, started afresh; one is this process.

    Parameters
    ----------
    size : int
        The kernels' threads are shared out among them.
    """

    size: int

    def start(self) -> Executor:
        """Return a new executor."""
        if self.size == 1:
            return _Here()
        threads = max(1, cores() // self.size)
        with starting_processes():
            return _Pool(
                self.size,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=begin_worker,
                initargs=(threads,),
            )

    def is_death(self, error: BaseException) -> bool:
        """Whether a process ended before its unit."""
        return isinstance(error, BrokenExecutor)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_workers(jobs: int | None, units: int) -> LocalWorkers:
    """Return so many workers, or one per core, but no more than there are units."""
    return LocalWorkers(max(1, min(jobs or cores(), units)))


@dataclass
class Outcome(Generic[Result]):
    """How a unit ended.

    Attributes
    ----------
    job : object
        As it was given.
    data : object
        What it returned; None if it ended its workers.
    deaths : int
        Workers that it ended, or may have ended.
    """

    job: Any
    data: Result | None
    deaths: int = 0


def execute(
    work: Work[Result],
    jobs: Iterator[Any],
    workers: Workers,
    begun: Callable[[Any], None] = lambda job: None,
) -> Generator[Outcome[Result], None, None]:
    """Do all units.

    Parameters
    ----------
    work : callable
        From a unit to its result; must be a function of a module.
    jobs : iterator
        The units; asked for the next one when a worker is about to be free.
    workers : Workers
    begun : callable
        Called with each unit that is submitted.

    Yields
    ------
    Outcome
        In the order in which they end. One whose worker died `TRIES` times has no data.

    Notes
    -----
    Nobody says which of the units at work ended a process: each is done again, alone, and only a death
    while a unit is alone counts against it.
    """
    running: dict[Future[Result], Outcome[Result]] = {}
    suspects: deque[Outcome[Result]] = deque()
    executor = workers.start()
    try:
        while True:
            alone = bool(suspects)
            while not alone and len(running) < 2 * workers.size:
                job = next(jobs, None)
                if job is None:
                    break
                begun(job)
                future = _submit(executor, work, job)
                running[future] = Outcome(job, None)
                if future.done():
                    break  # here, before the next one is asked for
            if alone:
                outcome = suspects.popleft()
                running[_submit(executor, work, outcome.job)] = outcome
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            died = [future for future in done if _death(future, workers)]
            if died:
                wait_if_ending()
                done, _ = wait(running)  # the others broke with it, or have their results
                died = [future for future in running if _death(future, workers)]
            for future in [future for future in running if future in done and future not in died]:
                outcome = running.pop(future)
                outcome.data = future.result()
                yield outcome
            if died:
                executor.shutdown(cancel_futures=True)  # ends the others
                executor = workers.start()
                for future in died:
                    outcome = running.pop(future)
                    outcome.deaths += alone
                    if outcome.deaths >= TRIES:
                        yield outcome
                    else:
                        suspects.append(outcome)
    finally:
        for future in running:
            future.cancel()
        executor.shutdown(cancel_futures=True)


def _submit(executor: Executor, work: Work[Result], job: Any) -> Future[Result]:
    try:
        return executor.submit(work, job)
    except BrokenExecutor as error:  # it broke since it was last looked at
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _death(future: Future[Any], workers: Workers) -> bool:
    error = future.exception()
    return error is not None and workers.is_death(error)
