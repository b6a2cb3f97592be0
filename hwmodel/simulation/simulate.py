"""The meeting point of accelerators, layers and operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from bitxcore.dumps.base import Dump
from bitxcore.errors import BitxError, TensorError
from hwmodel.accelerators.base import Accelerator
from hwmodel.memory.model import with_memory
from hwmodel.networks.layers import Layer
from hwmodel.networks.network import Network, NetworkLayer
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.operands import Operands
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.sources import Feed, Named, TraceSource, looks_at_activations, opened
from hwmodel.operands.sources import Source as Source
from hwmodel.operands.sources import open_weights as open_weights
from hwmodel.operands.traces import Traces
from hwmodel.simulation.results import LayerResult, NetworkResult

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
    if accelerator.needs_weights and layer.has_weights and operands.weights is None:
        raise TensorError(f"{accelerator.name} needs weights, none were given", layer=layer.name)
    if accelerator.needs_activations and operands.activations is None:
        raise TensorError(f"{accelerator.name} needs activations, none were given", layer=layer.name)
    try:
        return with_memory(accelerator, layer, operands, accelerator.run(layer, operands))
    except BitxError as error:
        if layer.name in str(error):
            raise
        raise TensorError(f"{error}", layer=layer.name) from error


def simulate_network(
    accelerators: Accelerator | Sequence[Accelerator],
    network: Network,
    *,
    dump: Source = None,
    traces: TraceSource = None,
    weights: Named = None,
    activations: Named = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | PathLike[str] = None,
    store: str | PathLike[str] | StoreWriter | None = None,
    progress: Progress | None = None,
) -> NetworkResult:
    """Simulate every layer of a network on every accelerator.

    One layer's weights and activations are in memory at a time.

    Parameters
    ----------
    accelerators : Accelerator or sequence of Accelerator
    network : Network
    dump : Dump, mapping of str to array, or path, optional
        Where the weights are. An ONNX network brings its own file; needed otherwise if an
        accelerator's cycles depend on weights.
    traces : Traces, mapping of str to array, or path, optional
        Activations by layer name; what `hwmodel.trace` wrote.
    weights : Distribution or str, optional
        Draw weights from this distribution (``"laplace"``, ``"normal:zeros=0.5,seed=1"``) where the dump has
        none; without a dump, everywhere. Results say "synthetic weights".
    activations : Distribution or str, optional
        Likewise for activations that a machine needs and no trace has; None makes these an error.
    precisions : mapping of str to Precision, Profile, int, str or path, optional
        Bits of each layer's operands in fixed point (16 if nothing is said): by layer name, in a file (see
        `hwmodel.read_precisions`), one number for all, or ``"profile"``.
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
    with opened(
        network,
        dump,
        traces,
        weights=weights,
        activations=activations,
        precisions=precisions,
        machines=machines,
    ) as feed:
        source = dump if dump is not None or weights is not None else network.path
        with open_store(store, machines, source, *input_files(traces, precisions)) as writer:
            rows = list(_rows(machines, network, feed, progress))
            notes = network.notes + feed.notes(network, machines)
            result = NetworkResult(
                network=network.name,
                accelerators=labels,
                layers=tuple(rows),
                not_simulated=network.not_simulated,
                notes=notes,
            )
            if writer is not None:
                from hwmodel.simulation.storing import write_run

                write_run(writer, result, machines)
    return result


def input_files(*sources: object) -> list[str | PathLike[str]]:
    """Files among what operands are read from."""
    paths = (getattr(s, "path", s) if isinstance(s, Traces) else s for s in sources)
    return [p for p in paths if isinstance(p, (str, PathLike)) and Path(p).is_file()]


def _rows(
    machines: Sequence[Accelerator],
    network: Network,
    feed: Feed,
    progress: Progress | None,
) -> Iterator[LayerResult]:
    for done, entry in enumerate(network.layers):
        if progress:
            progress(done, len(network), entry.layer.name)
        running = [m for m in machines if m.not_applicable(entry.layer) is None]
        fed = feed.layer(
            entry,
            weights=any(m.needs_weights for m in running),
            activations=any(looks_at_activations(m) for m in running),
        )
        for machine in machines:
            row = simulate_entry(machine, entry, fed.for_machine(machine))
            yield row.with_notes(fed.notes(machine)) if row.applicable else row
    if progress:
        progress(len(network), len(network), "")


@contextmanager
def open_store(
    store: str | PathLike[str] | StoreWriter | None,
    machines: Sequence[Accelerator],
    source: Source,
    *others: str | PathLike[str],
) -> Iterator[StoreWriter | None]:
    """Open a new store before the work begins, so that a bad path costs no time; None stays None."""
    if not isinstance(store, (str, PathLike)):
        yield store
        return
    from bitxcore.store import Store

    inputs: list[Dump | str | PathLike[str]] = []
    if isinstance(source, (Dump, str, PathLike)):
        inputs.append(source)
    inputs += others
    parameters = {m.label: m.options for m in machines}
    with Store.create(store, parameters=parameters, inputs=inputs) as writer:
        yield writer


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
    if reason is None and machine.needs_weights and entry.weight is None and operands.weights is None:
        reason = entry.weight_missing
    if reason is not None:
        return machine.result(entry.layer, reason=reason, notes=entry.notes)
    try:
        result = simulate(machine, entry.layer, operands)
    except BitxError as error:
        raise TensorError(f"{error}", tensor=entry.weight) from error
    return result.with_notes(entry.notes)
