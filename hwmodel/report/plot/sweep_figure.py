"""The space of a sweep: parallel coordinates, each option against cycles, and the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_sources import Source, chosen, tables_of
from hwmodel.report.figure_words import count_of, identifiers, least, listed, named, quantity, table_of, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 300
"""Of parallel coordinates; of more points a sample is drawn."""

MOST_POINTS = 3000
"""Of the other figures."""

_METRICS = {"cycles": "cycles", "energy_j": "energy", "area_mm2": "area"}
_FRONT, _OTHERS = "Pareto front", "other points"


def charts(tables: Tables) -> list[Chart]:
    """Make the parallel coordinates, one chart per option, and cycles against energy and area.

    Parameters
    ----------
    tables : Tables
        Of which ``sweep`` is read.
    """
    if "sweep" not in tables:
        return []
    table = tables["sweep"]
    made = [_coordinates(table), *(_tradeoff(table, name) for name in ("energy_j", "area_mm2"))]
    options = varied_options(table)
    names = identifiers("sweep_option", options)
    made += [_option(table, option, name) for option, name in zip(options, names, strict=True)]
    return [chart for chart in made if chart is not None]


def sweep_coordinates(source: Source, *, ax: Axes | None = None) -> Axes:
    """Draw every point of a sweep as a line over its options, cycles, energy and area.

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
    'position from least to most'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "sweep_coordinates"), "", None), ax)


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

    return draw(chosen(_made(source, "sweep_option"), "option", option), ax)


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

    return draw(chosen(_made(source, "sweep_energy"), "", None), ax)


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
    'area (mm2)'
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "sweep_area"), "", None), ax)


def varied_options(table: Table) -> list[str]:
    """Return the options that a sweep varied: the columns between ``point`` and the results.

    Examples
    --------
    >>> varied_options(Table("sweep", {"point": [0], "rows": [6], "layers": [13]}, {}))
    ['rows']
    """
    found = []
    for name in table.columns:
        if name == "layers":
            break
        found.append(name)
    return [name for name in found if name != "point"]


def _made(source: Source, prefix: str) -> list[Chart]:
    return [chart for chart in charts(tables_of(source)) if chart.name.startswith(prefix)]


def _points(table: Table) -> list[dict[str, Any]]:
    return [row for row in table.rows() if row["cycles"] is not None]


def _sample(points: Sequence[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], str]:
    """Choose at most so many points: the front, then others at even steps of cycles; and say so."""
    if len(points) <= most:
        return list(points), ""
    front = [row for row in points if row["on_front"]]
    rest = sorted((row for row in points if not row["on_front"]), key=lambda row: row["cycles"])
    kept = _even(sorted(front, key=lambda row: row["cycles"]), most)
    kept += _even(rest, most - len(kept))
    drawn = {row["point"] for row in kept}
    told = (
        f"Drawn are {len(kept):,} of {len(points):,} points: the front, and others at even steps of cycles."
    )
    return [row for row in points if row["point"] in drawn], told


