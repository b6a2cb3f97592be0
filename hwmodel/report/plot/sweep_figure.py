"""The space of a sweep: parallel coordinates, and the Pareto front of cycles against energy and area."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_sources import Source, chosen, tables_of
from hwmodel.report.figure_words import count_of, least, listed, named, quantity, table_of, times
from hwmodel.report.sweep_points import (
    OBJECTIVE_WORDS,
    best_sentence,
    failed_sentence,
    possible_points,
    sampled,
    value_text,
    values_in_order,
    varied_options,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 300
"""Of parallel coordinates; of more points a sample is drawn."""

MOST_POINTS = 3000
"""Of the other figures, likewise."""

_HEIGHT_M = 0.1  # of coordinates, whose names stand below in full
_METRICS = {
    "cycles": "cycles",
    "energy_j": "energy",
    "area_mm2": "area",
    "relative_error": "relative error",
}
_FRONT, _OTHERS = "Pareto front", "other points"


def charts(tables: Tables) -> list[Chart]:
    """Make the parallel coordinates, and cycles against energy and area.

    Parameters
    ----------
    tables : Tables
        Of which ``sweep`` is read.
    """
    if "sweep" not in tables:
        return []
    table = tables["sweep"]
    made = [_coordinates(table), *(_tradeoff(table, name) for name in ("energy_j", "area_mm2"))]
    return [chart for chart in made if chart is not None]


def sweep_coordinates(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw every point of a sweep as a line over its options, cycles, energy, area and error.

    Further columns by which points are on the front are drawn, too.

    Parameters
    ----------
    source : Sweep, Tables, Store, str or path-like
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
    >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    >>> ax = hw.plot.sweep_coordinates(found)
    >>> ax.get_ylabel()
    'place, least to most'
    """
    from bitxcore.plot.drawing import draw, new_axes

    chart = chosen(_made(source, "sweep_coordinates"), "", None, "sweep")
    return draw(chart, new_axes(height_m=_HEIGHT_M) if ax is None else ax)


