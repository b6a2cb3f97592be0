"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from hwmodel.cli.values import ByteSize, FedInput, Format, Integer, IntegerOr, Numbers, OneOf, Shape, Size

F = TypeVar("F", bound=Callable[..., Any])


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def grouping_options(function: F) -> F:
    """Add ``--preset --group --window --format --grouping --nonfinite``, for `settle_grouping` to read."""
    return _all(
        click.option(
            "--preset",
            type=OneOf("bitxcore.presets:PRESETS"),
            help="The paper's settings: mild keeps 10 rows per group of 8 weights, wild keeps 6.",
        ),
        click.option(
            "--group",
            type=IntegerOr("whole", 4096),
            default=8,
            show_default=True,
            help="Weights per group, at most 64 (prune: 4096). whole: whole kernels, with --grouping kernel.",
        ),
        click.option(
            "--window",
            type=Integer(1, 64),
            help="Rows of the alignment window.  [default: 32 for float32, p + 8 for other floats, p for"
            " integers]",
        ),
        click.option(
            "--format",
            type=Format(),
            help="Number format (see bitx list formats). fixed16 first quantises floats.  [default: the"
            " tensor's own]",
        ),
        click.option(
            "--grouping",
            type=OneOf("bitxcore.groups:GROUPINGS"),
            default="flat",
            show_default=True,
            help="flat: consecutive weights of a filter. channel: input channels at one kernel position."
            " kernel: weights of one kernel plane.",
        ),
        click.option(
            "--nonfinite",
            type=click.Choice(["raise", "keep"]),
            default="raise",
            show_default=True,
            help="What a NaN or Inf leads to. raise: an error. keep: its group is not pruned, and counted.",
        ),
    )(function)


def settle_grouping(options: dict[str, Any], also: tuple[str, ...] = ()) -> None:
    """Put rows and group in the place of ``--preset``, and check ``--group whole``.

    Parameters
    ----------
    options : dict
        Of the command; changed in place.
    also : tuple of str
        Options beside ``--group`` that a preset settles.

    Raises
    ------
    click.UsageError
        If an option is given that the preset settles, or whole kernels without a grouping by kernels.
    """
    name = options.pop("preset")
    if name:
        from bitxcore.presets import preset

        context = click.get_current_context()
        commandline = click.core.ParameterSource.COMMANDLINE
        settled = (*also, "group")
        given = [f"--{key}" for key in settled if context.get_parameter_source(key) is commandline]
        if given:
            raise click.UsageError(f"--preset {name} settles {' and '.join(given)}: give one or the other")
        options |= preset(name)
    if options["group"] is None and options["grouping"] != "kernel":
        raise click.UsageError(
            f"--group whole stands for whole kernels, and needs --grouping kernel, not {options['grouping']}"
        )


def selection_options(function: F) -> F:
    """Add ``--include --exclude --min-dims``."""
    return _all(
        click.option(
            "--include",
            metavar="GLOB",
            multiple=True,
            help="Use only tensors with such names, even if they are no weights. Repeatable.",
        ),
        click.option(
            "--exclude",
            metavar="GLOB",
            multiple=True,
            help="Leave out tensors with such names. Repeatable; wins over --include.",
        ),
        click.option(
            "--min-dims",
            type=Integer(0),
            default=2,
            show_default=True,
            help="Fewest dimensions of a weight tensor, where the container can't tell weights apart.",
        ),
    )(function)


def layout_option(function: F) -> F:
    """Add ``--layout``."""
    return click.option(
        "--layout",
        type=OneOf("bitxcore.groups:LAYOUTS"),
        help="Order of the weights' axes, in place of what the dump tells: oihw (PyTorch), ohwi"
        " (TensorFlow Lite), hwio (Keras). o and i are output and input channels, also of matrices.",
    )(function)


def memory_option(function: F) -> F:
    """Add ``--memory``."""
    return click.option(
        "--memory",
        "memory_bytes",
        type=ByteSize(),
        help="What the work on one tensor may take, e.g. 512M or 2GiB. A tensor that needs more goes through"
        " in pieces; results are the same.  [default: a quarter of the machine's memory]",
    )(function)


