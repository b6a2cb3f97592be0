"""What ``bitx evaluate`` prints: scores beside cycles, the front, what holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwmodel.cli import output as out

if TYPE_CHECKING:
    from hwmodel.evaluation import Evaluation, Point, RowsFound, Setting

GRID = ("rows", "group", "grouping", "window", "format", "criterion", "rounding", "activation_rows")
"""Options that take several values; their full product is visited."""

_WORDS = {"rows": "all", "group": "whole", "window": "default", "format": "own", "activation_rows": "all"}
"""What stands for None."""

_NUMBERS = ("rows", "group", "window", "activation_rows")

_BROKEN = {"grouping": "group-\ning", "activation_rows": "act.\nrows"}
"""Headings of columns that are narrow."""


def value_text(name: str, value: Any) -> str:
    """Return an option's value as the command line has it."""
    return _WORDS[name] if value is None else str(value)


def print_evaluation(found: Evaluation, all_metrics: bool) -> None:
    """Print the table of an evaluation, its front and what holds."""
    from hwmodel.evaluation import metric

    varied = [n for n in GRID if n == "rows" or len({getattr(p.setting, n) for p in _pruned(found)}) > 1]
    first, *others = [metric(name) for name in found.metrics]
    if not all_metrics:  # one more: the table then has room beside the cycles
        others = sorted(others, key=lambda m: m.against != "unpruned")[:1]
    front = set(found.front)

    def cells(i: int, point: Point) -> dict[str, Any]:
        score = point.scores[first.name]
        return {
            **dict(zip(varied, _setting_cells(point, varied), strict=True)),
            "on_front": "*" if i in front else "",
            first.name: score.value,
            "interval": _interval(first, point),
            "change": _change(first, score.difference) if i else "",
            **{m.name: point.scores[m.name].value for m in others},
            **point.machine.columns(),
        }

    def scores(m: Any, *, more: bool) -> out.Shown:
        return out.Shown(m.name, _heading(m), lambda value: _score(m, value), more=more)

    out.print_rows(
        [
            *(out.Shown(n, _BROKEN.get(n, n), text=n not in _NUMBERS) for n in varied),
            out.Shown("on_front", "", text=True),
            scores(first, more=False),
            out.Shown("interval", "95%\ninterval"),
            out.Shown("change", "change"),
            *(scores(m, more=True) for m in others),
            out.Shown("cycles", "cycles", out.count),
            out.Shown("speedup_over_unpruned", "x un-\npruned", out.times),
            out.Shown("work_speedup", "x work", out.times, more=True),
        ],
        [cells(i, point) for i, point in enumerate(found.points)],
        title=f"{found.task}; scored: {out.counted(found.points[0].samples, 'sample')}",
        keys=len(varied) + 1,
    )
    out.say(
        f"* Pareto front of {first.name} × cycles: {len(front)} of {out.counted(len(found.points), 'point')}"
    )
    out.say(*_held_lines(found))
    notes = []
    if any(m.against == "unpruned" for m in (first, *others)):
        names = ", ".join(m.name for m in (first, *others) if m.against == "unpruned")
        notes.append(
            out.Note("columns", f"{names}: compared with what the unpruned model gives, not with labels")
        )
    notes += [out.Note("kept ones", line) for line in _ones_lines(found)]
    reasons: dict[str, list[str]] = {}
    for point in found.points:
        if point.machine.reason is not None:
            reasons.setdefault(point.machine.reason, []).append(point.setting.label)
    for reason, settings in reasons.items():
        line = f"no cycles: {_some(settings)}: {reason}"
        notes.append(out.Note("settings without cycles", line, line))
    out.say_notes(notes)


def _ones_lines(found: Evaluation) -> list[str]:
    """Say what rows that products choose cost in ones, beside as many that weights choose."""
    return [
        f"kept ones per weight that meets no zero: {point.setting.label}: {point.kept_ones_mean:.2f};"
        f" by the weights alone {point.plain_kept_ones_mean:.2f}"
        for point in found.points
        if point.kept_ones_mean is not None and point.plain_kept_ones_mean is not None
    ]


def _pruned(found: Evaluation) -> list[Point]:
    return found.points[1:] or found.points


def _some(names: list[str]) -> str:
    return "; ".join(names[:2]) + (f"; and {len(names) - 2} more" if len(names) > 2 else "")


def _setting_cells(point: Point, varied: list[str]) -> list[str]:
    setting = point.setting
    if setting.policy is not None:
        name = Path(setting.policy.path).name if setting.policy.path else "policy"
        return [name if n == "rows" else _value_or_dash(n, setting) for n in varied]
    if setting.rows is None and setting.activation_rows is None:  # nothing else of it counts then
        return [value_text(n, getattr(setting, n)) if n in ("rows", "format") else "–" for n in varied]
    return [value_text(name, getattr(setting, name)) for name in varied]


