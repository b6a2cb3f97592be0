"""What MODEL and its options stand for: layers, weights, activations. Shared by all that simulate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.options import layer_options, operand_options

if TYPE_CHECKING:
    from bitxcore.dumps import Dump
    from hwmodel.cli.operand_options import Wanted
    from hwmodel.networks.matching import Matching
    from hwmodel.networks.network import Network

Sizes = tuple[tuple[str, tuple[int, ...]], ...]

_SIZE_HINT = re.compile(r"set it with sizes=.*|give input_size=.*", re.DOTALL)


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
    weights: str | None
    traces: str | None
    activations: str | None
    precisions: str | None

    def open(self, opened: ExitStack, model: str) -> Workload:
        """Open what they name.

        Parameters
        ----------
        opened : ExitStack
            What closes the files.
        model : str
            The argument MODEL.
        """
        from hwmodel.cli.operand_options import Wanted

        wanted = Wanted.of(self.weights, self.traces, self.activations, self.precisions)
        wanted.check(self.network)
        traces = wanted.open_traces(opened)
        input_size = self.input_size
        if traces is not None and Path(model).suffix == ".onnx" and not input_size and not self.sizes:
            input_size = tuple(traces.input_sizes.items())
        dump = wanted.open_weights(opened) if wanted.elsewhere else self._open_model(opened, model)
        with naming(self.network or model, parsing=True):
            network = self._layers(model, dump, wanted, input_size)
            _check_layers(network)
        matching = wanted.match(network, dump)
        return Workload(
            network=matching.network if matching else network,
            dump=dump,
            matching=matching,
            wanted=wanted,
            operands={
                "dump": dump,
                "traces": traces,
                "weights": wanted.synthetic,
                "activations": wanted.activations,
                "precisions": wanted.precisions,
            },
            shapes=Path(self.network or model),
            parameters={
                "positions": self.positions,
                "exclude": self.exclude,
                "input_size": dict(input_size),
                "sizes": dict(self.sizes),
                **wanted.parameters,
            },
        )

    def _open_model(self, opened: ExitStack, model: str) -> Dump | None:
        """Open the weights; None if `model` is a table, or is meant to be the name of one."""
        from bitxcore.dumps import open_dump

        is_table = model.endswith(".json") and not model.endswith(".safetensors.index.json")
        is_name = not Path(model).suffix and not Path(model).exists()
        if self.network is None and (is_table or is_name):
            return None
        return opened.enter_context(open_dump(model))

    def _layers(self, model: str, dump: Dump | None, wanted: Wanted, input_size: Sizes) -> Network:
        from hwmodel import load_network, network_from_dump

        given = dump is None or self.network is not None or wanted.elsewhere
        if given or dump is None or dump.container == "onnx":
            if self.positions is not None or self.exclude:
                raise click.UsageError("--positions and --exclude are for dumps without layer shapes")
            shape = input_shapes(input_size)
            return load_network(self.network or model, input_size=shape, sizes=dict(self.sizes) or None)
        if input_size or self.sizes:
            raise click.UsageError("--input-size and --size are for ONNX models")
        return network_from_dump(dump, positions=self.positions or 1, exclude=self.exclude)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Layers, and their operands.

    Attributes
    ----------
    network : Network
    dump : Dump or None
        The weights.
    matching : Matching or None
        How a dump from elsewhere was matched to the layers.
    wanted : Wanted
    operands : dict
        As `hwmodel.simulate_network` and its like take them.
    shapes : pathlib.Path
        Where the layers are from; may be the name of a table.
    parameters : dict
        What a store records.
    """

    network: Network
    dump: Dump | None
    matching: Matching | None
    wanted: Wanted
    operands: dict[str, Any]
    shapes: Path
    parameters: dict[str, Any]

    @property
    def has_weights(self) -> bool:
        """Whether there are weights, stored or drawn."""
        return self.dump is not None or self.wanted.synthetic is not None

    @property
    def inputs(self) -> list[Any]:
        """Every file that was read."""
        read: list[Any] = [*([] if self.dump is None else [self.dump]), *self.wanted.files()]
        if self.shapes.is_file() and (self.dump is None or self.shapes not in self.dump.files()):
            read.append(self.shapes)
        return read


def input_shapes(given: Sizes) -> dict[str, tuple[int, ...]] | tuple[int, ...] | None:
    """``--input-size`` as `hwmodel.load_network` takes it."""
    named = dict(given)
    if "" in named and len(given) > 1:
        raise click.UsageError("several --input-size need the inputs' names: NAME=1x3x224x224")
    return named.get("", named or None)


def _check_layers(network: Network) -> None:
    from bitxcore.errors import TensorError

    if not network.layers:
        reasons = "; ".join(f"{n.count} x {n.operation}: {n.reason}" for n in network.not_simulated)
        raise TensorError(f"{network.source}: has no layer to simulate ({reasons or 'it is empty'})")


@contextmanager
def naming(path: Any, parsing: bool = False) -> Iterator[None]:
    """Let errors begin with a file's name; while `parsing`, whatever a damaged file makes a parser raise."""
    from bitxcore.dumps.trust import one_line
    from bitxcore.errors import BitxError, DumpError, MissingExtraError

    try:
        yield
    except (click.ClickException, MissingExtraError, MemoryError, OSError):
        raise
    except BitxError as error:
        # The library's error names its own parameters.
        text = _SIZE_HINT.sub("set it with --size NAME=VALUE or --input-size 1x3x224x224", str(error))
        if str(path) not in text:
            text = f"{path}: {text}"
        if text == str(error):
            raise
        raise type(error)(text) from error
    except Exception as error:
        if not parsing:
            raise
        raise DumpError(f"can't be read: {one_line(error)}", path=path) from error
