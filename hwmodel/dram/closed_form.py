"""Seconds and joules of whole streams at once, for networks whose traces would be too long to follow.

A layer moves few kinds of streams: contiguous, strided in runs, or runs at random places. Of each, the
bank-state model moves a short and a long piece; a straight line through the two, less the refreshes they
met, gives what it costs to start and what every further burst costs. A stream no longer than the short piece
is moved as it is. Refresh is added as the share of time that it takes::

    busy    = start + bursts × slope
    seconds = busy × REFI / (REFI − RP − RFC − RCD)

since in each REFI all banks are closed, refreshed, and one row at least is opened again. A stream whose
requests queue behind those of another doesn't start: its first rows open while the other's bursts pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from hwmodel.dram.energy import idle_power_w
from hwmodel.dram.parts import DramPart

SHORT_BURSTS, LONG_BURSTS = 128, 8192
SEED = 7


@dataclass(frozen=True)
class Stream:
    """Bytes that are moved together, in one direction.

    Parameters
    ----------
    bytes : int
        All that is used; whole bursts are moved.
    write : bool
    run_bytes : int, optional
        Contiguous bytes, moved as whole bursts from the one in which they begin; by default all.
    stride_bytes : int, optional
        From the start of one run to the next; None puts runs at random places.

    Raises
    ------
    OptionError
        If a size is not positive, or runs overlap.

    Examples
    --------
    >>> Stream(1 << 20, write=True)
    Stream(bytes=1048576, write=True, run_bytes=None, stride_bytes=None)
    >>> rows_of_a_matrix = Stream(1 << 16, run_bytes=256, stride_bytes=4096)
    """

    bytes: int
    write: bool = False
    run_bytes: int | None = None
    stride_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.bytes < 0 or (self.run_bytes is not None and self.run_bytes < 1):
            raise OptionError(
                f"a stream has bytes >= 0 in runs of at least 1, got {self.bytes}, {self.run_bytes}",
                value=(self.bytes, self.run_bytes),
            )
        if self.stride_bytes is not None and self.stride_bytes < (self.run_bytes or 1):
            raise OptionError(
                f"stride_bytes must be at least run_bytes {self.run_bytes}, got {self.stride_bytes}",
                value=self.stride_bytes,
            )


@dataclass(frozen=True)
class StreamCost:
    """Time and energy of the memory while it moves streams; adds up.

    Parameters
    ----------
    seconds, joules : float
    bytes : int
        Moved, in whole bursts.
    """

    seconds: float
    joules: float
    bytes: int

    def __add__(self, other: StreamCost) -> StreamCost:
        return StreamCost(self.seconds + other.seconds, self.joules + other.joules, self.bytes + other.bytes)


@dataclass(frozen=True)
class _Line:
    """Seconds and joules of a start and of a burst, without refresh."""

    start_s: float
    burst_s: float
    start_j: float
    burst_j: float


class StreamModel:
    """The closed form of one memory.

    Parameters
    ----------
    part : DramPart

    Notes
    -----
    The first stream of a kind takes two runs of the bank-state model, some milliseconds. Each further one,
    of any length, takes a few operations.

    Examples
    --------
    >>> from hwmodel.dram import load_part
    >>> model = StreamModel(load_part("DDR4-2400_x64_brc"))
    >>> cost = model.cost(Stream(1 << 20))
    >>> f"{cost.bytes / cost.seconds / 1e9:.1f} GB/s"
    '11.8 GB/s'
    """

    def __init__(self, part: DramPart) -> None:
        self.part = part
        self._interval_s = part.timing_clocks.REFI * part.clock_period_s

    def cost(self, streams: Stream | Iterable[Stream], *, queued: bool = False) -> StreamCost:
        """Cost of streams one after another.

        Parameters
        ----------
        streams : Stream or iterable of Stream
        queued : bool
            Whether their requests wait behind others'; else each finds the memory idle.

        Returns
        -------
        StreamCost
            While streams move. What a memory needs that waits meanwhile is `idle_power_w`.
        """
        if isinstance(streams, Stream):
            return self._cost(streams, queued)
        return sum((self._cost(stream, queued) for stream in streams), StreamCost(0.0, 0.0, 0))

    @property
    def idle_power_w(self) -> float:
        """Watts of the memory while it is only refreshed."""
        return idle_power_w(self.part)

    def _cost(self, stream: Stream, queued: bool) -> StreamCost:
        if stream.bytes == 0:
            return StreamCost(0.0, 0.0, 0)
        burst = self.part.burst_bytes
        # Whole bursts: every run begins on one, the rest of the stream is a last, shorter run.
        run = min(stream.run_bytes or stream.bytes, stream.bytes)
        runs, rest = divmod(stream.bytes, run)
        bursts = runs * -(-run // burst) + -(-rest // burst)
        # Runs without gaps between them are one run. `shape`: bursts of a run, bytes from run to run.
        joined = stream.stride_bytes == run and run % burst == 0
        shape: tuple[int | None, int | None] = (None, None)
        if not (joined or run == stream.bytes):
            shape = -(-run // burst), stream.stride_bytes
        # Seconds and joules without refresh; requests that queue find the rows opened meanwhile.
        if bursts <= SHORT_BURSTS and not queued:
            busy_s, busy_j = _busy(self.part, stream.write, bursts, *shape)
        else:
            line = _fit(self.part, stream.write, *shape)
            busy_s, busy_j = bursts * line.burst_s, bursts * line.burst_j
            if not queued:
                busy_s, busy_j = busy_s + line.start_s, busy_j + line.start_j
        # Refreshes come by the clock, so they delay each other too: of REFI clocks, the rest is for the
        # stream.
        refresh_s, refresh_j = _refresh(self.part)
        refreshes = busy_s / (self._interval_s - refresh_s)
        return StreamCost(busy_s + refreshes * refresh_s, busy_j + refreshes * refresh_j, bursts * burst)


def stream_addresses(
    part: DramPart, bursts: int, run_bursts: int | None, stride_bytes: int | None, *, seed: int = SEED
) -> npt.NDArray[np.int64]:
    """Make the addresses of a stream; it begins again at 0 where the memory ends.

    Parameters
    ----------
    part : DramPart
    bursts : int
    run_bursts, stride_bytes : int or None
        Bursts of a run, None for one run; bytes from run to run, which begin in the burst that they fall
        into, or None for random places.
    seed : int
        Of the random places.
    """
    # Places count bursts from the begin of the memory.
    index = np.arange(bursts, dtype=np.int64)
    if run_bursts is None:
        place = index
    else:
        run, within = np.divmod(index, run_bursts)
        places = part.capacity_bytes // part.burst_bytes
        if stride_bytes is None:
            starts = np.random.default_rng(seed).integers(0, max(1, places - run_bursts), run[-1] + 1)
            place = starts[run] + within
        else:
            place = run * stride_bytes // part.burst_bytes + within
    return place * part.burst_bytes % part.capacity_bytes


@lru_cache(maxsize=4096)
def _fit(part: DramPart, write: bool, run_bursts: int | None, stride_bytes: int | None) -> _Line:
    short_s, short_j = _busy(part, write, SHORT_BURSTS, run_bursts, stride_bytes)
    long_s, long_j = _busy(part, write, LONG_BURSTS, run_bursts, stride_bytes)
    # Slope between a piece long enough to fill every queue and one that the start still shows in.
    burst_s = (long_s - short_s) / (LONG_BURSTS - SHORT_BURSTS)
    burst_j = (long_j - short_j) / (LONG_BURSTS - SHORT_BURSTS)
    # A start too short to see against the pieces must not turn negative.
    return _Line(
        start_s=max(0.0, short_s - SHORT_BURSTS * burst_s),
        burst_s=burst_s,
        start_j=max(0.0, short_j - SHORT_BURSTS * burst_j),
        burst_j=burst_j,
    )


@lru_cache(maxsize=1 << 14)
def _busy(
    part: DramPart, write: bool, bursts: int, run_bursts: int | None, stride_bytes: int | None
) -> tuple[float, float]:
    """Seconds and joules of a stream in the bank-state model, less the refreshes it met."""
    from hwmodel.dram.controller import simulate_trace

    result = simulate_trace(part, stream_addresses(part, bursts, run_bursts, stride_bytes), write)
    refresh_s, refresh_j = _refresh(part)
    met = result.commands["REF"]
    return result.total_s - met * refresh_s, result.energy_j - met * refresh_j


def _refresh(part: DramPart) -> tuple[float, float]:
    """Seconds and joules of one refresh, with closing all banks before and opening one after it."""
    timing, current = part.timing_clocks, part.currents_a
    # RFC at the refresh current and RP, RCD at standby; then what one activate and its precharge add to
    # standby, as in `hwmodel.dram.energy`. Ampere times clocks, times volt and seconds per clock, for all
    # devices.
    ampere_clocks = (
        timing.RFC * current.IDD5B
        + timing.RP * current.IDD2N
        + timing.RCD * current.IDD3N
        + timing.RAS * (current.IDD0 - current.IDD3N)
        + (timing.RC - timing.RAS) * (current.IDD0 - current.IDD2N)
    )
    volt_s = part.voltages_v.VDD * part.clock_period_s * part.organisation.devices
    return (timing.RP + timing.RFC + timing.RCD) * part.clock_period_s, ampere_clocks * volt_s
