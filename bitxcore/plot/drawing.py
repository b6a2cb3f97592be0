"""Draw a `Chart` on matplotlib axes: for papers, in vectors, without a change to global styles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bitxcore.errors import MissingExtraError, OptionError
from bitxcore.plot.arranging import (
    SMALL_POINTS,
    TEXT_POINTS,
    add_legend,
    add_title,
    fit_label,
    fit_ticks,
    label_points,
    set_axis,
    settle,
    short,
)
from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark, series_colours, values_of
from bitxcore.showing import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "new_axes", "save"]

_INCHES_PER_METRE = 1 / 0.0254
_WIDTHS_M = {1: 0.0846, 2: 0.178}  # one and two columns of the proceedings of ACM and IEEE
_NAME_M = 0.003  # height of a name on the vertical axis
_AROUND_NAMES_M = 0.022  # title, legend and the other axis
_LARGEST_HEIGHT_M = 0.225  # of a page
_MAP = "viridis"  # even in lightness, so also in grey and for colour-blind readers
_HATCHES = ("", "////", "....", "xxxx")  # tell series of one colour apart
_DASHES = ("-", "--", ":", "-.")
_MOST_CELL_TEXTS = 1200


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
    >>> [round(float(inches) * 0.0254, 4) for inches in ax.figure.get_size_inches()]
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

    In PDF and SVG text stays text, which can be searched and edited. No date is written, so that the same
    figure gives the same bytes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    path : str or path-like

    Raises
    ------
    OptionError
        If matplotlib writes no file of that suffix, or `ax` is no axes.
    OSError
        If the file can't be written: the folder must be there.

    Examples
    --------
    >>> import tempfile
    >>> ax = new_axes()
    >>> _ = ax.set_title("Kept rows")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(ax, f"{folder}/kept.svg")
    ...     "Kept rows</text>" in Path(folder, "kept.svg").read_text("utf-8")
    True
    """
    matplotlib = _matplotlib("")
    figure: Any = _axes(ax).get_figure(root=True)
    suffix = Path(path).suffix.lower().removeprefix(".")
    known = figure.canvas.get_supported_filetypes()
    if suffix not in known:
        raise OptionError(f"path must end in one of {', '.join(sorted(known))}, got {os.fspath(path)!r}")
    dates = {"svg": "Date", "svgz": "Date", "pdf": "CreationDate"}
    metadata = {dates[suffix]: None} if suffix in dates else {}
    style = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "bitx"}
    with _laid_out(figure), matplotlib.rc_context(style):
        figure.savefig(path, dpi=300, metadata=metadata)


@contextmanager
def _laid_out(figure: Any) -> Iterator[None]:
    """Lay a figure out once, in rounded places: a second layout would differ in the last bits."""
    engine = figure.get_layout_engine()
    if engine is None:
        yield
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    try:
        for axes in figure.axes:
            axes.set_position([round(float(value), 6) for value in axes.get_position().bounds])
            axes.set_in_layout(True)
        yield
    finally:
        figure.set_layout_engine(engine)


