"""What a user would otherwise pick, each made ready to be called on one float32 array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.measure import on_threads

GROUP, ROWS = 8, 6  # the default, BitX-wild
KEEPBITS = ROWS - 1  # beside the hidden one


class MissingPeerError(Exception):
    """A peer can't be measured here; the message takes the place of its numbers."""


@dataclass(frozen=True)
class Peer:
    """One of the others.

    Attributes
    ----------
    name : str
        As the tables print it.
    make : callable
        Takes a flat float32 array and a number of threads; gives the call to be timed, or raises
        `MissingPeerError`.
    returns_new : bool
        Whether the result is a new array, whose fresh pages cost time; else it goes to an old one.
    """

    name: str
    make: Callable[[np.ndarray, int], Callable[[], Any]]
    returns_new: bool = True


def cpp(x: np.ndarray, threads: int) -> Callable[[], Any]:
    """Prune by the C++ function, masks and exponents as well."""
    from bench.peers.cpp_prune import CppPrune

    prune = CppPrune(GROUP)
    results = prune.empty(x)
    return lambda: prune(x, ROWS, threads, results)


def plain_numpy(x: np.ndarray, threads: int) -> Callable[[], Any]:
    """Prune by NumPy, chunk by chunk, so that what lies between stays in the cache."""
    from bench.peers.numpy_prune import CHUNK, prune

    out = np.empty_like(x)

    def part(start: int, stop: int) -> np.ndarray:
        for first in range(start, stop, CHUNK):
            here = slice(first, min(first + CHUNK, stop))
            out[here] = prune(x[here], ROWS, GROUP).values
        return out[start:stop]

    return lambda: on_threads(part, x.size, threads, unit=GROUP)


def bitround(x: np.ndarray, threads: int) -> Callable[[], Any]:
    """Round to five explicit significand bits by ``numcodecs``."""
    try:
        from numcodecs import BitRound
    except ImportError:
        raise MissingPeerError("no numcodecs") from None
    codec = BitRound(keepbits=KEEPBITS)
    return lambda: on_threads(lambda start, stop: codec.encode(x[start:stop]), x.size, threads)


def cast(name: str) -> Callable[[np.ndarray, int], Callable[[], Any]]:
    """Cast to a dtype of ``ml_dtypes`` and back to float32."""

    def make(x: np.ndarray, threads: int) -> Callable[[], Any]:
        import ml_dtypes

        narrow = np.dtype(getattr(ml_dtypes, name))
        return lambda: on_threads(
            lambda start, stop: x[start:stop].astype(narrow).astype(np.float32), x.size, threads
        )

    return make


PEERS = (
    Peer("C++, `-O3 -march=native -fopenmp`", cpp, returns_new=False),
    Peer("plain NumPy", plain_numpy, returns_new=False),
    Peer(f"`numcodecs` BitRound(keepbits={KEEPBITS})", bitround),
    Peer("`ml_dtypes` cast to bfloat16 and back", cast("bfloat16")),
    Peer("`ml_dtypes` cast to float8_e4m3fn and back", cast("float8_e4m3fn")),
)
