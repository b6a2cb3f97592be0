"""What groups cost lanes that are serial over the ones of their own weights. Importing this imports Numba."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel, parallel, share

_CHUNK = 1 << 20
"""Ones that one call of a kernel looks at."""

MOST_ONES = 64


@kernel
def _count(ones, first, last, sums, histogram):
    for f in range(first, last):
        total = 0
        for g in range(ones.shape[1]):
            for j in range(ones.shape[2]):
                n = ones[f, g, j]
                total += n
                histogram[n] += 1
        sums[f] = total


@kernel
def _slowest_lanes(ones, first, last, together, empty, costs):
    for f in range(first, last):
        for s in range(costs.shape[1]):
            most = np.uint8(0)
            for g in range(s * together, min((s + 1) * together, ones.shape[1])):
                for j in range(ones.shape[2]):
                    most = max(most, ones[f, g, j])
            costs[f, s, 0] = most if most > 0 else empty


@kernel
def _all_lanes(ones, first, last, together, empty, costs):
    lanes = ones.shape[2]
    for f in range(first, last):
        for s in range(costs.shape[1]):
            most = np.uint8(0)
            costs[f, s] = 0
            for g in range(s * together, min((s + 1) * together, ones.shape[1])):
                for j in range(lanes):
                    n = ones[f, g, j]
                    costs[f, s, (g - s * together) * lanes + j] = n
                    most = max(most, n)
            if most == 0:
                costs[f, s] = empty


Ones = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Steps:
    """How a unit takes in groups.

    Parameters
    ----------
    together : int
        Groups of a step, which its lanes share out; the last step of a vector has what is left.
    queues : bool
        Whether lanes run ahead of each other, so that the cycles of each are wanted.
    empty : int
        Cycles of a step without ones.
    """

    together: int
    queues: bool
    empty: int

    def shape(self, groups: int, lanes: int) -> tuple[int, int]:
        """Return the steps of a vector, and the lanes whose cycles are told apart."""
        return -(-groups // self.together), self.together * lanes if self.queues else 1

    def costs(self, ones: Ones, out: Ones) -> None:
        """Write the cycles of each step.

        Parameters
        ----------
        ones : array of uint8, shape (vectors, groups, lanes)
            Of each weight.
        out : array of uint8, shape (vectors, *self.shape(groups, lanes))
            Cycles of each lane; those of the slowest, if there are no queues.
        """
        run = _all_lanes if self.queues else _slowest_lanes
        empty = np.uint8(self.empty)
        _over_vectors(lambda first, last: run(ones, first, last, self.together, empty, out), ones)


def count_ones(ones: Ones) -> tuple[Counts, Counts]:
    """Add up the ones of each vector, and count its weights by their ones.

    Parameters
    ----------
    ones : array of uint8, shape (vectors, groups, lanes)

    Returns
    -------
    sums : array of int64, shape (vectors,)
    histogram : array of int64, shape (65,)
        Entry k: lanes with k ones, lanes without a weight included.
    """
    sums = np.zeros(len(ones), np.int64)

    def task(first: int, last: int) -> Counts:
        histogram = np.zeros(MOST_ONES + 1, np.int64)
        _count(ones, first, last, sums, histogram)
        return histogram

    histogram: Counts = np.sum(_over_vectors(task, ones), axis=0, dtype=np.int64)
    return sums, histogram


def _over_vectors(task: Any, ones: Ones) -> list[Any]:
    """Call ``task(first, last)`` over all vectors, on all threads."""
    vectors = max(1, _CHUNK // max(1, ones[0].size))
    return parallel(task, len(ones), share(len(ones), vectors))
