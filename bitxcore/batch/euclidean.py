"""Euclidean norms of tensors and of what pruning changes, a block at a time in float64.

The blocks of a tensor depend on its shape alone, not on the pieces in which it is read nor on threads: sums
of floats depend on their order.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.jit import parallel, share

__all__ = ["ErrorSums", "euclidean_norm", "relative_error", "relative_norms", "weight_blocks"]

_BLOCK_VALUES = 1 << 16

Array = npt.NDArray[Any]


def block_values(shape: tuple[int, ...]) -> int:
    """Values of a block of a tensor: whole rows of axis 0, or a part of one that is longer than a block.

    Examples
    --------
    >>> block_values((100, 3, 7, 7)), block_values((10, 100_000))
    (14700, 65536)
    """
    row = prod(shape[1:])
    if row > _BLOCK_VALUES:
        return _BLOCK_VALUES
    return max(1, row) * min(max(1, shape[0]) if shape else 1, _BLOCK_VALUES // max(1, row))


def weight_blocks(
    x: Array, y: Array, see: Callable[[Array, int], npt.NDArray[np.float64]]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield matching weights that two arrays of integers represent.

    `see` gives them, from rows and the number of rows before these.
    """
    step = max(1, _BLOCK_VALUES // max(1, x[0].size))
    for start in range(0, x.shape[0], step):
        part = slice(start, start + step)
        yield see(x[part], start), see(y[part], start)


class ErrorBlock(NamedTuple):
    """What a block adds to the comparison of a tensor before and after it was pruned."""

    norm: tuple[float, int]
    error: tuple[float, int]
    changed: int
    zeros_before: int
    zeros_after: int


class ErrorSums:
    """A tensor before and after it was pruned, compared as its pieces come.

    Parameters
    ----------
    shape : tuple of int
        Of the whole tensor.

    Attributes
    ----------
    changed, zeros_before, zeros_after : int
        Values.

    Examples
    --------
    >>> compared = ErrorSums((4,))
    >>> compared.add(np.array([3.0]), np.array([3.0]))
    >>> compared.add(np.array([4.0, 0.0, 0.0]), np.array([3.0, 0.0, 0.0]))
    >>> compared.norms(), compared.changed
    ((5.0, 0.2), 1)
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._step = block_values(shape)
        self._left = prod(shape)
        # A block that is not whole yet, and whether all of it is finite.
        self._before: list[Array] = []
        self._after: list[Array] = []
        self._finite = True
        self._norms: list[tuple[float, int]] = []
        self._errors: list[tuple[float, int]] = []
        self.changed = self.zeros_before = self.zeros_after = 0

    def add(self, before: Array, after: Array, finite: bool = False) -> None:
        """Compare the values that come next, in C order.

        Parameters
        ----------
        before, after : ndarray
            Flat.
        finite : bool
            Whether none is a NaN or Inf, so that no block needs a look for them.
        """
        step, self._left = self._step, self._left - before.size
        start = 0
        if self._before:
            start = min(before.size, step - sum(part.size for part in self._before))
            self._wait(before[:start], after[:start], finite)
            if sum(part.size for part in self._before) == step or not self._left:
                self._close()
        whole = (before.size - start) // step

        def task(first: int, last: int) -> list[ErrorBlock]:
            return [
                compared_block(before[at : at + step], after[at : at + step], finite)
                for at in range(start + first * step, start + last * step, step)
            ]

        for blocks in parallel(task, whole, share(whole, max(1, (1 << 20) // step))):
            self._take(blocks)
        start += whole * step
        if start < before.size:
            self._wait(before[start:], after[start:], finite)
            if not self._left:
                self._close()

    def add_blocks(self, blocks: Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> None:
        """Compare blocks as `weight_blocks` gives them, of the whole tensor."""
        self._take([compared_block(before, after, False) for before, after in blocks])

    def norms(self) -> tuple[float, float]:
        """Return the norm before, and that of the difference over it; NaN and Inf count for nothing."""
        return relative_norms(self._norms, self._errors)

    def _wait(self, before: Array, after: Array, finite: bool) -> None:
        self._before.append(before.copy())
        self._after.append(after.copy())
        self._finite &= finite

    def _close(self) -> None:
        before, after = np.concatenate(self._before), np.concatenate(self._after)
        self._take([compared_block(before, after, self._finite)])
        self._before, self._after, self._finite = [], [], True

    def _take(self, blocks: list[ErrorBlock]) -> None:
        self._norms += [block.norm for block in blocks]
        self._errors += [block.error for block in blocks]
        self.changed += sum(block.changed for block in blocks)
        self.zeros_before += sum(block.zeros_before for block in blocks)
        self.zeros_after += sum(block.zeros_after for block in blocks)


@np.errstate(invalid="ignore", over="ignore")  # signalling NaNs, differences beyond float64
def compared_block(before: Array, after: Array, finite: bool) -> ErrorBlock:
    """Compare values in float64, which holds every format exactly."""
    old, new = before.astype(np.float64), after.astype(np.float64)
    # Truth values are counted several times as fast as floats.
    zeros = int(np.count_nonzero(old == 0)), int(np.count_nonzero(new == 0))
    if finite:
        changed = int(np.count_nonzero(old != new))
        return ErrorBlock(euclidean_norm(old), euclidean_norm(old - new), changed, *zeros)
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    changed = same.size - int(np.count_nonzero(same))
    held = np.isfinite(old)
    error = np.where(same, 0.0, old - np.where(same, 0.0, new))[held]
    return ErrorBlock(euclidean_norm(old[held]), euclidean_norm(error), changed, *zeros)


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
    compared = ErrorSums(before.shape)
    compared.add(before.reshape(-1), after.reshape(-1))
    return compared.norms()[1]
