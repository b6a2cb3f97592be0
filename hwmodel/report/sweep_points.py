"""Points of a sweep, as figures need them: which are drawn, and what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bitxcore.tables import Table
from hwmodel.report.figure_sources import LenientRow
from hwmodel.report.figure_words import count_of, least, named, quantity

OBJECTIVE_WORDS = {"seconds": "time", "energy_j": "energy", "relative_error": "error", "area_mm2": "area"}
"""Objectives of a front, in words."""


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


def possible_points(table: Table) -> list[dict[str, Any]]:
    """Give the points that have cycles: others are no machines.

    Examples
    --------
    >>> possible_points(Table("sweep", {"point": [0, 1], "cycles": [5, None]}, {}))
    [{'point': 0, 'cycles': 5}]
    """
    return [row for row in map(LenientRow, table.rows()) if row["cycles"] is not None]


def sampled(points: Sequence[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], str]:
    """Choose at most so many points, and say which: the front, then others.

    Examples
    --------
    >>> points = [{"point": i, "cycles": i, "on_front": i == 7} for i in range(9)]
    >>> drawn, told = sampled(points, 4)
    >>> [row["point"] for row in drawn], told[:28]
    ([0, 3, 7, 8], 'Drawn are 4 of 9 points: the')
    """
    if len(points) <= most:
        return list(points), ""
    front = [row for row in points if row["on_front"]]
    rest = [row for row in points if not row["on_front"]]
    kept = _even(front, most)
    kept += _even(rest, most - len(kept))
    drawn = {row["point"] for row in kept}
    which = "the front, and others" if len(front) < most else "of the front, those"
    told = f"{len(kept):,} of {len(points):,} points: {which} spread evenly over the order of cycles"
    return [row for row in points if row["point"] in drawn], f"Drawn are {told}."


def _even(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Take rows at even steps of their order by cycles, both ends included."""
    rows = sorted(rows, key=lambda row: row["cycles"])
    if len(rows) <= most:
        return rows
    return [rows[i * (len(rows) - 1) // max(most - 1, 1)] for i in range(most)]


def failed_sentence(table: Table) -> str:
    """Say how many points are not possible.

    Examples
    --------
    >>> failed_sentence(Table("sweep", {"point": [0, 1], "cycles": [5, None]}, {}))
    '1 point is not possible.'
    """
    failed = sum(value is None for value in table.columns.get("cycles", ()))
    return f"{count_of(failed, 'point')} {'is' if failed == 1 else 'are'} not possible." if failed else ""


def best_sentence(points: Sequence[dict[str, Any]], options: Sequence[str]) -> str:
    """Say which points have fewest cycles.

    Examples
    --------
    >>> best_sentence([{"rows": 3, "cycles": 5}, {"rows": 6, "cycles": 9}], ["rows"])
    'Fewest cycles: 5 cycles, with rows=3.'
    """
    by_point = {str(i): row["cycles"] for i, row in enumerate(points)}
    top = [points[int(i)] for i in least(by_point)]
    told = quantity(top[0]["cycles"], "cycles")
    alike = [name for name in options if len({value_text(row[name]) for row in top}) == 1]
    where = ", ".join(f"{named(name)}={named(value_text(top[0][name]))}" for name in alike)
    errors = [row["relative_error"] for row in top if row.get("relative_error") is not None]
    error = f" The relative error of the weights is {max(errors):.1%} there." if errors else ""
    if len(top) == 1:
        return f"Fewest cycles: {told}, with {where}.{error}"
    given = f", all with {where}" if where else ""
    return f"Fewest cycles: {told}, at {len(top):,} points{given}.{error}"


def value_text(value: Any) -> str:
    """Write the value of an option.

    Examples
    --------
    >>> value_text(None), value_text(2.5), value_text(16)
    ('none', '2.5', '16')
    """
    return "none" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)


def values_in_order(values: Sequence[Any]) -> list[Any]:
    """List different values, numbers by size, None last: without a limit.

    Examples
    --------
    >>> values_in_order([4, None, 2, 4])
    [2, 4, None]
    """
    different = list(dict.fromkeys(values))
    given = [value for value in different if value is not None]
    if all(isinstance(value, (int, float)) for value in given):
        given.sort()
    return given + ([None] if None in different else [])
