"""Accuracy over a grid of settings, beside what a machine gains by them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from zlib import crc32

from bitxcore.batch import Selection
from bitxcore.errors import OptionError, error_context
from bitxcore.journal import Journal, check_journal_place, journal_beside
from hwmodel.evaluation.evaluated import Evaluation, Point, point_units, write_evaluation
from hwmodel.evaluation.intervals import RESAMPLES, estimate
from hwmodel.evaluation.metrics import Metric, metric
from hwmodel.evaluation.model_runs import Run, run
from hwmodel.evaluation.pruned_models import Changes
from hwmodel.evaluation.settings import Setting
from hwmodel.evaluation.subjects import ScoresOnly, SettingGains
from hwmodel.evaluation.subjects.onnx_files import OnnxFiles
from hwmodel.evaluation.tasks import Task

Progress = Callable[[int, int, str], None]


def evaluate(
    task: Task,
    settings: Sequence[Setting],
    *,
    metrics: Sequence[str] = (),
    selection: Selection | None = None,
    quick: bool = False,
    cycles: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    store: str | os.PathLike[str] | None = None,
    restart: bool = False,
    parameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model at every setting, the unpruned one first.

    While it runs, finished points are kept in a journal beside `store`. An evaluation that was killed goes on
    from there: settings that are done are not run again, also if the grid is another one. The unpruned model
    always runs, since all others are held against what it gives.

    Parameters
    ----------
    task : Task
        From `hwmodel.evaluation.task`, or a `Labelled` of one's own.
    settings : sequence of Setting
        Those that say the same are run once.
    metrics : sequence of str, optional
        Names; by default the task's.
    selection : Selection, optional
        Which tensors are weights.
    quick : bool
        A fifth of the samples.
    cycles : bool
        Whether to simulate BitX at every setting, beside the scores.
    seed, resamples
        Of the intervals, see `estimate`.
    store : path, optional
        HDF5 file that receives the table ``evaluation``, whole or not at all.
    restart : bool
        Forget what an earlier run has finished.
    parameters : mapping, optional
        What else to record in the store's provenance.
    progress : callable, optional
        ``progress(done, total, setting)`` before each setting and once at the end.

    Returns
    -------
    Evaluation

    Raises
    ------
    BitxError
        If the model can't be read, pruned or run, the data do not fit it, or the journal belongs to another
        evaluation. A setting that no machine simulates is no error: its point says the reason.

    Examples
    --------
    >>> from hwmodel.evaluation import Setting, evaluate, task
    >>> found = evaluate(task("digits"), [Setting(rows=10)], quick=True, resamples=100)
    >>> [point.scores["top1"].value > 0.9 for point in found.points]
    [True, True]
    """
    names = tuple(dict.fromkeys(metrics)) or task.metrics
    scorers = [metric(name) for name in names]
    subject = OnnxFiles(task.models, task.joined, selection or Selection())
    wanted = list(dict.fromkeys([Setting(), *(subject.settled(setting) for setting in settings)]))
    read = (*subject.files, *task.files)
    check_journal_place(store, read)
    if progress:
        progress(0, len(wanted), wanted[0].label)
    with subject.pruned(Setting()) as (runner, _):
        scoring = _Scoring(task, scorers, run(task, runner, quick=quick), seed, resamples)
    machine = subject.gains(len(scoring.before.outputs)) if cycles else ScoresOnly()
    defined = {
        "versions": _versions(),
        "model": subject.identity,
        "samples": scoring.before.digest,
        "quick": quick,
        "metrics": list(names),
        "cycles": cycles,
        "seed": seed,
        "resamples": resamples,
        "selection": asdict(selection or Selection()),
    }
    units = point_units(names)
    with journal_beside(
        store, defined, columns=units, restart=restart, inputs=read, of="evaluation"
    ) as journal:
        done = _finished(journal, names)
        points = [scoring.unpruned(machine)]
        resumed = 0
        for setting in wanted[1:]:
            if progress:
                progress(len(points), len(wanted), setting.label)
            if setting in done:
                resumed += 1
            else:
                with subject.pruned(setting) as (runner, changes):
                    found = run(task, runner, quick=quick)
                done[setting] = scoring.point(found, setting, machine, changes)
                if journal is not None:
                    row = done[setting].columns()
                    journal.append([{"point": _number(setting), **{name: row[name] for name in units}}])
            points.append(done[setting])
        if progress:
            progress(len(wanted), len(wanted), "")
        result = Evaluation(task.title, names, {m.name: m.against for m in scorers}, points, resumed)
        if store is not None:
            write_evaluation(store, result, [*task.models, *task.files], {**defined, **(parameters or {})})
        if journal is not None:
            journal.remove()
    return result


class _Scoring:
    """Scores what models give, beside what the unpruned one gave."""

    def __init__(self, task: Task, scorers: list[Metric], before: Run, seed: int, resamples: int) -> None:
        self.before = before
        self._task, self._scorers, self._seed, self._resamples = task, scorers, seed, resamples
        self._records = {scorer.name: self._scored(scorer, before) for scorer in scorers}

    def unpruned(self, machine: SettingGains) -> Point:
        return self.point(self.before, Setting(), machine, None)

    def point(self, found: Run, setting: Setting, machine: SettingGains, changes: Changes | None) -> Point:
        scores = {}
        for scorer in self._scorers:
            records = self._scored(scorer, found)
            scores[scorer.name] = estimate(
                scorer, records, self._records[scorer.name], seed=self._seed, resamples=self._resamples
            )
        return Point(
            setting,
            scores,
            len(found.outputs),
            changes.relative_error if changes else None,
            changes.kept_rows_mean if changes else None,
            machine.gain(setting),
        )

    def _scored(self, scorer: Metric, found: Run) -> Any:
        with error_context(path=self._task.model, part=f"metric {scorer.name}"):
            return scorer.records(found.outputs, self._targets(scorer, found))

    def _targets(self, scorer: Metric, found: Run) -> Any:
        if scorer.against == "unpruned":
            return self.before.outputs
        if found.labels is None:
            raise OptionError(
                "needs labels, and the data have none",
                hint="give labels, or a metric against the unpruned model: agreement, cosine",
            )
        return found.labels


# -- going on ----------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    """Of what results depend on."""
    found = {}
    for name in ("bitx", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _number(setting: Setting) -> int:
    """Return a setting's number in the journal, whatever the grid."""
    return crc32(json.dumps(setting.columns(), sort_keys=True).encode())


def _finished(journal: Journal | None, metrics: tuple[str, ...]) -> dict[Setting, Point]:
    if journal is None:
        return {}
    points = (Point.of(row, metrics) for row in journal.rows.values())
    return {point.setting: point for point in points}