def _value_or_dash(name: str, setting: Setting) -> str:
    return value_text(name, setting.format) if name == "format" else "–"


def _heading(m: Any) -> str:
    unit = "%" if m.is_share else "" if m.unit == "1" else m.unit
    return "\n".join(part for part in (*m.name.split("_"), unit) if part)


def _score(m: Any, value: float) -> str:
    return f"{100 * value:.2f}" if m.is_share else f"{value:.4f}"


def _interval(m: Any, point: Point) -> str:
    score = point.scores[m.name]
    low, high = (f"{100 * x:.1f}" if m.is_share else f"{x:.4f}" for x in (score.low, score.high))
    return f"{low}–{high}"


def _change(m: Any, value: float) -> str:
    """Points of a share, to be seen beside percent; else the difference."""
    return f"{100 * value:+.2f}" if m.is_share else f"{value:+.4f}"


def _held_lines(found: Evaluation) -> list[str]:
    """Say at how many rows the first metric holds."""
    from hwmodel.evaluation import metric
    from hwmodel.evaluation.evaluated import LOSS, SURE

    scorer = metric(found.metrics[0])
    loss = f"{100 * LOSS:g} points" if scorer.is_share else f"{LOSS:.1%}"
    held = found.held()
    lines = []
    for way, within, unsure in held:
        of = "" if len(held) == 1 else f" ({way.way})"
        lines.append(f"within {loss} of unpruned in {scorer.name}{of}: {_rows(within)}")
        if scorer.against == "labels":
            lines.append(f"no significant loss in {scorer.name}{of}, p ≥ {SURE}: {_rows(unsure)}")
    return lines


def _rows(fewest: int | None) -> str:
    return "no number of rows that was tried" if fewest is None else f"rows ≥ {fewest}"


def evaluation_rows(found: Evaluation) -> list[dict[str, Any]]:
    """Return a row per point, as stores have them."""
    front = set(found.front)
    return [point.columns() | {"on_front": i in front} for i, point in enumerate(found.points)]


def evaluation_document(
    found: Evaluation,
    parameters: dict[str, Any],
    written: list[str | None],
    rows_found: RowsFound | None = None,
) -> dict[str, Any]:
    """Return an evaluation for `--json`."""
    from hwmodel.evaluation.evaluated import LOSS, point_units

    return {
        "parameters": parameters,
        "task": found.task,
        "metrics": found.metrics,
        "against": found.against,
        "units": point_units(found.metrics),
        "points": [point.columns() for point in found.points],
        "front": found.front,
        "held": [
            {**way.columns(), "loss": LOSS, "rows": within, "rows_without_sure_loss": unsure}
            for way, within, unsure in found.held()
        ],
        "resumed_points": found.resumed,
        "written": [path for path in written if path],
    } | ({} if rows_found is None else {"rows_found": _found_document(rows_found)})


# -- rows by tensor ----------------------------------------------------------------------------


def print_rows_found(rows: RowsFound, found: Evaluation) -> None:
    """Say what a search of rows by tensor has found, beside one number of rows for all."""
    from hwmodel.evaluation import metric

    scorer = metric(found.metrics[0])
    allowed = f"{100 * rows.loss:g} points" if scorer.is_share else f"{rows.loss:.2%}"
    counts: dict[int | None, int] = {}
    for options in rows.policy.tensors.values():
        counts[options.rows] = counts.get(options.rows, 0) + 1
    kept = ", ".join(f"{n} of {rows}" for rows, n in sorted(counts.items(), key=lambda c: -(c[0] or 0)))
    score = rows.point.scores[scorer.name]
    out.say(
        f"rows by tensor: {out.count(rows.point.machine.cycles)} cycles, {scorer.name}"
        f" {_score(scorer, score.value)} ({_change(scorer, score.difference)}); tensors by rows: {kept}"
    )
    if rows.single is None or rows.single.machine.cycles is None:
        out.say(f"one number of rows for all: none that was tried is within {allowed}")
        return
    share = 1 - (rows.point.machine.cycles or 0) / rows.single.machine.cycles
    out.say(
        f"one number of rows for all within {allowed}: {rows.single.setting.rows} rows,"
        f" {out.count(rows.single.machine.cycles)} cycles; by tensor {share:.1%} fewer"
    )


def _found_document(rows: RowsFound) -> dict[str, Any]:
    return {
        "loss": rows.loss,
        "policy": rows.policy.document(),
        "cycles": rows.point.machine.cycles,
        "single_rows": rows.single.setting.rows if rows.single else None,
        "single_cycles": rows.single.machine.cycles if rows.single else None,
    }
