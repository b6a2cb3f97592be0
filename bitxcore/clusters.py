"""Units of work on the workers of a Dask scheduler: those of this machine, or of many.

Needs the extra ``distributed``. Dask moves the units and replaces workers; what is here says which work goes
along, and turns Dask's errors into those of this package.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Executor, Future
from contextlib import ExitStack, chdir, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from importlib import import_module
from time import monotonic
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from bitxcore.batch.runs.executing import TRIES, cores
from bitxcore.batch.runs.keys import code_hash
from bitxcore.errors import BitxError, MissingExtraError, OptionError
from bitxcore.processes import starting_processes

__all__ = ["ClusterError", "DaskWorkers", "dask_workers"]

LOCAL = "local"
"""Instead of a scheduler's address: workers of this machine, started for the run."""

PACKAGES = ("bitxcore", "hwmodel")
"""Whose source must be the same on all workers."""

CONNECTING_SECONDS = 10
"""For which a scheduler is tried to be reached."""

COUNTING_SECONDS = 2.0
"""For how long the number of workers is taken to stay."""

DASHBOARD_SECONDS = 2
"""For which a dashboard may take to answer."""

_WITHOUT_BOKEH = b"<p>Dask needs bokeh"
"""Of the page that is in the place of the dashboard where bokeh is not installed."""

_PRE_SPAWN = "distributed.nanny.pre-spawn-environ"
KEEPS_MEMORY = {
    f"{_PRE_SPAWN}.MALLOC_TRIM_THRESHOLD_": 1 << 26,
    f"{_PRE_SPAWN}.MALLOC_MMAP_THRESHOLD_": 1 << 25,
}
"""Dask's settings for workers that use freed memory again, as other processes do.

Dask lets them give back all of it at once: to get it again took as long as half of the work (glibc).
"""

_LOOPBACK = "127.0.0.1"


class ClusterError(BitxError):
    """A scheduler or a worker that can't do the work; what was finished is kept where a run keeps it."""


