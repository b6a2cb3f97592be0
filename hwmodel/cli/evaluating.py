"""``bitx evaluate``: does a pruned network still do its task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from hwmodel.cli.clusters import cluster_options, workers_of
from hwmodel.cli.evaluation_report import (
    GRID,
    evaluation_document,
    evaluation_rows,
    print_evaluation,
    print_rows_found,
    value_text,
)
from hwmodel.cli.options import picture_options, refuse_beside_policy
from hwmodel.cli.values import AutoRows, Format, IntegerOr, ListOf, OneOf, RowsOrAuto
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from bitxcore.progress import Progress
    from hwmodel.evaluation import Evaluation, RowsFound, Setting, Task


@click.command(name="evaluate")
@click.argument("model", metavar="[MODEL.onnx]", required=False)
@click.option("--task", "task_name", metavar="NAME", help="A task of bitx list tasks, with its own model.")
@click.option(
    "--data",
    metavar="DIR|CSV|NPZ",
    help="With MODEL: a folder that has a folder of pictures per class, in order of their names; a"
    " table of path and class number; or an array per input, and labels.",
)
@click.option(
    "--rows",
    type=RowsOrAuto(),
    default="10,8,6,4",
    show_default=True,
    help="Rows to keep per group. none: all, which rounds to --format only. auto:LOSS: rows for each tensor"
    " such that the fewest cycles lose at most LOSS points (percent of a score that is no share).",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="FILE.json",
    help="Rows by tensor, as --write-policy writes them. Repeatable. Without --rows, only policies are run.",
)
@click.option(
    "--write-policy", metavar="FILE.json", help="With --rows auto:LOSS: write the rows that were found."
)
@click.option(
    "--group",
    type=ListOf(IntegerOr("whole", 4096)),
    default="8",
    show_default=True,
    help="Weights per group, at most 64 on machines. whole: whole kernels, with --grouping kernel.",
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
    help="Rows of the alignment window. default: the format's.",
)
@click.option(
    "--format",
    type=ListOf(Format(), words=("own",)),
    default="own",
    show_default=True,
    help="Number format to which weights are rounded first: own, float32, float16, bfloat16, fixed16,"
    " fixed8, ….",
)
@click.option(
    "--criterion",
    type=ListOf(OneOf("hwmodel.evaluation.settings:CRITERIA")),
    default="topn",
    show_default=True,
    help="How rows are chosen. topn: the method. msb: plain truncation. calibrated: by --norms."
    " products: at run time, for each output position, by weights times the powers of two of its"
    " activations (slow).",
)
@click.option(
    "--norms",
    metavar="NORMS.h5",
    help="With --criterion calibrated: norms of the weights' inputs, from bitx trace --norms.",
)
@click.option(
    "--rounding",
    type=ListOf(OneOf("bitxcore.criteria:ROUNDINGS")),
    default="truncate",
    show_default=True,
    help="truncate (as the hardware does) or nearest (offline).",
)
@click.option(
    "--activation-rows",
    type=ListOf(IntegerOr("none")),
    default="none",
    show_default=True,
    help="Rows to keep per group of activations (input channels at one position), pruned while the"
    " model runs. none: activations stay as they are.",
)
@click.option(
    "--scored", metavar="OUTPUT", help="With MODEL: the output that is scored.  [default: the first]"
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A metric of bitx list metrics, the most telling one first. Repeatable.  [default: the task's]",
)
@click.option(
    "--include", metavar="GLOB", multiple=True, help="Prune only tensors with such names. Repeatable."
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Leave tensors with such names as they are. Repeatable; wins over --include.",
)
@picture_options
@click.option("--quick", is_flag=True, help="Use a fifth of the samples.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the intervals.")
@click.option(
    "-o",
    "--output",
    metavar="STORE.h5",
    help="Write all scores to an HDF5 store. An interrupted evaluation continues there.",
)
@cluster_options("settings")
@click.option("--restart", is_flag=True, help="Begin anew: drop what an interrupted evaluation has finished.")
@result_options
@click.pass_context
def command(
    context: click.Context,
    /,
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
    scheduler: str | None,
    jobs: int | None,
    restart: bool,
    as_json: bool,
    policies: tuple[str, ...],
    write_policy: str | None,
    scored: str | None,
    norms: str | None,
    **grid: Any,
) -> None:
    """Run a model with pruned weights over a data set, and score it beside the cycles that pruning saves.

    Give MODEL.onnx with --data, or --task. --rows, --group, --grouping, --window, --format, --criterion,
    --rounding and --activation-rows take several values: a,b,c or ranges low:high[:step] with both ends.
    Every combination is run.
    """
    from time import perf_counter

    from bitxcore.batch import POLICY_OPTIONS, Selection
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.evaluation import evaluate, task
    from hwmodel.evaluation.settings import CALIBRATED

    if (model is None) == (task_name is None):
        raise click.UsageError("give either MODEL.onnx with --data, or --task NAME")
    if task_name is not None:
        pictures = {"data": data, "scored": scored, "scale": scale, "mean": mean, "std": std}
        if given := [name for name, value in pictures.items() if value is not None]:
            raise click.UsageError(f"--{given[0]} is for a MODEL of one's own; a task has its own data")
        chosen = task(task_name)
    else:
        assert model is not None
        if data is None:
            raise click.UsageError("MODEL needs --data: what it is to be run on")
        chosen = _labelled(model, data, scale, mean, std, channels, metrics, scored)
    shown = {
        name: [f"auto:{values.loss:g}"]
        if isinstance(values, AutoRows)
        else [value_text(name, value) for value in values]
        for name, values in grid.items()
    }
    parameters: dict[str, Any] = {"command": "evaluate", "model": model, "task_name": task_name}
    parameters |= {
        "data": data,
        "scale": scale,
        "mean": mean,
        "std": std,
        "channels": channels,
        "scored": scored,
        "grid": shown,
        "policies": policies,
        "norms": norms,
    }
    if (norms is None) != (CALIBRATED not in grid["criterion"]):
        raise click.UsageError("--norms NORMS.h5 and --criterion calibrated go together")
    auto = grid["rows"] if isinstance(grid["rows"], AutoRows) else None
    if (auto is None) != (write_policy is None):
        raise click.UsageError("--rows auto:LOSS and --write-policy FILE.json go together")
    if auto is not None and scheduler is not None:
        raise click.UsageError("--rows auto:LOSS searches step by step: it has nothing for --scheduler")
    only_policies = bool(policies) and context.get_parameter_source("rows") is ParameterSource.DEFAULT
    if only_policies:
        refuse_beside_policy(name for name in GRID if name in POLICY_OPTIONS)
    _check_written(chosen, (*policies, *([norms] if norms else [])), output, write_policy)
    how: dict[str, Any] = {
        "metrics": metrics,
        "selection": Selection(include, exclude),
        "norms": norms,
        "quick": quick,
        "seed": seed,
        "store": output,
        "restart": restart,
    }
    start = perf_counter()
    rows_found = None
    with workers_of(scheduler, jobs) as workers, progress(None, "evaluate") as bar:
        if auto is not None:
            found, rows_found = _searched(chosen, auto, grid, policies, parameters, how, bar.reach)
        else:
            if only_policies:
                grid["rows"] = ()
            settings = [*_settings(grid), *_by_policies(grid, policies)]
            how |= {"workers": workers, "progress": bar.reach}
            found = evaluate(chosen, settings, parameters=parameters, **how)
    if rows_found is not None and write_policy is not None:
        rows_found.policy.save(write_policy)
    seconds = perf_counter() - start
    if current_view().write(evaluation_rows(found)):
        return
    if as_json:
        parameters |= {"include": include, "exclude": exclude, "quick": quick, "seed": seed}
        out.print_json(evaluation_document(found, parameters, [output, write_policy], rows_found))
        return
    print_evaluation(found, all_metrics=bool(metrics))
    if rows_found is not None:
        print_rows_found(rows_found, found)
    resumed = f"; {found.resumed:,} had been finished before" if found.resumed else ""
    out.say(f"{out.counted(len(found.points) - found.resumed, 'point')} in {seconds:,.1f} s{resumed}")
    written = [output, write_policy] if output or write_policy else []
    out.finish(written, "-o STORE.h5 keeps all scores and intervals")


def _labelled(
    model: str,
    data: str,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    metrics: tuple[str, ...],
    scored: str | None,
) -> Task:
    from pathlib import Path

    from hwmodel.evaluation.tasks.labelled import Labelled
    from hwmodel.operands.traces.pictures import Scaling

    own = Scaling()
    scaling = Scaling(scale, mean or own.mean, std or own.std, channels)
    return Labelled(Path(model), Path(data), scaling, metrics, scored)


def _check_written(
    chosen: Task, read_besides: tuple[str, ...], output: str | None, write_policy: str | None
) -> None:
    """Refuse what would replace an input, or one of the two outputs, before anything runs."""
    from pathlib import Path

    from bitxcore.files import check_target
    from bitxcore.journal import local_place
    from bitxcore.remote.remote_path import as_path

    if output:
        local_place(output)
    if output and write_policy and Path(output).resolve() == as_path(write_policy).resolve():
        raise click.UsageError("--output and --write-policy are the same file")
    read = [str(path.resolve()) for path in (*chosen.inputs_read, *map(Path, read_besides))]
    for path in (output, write_policy):
        if path:
            check_target(as_path(path), read)
    current_view().check(read)


def _searched(
    chosen: Task,
    auto: AutoRows,
    grid: dict[str, Any],
    policies: tuple[str, ...],
    parameters: dict[str, Any],
    how: dict[str, Any],
    reach: Progress,
) -> tuple[Evaluation, RowsFound]:
    """Search rows by tensor, in one way of pruning; score policies beside."""
    from dataclasses import replace

    from hwmodel.evaluation import Evaluator, search_rows

    groupings = grid["grouping"]
    ways = _settings(grid | {"rows": (6,), "grouping": groupings[:1]})
    if len(ways) > 1:
        raise click.UsageError("--rows auto:LOSS goes with one value of each option but --grouping")
    if ways[0].takes_norms:
        raise click.UsageError("--rows auto:LOSS writes a policy, which has no criterion calibrated")
    if ways[0].activation_rows is not None or ways[0].aligns_products:
        raise click.UsageError("--rows auto:LOSS finds rows of stored weights; nothing is pruned at run time")
    with Evaluator(chosen, **how) as evaluator:
        others = [evaluator.point(evaluator.settled(s)) for s in _by_policies(grid, policies)]
        rows_found = search_rows(evaluator, auto.loss / 100, way=ways[0], groupings=groupings, progress=reach)
        points = [*rows_found.points, *others]
        parameters = parameters | {"loss_percent": auto.loss}
        return evaluator.finished(points, parameters), replace(rows_found, points=tuple(points))


def _by_policies(grid: dict[str, Any], policies: tuple[str, ...]) -> list[Setting]:
    """Return a setting for each policy and format."""
    from bitxcore.policy import load_policy
    from hwmodel.evaluation import Setting

    forms = [None if form == "own" else form for form in grid["format"]]
    return [Setting(policy=load_policy(path), format=form) for path in policies for form in forms]


def _settings(grid: dict[str, Any]) -> list[Setting]:
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
    if not found and grid["rows"]:
        raise click.UsageError("--group whole stands for whole kernels, and needs --grouping kernel")
    return found
