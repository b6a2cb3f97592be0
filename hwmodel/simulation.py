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
from hwmodel.networks import Network, NetworkLayer
from hwmodel.operands import Operands
from hwmodel.results import LayerResult, NetworkResult

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter

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
        With a `reason` and no numbers if the accelerator does not run such layers.

    Raises
    ------
    TensorError
        If operands are missing or do not fit the layer.
    """
    operands = operands or Operands()
    operands.check(layer)
    reason = accelerator.not_applicable(layer)
    if reason is not None:
        return accelerator.result(layer, reason=reason)
    if accelerator.needs_weights and operands.weights is None:
        raise TensorError(f"layer {layer.name!r}: {accelerator.name} needs weights, none were given")
    try:
        return accelerator.run(layer, operands)
    except TensorError as error:
        if layer.name in str(error):
            raise
        raise TensorError(f"layer {layer.name!r}: {error}") from error


def simulate_network(
    accelerators: Accelerator | Sequence[Accelerator],
    network: Network,
    *,
    dump: Mapping[str, Any] | str | PathLike[str] | None = None,
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
    traces = traces or {}
    rows: list[LayerResult] = []
    with _open(dump if dump is not None else network.path, machines, network) as tensors:
        for done, entry in enumerate(network.layers):
            if progress:
                progress(done, len(network.layers), entry.layer.name)
            operands = Operands(entry.read(tensors), traces.get(entry.layer.name))
            for machine in machines:
                rows.append(_simulate_entry(machine, entry, operands))
    if progress:
        progress(len(network.layers), len(network.layers), "")
    result = NetworkResult(
        network=network.name,
        accelerators=labels,
        layers=tuple(rows),
        not_simulated=network.not_simulated,
        notes=network.notes,
    )
    if store is not None:
        from hwmodel.storing import write_run

        source = dump if dump is not None else network.path
        plain = source is None or (isinstance(source, Mapping) and not isinstance(source, Dump))
        inputs = () if plain else (source,)
        write_run(store, result, machines, inputs=inputs)
    return result


@contextmanager
def _open(
    source: Mapping[str, Any] | str | PathLike[str] | None, machines: Sequence[Accelerator], network: Network
) -> Iterator[Mapping[str, Any]]:
    """Open the dump if any machine looks at weights, and check that it has all of them."""
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


def _simulate_entry(machine: Accelerator, entry: NetworkLayer, operands: Operands) -> LayerResult:
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
