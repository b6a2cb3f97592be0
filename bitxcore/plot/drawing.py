"""Draw a `Chart` on matplotlib axes: for papers, in vectors, without a change to global styles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from bitxcore.errors import MissingExtraError, OptionError
from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark, values_of
from bitxcore.showing import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "new_axes", "save"]

_TEXT_POINTS = 8.0
_SMALL_POINTS = 7.0
_INCHES_PER_METRE = 1 / 0.0254
_WIDTHS_M = {1: 0.0846, 2: 0.178}  # one and two columns of the proceedings of ACM and IEEE
_LONGEST_NAME = 40
_MAP = "viridis"  # even in lightness, so also in grey and for colour-blind readers


def new_axes(*, columns: Literal[1, 2] = 1, height_m: float | None = None) -> Axes:
    """Make axes of the size that a paper needs.

    Parameters
    ----------
    columns : {1, 2}
        Of a page in two columns: 84.6 mm or 178 mm wide.
    height_m : float, optional
        In metres; by default 0.62 of the width of one column.

    Returns
    -------
    matplotlib.axes.Axes
        Of a new figure that no window manager knows, so it needs no closing.

    Examples
    --------
    >>> ax = new_axes(columns=2)
    >>> [round(inches * 0.0254, 4) for inches in ax.figure.get_size_inches()]
    [0.178, 0.0525]
    """
    if columns not in _WIDTHS_M:
        raise OptionError(f"columns must be 1 or 2, got {columns!r}", value=columns)
    figure_class = _matplotlib("figure").Figure
    height = 0.62 * _WIDTHS_M[1] if height_m is None else height_m
    size = (_WIDTHS_M[columns] * _INCHES_PER_METRE, height * _INCHES_PER_METRE)
    figure = figure_class(figsize=size, layout="constrained")
    axes: Axes = figure.add_subplot()
    return axes


def save(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Write the figure of `ax` to a file; its suffix says the format: ``.pdf``, ``.svg``, ``.png``, ….

    In PDF and SVG text stays text, which can be searched and edited.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    path : str or path-like
    """
    matplotlib = _matplotlib("")
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "bitx"}):
        ax.get_figure(root=True).savefig(path, dpi=300)  # type: ignore[union-attr]


def draw(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw a chart.

    Parameters
    ----------
    chart : Chart
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    ax = new_axes() if ax is None else ax
    for mark in chart.marks:
        _DRAWN[mark.shape](ax, chart, mark)
    _set_axes(ax, chart)
    ax.set_title(printable(chart.title), fontsize=_TEXT_POINTS, loc="left")
    ax.tick_params(labelsize=_SMALL_POINTS)
    ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))  # a series that two marks draw is told once
    if len(entries) > 1:
        ax.legend(entries.values(), entries, fontsize=_SMALL_POINTS, frameon=False)
    return ax


def _matplotlib(module: str) -> Any:
    try:
        from importlib import import_module

        return import_module(f"matplotlib.{module}" if module else "matplotlib")
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error


# -- axes --------------------------------------------------------------------------------------


def _positions(axis: ChartAxis, chart: Chart) -> dict[Any, int] | None:
    """Place names along an axis; None for quantities."""
    if axis.kind == "quantitative":
        return None
    rows = [row for mark in chart.marks for row in chart.rows(mark)]
    return {value: place for place, value in enumerate(values_of(axis, rows))}


def _along(axis: ChartAxis, chart: Chart, rows: Sequence[dict[str, Any]]) -> list[float]:
    places = _positions(axis, chart)
    return [row[axis.column] if places is None else places[row[axis.column]] for row in rows]


