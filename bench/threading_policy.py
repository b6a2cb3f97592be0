"""Two ways to use all cores for the same kernel: a thread pool over chunks, or Numba's `prange`.

``python -m bench.threading_policy`` prints the throughput of each, for small and large arrays, and what
`prange` does to other threads and to a child process; docs/performance.md has the figures. Each way runs in
a process of its own: the threads of `prange` keep a core busy for a while after it returns, which alone
slowed the pool by a third when both took turns in one process.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

from bitxcore.jit import CHUNK_BYTES, parallel
from bitxcore.kernels.floats import FLOAT32, prune_kernel

GROUP, ROWS, VECTOR = 16, 5, 128  # values of a group and of a vector
SIZES = [1 << log for log in range(16, 25, 2)]
WAYS = ("one thread", "pool", "prange", "pool after prange")


def _calls(values: int) -> dict[str, Callable[[], object]]:
    """Ways to prune one array of float32."""
    kernel = prune_kernel(FLOAT32, GROUP)
    x = np.random.default_rng(0).standard_normal(values).astype(np.float32).view(np.uint32)
    out, n = np.zeros_like(x), values // GROUP
    masks, exponents, kept = np.zeros(n, np.uint32), np.zeros(n, np.int16), np.zeros(n, np.uint8)

    def one(start: int, stop: int) -> int:
        a, b = start // GROUP, stop // GROUP
        rows = masks[a:b], exponents[a:b], kept[a:b]
        settings = (stop - start) // VECTOR, ROWS, 1, -1, True, ROWS, 2
        return int(kernel(x[start:stop], out[start:stop], *rows, *settings)[0])

    @numba.njit(parallel=True, nogil=True)
    def in_prange(x, out, masks, exponents, kept, chunk):
        bad = 0
        for i in numba.prange(x.size // chunk):
            start, a = i * chunk, i * chunk // GROUP
            stop, b = start + chunk, a + chunk // GROUP
            bad += kernel(
                x[start:stop], out[start:stop], masks[a:b], exponents[a:b], kept[a:b], chunk // VECTOR, ROWS,
                1, -1, True, ROWS, 2,
            )[0]  # fmt: skip
        return bad

    piece = min(CHUNK_BYTES // 4, values // 2)
    return {
        "one thread": lambda: one(0, values),
        "pool": lambda: parallel(one, values, piece),
        "prange": lambda: in_prange(x, out, masks, exponents, kept, piece),
    }


def _measure(way: str) -> list[float]:
    """Values a second of one way, for each of `SIZES`."""
    found = []
    for values in SIZES:
        calls = _calls(values)
        call = calls[way.split(" after ")[0]]
        between = calls["prange"] if "after" in way else None
        times = []
        call()
        for _ in range(max(21, (1 << 24) // values)):
            if between:
                between()
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        found.append(values / float(np.median(times)))
    return found


def _fork() -> str:
    """Say what becomes of a forked child that uses `prange` after its parent did."""
    call = _calls(SIZES[0])["prange"]
    call()
    child = multiprocessing.get_context("fork").Process(target=call)
    child.start()
    child.join()
    return f"layer {numba.threading_layer()}: a forked child ends with exit code {child.exitcode}"


def main() -> None:
    """Measure each way in a process of its own."""
    print("G values/s".ljust(20), *(f"2^{size.bit_length() - 1}".rjust(6) for size in SIZES))
    for way in WAYS:
        command = [sys.executable, "-m", "bench.threading_policy", way]
        rates = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        print(way.ljust(20), *(f"{rate / 1e9:.2f}".rjust(6) for rate in rates))
    print(_fork())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1])))
    else:
        main()
