"""A whole network on accelerators, into a result and a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bitxcore.batch.runs.executing import Workers
from bitxcore.errors import OptionError
from bitxcore.policy import Policy, as_policy
from bitxcore.progress import Progress
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import as_accelerator
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.workload import DumpSource, NetworkSource, StandIns, TraceSource, WeightSource, Workload
from hwmodel.simulation.elsewhere import rows_elsewhere
from hwmodel.simulation.policies import check_names, policy_notes, recorded_options, under_policy
from hwmodel.simulation.results import NetworkResult
from hwmodel.simulation.walk import walk

if TYPE_CHECKING:
    from bitxcore.store import StoreWriter

Machines = Accelerator | str | Sequence[Accelerator | str]
"""One accelerator or several; a name is that of an accelerator with its default options."""


def simulate_network(
    accelerators: Machines,
    network: NetworkSource | Workload,
    *,
    dump: DumpSource = None,
    traces: TraceSource = None,
    weights: WeightSource = None,
    activations: StandIns = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | os.PathLike[str] = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | StoreWriter | None = None,
    parameters: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> NetworkResult:
    """Simulate every layer of a network on every accelerator.

    One layer's weights and activations are in memory at a time.

    Parameters
    ----------
    accelerators : Accelerator, str, or sequence of these
        A name is an accelerator with its default options.
    network : Network, str, path or Workload
        A `Workload` says where its operands are; a name or a path is loaded.
    dump, traces, weights, activations, precisions : optional
        Where the operands are, as of `Workload.of`.
    policy : Policy or path, optional
        How each weight tensor is pruned. It replaces the options of machines that follow policies (BitX).
        Other machines run unchanged, and a note says so. See `hwmodel.simulation.policies.layer_options`
        for layers of several tensors.
    store : path or StoreWriter, optional
        HDF5 file that receives the rows, the totals and what was not simulated.
    parameters : mapping, optional
        Further values to record in the store's provenance.
    workers : DaskWorkers, optional
        Who simulates the layers instead of this process; see `bitxcore.clusters.dask_workers`.
    progress : callable, optional
        ``progress(done, total, next_layer)``, before each layer and once at the end.

    Returns
    -------
    NetworkResult

    Raises
    ------
    OptionError
        For an unknown name or option; for a policy that names a missing tensor, or sets an option that a
        machine was also given.
    TensorError
        If a tensor is missing from the dump or does not fit its layer.

    Examples
    --------
    >>> import hwmodel as hw
    >>> run = hw.simulate_network(["bitx", "dadiannao"], "resnet20-cifar10", weights="laplace")
    >>> run.accelerators, len(run.of("bitx"))
    (('bitx', 'dadiannao'), 20)
    """
    machines = as_machines(accelerators)
    load = Workload.of(
        network, dump=dump, traces=traces, weights=weights, activations=activations, precisions=precisions
    )
    followed = None if policy is None else as_policy(policy)
    under = under_policy(machines, load.network, followed)
    with (
        load.open(machines) as source,
        open_store(store, machines, load, parameters, followed) as writer,
    ):
        if followed is not None:
            check_names(followed, load, source.weights)
        if workers is None:
            visits = walk(machines, load.network, source, policy=followed, progress=progress)
            rows = [row for visit in visits for row in visit.results]
        else:
            rows = rows_elsewhere(machines, load, workers, policy=followed, progress=progress)
        result = NetworkResult(
            network=load.network.name,
            accelerators=tuple(machine.label for machine in machines),
            layers=tuple(rows),
            not_simulated=load.network.not_simulated,
            notes=load.network.notes + source.notes(load.network, machines) + policy_notes(under),
        )
        if writer is not None:
            from hwmodel.simulation.storing import write_run

            write_run(writer, result, machines, built=[each.built for each in under])
    return result


def as_machines(accelerators: Machines) -> tuple[Accelerator, ...]:
    """Look up names, and check that there is a machine, and none twice."""
    is_one = isinstance(accelerators, str) or not isinstance(accelerators, Iterable)
    machines = tuple(map(as_accelerator, (accelerators,) if is_one else accelerators))  # type: ignore[arg-type]
    if not machines:
        raise OptionError("at least one accelerator is needed")
    labels = [machine.label for machine in machines]
    if len(set(labels)) < len(labels):
        raise OptionError(f"the same accelerator is given twice: {', '.join(labels)}")
    return machines


@contextmanager
def open_store(
    store: str | os.PathLike[str] | StoreWriter | None,
    machines: Sequence[Accelerator],
    load: Workload,
    parameters: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
) -> Iterator[StoreWriter | None]:
    """Open a new store before the work begins, so that a bad path costs no time; None stays None."""
    if not isinstance(store, (str, os.PathLike)):
        yield store
        return
    from bitxcore.store import Store

    recorded = {
        **(parameters or {}),
        "workload": load.record,
        "accelerators": {m.label: recorded_options(m, policy) for m in machines},
    }
    if policy is not None:
        recorded["policy"] = policy.record()
    inputs = load.inputs if policy is None or policy.path is None else (*load.inputs, policy.path)
    with Store.create(store, parameters=recorded, inputs=inputs) as writer:
        yield writer
