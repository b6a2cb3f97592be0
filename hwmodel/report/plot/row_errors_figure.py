"""Relative error of pruning against the number of kept rows, tensor by tensor."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bitxcore.plot.bit_charts import DEFAULT_ROWS
from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_sources import Source, tables_of
from hwmodel.report.figure_words import named
from hwmodel.report.plot.bit_heat_maps import largest, left_out_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TENSOR, MEDIAN = "tensor", "median"
_COLOURS = ("#999999", "#0072b2")


def charts(tables: Tables) -> list[Chart]:
    """Make the figure of a store of ``bitx inspect``.

    Parameters
    ----------
    tables : Tables
        Of which ``errors`` is read, and the sizes of tensors from ``statistics``.
    """
    if "errors" not in tables:
        return []
    rows = [row for row in tables["errors"].rows() if row["relative_error"] is not None]
    if not rows:
        return []
    sizes = {row["tensor"]: row["values_used"] for row in rows}
    if "statistics" in tables:
        whole = {row["tensor"]: row.get("values") for row in tables["statistics"].rows()}
        sizes = {name: whole.get(name) or size for name, size in sizes.items()}
    drawn = largest(sizes)
    kept = [row for row in rows if row["tensor"] in {*drawn}]
    by_rows: dict[int, list[float]] = {}
    for row in kept:
        by_rows.setdefault(row["rows"], []).append(row["relative_error"])
    # Of the numbers of rows that all tensors have: formats with fewer bits end earlier.
    medians = {n: median(errors) for n, errors in sorted(by_rows.items()) if len(errors) == len(drawn)}
    long = [(row["tensor"], row["rows"], row["relative_error"], row["values_used"], TENSOR) for row in kept]
    long += [("median", n, error, None, MEDIAN) for n, error in medians.items()]
    units = {"tensor": "", "rows": "1", "relative_error": "1", "values_used": "1", "line": ""}
    data = Table("row_errors", dict(zip(units, map(list, zip(*long, strict=True)), strict=True)), units)
    at = DEFAULT_ROWS if DEFAULT_ROWS in by_rows else max(by_rows)
    worst = max((row for row in kept if row["rows"] == at), key=lambda row: row["relative_error"])
    middle = median(by_rows[at])
    see = (
        f"At {at} rows the median error is {middle:.2%}; the largest is {worst['relative_error']:.2%},"
        f" of {named(worst['tensor'])}."
    )
    return [
        Chart(
            name="row_errors",
            title="Relative error of pruning against kept rows",
            see=see + left_out_words(len(drawn), len(sizes), "tensors"),
            data=data,
            marks=[
                ChartMark(
                    "line",
                    ChartAxis("rows", "kept rows per group", unit="1", zero=False),
                    ChartAxis("relative_error", "relative error", unit="1", log=True, percent=True),
                    colour=ChartAxis("line", "", "nominal", order=(TENSOR, MEDIAN), colours=_COLOURS),
                    line="tensor",
                )
            ],
        )
    ]


def row_errors(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the relative error of pruning against the number of kept rows: a line per tensor, and the median.

    Parameters
    ----------
    source : Tables, Store, str or path-like
        Of ``bitx inspect -o``.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no errors.

    Examples
    --------
    >>> from bitxcore.tables import Table, Tables
    >>> units = {"tensor": "", "rows": "1", "relative_error": "1", "values_used": "1"}
    >>> columns = dict(zip(units, [["fc"] * 2, [1, 2], [0.2, 0.1], [64, 64]]))
    >>> ax = row_errors(Tables([Table("errors", columns, units)]))
    >>> [[float(error) for error in line.get_ydata()] for line in ax.lines]
    [[0.2, 0.1], [0.2, 0.1]]
    """
    from bitxcore.plot.drawing import draw
    from hwmodel.report.figure_sources import chosen

    return draw(chosen(charts(tables_of(source)), "tensor", None, "errors"), ax)
