"""Two workers of Dask beside one, on a sweep that only computes: ``python -m bench.workers``.

Each worker is a process with one thread of the kernels. Both clusters have started, and their kernels are
compiled, before a sweep is timed; the two are timed in turn.
"""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from statistics import median
from time import perf_counter
from typing import Any

import hwmodel as hw
from bitxcore.clusters import KEEPS_MEMORY, dask_workers

VARIED: dict[str, Any] = {"rows": range(2, 10), "processing_elements": (16, 32, 64, 128)}
ROUNDS = 3


def seconds(network: Any, workers: Any) -> float:
    """Seconds of one sweep."""
    start = perf_counter()
    hw.sweep(network, VARIED, weights="normal", activations="relu-normal", workers=workers)
    return perf_counter() - start


def main() -> None:
    """Measure and print."""
    import dask
    from distributed import LocalCluster

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.environ["BITX_THREADS"] = "1"
    network = hw.load_network(given.network)
    counts = (1, given.workers)
    found: dict[int, list[float]] = {count: [] for count in counts}
    with ExitStack() as ends:
        ends.enter_context(dask.config.set(KEEPS_MEMORY))
        clusters = {}
        for count in counts:
            cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=count, threads_per_worker=1, dashboard_address=None, memory_limit=0
            )
            ends.enter_context(cluster)
            clusters[count] = ends.enter_context(dask_workers(cluster.scheduler_address))
        for turn in range(ROUNDS + 1):
            for count in counts:
                took = seconds(network, clusters[count])
                if turn:  # the first compiles and draws
                    found[count].append(took)
    points = len(VARIED["rows"]) * len(VARIED["processing_elements"])
    print(f"{points} points of {given.network}, medians of {ROUNDS} sweeps in turn:")
    for count in counts:
        print(f"{count} workers  {median(found[count]):7.2f} s  {' '.join(f'{s:.2f}' for s in found[count])}")
    ratios = [one / more for one, more in zip(found[1], found[given.workers], strict=True)]
    print(f"{given.workers} over one: {median(ratios):.2f} times, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
