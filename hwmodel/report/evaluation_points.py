"""Points of an evaluation as its figures show them: names of settings and ways, scores, long form."""

from __future__ import annotations

from typing import Any

from bitxcore.plot.chart import ChartAxis
from bitxcore.tables import Table
from hwmodel.report.figure_colours import MANY_COLOURS
from hwmodel.report.figure_sources import LenientRow

WAYS = ("group", "grouping", "window", "format", "criterion", "rounding", "activation_rows")
"""Columns that say how rows are pruned, whatever their number."""

FRONT, UNPRUNED, OTHERS = "Pareto front", "unpruned", "other ways"
ALIKE, POLICY = "all tensors alike", "by tensor"
MOST_WAYS = 6
"""More ways to prune than these share a colour."""


def points_of(table: Table) -> list[dict[str, Any]]:
    """Give the rows with a name of their setting, and of the way to prune."""
    rows: list[dict[str, Any]] = [LenientRow(row) for row in table.rows()]
    pruned = [row for row in rows if not _is_unpruned(row)]
    differing = [name for name in WAYS if len({row[name] for row in pruned}) > 1]
    ways: dict[str, int] = {}
    for row in rows:
        row["way"] = _way(row, differing)
        ways[row["way"]] = ways.get(row["way"], 0) + 1
    if len(ways) > MOST_WAYS:
        kept = sorted(ways, key=lambda way: (way != UNPRUNED, -ways[way]))[: MOST_WAYS - 1]
        for row in rows:
            row["shown"] = row["way"] if row["way"] in kept else OTHERS
    else:
        for row in rows:
            row["shown"] = row["way"]
    policies = 0
    for row in rows:
        policies += row["policy"] is not None
        row["setting"] = _setting(row, policies)
    return rows


def shown_axis(points: list[dict[str, Any]]) -> ChartAxis:
    """Give the axis of colours: the same in all figures of `points`, and for these names in all figures."""
    order = dict.fromkeys([ALIKE, FRONT, POLICY, UNPRUNED, OTHERS])
    order |= dict.fromkeys(row["shown"] for row in points)
    return ChartAxis("shown", "shown", "nominal", order=list(order), colours=MANY_COLOURS)


def _is_unpruned(row: dict[str, Any]) -> bool:
    return all(row[name] is None for name in ("rows", "policy", "format", "activation_rows"))


def _way(row: dict[str, Any], differing: list[str]) -> str:
    if _is_unpruned(row):
        return UNPRUNED
    told = [
        f"{name.replace('_', ' ')} {row[name]}"
        for name in differing
        if row[name] is not None and not (name == "grouping" and row[name] == "flat")
    ]
    if row["policy"] is not None:
        told.insert(0, POLICY)
    elif row["rows"] is None:
        told.insert(0, "all rows")
    return ", ".join(told) or ALIKE


def _setting(row: dict[str, Any], policy: int) -> str:
    if row["way"] == UNPRUNED:
        return UNPRUNED
    if row["policy"] is not None:
        return f"{row['way']} (policy {policy})"
    rows = "" if row["rows"] is None else f"rows {row['rows']}"
    way = "" if row["way"] == ALIKE and rows else row["way"]
    return ", ".join(words for words in (rows, way) if words)


def score_of(value: float, unit: str) -> str:
    """Write a score; 1 only if it is exactly that."""
    text = f"{value:.4g}"
    if text == "1" and value < 1:
        text = "more than 0.9999"
    return text if unit in ("", "1") else f"{text} {unit}"


def higher_is_better(metric: str) -> bool | None:
    """Ask a metric whether more is better; None if it is not installed here.

    Examples
    --------
    >>> higher_is_better("top1"), higher_is_better("none such") is None
    (True, True)
    """
    from bitxcore.errors import BitxError
    from hwmodel.evaluation.metrics import metric as metric_of

    try:
        return metric_of(metric).higher_is_better
    except BitxError:
        return None


def long_of(points: list[dict[str, Any]], metric: str, x: str) -> list[dict[str, Any]]:
    """Give a row per score, and two more per interval."""
    found = []
    for number, row in enumerate(points):
        values = {"score": row[metric], "low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
        whole = None not in values.values()
        for statistic, value in values.items():
            if statistic == "score" or whole:
                found.append(
                    {
                        "setting": row["setting"],
                        "number": number,
                        "metric": metric,
                        "shown": row["shown"],
                        x: row[x],
                        "statistic": statistic,
                        "score": value,
                        "is_score": statistic == "score",
                        "is_interval": statistic != "score",
                        "is_front": False,
                    }
                )
    return found


def units_of(table: Table, metric: str, x: str, unit: str) -> dict[str, str]:
    """Return the units of the long form's columns."""
    return {
        "setting": "",
        "number": "1",
        "metric": "",
        "shown": "",
        x: unit,
        "statistic": "",
        "score": table.units.get(metric, "1"),
        "is_score": "",
        "is_interval": "",
        "is_front": "",
    }


def against(table: Table, metric: str) -> str:
    """Say so if the score is held against the unpruned model."""
    told = f", {table.attrs.get('against', '')}, "
    if f", {metric}: unpruned, " not in told:
        return ""
    return "The score is against the outputs of the unpruned model, not against labels."


# -- against cycles ----------------------------------------------------------------------------
