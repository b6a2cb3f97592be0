"""What a trace of requests costs: `simulate_trace`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError, TensorError
from hwmodel.dram.energy import EnergyParts, energy_parts
from hwmodel.dram.parts import DramPart

CHUNK_REQUESTS = 1 << 16
MAX_CLOCK = 1 << 60  # far from overflow
Chunk = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
CheckedChunk = tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.float64]]
Located = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Latencies:
    """Mean, least and greatest of one latency over all requests.

    Parameters
    ----------
    mean_s, min_s, max_s : float
    """

    mean_s: float
    min_s: float
    max_s: float


@dataclass(frozen=True)
class DramResult:
    """What a trace cost.

    Parameters
    ----------
    part : str
        The memory's name.
    requests : int
    bytes : int
        Moved; one burst per request.
    total_clocks : int
        From clock 0 to the last response.
    total_s : float
    latency : Latencies
        From presentation, at the next clock after a request's arrival and its forerunner's acceptance,
        to the end of the response.
    service_latency : Latencies
        From acceptance to the last beat.
    commands : mapping of str to int
        ACT, PRE (of one bank), PREA (of all), REF, RD, WR sent.
    energy : EnergyParts
    latencies_s : array of float64 or None
        `latency` of every request, if asked for.
    """

    part: str
    requests: int
    bytes: int
    total_clocks: int
    total_s: float
    latency: Latencies
    service_latency: Latencies
    commands: Mapping[str, int]
    energy: EnergyParts
    latencies_s: npt.NDArray[np.float64] | None = None

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes over the whole time."""
        return self.bytes / self.total_s if self.total_s else 0.0

    @property
    def energy_j(self) -> float:
        """Energy of the memory."""
        return self.energy.total_j


class _Latency:
    """Running mean, least and greatest of clocks."""

    def __init__(self) -> None:
        self.total = self.count = self.greatest = 0
        self.least = 1 << 62

    def add(self, clocks: npt.NDArray[np.int64]) -> None:
        if len(clocks):
            self.total += int(clocks.sum())
            self.count += len(clocks)
            self.least = min(self.least, int(clocks.min()))
            self.greatest = max(self.greatest, int(clocks.max()))

    def summary(self, clock_s: float) -> Latencies:
        if not self.count:
            return Latencies(0.0, 0.0, 0.0)
        return Latencies(self.total / self.count * clock_s, self.least * clock_s, self.greatest * clock_s)


def simulate_trace(
    part: DramPart,
    addresses: npt.ArrayLike | Iterator[Chunk],
    is_write: npt.ArrayLike | None = None,
    arrival_s: npt.ArrayLike | None = None,
    *,
    keep_latencies: bool = False,
    refresh: bool = True,
) -> DramResult:
    """Send a trace of requests, one burst each, through the controller to the memory.

    Parameters
    ----------
    part : DramPart
    addresses : array_like of int, shape (requests,), or iterator of chunks
        Byte addresses; the burst that holds each is moved. Or an iterator of ``(addresses, is_write,
        arrival_s)``, read one by one; memory use then does not depend on the length of the trace.
    is_write : array_like of bool, optional
        One for all, or one per request. By default all read.
    arrival_s : array_like of float, optional
        Time at which the initiator has each request, never decreasing: one for all, or one per request. By
        default all are at 0, which gives the greatest bandwidth.
    keep_latencies : bool
        Return the latency of every request; memory then grows with the trace.
    refresh : bool
        Whether the memory is refreshed; False shows the cost of refreshing.

    Returns
    -------
    DramResult

    Raises
    ------
    TensorError
        If an address lies outside the memory, or arrivals fall or are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from hwmodel.dram import load_part
    >>> part = load_part("DDR4-2400_x64_brc")
    >>> result = simulate_trace(part, np.arange(1000) * part.burst_bytes)
    >>> result.bytes, result.commands["RD"], result.commands["ACT"]
    (64000, 1000, 8)

    Notes
    -----
    Time is proportional to requests. See `hwmodel.dram.banks` for the controller's rules.
    """
    from hwmodel.dram import banks as engine
    from hwmodel.dram.bank_setup import new_state, rules_of

    rules = rules_of(part, refresh=refresh)
    state = new_state(part, rules)
    # A chunk's requests may finish together with those that waited in the banks' buffers before it.
    room = CHUNK_REQUESTS + part.organisation.banks * rules.bank_buffer
    number, latency, service = (np.empty(room, np.int64) for _ in range(3))
    latencies, services = _Latency(), _Latency()
    kept: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for located, last in _located(part, checked_chunks(part, addresses, is_write, arrival_s)):
        done = engine.advance(rules, state, *located, last, number, latency, service)
        latencies.add(latency[:done])
        services.add(service[:done])
        if keep_latencies:
            kept.append((number[:done].copy(), latency[:done].copy()))
    s = state.scalars
    total_clocks = int(s[engine.LAST_RESPONSE])
    # Banks that are open at the end were active until then, and were never precharged.
    open_banks = int(s[engine.OPEN_BANKS])
    active = int(s[engine.ACTIVE_CLOCKS])
    if open_banks:
        active += total_clocks - int(s[engine.ACTIVE_SINCE])
    acts, pres, prea, refs, reads, writes = (int(v) for v in s[engine.ACTS : engine.WRS + 1])
    every = None
    if keep_latencies:
        every = np.empty(reads + writes)
        for numbers, clocks in kept:
            every[numbers] = clocks * part.clock_period_s
    return DramResult(
        part=part.name,
        requests=reads + writes,
        bytes=(reads + writes) * part.burst_bytes,
        total_clocks=total_clocks,
        total_s=total_clocks * part.clock_period_s,
        latency=latencies.summary(part.clock_period_s),
        service_latency=services.summary(part.clock_period_s),
        commands={
            "ACT": acts,
            "PRE": pres,
            "PREA": prea,
            "REF": refs,
            "RD": reads,
            "WR": writes,
        },
        energy=energy_parts(
            part,
            activates=acts,
            precharges=acts - open_banks,
            reads=reads,
            writes=writes,
            refreshes=refs,
            active_clocks=active,
            total_clocks=total_clocks,
        ),
        latencies_s=every,
    )