def _even(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[i * (len(rows) - 1) // max(most - 1, 1)] for i in range(most)]


def _failed(table: Table) -> str:
    failed = sum(value is None for value in table.columns["cycles"])
    return f"{count_of(failed, 'point')} {'is' if failed == 1 else 'are'} not possible." if failed else ""


def _best(points: Sequence[dict[str, Any]], options: Sequence[str]) -> str:
    """Say which points have fewest cycles."""
    by_point = {str(i): row["cycles"] for i, row in enumerate(points)}
    top = [points[int(i)] for i in least(by_point)]
    told = quantity(top[0]["cycles"], "cycles")
    if len(top) == 1:
        where = ", ".join(f"{named(name)}={named(_text(top[0][name]))}" for name in options)
        return f"Fewest cycles: {told}, with {where}."
    return f"Fewest cycles: {told}, at {len(top):,} points."


def _text(value: Any) -> str:
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)


# -- parallel coordinates ----------------------------------------------------------------------


def _coordinates(table: Table) -> Chart | None:
    points = _points(table)
    if not points:
        return None
    options = varied_options(table)
    metrics = [name for name in _METRICS if any(row[name] is not None for row in points)]
    drawn, told = _sample(points, MOST_LINES)
    scales = {name: _steps([row[name] for row in points]) for name in options}
    scales |= {name: _span([row[name] for row in points]) for name in metrics}
    labels = {name: _dimension(name, table.units[name], points) for name in (*options, *metrics)}
    rows = [
        {
            "point": row["point"],
            "dimension": name,
            "shown_as": labels[name],
            "value": row[name],
            "unit": table.units[name],
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
    see = [_best(points, options)]
    if max(cycles) > min(cycles) > 0:
        see.append(f"The slowest point takes {times(max(cycles) / min(cycles))} times as many.")
    front = sum(row["on_front"] for row in points)
    see += [f"{count_of(front, 'point')} of {len(points):,} are on the Pareto front.", _failed(table), told]
    return Chart(
        name="sweep_coordinates",
        title=f"Space of the sweep: {named(table.attrs.get('accelerator', ''))}",
        see=" ".join(words for words in see if words),
        data=table_of("sweep_coordinates", rows, units),
        marks=[
            ChartMark(
                "line",
                ChartAxis("shown_as", "option or result", "nominal", order=list(labels.values())),
                ChartAxis("position", "position from least to most"),
                colour=ChartAxis("cycles", "time", unit="cycles", log=min(cycles) > 0),
                line="point",
            )
        ],
    )


def _dimension(name: str, unit: str, points: Sequence[dict[str, Any]]) -> str:
    """Name a dimension, with its ends."""
    values = _in_order([row[name] for row in points])
    title = named(_METRICS.get(name, name))
    suffix = "1" if name not in _METRICS or name == "cycles" else unit

    ends = [values[0], values[-1]] if len(values) > 1 else values
    if name in _METRICS:
        return f"{title}: {' to '.join(quantity(value, suffix) for value in ends)}"
    return f"{title}: {' to '.join(named(_text(value)) for value in ends)}"


def _in_order(values: Sequence[Any]) -> list[Any]:
    """List different values, numbers by size, None last: without a limit."""
    different = list(dict.fromkeys(values))
    given = [value for value in different if value is not None]
    if all(isinstance(value, (int, float)) for value in given):
        given.sort()
    return given + ([None] if None in different else [])


def _steps(values: Sequence[Any]) -> Any:
    """Place the values of an option at even steps."""
    order = _in_order(values)
    places = {value: i / (len(order) - 1) if len(order) > 1 else 0.5 for i, value in enumerate(order)}
    return lambda value: places[value]


def _span(values: Sequence[float | None]) -> Any:
    """Place the values of a result between the least and the most."""
    given = [value for value in values if value is not None]
    low, high = min(given), max(given)
    return lambda value: None if value is None else (value - low) / (high - low) if high > low else 0.5


# -- two quantities ----------------------------------------------------------------------------


def _option(table: Table, option: str, name: str) -> Chart | None:
    points = _points(table)
    if not points:
        return None
    order = _in_order([row[option] for row in points])
    drawn, told = _sample(points, MOST_POINTS)
    middle = {value: median([row["cycles"] for row in points if row[option] == value]) for value in order}
    rows = [
        {
            "option": option,
            "value": _text(row[option]),
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
            "value": _text(value),
            "shown": "median",
            "cycles": cycles,
            "is_point": False,
            "is_median": True,
        }
        for value, cycles in middle.items()
    ]
    unit = table.units[option]
    x = ChartAxis("value", named(option), "ordinal", unit=unit, order=[_text(value) for value in order])
    y = ChartAxis("cycles", "time", unit="cycles")
    shown = ChartAxis("shown", "shown", "nominal", order=["point", "median"])
    units = {"option": "", "value": unit, "shown": "", "point": "1", "cycles": "cycles"}
    return Chart(
        name=name,
        title=f"Cycles by {named(option)}",
        see=" ".join(words for words in (_effect(option, middle), _failed(table), told) if words),
        data=table_of(name, rows, units | {"is_point": "", "is_median": ""}),
        marks=[
            ChartMark("point", x, y, colour=shown, only="is_point"),
            ChartMark("line", x, y, colour=shown, only="is_median"),
        ],
    )


def _effect(option: str, middle: dict[Any, float]) -> str:
    told = {_text(value): cycles for value, cycles in middle.items()}
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


def _tradeoff(table: Table, column: str) -> Chart | None:
    points = [row for row in _points(table) if row[column] is not None]
    if not points:
        return None
    drawn, told = _sample(points, MOST_POINTS)
    options = varied_options(table)
    rows = [
        {"point": row["point"], **{f"option_{name}": row[name] for name in options}}
        | {"cycles": row["cycles"], column: row[column], "shown": _FRONT if row["on_front"] else _OTHERS}
        for row in sorted(drawn, key=lambda row: row["on_front"])
    ]
    title, unit = _METRICS[column], table.units[column]
    values = {str(i): row[column] for i, row in enumerate(points)}
    fewest, lowest = min(points, key=lambda row: (row["cycles"], row[column])), points[int(least(values)[0])]
    see = [_best(points, options)]
    if fewest[column] > lowest[column] > 0:
        ratio = times(fewest[column] / lowest[column])
        see.append(f"It has {ratio} times the least {title}, {quantity(lowest[column], unit)}.")
    front = sum(row["on_front"] for row in points)
    objectives = table.attrs.get("objectives")
    of = f" of {named(objectives)}" if objectives else ""
    see += [
        f"{count_of(front, 'point')} of {len(points):,} are on the Pareto front{of}.",
        _failed(table),
        told,
    ]
    name = f"sweep_{title}"
    units = {"point": "1", **{f"option_{n}": table.units[n] for n in options}}
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
