"""What a machine's buffers and DRAM make of a layer: tiles, traffic, waits, and the energy of moving.

It sees how many bits there are to move, how large the buffers are and how fast the DRAM is; not which machine
they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from hwmodel.dram.parts import DramPart
from hwmodel.memory.channels import Channels
from hwmodel.memory.nest import Nest
from hwmodel.memory.overlap import TransferSchedule, schedule
from hwmodel.memory.stored import StoredBits
from hwmodel.memory.tile_search import best_tiling
from hwmodel.memory.tiling import Buffers, Tiling
from hwmodel.memory.widths import OperandWidths
from hwmodel.networks.layers import Layer, MatMul

BURST_BITS = 512
"""What a memory without limits moves at a time, as those of `hwmodel.dram` do."""

Waits = tuple[int, int, int]
"""Cycles of waiting for weights, for activations and for outputs."""


@dataclass(frozen=True)
class Memory:
    """Buffers of a machine and the DRAM behind them.

    Parameters
    ----------
    buffers : Buffers
    dram : DramPart or None
        Of each channel; None is a memory without limits.
    channels : int
    clock_hz : float
        Of the machine, in whose cycles waits are counted.
    """

    buffers: Buffers
    dram: DramPart | None
    channels: int
    clock_hz: float

    def move(self, layer: Layer, stored: StoredBits) -> LayerTraffic:
        """Find the tiles that move fewest bytes, and what they move.

        Raises
        ------
        OptionError
            If a buffer holds not even the smallest tile.
        """
        nest = Nest.of(layer)
        widths = _widths(layer, stored, BURST_BITS if self.dram is None else 8 * self.dram.burst_bytes)
        tiling = best_tiling(nest, widths, self.buffers)
        moved = self._moved(tiling, widths)
        if stored.plain_weights is None:
            return LayerTraffic(self, moved, moved, compressed=False)
        # What the unpruned machine keeps: weights as they are, which may want other tiles.
        plain = replace(widths, weights=stored.plain_weights)
        return LayerTraffic(
            self, moved, self._moved(best_tiling(nest, plain, self.buffers), plain), compressed=True
        )

    def _moved(self, tiling: Tiling, widths: OperandWidths) -> _Moved:
        if self.dram is None:
            return _Moved(tiling, widths, None)
        return _Moved(
            tiling, widths, schedule(tiling, widths, Channels(self.dram, self.channels), self.clock_hz)
        )


@dataclass(frozen=True)
class _Moved:
    """A way to move a layer; `schedule`: in time, None if the memory has no limits."""

    tiling: Tiling
    widths: OperandWidths
    schedule: TransferSchedule | None

    def waits(self, on_chip_cycles: int) -> Waits:
        return (0, 0, 0) if self.schedule is None else self.schedule.waits(on_chip_cycles)


@dataclass(frozen=True)
class LayerTraffic:
    """The memory's part of a layer.

    Parameters
    ----------
    memory : Memory
    moved : _Moved
        As the machine keeps its operands.
    plain : _Moved
        With weights that are not compressed: the unpruned machine's.
    compressed : bool
        Whether these two differ.
    """

    memory: Memory
    moved: _Moved
    plain: _Moved
    compressed: bool

    @property
    def tiling(self) -> Tiling:
        """Tiles, and the order of the loops over them."""
        return self.moved.tiling

    @property
    def dram_bytes(self) -> dict[str, int]:
        """Bytes that cross the DRAM's bus, by result column; whole bytes, not whole bursts."""
        traffic = self.tiling.traffic(self.moved.widths)
        return {
            "dram_weight_bytes": ceil(Fraction(traffic.weights) / 8),
            "dram_activation_bytes": ceil(Fraction(traffic.activations) / 8),
            "dram_output_bytes": ceil(Fraction(traffic.outputs) / 8),
            "dram_partial_sum_bytes": ceil(Fraction(traffic.partial_sums) / 8),
        }

    @property
    def plain_weight_bytes(self) -> int | None:
        """Bytes that weights would move if they were not kept compressed; None if they are not."""
        if not self.compressed:
            return None
        return ceil(Fraction(self.plain.tiling.traffic(self.plain.widths).weights) / 8)

    @property
    def dram_seconds(self) -> float | None:
        """Time in which the DRAM is busy; None if it has no limits."""
        return None if self.moved.schedule is None else self.moved.schedule.seconds

    def waits(self, on_chip_cycles: int) -> Waits:
        """Cycles in which a machine that takes `on_chip_cycles` waits for the DRAM."""
        return self.moved.waits(on_chip_cycles)

    def unpruned_waits(self, on_chip_cycles: int) -> Waits:
        """Cycles in which the unpruned machine waits for it, which keeps plain weights."""
        return self.plain.waits(on_chip_cycles)

    @property
    def port_bits(self) -> Mapping[str, tuple[int, int]]:
        """Bits read and written by the outer port of each buffer."""
        traffic = self.tiling.traffic(self.moved.widths)
        held = self.tiling.traffic(replace(self.moved.widths, weights=self.moved.widths.held_weights))
        # Partial sums go out and come back: half of their bits each way.
        spilled = Fraction(traffic.partial_sums) / 2
        return {
            "weight_buffer": (0, ceil(held.weights)),
            "activation_buffer": (0, ceil(traffic.activations)),
            "output_buffer": (ceil(traffic.outputs + spilled), ceil(spilled)),
        }

    def dram_j(self, seconds: float) -> float | None:
        """Energy of the DRAM over a layer of `seconds`; None if it has no limits."""
        if self.moved.schedule is None or self.memory.dram is None:
            return None
        # Joules of the transfers include the standby of the seconds that they take; the rest is idle.
        idle_w = Channels(self.memory.dram, self.memory.channels).idle_power_w
        busy = self.moved.schedule
        return busy.joules + idle_w * max(0.0, seconds - busy.seconds)


def _widths(layer: Layer, stored: StoredBits, burst: int) -> OperandWidths:
    # Bits per value: a fraction, since a machine may store values of several widths, or metadata with them.
    inputs = layer.input_count
    if isinstance(layer, MatMul):
        inputs -= layer.batch * layer.inner * layer.columns
    return OperandWidths(
        weights=stored.weights,
        held_weights=stored.weights if stored.plain_weights is None else stored.plain_weights,
        activation=Fraction(stored.activations, inputs),
        output=Fraction(stored.outputs, layer.output_count),
        burst=burst,
    )
