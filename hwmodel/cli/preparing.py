"""``bitx prepare``: weights that the run-time pruner leaves as they are, and that cost few cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.calibration_samples import batches_of, calibration_options, labelled, task_of_one_model
from hwmodel.cli.options import json_option
from hwmodel.cli.values import Integer, OneOf

if TYPE_CHECKING:
    from hwmodel.preparation import PreparedTensor

METHODS = ("nearest", "bias", "second-order")


@click.command(name="prepare")
@calibration_options
@click.option("-o", "--output", metavar="OUT.onnx", required=True, help="The prepared model.")
@click.option("--ones", type=Integer(1, 64), help="Most ones of a weight: the cycles of a group, at most.")
@click.option("--rows", type=Integer(1, 64), help="Most non-empty rows of a group.")
@click.option("--group", type=Integer(1, 64), default=8, show_default=True, help="Weights per group.")
@click.option(
    "--grouping",
    type=OneOf("bitxcore.groups:GROUPINGS"),
    default="flat",
    show_default=True,
    help="flat, channel or kernel, as in bitx prune.",
)
@click.option("--window", type=Integer(1, 64), help="Rows of the alignment window.  [default: the format's]")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="second-order",
    show_default=True,
    help="nearest: each weight by itself; bias: and the mean error goes into biases; second-order: and later"
    " weights of a filter take over the error of earlier ones.",
)
@click.option(
    "--damping",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.01,
    show_default=True,
    help="Of second-order: share of the mean that is added to the second moments of the inputs.",
)
@click.option("--include", metavar="GLOB", multiple=True, help="Only tensors named so; repeatable.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="No tensors named so; repeatable, wins.")
@click.option("--write-policy", metavar="FILE.json", help="Rows by tensor at which nothing is pruned.")
@json_option
def command(
    model: str | None,
    task_name: str | None,
    data: str | None,
    samples: int,
    output: str,
    method: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    write_policy: str | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    as_json: bool,
    **budget: Any,
) -> None:
    """Write a model whose weights have at most so many ones, and groups so many rows.

    Either MODEL.onnx with --calibration, or --task. No machine changes for it: the run-time pruner, with the
    rows of the policy, leaves such weights bit for bit as they are, and a group costs at most ONES cycles.
    """
    from pathlib import Path

    from bitxcore.batch import Selection
    from bitxcore.files import check_target
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.preparation import Budget, policy_of, prepare_model

    if (model is None) == (task_name is None):
        raise click.UsageError("give either MODEL.onnx with --calibration, or --task NAME")
    if (model is None) != (data is None):
        raise click.UsageError("--calibration goes with a MODEL; a task has samples of its own")
    if budget["ones"] is None and budget["rows"] is None:
        raise click.UsageError("give a budget: --ones, --rows, or both")
    if task_name is not None:
        made = task_of_one_model(task_name)
    else:
        made = labelled(str(model), str(data), scale, mean, std, channels)
    path = made.model
    for target in (output, write_policy):
        if target:
            check_target(Path(target), [str(read.resolve()) for read in made.inputs_read])
    given = Budget(**budget, compensates=method == "second-order", corrects_bias=method != "nearest")
    batches = list(batches_of(made, samples, of_task=task_name is not None))
    with progress(None, "prepare") as bar:
        report = prepare_model(
            path, batches, output, given, selection=Selection(include, exclude), progress=bar.reach
        )
    if write_policy:
        origin: dict[str, str | int | float] = {
            "program": "bitx prepare",
            "model": output,
            "method": method,
            "samples": samples,
        }
        origin |= {"ones": given.ones} if given.ones else {}
        policy_of(report, given, origin).save(write_policy)
    written = [path for path in (output, write_policy) if path]
    if as_json:
        out.print_json({"tensors": [vars(row) for row in report], "method": method, "written": written})
        return
    taken = sum(len(next(iter(part.values()))) for part in batches)
    _print(report, f"{path.name}: {out.counted(len(report), 'tensor')}, by {out.counted(taken, 'sample')}")
    out.say(out.written_line(written, ""))


def _print(report: list[PreparedTensor], title: str) -> None:
    from hwmodel.cli import output as out

    def percent(share: float | None) -> str:
        return "–" if share is None else f"{100 * share:.2f}"

    out.print_table(
        ["tensor", "ones", "rows", "error of\nweights %", "of outputs %", "offset"],
        (
            [
                row.tensor,
                out.count(row.ones_max),
                out.count(row.rows_max),
                percent(row.relative_error),
                percent(row.output_error),
                "–" if row.offset is None else row.offset,
            ]
            for row in report
        ),
        title=title,
        numeric=[False, True, True, True, True, False],
    )
