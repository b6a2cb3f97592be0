"""Opening what a user names: a model or a dump, where its layers and its operands come from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from bitxcore.dumps import Dump, open_dump
from bitxcore.dumps.downloads import local_copy
from bitxcore.dumps.trust import parsing
from bitxcore.errors import OptionError, TensorError
from bitxcore.remote.remote_path import RemotePath, as_path
from hwmodel.networks.loading import load_network, network_from_dump
from hwmodel.networks.network import Network
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS, weight_distribution
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.traces import open_traces
from hwmodel.operands.traces.inputs import GivenInput, files_of, known_inputs
from hwmodel.operands.workload import StandIns, WeightSource, Workload, is_network

InputSize = Sequence[int] | Mapping[str, Sequence[int]] | None


class SurplusError(OptionError):
    """Options that mean nothing for the model they are given with.

    Parameters
    ----------
    options : sequence of str
        Parameters of `open_workload`.
    reason : str
        What they are for.
    """

    def __init__(self, options: Sequence[str], reason: str) -> None:
        super().__init__(f"{' and '.join(options)} {reason}")
        self.options, self.reason = tuple(options), reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.options, self.reason), self.__dict__


@contextmanager
def open_workload(
    model: str | os.PathLike[str],
    *,
    network: str | os.PathLike[str] | None = None,
    weights: WeightSource = None,
    traces: str | os.PathLike[str] | None = None,
    activations: StandIns = None,
    precisions: Precisions | str | os.PathLike[str] = None,
    positions: int | None = None,
    exclude: Sequence[str] = (),
    input_size: InputSize = None,
    sizes: Mapping[str, int] | None = None,
    inputs: GivenInput | Mapping[str, GivenInput] | None = None,
) -> Iterator[Workload]:
    """Open a model and the operands of its layers; every file is closed at the end.

    Parameters
    ----------
    model : str or path-like
        An ONNX model (layers and weights), a dump of weights (layers from `network`, or one matrix product
        per tensor), or the name or file of a network table.
    network : str or path-like, optional
        Where the layers of a dump come from: a table or an ONNX model.
    weights : Distribution, str, Dump, mapping or path, optional
        Where weights come from, if not from `model`; as of `Workload.of`.
    traces, activations, precisions : optional
        As of `Workload.of`; stand-ins for activations are ``relu-normal`` if nothing is said.
    positions : int, optional
        Output positions of every layer of a dump without shapes.
    exclude : sequence of str
        Patterns of tensors of such a dump that are not layers.
    input_size, sizes : optional
        Of an ONNX model's inputs, as of `hwmodel.load_network`; by default those of the traces.

    inputs : array_like, path, or mapping of input name to these, optional
        Inputs of an ONNX model that are known, as of `hwmodel.trace`; not all must be.

    Yields
    ------
    Workload

    Raises
    ------
    BitxError
        For what can't be read or does not go together; it names the file.

    Examples
    --------
    >>> with open_workload("resnet20-cifar10", weights="normal") as workload:
    ...     len(workload.network)
    20
    """
    elsewhere = weights is not None
    with ExitStack() as stack:
        model, network = _near(model, stack), None if network is None else _near(network, stack)
        path = as_path(network or model)
        given: Mapping[str, Any] = {}
        of_traces = False
        opened = None if traces is None else stack.enter_context(open_traces(traces))
        if opened is not None and as_path(model).suffix == ".onnx" and not input_size and not sizes:
            input_size, given, of_traces = opened.input_sizes, opened.given, True
        dump = None
        if not elsewhere and (
            network is not None or as_path(model).suffix == ".onnx" or not is_network(model)
        ):
            dump = stack.enter_context(open_dump(model))
        stored = weights
        if elsewhere and weight_distribution(weights) is None and isinstance(weights, (str, os.PathLike)):
            stored = stack.enter_context(open_dump(weights))
        with parsing(path):
            if elsewhere or network is not None or dump is None or dump.container == "onnx":
                if positions is not None or exclude:
                    raise SurplusError(("positions", "exclude"), "are for dumps without layer shapes")
                source = path if network or dump else model
                known = given or None
                if inputs is not None:
                    if path.suffix != ".onnx":
                        raise SurplusError(("inputs",), "are for ONNX models")
                    known = known_inputs(path, inputs, input_size, sizes or {})
                try:
                    net = load_network(source, input_size=input_size, sizes=sizes, inputs=known)
                except OptionError as error:
                    if not of_traces:
                        raise
                    where = os.fspath(traces or "")
                    raise OptionError(
                        f"the traces {where} are of a model with other inputs: {error.message}"
                    ) from error
            else:
                net = _of_dump(dump, positions, exclude, input_size or sizes or inputs)
            _check_layers(net)
        load = Workload.of(
            net,
            dump=dump,
            weights=stored,
            traces=opened,
            activations=DEFAULT_ACTIVATIONS if activations is None else activations,
            precisions=precisions,
        )
        read = [*([path] if path.is_file() else []), *files_of({} if inputs is None else inputs)]
        yield replace(load, files=(*load.files, *read))


def _near(given: str | os.PathLike[str], stack: ExitStack) -> str | os.PathLike[str]:
    """Return what was given; of the URL of a graph or a table, which is read whole, a copy for the stack."""
    if not os.fspath(given) or not isinstance(path := as_path(given), RemotePath):
        return given
    return stack.enter_context(local_copy(path)) if is_network(path) else path


def _of_dump(dump: Dump, positions: int | None, exclude: Sequence[str], shaped: object) -> Network:
    if shaped:
        raise SurplusError(("input_size", "sizes", "inputs"), "are for ONNX models")
    return network_from_dump(dump, positions=positions or 1, exclude=exclude)


def _check_layers(network: Network) -> None:
    if not network.layers:
        reasons = "; ".join(f"{n.count} x {n.operation}: {n.reason}" for n in network.not_simulated)
        raise TensorError(f"has no layer to simulate ({reasons or 'it is empty'})")
