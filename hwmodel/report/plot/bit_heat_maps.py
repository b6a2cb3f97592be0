"""Heat maps of tensors or layers by a number of bits: which are drawn, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table

MOST_NAMES = 80
"""Tensors or layers of one figure; of more, the largest are drawn."""


def largest(sizes: Mapping[str, float]) -> list[str]:
    """Choose the largest `MOST_NAMES`, in their own order.

    Examples
    --------
    >>> largest({"conv1": 10, "fc": 500})
    ['conv1', 'fc']
    """
    chosen = {*sorted(sizes, key=lambda name: -sizes[name])[:MOST_NAMES]}
    return [name for name in sizes if name in chosen]


def left_out_words(drawn: int, there: int, what: str) -> str:
    """Say that not all are drawn; nothing if they are.

    Examples
    --------
    >>> left_out_words(80, 120, "tensors"), left_out_words(3, 3, "tensors")
    (' The largest 80 of 120 tensors are drawn.', '')
    """
    return "" if drawn == there else f" The largest {drawn} of {there} {what} are drawn."


def share_heat_map(
    *,
    name: str,
    title: str,
    see: str,
    shares: Mapping[str, Sequence[float]],
    counts: Mapping[str, Sequence[float]],
    of: ChartAxis,
    along: ChartAxis,
    counted: tuple[str, str],
    more: Mapping[str, str] | None = None,
) -> Chart:
    """Make the heat map of a share for every name and number.

    Parameters
    ----------
    name, title, see : str
        As of `Chart`.
    shares, counts : mapping of str to sequence of float
        For every name the share, and the number it is of, at 0, 1, 2, …; sequences may differ in length.
    of : ChartAxis
        The names.
    along : ChartAxis
        The numbers.
    counted : (str, str)
        Column of the counts, and what a share is of, for the colour's title.
    more : mapping of str to str, optional
        Further columns, each with one value.
    """
    columns: dict[str, list[Any]] = {
        key: [] for key in (*(more or {}), of.column, along.column, counted[0], "share")
    }
    last = max((i for row in shares.values() for i, share in enumerate(row) if share), default=0)
    for key, row in shares.items():
        for i, share in enumerate(row[: last + 1]):
            values = (*(more or {}).values(), key, i, counts[key][i], share)
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
    units = dict.fromkeys((*(more or {}), of.column), "")
    units |= {along.column: along.unit or "1", counted[0]: "1", "share": "1"}
    colour = ChartAxis("share", counted[1], percent=True)
    return Chart(name, title, see, Table(name, columns, units), [ChartMark("cell", along, of, colour=colour)])


def mean_of(histogram: Sequence[float]) -> float:
    """Mean of a histogram over 0, 1, 2, …; 0 of an empty one.

    Examples
    --------
    >>> mean_of([0, 1, 1])
    1.5
    """
    whole = sum(histogram)
    return sum(i * count for i, count in enumerate(histogram)) / whole if whole else 0.0


def shares_of(histogram: Sequence[float]) -> list[float]:
    """Shares of the whole.

    Examples
    --------
    >>> shares_of([1, 3])
    [0.25, 0.75]
    """
    whole = sum(histogram)
    return [count / whole if whole else 0.0 for count in histogram]
