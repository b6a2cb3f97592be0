"""The yardstick: a copy (or a read) of the same bytes, on all threads, in the same rounds."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

from bitxcore.jit import threads

BYTES = 1 << 26
THREADS = threads()  # of the yardsticks, whatever a case sets for itself
BUDGET_S = 0.2  # for the rounds of one case in one pass, so far as their bounds allow
ROUNDS = (3, 11)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers)


def on_threads(part: Callable[[int, int], Any], size: int, workers: int, unit: int = 1) -> list[Any]:
    """Call ``part(start, stop)`` on equal parts of ``range(size)``, one thread each, cut at whole units."""
    step = -(-size // (workers * unit)) * unit
    bounds = [(start, min(start + step, size)) for start in range(0, size, step)]
    if workers == 1:
        return [part(*b) for b in bounds]
    return list(_pool(workers).map(lambda b: part(*b), bounds))


def copier(x: np.ndarray) -> Callable[[], Any]:
    """Copy of x's bytes by NumPy, cut over all threads."""
    source, target = x.reshape(-1).view(np.uint8), np.zeros(x.nbytes, np.uint8)

    def part(start: int, stop: int) -> None:
        np.copyto(target[start:stop], source[start:stop])

    return lambda: on_threads(part, x.nbytes, THREADS, unit=64)


def reader(x: np.ndarray) -> Callable[[], Any]:
    """Read of x's bytes (a sum of 64-bit words by NumPy), cut over all threads."""
    source = x.reshape(-1).view(np.uint64)
    return lambda: on_threads(lambda start, stop: np.add.reduce(source[start:stop]), source.size, THREADS)


@cache
def weights(name: str) -> np.ndarray:
    """Draw normal values (scale 0.05, as trained layers have) in a format; integers fill theirs."""
    import bitxcore as bx

    fmt = bx.number_format(name)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(BYTES // fmt.dtype.itemsize, np.float32) * np.float32(0.05)
    if fmt.is_float:
        return x.astype(fmt.dtype)
    top = fmt.max_magnitude
    return np.clip(np.rint(x * (top / 0.2)), -top, top).astype(fmt.dtype)


def against(
    benchmark: Any,
    call: Callable[[], Any],
    yardstick: Callable[[], Any],
    *,
    case: str,
    values: int | None = None,
    row: str = "",
    threads: int = THREADS,
    beside: Callable[[], Any] | None = None,
    before: Callable[[], Any] | None = None,
    peer: bool = False,
    rounds: int | None = None,
) -> None:
    """Benchmark `call`, each round after one of the yardstick; note every round of both.

    Parameters
    ----------
    benchmark
        The fixture of pytest-benchmark; its `group` names the kernel.
    call, yardstick : callable
    case : str
        What of the kernel is measured; kernel, case and threads together name the result.
    values : int, optional
        Values that one call works on.
    row : str
        Row of the table of main cases; of the cases that share one, the worst is shown. Empty: none.
    threads : int
        Threads of `call`.
    beside : callable, optional
        Pruning on as many threads, timed in the same rounds, for a peer to be compared with.
    before : callable, optional
        Called before each round, not timed.
    peer : bool
        Whether this is other people's code, which is shown and never fails a comparison.
    rounds : int, optional
        Default: as many as fit `BUDGET_S`.
    """
    for warm in (yardstick, beside, before, call):
        if warm:
            warm()
    if rounds is None:
        if before:
            before()
        rounds = int(np.clip(BUDGET_S / seconds(call), *ROUNDS))
    yardsticks: list[float] = []
    besides: list[float] = []

    def setup() -> None:
        if before:
            before()
        if beside:
            besides.append(seconds(beside))
        yardsticks.append(seconds(yardstick))

    benchmark.pedantic(call, setup=setup, rounds=rounds)
    benchmark.extra_info |= {
        "case": case,
        "values": values,
        "row": row,
        "threads": threads,
        "peer": peer,
        "seconds": list(benchmark.stats.stats.data),
        "yardstick_seconds": yardsticks,
        "prune_seconds": besides,
    }


def missing(benchmark: Any, reason: str, *, case: str, threads: int, peer: bool) -> None:
    """Note that a case can't be measured here, so that its row says why."""
    benchmark.pedantic(lambda: None)
    benchmark.extra_info |= {"case": case, "threads": threads, "peer": peer, "missing": reason}
