"""What pruning does to a model: its score against cycles, with the Pareto front, and against rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitxcore.plot.chart import Chart, ChartAxis, ChartMark
from bitxcore.tables import Table, Tables
from hwmodel.report.evaluation_points import (
    FRONT,
    UNPRUNED,
    against,
    higher_is_better,
    long_of,
    points_of,
    score_of,
    shown_axis,
    units_of,
)
from hwmodel.report.figure_sources import Source, chosen, tables_of
from hwmodel.report.figure_words import count_of, identifiers, named, quantity, table_of, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def charts(tables: Tables) -> list[Chart]:
    """Make a chart of the score against cycles, and one against rows, for each metric.

    Parameters
    ----------
    tables : Tables
        Of which ``evaluation`` is read.
    """
    if "evaluation" not in tables:
        return []
    table = tables["evaluation"]
    metrics = [name for name in str(table.attrs.get("metrics", "")).split(", ") if name in table.columns]
    points = points_of(table)
    over_cycles = identifiers("score_by_cycles", metrics)
    over_rows = identifiers("score_by_rows", metrics)
    made = [
        chart
        for i, metric in enumerate(metrics)
        for chart in (
            _by_cycles(table, points, metric, over_cycles[i], first=i == 0),
            _by_rows(table, points, metric, over_rows[i]),
        )
    ]
    return [chart for chart in made if chart is not None]


def score_by_cycles(source: Source, metric: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the score of every setting against its cycles, with the Pareto front and 95 % intervals.

    Parameters
    ----------
    source : Evaluation, Tables, Store, str or path-like
        A result, or a store of one.
    metric : str, optional
        By default the first.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure, or there is no such metric.

    Examples
    --------
    >>> import hwmodel as hw
    >>> from bitxcore.tables import Table, Tables
    >>> scores = {"rows": [None, 6, 4], "top1": [0.992, 0.992, 0.979], "cycles": [10_000, 6730, 6281]}
    >>> rest = {name: [None] * 3 for name in ("policy", "format", "activation_rows")}
    >>> columns = scores | rest | {"on_front": [False, True, True]}
    >>> found = Tables([Table("evaluation", columns, dict.fromkeys(columns, "1"), {"metrics": "top1"})])
    >>> ax = hw.plot.score_by_cycles(found)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('time (cycles)', 'top1')
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "score_by_cycles"), "metric", metric, "evaluation"), ax)


def score_by_rows(source: Source, metric: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the score of every setting against the rows that a group keeps, with 95 % intervals.

    Parameters
    ----------
    source : Evaluation, Tables, Store, str or path-like
        A result, or a store of one.
    metric : str, optional
        By default the first.
    ax : matplotlib.axes.Axes, optional
        By default new ones, of one column's width.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    OptionError
        If the source has no data for this figure, or there is no such metric.

    Examples
    --------
    >>> import hwmodel as hw
    >>> from bitxcore.tables import Table, Tables
    >>> scores = {"rows": [None, 6, 4], "top1": [0.992, 0.992, 0.979], "cycles": [10_000, 6730, 6281]}
    >>> rest = {name: [None] * 3 for name in ("policy", "format", "activation_rows")}
    >>> columns = scores | rest | {"on_front": [False, True, True]}
    >>> found = Tables([Table("evaluation", columns, dict.fromkeys(columns, "1"), {"metrics": "top1"})])
    >>> ax = hw.plot.score_by_rows(found)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('rows kept per group', 'top1')
    """
    from bitxcore.plot.drawing import draw

    return draw(chosen(_made(source, "score_by_rows"), "metric", metric, "evaluation"), ax)


def _made(source: Source, prefix: str) -> list[Chart]:
    return [chart for chart in charts(tables_of(source)) if chart.name.startswith(prefix)]


def _by_cycles(
    table: Table, points: list[dict[str, Any]], metric: str, name: str, *, first: bool
) -> Chart | None:
    timed = [row for row in points if row["cycles"] is not None and row[metric] is not None]
    if not timed:
        return None
    rows = long_of(timed, metric, "cycles")
    front = [row for row in timed if row["on_front"]] if first else []  # it is the front of the first metric
    rows += [
        {
            "setting": row["setting"],
            "metric": metric,
            "shown": FRONT,
            "cycles": row["cycles"],
            "statistic": "score",
            "score": row[metric],
            "is_score": False,
            "is_interval": False,
            "is_front": True,
        }
        for row in front
    ]
    x = ChartAxis("cycles", "time", unit="cycles", zero=False)
    y = ChartAxis("score", named(metric), unit=table.units.get(metric, "1"), zero=False)
    shown = shown_axis(points)
    marks = [ChartMark("step", x, y, colour=shown, only="is_front")] if front else []
    if any(row["is_interval"] for row in rows):
        marks.append(ChartMark("line", x, y, colour=shown, line="number", only="is_interval"))
    marks.append(ChartMark("point", x, y, colour=shown, only="is_score", told=("setting",)))
    without = len(points) - len(timed)
    see = [*_speed_sentences(timed, metric, table.units.get(metric, "1"))]
    if front:
        see.append(f"{count_of(len(front), 'point')} of {len(timed):,} are on the Pareto front.")
    if without:
        see.append(
            f"{count_of(without, 'setting')} without cycles {'is' if without == 1 else 'are'} not drawn."
        )
    see.append(against(table, metric))
    return Chart(
        name=name,
        title=f"{named(metric)} against cycles",
        see=" ".join(words for words in see if words),
        data=table_of(name, rows, units_of(table, metric, "cycles", "cycles")),
        marks=marks,
    )