def note_memory(notes: Iterable[tuple[str, str]]) -> None:
    """Say which tensors took more memory than they were given, and why."""
    from bitxcore.batch import grouped
    from hwmodel.cli import output as out

    found = []
    for why, names in grouped({name: note for name, note in notes if note}).items():
        line = f"more than --memory was needed for {out.counted(len(names), 'tensor')}: {why}"
        named = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        found.append(out.Note("memory", f"{line}: {named}", line))
    out.say_notes(found)


def size_options(of: str) -> Callable[[F], F]:
    """Add ``--input-size --size``; `of` says in their help whose sizes they are."""
    return _all(
        click.option("--input-size", type=Shape(), multiple=True, help=f"Shape of {of}, batch included."),
        click.option(
            "--size",
            "sizes",
            type=Size(),
            multiple=True,
            help=f"Value of a dynamic dimension of {of}, by its name, or by input and axis: image.2=320.",
        ),
    )


def picture_options(function: F) -> F:
    """Add ``--scale --mean --std --channels``."""
    return _all(
        click.option(
            "--scale",
            type=float,
            help="Pictures: factor of the 8-bit channels.  [default: 1/255, so 0 to 1; 1 for integers]",
        ),
        click.option(
            "--mean",
            type=Numbers(),
            help="Pictures: what is subtracted after --scale; one number, or one per channel.  [default: 0]",
        ),
        click.option(
            "--std",
            type=Numbers(),
            help="Pictures: what is divided by after --mean; one number, or one per channel.  [default: 1]",
        ),
        click.option(
            "--channels",
            type=OneOf("hwmodel.operands.traces.pictures:CHANNELS"),
            default="rgb",
            show_default=True,
            help="Pictures: order of the colours, rgb or bgr (as OpenCV); also that of --mean and --std.",
        ),
    )(function)


def layer_options(function: F) -> F:
    """Add ``--network --positions --exclude --input-size --size --input``."""
    return _all(
        click.option(
            "--network", metavar="NAME", help="Layer shapes of a dump: a network table, .onnx or .json."
        ),
        click.option(
            "--positions",
            type=Integer(1),
            help="Output positions per layer, assumed for a dump without shapes.  [default: 1]",
        ),
        click.option(
            "--exclude",
            metavar="GLOB",
            multiple=True,
            help="Tensors of a dump without shapes that are no layers. Repeatable.",
        ),
        size_options("an ONNX input"),
        click.option(
            "--input",
            "inputs",
            type=FedInput(),
            multiple=True,
            help="Inputs of an ONNX model that decide branches, numbers of loop runs, or sizes: an array"
            " (.npy), a dump of several, or NAME=VALUE.",
        ),
    )(function)


def operand_options(function: F) -> F:
    """Add ``--weights --traces --activations --precisions``."""
    return _all(
        click.option(
            "--weights",
            metavar="DUMP|synthetic[:DIST]",
            help="Weights for the layers of MODEL: a dump, matched by name or shape; or drawn from normal"
            " (default), laplace, uniform or relu-normal, e.g. synthetic:laplace,zeros=0.5.",
        ),
        click.option("--traces", metavar="TRACES.h5", help="Activations that bitx trace recorded."),
        click.option(
            "--activations",
            metavar="DIST",
            help="Distribution of stand-in activations, for machines that need activations where there is no"
            " trace: relu-normal, normal, laplace or uniform, e.g. relu-normal:zeros=0.6,seed=1."
            " [default: relu-normal]",
        ),
        click.option(
            "--precisions",
            metavar="profile[:ERROR]|FILE|BITS",
            help="Bits of operands in fixed point. profile: the fewest whose relative error is at most ERROR"
            " (0.01). FILE: bits by layer (.json or .csv). BITS: one number.  [default: 16]",
        ),
    )(function)


policy_option = click.option(
    "--policy",
    metavar="FILE",
    help="How each weight tensor is pruned, by its name (JSON). Replaces --rows, --group and the like.",
)


def refuse_beside_policy(options: Iterable[str]) -> None:
    """Refuse options that were given though a policy sets them.

    Raises
    ------
    click.UsageError
    """
    context = click.get_current_context()
    commandline = click.core.ParameterSource.COMMANDLINE
    given = [name for name in options if context.get_parameter_source(name) is commandline]
    if given:
        named = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"--policy says how each tensor is pruned: {named} can't be given besides")
