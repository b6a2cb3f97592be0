"""A sweep from its definition to its store."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import Any

from bitxcore.batch.runs.executing import Workers
from bitxcore.dumps import Dump, open_dump
from bitxcore.errors import BitxError, OptionError
from bitxcore.journal import journal_beside
from bitxcore.policy import Policy, as_policy
from hwmodel.accelerators.base import Accelerator
from hwmodel.accelerators.registry import accelerator as make_accelerator
from hwmodel.operands.distributions import DEFAULT_ACTIVATIONS
from hwmodel.operands.precisions import Precisions
from hwmodel.operands.workload import DumpSource, NetworkSource, StandIns, TraceSource, WeightSource, Workload
from hwmodel.simulation.policies import check_names, policy_notes, under_policy
from hwmodel.studies.sweeps.definition import definition
from hwmodel.studies.sweeps.points import Sweep, sweep_of, write_sweep
from hwmodel.studies.sweeps.space import Space, checked_space
from hwmodel.studies.sweeps.workers import METRICS, SweepTask, run_points

POINTS_A_JOB = 8
"""Points that are worth starting a process for."""


def sweep(
    network: NetworkSource | Workload,
    space: Mapping[str, Sequence[Any]],
    *,
    dump: DumpSource = None,
    store: str | os.PathLike[str] | None = None,
    accelerator: str = "bitx",
    fixed: Mapping[str, Any] | None = None,
    sample: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    workers: Workers | None = None,
    traces: TraceSource = None,
    weights: WeightSource = None,
    activations: StandIns = DEFAULT_ACTIVATIONS,
    precisions: Precisions | str | os.PathLike[str] = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    restart: bool = False,
    parameters: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Simulate a network on one machine at every combination of option values.

    While it runs, finished points are kept in a journal beside `store`. A sweep that was killed continues
    from there when it is started again with the same arguments.

    Parameters
    ----------
    network : Network, str, path or Workload
    space : mapping of str to sequence
        By option of the accelerator: its values. Their full product is simulated.
    dump : Dump, path, or mapping of str to array, optional
        Where the weights are; an ONNX network brings its own file. A mapping allows one job only.
    store : path, optional
        HDF5 file that receives the table ``sweep``, whole or not at all.
    accelerator : str
        Its name.
    fixed : mapping, optional
        Options that keep one value, other than the default.
    sample : int, optional
        Simulate this number of points, drawn at random, instead of all.
    seed : int
        Of the drawing.
    jobs : int, optional
        Processes (default: the cores that this process may use, but no more than have work). With more than
        one, new processes are started, so a script must have the guard ``if __name__ == "__main__":``.
    workers : DaskWorkers, optional
        Who simulates the points instead of processes of this machine; see `bitxcore.clusters.dask_workers`.
    traces, weights, activations, precisions : optional
        Where other operands come from, as in `hwmodel.simulate_network`.
    policy : Policy or path, optional
        How each weight tensor is pruned, at every point; options that it sets can then be neither in `space`
        nor in `fixed`. As in `hwmodel.simulate_network`.
    restart : bool
        Forget what an earlier run has finished.
    parameters : mapping, optional
        Further values to record in the store's provenance.
    progress : callable, optional
        ``progress(done, total)``, at the start and after every few points.

    Returns
    -------
    Sweep

    Raises
    ------
    OptionError
        For unknown options, or if no combination is possible.
    TensorError
        If operands are needed and not given.
    BitxError
        If the journal belongs to another sweep, `store` can't be written, or a process died. A single
        combination that is not possible is not an error: its row has a ``reason`` and no numbers.

    Examples
    --------
    >>> import hwmodel as hw
    >>> found = hw.sweep("resnet20-cifar10", {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    >>> len(found), found.objectives
    (2, ('seconds', 'energy_j'))
    """
    followed = None if policy is None else as_policy(policy)
    whole = checked_space(accelerator, space, fixed or {}, followed)
    points = whole.chosen(_at_least_1("sample", sample), seed)
    if clash := set(whole.varied) & {*METRICS, "point", "on_front"}:
        raise OptionError(f"option {sorted(clash)[0]!r} has the name of a result")
    load = Workload.of(
        network, dump=dump, traces=traces, weights=weights, activations=activations, precisions=precisions
    )
    with ExitStack() as opened:
        if isinstance(load.weights, (str, os.PathLike)):
            load = replace(load, weights=opened.enter_context(open_dump(load.weights)))
        machines = _one_of_each(whole, points)
        with load.open(machines) as source:
            for entry in load.network.layers:  # what does not fit fails now, not at every point
                source.layer(entry, ())
            if followed is not None:
                check_names(followed, load, source.weights)
            notes = load.network.notes + source.notes(load.network, machines)
            notes += policy_notes(under_policy(machines[:1], load.network, followed), accelerator)
        defined = definition(whole, load, len(points), seed, followed)
        rows: dict[int, dict[str, Any]] = {}
        read = load.weights.files() if isinstance(load.weights, Dump) else ()
        with journal_beside(
            store, defined, columns=METRICS, restart=restart, inputs=read, of="sweep"
        ) as journal:
            if journal is not None:
                wanted = set(points)
                rows |= {point: row for point, row in journal.rows.items() if point in wanted}
            resumed = len(rows)
            missing = [point for point in points if point not in rows]
            count = _jobs(jobs, len(missing)) if workers is None else workers.size
            if progress:
                progress(len(rows), len(points))
            here = workers is None and count == 1
            task = SweepTask(load if here else load.named, whole, followed)
            with closing(run_points(task, missing, count, workers)) as finished:
                for done in finished:
                    if journal is not None:
                        journal.append(done)
                    rows |= {row["point"]: row for row in done}
                    if progress:
                        progress(len(rows), len(points))
            result = sweep_of(load.network.name, whole, [rows[point] for point in points], resumed, notes)
            if store is not None:
                write_sweep(store, result, load, {**defined, **(parameters or {})}, followed)
            if journal is not None:
                journal.remove()
    return result


def _at_least_1(what: str, value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{what} must be an integer of at least 1, got {value!r}")
    return value


def _one_of_each(space: Space, points: Sequence[int]) -> list[Accelerator]:
    """Make the first machine that is possible, and one with each value of each option, where that is.

    Raises
    ------
    OptionError
        If no point is possible.
    """
    found: list[Accelerator] = []
    first: dict[str, Any] = {}
    reasons: dict[str, None] = {}
    for point in points:
        first = {**space.fixed, **space.options(point)}
        try:
            found.append(make_accelerator(space.accelerator, **first))
            break
        except BitxError as error:
            reasons[str(error)] = None
    if not found:
        some, more = list(reasons)[:3], len(reasons) - 3
        told = "; ".join([*some, *([f"and {more} more"] if more > 0 else [])])
        raise OptionError(f"no point of the sweep is possible: {told}")
    for option, values in space.varied.items():
        for value in values:
            with suppress(BitxError):
                found.append(make_accelerator(space.accelerator, **{**first, option: value}))
    return found


def _jobs(jobs: int | None, points: int) -> int:
    if _at_least_1("jobs", jobs) is not None:
        assert jobs is not None
        return max(1, min(jobs, points))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, points // POINTS_A_JOB))
