"""Two ways to use all cores for the same kernel: a thread pool over chunks, or Numba's `prange`.

``python -m bench.threading_policy`` prints throughput and the cost of a first import and call;
docs/performance.md has the figures. Run it on a quiet machine: with a busy core the two look alike.
"""

from __future__ import annotations

import time

import numba
import numpy as np

from bitxcore.jit import parallel, threads
from bitxcore.kernels.floats import FLOAT32, prune_kernel

from .measure import weights

GROUP, CHUNK = 16, 1 << 20  # values


def main() -> None:
    """Measure both on 64 MiB of float32, interleaved."""
    kernel = prune_kernel(FLOAT32, GROUP)
    x = weights("float32").view(np.uint32)
    out = np.zeros_like(x)
    n = x.size // GROUP
    masks, exponents, kept = np.zeros(n, np.uint32), np.zeros(n, np.int16), np.zeros(n, np.uint8)
    numba.set_num_threads(threads())

    def one(start: int, stop: int) -> int:
        a, b = start // GROUP, stop // GROUP
        rows = masks[a:b], exponents[a:b], kept[a:b]
        return int(kernel(x[start:stop], out[start:stop], *rows, (stop - start) // 128, 5, 1, -1, True, 2))

    @numba.njit(parallel=True, nogil=True)
    def in_prange(x, out, masks, exponents, kept):
        bad = 0
        for i in numba.prange(x.size // CHUNK):
            start, a = i * CHUNK, i * CHUNK // GROUP
            stop, b = start + CHUNK, a + CHUNK // GROUP
            bad += kernel(
                x[start:stop], out[start:stop], masks[a:b], exponents[a:b], kept[a:b], CHUNK // 128, 5, 1, -1,
                True, 2,
            )  # fmt: skip
        return bad

    start = time.perf_counter()
    in_prange(x, out, masks, exponents, kept)
    print(f"prange: first call {time.perf_counter() - start:.2f} s (compiles its own copy of the kernel)")
    start = time.perf_counter()
    parallel(one, x.size, CHUNK)
    print(f"pool:   first call {time.perf_counter() - start:.2f} s")
    seconds: dict[str, list[float]] = {"prange": [], "pool": []}
    for _ in range(21):
        start = time.perf_counter()
        in_prange(x, out, masks, exponents, kept)
        middle = time.perf_counter()
        parallel(one, x.size, CHUNK)
        seconds["prange"].append(middle - start)
        seconds["pool"].append(time.perf_counter() - middle)
    for name, times in seconds.items():
        print(f"{name}: {x.size / np.median(times) / 1e9:.2f} G values/s")


if __name__ == "__main__":
    main()
