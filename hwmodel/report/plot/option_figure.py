"""Every option of a sweep against cycles."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_sources import Source, chosen, tables_of
from hwmodel.report.figure_words import identifiers, least, listed, named, quantity, table_of, times
from hwmodel.report.plot.sweep_figure import MOST_POINTS
from hwmodel.report.sweep_points import (
    failed_sentence,
    possible_points,
    sampled,
    value_text,
    values_in_order,
    varied_options,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(tables: Tables) -> list[Chart]:
    """Make one chart per option that was varied.

    Parameters
    ----------
    tables : Tables
        Of which ``sweep`` is read.
    """
    if "sweep" not in tables:
        return []
    table = tables["sweep"]
    options = varied_options(table)
    names = identifiers("sweep_option", options)
    made = [_option(table, option, name) for option, name in zip(options, names, strict=True)]
    return [chart for chart in made if chart is not None]


def sweep_option(source: Source, option: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the cycles of all points of a sweep against one of its options.

    Parameters
    ----------
    source : Sweep, Tables, Store, str or path-like
        A result, or a store of one.
    option : str, optional
        That was varied; by default the first.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure, or the option was not varied.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    >>> ax = hw.plot.sweep_option(found)
    >>> ax.get_xlabel()
    'columns'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(charts(tables_of(source)), "option", option, "sweep"), ax)


def _option(table: Table, option: str, name: str) -> Chart | None:
    points = possible_points(table)
    if not points:
        return None
    order = values_in_order([row[option] for row in points])
    drawn, told = sampled(points, MOST_POINTS)
    middle = {value: median([row["cycles"] for row in points if row[option] == value]) for value in order}
    rows = [
        {
            "option": option,
            "value": value_text(row[option]),
            "shown": "point",
            "point": row["point"],
            "cycles": row["cycles"],
            "is_point": True,
            "is_median": False,
        }
        for row in drawn
    ]
    rows += [
        {
            "option": option,
            "value": value_text(value),
            "shown": "median",
            "cycles": cycles,
            "is_point": False,
            "is_median": True,
        }
        for value, cycles in middle.items()
    ]
    unit = table.units.get(option, "1")
    x = ChartAxis("value", named(option), "ordinal", unit=unit, order=[value_text(value) for value in order])
    y = ChartAxis("cycles", "time", unit="cycles")
    shown = ChartAxis("shown", "shown", "nominal", order=["point", "median"])
    units = {"option": "", "value": unit, "shown": "", "point": "1", "cycles": "cycles"}
    return Chart(
        name=name,
        title=f"Cycles by {named(option)}",
        see=" ".join(words for words in (_effect(option, middle), failed_sentence(table), told) if words),
        data=table_of(name, rows, units | {"is_point": "", "is_median": ""}),
        marks=[
            ChartMark("point", x, y, colour=shown, only="is_point"),
            ChartMark("line", x, y, colour=shown, only="is_median"),
        ],
    )


def _effect(option: str, middle: dict[Any, float]) -> str:
    told = {value_text(value): cycles for value, cycles in middle.items()}
    low = least(told)
    if len(low) == len(told):
        same = quantity(told[low[0]], "cycles")
        if len(told) == 1:
            return f"There is one value, {named(low[0])}, with a median of {same}."
        return f"The median of cycles is the same for all values: {same}."
    best, most = told[low[0]], max(told.values())
    ratio = f", {times(most / best)} times fewer than at the worst" if best else ""
    where = f"{named(option)}={listed(low)}"
    return f"The median of cycles is least at {where}: {quantity(best, 'cycles')}{ratio}."
