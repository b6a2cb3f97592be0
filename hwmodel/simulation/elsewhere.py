"""The walk over a network, cut into runs of layers that workers simulate; each opens the operands itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from bitxcore.batch.runs.executing import Workers, execute
from bitxcore.errors import BitxError
from bitxcore.policy import Policy
from bitxcore.progress import Progress
from hwmodel.accelerators.base import Accelerator
from hwmodel.operands.workload import Workload
from hwmodel.simulation.results import LayerResult
from hwmodel.simulation.walk import walk

UNITS_A_WORKER = 8
"""Runs of layers that a worker gets, so that none waits long for another at the end."""


@dataclass(frozen=True, eq=False)
class Layers:
    """Layers ``start:stop`` of a network, as they are sent to whoever simulates them.

    Parameters
    ----------
    machines : tuple of Accelerator
    load : Workload
        Its files by their paths.
    policy : Policy or None
    start, stop : int
    """

    machines: tuple[Accelerator, ...]
    load: Workload
    policy: Policy | None
    start: int
    stop: int


def rows_elsewhere(
    machines: Sequence[Accelerator],
    load: Workload,
    workers: Workers,
    *,
    policy: Policy | None = None,
    progress: Progress | None = None,
) -> list[LayerResult]:
    """Simulate every layer on every machine; rows are in the order of `hwmodel.simulation.walk.walk`.

    Parameters
    ----------
    machines : sequence of Accelerator
    load : Workload
        Without arrays that are in memory only.
    workers : Workers
    policy : Policy, optional
    progress : callable, optional
        ``progress(done, total, next_layer)``, at the start and after every few layers.

    Raises
    ------
    BitxError
        As of `walk`; or if workers died again and again.
    """
    total, named = len(load.network), load.named
    size = max(1, total // (UNITS_A_WORKER * workers.size))
    units = [
        Layers(tuple(machines), named, policy, start, min(start + size, total))
        for start in range(0, total, size)
    ]
    if progress:
        progress(0, total, "")
    rows: dict[int, list[LayerResult]] = {}
    done = 0
    with closing(execute(_rows, iter(units), workers)) as outcomes:
        for outcome in outcomes:
            unit: Layers = outcome.job
            if outcome.data is None:
                first = load.network.layers[unit.start].layer.name
                raise BitxError("workers died on it (out of memory?), again and again", layer=first)
            rows[unit.start] = outcome.data
            done += unit.stop - unit.start
            if progress:
                progress(done, total, "")
    return [row for start in sorted(rows) for row in rows[start]]


def _rows(unit: Layers) -> list[LayerResult]:
    load = unit.load
    wanted = load.network.layers[unit.start : unit.stop]
    with load.open(unit.machines) as source:
        visits = walk(unit.machines, load.network, source, policy=unit.policy, layers=wanted)
        return [row for visit in visits for row in visit.results]
