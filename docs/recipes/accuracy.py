"""Accuracy curves of all tasks: the measured part of docs/accuracy.md, and its plots.

``python docs/recipes/accuracy.py`` evaluates every task, an hour or two on two cores, and keeps a store for
each in out/accuracy; what is finished there is not run again. ``--write`` then puts tables and plots into
docs.
``--tasks digits,crops`` does some tasks only, ``--by-tensor digits`` searches rows by tensor for some only,
``--quick`` takes a fifth of the data, and another folder.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prose import wrapped

from bitxcore.store import Store
from hwmodel.evaluation import (
    Estimate,
    Evaluator,
    Point,
    Setting,
    evaluate,
    metric,
    search_rows,
    task,
)
from hwmodel.evaluation.evaluated import LOSS, is_within

DOCS = Path(__file__).parents[1]
PAGE = DOCS / "accuracy.md"
PLOT = DOCS / "accuracy.svg"
MARK = "<!-- measured -->\n"
OUT = DOCS.parent / "out"

TASKS = {
    "digits": "digits",
    "crops": "EfficientNet-Lite0",
    "ocr": "text lines",
    "pages": "text pages",
    "detector": "detector",
    "minilm": "MiniLM-L6",
    "transformer": "transformer",
}
"""What plots call them."""
ROWS = tuple(range(2, 13))
FORMATS = {None: "float32", "bfloat16": "bfloat16", "fixed16": "fixed16", "fixed8": "fixed8"}
MAGNITUDE_BITS = {"fixed8": 7}
"""Rows from which on nothing is pruned."""
AUTO_LOSS = 0.005


@dataclass(frozen=True)
class Curve:
    """One way to prune, whatever the rows."""

    words: str
    format: str | None = None
    group: int | None = 8
    rows: tuple[int, ...] = ROWS

    def setting(self, rows: int) -> Setting:
        """At so many rows; of a format that has fewer, at all of them."""
        rows = min(rows, MAGNITUDE_BITS.get(self.format or "", rows))
        grouping = "flat" if self.group else "kernel"
        return Setting(rows=rows, group=self.group, grouping=grouping, format=self.format)


CURVES = (
    *(Curve(words, form) for form, words in FORMATS.items()),
    Curve("float32, whole kernels", None, None, (2, 3, 4, 5, 6, 8, 10)),
)


def settings(curves: Sequence[Curve]) -> list[Setting]:
    """Give all points of some curves, and what their formats are alone."""
    alone = [Setting(format=curve.format) for curve in curves if curve.format]
    return [*alone, *(curve.setting(rows) for curve in curves for rows in curve.rows)]


# -- running -------------------------------------------------------------------------------------


def evaluated(name: str, folder: Path, quick: bool) -> list[Point]:
    """Evaluate a task, or read what an earlier run has found; cycles are of the first curve."""
    made = task(name)
    first = made.metrics[:1]
    parts = {name: (CURVES[:1], made.metrics, True), f"{name}-others": (CURVES[1:], first, False)}
    points: list[Point] = []
    for file, (curves, metrics, cycles) in parts.items():
        store = folder / f"{file}.h5"
        if not store.exists():
            start = time.perf_counter()
            how: dict[str, Any] = {"quick": quick, "store": store, "progress": told(file)}
            found = evaluate(made, settings(curves), metrics=metrics, cycles=cycles, **how)
            print(f"{file}: {len(found.points)} points in {time.perf_counter() - start:.0f} s", flush=True)
        with Store.open(store) as kept:
            table = kept.table("evaluation")
        points += [Point.of(row, metrics) for row in rows_of(table)]
    return points


def searched(name: str, folder: Path, quick: bool) -> dict[str, Any] | None:
    """Search rows by tensor, or read what an earlier run has found."""
    found, made = folder / f"{name}.json", task(name)
    if len(made.models) > 1:
        return None
    if not found.exists():
        with Evaluator(made, quick=quick, store=folder / f"{name}-rows.h5") as evaluator:
            rows = search_rows(evaluator, AUTO_LOSS, progress=told(f"{name}, by tensor"))
            evaluator.finished(rows.points, {"loss": AUTO_LOSS})
        rows.policy.save(folder / f"{name}-policy.json")
        scorer = made.metrics[0]
        single = rows.single
        document = {
            "cycles": rows.point.machine.cycles,
            "score": rows.point.scores[scorer].value,
            "difference": rows.point.scores[scorer].difference,
            "single_rows": single.setting.rows if single else None,
            "single_cycles": single.machine.cycles if single else None,
            "single_difference": single.scores[scorer].difference if single else None,
            "rows": sorted(options.rows or 0 for options in rows.policy.tensors.values()),
        }
        found.write_text(json.dumps(document), encoding="utf-8")
    read: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return read


def told(name: str) -> Any:
    """Print a line for every tenth step."""

    def tell(done: int, total: int, step: str) -> None:
        if done % 10 == 0:
            print(f"{name}: {done} of {total} {step}", flush=True)

    return tell


def rows_of(table: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a store's table row by row, as values of Python; what is missing is None."""
    for at in range(len(table["samples"])):
        values = ((name, column[at]) for name, column in table.items())
        yield {name: None if value is np.ma.masked else _plain(value) for name, value in values}


