"""Euclidean norms of tensors and of what pruning changes, a block at a time in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["euclidean_norm", "relative_error", "relative_norms", "value_blocks"]

_BLOCK_VALUES = 1 << 16


def value_blocks(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    see: Callable[[npt.NDArray[Any], int], npt.NDArray[np.float64]] | None = None,
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield matching pieces of two arrays in float64, which holds every format exactly.

    Where integers stand for weights, `see` gives these, from rows and the number of rows before them.
    """
    step = max(1, _BLOCK_VALUES // max(1, x[0].size))
    with np.errstate(invalid="ignore"):
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            if see is not None:
                yield see(x[part], start), see(y[part], start)
                continue
            yield x[part].astype(np.float64), y[part].astype(np.float64)


def euclidean_norm(x: npt.NDArray[np.float64]) -> tuple[float, int]:
    """Euclidean norm that neither overflows nor underflows on the way.

    Returns
    -------
    (float, int)
        ``m`` and ``e`` of the norm ``m * 2**e``: norms of large float64 are beyond float64.
    """
    flat = x.ravel(order="K")
    # One pass without BLAS, whose threads wait for each other where others are at work, and whose sums depend
    # on their number.
    with np.errstate(over="ignore", under="ignore"):
        square = float(np.einsum("i,i->", flat, flat))
    if 1e-200 < square < 1e200:
        return math.frexp(math.sqrt(square))
    top = float(np.abs(flat).max(initial=0.0))
    if not top:
        return 0.0, 0
    exponent = math.frexp(top)[1]
    scaled = np.ldexp(flat, -exponent)
    return math.sqrt(float(np.einsum("i,i->", scaled, scaled))), exponent


def relative_norms(norms: list[tuple[float, int]], errors: list[tuple[float, int]]) -> tuple[float, float]:
    """Join the norms of parts; return that of the whole, and the errors' over it."""
    top = max((exponent for norm, exponent in norms if norm), default=0)
    norm = math.hypot(*(math.ldexp(m, e - top) for m, e in norms))
    error = math.hypot(*(math.ldexp(m, e - top) for m, e in errors))
    try:
        whole = math.ldexp(norm, top)
    except OverflowError:
        whole = sys.float_info.max
    return whole, error / norm if norm else 0.0


def relative_error(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> float:
    """Return the norm of the difference over that of `before`; NaN and Inf count for nothing.

    Examples
    --------
    >>> relative_error(np.array([3.0, 4.0]), np.array([3.0, 3.0]))
    0.2
    """
    norms, errors = [], []
    for old, new in value_blocks(before, after):
        held = np.isfinite(old)
        norms.append(euclidean_norm(np.where(held, old, 0.0)))
        errors.append(euclidean_norm(np.where(held, old, 0.0) - np.where(held, new, 0.0)))
    return relative_norms(norms, errors)[1]