def draw(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw a chart.

    Parameters
    ----------
    chart : Chart
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width, and as high as names on the vertical axis need.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    OptionError
        If `ax` is no axes.

    Examples
    --------
    >>> from bitxcore.tables import Table
    >>> data = Table("t", {"layer": ["a", "b"], "cycles": [3, 5]}, {"layer": "", "cycles": "cycles"})
    >>> mark = ChartMark("bar", ChartAxis("cycles", "cycles"), ChartAxis("layer", "layer", "nominal"))
    >>> ax = draw(Chart("cycles", "Cycles", "b takes most.", data, [mark]))
    >>> [float(bar.get_width()) for bar in ax.patches], ax.get_title(loc="left")
    ([3.0, 5.0], 'Cycles')
    """
    ax = new_axes(height_m=_height(chart)) if ax is None else _axes(ax)
    legend: list[tuple[Any, str]] = []
    for mark in chart.marks:
        _DRAWN[mark.shape](ax, chart, mark, legend)
    ax.tick_params(labelsize=SMALL_POINTS)
    ax.spines[["top", "right"]].set_visible(False)
    first = chart.marks[0]
    sides: list[tuple[Literal["x", "y"], ChartAxis, dict[Any, int] | None]]
    sides = [("x", first.x, _positions(first.x, chart)), ("y", first.y, _positions(first.y, chart))]
    for along, axis, places in sides:
        values = chart.data.columns[axis.column]
        whole = all(isinstance(v, int) for v in values if v is not None)
        set_axis(ax, along, axis, places, cells=first.shape == "cell", whole=whole)
    for along, axis, places in sides[::-1]:
        fit_ticks(ax, along, places, log=axis.log)
        settle(ax)
    fit_label(ax)
    add_title(ax, chart.title, add_legend(ax, legend))
    for mark in chart.marks:
        if mark.text is not None and mark.shape == "point":
            rows = chart.rows(mark)
            names = [short(row[mark.text]) for row in rows]
            label_points(ax, _along(mark.x, chart, rows), _along(mark.y, chart, rows), names)
    return ax


def _axes(ax: Any) -> Axes:
    if not isinstance(ax, _matplotlib("axes").Axes):
        raise OptionError(f"ax must be axes of matplotlib, got {type(ax).__name__}")
    axes: Axes = ax
    return axes


def _height(chart: Chart) -> float | None:
    """Height of a new figure; None where names do not settle it."""
    axis = chart.marks[0].y
    if axis.kind == "quantitative":
        return None
    names = len(_positions(axis, chart) or ())
    series = max(len(_series(chart, mark)) for mark in chart.marks)
    around = _AROUND_NAMES_M + (-(-series // 2) * _NAME_M if series > 1 else 0)
    return min(max(0.62 * _WIDTHS_M[1], names * _NAME_M + around), _LARGEST_HEIGHT_M)


def _matplotlib(module: str) -> Any:
    try:
        from importlib import import_module

        return import_module(f"matplotlib.{module}" if module else "matplotlib")
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error


# -- places and series -------------------------------------------------------------------------


def _positions(axis: ChartAxis, chart: Chart) -> dict[Any, int] | None:
    """Place names along an axis; None for quantities."""
    if axis.kind == "quantitative":
        return None
    rows = [row for mark in chart.marks for row in chart.rows(mark)]
    return {value: place for place, value in enumerate(values_of(axis, rows))}


def _along(axis: ChartAxis, chart: Chart, rows: Sequence[dict[str, Any]]) -> list[float]:
    return _placed(axis, _positions(axis, chart), rows)


def _placed(axis: ChartAxis, places: dict[Any, int] | None, rows: Sequence[dict[str, Any]]) -> list[float]:
    return [row[axis.column] if places is None else places[row[axis.column]] for row in rows]


class _Series:
    """Rows of one colour.

    Attributes
    ----------
    name : str or None
        None of the only series of a mark without colours.
    colour, hatch, dashes : str
    rows : list of dict
    """

    def __init__(self, name: str | None, colour: str, turn: int, rows: list[dict[str, Any]]) -> None:
        self.name, self.colour, self.rows = name, colour, rows
        self.hatch, self.dashes = _HATCHES[turn % len(_HATCHES)], _DASHES[turn % len(_DASHES)]


def _series(chart: Chart, mark: ChartMark) -> list[_Series]:
    """Divide a mark's rows by nominal colour; a name without rows has no series."""
    rows = chart.rows(mark)
    axis = mark.colour
    if axis is None or axis.kind == "quantitative":
        return [_Series(None, SERIES_COLOURS[0], 0, rows)]
    alike = [m for m in chart.marks if m.colour is not None and m.colour.column == axis.column]
    colours = series_colours(axis, [row for m in alike for row in chart.rows(m)])
    size = len(axis.colours or SERIES_COLOURS)
    found = []
    for i, (name, colour) in enumerate(colours.items()):
        own = [row for row in rows if row[axis.column] == name]
        if own:
            found.append(_Series(printable(str(name)), colour, i // size, own))
    return found


# -- marks -------------------------------------------------------------------------------------

_Legend = list[tuple[Any, str]]


def _bars(ax: Axes, chart: Chart, mark: ChartMark, legend: _Legend) -> None:
    lying = mark.y.kind != "quantitative"
    names, values = (mark.y, mark.x) if lying else (mark.x, mark.y)
    # A series of zeros can't be seen, so neither is it in the legend.
    series = [s for s in _series(chart, mark) if s.name is None or any(row[values.column] for row in s.rows)]
    ends: dict[float, float] = {}
    thick = 0.8 / max(1, len(series)) if mark.beside else 0.8
    for i, part in enumerate(series):
        places = _along(names, chart, part.rows)
        lengths = [float(row[values.column]) for row in part.rows]
        starts = []
        for place, length in zip(places, lengths, strict=True):
            starts.append(0.0 if mark.beside else ends.get(place, 0.0))
            ends[place] = starts[-1] + length
        shift = (i - (len(series) - 1) / 2) * thick if mark.beside else 0.0
        at = [place + shift for place in places]
        style: dict[str, Any] = {"color": part.colour}
        if part.hatch:
            style |= {"hatch": part.hatch, "edgecolor": "white", "linewidth": 0}
        if lying:
            drawn = ax.barh(at, lengths, thick, left=starts, **style)
        else:
            drawn = ax.bar(at, lengths, thick, bottom=starts, **style)
        if part.name is not None:
            legend.append((drawn, part.name))


def _lines(ax: Axes, chart: Chart, mark: ChartMark, legend: _Legend) -> None:
    style: Any = "steps-post" if mark.shape == "step" else "default"
    shades = _shades(ax, chart, mark)
    across, up = _positions(mark.x, chart), _positions(mark.y, chart)
    for part in _series(chart, mark):
        key: Callable[[dict[str, Any]], Any] = lambda row: "" if mark.line is None else str(row[mark.line])  # noqa: E731
        lines = [list(group) for _, group in groupby(sorted(part.rows, key=key), key)]
        # Many lines over each other show where most are.
        clear = 1.0 if len(lines) <= 8 else 0.5
        for i, group in enumerate(lines):
            places = zip(_placed(mark.x, across, group), _placed(mark.y, up, group), strict=True)
            x, y = zip(*sorted(places, key=lambda place: place[0]), strict=True)
            (drawn,) = ax.plot(
                x, y, color=part.colour if shades is None else shades(group[0]),
                linewidth=1.2 if len(lines) <= 8 else 0.7, drawstyle=style, linestyle=part.dashes,
                alpha=clear, marker="o" if len(x) == 1 else None, markersize=3,
            )  # fmt: skip
            if part.name is not None and not i:
                legend.append((drawn, part.name))


def _shades(ax: Axes, chart: Chart, mark: ChartMark) -> Callable[[dict[str, Any]], Any] | None:
    """Colour lines by a quantity, the same along each line, and add a bar that tells it."""
    axis = mark.colour
    if axis is None or axis.kind != "quantitative":
        return None
    values = [row[axis.column] for row in chart.rows(mark) if row[axis.column] is not None]
    if not values:
        return None
    colours = _matplotlib("colors")
    scale = (colours.LogNorm if axis.log else colours.Normalize)(min(values), max(values))
    shades = _matplotlib("cm").ScalarMappable(scale, _MAP)
    _colour_bar(ax, shades, axis)
    return lambda row: "#999999" if row[axis.column] is None else shades.to_rgba(row[axis.column])


def _points(ax: Axes, chart: Chart, mark: ChartMark, legend: _Legend) -> None:
    for part in _series(chart, mark):
        x, y = _along(mark.x, chart, part.rows), _along(mark.y, chart, part.rows)
        if mark.colour is not None and mark.colour.kind == "quantitative":
            colours = [row[mark.colour.column] for row in part.rows]
            drawn = ax.scatter(x, y, c=[float("nan") if c is None else c for c in colours], cmap=_MAP, s=12)
            _colour_bar(ax, drawn, mark.colour)
            continue
        drawn = ax.scatter(
            x,
            y,
            color=part.colour,
            s=14,
            zorder=3,
            linewidths=0.4,
            edgecolors="white",
        )
        if part.name is not None:
            legend.append((drawn, part.name))


def _cells(ax: Axes, chart: Chart, mark: ChartMark, legend: _Legend) -> None:
    import numpy as np

    assert mark.colour is not None
    rows = chart.rows(mark)
    across, down = _positions(mark.x, chart), _positions(mark.y, chart)
    assert across is not None
    assert down is not None
    named = mark.colour.kind != "quantitative"
    colours = series_colours(mark.colour, rows) if named else {}
    codes = {name: place for place, name in enumerate(colours)}
    grid = np.full((len(down), len(across)), np.nan)
    for row in rows:
        value = row[mark.colour.column]
        if value is not None:
            grid[down[row[mark.y.column]], across[row[mark.x.column]]] = codes[value] if named else value
    edges = [np.arange(len(places) + 1) - 0.5 for places in (across, down)]
    ax.set_facecolor("#eeeeee")  # of cells without a value
    gaps: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.8} if grid.size <= 400 else {}
    if not named:
        norm = _matplotlib("colors").LogNorm() if mark.colour.log else None
        many = grid.size > 20_000
        drawn = ax.pcolormesh(*edges, grid, cmap=_MAP, norm=norm, rasterized=many, **gaps)
        _colour_bar(ax, drawn, mark.colour)
    elif colours:
        palette = _matplotlib("colors").ListedColormap(list(colours.values()))
        ax.pcolormesh(*edges, grid, cmap=palette, vmin=-0.5, vmax=len(colours) - 0.5, **gaps)
        patch = _matplotlib("patches").Patch
        there = {row[mark.colour.column] for row in rows}
        legend.extend(
            (patch(facecolor=colour, edgecolor="#999999", linewidth=0.4), printable(str(name)))
            for name, colour in colours.items()
            if name in there
        )
    if mark.text is not None and len(rows) <= _MOST_CELL_TEXTS:
        for row in rows:
            value = row[mark.colour.column]
            dark = named and value is not None and _is_dark(colours[value])
            ax.text(
                across[row[mark.x.column]], down[row[mark.y.column]], short(row[mark.text]), ha="center",
                va="center_baseline", fontsize=SMALL_POINTS, color="white" if dark else "#333333",
                parse_math=False, clip_on=True,
            )  # fmt: skip
    for spine in ax.spines.values():
        spine.set_visible(False)


def _is_dark(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 140


def _colour_bar(ax: Axes, drawn: Any, axis: ChartAxis) -> None:
    bar = ax.get_figure().colorbar(drawn, ax=ax, pad=0.02, aspect=30)  # type: ignore[union-attr]
    bar.set_label(printable(axis.label), fontsize=TEXT_POINTS, parse_math=False)
    bar.ax.tick_params(which="both", labelsize=SMALL_POINTS)
    bar.outline.set_visible(False)
    if axis.percent and not axis.log:
        bar.ax.yaxis.set_major_formatter(_matplotlib("ticker").PercentFormatter(1.0))


def _rules(ax: Axes, chart: Chart, mark: ChartMark, legend: _Legend) -> None:
    for part in _series(chart, mark):
        colour = "#777777" if part.name is None else part.colour
        for row in part.rows:
            drawn = ax.axhline(row[mark.y.column], color=colour, linewidth=0.8, linestyle=":")
            if part.name is not None:
                legend.append((drawn, part.name))


_DRAWN: dict[str, Callable[[Any, Chart, ChartMark, _Legend], None]] = {
    "bar": _bars,
    "line": _lines,
    "step": _lines,
    "point": _points,
    "cell": _cells,
    "rule": _rules,
}
