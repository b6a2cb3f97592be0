"""``bitx software-prune``: a model without some of its channels or weights, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.calibration_samples import batches_of, calibration_options, scaling_of, task_of
from hwmodel.cli.values import Machine, OneOf
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwmodel.preparation.software_pruning import SoftwarePrunedTensor


class Method(Machine):
    """``name`` or ``name:option=value,...``."""

    name = "method"


@click.command(name="software-prune")
@calibration_options
@click.option("-o", "--output", metavar="OUT.onnx", required=True, help="The pruned model.")
@click.option(
    "--method",
    type=Method(),
    metavar="NAME[:OPTION=VALUE,...]",
    required=True,
    help="A method of bitx list methods, e.g. l1, apoz, magnitude, thinet:positions=20.",
)
@click.option(
    "--ratio",
    type=float,
    required=True,
    help="Share of the channels, or of the weights, that is taken away: from 0 to below 1.",
)
@click.option(
    "--scope",
    type=OneOf("hwmodel.preparation.software_pruning.shares:SCOPES"),
    help="layer: the ratio holds in each layer. global: it holds over all layers, by one threshold."
    " [default: the method's]",
)
@click.option(
    "--as",
    "form",
    type=OneOf("hwmodel.preparation.software_pruning.software_pruning:FORMS"),
    help="removal: a smaller model. mask: zeros in the same shapes.  [default: removal of channels,"
    " mask of weights]",
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
@click.option("--write-report", metavar="FILE.json", help="Write what was taken away, by tensor.")
@result_options
def command(
    model: str | None,
    task_name: str | None,
    data: str | None,
    samples: int,
    output: str,
    method: tuple[str, dict[str, Any]],
    ratio: float,
    scope: str | None,
    form: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    write_report: str | None,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    as_json: bool,
) -> None:
    """Write a model with fewer channels, or with zeros for weights.

    Give MODEL.onnx or --task. Methods that look at activations need --calibration with MODEL. Nothing is
    trained: the model may lose accuracy.
    """
    from pathlib import Path

    from bitxcore.batch import Selection
    from bitxcore.files import atomic_file, check_target, together
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.preparation.software_pruning import SOFTWARE_UNITS, software_method, software_prune, total_of

    if (model is None) == (task_name is None):
        raise click.UsageError("give either MODEL.onnx or --task NAME")
    if task_name is not None and data is not None:
        raise click.UsageError("--calibration goes with a MODEL; a task has samples of its own")
    chosen = software_method(method[0], **method[1])
    if task_name is not None or data is not None:
        made = task_of(model, task_name, data, scaling_of(scale, mean, std, channels))
    else:
        made = None
        if chosen.needs_data:
            raise click.UsageError(f"method {chosen.name} looks at activations: give --calibration or --task")
    path = Path(str(model)) if made is None else made.model
    read = [path] if made is None else list(made.inputs_read)
    if write_report and Path(write_report).resolve() == Path(output).resolve():
        raise click.UsageError("--output and --write-report name the same file")
    for target in (output, write_report):
        if target:
            check_target(Path(target), [str(file.resolve()) for file in read])
    current_view().check(read)
    batches = []
    if made is not None and chosen.needs_data:
        batches = list(batches_of(made, samples, of_task=task_name is not None))
    with together(), progress(None, "software-prune") as bar:
        report = software_prune(
            path,
            output,
            method=chosen,
            ratio=ratio,
            form=form,
            scope=scope,
            batches=batches,
            selection=Selection(include, exclude),
            progress=bar.reach,
        )
        written = [name for name in (output, write_report) if name]
        document = {
            "method": chosen.name,
            "options": vars(chosen),
            "ratio": ratio,
            "source": chosen.source,
            "samples": sum(len(next(iter(part.values()))) for part in batches),
            "tensors": [vars(row) for row in report],
            "total": vars(total_of(report)),
            "units": SOFTWARE_UNITS,
            "written": written,
        }
        if write_report:
            with atomic_file(write_report) as temporary:
                temporary.write_text(out.json_text(document), "utf-8")
    if current_view().write(vars(row) for row in report):
        return
    if as_json:
        out.print_json(document)
        return
    _print(report, total_of(report), f"{path.name}: {out.counted(len(report), 'tensor')}, by {chosen.name}")
    out.finish(written)


def _print(report: Sequence[SoftwarePrunedTensor], total: SoftwarePrunedTensor, title: str) -> None:
    from hwmodel.cli import output as out

    def columns(row: SoftwarePrunedTensor) -> dict[str, Any]:
        return {**vars(row), "weights_left": 100 * row.weights_after / max(row.weights_before, 1)}

    shown = ("tensor", "weights_left", "macs_before", "macs_after")  # channels are shared by tensors
    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("filters_before", "filters", out.count),
            out.Shown("filters_after", "left", out.count),
            out.Shown("channels_before", "inputs", out.count, more=True),
            out.Shown("channels_after", "inputs\nleft", out.count),
            out.Shown("weights_left", "weights\nleft %", lambda percent: out.number(percent, 1)),
            out.Shown("macs_before", "MACs", out.count, more=True),
            out.Shown("macs_after", "MACs\nleft", out.count),
        ),
        [columns(row) for row in report],
        title=title,
        footer={name: columns(total)[name] for name in shown},
    )
    why: dict[str, list[str]] = {}
    for row in report:
        if row.reason:
            why.setdefault(row.reason, []).append(row.tensor)
    out.say_notes(
        out.Note(
            "tensors that keep all filters",
            f"all filters stay: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}: {reason}",
        )
        for reason, names in why.items()
    )
