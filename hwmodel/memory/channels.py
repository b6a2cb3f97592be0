"""Seconds and joules of a tile's transfers on all channels of the DRAM."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil

from hwmodel.dram import Stream, StreamModel
from hwmodel.dram.parts import DramPart
from hwmodel.memory.layout import Runs
from hwmodel.memory.tile_boxes import activation_runs, output_runs
from hwmodel.memory.tiling import Tiling
from hwmodel.memory.transfers import Moved
from hwmodel.memory.widths import OperandWidths

Reach = tuple[int, int]


@dataclass(frozen=True)
class Channels:
    """Memories side by side, their bursts interleaved.

    Parameters
    ----------
    part : DramPart
        Of one channel.
    count : int
    """

    part: DramPart
    count: int

    @cached_property
    def _model(self) -> StreamModel:
        return _model(self.part)

    @property
    def idle_power_w(self) -> float:
        """Watts of all channels while they are only refreshed."""
        return self.count * self._model.idle_power_w

    def cost(self, found: Runs, width: Fraction | int, write: bool, *, first: bool = False) -> TransferCost:
        """Cost of moving runs of values of `width` bits; each begins on a burst.

        Parameters
        ----------
        found : Runs
        width : Fraction or int
        write : bool
        first : bool
            Whether the memory was idle before; else requests queue behind those of other tiles.
        """
        burst = self.part.burst_bytes
        runs, run = int(found.count), ceil(int(found.values) * width / 8 / burst)
        if not runs or not run:
            return TransferCost()
        # Bursts, of all runs and of one, on the channel that has most of them.
        here, run_here = (ceil(n / self.count) for n in (runs * run, run))
        # As dense on one channel as on all: of a run shorter than the channels, some have no burst.
        stride_here = int(int(found.stride) * width * run_here / (8 * run))
        if runs == 1 or stride_here <= run_here * burst:
            stream = Stream(here * burst, write)
        else:
            stream = Stream(here * burst, write, run_here * burst, stride_here)
        moved = self._model.cost(stream, queued=not first)
        return TransferCost(moved.seconds, self.count * moved.joules)


@dataclass(frozen=True)
class TransferCost:
    """Time of the channels, which are busy together, and energy of all of them."""

    seconds: float = 0.0
    joules: float = 0.0

    def __add__(self, other: TransferCost) -> TransferCost:
        return TransferCost(self.seconds + other.seconds, self.joules + other.joules)


@dataclass(frozen=True)
class TileCosts:
    """What each part of a tile's transfers costs.

    The engine that moves tiles knows the loops and asks ahead: only the layer's first load finds an idle
    memory. All others queue, and cost what the memory moves in a row.

    Parameters
    ----------
    channels : Channels
    tiling : Tiling
    widths : OperandWidths
    """

    channels: Channels
    tiling: Tiling
    widths: OperandWidths

    def of(self, moved: Moved, *, first: bool = False) -> tuple[TransferCost, TransferCost, TransferCost]:
        """Cost of weights, of activations, and of outputs and partial sums; `first`: of the first tile."""
        weights = outputs = TransferCost()
        if moved.weights:
            weights = self.weights(first=True) if first else self._weights
        if moved.outputs:
            outputs += self._outputs
        if moved.spilled:
            outputs += self._spilled
        if moved.resumed:
            outputs += self._resumed
        return weights, self.activations(moved.planes, moved.rows, moved.columns), outputs

    # All tiles have equally many weights, outputs and partial sums.
    @cached_property
    def _weights(self) -> TransferCost:
        return self.weights()

    @cached_property
    def _outputs(self) -> TransferCost:
        return self.outputs()

    @cached_property
    def _spilled(self) -> TransferCost:
        return self.partial_sums(write=True)

    @cached_property
    def _resumed(self) -> TransferCost:
        return self.partial_sums(write=False)

    def weights(self, *, first: bool = False) -> TransferCost:
        """Cost of loading a tile of weights; the first one begins the layer."""
        t = self.tiling
        tiles = t.trips["groups"] * t.trips["filters"] * t.trips["channels"]
        return self._contiguous(-(-self.widths.weights // tiles), write=False, first=first)

    def activations(self, planes: Reach, rows: Reach, columns: Reach) -> TransferCost:
        """Cost of loading a tile of activations; inputs read, and from the first to the last of them."""
        t = self.tiling
        found = _loaded(t.nest, t.batch, t.groups, t.channels, planes, rows, columns)
        return self.channels.cost(found, self.widths.activation, write=False)

    def outputs(self) -> TransferCost:
        """Cost of storing a tile of outputs."""
        t = self.tiling
        found = _stored(t.nest, t.batch, t.groups, t.filters, t.rows, t.columns)
        return self.channels.cost(found, self.widths.output, write=True)

    def partial_sums(self, *, write: bool) -> TransferCost:
        """Cost of storing or loading a tile of partial sums."""
        t = self.tiling
        results = t.batch * t.groups * t.filters * t.rows * t.columns
        return self._contiguous(results * self.widths.partial_sum, write)

    def _contiguous(self, bits: int, write: bool, first: bool = False) -> TransferCost:
        return self.channels.cost(Runs(1, bits, bits), 1, write, first=first)


# Runs are the same at all widths of values: of most machines.
_loaded = lru_cache(maxsize=1 << 14)(activation_runs)
_stored = lru_cache(maxsize=1 << 14)(output_runs)


@lru_cache(maxsize=64)
def _model(part: DramPart) -> StreamModel:
    return StreamModel(part)
