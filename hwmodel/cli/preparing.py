"""``bitx prepare``: weights that the run-time pruner leaves as they are, and that cost few cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.calibration_samples import batches_of, calibration_options, scaling_of, task_of
from hwmodel.cli.values import Integer, ListOf, OneOf
from hwmodel.cli.view import current_view, result_options

if TYPE_CHECKING:
    from pathlib import Path

    from hwmodel.preparation import Equivalent, PreparedTensor

METHODS = ("nearest", "bias", "second-order", "reconstruct")
"""Each adds to the one before."""
INSTEAD = (
    "name its module with --module, or call hwmodel.preparation.prepare_module, or export the module to ONNX"
)
BATCH = 16
"""Samples of a module that run at a time."""


@click.command(name="prepare")
@calibration_options
@click.option(
    "--module",
    metavar="PACKAGE.MODULE:FACTORY",
    help="With MODEL, a state dict of PyTorch: the function that makes its torch.nn.Module. This runs"
    " that code.",
)
@click.option("-o", "--output", metavar="OUT", required=True, help="The prepared model.")
@click.option("--ones", type=ListOf(Integer(1, 64)), help="Most ones per weight: the most cycles per group.")
@click.option("--rows", type=ListOf(Integer(1, 64)), help="Most non-empty rows per group.")
@click.option(
    "--loss",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="PERCENT",
    help="Choose among several --ones and --rows for each tensor: the fewest cycles with which the model's"
    " outputs move by at most PERCENT (root of their squared error, over that of the outputs).",
)
@click.option(
    "--cycles",
    type=click.FloatRange(0, 64, min_open=True),
    help="Instead of --loss: choose what moves the outputs least in so many cycles per group.",
)
@click.option("--group", type=Integer(1, 64), default=8, show_default=True, help="Weights per group.")
@click.option(
    "--grouping",
    type=OneOf("bitxcore.groups:GROUPINGS"),
    default="flat",
    show_default=True,
    help="flat, channel or kernel, as in bitx prune.",
)
@click.option(
    "--equalise",
    is_flag=True,
    help="First scale channels, so that the input channels of a layer have weights of similar size.",
)
@click.option(
    "--permute",
    is_flag=True,
    help="First reorder channels, so that the weights of a group have similar sizes.",
)
@click.option("--window", type=Integer(1, 64), help="Rows of the alignment window.  [default: the format's]")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="reconstruct",
    show_default=True,
    help="nearest: each weight by itself. bias: the mean error also goes into biases. second-order: other"
    " weights of a filter also take over the error of one. reconstruct: each layer is also fitted to its"
    " outputs in the original model.",
)
@click.option(
    "--damping",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.01,
    show_default=True,
    help="For second-order: share of their mean that is added to the second moments of the inputs.",
)
@click.option(
    "--sweeps",
    type=Integer(0, 1000),
    default=4,
    show_default=True,
    help="For second-order: how often each weight may move to make up for the error of the others.",
)
@click.option(
    "--include", metavar="GLOB", multiple=True, help="Prepare only tensors with such names. Repeatable."
)
@click.option(
    "--exclude",
    metavar="GLOB",
    multiple=True,
    help="Leave tensors with such names as they are. Repeatable; wins over --include.",
)
@click.option(
    "--write-policy",
    metavar="FILE.json",
    help="Write a policy: the rows of each tensor at which nothing is pruned.",
)
@click.option(
    "--restart", is_flag=True, help="Begin anew: drop the layers that an interrupted run has finished."
)
@result_options
def command(
    model: str | None,
    task_name: str | None,
    module: str | None,
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
    restart: bool,
    ones: tuple[int, ...] | None,
    rows: tuple[int, ...] | None,
    loss: float | None,
    cycles: float | None,
    equalise: bool,
    permute: bool,
    as_json: bool,
    **budget: Any,
) -> None:
    """Write a model whose weights have few ones, in few rows per group.

    Give MODEL.onnx with --calibration, or --task, or the state dict of a PyTorch module with --module. With
    the rows of the policy, the run-time pruner leaves such weights bit for bit as they are. A group costs at
    most ONES cycles. An interrupted run continues when the same command is given again.
    """
    from pathlib import Path

    from bitxcore.batch import Selection
    from bitxcore.files import check_target, scratch_folder
    from bitxcore.journal import local_place
    from bitxcore.remote.remote_path import as_path
    from hwmodel.cli import output as out
    from hwmodel.cli.progress import progress
    from hwmodel.preparation import Budget, policy_of, prepare_model, search_budgets, write_equivalent
    from hwmodel.preparation.module_files import module_of, prepare_state_dict

    if (model is None) == (task_name is None):
        raise click.UsageError("give either MODEL.onnx with --calibration, or --task NAME")
    if (model is None) != (data is None):
        raise click.UsageError("--calibration goes with a MODEL; a task has samples of its own")
    if module is not None and model is None:
        raise click.UsageError("--module goes with a MODEL, the module's state dict")
    if not ones and not rows:
        raise click.UsageError("give a budget: --ones, --rows, or both")
    if loss is not None and cycles is not None:
        raise click.UsageError("give either --loss or --cycles")
    searches = loss is not None or cycles is not None
    if not searches and (len(ones or ()) > 1 or len(rows or ()) > 1):
        raise click.UsageError("several --ones or --rows need --loss or --cycles, to choose among them")
    if module is not None and (searches or equalise or permute):
        raise click.UsageError("--loss, --cycles, --equalise and --permute need a graph: export the module")
    level = METHODS.index(method)
    shares: dict[str, Any] = {"corrects_bias": level > 0, "compensates": level > 1, "reconstructs": level > 2}
    budgets = [Budget(n, m, **budget, **shares) for n in ones or (None,) for m in rows or (None,)]
    if module is None:
        made = task_of(model, task_name, data, scaling_of(scale, mean, std, channels), INSTEAD)
        path, read = made.model, list(made.inputs_read)
    else:
        path, read = Path(str(model)), [Path(str(model)), Path(str(data))]
    local_place(output)
    if write_policy and as_path(write_policy).resolve() == Path(output).resolve():
        raise click.UsageError("--output and --write-policy name the same file")
    for target in (output, write_policy):
        if target:
            check_target(as_path(target), [str(file.resolve()) for file in read])
    current_view().check(read)
    selection = Selection(include, exclude)
    found = same = None
    with scratch_folder() as folder, progress(None, "prepare") as bar:
        shared: dict[str, Any] = {"selection": selection, "restart": restart, "progress": bar.reach}
        if module is None:
            batches = list(batches_of(made, samples, of_task=task_name is not None))
            source = path
            if equalise or permute:
                source = folder / path.name
                same = write_equivalent(path, batches, source, budgets[0], equalise=equalise, permute=permute)
            given: Any = budgets[0]
            if searches:
                limits = {"loss": None if loss is None else loss / 100, "cycles": cycles}
                found = search_budgets(
                    source, batches, budgets, selection=selection, progress=bar.reach, **limits
                )
                given = found.budgets.get
            report = prepare_model(source, batches, output, given, **shared)
        else:
            network = module_of(module)
            batches = _module_batches(network, Path(str(data)), samples)
            report = prepare_state_dict(path, network, batches, output, budgets[0], **shared)
    if write_policy:
        origin: dict[str, str | int | float] = {
            "program": "bitx prepare",
            "model": output,
            "method": method,
            "samples": samples,
            "equalised": int(equalise),
            "permuted": int(permute),
        }
        origin |= {"ones": " ".join(f"{row.tensor}={row.ones_max}" for row in report)} if ones else {}
        origin |= {} if found is None else {"cycles": found.cycles, "loss": found.loss}
        policy_of(report, budgets[0], origin).save(write_policy)
    written = [path for path in (output, write_policy) if path]
    if current_view().write(vars(row) for row in report):
        return
    if as_json:
        out.print_json(
            {
                "tensors": [vars(row) for row in report],
                "method": method,
                "found": found
                and {"cycles": found.cycles, "loss": found.loss, "models_prepared": found.tried},
                "channels": same and [vars(change) for change in same.changes],
                "float_errors": same and {name: vars(error) for name, error in same.errors.items()},
                "written": written,
            }
        )
        return
    if same is not None:
        _print_channels(same)
    taken = sum(len(next(iter(part.values()))) for part in batches)
    _print(report, f"{path.name}: {out.counted(len(report), 'tensor')}, by {out.counted(taken, 'sample')}")
    if found is not None:
        out.say(
            f"budgets by tensor: {found.cycles:.2f} cycles per group on average;"
            f" outputs move by {100 * found.loss:.3g} %",
            f"models prepared during the search: {found.tried:,}",
        )
    out.finish(written)


def _print_channels(same: Equivalent) -> None:
    from hwmodel.cli import output as out

    done = [change for change in same.changes if change.done]
    out.print_rows(
        (
            out.Shown("space", "channel space", text=True),
            out.Shown("channels", "channels", out.count),
            out.Shown("done", "what was done", text=True),
            out.Shown("shift_before", "shift\nbefore", out.number),
            out.Shown("shift_after", "after", out.number),
        ),
        [{**vars(change), "done": change.done} for change in done],
        title=f"channels of {len(done)} of {len(same.changes)} spaces changed; bits that alignment shifts",
    )
    for name, error in same.errors.items():
        out.say(f"output {name}: moved by {error.relative:.1e} of its largest value, in float arithmetic")


def _module_batches(network: Any, data: Path, samples: int) -> list[dict[str, Any]]:
    """Read arrays, one per input of a module, and give evenly spread samples of them."""
    from bitxcore.dumps import open_dump
    from bitxcore.errors import OptionError
    from hwmodel.evaluation.tasks.labelled import LABELS
    from hwmodel.preparation.module_files import in_order
    from hwmodel.preparation.samples import check_numbers, spread

    if data.is_dir() or data.suffix.lower() == ".csv":
        raise OptionError("of a module, calibration samples are arrays: a .npz, one per input", path=data)
    with open_dump(data) as dump:
        names = [name for name in dump if name not in LABELS] or list(dump)
        arrays = in_order(network, {name: dump[name].read() for name in names})
    counts = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no array"
        raise OptionError(f"needs as many samples in every array, at least one: {shown}", path=data)
    chosen = spread(next(iter(counts.values())), samples)
    for name, array in arrays.items():
        check_numbers(name, array[chosen], chosen, data)
    parts = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
    return [{name: array[part] for name, array in arrays.items()} for part in parts]


def _print(report: list[PreparedTensor], title: str) -> None:
    from hwmodel.cli import output as out

    def percent(share: float | None) -> str:
        return "–" if share is None else f"{100 * share:.2f}"

    out.print_rows(
        (
            out.Shown("tensor", "tensor", text=True),
            out.Shown("ones_max", "ones", out.count),
            out.Shown("rows_max", "rows", out.count),
            out.Shown("relative_error", "error of\nweights %", percent),
            out.Shown("output_error", "of outputs %", percent),
            out.Shown("offset", "offset", out.words, text=True, more=True),
        ),
        [vars(row) for row in report],
        title=title,
    )
