"""Draw a `Chart` by Vega-Lite, for a page: a specification that holds its data."""

from __future__ import annotations

from typing import Any

from bitxcore.errors import MissingExtraError
from bitxcore.plot.chart import SERIES_COLOURS, Chart, ChartAxis, ChartMark, values_of
from bitxcore.showing import printable

_ROW_PIXELS = 20
_PLAIN_PIXELS = 280
_LABEL_PIXELS = 200
_POINT_PIXELS = 45


def specification(chart: Chart) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart, as wide as its container.

    Parameters
    ----------
    chart : Chart

    Raises
    ------
    MissingExtraError
        If Altair is not installed.
    """
    alt = _altair()
    layers = [_layer(alt, chart, mark) for mark in chart.marks]
    drawn = alt.layer(*layers) if len(layers) > 1 else layers[0]
    first = chart.marks[0]
    height: Any = _PLAIN_PIXELS
    if first.y.kind != "quantitative":
        rows = [row for mark in chart.marks for row in chart.rows(mark)]
        height = _ROW_PIXELS * len(values_of(first.y, rows))
    found: dict[str, Any] = drawn.properties(
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        description=printable(f"{chart.title}. {chart.see}"),
    ).to_dict()
    return found


def _altair() -> Any:
    try:
        import altair
    except ImportError as error:
        raise MissingExtraError("altair", "report") from error
    altair.data_transformers.disable_max_rows()
    return altair


def _layer(alt: Any, chart: Chart, mark: ChartMark) -> Any:
    rows = chart.rows(mark)
    used = {axis.column for axis in (mark.x, mark.y, mark.colour) if axis is not None}
    used |= {column for column in (mark.line, mark.text, *mark.told) if column is not None}
    values = [
        {k: printable(v) if isinstance(v, str) else v for k, v in row.items() if k in used} for row in rows
    ]
    base = alt.Chart(alt.Data(values=values))
    channels: dict[str, Any] = {
        "x": alt.X(mark.x.column, **_channel(alt, mark.x, rows), axis=_axis(alt, mark.x)),
        "y": alt.Y(mark.y.column, **_channel(alt, mark.y, rows), axis=_axis(alt, mark.y)),
        "tooltip": [
            *(alt.Tooltip(name, type="nominal", title=name.replace("_", " ")) for name in mark.told),
            *(
                alt.Tooltip(axis.column, type=axis.kind, title=axis.label, **_tooltip_format(axis))
                for axis in (mark.y, mark.x, mark.colour)
                if axis is not None
            ),
        ],
    }
    if mark.colour is not None:
        channels["color"] = _colour(alt, mark.colour, rows)
    if mark.line is not None:
        channels["detail"] = alt.Detail(mark.line, type="nominal")
    if mark.beside:
        side = "yOffset" if mark.y.kind != "quantitative" else "xOffset"
        assert mark.colour is not None
        channels[side] = (
            alt.YOffset(mark.colour.column, type="nominal")
            if side == "yOffset"
            else alt.XOffset(mark.colour.column, type="nominal")
        )
    shaped = {
        "bar": lambda: base.mark_bar(),
        "line": lambda: base.mark_line(point=len(rows) <= 200),
        "step": lambda: base.mark_line(interpolate="step-after"),
        "point": lambda: base.mark_point(filled=True, size=_POINT_PIXELS),
        "cell": lambda: base.mark_rect(),
        "rule": lambda: base.mark_rule(strokeDash=[4, 4]),
    }[mark.shape]()
    if mark.shape == "rule":
        channels.pop("x")
    drawn = shaped.encode(**channels)
    if mark.text is not None:
        words = base.mark_text(align="left", dx=6, dy=-5).encode(
            **{k: v for k, v in channels.items() if k in ("x", "y")}, text=alt.Text(mark.text, type="nominal")
        )
        return alt.layer(drawn, words)
    return drawn


def _channel(alt: Any, axis: ChartAxis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": axis.kind, "title": printable(axis.label)}
    if axis.kind == "quantitative":
        found["scale"] = alt.Scale(type="log" if axis.log else "linear", zero=axis.zero and not axis.log)
        found["stack"] = None if axis.log else alt.Undefined
    else:
        found["sort"] = [printable(v) if isinstance(v, str) else v for v in values_of(axis, rows)]
    return found


def _axis(alt: Any, axis: ChartAxis) -> Any:
    if axis.kind != "quantitative":
        return alt.Axis(labelLimit=_LABEL_PIXELS, labelOverlap=axis.kind == "ordinal")
    return alt.Axis(format=".0%" if axis.percent else "~s", tickCount=6)


def _tooltip_format(axis: ChartAxis) -> dict[str, str]:
    if axis.kind != "quantitative":
        return {}
    return {"format": ".1%" if axis.percent else (",d" if axis.unit in ("cycles", "B") else ".4~s")}


def _colour(alt: Any, axis: ChartAxis, rows: list[dict[str, Any]]) -> Any:
    if axis.kind == "quantitative":
        return alt.Color(
            axis.column,
            type="quantitative",
            title=printable(axis.label),
            scale=alt.Scale(scheme="viridis", type="log" if axis.log else "linear"),
            legend=alt.Legend(format=".0%" if axis.percent else "~s"),
        )
    names = [printable(str(name)) for name in values_of(axis, rows)]
    colours = [SERIES_COLOURS[i % len(SERIES_COLOURS)] for i in range(len(names))]
    return alt.Color(
        axis.column, type="nominal", title=printable(axis.title), scale=alt.Scale(domain=names, range=colours)
    )
