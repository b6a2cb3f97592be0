"""Norms of a layer's inputs as exact weights of the members of groups."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from bitxcore.checks import shown
from bitxcore.errors import OptionError

SQUARE_BITS = 24
"""Bits of a squared norm: sums of 64 of them, compared across rows, stay within 64-bit integers."""


@dataclass(frozen=True)
class SquaredNorms:
    """Squared norms of a piece of a tensor, which are integers already: given in place of norms.

    Parameters
    ----------
    squares : ndarray of uint32
        Of one filter of the piece, or of all, in their order.
    """

    squares: npt.NDArray[np.uint32]


def squared_norms(norms: npt.ArrayLike | SquaredNorms, shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """Bring norms of the inputs of a reduction to integers, in proportion to their squares.

    Each is divided by the largest of the tensor and squared, in float64, multiplied by 2**24 and rounded to
    the nearest integer, half to even. Zero stays 0, anything above zero is at least 1. Where all are 0, each
    is 1.

    Parameters
    ----------
    norms : array_like
        Numbers of at least 0: one per input of the reduction, as ``(reduction,)`` or ``shape[1:]``; one per
        input channel, ``(shape[1],)``, which all positions of the kernel share; or an array of as many axes
        as the tensor, each of its size or 1, where filters read different inputs (grouped convolutions).
    shape : tuple of int
        Of the tensor, output channel first; a tensor of one axis is one filter.

    Returns
    -------
    ndarray of uint32, (reduction,) or (filters * reduction,)

    Raises
    ------
    OptionError
        If they are not numbers, have another shape, or one is negative or not finite.

    Examples
    --------
    >>> squared_norms([2.0, 1.0, 0.0], (8, 3)).tolist()
    [16777216, 4194304, 0]
    >>> squared_norms([2.0, 1.0], (8, 2, 1, 2)).tolist()
    [16777216, 16777216, 4194304, 4194304]
    """
    if isinstance(norms, SquaredNorms):
        return np.ascontiguousarray(norms.squares).reshape(-1)
    return np.ascontiguousarray(spread_squares(norms, shape)).reshape(-1)


def spread_squares(norms: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """Return the integers of `squared_norms` as they lie in one filter, or in all where these differ.

    Parameters
    ----------
    norms, shape
        As of `squared_norms`.

    Returns
    -------
    ndarray of uint32, (1, *shape[1:]) or shape
        A view of no more integers than there are norms.

    Examples
    --------
    >>> spread_squares([2.0, 1.0], (8, 2, 1, 2)).tolist()
    [[[[16777216, 16777216]], [[4194304, 4194304]]]]
    """
    try:
        given = np.asarray(norms)
        if given.dtype.kind not in "iuf":
            raise TypeError
        values = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(f"norms must be an array of numbers, got {shown(norms)}", value=norms) from error
    whole = shape if len(shape) > 1 else (1, *shape)
    axes = _axes(values.shape, whole)
    bad = ~((values >= 0) & np.isfinite(values)).reshape(-1)
    if bad.any():
        at = int(np.argmax(bad))
        value = float(values.reshape(-1)[at])
        raise OptionError(
            f"norms must be finite and at least 0, got {value} at flat index {at}", index=at, value=value
        )
    largest = values.max()
    if largest == 0:
        squares = np.ones(values.shape, np.uint32)
    else:
        share = values / largest
        rounded = np.rint(share * share * float(1 << SQUARE_BITS))
        squares = np.where(values > 0, np.maximum(rounded, 1), 0).astype(np.uint32)
    return np.broadcast_to(squares.reshape(axes), (axes[0], *whole[1:]))


def _axes(given: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which norms of the shape `given` stand against a tensor of `shape`."""
    inputs = shape[1:]
    if given == inputs or given == (prod(inputs),):
        return (1, *inputs)
    if given == inputs[:1]:
        return (1, *given, *[1] * (len(inputs) - 1))
    if len(given) == len(shape) and all(size in (1, full) for size, full in zip(given, shape, strict=True)):
        return given
    shapes = ", ".join(str(one) for one in dict.fromkeys([(prod(inputs),), inputs, inputs[:1]]))
    raise OptionError(
        f"norms of a tensor of shape {shape} must have a shape of {shapes},"
        f" or {len(shape)} axes of its sizes or 1, got {given}",
        value=given,
    )