def checked_chunks(
    part: DramPart,
    addresses: npt.ArrayLike | Iterator[Chunk],
    is_write: npt.ArrayLike | None,
    arrival_s: npt.ArrayLike | None,
) -> Iterator[CheckedChunk]:
    """Yield a trace in pieces of at most `CHUNK_REQUESTS`, of one type each and free of errors."""
    if not isinstance(addresses, Iterator):
        addresses = iter(
            [(addresses, False if is_write is None else is_write, 0.0 if arrival_s is None else arrival_s)]
        )
    elif is_write is not None or arrival_s is not None:
        raise OptionError("chunks bring is_write and arrival_s along; give them no second time")
    requests, latest_s = 0, 0.0
    for chunk in addresses:
        whole = np.asarray(chunk[0])
        if whole.ndim != 1 or (whole.size and whole.dtype.kind not in "iu"):
            raise TensorError(
                f"addresses must be a row of integers, got {whole.dtype} of shape {whole.shape}"
            )
        try:
            writes = np.broadcast_to(np.asarray(chunk[1], np.bool_), whole.shape)
            arrivals = np.broadcast_to(np.asarray(chunk[2], np.float64), whole.shape)
        except ValueError:
            raise TensorError(
                f"is_write and arrival_s must be one for all or one for each of {len(whole)} addresses,"
                f" got shapes {np.shape(chunk[1])} and {np.shape(chunk[2])}"
            ) from None
        for start in range(0, len(whole), CHUNK_REQUESTS):
            piece = slice(start, start + CHUNK_REQUESTS)
            address, arrival = whole[piece], arrivals[piece]
            # Positions within this piece; errors count requests from the begin of the trace.
            outside = (address < 0) | (address >= part.capacity_bytes)
            if outside.any():
                i = int(outside.argmax())
                raise TensorError(
                    f"request {requests + i}: addresses of {part.name} go from 0 to"
                    f" {part.capacity_bytes - 1}, got {int(address[i])}",
                    index=requests + i,
                    value=int(address[i]),
                )
            rises = (np.diff(arrival, prepend=latest_s) >= 0) & (arrival < MAX_CLOCK * part.clock_period_s)
            if not rises.all():
                i = int(rises.argmin())
                raise TensorError(
                    f"request {requests + i}: arrivals must be finite and rise from 0 on, got {arrival[i]} s",
                    index=requests + i,
                    value=float(arrival[i]),
                )
            yield address.astype(np.int64), np.require(writes[piece], requirements=["C", "W"]), arrival
            requests += len(address)
            latest_s = float(arrival[-1])


def _located(part: DramPart, chunks: Iterator[CheckedChunk]) -> Iterator[tuple[Located, bool]]:
    """Turn addresses into banks and rows, seconds into clocks; an empty chunk is the last."""
    for address, write, arrival in chunks:
        # The tolerance keeps arrivals on a clock edge, such as 200 ns at 1.25 ns, on that edge.
        clock = np.ceil(arrival / part.clock_period_s - 1e-6).astype(np.int64)
        yield (clock, *part.locate(address), write), False
    nothing = np.empty(0, np.int64)
    yield (nothing, nothing, nothing, np.empty(0, np.bool_)), True
