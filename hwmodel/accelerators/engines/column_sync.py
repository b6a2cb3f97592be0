"""Who waits for whom: from the cost of every step to the cycles of a layer.

Importing this module imports Numba.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel
from hwmodel.accelerators.engines.grid_plan import GridPlan

Array = npt.NDArray[Any]


class Waiting(Protocol):
    """Takes the costs of steps in time order and counts cycles."""

    def feed(self, costs: Array, repeats: int = 1) -> None:
        """Take the steps of some window sets.

        Parameters
        ----------
        costs : array of int, shape (window sets, steps, columns)
            0 where a column has no window.
        repeats : int
            Times that the steps of a window set follow one another.
        """

    @property
    def cycles(self) -> int:
        """Cycles until everything has finished."""


class LockStep:
    """All columns begin a step together."""

    def __init__(self) -> None:
        self.cycles = 0

    def feed(self, costs: Array, repeats: int = 1) -> None:
        """Take the steps of some window sets; see `Waiting.feed`."""
        self.cycles += repeats * int(costs.max(axis=-1).sum(dtype=np.int64))


@kernel
def _run_ahead(costs, repeats, busy, ring, state):
    # `ready`: when all columns have finished step n - 1 - registers, the gate of step n. `ring` holds the
    # ends of the steps in between, the oldest at i; `busy`: until when each column works.
    ready, i = state
    for s in range(costs.shape[0]):
        for _ in range(repeats):
            for t in range(costs.shape[1]):
                # Columns without a window cost 0 but wait at the gate as all do.
                last = np.int64(0)
                for c in range(costs.shape[2]):
                    busy[c] = max(busy[c], ready) + costs[s, t, c]
                    last = max(last, busy[c])
                ready = ring[i]
                ring[i] = last
                i = (i + 1) % len(ring)
    state[0], state[1] = ready, i


class ColumnRegisters:
    """Columns run ahead of the slowest by up to as many steps as there are registers.

    A column may begin step n once all columns have finished step n - 1 - registers.

    Parameters
    ----------
    columns, registers : int
    """

    def __init__(self, columns: int, registers: int) -> None:
        self._busy = np.zeros(columns, np.int64)
        self._ring = np.zeros(registers, np.int64)
        self._state = np.zeros(2, np.int64)

    def feed(self, costs: Array, repeats: int = 1) -> None:
        """Take the steps of some window sets; see `Waiting.feed`."""
        _run_ahead(np.ascontiguousarray(costs, np.uint16), repeats, self._busy, self._ring, self._state)

    @property
    def cycles(self) -> int:
        """Cycles until the last column has finished."""
        return int(self._busy.max())


@kernel
def _stagger(costs, repeats, free, state):
    # `now`: first cycle in which the next step may begin, one after the step before; `free`: from when each
    # column has nothing to do. Steps go round the columns.
    now, column = state
    for s in range(costs.shape[0]):
        for _ in range(repeats):
            for t in range(costs.shape[1]):
                now = max(now, free[column])
                free[column] = now + costs[s, t]
                now += 1
                column = (column + 1) % len(free)
    state[0], state[1] = now, column


class Staggered:
    """Consecutive steps go to consecutive columns, one per cycle, each when its column is free.

    Parameters
    ----------
    columns : int
    """

    def __init__(self, columns: int) -> None:
        self._free = np.zeros(columns, np.int64)
        self._state = np.zeros(2, np.int64)

    def feed(self, costs: Array, repeats: int = 1) -> None:
        """Take the steps of some passes; the words of a value count as one column."""
        _stagger(np.ascontiguousarray(costs.max(axis=-1), np.uint16), repeats, self._free, self._state)

    @property
    def cycles(self) -> int:
        """Cycles until the last column has finished."""
        return int(self._free.max())


def waiting(p: GridPlan, registers: int = 0, columns_at_once: int = 1) -> Waiting:
    """Choose how columns wait.

    Parameters
    ----------
    p : GridPlan
    registers : int
        Steps that columns may run ahead.
    columns_at_once : int
        Physical columns that share a cost.
    """
    # A single window has no other columns to wait for: its steps are spread over all of them.
    if p.staggered:
        return Staggered(p.columns)
    if registers:
        return ColumnRegisters(-(-p.physical_columns // columns_at_once), registers)
    return LockStep()