def _plain(value: Any) -> Any:
    """Give a value of Python; text that is empty is missing."""
    found = value.item() if isinstance(value, np.generic) else value
    return None if found == "" or found is np.ma.masked else found


# -- the page ------------------------------------------------------------------------------------


def at(points: Sequence[Point], setting: Setting) -> Point | None:
    """Find a setting's point; of a format that is the model's own, the point without it."""
    return next((point for point in points if point.setting == setting), None)


def cell(name: str, found: Estimate) -> str:
    """Score and interval."""
    if metric(name).is_share:
        return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"
    return f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def unit(name: str) -> str:
    """Of a table's cells."""
    scorer = metric(name)
    return "%" if scorer.is_share else scorer.unit if scorer.unit != "1" else ""


def table_of(name: str, points: Sequence[Point]) -> str:
    """Lay out the first metric of a task."""
    first = task(name).metrics[0]
    lines = [
        f"| rows | {' | '.join(curve.words for curve in CURVES)} | x unpruned | x work |",
        f"|---:|{'---:|' * (len(CURVES) + 2)}",
    ]
    formats = [at(points, Setting(format=form)) for form in FORMATS] + [points[0]]
    whole = [cell(first, (point or points[0]).scores[first]) for point in formats]
    lines.append(f"| all | {' | '.join(whole)} | 1.00 | 1.00 |")
    for rows in reversed(ROWS):
        found = [at(points, curve.setting(rows)) for curve in CURVES]
        cells = ["–" if point is None else cell(first, point.scores[first]) for point in found]
        own = found[0]
        assert own is not None
        gains = own.machine.speedup_over_unpruned, own.machine.work_speedup
        cells += ["–" if gain is None else f"{gain:.2f}" for gain in gains]
        lines.append(f"| {rows} | {' | '.join(cells)} |")
    scorer = metric(first)
    against = "labels" if scorer.against == "labels" else "the unpruned model (agreement, not accuracy)"
    better = "higher" if scorer.higher_is_better else "lower"
    title = f"{first}{f', {unit(first)}' if unit(first) else ''}, against {against}; {better} is better"
    return f"### {name}\n\n{task(name).title}; {points[0].samples} samples. {title}.\n\n" + "\n".join(lines)


def held(points: Sequence[Point], name: str, curve: Curve) -> int | None:
    """Fewest rows from which on a curve is within `LOSS` of the unpruned model."""
    first, fewest = task(name).metrics[0], None
    for rows in sorted(curve.rows, reverse=True):
        point = at(points, curve.setting(rows))
        if point is None or not is_within(first, point.scores[first], LOSS):
            break
        fewest = rows
    return fewest


def holds(all_points: dict[str, list[Point]]) -> str:
    """Lay out at how few rows each task holds."""
    lines = [f"| task | {' | '.join(curve.words for curve in CURVES)} |", f"|---|{'---:|' * len(CURVES)}"]
    for name, points in all_points.items():
        found = [held(points, name, curve) for curve in CURVES]
        lines.append(f"| {name} | {' | '.join('none' if rows is None else str(rows) for rows in found)} |")
    return "\n".join(lines)


