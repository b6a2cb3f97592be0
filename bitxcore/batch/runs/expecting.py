"""About how long a batch takes, from the same work on a part of one tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.runs.planning import BatchPlan
from bitxcore.dumps import Dump, Tensor, open_dump
from bitxcore.groups import Layout

SAMPLE_VALUES = 1 << 19
"""That are worked on: a tenth of a second where the errors of all numbers of rows are computed."""

_TIMES = 3
"""The shortest time of so many counts: others are at work on the machine, too."""

_READ_WHOLE = 1 << 24
"""Most bytes of a tensor of which no part can be read."""

_UNIT_SECONDS = 0.02
"""To open a dump, and to keep and gather the part of a unit."""

_START_SECONDS = 2.0
"""To start processes."""


class _Sample(Tensor):
    """Values in memory."""

    whole_because = ""

    def __init__(self, of: Tensor, values: npt.NDArray[Any], layout: Layout) -> None:
        super().__init__(of.name, values.shape, values.dtype, layout, of.is_weight)
        self._values = values

    def read(self) -> npt.NDArray[Any]:
        """Return them."""
        return self._values


def expected_seconds(plan: BatchPlan, jobs: int) -> float | None:
    """Estimate how long the work of a plan takes on this machine, if nothing of it was done before.

    A part of the largest tensor of the first dump is read, hashed and worked on; kernels are loaded for it,
    and compiled if they never were. Reading counts once: the second time, files are in memory, or are read
    while the work goes on.

    Parameters
    ----------
    plan : BatchPlan
    jobs : int
        Among which the machine's cores are shared out.

    Returns
    -------
    float or None
        None where size tells little about the time, or the work on the part fails.
    """
    first = next((dump for dump in plan.dumps if dump.units), None)
    if first is None or not plan.action.timed_by_size:
        return None
    try:
        with open_dump(first.path) as dump:
            readable = [t for t in plan.action.choose(dump) if not t.whole_because or t.nbytes <= _READ_WHOLE]
            tensor = max(readable, key=lambda tensor: tensor.size)
            start = perf_counter()
            sample = _sample_of(tensor)
            reading = perf_counter() - start
        per_byte = (reading + _seconds(hashlib.sha256, sample.read())) / sample.nbytes
        shown = Dump(first.path, "", {tensor.name: sample})
        plan.action.try_out(shown, errors=True)  # loads kernels
        both = _seconds(plan.action.try_out, shown, errors=True)
        values = min(both, _seconds(plan.action.try_out, shown, errors=False))
    except Exception:  # what is wrong with a dump its own unit tells
        return None
    work = plan.values * values + plan.sampled * (both - values)
    starting = _START_SECONDS if jobs > 1 else 0.0
    written = sum(dump.nbytes for dump in plan.dumps if dump.out is not None)  # and hashed, too
    fixed = plan.units * _UNIT_SECONDS + starting
    return (plan.nbytes + written) * per_byte + work / sample.size + fixed


def _sample_of(tensor: Tensor) -> _Sample:
    """Read a part of a tensor: all of it, some rows, or a part of one."""
    if tensor.size <= SAMPLE_VALUES or tensor.whole_because:
        values = tensor.read()
    elif (row := tensor.size // tensor.shape[0]) <= SAMPLE_VALUES:
        values = tensor.read_rows(0, SAMPLE_VALUES // row)
    else:
        values = next(tensor.runs([SAMPLE_VALUES, tensor.size]))[np.newaxis]
        return _Sample(tensor, values, Layout())
    return _Sample(tensor, values, tensor.layout)


def _seconds(work: Callable[..., object], *args: Any, **options: Any) -> float:
    """Return how long a function takes."""
    found = []
    for _ in range(_TIMES):
        start = perf_counter()
        work(*args, **options)
        found.append(perf_counter() - start)
    return min(found)