def _speed_sentences(timed: list[dict[str, Any]], metric: str, unit: str) -> list[str]:
    """Say which setting is fastest, and which of those that score as the unpruned model does."""
    unpruned = next((row for row in timed if row["way"] == UNPRUNED), None)
    pruned = [row for row in timed if row["way"] != UNPRUNED]
    if unpruned is None or not pruned:
        return [_fastest(timed, metric, unit, None)]
    score, cycles = score_of(unpruned[metric], unit), quantity(unpruned["cycles"], "cycles")
    said = [f"Unpruned, {named(metric)} is {score} at {cycles}."]
    higher = higher_is_better(metric)
    if higher is not None:
        sign = 1 if higher else -1
        level = [row for row in pruned if sign * row[metric] >= sign * unpruned[metric]]
        if level:
            best = min(level, key=lambda row: row["cycles"])
            said.append(
                f"The fastest setting that scores no worse is {named(best['setting'])}:"
                f" {times(unpruned['cycles'] / best['cycles'])} times as fast."
                if best["cycles"]
                else ""
            )
        else:
            said.append("All pruned settings score worse.")
    return [*said, _fastest(pruned, metric, unit, unpruned)]


def _fastest(rows: list[dict[str, Any]], metric: str, unit: str, unpruned: dict[str, Any] | None) -> str:
    best = min(rows, key=lambda row: row["cycles"])
    gain = quantity(best["cycles"], "cycles")
    if unpruned is not None and best["cycles"]:
        gain = f"{times(unpruned['cycles'] / best['cycles'])} times as fast"
    return f"The fastest of all is {named(best['setting'])}: {gain}, with {score_of(best[metric], unit)}."


# -- against rows ------------------------------------------------------------------------------


def _by_rows(table: Table, points: list[dict[str, Any]], metric: str, name: str) -> Chart | None:
    pruned = [
        row for row in points if row["rows"] is not None and row["policy"] is None and row[metric] is not None
    ]
    if not pruned:
        return None
    rows = long_of(pruned, metric, "rows")
    unpruned = next((row for row in points if row["way"] == UNPRUNED), None)
    units = units_of(table, metric, "rows", "1") | {"is_unpruned": ""}
    units.pop("is_front")
    x = ChartAxis("rows", "rows kept per group", zero=False)
    y = ChartAxis("score", named(metric), unit=table.units.get(metric, "1"), zero=False)
    shown = shown_axis(points)
    marks = [
        ChartMark("line", x, y, colour=shown, line="way", only="is_score"),
        ChartMark("line", x, y, colour=shown, line="number", only="is_interval"),
        ChartMark("point", x, y, colour=shown, only="is_score", told=("setting",)),
    ]
    if not any(row["is_interval"] for row in rows):
        del marks[1]
    for row in rows:
        row["way"] = pruned[row["number"]]["way"]
        row["is_unpruned"] = False
    if unpruned is not None and unpruned[metric] is not None:
        rows.append(
            {
                "setting": UNPRUNED,
                "metric": metric,
                "shown": UNPRUNED,
                "statistic": "score",
                "score": unpruned[metric],
                "is_score": False,
                "is_interval": False,
                "is_unpruned": True,
            }
        )
        marks.append(ChartMark("rule", x, y, colour=shown, only="is_unpruned"))
    see = [_rows_sentence(pruned, metric, table.units.get(metric, "1")), against(table, metric)]
    if unpruned is not None and unpruned[metric] is not None:
        score = score_of(unpruned[metric], table.units.get(metric, "1"))
        see.insert(1, f"The dotted line is the unpruned model: {score}.")
    return Chart(
        name=name,
        title=f"{named(metric)} against rows kept",
        see=" ".join(words for words in see if words),
        data=table_of(name, rows, units | {"way": ""}),
        marks=marks,
    )


def _rows_sentence(pruned: list[dict[str, Any]], metric: str, unit: str) -> str:
    few, many = (choose(row["rows"] for row in pruned) for choose in (min, max))

    def told(number: int) -> str:
        scores = [row[metric] for row in pruned if row["rows"] == number]
        low, high = score_of(min(scores), unit), score_of(max(scores), unit)
        return low if low == high else f"{low} to {high}"

    if few == many:
        return f"At {count_of(few, 'row')}, {named(metric)} is {told(few)}."
    return f"{named(metric)} is {told(many)} at {count_of(many, 'row')}, and {told(few)} at {few:,}."
