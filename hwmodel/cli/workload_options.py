"""MODEL and the options of layers and operands, which all that simulate share; they name a `Workload`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import layer_options, operand_options

if TYPE_CHECKING:
    from hwmodel.networks.matching import Matching
    from hwmodel.operands.workload import Workload

Sizes = tuple[tuple[str, tuple[int, ...]], ...]


def workload_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of layers and of operands; the command gets them as one argument, `asked`."""

    @wraps(function)
    def command(**options: Any) -> Any:
        asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked)})
        return function(asked=asked, **options)

    return layer_options(operand_options(command))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of layers and of operands, as given; they are named as the options are."""

    network: str | None
    positions: int | None
    exclude: tuple[str, ...]
    input_size: Sizes
    sizes: tuple[tuple[str, int], ...]
    inputs: tuple[tuple[str, Any], ...]
    weights: str | None
    traces: str | None
    activations: str | None
    precisions: str | None

    @property
    def parameters(self) -> dict[str, Any]:
        """What a store records of them."""
        mappings = ("input_size", "sizes", "inputs")
        return asdict(self) | {name: dict(getattr(self, name)) for name in mappings}

    @contextmanager
    def open(self, model: str) -> Iterator[Workload]:
        """Open what MODEL and they name; its files are closed at the end.

        Parameters
        ----------
        model : str
            The argument MODEL.
        """
        from hwmodel.operands.opening import SurplusError, open_workload

        if self.weights is not None and self.network is not None:
            raise click.UsageError("--weights and --network both say what MODEL is not: give one of them")
        opened = open_workload(
            model,
            network=self.network,
            weights=self.weights,
            traces=self.traces,
            activations=self.activations,
            precisions=self.precisions,
            positions=self.positions,
            exclude=self.exclude,
            input_size=input_shapes(self.input_size),
            sizes=dict(self.sizes) or None,
            inputs=named_inputs(self.inputs) if self.inputs else None,
        )
        try:
            with opened as load:
                yield load
        except SurplusError as error:
            options = " and ".join(_FLAGS.get(name, f"--{name}") for name in error.options)
            raise click.UsageError(f"{options} {error.reason}") from error


_FLAGS = {"input_size": "--input-size", "sizes": "--size", "inputs": "--input"}
"""Options of the command whose names differ from the library's."""


def input_shapes(given: Sizes) -> dict[str, tuple[int, ...]] | tuple[int, ...] | None:
    """``--input-size`` as `hwmodel.load_network` takes it."""
    named = dict(given)
    if "" in named and len(given) > 1:
        raise click.UsageError("several --input-size need the inputs' names: NAME=1x3x224x224")
    return named.get("", named or None)


def named_inputs(given: tuple[tuple[str, Any], ...]) -> Any:
    """``--input`` as `hwmodel.trace` takes it: what is given for no input in particular, or by name."""
    names = [name for name, _ in given]
    if len(given) > 1 and (not all(names) or len(set(names)) < len(names)):
        raise click.UsageError(
            "several --input need the inputs' names: NAME=FILE, each once; or one file for all of them"
        )
    return dict(given) if names[0] else given[0][1]


def matching_document(matching: Matching | None) -> dict[str, Any] | None:
    """Return the JSON of a matching; None if nothing was matched."""
    if matching is None:
        return None
    return {
        "matches": [asdict(match) for match in matching.matches],
        "unmatched": matching.unmatched,
        "unused": matching.unused,
    }
