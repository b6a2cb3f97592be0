"""Charts as a page holds them: data once, as columns of codes, and a specification that draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bitxcore.plot.chart import Chart
from bitxcore.showing import printable
from bitxcore.tables import Table
from hwmodel.report.vega import plain, specification

STATIC_ROWS = 40
"""Rows of a table that a page shows without its script."""


@dataclass(frozen=True)
class FigureBlock:
    """Charts that show the same of several things, one at a time.

    Parameters
    ----------
    identifier : str
        Unique in a page.
    title : str
    charts : sequence of Chart
        The first is shown first.
    """

    identifier: str
    title: str
    charts: Sequence[Chart]

    @property
    def choices(self) -> list[str]:
        """What each chart is of: the rest of its title."""
        return [printable(chart.title.partition(": ")[2] or chart.title) for chart in self.charts]

    @property
    def heads(self) -> list[str]:
        """Headings of the table of the first chart, with units."""
        return [printable(_head(name, unit)) for name, unit in self.charts[0].data.units.items()]

    @property
    def cells(self) -> list[list[tuple[bool, str]]]:
        """First rows of that table: whether a number, and its text."""
        rows = islice(self.charts[0].data.rows(), STATIC_ROWS)
        return [[_cell(row[name]) for name in self.charts[0].data.units] for row in rows]

    @property
    def more_rows(self) -> int:
        """How many rows that table leaves out."""
        return max(len(self.charts[0].data) - STATIC_ROWS, 0)

    def content(self) -> list[dict[str, Any]]:
        """Give what the page's script needs of each chart."""
        return [
            {
                "name": chart.name,
                "title": printable(chart.title),
                "see": printable(chart.see),
                "columns": coded_columns(chart.data),
                "spec": specification(chart),
            }
            for chart in self.charts
        ]


def _head(name: str, unit: str) -> str:
    return name if unit in ("", "1", name) else f"{name} ({unit})"


def _cell(value: Any) -> tuple[bool, str]:
    value = plain(value)
    if value is None or isinstance(value, bool | str):
        return False, "–" if value is None else str(value).lower() if isinstance(value, bool) else value
    return True, f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def blocks_of(charts: Sequence[Chart], prefix: str, first: Sequence[str] = ()) -> list[FigureBlock]:
    """Gather charts into blocks: those whose titles are equal up to a colon are one.

    Parameters
    ----------
    charts : sequence of Chart
    prefix : str
        What identifiers begin with.
    first : sequence of str
        What comes first among the charts of a block, by the rest of their titles.

    Examples
    --------
    >>> none = Table("t", {}, {})
    >>> charts = [Chart("a", "Cycles: x", "", none, []), Chart("b", "Cycles: y", "", none, [])]
    >>> [(block.title, block.choices) for block in blocks_of(charts, "run1", first=["y"])]
    [('Cycles', ['y', 'x'])]
    """
    families: dict[str, list[Chart]] = {}
    for chart in charts:
        families.setdefault(chart.title.partition(": ")[0], []).append(chart)
    rank = {name: place for place, name in enumerate(first)}
    found = []
    for number, (title, own) in enumerate(families.items()):
        own.sort(key=lambda chart: rank.get(chart.title.partition(": ")[2], len(rank)))
        shown = own[0].title if len(own) == 1 else title
        found.append(FigureBlock(f"{prefix}-{number}", printable(shown), own))
    return found


def coded_columns(table: Table) -> dict[str, dict[str, Any]]:
    """Write columns so that a page holds each text once.

    Returns
    -------
    dict of str to dict
        For each column ``unit``, and ``values`` or, of texts, ``levels`` (distinct texts), ``codes`` (one
        level per row; -1 for none) and, where they differ from the levels, ``shown`` (made harmless).

    Examples
    --------
    >>> coded_columns(Table("t", {"layer": ["a", "b", "a"]}, {"layer": ""}))
    {'layer': {'unit': '', 'levels': ['a', 'b'], 'codes': [0, 1, 0]}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, values in table.columns.items():
        column: dict[str, Any] = {"unit": table.units.get(name, "")}
        if any(isinstance(value, str) for value in values):
            levels = list(dict.fromkeys(str(value) for value in values if value is not None))
            places = {level: place for place, level in enumerate(levels)}
            column["levels"] = levels
            column["codes"] = [-1 if value is None else places[str(value)] for value in values]
            shown = [printable(level) for level in levels]
            if shown != levels:
                column["shown"] = shown
        else:
            column["values"] = [plain(value) for value in values]
        found[name] = column
    return found
