"""Cycles of every layer, by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.accelerators.cycle_attribution import CAUSES
from hwmodel.report.figure_sources import Source, tables_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per accelerator that has layers with cycles.

    Parameters
    ----------
    tables : Tables
        Of which ``simulation`` is read.
    """
    if "simulation" not in tables:
        return []
    accelerators = dict.fromkeys(tables["simulation"].columns["accelerator"])
    return [chart for name in accelerators if (chart := _chart(tables["simulation"], name)) is not None]


def cycles_by_layer(source: Source, accelerator: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the cycles of every layer on one accelerator, by cause.

    Parameters
    ----------
    source : NetworkResult, ComparisonResult, Tables, Store, str or path-like
        A result, or a store of one.
    accelerator : str, optional
        Its label; by default the first.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes
    """
    from bitxcore.plot.drawing import draw
    from hwmodel.report.figure_sources import chosen

    return draw(chosen(charts(tables_of(source)), "accelerator", accelerator), ax)


def _chart(simulation: Table, accelerator: str) -> Chart | None:
    rows = [
        row for row in simulation.rows() if row["accelerator"] == accelerator and row["cycles"] is not None
    ]
    if not rows:
        return None
    long = [
        {"layer": row["layer"], "accelerator": accelerator, "cause": _cause(name), "cycles": row[name]}
        for row in rows
        for name in CAUSES
        if row[name]
    ]
    units = {"layer": "", "accelerator": "", "cause": "", "cycles": "cycles"}
    data = Table("cycles_by_layer", {name: [row[name] for row in long] for name in units}, units)
    total = sum(row["cycles"] for row in rows)
    top = max(rows, key=lambda row: row["cycles"])
    causes = {name: sum(row[name] or 0 for row in rows) for name in CAUSES}
    most = max(causes, key=lambda name: causes[name])
    return Chart(
        name="cycles_by_layer",
        title=f"Cycles by layer and cause: {accelerator}",
        see=(
            f"{_cause(most)} takes {causes[most] / total:.0%} of {total:,} cycles."
            f" The layer with most cycles is {top['layer']}, with {top['cycles'] / total:.0%}."
        ),
        data=data,
        marks=[
            ChartMark(
                "bar",
                ChartAxis("cycles", "cycles", unit="cycles"),
                ChartAxis(
                    "layer", "layer", "nominal", order=list(dict.fromkeys(row["layer"] for row in rows))
                ),
                colour=ChartAxis("cause", "cause", "nominal", order=[_cause(name) for name in CAUSES]),
            )
        ],
    )


def _cause(column: str) -> str:
    return column.removesuffix("_cycles").replace("_", " ")
