"""``bitx trace``: what the layers of a model really multiply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli import output as out
from hwmodel.cli.options import picture_options, size_options
from hwmodel.cli.values import FedInput, Integer
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    help="A picture (.png, .jpg) or an array (.npy, .npz or another dump). Of several inputs, give"
    " NAME=FILE for each, or one file with an array for each. NAME=VALUE gives one number.",
)
@click.option(
    "-o",
    "--output",
    metavar="TRACES.h5",
    required=True,
    help="The traces, for bitx simulate --traces; or the norms, for bitx prune --norms.",
)
@click.option(
    "--norms",
    is_flag=True,
    help="Write no activations, but the root mean square of every input channel of every weight tensor.",
)
@click.option(
    "--batch",
    type=Integer(1),
    help="With --norms: samples per run, along axis 0 of the inputs.  [default: all, or what the model"
    " takes]",
)
@size_options("an input")
@picture_options
@click.option(
    "--memory",
    type=Integer(1),
    default=256,
    show_default=True,
    help="MiB of activations that are held at once. The model runs as often as that takes.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Stop a run that takes longer, with an error. Nothing is then written.  [default: no limit]",
)
@result_options
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
    """Run an ONNX model and record the inputs of every layer, or with --norms only their norms.

    Pictures are resized to the model's input size, and their channels become (channel x scale - mean) / std.
    TRACES.h5 appears whole or not at all. Norms need samples of what the model will see, never those that it
    is scored on.
    """
    from bitxcore.dumps.trust import parsing
    from hwmodel import Scaling, calibrate, trace
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
    if current_view().write(map(vars, found.tensors if norms else result.operands)):
        return
    if norms:
        if as_json:
            out.print_json(_norms_document(model, found, output))
            return
        _print_norms(found)
        out.finish([output])
        return
    if as_json:
        out.print_json(_document(model, result, output))
        return
    _print(result)
    out.finish([output])


def _print(result: TraceResult) -> None:

    times = "once" if result.slices == 1 else f"{result.slices} times"
    out.print_rows(
        (
            out.Shown("layer", "layer", text=True),
            out.Shown("operation", "operation", text=True, more=True),
            out.Shown("operand", "operand", text=True),
            out.Shown("shape", "shape", _shape, text=True),
            out.Shown("dtype", "dtype", text=True, more=True),
            out.Shown("zeros", "zeros", out.percent),
            out.Shown("lowest", "lowest", _digits),
            out.Shown("highest", "highest", _digits),
        ),
        [vars(row) for row in result.operands],
        title=f"{result.network.name}: {out.counted(len(result.network), 'layer')}, the model ran {times}",
    )
    missing = [
        out.Note("operands not recorded", line, line)
        for row in result.not_recorded
        for line in (f"not recorded: {row.operand} of {row.layer}: {row.reason}",)
    ]
    out.say_notes([*missing, *_network_notes(result.network.notes)])


def _network_notes(notes: Sequence[str]) -> list[out.Note]:
    return [out.Note("the network", f"note: {note}") for note in notes if "batch" not in note]


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _digits(value: float) -> str:
    return f"{value:.4g}"


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

    times = "once" if result.runs == 1 else f"{result.runs} times"
    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("layers", "layers", out.count, more=True),
            out.Shown("shape", "norms", _shape, text=True),
            out.Shown("values", "values", out.count),
            out.Shown("lowest", "lowest", _digits),
            out.Shown("mean", "mean", _digits),
            out.Shown("highest", "highest", _digits),
        ),
        [vars(row) for row in result.tensors],
        title=f"{result.network.name}: {out.counted(len(result.tensors), 'tensor')}, the model ran {times}",
    )
    missing = [
        out.Note("layers without norms", line, line)
        for row in result.not_recorded
        for line in (f"no norms: layer {row.layer}: {row.reason}",)
    ]
    out.say_notes([*missing, *_network_notes(result.network.notes)])


def _norms_document(model: str, result: CalibrationResult, output: str) -> dict[str, Any]:
    return {
        "model": model,
        "network": result.network.name,
        "runs": result.runs,
        "tensors": [vars(row) for row in result.tensors],
        "not_recorded": [vars(row) for row in result.not_recorded],
        "written": [output],
    }
