"""Lanes that each drain a slice of a window's bricks, one activation that is not zero per cycle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.accelerators.engines.bricks import Bricks
from hwmodel.accelerators.engines.grid_plan import GridPlan

Array = npt.NDArray[Any]
AT_ONCE = 1 << 20
"""Bricks gathered at once."""


@dataclass(frozen=True)
class Drained:
    """Cycles and events of draining all windows of a layer once.

    Attributes
    ----------
    cycles : int
        Sum over windows: of the lane that takes longest.
    shared_cycles : int
        The same, if the lanes of a window shared their bricks evenly.
    activations : int
        Activations that are not zero, each counted in every window.
    bricks : int
        Bricks read.
    """

    cycles: int = 0
    shared_cycles: int = 0
    activations: int = 0
    bricks: int = 0

    def __add__(self, other: Drained) -> Drained:
        return Drained(
            self.cycles + other.cycles,
            self.shared_cycles + other.shared_cycles,
            self.activations + other.activations,
            self.bricks + other.bricks,
        )


def drain(p: GridPlan, bricks: Bricks, group: int, lanes: int, *, by_channel: bool) -> Drained:
    """Drain all windows of a group.

    Parameters
    ----------
    p : GridPlan
        Whose `lanes` are the activations of a brick.
    bricks : Bricks
    group : int
    lanes : int
        Lanes that share a window's bricks.
    by_channel : bool
        A lane takes the same channels at every kernel position, instead of every `lanes`-th brick.
    """
    # Activations of each brick that are not 0, (positions, channel blocks).
    held = np.count_nonzero(bricks.values[:, group], axis=-1)
    return sum((_drained(part, lanes, by_channel) for part in _windows(bricks, held)), Drained())


def _windows(bricks: Bricks, held: Array) -> Iterator[Array]:
    """Activations of each brick, (windows, kernel positions, channel blocks), some windows at a time."""
    base = bricks.base.reshape(-1)
    step = max(1, AT_ONCE // (len(bricks.offset) * held.shape[1]))
    for first in range(0, len(base), step):
        yield held[base[first : first + step, None] + bricks.offset]


def _drained(held: Array, lanes: int, by_channel: bool) -> Drained:
    costs = np.maximum(held, 1)  # a brick of zeros is a bubble
    windows, positions, blocks = costs.shape
    # Deal bricks to the lanes: in walk order, or by channel block after summing over kernel positions, so
    # that a lane keeps its channels.
    if by_channel:
        slices, turns = costs.sum(axis=1), -(-blocks // lanes)
    else:
        slices, turns = costs.reshape(windows, -1), -(-positions * blocks // lanes)
    slices = np.pad(slices, ((0, 0), (0, turns * lanes - slices.shape[1])))
    # Cycles of each lane in each window; lanes without a brick in the last turn have none.
    lane_cycles = slices.reshape(windows, turns, lanes).sum(axis=1)
    return Drained(
        cycles=int(lane_cycles.max(axis=1).sum()),
        shared_cycles=int((-(-lane_cycles.sum(axis=1) // lanes)).sum()),
        activations=int(held.sum()),
        bricks=held.size,
    )
