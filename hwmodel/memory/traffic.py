"""What a machine's buffers and DRAM make of a layer: tiles, traffic, waits, and the energy of moving.

It sees how many bits there are to move, how large the buffers are and how fast the DRAM is; not which machine
they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import ceil, inf

from bitxcore.errors import OptionError
from hwmodel.dram.parts import DramPart
from hwmodel.memory.channels import Channels
from hwmodel.memory.nest import Nest
from hwmodel.memory.overlap import TransferSchedule, timed_tilings
from hwmodel.memory.stored import StoredBits
from hwmodel.memory.tile_search import best_tiling
from hwmodel.memory.tiling import Buffers, Tiling
from hwmodel.memory.widths import OperandWidths
from hwmodel.networks.layers import Layer, MatMul

BURST_BITS = 512
"""What a memory without limits moves at a time, as those of `hwmodel.dram` do."""

WORTH_A_NOTE, LOOKED_INTO = 0.01, 0.05
"""Shares of a layer's cycles: saved by half a buffer, if that is noted, and idle, if it is looked for."""

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

    def move(self, layer: Layer, stored: StoredBits, on_chip_cycles: int = 0) -> LayerTraffic:
        """Find the tiles that move fewest bytes, of these the ones of fewest cycles, and what they move.

        Parameters
        ----------
        layer : Layer
        stored : StoredBits
        on_chip_cycles : int
            Of the machine with a memory without limits: it takes the tiles that make it wait least.

        Raises
        ------
        OptionError
            If a buffer holds not even the smallest tile.
        """
        nest = Nest.of(layer)
        widths = _widths(layer, stored, BURST_BITS if self.dram is None else 8 * self.dram.burst_bytes)
        # What the unpruned machine keeps: weights as they are, which may want other tiles.
        plain = widths if stored.plain_weights is None else replace(widths, weights=stored.plain_weights)
        moved = self._best(nest, widths, on_chip_cycles)
        return LayerTraffic(
            self, moved, nest, on_chip_cycles, None if stored.plain_weights is None else plain
        )

    def _best(self, nest: Nest, widths: OperandWidths, on_chip_cycles: int) -> _Moved:
        """Find the tiles for operands of some widths, and their transfers in time."""
        if self.dram is None:
            return _Moved(best_tiling(nest, widths, self.buffers), widths, None)
        channels = Channels(self.dram, self.channels)
        found = timed_tilings(nest, widths, self.buffers, channels, self.clock_hz)
        tiling, schedule = found.fastest(on_chip_cycles)
        return _Moved(tiling, widths, schedule)


@dataclass(frozen=True)
class _Moved:
    """A way to move a layer; `schedule`: in time, None if the memory has no limits."""

    tiling: Tiling
    widths: OperandWidths
    schedule: TransferSchedule | None

    def waits(self, on_chip_cycles: int) -> Waits:
        """Cycles in which a machine that takes `on_chip_cycles` waits."""
        return (0, 0, 0) if self.schedule is None else self.schedule.waits(on_chip_cycles)


@dataclass(frozen=True)
class LayerTraffic:
    """The memory's part of a layer.

    Parameters
    ----------
    memory : Memory
    moved : _Moved
        As the machine keeps its operands.
    nest : Nest
    on_chip_cycles : int
        Of the machine with a memory without limits.
    plain_widths : OperandWidths or None
        With weights that are not compressed, the unpruned machine's; None if the machine's are not, either.
    """

    memory: Memory
    moved: _Moved
    nest: Nest
    on_chip_cycles: int
    plain_widths: OperandWidths | None

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
        if self.plain_widths is None:
            return None
        plain = self._unpruned(self.on_chip_cycles)
        return ceil(Fraction(plain.tiling.traffic(plain.widths).weights) / 8)

    @property
    def dram_seconds(self) -> float | None:
        """Time in which the DRAM is busy; None if it has no limits."""
        return None if self.moved.schedule is None else self.moved.schedule.seconds

    @property
    def waits(self) -> Waits:
        """Cycles in which the machine waits for the DRAM."""
        return self.moved.waits(self.on_chip_cycles)

    def unpruned_waits(self, on_chip_cycles: int) -> Waits:
        """Cycles in which the unpruned machine waits: it keeps plain weights, and chooses its own tiles."""
        return self._unpruned(on_chip_cycles).waits(on_chip_cycles)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which buffers are slower than half of them would be, by `WORTH_A_NOTE` at least.

        A larger buffer moves fewer bytes, but its tiles may be larger, so that less of their transfers
        overlaps with work.
        """
        busy = self.moved.schedule
        if busy is None:
            return ()
        cycles = busy.cycles(self.on_chip_cycles)
        # Of more bytes the DRAM has no less to do: where it or the machine is at work nearly all the time,
        # nothing is looked for.
        if max(self.on_chip_cycles, busy.seconds * self.memory.clock_hz) > (1 - LOOKED_INTO) * cycles:
            return ()
        return tuple(
            f"half the {buffer.replace('_', ' ')} would save {WORTH_A_NOTE:.0%} or more of the cycles:"
            " more bytes, whose transfers overlap better"
            for buffer in asdict(self.memory.buffers)
            if self._cycles_with_half(buffer) <= (1 - WORTH_A_NOTE) * cycles
        )

    def _cycles_with_half(self, buffer: str) -> float:
        """Cycles with half a buffer; infinite if it holds no tile."""
        half = replace(self.memory.buffers, **{buffer: getattr(self.memory.buffers, buffer) // 2})
        try:
            found = replace(self.memory, buffers=half)._best(
                self.nest, self.moved.widths, self.on_chip_cycles
            )
        except OptionError:
            return inf
        return self.on_chip_cycles + sum(found.waits(self.on_chip_cycles))

    def _unpruned(self, on_chip_cycles: int) -> _Moved:
        return self.memory._best(self.nest, self.plain_widths or self.moved.widths, on_chip_cycles)

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
