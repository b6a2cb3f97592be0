"""Draw a `Chart` by Vega-Lite, for a page.

The specification holds no data: the page gives it the rows of the chart, under the name ``rows``, so that
picture, table and download show the same numbers, which are in the page once.
"""

from __future__ import annotations

from typing import Any

from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark, series_colours, values_of
from bitxcore.showing import printable

DATA_NAME = "rows"
"""What a specification calls its data."""

_ROW_PIXELS = 18
_PLAIN_PIXELS = 300
_POINT_PIXELS = 50
_MOST_POINTS_ON_LINES = 200

Spec = dict[str, Any]


def specification(chart: Chart, *, with_data: bool = False) -> Spec:
    """Return the Vega-Lite specification of a chart, as wide as what holds it.

    Parameters
    ----------
    chart : Chart
    with_data : bool
        Whether it holds the rows, as values; without, whoever draws it gives them, named `DATA_NAME`.

    Examples
    --------
    >>> from bitxcore.tables import Table
    >>> data = Table("t", {"layer": ["a", "b"], "cycles": [3, 5]}, {"layer": "", "cycles": "cycles"})
    >>> bars = ChartMark("bar", ChartAxis("cycles", "cycles"), ChartAxis("layer", "layer", "nominal"))
    >>> found = specification(Chart("c", "Cycles", "b has most.", data, [bars]))
    >>> found["layer"][0]["mark"]["type"], found["height"]
    ('bar', 36)
    """
    first = chart.marks[0]
    names = None
    if first.y.kind != "quantitative":
        names = values_of(first.y, [row for mark in chart.marks for row in chart.rows(mark)])
    data: Spec = {"name": DATA_NAME}
    if with_data:
        data["values"] = [{name: _shown(value) for name, value in row.items()} for row in chart.data.rows()]
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": printable(f"{chart.title}. {chart.see}"),
        "width": "container",
        "height": _PLAIN_PIXELS if names is None else _ROW_PIXELS * max(len(names), 2),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": data,
        "layer": [layer for mark in chart.marks for layer in _layers(chart, mark)],
    }


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value


def _layers(chart: Chart, mark: ChartMark) -> list[Spec]:
    rows = chart.rows(mark)
    there = [f"isValid(datum[{axis.column!r}])" for axis in (mark.x, mark.y)]
    there += [f"datum[{axis.column!r}] > 0" for axis in (mark.x, mark.y) if axis.log]
    if mark.only is not None:
        there.append(f"datum[{mark.only!r}]")
    transform = [{"filter": " && ".join(there)}]
    encoding: Spec = {"x": _position(mark, mark.x, rows), "y": _position(mark, mark.y, rows)}
    if mark.shape == "rule":
        del encoding["x"]
    if mark.colour is not None:
        encoding["color"] = _colour(mark.colour, rows)
    if mark.line is not None:
        encoding["detail"] = {"field": mark.line, "type": "nominal"}
    if mark.beside:
        assert mark.colour is not None
        side = "yOffset" if mark.y.kind != "quantitative" else "xOffset"
        order = [_shown(value) for value in values_of(mark.colour, rows)]
        encoding[side] = {"field": mark.colour.column, "type": "nominal", "sort": order}
    found = [{"transform": transform, "mark": _mark(mark, len(rows)), "encoding": encoding}]
    if mark.shape != "rule":
        encoding["tooltip"] = _tooltips(chart, mark)
    if mark.text is not None:
        words = {name: encoding[name] for name in ("x", "y")}
        words["text"] = {"field": mark.text, "type": "nominal"}
        style = {"type": "text", "align": "left", "dx": 7, "dy": -5, "limit": 160}
        found.append({"transform": transform, "mark": style, "encoding": words})
    return found


def _mark(mark: ChartMark, rows: int) -> Spec:
    plain = {} if mark.colour is not None else {"color": SERIES_COLOURS[0]}
    drawn: dict[str, Spec] = {
        "bar": {"type": "bar"},
        "line": {"type": "line", "point": mark.line is None and rows <= _MOST_POINTS_ON_LINES},
        "step": {"type": "line", "interpolate": "step-after"},
        "point": {"type": "point", "filled": True, "size": _POINT_PIXELS, "opacity": 0.85},
        "cell": {"type": "rect"},
        "rule": {"type": "rule", "strokeDash": [4, 4]},
    }
    faint = {"opacity": 0.35, "strokeWidth": 1} if mark.line is not None and rows > 1000 else {}
    return drawn[mark.shape] | plain | faint


def _position(mark: ChartMark, axis: ChartAxis, rows: list[dict[str, Any]]) -> Spec:
    found: Spec = {"field": axis.column, "type": axis.kind, "title": printable(axis.label)}
    if axis.kind == "quantitative":
        found["scale"] = {"type": "log"} if axis.log else {"zero": axis.zero}
        found["axis"] = {"format": ".0%" if axis.percent else "~s", "tickCount": 5}
        if mark.beside or axis.log:
            found["stack"] = None
    else:
        found["sort"] = [_shown(value) for value in values_of(axis, rows)]
        found["axis"] = {"labelOverlap": axis.kind == "ordinal"}
    return found


def _colour(axis: ChartAxis, rows: list[dict[str, Any]]) -> Spec:
    found: Spec = {"field": axis.column, "type": axis.kind, "title": printable(axis.label)}
    if axis.kind == "quantitative":
        found["scale"] = {"scheme": "viridis", "type": "log" if axis.log else "linear"}
        found["legend"] = {"format": ".0%" if axis.percent else "~s"}
        return found
    colours = series_colours(axis, rows)
    scale = {"domain": [_shown(value) for value in colours], "range": list(colours.values())}
    return found | {"type": "nominal", "scale": scale}


def _tooltips(chart: Chart, mark: ChartMark) -> list[Spec]:
    axes = [axis for axis in (mark.y, mark.x, mark.colour) if axis is not None]
    found = [
        {"field": axis.column, "type": axis.kind, "title": printable(axis.label), **_number_format(axis)}
        for place, axis in enumerate(axes)
        if axis.column not in [other.column for other in axes[:place]]
    ]
    known = {axis.column for axis in axes}
    if mark.text is not None and mark.text not in known:
        found.append({"field": mark.text, "type": "nominal", "title": mark.text})
    return found


def _number_format(axis: ChartAxis) -> Spec:
    if axis.kind != "quantitative":
        return {}
    return {"format": ".1%" if axis.percent else ("," if axis.unit in ("cycles", "B") else ".4~s")}