def ten_rows(all_points: dict[str, list[Point]]) -> str:
    """Say of each labelled task what ten rows lose."""
    lines = [
        "| task | metric | unpruned | 10 rows | change | its interval | within |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name, points in all_points.items():
        first = task(name).metrics[0]
        scorer = metric(first)
        if scorer.against != "labels":
            continue
        point = at(points, CURVES[0].setting(10))
        assert point is not None
        score, before = point.scores[first], points[0].scores[first]
        factor, digits = (100, 2) if scorer.is_share else (1, 4)
        ends = f"{factor * score.difference_low:+.{digits}f} to {factor * score.difference_high:+.{digits}f}"
        inside = score.difference_low <= 0 <= score.difference_high
        words = "yes" if is_within(first, score, LOSS) else "the interval" if inside else "no"
        lines.append(
            f"| {name} | {first} | {factor * before.value:.{digits}f} | {factor * score.value:.{digits}f}"
            f" | {factor * score.difference:+.{digits}f} | {ends} | {words} |"
        )
    return "\n".join(lines)


def by_tensor(found: dict[str, dict[str, Any] | None]) -> str:
    """Lay out what rows by tensor gain over one number of rows."""
    lines = [
        "| task | one number of rows | its cycles | its change | cycles by tensor | change | fewer cycles"
        " | rows of tensors |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, one in found.items():
        if one is None:
            continue
        scorer = metric(task(name).metrics[0])
        shown = [
            f"{100 * d:+.2f}" if scorer.is_share else f"{d:+.4f}"
            for d in (one["single_difference"] or 0, one["difference"])
        ]
        saved = f"{100 * (1 - one['cycles'] / one['single_cycles']):.1f} %" if one["single_cycles"] else "–"
        counts = ", ".join(f"{one['rows'].count(n)} of {n}" for n in sorted({*one["rows"]}, reverse=True))
        single = f"{one['single_cycles']:,}" if one["single_cycles"] else "–"
        lines.append(
            f"| {name} | {one['single_rows'] or 'none'} | {single} | {shown[0]}"
            f" | {one['cycles']:,} | {shown[1]} | {saved} | {counts} |"
        )
    return "\n".join(lines)


def plot(all_points: dict[str, list[Point]], path: Path) -> None:
    """Draw one panel per task: score against rows, with intervals."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "bitx"
    mpl.rcParams["svg.fonttype"] = "none"
    columns = 2
    lines = -(-len(all_points) // columns)
    figure = Figure(figsize=(8, 2.6 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False).reshape(-1)
    # Okabe and Ito's colours, and a mark for each, so that no curve is told by its colour alone.
    styles = (("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#D55E00", "v"), ("#000000", "x"))
    for axis, (name, points) in zip(axes, all_points.items(), strict=False):
        first = task(name).metrics[0]
        factor = 100 if metric(first).is_share else 1
        for curve, (colour, mark) in zip(CURVES, styles, strict=True):
            found = [(rows, point) for rows in ROWS if (point := at(points, curve.setting(rows)))]
            scores = [point.scores[first] for _, point in found]
            rows = [n for n, _ in found]
            axis.plot(
                rows,
                [factor * s.value for s in scores],
                color=colour,
                marker=mark,
                markersize=3.5,
                linewidth=1,
                label=curve.words,
            )
            axis.fill_between(
                rows,
                [factor * s.low for s in scores],
                [factor * s.high for s in scores],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
        axis.axhline(factor * points[0].scores[first].value, color="0.5", linewidth=0.8, linestyle=":")
        axis.set_title(TASKS[name], fontsize=9)
        axis.set_ylabel(
            f"{first.replace('_', ' ')} ({unit(first)})" if unit(first) else first.replace("_", " "),
            fontsize=8,
        )
        axis.tick_params(labelsize=8)
        axis.grid(color="0.9", linewidth=0.5)
    for axis in axes[len(all_points) :]:
        axis.set_visible(False)
    for axis in axes[-columns - (len(axes) - len(all_points)) : len(all_points)]:
        axis.set_xlabel("rows kept per group", fontsize=8)
        axis.tick_params(labelbottom=True)
    axes[0].legend(fontsize=7, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Evaluate, and write if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument(
        "--by-tensor", default=",".join(TASKS), help="tasks whose rows by tensor are searched"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    folder = OUT / ("accuracy-quick" if given.quick else "accuracy")
    folder.mkdir(parents=True, exist_ok=True)
    names = given.tasks.split(",")
    points = {name: evaluated(name, folder, given.quick) for name in names}
    by_tensor = given.by_tensor.split(",")
    found = {name: searched(name, folder, given.quick) for name in names if name in by_tensor}
    text = measured(points, found)
    if not given.write:
        print(text)
        return
    plot(points, PLOT)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    after = rest.partition(MARK)[2]
    PAGE.write_text(before + MARK + "\n" + wrapped(text) + "\n" + MARK + after, encoding="utf-8")


def measured(points: dict[str, list[Point]], found: dict[str, dict[str, Any] | None]) -> str:
    """Lay out the section."""
    tables = "\n\n".join(table_of(name, some) for name, some in points.items())
    return f"""**Where accuracy holds.** The fewest rows from which on the first metric is at most 0.5 points
worse than the unpruned model's (0.5 % of a score that is no share). *None*: not even 12 rows
are enough.

{holds(points)}

**Ten rows, the paper's BitX-mild,** on every task with labels, float32, groups of 8:

{ten_rows(points)}

**Rows by tensor** (`--rows auto:0.5`), beside the best single number of rows within the same
loss. If a network waits for its weights in DRAM, as the transformer and MiniLM do, fewer ones
save next to nothing:

{by_tensor(found)}

{tables}
"""


if __name__ == "__main__":
    main()
