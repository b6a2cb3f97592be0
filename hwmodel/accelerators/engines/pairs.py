"""Cycles of machines that multiply term by term. Importing this module imports Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel
from hwmodel.accelerators.engines.bricks import Bricks
from hwmodel.accelerators.engines.grid_plan import GridPlan


@kernel
def _slowest_pairs(activations, weights, base, offset, columns, costs):
    # Counts of terms throughout. The slowest lane of a step is the largest product of an activation's terms,
    # over the windows of the set, and a weight's, over the filters of the round, lane by lane.
    rounds, positions, depth, lanes = weights.shape
    most = np.empty(depth * lanes, np.uint8)
    for s in range(costs.shape[0]):
        first = s * columns
        last = min(first + columns, len(base))
        for k in range(positions):
            # Most terms of each lane's activation over the windows of the set, at one kernel position.
            most[:] = 0
            for w in range(first, last):
                brick = activations[base[w] + offset[k]]
                for i in range(len(most)):
                    most[i] = max(most[i], brick[i])
            for r in range(rounds):
                for b in range(depth):
                    # `weights` has the maxima over the filters of a round already. 16 bits hold 17 x 17
                    # terms.
                    slowest = np.uint16(1)
                    for i in range(lanes):
                        slowest = max(
                            slowest, np.uint16(most[b * lanes + i]) * np.uint16(weights[r, k, b, i])
                        )
                    costs[s, r, k * depth + b] = slowest


def slowest_pairs(
    activations: npt.NDArray[Any], weights: npt.NDArray[Any], bricks: Bricks, p: GridPlan
) -> npt.NDArray[np.uint16]:
    """Cycles of every step if each lane takes the product of its operands' terms.

    The maximum of such products over windows and filters is the product of the maxima, for
    no count is negative.

    Parameters
    ----------
    activations : array of uint8, shape (positions, channel blocks, lanes)
        Terms of one group's activations.
    weights : array of uint8, shape (rounds, kernel positions, channel blocks, lanes)
        Most terms of any filter of a round.
    bricks : Bricks
    p : GridPlan

    Returns
    -------
    array of uint16, shape (window sets, rounds, steps)
        At least 1.
    """
    sets = p.window_sets // p.passes
    costs = np.empty((p.passes, sets, len(weights), p.steps), np.uint16)
    flat = np.ascontiguousarray(activations).reshape(len(activations), -1)
    for i, base in enumerate(bricks.base):
        _slowest_pairs(flat, np.ascontiguousarray(weights), base, bricks.offset, p.columns, costs[i])
    return costs.reshape(p.window_sets, len(weights), p.steps)