class DaskWorkers:
    """Workers of a Dask scheduler, for everything that takes `bitxcore.batch.runs.executing.Workers`.

    `dask_workers` makes one. A worker process does one unit at a time, in the folder of this process and with
    as many threads of the kernels as Dask gives it. Dask does a unit again whose worker died, on another one.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler, and closed by whoever opened it.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._counted, self._size = -COUNTING_SECONDS, 1
        self._code = code_hash(PACKAGES)
        self._check()

    def __repr__(self) -> str:
        return f"DaskWorkers({self.address!r}): {self.size} workers"

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self._client.scheduler.address)

    @property
    def dashboard(self) -> str | None:
        """Address of the dashboard, if it answers there."""
        if "dashboard" not in self._client.scheduler_info()["services"]:
            return None
        link = str(self._client.dashboard_link or "")
        return link if _shows(link) else None

    @property
    def size(self) -> int:
        """How many workers there are now; they may come and go."""
        if monotonic() - self._counted >= COUNTING_SECONDS and self._client.status == "running":
            with suppress(OSError):
                self._size = max(1, len(self._client.nthreads()))
            self._counted = monotonic()
        return self._size

    def start(self) -> Executor:
        """Return a new executor."""
        return _Sent(self._client, partial(_do, self._code, os.getcwd()))

    def is_death(self, error: BaseException) -> bool:
        """Whether a unit ended its worker as often as the scheduler allows."""
        from distributed import KilledWorker

        return isinstance(error, KilledWorker)

    def _check(self) -> None:
        """Raise `ClusterError` if a worker has no BitX, or another one."""
        found = self._client.run(code_hash, PACKAGES, on_error="return")
        for worker, code in found.items():
            if code != self._code:
                raise _unlike(worker, f"has none that runs: {code}" if isinstance(code, Exception) else "")


class _Sent(Executor):
    """Sends units to a scheduler."""

    def __init__(self, client: Any, do: Callable[..., Any]) -> None:
        self._client, self._do = client, do
        self._sent: dict[Future[Any], Any] = {}

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        """Send `function`, of a module, and what it is called with."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            sent = self._client.submit(partial(self._do, function), *args, **options, pure=False)
        except Exception as error:  # the client has given up
            future.set_exception(_lost(self._client, error))
            return future
        self._sent[future] = sent
        sent.add_done_callback(partial(self._take, future))
        return future

    def _take(self, future: Future[Any], sent: Any) -> None:
        """Take the result, or the error, of a unit that has ended; in a thread of its own."""
        try:
            error = sent.exception()
            result = sent.result() if error is None else None
        except (OSError, TimeoutError) as lost:
            error = _lost(self._client, lost)
        except BaseException as other:
            error = other
        if isinstance(error, (futures.CancelledError, asyncio.CancelledError)):
            error = _lost(self._client, error)
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in PACKAGES:
            error = _unlike("that joined later", "has none")
        self._sent.pop(future, None)
        sent.release()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the scheduler forget what has not begun."""
        for sent in list(self._sent.values()):
            sent.release()
        self._sent.clear()


def _lost(client: Any, error: BaseException) -> ClusterError:
    if client.status == "running" and not isinstance(error, OSError):
        return ClusterError(f"the scheduler cancelled a unit: {_line(error)}")
    return ClusterError(f"the Dask scheduler {client.scheduler.address} is gone")


def _unlike(worker: str, what: str) -> ClusterError:
    return ClusterError(
        f"Dask worker {worker}: its bitx {what or 'is another one than here'}",
        hint="install the same release of bitx, with the same Python, for all workers",
    )


def _shows(link: str) -> bool:
    """Whether a dashboard is at an address: a scheduler without one listens there, too."""
    if not link.startswith("http://"):
        return bool(link)  # through a proxy, or with a certificate: whoever set that up knows
    try:
        with build_opener(ProxyHandler({})).open(link, timeout=DASHBOARD_SECONDS) as answer:
            return _WITHOUT_BOKEH not in answer.read(1 << 12)
    except HTTPError as error:
        with error:
            return error.code != 404  # it may ask for a password
    except (OSError, HTTPException, ValueError):
        return False


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# -- in a worker -------------------------------------------------------------------------------

_one_at_a_time = threading.Lock()
"""Held by the unit of a worker process: commands write to its standard streams and change its folder."""


def _do(code: str, folder: str, work: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
    """Do a unit as it would be done where it comes from."""
    from distributed import get_worker

    with _one_at_a_time:
        worker = get_worker()
        if code_hash(PACKAGES) != code:
            raise _unlike(worker.address, "")
        os.environ.setdefault("BITX_THREADS", str(worker.state.nthreads))
        with _inside(folder, worker.address):
            return work(*args, **options)


@contextmanager
def _inside(folder: str, worker: str) -> Iterator[None]:
    """Resolve relative paths as in the process that sent them."""
    if os.getcwd() == folder:
        yield
        return
    try:
        entered = chdir(folder)
        entered.__enter__()
    except OSError as error:
        raise ClusterError(
            f"Dask worker {worker} can't enter the folder: {error.strerror}",
            path=folder,
            hint="workers need the same shared file system as this machine",
        ) from error
    try:
        yield
    finally:
        entered.__exit__(None, None, None)


# -- connecting --------------------------------------------------------------------------------


@contextmanager
def dask_workers(
    scheduler: str = LOCAL,
    jobs: int | None = None,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[DaskWorkers]:
    """Connect to a Dask scheduler, or start one with workers of this machine.

    Parameters
    ----------
    scheduler : str
        Its address, e.g. ``"tcp://10.0.0.1:8786"``. ``"local"`` starts a scheduler on the loopback
        interface, and worker processes; a script then needs the guard ``if __name__ == "__main__":``.
    jobs : int, optional
        Workers of ``"local"``, among which the kernels' threads are shared out (default: one per core).
    say : callable, optional
        Called with a line on what was found: the workers, the dashboard's address; and that workers are
        waited for, when there are none yet.

    Yields
    ------
    DaskWorkers
        For ``workers=`` of `hwmodel.sweep`, `hwmodel.simulate_network` and `hwmodel.evaluation.evaluate`.

    Raises
    ------
    MissingExtraError
        Without the extra ``distributed``.
    OptionError
        For an address that is none, or `jobs` beside one.
    ClusterError
        If the scheduler can't be reached, or a worker has another BitX.

    Examples
    --------
    >>> import hwmodel as hw
    >>> with dask_workers("local", 2) as workers:  # doctest: +SKIP
    ...     found = hw.sweep("resnet18", {"columns": [1, 2]}, accelerator="dadiannao", workers=workers)
    """
    distributed = _distributed()
    if jobs is not None and (scheduler != LOCAL or isinstance(jobs, bool) or jobs < 1):
        raise OptionError(f"jobs is the number of workers of scheduler {LOCAL!r}, at least 1, got {jobs!r}")
    logger = logging.getLogger("distributed.client")
    with ExitStack() as opened:
        opened.callback(logger.setLevel, logger.level)
        client: Any
        if scheduler == LOCAL:
            cluster = opened.enter_context(_local_cluster(jobs or cores()))
            client = opened.enter_context(distributed.Client(cluster, set_as_default=False))
        else:
            client = opened.enter_context(_connected(scheduler))
            if not client.nthreads():
                say(f"Dask: waiting for workers of {scheduler}")
                client.wait_for_workers(1)
        workers = DaskWorkers(client)
        shown = workers.dashboard
        count = f"{workers.size} worker{'s' * (workers.size != 1)} of {workers.address}"
        say(
            f"Dask: {count}; " + (f"dashboard: {shown}" if shown else "no dashboard answers (it needs bokeh)")
        )
        try:
            yield workers
        finally:
            if client.status != "running":  # Dask tells at length that it gives up connecting again
                logger.setLevel(logging.CRITICAL + 1)


def _distributed() -> Any:
    """Import Dask distributed, which tells types of some of its functions only."""
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("dask[distributed]", "distributed") from error


def _connected(address: str) -> Any:
    try:
        return _distributed().Client(address, timeout=CONNECTING_SECONDS, set_as_default=False)
    except OSError as error:
        raise ClusterError(
            f"no Dask scheduler can be reached at {address}: {_line(error)}",
            hint="is it running, and its port open?",
        ) from error
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"scheduler must be {LOCAL!r} or an address like tcp://HOST:8786, got {address!r}: {_line(error)}"
        ) from error


@contextmanager
def _local_cluster(jobs: int) -> Iterator[Any]:
    """Start a scheduler and workers, which nobody reaches from another machine."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": TRIES - 1, **KEEPS_MEMORY}),
        starting_processes(),  # whose threads, and processes, inherit that terminals' signals are blocked
    ):
        cluster = _distributed().LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            host=_LOOPBACK,
            dashboard_address=f"{_LOOPBACK}:0",
            memory_limit=0,  # work as large as without Dask: neither paused nor spilled to disk
            silence_logs=logging.CRITICAL,
            env={"BITX_THREADS": str(max(1, cores() // jobs))},
        )
    with cluster:
        yield cluster
