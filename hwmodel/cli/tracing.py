"""``bitx trace``: what the layers of a model really multiply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import json_option, picture_options, size_options
from hwmodel.cli.values import FedInput, Integer

if TYPE_CHECKING:
    from hwmodel.operands.traces.calibrating import CalibrationResult
    from hwmodel.operands.traces.recording import TraceResult

MIB = 1 << 20


@click.command(name="trace")
@click.argument("model", metavar="MODEL.onnx")
@click.option(
    "--input",
    "inputs",
    type=FedInput(),
    multiple=True,
    required=True,
    help="A picture (.png, .jpg) or an array (.npy, .npz or another dump); with the input's name where there"
    " are several, or one file with an array for each. NAME=VALUE for one number.",
)
@click.option(
    "-o",
    "--output",
    metavar="TRACES.h5",
    required=True,
    help="The traces, which bitx simulate --traces reads; or the norms, of bitx prune --norms.",
)
@click.option(
    "--norms",
    is_flag=True,
    help="Write the root mean square of every input channel of every weight tensor, and no activations.",
)
@click.option(
    "--batch",
    type=Integer(1),
    help="With --norms: samples of a run, along axis 0 of the inputs.  [default: all, or what the model"
    " takes]",
)
@size_options("an input")
@picture_options
@click.option(
    "--memory",
    type=Integer(1),
    default=256,
    show_default=True,
    help="MiB of activations to hold at once; the model runs as often as that takes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop a run that takes longer, with an error; nothing is then written.  [default: no limit]",
)
@json_option
def command(
    model: str,
    inputs: tuple[tuple[str, Any], ...],
    output: str,
    norms: bool,
    batch: int | None,
    input_size: tuple[tuple[str, tuple[int, ...]], ...],
    sizes: tuple[tuple[str, int], ...],
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
    memory: int,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run an ONNX model and record the input of every layer, or with --norms only how large it is.

    Pictures are resized to the model's input size, and their channels become (channel x scale - mean) / std.
    TRACES.h5 appears whole or not at all. Norms need samples of what the model will see, never those that it
    is scored on.
    """
    from bitxcore.dumps.trust import parsing
    from hwmodel import Scaling, calibrate, trace
    from hwmodel.cli import output as out
    from hwmodel.cli.ending import ending_after
    from hwmodel.cli.progress import progress
    from hwmodel.cli.workload_options import input_shapes, named_inputs

    if batch is not None and not norms:
        raise click.UsageError("--batch needs --norms")
    given = named_inputs(inputs)
    shapes = input_shapes(input_size)
    own = Scaling()
    scaling = Scaling(scale, mean or own.mean, std or own.std, channels)
    how: dict[str, Any] = {"input_size": shapes, "sizes": dict(sizes) or None, "scaling": scaling}
    how |= {"slice_bytes": memory * MIB}
    with parsing(model), ending_after(timeout, f"{model}: the trace"), progress(None, "trace") as bar:
        if norms:
            found = calibrate(model, given, output, batch=batch, progress=bar.reach, **how)
        else:
            result = trace(model, given, output, progress=bar.reach, **how)
    if norms:
        if as_json:
            out.print_json(_norms_document(model, found, output))
            return
        _print_norms(found)
        out.say(out.written_line([output], ""))
        return
    if as_json:
        out.print_json(_document(model, result, output))
        return
    _print(result)
    out.say(out.written_line([output], ""))


def _print(result: TraceResult) -> None:
    from hwmodel.cli import output as out

    times = "once" if result.slices == 1 else f"{result.slices} times"
    out.print_table(
        ["layer", "operation", "operand", "shape", "dtype", "zeros", "lowest", "highest"],
        (
            [
                row.layer,
                row.operation,
                row.operand,
                "x".join(map(str, row.shape)),
                row.dtype,
                out.percent(row.zeros),
                f"{row.lowest:.4g}",
                f"{row.highest:.4g}",
            ]
            for row in result.operands
        ),
        title=f"{result.network.name}: {out.counted(len(result.network), 'layer')}, the model ran {times}",
        numeric=[False] * 5 + [True] * 3,
    )
    out.say(*(f"not recorded: {row.operand} of {row.layer}: {row.reason}" for row in result.not_recorded))
    out.say(*(f"note: {note}" for note in result.network.notes if "batch" not in note))


def _document(model: str, result: TraceResult, output: str) -> dict[str, Any]:
    return {
        "model": model,
        "network": result.network.name,
        "layers": len(result.network),
        "input_sizes": result.input_sizes,
        "slices": result.slices,
        "operands": [vars(row) for row in result.operands],
        "not_recorded": [vars(row) for row in result.not_recorded],
        "written": [output],
    }


def _print_norms(result: CalibrationResult) -> None:
    from hwmodel.cli import output as out

    times = "once" if result.runs == 1 else f"{result.runs} times"
    out.print_table(
        ["tensor", "layers", "norms", "values", "lowest", "mean", "highest"],
        (
            [
                row.tensor,
                out.count(row.layers),
                "x".join(map(str, row.shape)),
                out.count(row.values),
                f"{row.lowest:.4g}",
                f"{row.mean:.4g}",
                f"{row.highest:.4g}",
            ]
            for row in result.tensors
        ),
        title=f"{result.network.name}: {out.counted(len(result.tensors), 'tensor')}, the model ran {times}",
        numeric=[False, True, False, *[True] * 4],
    )
    out.say(*(f"no norms: layer {row.layer}: {row.reason}" for row in result.not_recorded))
    out.say(*(f"note: {note}" for note in result.network.notes if "batch" not in note))


def _norms_document(model: str, result: CalibrationResult, output: str) -> dict[str, Any]:
    return {
        "model": model,
        "network": result.network.name,
        "runs": result.runs,
        "tensors": [vars(row) for row in result.tensors],
        "not_recorded": [vars(row) for row in result.not_recorded],
        "written": [output],
    }
