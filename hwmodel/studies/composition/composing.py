"""A composition: a task's model and its software-pruned one, each plain, mild and wild."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.dumps import open_dump
from bitxcore.errors import OptionError, TensorError
from bitxcore.files import scratch_folder
from bitxcore.presets import PRESETS
from hwmodel.accelerators.bitx.selection import PACK_ZEROS_FROM
from hwmodel.accelerators.registry import accelerator
from hwmodel.evaluation import Estimate, ModuleTask, Task, estimate, metric
from hwmodel.evaluation import task as task_of
from hwmodel.evaluation.intervals import RESAMPLES
from hwmodel.evaluation.machine_gain import sample_sizes
from hwmodel.evaluation.model_runs import Run, run
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.networks.loading import load_network
from hwmodel.networks.network import Network
from hwmodel.operands.distributions import Distribution, distribution
from hwmodel.operands.traces.recording import trace
from hwmodel.simulation.results import NetworkResult
from hwmodel.simulation.run import simulate_network
from hwmodel.studies.composition.composed_rows import (
    PLAIN,
    READINGS,
    SOFTWARE,
    UNPRUNED,
    ComposedRow,
    Composition,
    MachineRow,
    PreparedModel,
    product_of_gains,
)
from hwmodel.studies.composition.sparse_machines import (
    SPARSE,
    machine_rows,
    same_shapes,
    simulated,
    sparse_machines,
)
from hwmodel.studies.composition.weight_files import pruned_at_run_time, share_of_zeros

INSTANCES: dict[str, int | None] = {UNPRUNED: None} | {
    name: int(options["rows"]) for name, options in PRESETS.items()
}
"""Rows that run-time pruning keeps, by the name of the instance."""

EVERY_ROW = {"rows": 64, "window": 64}
"""Options of BitX that keeps every one of a weight: the unpruned machine, which may leave out zeros."""

Progress = Callable[[str], None]


def compose(
    task: Task | str,
    pruned: str | os.PathLike[str],
    *,
    prepared: Sequence[PreparedModel] = (),
    metrics: Sequence[str] = (),
    machines: Sequence[str] = SPARSE,
    activations: Distribution | str | None = None,
    quick: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> Composition:
    """Score and simulate a model, plain and software-pruned, with and without run-time pruning.

    Where software pruning left zeros in place (masks), BitX is shown with these in its groups, and with the
    zeros left out when groups are gathered; also a prepared model with as many zeros. Scores are of what each
    of the two computes with. Cycles are of one sample, of the shapes that most samples have.

    Parameters
    ----------
    task : Task or str
        Of one ONNX model.
    pruned : path
        The task's model, pruned by software: ONNX with the same inputs and outputs; weights are zero, or
        channels are gone.
    prepared : sequence of PreparedModel
        Models whose weights were prepared for run-time pruning.
    metrics : sequence of str, optional
        Names; by default the task's.
    machines : sequence of str
        Accelerators beside BitX.
    activations : Distribution or str, optional
        What the other machines meet. By default what the layers have on the task's first sample: both
        networks the plain model's, where channels are gone each its own.
    quick : bool
        A fifth of the samples.
    seed, resamples
        Of the scores' intervals, see `hwmodel.evaluation.estimate`.
    progress : callable, optional
        ``progress(next_step)``.

    Returns
    -------
    Composition

    Raises
    ------
    OptionError
        For an unknown task or machine, a task of several models, or models of different inputs.
    BitxError
        If a model can't be read, run or simulated.

    Examples
    --------
    >>> from hwmodel.evaluation import task
    >>> digits = task("digits")
    >>> found = compose(digits, digits.model, machines=(), quick=True, resamples=2)
    >>> found.row("software-pruned", "wild").product
    1.0
    """
    made = task_of(task) if isinstance(task, str) else task
    if isinstance(made, ModuleTask):
        raise OptionError("a composition is of ONNX files, and the task is of a module: export it")
    if len(made.models) > 1:
        raise OptionError(f"task {made.name} runs {len(made.models)} models; a composition is of one")
    software = Path(pruned)
    _check_inputs(made.model, [software, *(Path(p.path) for p in prepared)])
    chosen = sparse_machines(machines)
    told = progress or (lambda step: None)
    with scratch_folder() as folder:
        names = tuple(dict.fromkeys(metrics)) or made.metrics
        study = _Study(made, names, folder, quick, told, {"seed": seed, "resamples": resamples})
        models = [_Model(PLAIN, made.model, INSTANCES), _Model(SOFTWARE, software, INSTANCES)]
        models += [_Model(p.label, Path(p.path), {"prepared": p.rows}) for p in prepared]
        rows = with_gains([row for model in models for row in study.rows(model)])
        others, met = study.machine_rows(chosen, software, activations) if chosen else ((), "none")
        return Composition(
            task=made.title,
            metrics=names,
            samples=len(study.whole.outputs),
            activations=met,
            macs={m.label: study.network(m.path).macs for m in models[:2]},
            bitx=rows,
            machines=others,
        )


def with_gains(rows: Sequence[ComposedRow]) -> tuple[ComposedRow, ...]:
    """Add gains, over the plain and unpruned row, and their products, to rows that have cycles.

    Parameters
    ----------
    rows : sequence of ComposedRow
        With any gains.
    """
    found = {(row.weights, row.instance, row.packed): row for row in rows}
    before, out = found[PLAIN, UNPRUNED, False], []
    for row in rows:
        gains: dict[str, Any] = {gain: _ratio(before, row, reading) for reading, gain in READINGS.items()}
        parts = found.get((SOFTWARE, UNPRUNED, row.packed)), found.get((PLAIN, row.instance, False))
        if row.weights == SOFTWARE and row.rows is not None and parts[0] and parts[1]:
            for reading, gain in READINGS.items():
                alone = (_ratio(before, part, reading) for part in parts if part)
                gains[gain.replace("gain", "product")] = product_of_gains(gains[gain], *alone)
        out.append(replace(row, **gains))
    return tuple(out)


def _ratio(before: ComposedRow, row: ComposedRow, reading: str) -> float:
    """Gain by one reading; without work there is none left to speed up."""
    under: int = getattr(row, reading)
    over: int = getattr(before, reading)
    return over / under if under else float("inf")


@dataclass(frozen=True)
class _Model:
    """A file of weights, and how many rows are kept of them."""

    label: str
    path: Path
    instances: Mapping[str, int | None]


class _Study:
    """Runs and simulates the models of one task."""

    def __init__(
        self,
        task: Task,
        metrics: tuple[str, ...],
        folder: Path,
        quick: bool,
        progress: Progress,
        draws: dict[str, Any],
    ) -> None:
        self._task, self._metrics, self._folder = task, metrics, folder
        self._quick, self._told, self._draws = quick, progress, draws
        self._told("plain, unpruned")
        self._runner = OnnxRunner(task.model)
        self.whole = run(task, task.joined([self._runner]), quick=quick)
        self._shapes = self._runner.shapes

    def network(self, model: Path) -> Network:
        """Load the network of one sample."""
        return load_network(model, input_size=sample_sizes(model, self._shapes))

    def rows(self, model: _Model) -> Iterator[ComposedRow]:
        """Score and simulate one file, zeros in place, and left out where BitX by itself does that."""
        sparse = model.label != PLAIN and share_of_zeros(model.path) >= PACK_ZEROS_FROM
        network = self.network(model.path)
        for packed in (False, True) if sparse else (False,):
            cycles = _bitx_cycles(network, model, packed=packed)
            for instance, rows in model.instances.items():
                self._told(f"{model.label}, {instance}{', zeros left out' * packed}")
                path = pruned_at_run_time(model.path, self._folder / "pruned.onnx", rows, packed=packed)
                yield ComposedRow(
                    weights=model.label,
                    instance=instance,
                    rows=rows,
                    packed=packed,
                    zeros=share_of_zeros(path),
                    scores=self._scores(path, model.path),
                    **cycles[rows],
                    gain=1.0,
                    on_chip_gain=1.0,
                    work_gain=1.0,
                )

    def _scores(self, path: Path, named: Path) -> dict[str, Estimate]:
        found = self.whole
        if path != self._task.model:
            found = run(self._task, self._task.joined([OnnxRunner(path, named)]), quick=self._quick)
        return {name: self._score(name, found) for name in self._metrics}

    def _score(self, name: str, found: Run) -> Estimate:
        scorer, view = metric(name), self._task.view
        before = view(name, self.whole.outputs)
        target: Any = before if scorer.against == "unpruned" else self.whole.labels
        if target is None:
            raise OptionError(f"metric {name} needs labels, and the data have none", value=name)
        records = (scorer.records(x, target) for x in (view(name, found.outputs), before))
        return estimate(scorer, *records, **self._draws)

    def machine_rows(
        self, machines: Sequence[Any], software: Path, activations: Distribution | str | None
    ) -> tuple[tuple[MachineRow, ...], str]:
        """Simulate the other machines on both files, as they are and as run-time pruning leaves them."""
        runs: dict[tuple[str, int | None], NetworkResult] = {}
        zeros: dict[tuple[str, int | None], float] = {}
        plain = self.network(self._task.model)
        operands: dict[str, Any] = {"activations": activations}
        met = "" if activations is None else f"drawn: {distribution(activations).label}"
        if activations is None:
            operands = {"traces": self._traced(self._task.model, "plain")}
            met = "traced on the task's first sample, of the plain model"
        for label, model in ((PLAIN, self._task.model), (SOFTWARE, software)):
            network = self.network(model)
            if activations is None and not same_shapes(network, plain):
                operands = {"traces": self._traced(model, "software")}
                met = "traced on the task's first sample, of each model its own"
            for instance, rows in INSTANCES.items():
                self._told(f"other machines: {label}, {instance}")
                path = pruned_at_run_time(model, self._folder / "pruned.onnx", rows, packed=False)
                runs[label, rows] = simulated(machines, network, path, operands)
                zeros[label, rows] = share_of_zeros(path)
        return tuple(machine_rows(machines, runs, zeros)), met

    def _traced(self, model: Path, name: str) -> Path:
        out = self._folder / f"{name}.h5"
        trace(model, self._sample(), out)
        return out

    def _sample(self) -> dict[str, npt.NDArray[Any]]:
        """First sample of the shapes that most samples have."""
        return self._runner.first[tuple(self._shapes.items())]


def _bitx_cycles(network: Network, model: _Model, *, packed: bool) -> dict[int | None, dict[str, int]]:
    """Cycles of BitX by the rows that it keeps, layer by layer as `hwmodel.evaluation.evaluate` counts them.

    A layer with a weight that is not pruned counts as on the unpruned machine.
    """
    every = accelerator("bitx", pack_zeros=packed, **EVERY_ROW)
    kept = {
        rows: accelerator("bitx", pack_zeros=packed, rows=rows) for rows in model.instances.values() if rows
    }
    with open_dump(model.path) as dump:
        chosen = {tensor.name for tensor in Selection().choose(dump).tensors}
        found = simulate_network([every, *kept.values()], network, dump=dump)
    unpruned = {row.layer: row for row in found.of(every.label) if row.applicable}
    if not unpruned:
        raise OptionError(f"BitX runs no layer of {model.path}", path=model.path)
    entries = {entry.layer.name: entry for entry in network.layers}
    totals: dict[int | None, dict[str, int]] = {}
    for rows in model.instances.values():
        own = {row.layer: row for row in found.of(kept[rows].label)} if rows else unpruned
        counted = [
            own[name] if chosen.issuperset(entries[name].tensors) else row for name, row in unpruned.items()
        ]
        totals[rows] = {reading: sum(getattr(r, reading) or 0 for r in counted) for reading in READINGS}
    return totals


def _check_inputs(plain: Path, others: Sequence[Path]) -> None:
    """Raise unless models take what the plain one takes, and give outputs of the same names."""
    from hwmodel.networks.onnx import graph_inputs, read_model

    def inputs(path: Path) -> tuple[str, list[str]]:
        model = read_model(path)
        found = [
            f"{name} {dtype} {'x'.join('?' if isinstance(s, str) or s is None else str(s) for s in sizes)}"
            for name, sizes, dtype in graph_inputs(model)
        ]
        return ", ".join(found), [value.name for value in model.graph.output]

    takes, gives = inputs(plain)
    for path in others:
        own, outputs = inputs(path)
        if own != takes:
            raise TensorError(f"takes {own}, and the plain model takes {takes}", path=path)
        if outputs != gives:
            raise TensorError(
                f"gives {', '.join(outputs)}, and the plain model gives {', '.join(gives)}", path=path
            )
