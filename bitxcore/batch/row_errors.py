"""Relative error of pruning against the number of kept rows, of one tensor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.euclidean import relative_error
from bitxcore.checks import checked_integer, values_of
from bitxcore.formats import fixed_width
from bitxcore.groups import MAX_GROUP, grid
from bitxcore.pruning import prune
from bitxcore.quantization import quantize

__all__ = ["ERROR_UNITS", "MOST_VALUES", "RowError", "errors_of_interest", "row_errors"]

Array = npt.NDArray[Any]
MOST_VALUES = 1 << 20
"""Values of a tensor that its errors are computed from, where nothing else is said."""

ERROR_UNITS = {"tensor": "", "rows": "1", "relative_error": "1", "values_used": "1"}
"""Unit of each column of a store's table ``/errors``."""


@dataclass(frozen=True)
class RowError:
    """The error at one number of rows.

    Attributes
    ----------
    rows : int
        Kept rows per group.
    relative_error : float
        Euclidean norm of the difference over that of the values, 0 if these are all zero. With ``fixed<N>``
        the rounding to N bits is a part of it.
    values_used : int
        Values that it was computed from.
    """

    rows: int
    relative_error: float
    values_used: int


def row_errors(
    x: npt.ArrayLike, rows: Iterable[int] = range(1, 13), *, most_values: int = MOST_VALUES, **options: Any
) -> list[RowError]:
    """Prune a tensor to each of some numbers of rows, and return the errors.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0.
    rows : iterable of int
    most_values : int
        Of a larger tensor, filters at even distances that hold about so many values stand for all, at least
        one; of a tensor of one axis, its first values.
    **options
        Of `prune`: ``group``, ``window``, ``format``, ``criterion``, ….

    Returns
    -------
    list of RowError
        In the order of `rows`.

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value that is none of its format.
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> found = row_errors(np.array([3, 8, -9, 0], np.int8), [1, 2], group=4)
    >>> [(error.rows, round(error.relative_error, 3), error.values_used) for error in found]
    [(1, 0.255, 4), (2, 0.114, 4)]
    """
    source = values_of(x)
    most = checked_integer(1 << 40, "most_values", most_values)
    size = grid(source.shape, options.get("group", 8), options.get("grouping", "flat"), most=4096).group
    codes, scale = source, None
    if width := fixed_width(options.get("format")):  # one scale for the whole tensor
        fixed = quantize(source, width)
        codes, scale = fixed.codes, fixed.scale
        options = options | {"format": f"int{width}"}
    part = sample_of(source.shape, most, size)
    factor = None if scale is None else float(scale)
    return errors_of_sample(source[part], np.ascontiguousarray(codes[part]), factor, rows, options)


def errors_of_sample(
    before: Array, numbers: Array, scale: float | None, rows: Iterable[int], options: dict[str, Any]
) -> list[RowError]:
    """Prune a sample to each of some numbers of rows.

    Parameters
    ----------
    before : ndarray
    numbers : ndarray
        What is pruned: the values, or their codes.
    scale : float or None
        Of the codes.
    rows : iterable of int
    options : dict
        Of `prune`.
    """
    found = []
    for count in rows:
        after = prune(numbers, rows=count, **options).values
        values = after if scale is None else after * scale
        found.append(RowError(int(count), relative_error(before, values), before.size))
    return found


def sample_of(shape: tuple[int, ...], most: int, group: int) -> slice:
    """Part of axis 0 whose groups stand for those of all."""
    if len(shape) == 1:
        return slice(0, max(group, most - most % group))
    filter_values = int(np.prod(shape[1:]))
    wanted = max(1, most // max(1, filter_values))
    return slice(None, None, max(1, -(-shape[0] // wanted)))


def errors_of_interest(window: int, default: int | None = None) -> list[int]:
    """Numbers of rows whose errors a store has: 1 to 12, and the one in use, as far as the window goes.

    Examples
    --------
    >>> errors_of_interest(7), errors_of_interest(32, 16)[-2:]
    ([1, 2, 3, 4, 5, 6, 7], [12, 16])
    """
    wanted = {*range(1, 13)} | ({default} if default else set())
    return sorted(count for count in wanted if count <= min(window, MAX_GROUP))