def _set_axes(ax: Axes, chart: Chart) -> None:
    ticker = _matplotlib("ticker")
    mark = chart.marks[0]
    for axis, its in ((mark.x, ax.xaxis), (mark.y, ax.yaxis)):
        its.set_label_text(printable(axis.label), fontsize=_TEXT_POINTS)
        places = _positions(axis, chart)
        if places is not None:
            every = -(-len(places) // 40)
            shown = list(places.items())[::every]
            its.set_ticks([place for _, place in shown], [_short(name) for name, _ in shown])
        elif axis.log:
            (ax.set_xscale if its is ax.xaxis else ax.set_yscale)("log")
        elif axis.percent:
            its.set_major_formatter(ticker.PercentFormatter(1.0))
        elif axis.unit not in ("", "1") or max(map(abs, its.get_view_interval())) >= 1000:
            its.set_major_formatter(ticker.EngFormatter(sep=""))
    if mark.x.kind == "nominal":
        ax.tick_params(axis="x", rotation=90)
    if mark.y.kind == "nominal" or mark.shape == "cell":
        ax.set_ylim(ax.get_ylim()[1], ax.get_ylim()[0])  # the first on top
    for axis, limit in ((mark.x, ax.set_xlim), (mark.y, ax.set_ylim)):
        if axis.kind == "quantitative" and axis.zero and not axis.log and mark.shape != "cell":
            limit(0)


def _short(name: Any) -> str:
    text = printable(str(name))
    return (
        text
        if len(text) <= _LONGEST_NAME
        else f"{text[: _LONGEST_NAME // 2]}…{text[-_LONGEST_NAME // 2 + 1 :]}"
    )


def _series(chart: Chart, mark: ChartMark) -> list[tuple[str | None, str, list[dict[str, Any]]]]:
    """Divide a mark's rows by nominal colour: name, colour, rows."""
    rows = chart.rows(mark)
    axis = mark.colour
    if axis is None or axis.kind == "quantitative":
        return [(None, SERIES_COLOURS[0], rows)]
    names = values_of(axis, rows)
    found: list[tuple[str | None, str, list[dict[str, Any]]]] = [
        (
            _short(name),
            SERIES_COLOURS[i % len(SERIES_COLOURS)],
            [r for r in rows if r[axis.column] == name],
        )
        for i, name in enumerate(names)
    ]
    # Series that another mark draws keep their colour, and have no entry in the legend of this one.
    return [series for series in found if series[2]] or found


# -- marks -------------------------------------------------------------------------------------


def _bars(ax: Axes, chart: Chart, mark: ChartMark) -> None:
    lying = mark.y.kind != "quantitative"
    names, values = (mark.y, mark.x) if lying else (mark.x, mark.y)
    series = _series(chart, mark)
    ends: dict[float, float] = {}
    thick = 0.8 / len(series) if mark.beside else 0.8
    for i, (name, colour, rows) in enumerate(series):
        places = _along(names, chart, rows)
        lengths = [float(row[values.column]) for row in rows]
        starts = [0.0 if mark.beside else ends.get(place, 0.0) for place in places]
        ends |= {place: start + length for place, start, length in zip(places, starts, lengths, strict=True)}
        shift = (i - (len(series) - 1) / 2) * thick if mark.beside else 0.0
        at = [place + shift for place in places]
        if lying:
            ax.barh(at, lengths, thick, left=starts, color=colour, label=name)
        else:
            ax.bar(at, lengths, thick, bottom=starts, color=colour, label=name)


def _lines(ax: Axes, chart: Chart, mark: ChartMark) -> None:
    style: Any = "steps-post" if mark.shape == "step" else "default"
    shades = _shades(ax, chart, mark)
    for name, colour, rows in _series(chart, mark):
        key: Callable[[dict[str, Any]], Any] = lambda row: "" if mark.line is None else str(row[mark.line])  # noqa: E731
        for _, group in groupby(sorted(rows, key=key), key):
            points = sorted(group, key=lambda row: _along(mark.x, chart, [row])[0])
            ax.plot(
                _along(mark.x, chart, points), _along(mark.y, chart, points),
                color=colour if shades is None else shades(points[0]),
                label=name, linewidth=1.2 if shades is None else 0.5, drawstyle=style,
            )  # fmt: skip
            name = None  # one entry of the legend per series


def _shades(ax: Axes, chart: Chart, mark: ChartMark) -> Callable[[dict[str, Any]], Any] | None:
    """Colour lines by a quantity, the same along each line, and add a bar that tells it."""
    axis = mark.colour
    if axis is None or axis.kind != "quantitative":
        return None
    values = [row[axis.column] for row in chart.rows(mark) if row[axis.column] is not None]
    colours = _matplotlib("colors")
    scale = (colours.LogNorm if axis.log else colours.Normalize)(min(values), max(values))
    shades = _matplotlib("cm").ScalarMappable(scale, _MAP)
    ax.figure.colorbar(shades, ax=ax).set_label(printable(axis.label), fontsize=_TEXT_POINTS)
    return lambda row: "#999999" if row[axis.column] is None else shades.to_rgba(row[axis.column])


def _points(ax: Axes, chart: Chart, mark: ChartMark) -> None:
    for name, colour, rows in _series(chart, mark):
        x, y = _along(mark.x, chart, rows), _along(mark.y, chart, rows)
        if mark.colour is not None and mark.colour.kind == "quantitative":
            drawn = ax.scatter(x, y, c=[row[mark.colour.column] for row in rows], cmap=_MAP, s=12)
            ax.figure.colorbar(drawn, ax=ax).set_label(mark.colour.label, fontsize=_TEXT_POINTS)
        else:
            ax.scatter(x, y, color=colour, label=name, s=12)
        if mark.text is not None:
            for row, across, up in zip(rows, x, y, strict=True):
                ax.annotate(
                    _short(row[mark.text]), (across, up), xytext=(3, 2), textcoords="offset points",
                    fontsize=_SMALL_POINTS,
                )  # fmt: skip


def _cells(ax: Axes, chart: Chart, mark: ChartMark) -> None:
    import numpy as np

    assert mark.colour is not None
    rows = chart.rows(mark)
    across, down = _positions(mark.x, chart), _positions(mark.y, chart)
    assert across is not None
    assert down is not None
    grid = np.full((len(down), len(across)), np.nan)
    for row in rows:
        value = row[mark.colour.column]
        grid[down[row[mark.y.column]], across[row[mark.x.column]]] = np.nan if value is None else value
    edges = [np.arange(len(places) + 1) - 0.5 for places in (across, down)]
    drawn = ax.pcolormesh(*edges, grid, cmap=_MAP, rasterized=grid.size > 20_000)
    bar = ax.figure.colorbar(drawn, ax=ax)
    bar.set_label(printable(mark.colour.label), fontsize=_TEXT_POINTS)
    bar.ax.tick_params(labelsize=_SMALL_POINTS)


def _rules(ax: Axes, chart: Chart, mark: ChartMark) -> None:
    for row in chart.rows(mark):
        ax.axhline(row[mark.y.column], color="#777777", linewidth=0.8, linestyle=":")


_DRAWN: dict[str, Callable[[Any, Chart, ChartMark], None]] = {
    "bar": _bars,
    "line": _lines,
    "step": _lines,
    "point": _points,
    "cell": _cells,
    "rule": _rules,
}
