"""Options that commands share; what they may be is looked up when they are used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    Choice = click.ParamType[Any]
else:
    Choice = click.ParamType  # generic since click 8.2 only

F = TypeVar("F", bound=Callable[..., Any])


class OneOf(Choice):
    """A choice from a tuple that stands in a module, imported on use.

    Parameters
    ----------
    place : str
        ``module:attribute``.
    """

    name = "choice"

    def __init__(self, place: str) -> None:
        self.place = place

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` if it is one of the choices."""
        module, attribute = self.place.split(":")
        choices = getattr(import_module(module), attribute)
        if value not in choices:
            self.fail(f"{value!r} is none of {', '.join(choices)}", param, ctx)
        return value


class Format(Choice):
    """The name of a number format."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return `value` if it names a format."""
        from bitxcore.errors import BitxError
        from bitxcore.formats import number_format

        try:
            number_format(value)
        except BitxError as error:
            self.fail(str(error), param, ctx)
        return value


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def grouping_options(function: F) -> F:
    """Add ``--group --window --format --grouping --nonfinite``."""
    return _all(
        click.option(
            "--group", type=click.IntRange(1, 64), default=16, show_default=True, help="Weights a group."
        ),
        click.option(
            "--window",
            type=click.IntRange(1, 64),
            help="Rows of the alignment window.  [default: 32 for float32, p + 8 for other floats, p for"
            " integers]",
        ),
        click.option(
            "--format",
            type=Format(),
            help="Number format; fixed16 quantises floats first (see bitx list formats).  [default: the"
            " tensor's own]",
        ),
        click.option(
            "--grouping",
            type=OneOf("bitxcore.groups:GROUPINGS"),
            default="flat",
            show_default=True,
            help="flat: consecutive weights of a filter; channel: input channels at one kernel position.",
        ),
        click.option(
            "--nonfinite",
            type=click.Choice(["raise", "keep"]),
            default="raise",
            show_default=True,
            help="NaN or Inf: an error, or a group that is left untouched and counted.",
        ),
    )(function)


def selection_options(function: F) -> F:
    """Add ``--include --exclude --min-dims``."""
    return _all(
        click.option(
            "--include",
            metavar="GLOB",
            multiple=True,
            help="Only tensors named so, even if they are no weights; repeatable.",
        ),
        click.option(
            "--exclude", metavar="GLOB", multiple=True, help="No tensors named so; repeatable, wins."
        ),
        click.option(
            "--min-dims",
            type=click.IntRange(0),
            default=2,
            show_default=True,
            help="Dimensions of a weight tensor, where the container can't tell weights apart.",
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
        click.option("--traces", metavar="TRACES.h5", help="Activations; what bitx trace wrote."),
        click.option(
            "--activations",
            metavar="DIST",
            help="Stand-ins where a machine needs activations and there is no trace: relu-normal, normal,"
            " laplace or uniform, e.g. relu-normal:zeros=0.6,seed=1.  [default: relu-normal]",
        ),
        click.option(
            "--precisions",
            metavar="profile[:ERROR]|FILE|BITS",
            help="Bits of the operands in fixed point: the fewest whose relative error is at most ERROR"
            " (0.01); by layer, in a .json or .csv file; or one number.  [default: 16]",
        ),
    )(function)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document, no tables.")
