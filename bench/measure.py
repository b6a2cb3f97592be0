"""The yardstick: a copy (or a read) of the same bytes, on the same threads, in the same session."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bitxcore.jit import parallel, threads

BYTES = 1 << 26


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def copier(x: np.ndarray) -> Callable[[], Any]:
    """Copy of x's bytes by NumPy, cut over all threads."""
    source, target = x.reshape(-1).view(np.uint8), np.zeros(x.nbytes, np.uint8)
    part = -(-x.nbytes // threads())

    def task(start: int, stop: int) -> None:
        np.copyto(target[start * part : stop * part], source[start * part : stop * part])

    return lambda: parallel(task, threads(), 1)


def reader(x: np.ndarray) -> Callable[[], Any]:
    """Read of x's bytes (a sum of 64-bit words by NumPy), cut over all threads."""
    source = x.reshape(-1).view(np.uint64)
    part = -(-source.size // threads())

    def task(start: int, stop: int) -> Any:
        return np.add.reduce(source[start * part : stop * part])

    return lambda: parallel(task, threads(), 1)


def weights(name: str, values: int | None = None) -> np.ndarray:
    """Draw normal values (scale 0.05, as trained layers have) in a format; integers fill theirs."""
    import bitxcore as bx

    fmt = bx.number_format(name)
    rng = np.random.default_rng(0)
    n = values or BYTES // fmt.dtype.itemsize
    x = rng.standard_normal(n, np.float32) * np.float32(0.05)
    if fmt.is_float:
        return x.astype(fmt.dtype)
    top = fmt.max_magnitude
    return np.clip(np.rint(x * (top / 0.2)), -top, top).astype(fmt.dtype)


def against(benchmark: Any, call: Callable[[], Any], yardstick: Callable[[], Any], values: int) -> None:
    """Benchmark `call`, each round after one of the yardstick; note values/s and the share of it."""
    call()
    yardstick()
    rounds: list[float] = []

    def before() -> None:
        rounds.append(seconds(yardstick))

    benchmark.pedantic(call, setup=before, rounds=11, warmup_rounds=1)
    median = benchmark.stats.stats.median
    benchmark.extra_info["values_per_s"] = values / median
    benchmark.extra_info["yardstick_values_per_s"] = values / float(np.median(rounds))
    benchmark.extra_info["share"] = float(np.median(rounds)) / median
    benchmark.extra_info["threads"] = threads()
