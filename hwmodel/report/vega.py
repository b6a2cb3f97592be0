"""Draw a `Chart` by Vega-Lite, for a page.

The specification holds no data: the page gives it the rows of the chart, under the name ``rows``, so that
picture, table and download show the same numbers, which are in the page once.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark, series_colours, values_of
from bitxcore.showing import printable

DATA_NAME = "rows"
"""What a specification calls its data."""

_ROW_PIXELS = 18
_WIDE_ROW_PIXELS = 28
_FEW_ROWS = 6
_BESIDE_PIXELS = 9
_PLAIN_PIXELS = 300
_POINT_PIXELS = 50
_MOST_POINTS_ON_LINES = 200
_MOST_DESCRIBED = 600  # marks with words of their own; the picture as a whole has some anyway
_SHORT_NAME = 4

Spec = dict[str, Any]


def specification(chart: Chart) -> Spec:
    """Return the Vega-Lite specification of a chart, as wide as what holds it.

    Parameters
    ----------
    chart : Chart

    Examples
    --------
    >>> from bitxcore.tables import Table
    >>> data = Table("t", {"layer": ["a", "b"], "cycles": [3, 5]}, {"layer": "", "cycles": "cycles"})
    >>> bars = ChartMark("bar", ChartAxis("cycles", "cycles"), ChartAxis("layer", "layer", "nominal"))
    >>> found = specification(Chart("c", "Cycles", "b has most.", data, [bars]))
    >>> found["layer"][0]["mark"]["type"], found["height"]
    ('bar', 56)
    """
    first = chart.marks[0]
    names, step = None, _ROW_PIXELS
    if first.y.kind != "quantitative":
        rows = [row for mark in chart.marks for row in chart.rows(mark)]
        names = values_of(first.y, rows)
        if len(names) <= _FEW_ROWS:
            step = _WIDE_ROW_PIXELS
        if first.beside and first.colour is not None:
            step = max(step, 6 + _BESIDE_PIXELS * len(values_of(first.colour, rows)))
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": printable(f"{chart.title}. {chart.see}"),
        "width": "container",
        "height": _PLAIN_PIXELS if names is None else step * max(len(names), 2),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": DATA_NAME},
        "layer": [layer for mark in chart.marks for layer in _layers(chart, mark)],
    }


def plain(value: Any) -> Any:
    r"""Return a value as JSON has it: texts made harmless, None for what is not finite.

    Examples
    --------
    >>> plain("conv\n1"), plain(float("inf")), plain(0.5), plain(True)
    ('conv\\n1', None, 0.5, True)
    """
    if isinstance(value, str):
        return printable(value)
    return None if isinstance(value, float) and not isfinite(value) else value


def _layers(chart: Chart, mark: ChartMark) -> list[Spec]:
    rows = chart.rows(mark)
    transform = [{"filter": " && ".join(_conditions(mark))}]
    encoding: Spec = {"x": _position(mark, mark.x, rows), "y": _position(mark, mark.y, rows)}
    if mark.shape == "rule":
        del encoding["x"]
    if mark.colour is not None:
        encoding["color"] = _colour(chart, mark.colour)
    if mark.line is not None:
        encoding["detail"] = {"field": _field(mark.line), "type": "nominal"}
    if mark.beside:
        assert mark.colour is not None
        side = "yOffset" if mark.y.kind != "quantitative" else "xOffset"
        order = [plain(value) for value in values_of(mark.colour, rows)]
        encoding[side] = {"field": _field(mark.colour.column), "type": "nominal", "sort": order}
    found: list[Spec] = [{"transform": transform, "mark": _mark(mark, len(rows)), "encoding": encoding}]
    many = len(rows) > _MOST_DESCRIBED
    if many:
        found[0]["mark"] |= {"aria": False}
    if mark.shape != "rule" and not (many and mark.line is not None):
        encoding["tooltip"] = _tooltips(chart, mark)
    if mark.text is not None:
        words = {name: encoding[name] for name in ("x", "y")}
        words["text"] = {"field": _field(mark.text), "type": "nominal"}
        style = {"type": "text", "align": "left", "dx": 7, "dy": -5, "limit": 160}
        found.append({"transform": transform, "mark": style, "encoding": words})
    return found


def _conditions(mark: ChartMark) -> list[str]:
    """Leave out the rows that `Chart.rows` leaves out, and what a logarithmic axis has no place for."""
    found = []
    for axis in mark.places:
        found.append(f"isValid({_datum(axis.column)})")
        if axis.log and axis.kind == "quantitative":
            found.append(f"{_datum(axis.column)} > 0")
    return found if mark.only is None else [*found, _datum(mark.only)]


def _datum(column: str) -> str:
    return f"datum[{json.dumps(column)}]"


def _field(column: str) -> str:
    """Escape what Vega-Lite reads as a path."""
    return re.sub(r"([\\.\[\]'\"])", r"\\\1", column)


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
    found: Spec = {"field": _field(axis.column), "type": axis.kind, "title": printable(axis.label)}
    if axis.kind == "quantitative":
        found["scale"] = {"type": "log"} if axis.log else {"zero": axis.zero}
        found["axis"] = {"format": "~%" if axis.percent else "~s", "tickCount": 5}
        if not axis.log:
            found["axis"]["labelExpr"] = "datum.value === 0 ? '0' : datum.label"  # else 0k, 0µ
        if mark.beside or axis.log:
            found["stack"] = None
    else:
        found["sort"] = [plain(value) for value in values_of(axis, rows)]
        names = [str(value) for value in found["sort"]]
        found["axis"] = {"labelOverlap": axis.kind == "ordinal"}
        if axis is mark.x and max(map(len, names), default=0) <= _SHORT_NAME:
            found["axis"]["labelAngle"] = 0
    return found


def _colour(chart: Chart, axis: ChartAxis) -> Spec:
    """Give each name one colour in all marks of a chart; names without rows are no entry of the legend."""
    found: Spec = {"field": _field(axis.column), "type": axis.kind, "title": printable(axis.label)}
    if axis.kind == "quantitative":
        found["scale"] = {"scheme": "viridis", "type": "log" if axis.log else "linear"}
        found["legend"] = {"format": "~%" if axis.percent else "~s", "tickCount": 4}
        return found
    alike = [mark for mark in chart.marks if mark.colour is not None and mark.colour.column == axis.column]
    rows = [row for mark in alike for row in chart.rows(mark)]
    used = {row[axis.column] for row in rows}
    colours = {name: colour for name, colour in series_colours(axis, rows).items() if name in used}
    scale = {"domain": [plain(name) for name in colours], "range": list(colours.values())}
    return found | {"type": "nominal", "scale": scale}


def _tooltips(chart: Chart, mark: ChartMark) -> list[Spec]:
    axes = [axis for axis in (mark.y, mark.x, mark.colour) if axis is not None]
    found = [
        {
            "field": _field(axis.column),
            "type": axis.kind,
            "title": printable(axis.label),
            **_number_format(axis),
        }
        for place, axis in enumerate(axes)
        if axis.column not in [other.column for other in axes[:place]]
    ]
    known = {axis.column for axis in axes}
    also = [mark.text, mark.line, *mark.told]
    return found + [
        {"field": _field(name), "type": "nominal", "title": printable(name.replace("_", " "))}
        for name in dict.fromkeys(also)
        if name is not None and name not in known
    ]


def _number_format(axis: ChartAxis) -> Spec:
    if axis.kind != "quantitative":
        return {}
    return {"format": ".4~p" if axis.percent else ("," if axis.unit in ("cycles", "B") else ".4~s")}
