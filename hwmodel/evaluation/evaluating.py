"""Accuracy over a grid of settings, beside what a machine gains by them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bitxcore.batch import PrunedTensor, Selection
from bitxcore.batch.prune_dumps import prune_totals
from bitxcore.dumps import open_dump
from bitxcore.errors import BitxError, OptionError
from hwmodel.accelerators.registry import accelerator
from hwmodel.evaluation.intervals import RESAMPLES, Estimate, estimate
from hwmodel.evaluation.metrics import Metric, metric
from hwmodel.evaluation.running import Run, run
from hwmodel.evaluation.settings import Setting, write_pruned
from hwmodel.evaluation.tasks import Task
from hwmodel.networks.loading import load_network
from hwmodel.networks.network import Network
from hwmodel.simulation.run import simulate_network


@dataclass(frozen=True)
class Point:
    """What a setting does to a model.

    Attributes
    ----------
    setting : Setting
    scores : dict of str to Estimate
        By metric.
    relative_error : float or None
        Of all pruned weights; None where none were pruned.
    kept_rows_mean : float or None
        Per group.
    cycles : int or None
        Of BitX that prunes alike, one batch; None where no machine does.
    speedup : float or None
        Over the same machine without pruning.
    samples : int
    """

    setting: Setting
    scores: dict[str, Estimate]
    samples: int
    relative_error: float | None = None
    kept_rows_mean: float | None = None
    cycles: int | None = None
    speedup: float | None = None

    def columns(self) -> dict[str, Any]:
        """Return one table row."""
        row = self.setting.columns() | {
            "samples": self.samples,
            "relative_error": self.relative_error,
            "kept_rows_mean": self.kept_rows_mean,
            "cycles": self.cycles,
            "speedup": self.speedup,
        }
        for name, found in self.scores.items():
            row |= {
                name: found.value,
                f"{name}_low": found.low,
                f"{name}_high": found.high,
                f"{name}_difference": found.difference,
                f"{name}_difference_low": found.difference_low,
                f"{name}_difference_high": found.difference_high,
                f"{name}_p_value": found.p_value,
            }
        return row


@dataclass(frozen=True)
class Evaluation:
    """A model's scores at every setting; the first point is the unpruned model.

    Attributes
    ----------
    task : str
        In words.
    metrics : tuple of str
        The most telling one first.
    against : dict of str to str
        What each metric holds outputs against: labels, or the unpruned model, which is agreement and not
        accuracy.
    points : list of Point
    """

    task: str
    metrics: tuple[str, ...]
    against: dict[str, str]
    points: list[Point] = field(default_factory=list)

    @property
    def front(self) -> list[int]:
        """Places of the points that no other one beats in both the first metric and cycles."""
        name = self.metrics[0]
        sign = 1 if metric(name).higher_is_better else -1
        rated = [
            (i, sign * p.scores[name].value, p.cycles)
            for i, p in enumerate(self.points)
            if p.cycles is not None
        ]
        return [
            i
            for i, score, cycles in rated
            if not any(
                s >= score and c <= cycles and (s, c) != (score, cycles)
                for _, s, c in rated
                if c is not None and cycles is not None
            )
        ]


Progress = Callable[[int, int, str], None]


def evaluate(
    task: Task,
    settings: Sequence[Setting],
    *,
    metrics: Sequence[str] = (),
    selection: Selection | None = None,
    quick: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model at every setting, the unpruned one first.

    Parameters
    ----------
    task : Task
        From `hwmodel.evaluation.task`, or a `Labelled` of one's own.
    settings : sequence of Setting
    metrics : sequence of str, optional
        Names; by default the task's.
    selection : Selection, optional
        Which tensors are weights.
    quick : bool
        A fifth of the samples.
    seed, resamples
        Of the intervals, see `estimate`.
    progress : callable, optional
        ``progress(done, total, setting)`` before each setting and once at the end.

    Returns
    -------
    Evaluation

    Raises
    ------
    BitxError
        If the model can't be read, pruned or run, or the data do not fit it.

    Examples
    --------
    >>> from hwmodel.evaluation import Setting, evaluate, task
    >>> found = evaluate(task("digits"), [Setting(rows=10)], quick=True, resamples=100)
    >>> [point.scores["top1"].value > 0.9 for point in found.points]
    [True, True]
    """
    names = tuple(metrics) or task.metrics
    scorers = [metric(name) for name in names]
    wanted = [Setting(), *(s for s in dict.fromkeys(settings) if not s.is_unpruned)]
    results = Evaluation(task.title, names, {m.name: m.against for m in scorers})
    before: Run | None = None
    records: dict[str, Any] = {}
    network = load_network(task.model, sizes=_ones(task.model))
    for done, setting in enumerate(wanted):
        if progress:
            progress(done, len(wanted), setting.label)
        with _pruned(task.model, setting, selection or Selection()) as (model, rows):
            found = run(task, model, quick=quick)
        before = before or found
        scores = {}
        for scorer in scorers:
            own = scorer.records(found.outputs, _targets(scorer, task, found, before))
            first = records.setdefault(scorer.name, own)
            scores[scorer.name] = estimate(scorer, own, first, seed=seed, resamples=resamples)
        cycles, speedup = _machine(network, setting)
        totals = prune_totals(rows) if rows else {}
        results.points.append(
            Point(
                setting,
                scores,
                len(found.outputs),
                totals.get("relative_error"),
                totals.get("kept_rows_mean"),
                cycles,
                speedup,
            )
        )
    if progress:
        progress(len(wanted), len(wanted), "")
    return results


def _targets(scorer: Metric, task: Task, found: Run, before: Run) -> Any:
    if scorer.against == "unpruned":
        return before.outputs
    if found.labels is None:
        raise OptionError(f"metric {scorer.name!r} needs labels, and the data have none", path=task.model)
    return found.labels


@contextmanager
def _pruned(model: Path, setting: Setting, selection: Selection) -> Iterator[tuple[Path, list[PrunedTensor]]]:
    """Give the model to run, written as `bitx prune` writes it."""
    if setting.is_unpruned:
        yield model, []
        return
    with TemporaryDirectory(prefix="bitx-") as folder, open_dump(model) as dump:
        out = Path(folder) / model.name
        yield out, write_pruned(dump, out, setting, selection)


def _ones(model: Path) -> dict[str, int]:
    """Let every open dimension be 1, to compare cycles of one sample."""
    from hwmodel.networks.onnx import graph_inputs, read_model

    inputs = graph_inputs(read_model(model))
    return {size: 1 for _, sizes, _ in inputs for size in sizes if isinstance(size, str)}


def _machine(network: Network, setting: Setting) -> tuple[int | None, float | None]:
    """Cycles of BitX that prunes alike, and its gain; None where no machine does, or runs no layer."""
    try:
        result = simulate_network(accelerator("bitx", **setting.machine), network)
    except BitxError:
        return None, None
    rows = [row for row in result.layers if row.applicable]
    cycles = sum(row.cycles or 0 for row in rows)
    unpruned = sum(row.unpruned_cycles or 0 for row in rows)
    return (cycles, unpruned / cycles) if cycles else (None, None)
