"""``bitx evaluate``: does a pruned network still do its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import json_option, picture_options
from hwmodel.cli.values import Format, IntegerOr, ListOf, OneOf

if TYPE_CHECKING:
    from hwmodel.evaluation import Evaluation, Point, Setting, Task

GRID = ("rows", "group", "grouping", "window", "format", "criterion", "rounding")
"""Options that take several values; their full product is visited."""


@click.command(name="evaluate")
@click.argument("model", metavar="[MODEL.onnx]", required=False)
@click.option("--task", "task_name", metavar="NAME", help="A task of bitx list tasks, with its own model.")
@click.option(
    "--data",
    metavar="DIR|CSV|NPZ",
    help="With MODEL: a folder of pictures for each class, in order of the names; a table of path and class"
    " number; or arrays, one for each input, and labels.",
)
@click.option(
    "--rows",
    type=ListOf(IntegerOr("none")),
    default="10,8,6,4",
    show_default=True,
    help="Rows to keep of a group; none: all, which rounds to --format only.",
)
@click.option(
    "--group",
    type=ListOf(IntegerOr("whole", 4096)),
    default="8",
    show_default=True,
    help="Weights per group, 64 at most on machines; whole: whole kernels, with --grouping kernel.",
)
@click.option(
    "--grouping",
    type=ListOf(OneOf("bitxcore.groups:GROUPINGS")),
    default="flat",
    show_default=True,
    help="flat, channel or kernel, as in bitx prune.",
)
@click.option(
    "--window",
    type=ListOf(IntegerOr("default", 64)),
    default="default",
    show_default=True,
    help="Rows of the alignment window; default: the format's.",
)
@click.option(
    "--format",
    type=ListOf(Format(), words=("own",)),
    default="own",
    show_default=True,
    help="Numbers of the weights, to which they are rounded first: own, float32, float16, bfloat16, fixed16,"
    " fixed8, ….",
)
@click.option(
    "--criterion",
    type=ListOf(OneOf("hwmodel.evaluation.settings:CRITERIA")),
    default="topn",
    show_default=True,
    help="topn (the method) or msb (plain truncation).",
)
@click.option(
    "--rounding",
    type=ListOf(OneOf("bitxcore.criteria:ROUNDINGS")),
    default="truncate",
    show_default=True,
    help="truncate (as the hardware does) or nearest (offline).",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric of bitx list metrics, the most telling one first; repeatable.  [default: the task's]",
)
@click.option("--include", metavar="GLOB", multiple=True, help="Prune only tensors named so; repeatable.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Prune no tensors named so; repeatable, wins.")
@picture_options
@click.option("--quick", is_flag=True, help="A fifth of the samples.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the intervals.")
@click.option(
    "-o",
    "--output",
    metavar="STORE.h5",
    help="Write all scores to an HDF5 store, and go on there if the evaluation was interrupted.",
)
@click.option("--restart", is_flag=True, help="Forget what an interrupted evaluation has finished.")
@json_option
def command(
    model: str | None,
    task_name: str | None,
    data: str | None,
    metrics: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    quick: bool,
    seed: int,
    output: str | None,
    restart: bool,
    as_json: bool,
    **grid: tuple[Any, ...],
) -> None:
    """Run a model with pruned weights over a data set, and score it beside the cycles that pruning saves.

    Either MODEL.onnx with --data, or --task. Every combination of the values given for rows, group, grouping,
    window, format, criterion and rounding is run; values are a,b,c or ranges low:high[:step], ends included.
    """
    from time import perf_counter

    from bitxcore.batch import Selection
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.evaluation import evaluate, task

    if (model is None) == (task_name is None):
        raise click.UsageError("give either MODEL.onnx with --data, or --task NAME")
    if task_name is not None:
        pictures = {"data": data, "scale": scale, "mean": mean, "std": std}
        if given := [name for name, value in pictures.items() if value is not None]:
            raise click.UsageError(f"--{given[0]} is for a MODEL of one's own; a task has its own data")
        chosen = task(task_name)
    else:
        assert model is not None
        if data is None:
            raise click.UsageError("MODEL needs --data: what it is to be run on")
        chosen = _labelled(model, data, scale, mean, std, channels, metrics)
    settings = _settings(grid)
    shown = {name: [_value(name, value) for value in grid[name]] for name in GRID}
    parameters: dict[str, Any] = {"command": "evaluate", "model": model, "task_name": task_name}
    parameters |= {
        "data": data,
        "scale": scale,
        "mean": mean,
        "std": std,
        "channels": channels,
        "grid": shown,
    }
    start = perf_counter()
    with progress(None, "evaluate") as bar:
        found = evaluate(
            chosen,
            settings,
            metrics=metrics,
            selection=Selection(include, exclude),
            quick=quick,
            seed=seed,
            store=output,
            restart=restart,
            parameters=parameters,
            progress=bar.reach,
        )
    seconds = perf_counter() - start
    if as_json:
        parameters |= {"include": include, "exclude": exclude, "quick": quick, "seed": seed}
        out.print_json(_document(found, parameters, output))
        return
    _print(found, chosen, all_metrics=bool(metrics))
    resumed = f"; {found.resumed:,} had been finished before" if found.resumed else ""
    out.say(f"{out.counted(len(found.points) - found.resumed, 'point')} in {seconds:,.1f} s{resumed}")
    out.say(out.written_line([output], "-o STORE.h5 keeps all scores and intervals"))


def _labelled(
    model: str,
    data: str,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    metrics: tuple[str, ...],
) -> Task:
    from pathlib import Path

    from hwmodel.evaluation.tasks.labelled import Labelled
    from hwmodel.operands.traces.pictures import Scaling

    own = Scaling()
    scaling = Scaling(own.scale if scale is None else scale, mean or own.mean, std or own.std, channels)
    return Labelled(Path(model), Path(data), scaling, metrics)


def _settings(grid: dict[str, tuple[Any, ...]]) -> list[Setting]:
    """Return the full product; whole kernels go with groups by kernel only."""
    from itertools import product

    from hwmodel.evaluation import Setting

    found = []
    for values in product(*(grid[name] for name in GRID)):
        options = dict(zip(GRID, values, strict=True))
        if options["group"] is None and options["grouping"] != "kernel":
            continue
        options["format"] = None if options["format"] == "own" else options["format"]
        found.append(Setting(**options))
    if not found:
        raise click.UsageError("--group whole stands for whole kernels, and needs --grouping kernel")
    return found


# -- what is printed ---------------------------------------------------------------------------


_WORDS = {"rows": "all", "group": "whole", "window": "default", "format": "own"}
"""What stands for None."""


def _value(name: str, value: Any) -> str:
    return _WORDS[name] if value is None else str(value)


def _print(found: Evaluation, task: Task, all_metrics: bool) -> None:
    from hwmodel.cli import output as out
    from hwmodel.evaluation import metric

    varied = [n for n in GRID if n == "rows" or len({getattr(p.setting, n) for p in _pruned(found)}) > 1]
    first, *others = [metric(name) for name in found.metrics]
    if not all_metrics:  # one more: the table then has room beside the cycles
        others = sorted(others, key=lambda m: m.against != "unpruned")[:1]
    numeric = [name in ("rows", "group", "window") for name in varied] + [False] + [True] * (6 + len(others))
    front = set(found.front)
    out.print_table(
        [
            *(name if name != "grouping" else "group-\ning" for name in varied),
            "",
            _heading(first),
            "95%\ninterval",
            "change",
            *(_heading(m) for m in others),
            "cycles",
            "x un-\npruned",
            "x work",
        ],
        (
            [
                *_setting_cells(point, varied),
                "*" if i in front else "",
                _score(first, point.scores[first.name].value),
                _interval(first, point),
                _change(first, point.scores[first.name].difference) if i else "",
                *(_score(m, point.scores[m.name].value) for m in others),
                out.count(point.machine.cycles),
                out.times(point.machine.speedup_over_unpruned),
                out.times(point.machine.work_speedup),
            ]
            for i, point in enumerate(found.points)
        ),
        title=f"{found.task}; scored: {out.counted(found.points[0].samples, 'sample')}",
        numeric=numeric,
        keys=len(varied) + 1,
    )
    out.say(
        f"* Pareto front of {first.name} × cycles: {len(front)} of {out.counted(len(found.points), 'point')}"
    )
    out.say(*_held_lines(found))
    if any(m.against == "unpruned" for m in (first, *others)):
        names = ", ".join(m.name for m in (first, *others) if m.against == "unpruned")
        out.say(f"{names}: held against what the unpruned model gives; agreement, not accuracy")
    reasons: dict[str, list[str]] = {}
    for point in found.points:
        if point.machine.reason is not None:
            reasons.setdefault(point.machine.reason, []).append(point.setting.label)
    out.say(*(f"no cycles: {_some(settings)}: {reason}" for reason, settings in reasons.items()))


def _pruned(found: Evaluation) -> list[Point]:
    return found.points[1:] or found.points


def _some(names: list[str]) -> str:
    return "; ".join(names[:2]) + (f"; and {len(names) - 2} more" if len(names) > 2 else "")


def _setting_cells(point: Point, varied: list[str]) -> list[str]:
    setting = point.setting
    if setting.rows is None:  # nothing else of it counts then
        return [_value(n, getattr(setting, n)) if n in ("rows", "format") else "–" for n in varied]
    return [_value(name, getattr(setting, name)) for name in varied]


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
        line = f"within {loss} of unpruned in {scorer.name}{of}: {_rows(within)}"
        if scorer.against == "labels":
            line += f"; no loss that the samples can tell (p ≥ {SURE}): {_rows(unsure)}"
        lines.append(line)
    return lines


def _rows(fewest: int | None) -> str:
    return "no number of rows that was tried" if fewest is None else f"rows ≥ {fewest}"


def _document(found: Evaluation, parameters: dict[str, Any], output: str | None) -> dict[str, Any]:
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
        "written": [output] if output else [],
    }
