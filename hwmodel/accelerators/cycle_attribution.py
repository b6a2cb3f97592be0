"""Where the cycles of tile passes go.

A pass is one filter tile at one position tile. It lasts until its pipeline has filled, its units have
finished and each buffer port has moved the pass's bytes. Its cycles are shared out by a ladder of
machines, each held up by one thing more than the one before: a cycle belongs to the first rung
that is still busy in it. Every cycle so has exactly one cause, and a cause's cycles are what lifting
it, and all causes after it, would save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CAUSES: dict[str, str] = {
    "fill_cycles": "the pipeline fills",
    "compute_cycles": "the units' work, if all of them shared it evenly",
    "lane_wait_cycles": "lanes of a unit wait for the one whose weight has most ones",
    "imbalance_cycles": "the unit with most work is still busy, others have less, or no filter",
    "fifo_full_cycles": "a unit waits because the FIFO is full until a slower one is done",
    "weight_wait_cycles": "DRAM, or a limited port of the weight buffer, still brings weights",
    "activation_wait_cycles": "DRAM, or a limited port of the activation buffer, still brings activations",
    "output_wait_cycles": "DRAM, or a limited port of the output buffer, still takes outputs",
}
"""What a cycle is put down to, in the order in which causes are charged."""


@dataclass(frozen=True)
class Passes:
    """All passes of a layer but for the units' work.

    Parameters
    ----------
    fill_cycles : array of int64, shape (filter tiles, kinds)
        Of each pass.
    repeats : sequence of int, length kinds
        How often each kind of pass (the first of a filter tile; at other whole position tiles, and at those
        that are cut short) occurs for every filter tile.
    port_cycles : array of int64, shape (filter tiles, kinds, 3)
        Cycles in which the weight, activation and output ports move a pass's bytes; 0 without limit.
    """

    fill_cycles: npt.NDArray[np.int64]
    repeats: Sequence[int]
    port_cycles: npt.NDArray[np.int64]

    def causes(self, ladder: npt.NDArray[np.int64]) -> dict[str, int]:
        """Cycles of the layer by cause.

        Parameters
        ----------
        ladder : array of int64, shape (filter tiles, 4)
            Cycles of the units alone: what `compute_cycles`, `lane_wait_cycles`, `imbalance_cycles` and
            `fifo_full_cycles` make of them, one after the other.

        Returns
        -------
        dict of str to int
            An entry for each of `CAUSES`; they sum to the layer's cycles.
        """
        tiles, kinds, _ = self.port_cycles.shape
        rungs = np.zeros((tiles, kinds, len(CAUSES)), np.int64)
        rungs[:, :, 0] = self.fill_cycles
        rungs[:, :, 1:5] = self.fill_cycles[:, :, None] + ladder[:, None, :]
        rungs[:, :, 5:] = self.port_cycles
        ends = np.maximum.accumulate(rungs, axis=2)
        spent = np.diff(ends, axis=2, prepend=0).sum(axis=0)
        total = np.asarray(self.repeats, np.int64) @ spent
        return dict(zip(CAUSES, total.tolist(), strict=True))

    def cycles(self, ladder: npt.NDArray[np.int64]) -> int:
        """All cycles of the layer."""
        return sum(self.causes(ladder).values())


def port_cycles(
    transferred_bytes: npt.NDArray[np.int64], bytes_per_cycle: int | None
) -> npt.NDArray[np.int64]:
    """Cycles of a port for each pass: ``ceil(bytes / width)``, 0 if its width is None."""
    if bytes_per_cycle is None:
        return np.zeros_like(transferred_bytes)
    return -(-transferred_bytes // bytes_per_cycle)