def sweep_energy(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the energy of all points of a sweep against their cycles.

    Parameters
    ----------
    source : Sweep, Tables, Store, str or path-like
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
    >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    >>> ax = hw.plot.sweep_energy(found)
    >>> ax.get_ylabel()
    'energy (J)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "sweep_energy"), "", None, "sweep"), ax)


def sweep_area(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw the area of all points of a sweep against their cycles.

    Parameters
    ----------
    source : Sweep, Tables, Store, str or path-like
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
    >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    >>> ax = hw.plot.sweep_area(found)
    >>> ax.get_ylabel()
    'area (mm²)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "sweep_area"), "", None, "sweep"), ax)


def _made(source: Source, prefix: str) -> list[Chart]:
    return [chart for chart in charts(tables_of(source)) if chart.name.startswith(prefix)]


# -- parallel coordinates ----------------------------------------------------------------------


def _coordinates(table: Table) -> Chart | None:
    points = possible_points(table)
    if not points:
        return None
    options = varied_options(table)
    # Time is cycles by the clock, which is the same for all points unless it is an option.
    clocks = {row["seconds"] / row["cycles"] for row in points if row["seconds"] and row["cycles"]}
    told_by_cycles = bool(clocks) and max(clocks) <= min(clocks) * (1 + 1e-9)
    further = [n for n in _objectives(table) if n not in _METRICS and not (n == "seconds" and told_by_cycles)]
    metrics = [n for n in (*_METRICS, *further) if any(row[n] is not None for row in points)]
    drawn, told = sampled(points, MOST_LINES)
    scales = {name: _steps([row[name] for row in points]) for name in options}
    scales |= {name: _span([row[name] for row in points]) for name in metrics}
    labels = {name: _dimension(name, "", points) for name in options}
    labels |= {name: _dimension(name, table.units.get(name, "1"), points, metric=True) for name in metrics}
    rows = [
        {
            "point": row["point"],
            "dimension": name,
            "shown_as": labels[name],
            "value": row[name],
            "unit": table.units.get(name, "1"),
            "position": scale(row[name]),
            "cycles": row["cycles"],
            "on_front": row["on_front"],
        }
        for row in drawn
        for name, scale in scales.items()
    ]
    units = {
        "point": "1",
        "dimension": "",
        "shown_as": "",
        "value": "as in unit",
        "unit": "",
        "position": "1",
        "cycles": "cycles",
        "on_front": "",
    }
    cycles = [row["cycles"] for row in points]
    see = [best_sentence(points, options)]
    if max(cycles) > min(cycles) > 0:
        see.append(f"The slowest point takes {times(max(cycles) / min(cycles))} times as many.")
    front = sum(row["on_front"] for row in points)
    see += [
        f"{count_of(front, 'point')} of {len(points):,} are on the Pareto front{_front_words(table)}.",
        failed_sentence(table),
        told,
    ]
    return Chart(
        name="sweep_coordinates",
        title=f"Space of the sweep: {named(table.attrs.get('accelerator', ''))}",
        see=" ".join(words for words in see if words),
        data=table_of("sweep_coordinates", rows, units),
        marks=[
            ChartMark(
                "line",
                ChartAxis("shown_as", "option or result", "nominal", order=list(labels.values())),
                ChartAxis("position", "place, least to most"),
                colour=ChartAxis("cycles", "time", unit="cycles", log=min(cycles) > 0),
                line="point",
            )
        ],
    )


def _dimension(name: str, unit: str, points: Sequence[dict[str, Any]], *, metric: bool = False) -> str:
    """Name a dimension, with its ends."""
    values = values_in_order([row[name] for row in points])
    title = named(_METRICS.get(name) or OBJECTIVE_WORDS.get(name, name))
    if metric:
        given = [value for value in values if value is not None]
        ends = [given[0], given[-1]] if len(given) > 1 else given
        suffix = "1" if name == "cycles" else unit
        return f"{title}: {' to '.join(quantity(value, suffix) for value in ends)}"
    ends = [values[0], values[-1]] if len(values) > 1 else values
    return f"{title}: {' to '.join(named(value_text(value)) for value in ends)}"


def _objectives(table: Table) -> list[str]:
    """List the columns by which points are on the front."""
    names = str(table.attrs.get("objectives") or "").split(", ")
    return [name for name in names if name in table.columns]


def _front_words(table: Table) -> str:
    """Say what the front is of: ``" of time and energy"``; nothing if it is not known."""
    found = [OBJECTIVE_WORDS.get(name, name) for name in _objectives(table)]
    return f" of {listed(found)}" if found else ""


def _steps(values: Sequence[Any]) -> Any:
    """Place the values of an option at even steps."""
    order = values_in_order(values)
    places = {value: i / (len(order) - 1) if len(order) > 1 else 0.5 for i, value in enumerate(order)}
    return lambda value: places[value]


def _span(values: Sequence[float | None]) -> Any:
    """Place the values of a result between the least and the most."""
    given = [value for value in values if value is not None]
    low, high = min(given), max(given)
    return lambda value: None if value is None else (value - low) / (high - low) if high > low else 0.5


# -- two quantities ----------------------------------------------------------------------------


def _tradeoff(table: Table, column: str) -> Chart | None:
    points = [row for row in possible_points(table) if row[column] is not None]
    if not points:
        return None
    drawn, told = sampled(points, MOST_POINTS)
    options = varied_options(table)
    rows = [
        {"point": row["point"], **{f"option_{name}": row[name] for name in options}}
        | {"cycles": row["cycles"], column: row[column], "shown": _FRONT if row["on_front"] else _OTHERS}
        for row in sorted(drawn, key=lambda row: row["on_front"])
    ]
    title, unit = _METRICS[column], table.units.get(column, "1")
    values = {str(i): row[column] for i, row in enumerate(points)}
    fewest, lowest = min(points, key=lambda row: (row["cycles"], row[column])), points[int(least(values)[0])]
    see = [best_sentence(points, options)]
    if fewest[column] > lowest[column] > 0:
        ratio = times(fewest[column] / lowest[column])
        see.append(f"It has {ratio} times the least {title}, {quantity(lowest[column], unit)}.")
    front = sum(row["on_front"] for row in points)
    objectives = _objectives(table)
    here = {"seconds", "cycles", column}
    unseen = [OBJECTIVE_WORDS.get(name, name) for name in objectives if name not in here]
    see += [
        f"{count_of(front, 'point')} of {len(points):,} are on the Pareto front{_front_words(table)}.",
        f"The front is of {len(objectives)} measures; a point that this figure shows as worse may be on it"
        f" for its {listed(unseen)}."
        if unseen
        else "",
        failed_sentence(table),
        told,
    ]
    name = f"sweep_{title}"
    units = {"point": "1", **{f"option_{n}": table.units.get(n, "1") for n in options}}
    return Chart(
        name=name,
        title=f"{title.capitalize()} against cycles: {named(table.attrs.get('accelerator', ''))}",
        see=" ".join(words for words in see if words),
        data=table_of(name, rows, units | {"cycles": "cycles", column: unit, "shown": ""}),
        marks=[
            ChartMark(
                "point",
                ChartAxis("cycles", "time", unit="cycles", zero=False),
                ChartAxis(column, title, unit=unit, zero=False),
                colour=ChartAxis("shown", "shown", "nominal", order=[_OTHERS, _FRONT]),
                told=[f"option_{option}" for option in options],
            )
        ],
    )
