"""The meeting point of accelerators, layers and operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from bitxcore.dumps.base import Dump
from bitxcore.errors import BitxError, TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.layers import Layer
from hwmodel.memory.applying import with_memory
from hwmodel.networks import Network, NetworkLayer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult, NetworkResult

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter

Source = Mapping[str, Any] | str | PathLike[str] | None
"""Where weights are: an open dump or any mapping of names to arrays, or a dump's path."""

Progress = Callable[[int, int, str], None]
"""Called with layers done, layers in all, and the name of the layer that comes next."""


def simulate(accelerator: Accelerator, layer: Layer, operands: Operands | None = None) -> LayerResult:
    """Simulate one layer on one accelerator.

    Parameters
    ----------
    accelerator : Accelerator
        From `hwmodel.accelerator`.
    layer : Layer
    operands : Operands, optional
        May be left out if the accelerator's cycles don't depend on values.

    Returns
    -------
    LayerResult
        What `Accelerator.run` counts on the chip, with the buffers' and the DRAM's part; with a `reason` and
        no numbers if the accelerator does not run such layers.

    Raises
    ------
    TensorError
        If operands are missing or do not fit the layer, or a buffer is too small for it.
    """
    operands = operands or Operands()
    operands.check(layer)
    reason = accelerator.not_applicable(layer)
    if reason is not None:
        return accelerator.result(layer, reason=reason)
    if accelerator.needs_weights and operands.weights is None:
        raise TensorError(f"layer {layer.name!r}: {accelerator.name} needs weights, none were given")
    if accelerator.needs_activations and operands.activations is None:
        raise TensorError(f"layer {layer.name!r}: {accelerator.name} needs activations, none were given")
    try:
        return with_memory(accelerator, layer, operands, accelerator.run(layer, operands))
    except BitxError as error:
        if layer.name in str(error):
            raise
        raise TensorError(f"layer {layer.name!r}: {error}") from error


def simulate_network(
    accelerators: Accelerator | Sequence[Accelerator],
    network: Network,
    *,
    dump: Source = None,
    traces: Mapping[str, npt.NDArray[Any]] | None = None,
    store: str | PathLike[str] | StoreWriter | None = None,
    progress: Progress | None = None,
) -> NetworkResult:
    """Simulate every layer of a network on every accelerator.

    One weight tensor is in memory at a time.

    Parameters
    ----------
    accelerators : Accelerator or sequence of Accelerator
    network : Network
    dump : Dump, mapping of str to array, or path, optional
        Where the weights are. An ONNX network brings its own file; needed otherwise if an
        accelerator's cycles depend on weights.
    traces : mapping, optional
        Activations by layer name.
    store : path or StoreWriter, optional
        HDF5 file that receives the rows, the totals and what was not simulated.
    progress : callable, optional
        ``progress(done, total, next_layer)``, before each layer and once at the end.

    Returns
    -------
    NetworkResult

    Raises
    ------
    TensorError
        If a tensor is missing from the dump or does not fit its layer.
    """
    machines = (accelerators,) if isinstance(accelerators, Accelerator) else tuple(accelerators)
    labels = tuple(a.label for a in machines)
    if not machines:
        raise TensorError("at least one accelerator is needed")
    if len(set(labels)) < len(labels):
        raise TensorError(f"the same accelerator is given twice: {', '.join(labels)}")
    if unknown := set(traces or {}) - {e.layer.name for e in network.layers}:
        raise TensorError(f"traces: network {network.name!r} has no layer {sorted(unknown)[0]!r}")
    source = dump if dump is not None else network.path
    with open_store(store, machines, source) as writer:
        with open_weights(source, machines, network) as tensors:
            rows = list(_rows(machines, network, tensors, traces or {}, progress))
        result = NetworkResult(
            network=network.name,
            accelerators=labels,
            layers=tuple(rows),
            not_simulated=network.not_simulated,
            notes=network.notes,
        )
        if writer is not None:
            from hwmodel.storing import write_run

            write_run(writer, result, machines)
    return result


def _rows(
    machines: Sequence[Accelerator],
    network: Network,
    tensors: Mapping[str, Any],
    traces: Mapping[str, npt.NDArray[Any]],
    progress: Progress | None,
) -> Iterator[LayerResult]:
    for done, entry in enumerate(network.layers):
        if progress:
            progress(done, len(network), entry.layer.name)
        operands = Operands(entry.read(tensors), traces.get(entry.layer.name))
        for machine in machines:
            yield simulate_entry(machine, entry, operands)
    if progress:
        progress(len(network), len(network), "")


@contextmanager
def open_store(
    store: str | PathLike[str] | StoreWriter | None, machines: Sequence[Accelerator], source: Source
) -> Iterator[StoreWriter | None]:
    """Open a new store before the work begins, so that a bad path costs no time; None stays None."""
    if not isinstance(store, (str, PathLike)):
        yield store
        return
    from bitxcore.store import Store

    inputs: list[Dump | str | PathLike[str]] = []
    if isinstance(source, (Dump, str, PathLike)):
        inputs.append(source)
    parameters = {m.label: m.options for m in machines}
    with Store.create(store, parameters=parameters, inputs=inputs) as writer:
        yield writer


@contextmanager
def open_weights(
    source: Source, machines: Sequence[Accelerator], network: Network
) -> Iterator[Mapping[str, Any]]:
    """Open the dump if any machine looks at weights, and check that it has all of them.

    Parameters
    ----------
    source : Dump, mapping of str to array, path or None
    machines : sequence of Accelerator
    network : Network

    Yields
    ------
    mapping of str to array_like
        Empty if no machine looks at weights.

    Raises
    ------
    TensorError
        If weights are needed and there is no source, or it lacks some.
    """
    wanted = [e for e in network.layers if e.weight is not None]
    if not wanted or not any(m.needs_weights for m in machines):
        yield {}
        return
    if source is None:
        names = ", ".join(m.name for m in machines if m.needs_weights)
        raise TensorError(f"network {network.name!r}: {names} needs weights; say where they are with dump=")
    if isinstance(source, Mapping):
        _check_complete(source, wanted, network)
        yield source
        return
    from bitxcore import open_dump

    with open_dump(source) as tensors:
        _check_complete(tensors, wanted, network)
        yield tensors


def _check_complete(tensors: Mapping[str, Any], wanted: Sequence[NetworkLayer], network: Network) -> None:
    missing = [e for e in wanted if e.weight not in tensors]
    if missing:
        first = missing[0]
        raise TensorError(
            f"{getattr(tensors, 'path', 'the dump')} has no tensor {first.weight!r}, the weights of layer"
            f" {first.layer.name!r} of network {network.name!r} ({len(missing)} of {len(wanted)} are missing)"
        )


def simulate_entry(machine: Accelerator, entry: NetworkLayer, operands: Operands) -> LayerResult:
    """Simulate one layer of a network; with a `reason` if its weights were not found.

    Parameters
    ----------
    machine : Accelerator
    entry : NetworkLayer
    operands : Operands
        Weights as `NetworkLayer.read` gives them.

    Raises
    ------
    TensorError
        Naming tensor and layer.
    """
    reason = machine.not_applicable(entry.layer)
    if reason is None and machine.needs_weights and entry.weight is None:
        reason = entry.weight_missing
    if reason is not None:
        return machine.result(entry.layer, reason=reason, notes=entry.notes)
    try:
        result = simulate(machine, entry.layer, operands)
    except BitxError as error:
        raise TensorError(f"tensor {entry.weight!r}: {error}") from error
    return result.with_notes(entry.notes)
