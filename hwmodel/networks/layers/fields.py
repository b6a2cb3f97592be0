"""Fields of layers: what may be given for them, and what they are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, TypeGuard

import numpy as np

from bitxcore.checks import shown
from bitxcore.errors import TensorError

SpatialSizes = int | Sequence[int]
"""One size for all spatial dimensions, or one per dimension."""

Padding = int | Sequence[int] | Sequence[tuple[int, int]]
"""The same on all sides; the same on both sides of each dimension; or (before, after) per dimension."""

MOST_OF_A_SIZE = (1 << 40) - 1
"""Largest size; what sizes together come to has bounds of its own."""


def whole_number(layer: str, field: str, value: object, minimum: int) -> int:
    """Return `value`, anything that NumPy takes as an index, as an int of at least `minimum`.

    Raises
    ------
    TensorError
        Naming the layer, the field and the value.
    """
    try:
        if isinstance(value, bool) or np.ndim(value) > 0:  # type: ignore[arg-type]  # whatever is given
            raise TypeError
        number = index(value)  # type: ignore[arg-type]
    except Exception:  # of whatever is given
        raise TensorError(
            f"{field} must be an integer, got {shown(value)}", layer=layer, value=value
        ) from None
    if number < minimum:
        raise TensorError(
            f"{field} must be at least {minimum}, got {shown(number)}", layer=layer, value=number
        )
    if number > MOST_OF_A_SIZE:
        raise TensorError(
            f"{field} must be at most {MOST_OF_A_SIZE}, got {shown(number)}", layer=layer, value=number
        )
    return number


def is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether `value` has entries: a text has none, an array has."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def sizes_of(layer: str, field: str, value: SpatialSizes, ndim: int, minimum: int) -> tuple[int, ...]:
    """Return one size per dimension, each at least `minimum`.

    Raises
    ------
    TensorError
        If there are not `ndim` of them, or one is too small.
    """
    values = tuple(value) if is_sequence(value) else (value,) * ndim
    if len(values) != ndim:
        raise TensorError(
            f"{field} must have {ndim} entries as in_size has, got {shown(value)}", layer=layer, value=value
        )
    return tuple(whole_number(layer, field, v, minimum) for v in values)


def padding_pairs(layer: str, value: Padding, ndim: int) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after each dimension.

    Raises
    ------
    TensorError
        If there are not `ndim` entries, or one is neither a size nor a pair of sizes.
    """
    values = tuple(value) if is_sequence(value) else (value,) * ndim
    if len(values) != ndim:
        raise TensorError(
            f"padding must have {ndim} entries as in_size has, got {shown(value)}", layer=layer, value=value
        )
    pairs = []
    for v in values:
        pair = tuple(v) if is_sequence(v) else (v, v)
        if len(pair) != 2:
            raise TensorError(
                f"padding of one dimension is (before, after), got {shown(v)}", layer=layer, value=v
            )
        before, after = (whole_number(layer, "padding", p, 0) for p in pair)
        pairs.append((before, after))
    return tuple(pairs)
