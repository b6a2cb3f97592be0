"""The paper's numbers beside ours: one against the other, and their ratio by table and figure."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, fsum, log
from typing import TYPE_CHECKING

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Tables
from hwmodel.report.figure_sources import LenientRow, Source, chosen, rows_of, tables_of
from hwmodel.report.figure_words import count_of, named, share, table_of, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAR = 0.1
"""Ours is near the published number if it differs by at most this share of it."""

_MARKS = {
    "paper": "the paper says how",
    "fits": "a reading that fits",
    "chosen": "a reading of ours",
}
"""Where the reading behind our number comes from, by `mark`."""

_EQUAL = "equal"
_TOLD = ("place", "network", "setting", "quantity", "unit")
_CONTRADICTIONS = "Contradictions"


def charts(tables: Tables) -> list[Chart]:
    """Make a chart of ours against the published numbers, and one of their ratios by place.

    Parameters
    ----------
    tables : Tables
        Of which ``reproduction`` is read.
    """
    made = (make(tables) for make in (_numbers, _ratios))
    return [chart for chart in made if chart is not None]


def published_and_ours(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw our numbers against the paper's, each in its own unit; on the line both are equal.

    Parameters
    ----------
    source : Reproduction, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.reproduction.reproduce(["Table 3"], accuracy=False)
    >>> ax = hw.plot.published_and_ours(found)
    >>> ax.get_xlabel(), ax.get_xscale()
    ('published', 'log')
    """
    return _drawn(_numbers, source, ax)


def ratio_to_published(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw our numbers over the paper's, by its tables and figures.

    Parameters
    ----------
    source : Reproduction, Tables, Store, str or path-like
        A result, or a store of one.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.reproduction.reproduce(["Table 3"], accuracy=False)
    >>> ax = hw.plot.ratio_to_published(found)
    >>> ax.get_xlabel(), ax.get_xscale()
    ('ours over published', 'log')
    """
    return _drawn(_ratios, source, ax)


def _drawn(make: Callable[[Tables], Chart | None], source: Source, ax: Axes | None) -> Axes:
    from bitxcore.plot.drawing import draw

    chart = make(tables_of(source))
    return draw(chosen([] if chart is None else [chart], "", None, "reproduction"), ax)


def _compared(tables: Tables) -> tuple[list[LenientRow], str]:
    """Give the lines whose two numbers are of the same thing and above zero; say how many others exist."""
    if "reproduction" not in tables:
        return [], ""
    rows: list[LenientRow] = []
    lone = other = contradictions = 0
    for row in rows_of(tables, "reproduction"):
        published, ours = row["published"], row["ours"]
        if row["place"] == _CONTRADICTIONS:  # the paper against itself: none of these numbers is ours
            contradictions += 1
        elif published is None or ours is None:
            lone += 1
        elif row["alike"] is False or published <= 0 or ours <= 0:
            other += 1
        else:
            mark = row["mark"]
            row |= {"ratio": ours / published, "reading": _MARKS.get(str(mark), str(mark))}
            rows.append(row)
    said = []
    if lone:
        said.append(f"{count_of(lone, 'line')} without one of the two numbers")
    if other:
        said.append(f"{count_of(other, 'line')} with numbers of different things or not above zero")
    if contradictions:
        said.append(f"{count_of(contradictions, 'contradiction')} within the paper")
    return rows, f"Not drawn: {'; '.join(said)}." if said else ""


_UNITS = {
    "place": "",
    "network": "",
    "setting": "",
    "quantity": "",
    "unit": "",
    "published": "as in unit",
    "ours": "as in unit",
    "ratio": "1",
    "reading": "",
}


def _numbers(tables: Tables) -> Chart | None:
    rows, left_out = _compared(tables)
    if not rows:
        return None
    ends = [choose(row[name] for row in rows for name in ("published", "ours")) for choose in (min, max)]
    data = [row | {"is_line": True, "is_diagonal": False} for row in rows]
    data += [
        {
            "published": end,
            "ours": end,
            "ratio": 1.0,
            "reading": _EQUAL,
            "is_line": False,
            "is_diagonal": True,
        }
        for end in ends
    ]
    readings = [*dict.fromkeys([*_MARKS.values(), *(row["reading"] for row in rows)])]
    drawn = {row["reading"] for row in rows}
    x = ChartAxis("published", "published", log=True)
    y = ChartAxis("ours", "ours", log=True)
    order = [*(reading for reading in readings if reading in drawn), _EQUAL]
    reading = ChartAxis("reading", "reading", "nominal", order=order)
    near = sum(abs(row["ratio"] - 1) <= NEAR for row in rows)
    far = max(rows, key=lambda row: abs(log(row["ratio"])))
    what = ", ".join(named(far[name]) for name in ("place", "network", "quantity") if far[name])
    near_of = f"{near:,} of {count_of(len(rows), 'number')} ({share(near, len(rows))})"
    see = [
        f"{near_of} are within {NEAR:.0%} of the paper's.",
        f"The furthest is {what}: {times(far['ratio'])} times the published." if far["ratio"] != 1 else "",
        left_out,
    ]
    return Chart(
        name="published_and_ours",
        title="Numbers of the paper, and ours",
        see=" ".join(words for words in see if words),
        data=table_of("published_and_ours", data, _UNITS | {"is_line": "", "is_diagonal": ""}),
        marks=[
            ChartMark("line", x, y, colour=reading, only="is_diagonal"),
            ChartMark("point", x, y, colour=reading, only="is_line", told=_TOLD),
        ],
    )


def _ratios(tables: Tables) -> Chart | None:
    rows, left_out = _compared(tables)
    if not rows:
        return None
    by_place: dict[str, list[float]] = {}
    for row in rows:
        by_place.setdefault(row["place"], []).append(row["ratio"])
    means = {place: exp(fsum(map(log, ratios)) / len(ratios)) for place, ratios in by_place.items()}
    far = max(means, key=lambda place: abs(log(means[place])))
    near = min(means, key=lambda place: abs(log(means[place])))
    readings = [*dict.fromkeys([*_MARKS.values(), *(row["reading"] for row in rows)])]
    drawn = {row["reading"] for row in rows}
    see = [f"In {named(near)} ours are {times(means[near])} times the published (geometric mean)."]
    if far != near:
        see.append(f"Furthest is {named(far)}, with {times(means[far])}.")
    see.append(left_out)
    return Chart(
        name="ratio_to_published",
        title="Ours over published, by table and figure",
        see=" ".join(words for words in see if words),
        data=table_of("ratio_to_published", rows, _UNITS),
        marks=[
            ChartMark(
                "point",
                ChartAxis("ratio", "ours over published", log=True),
                ChartAxis("place", "table or figure", "nominal", order=list(by_place)),
                colour=ChartAxis(
                    "reading",
                    "reading",
                    "nominal",
                    order=[reading for reading in readings if reading in drawn],
                ),
                told=_TOLD,
            )
        ],
    )
