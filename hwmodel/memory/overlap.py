"""Cycles in which a machine waits for the DRAM, and what that costs.

Every tile takes the same share of the layer's on-chip cycles, since all of them have as many products. Shares
are exact fractions, and only the layer's sums are rounded up to whole cycles: so no wait depends on how
remainders fall on tiles, and a machine that computes faster never waits into a longer layer. The transfers
of a slot end in whole cycles. What a slot takes longer than its tile is charged to weights, as long as they
come, then to activations, then to outputs and partial sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, fsum

from hwmodel.memory.channels import Channels, TileCosts
from hwmodel.memory.nest import Nest
from hwmodel.memory.tile_search import equal_tilings
from hwmodel.memory.tiling import Buffers, Tiling
from hwmodel.memory.transfers import Moved, transfers
from hwmodel.memory.widths import OperandWidths


@dataclass(frozen=True)
class TransferSchedule:
    """The slots of a layer on a memory, by kinds.

    Parameters
    ----------
    tiles : int
    working, exposed : tuple of (int, tuple of int)
        Slots with a tile at work, and those before the first and after the last: how many there are,
        and the cycles at which the DRAM is done with weights, activations, outputs.
    seconds, joules : float
        In which the DRAM is busy, and what it takes for that.
    """

    tiles: int
    working: tuple[tuple[int, tuple[int, int, int]], ...]
    exposed: tuple[tuple[int, tuple[int, int, int]], ...]
    seconds: float
    joules: float

    def waits(self, on_chip_cycles: int) -> tuple[int, int, int]:
        """Cycles of waiting for weights, activations and outputs.

        Parameters
        ----------
        on_chip_cycles : int
            Of the layer, with a memory without limits.
        """
        weights, activations, outputs = self._ends(on_chip_cycles)
        return weights - on_chip_cycles, activations - weights, outputs - activations

    def cycles(self, on_chip_cycles: int) -> int:
        """All cycles of a layer that takes `on_chip_cycles` with a memory without limits."""
        return self._ends(on_chip_cycles)[2]

    def _ends(self, on_chip_cycles: int) -> tuple[int, int, int]:
        """Cycles of the layer that waits for weights, for these and activations, and for all."""
        # In ticks of 1/tiles cycle a tile computes for `on_chip_cycles`, and a transfer of n cycles takes
        # tiles * n. Rung by rung (weights, then activations, then outputs) a slot ends with the later of the
        # two.
        ends = [0, 0, 0]
        for n, done in self.working:
            for rung, cycles in enumerate(done):
                ends[rung] += n * max(on_chip_cycles, self.tiles * cycles)
        for n, done in self.exposed:
            for rung, cycles in enumerate(done):
                ends[rung] += n * self.tiles * cycles
        weights, activations, outputs = (-(-end // self.tiles) for end in ends)
        return weights, activations, outputs


@dataclass(frozen=True)
class TimedTilings:
    """All tilings of a layer that move fewest bytes, and their transfers in time.

    Parameters
    ----------
    tilings : tuple of Tiling
        As `hwmodel.memory.tile_search.equal_tilings` ranks them.
    schedules : tuple of TransferSchedule
    """

    tilings: tuple[Tiling, ...]
    schedules: tuple[TransferSchedule, ...]

    def fastest(self, on_chip_cycles: int) -> tuple[Tiling, TransferSchedule]:
        """Choose the tiling of fewest cycles for so many on the chip; of equals the first."""
        cycles = [found.cycles(on_chip_cycles) for found in self.schedules]
        best = cycles.index(min(cycles))
        return self.tilings[best], self.schedules[best]


@lru_cache(maxsize=1 << 12)
def timed_tilings(
    nest: Nest, widths: OperandWidths, buffers: Buffers, channels: Channels, clock_hz: float
) -> TimedTilings:
    """Time all tilings that move fewest bytes."""
    tilings = equal_tilings(nest, widths, buffers)
    return TimedTilings(tilings, tuple(schedule(tiling, widths, channels, clock_hz) for tiling in tilings))


def schedule(tiling: Tiling, widths: OperandWidths, channels: Channels, clock_hz: float) -> TransferSchedule:
    """Time the transfers of a tiling."""
    costs = TileCosts(channels, tiling, widths)
    slots = transfers(tiling)
    seconds, joules = [], []

    def done(n: int, moved: Moved, *, first: bool = False) -> tuple[int, tuple[int, int, int]]:
        # One DRAM moves the three one after another: cycles from the begin of the slot, each rounded up.
        ends, elapsed = [], 0.0
        for cost in costs.of(moved, first=first):
            elapsed += cost.seconds
            joules.append(n * cost.joules)
            ends.append(ceil(elapsed * clock_hz))
        seconds.append(n * elapsed)
        return n, (ends[0], ends[1], ends[2])

    working = tuple(done(n, moved) for n, moved in slots.kinds)
    exposed = (done(1, slots.first, first=True), done(1, slots.last))
    return TransferSchedule(tiling.tiles, working, exposed, fsum(seconds), fsum(joules))
