"""Worker processes: how they begin, and how they end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import util

ENDING_SECONDS = 3.0
"""For which an end of this process waits for workers that it has killed: one in the kernel may be slow."""

starting = threading.Lock()
"""Held while processes are started, which read what they need from this one and then from named objects."""

ending = threading.Event()
"""Set when this process is about to end, and kills its workers."""

deferred = threading.Event()
"""Set when a signal came while processes were started, which the main thread was to finish first."""

_OF_TERMINALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def starting_processes() -> Iterator[None]:
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
    if deferred.is_set():  # this process is about to end, and its files are being removed
        time.sleep(2 * ENDING_SECONDS)


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


def wait_if_ending() -> None:
    """Wait for the end of this process, if it has begun: what broke, broke by that."""
    if ending.is_set():
        time.sleep(2 * ENDING_SECONDS)


def begin_worker(threads: int) -> None:
    """Prepare a worker process: no interrupts of its own, and an end when its parent is killed.

    Parameters
    ----------
    threads : int
        Of the kernels.
    """
    os.environ["BITX_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(threads)
    for number in _OF_TERMINALS:  # the parent has them, too
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_TERMINALS)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
