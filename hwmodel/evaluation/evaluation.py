"""Accuracy over a grid of settings, beside what a machine gains by them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zlib import crc32

from bitxcore.batch import Selection
from bitxcore.batch.runs.executing import Workers
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.journal import Journal, check_journal_place, journal_beside
from hwmodel.evaluation.evaluated import Evaluation, Point, point_units, write_evaluation
from hwmodel.evaluation.intervals import RESAMPLES, estimate
from hwmodel.evaluation.metrics import Metric, metric
from hwmodel.evaluation.model_runs import NonfiniteOutputError, Run, run
from hwmodel.evaluation.points_elsewhere import Job, PointTask, points_elsewhere
from hwmodel.evaluation.pruned_models import Changes, Norms
from hwmodel.evaluation.settings import Setting
from hwmodel.evaluation.subjects import ScoresOnly, SettingGains, Subject
from hwmodel.evaluation.subjects.onnx_files import OnnxFiles
from hwmodel.evaluation.tasks import Task
from hwmodel.evaluation.tasks.module_task import ModuleTask
from hwmodel.operands.traces.calibrating import open_norms

Progress = Callable[[int, int, str], None]


def evaluate(
    task: Task,
    settings: Sequence[Setting],
    *,
    metrics: Sequence[str] = (),
    selection: Selection | None = None,
    norms: str | os.PathLike[str] | None = None,
    quick: bool = False,
    cycles: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
    store: str | os.PathLike[str] | None = None,
    restart: bool = False,
    parameters: Mapping[str, Any] | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a model at every setting, the unpruned one first.

    While it runs, finished points are kept in a journal beside `store`. An evaluation that was killed
    continues from there: finished settings are not run again, even in another grid. The unpruned model
    always runs, because its outputs are the reference of all others.

    Parameters
    ----------
    task : Task
        From `hwmodel.evaluation.task`, or a `Labelled` with your own data.
    settings : sequence of Setting
        Those that say the same are run once.
    metrics : sequence of str, optional
        Names; by default the task's.
    selection : Selection, optional
        Which tensors are weights.
    norms : path, optional
        Of settings whose criterion is ``"calibrated"``: what `hwmodel.calibrate` has written.
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
        Further values to record in the store's provenance.
    workers : DaskWorkers, optional
        Who scores the pruned models instead of this process; see `bitxcore.clusters.dask_workers`.
    progress : callable, optional
        ``progress(done, total, setting)`` before each setting and once at the end.

    Returns
    -------
    Evaluation

    Raises
    ------
    BitxError
        If the model can't be read, pruned or run, the data do not fit it, or the journal belongs to another
        evaluation. A setting that no machine simulates is not an error: its point says the reason.

    Examples
    --------
    >>> from hwmodel.evaluation import Setting, evaluate, task
    >>> found = evaluate(task("digits"), [Setting(rows=10)], quick=True, resamples=100)
    >>> [point.scores["top1"].value > 0.9 for point in found.points]
    [True, True]
    """
    with Evaluator(
        task,
        metrics=metrics,
        selection=selection,
        norms=norms,
        quick=quick,
        cycles=cycles,
        seed=seed,
        resamples=resamples,
        store=store,
        restart=restart,
        progress=None if progress is None else lambda label: progress(0, len(settings) + 1, label),
    ) as evaluator:
        wanted = list(dict.fromkeys([Setting(), *map(evaluator.settled, settings)]))
        if workers is not None:
            asked, missing = PointTask(evaluator.task, evaluator.options), evaluator.missing(wanted)
            with closing(points_elsewhere(asked, missing, workers, _score)) as found:
                for setting, point in found:
                    evaluator.keep(setting, point)
                    if progress:
                        progress(len(wanted) - len(evaluator.missing(wanted)), len(wanted), setting.label)
        points: list[Point] = []
        for setting in wanted:
            if progress and workers is None:
                progress(len(points), len(wanted), setting.label)
            points.append(evaluator.point(setting))
        if progress:
            progress(len(wanted), len(wanted), "")
        return evaluator.finished(points, parameters or {})


class Evaluator:
    """A model and its samples, to be scored at one setting after another; a context manager.

    On entering, the unpruned model runs, because its outputs are the reference of all others, and finished
    points are read from the journal. Parameters are those of `evaluate`.

    Attributes
    ----------
    resumed : int
        Requested points that came from the journal.
    options : dict
        Those that its points depend on, besides the task.
    """

    def __init__(
        self,
        task: Task,
        *,
        metrics: Sequence[str] = (),
        selection: Selection | None = None,
        norms: str | os.PathLike[str] | None = None,
        quick: bool = False,
        cycles: bool = True,
        seed: int = 0,
        resamples: int = RESAMPLES,
        store: str | os.PathLike[str] | None = None,
        restart: bool = False,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.task, self.quick = task, quick
        self.metrics = tuple(dict.fromkeys(metrics)) or task.metrics
        self._scorers = [metric(name) for name in self.metrics]
        self.selection = selection or Selection()
        self.norms = None if norms is None else Path(norms)
        self._weighed = None if norms is None else open_norms(norms)
        self.subject = _subject(task, self.selection, self._weighed)
        self._cycles, self._store, self._restart = cycles, store, restart
        self._seed, self._resamples, self._progress = seed, resamples, progress
        self.options: dict[str, Any] = {
            "metrics": self.metrics,
            "selection": self.selection,
            "norms": norms,
            "quick": quick,
            "cycles": cycles,
            "seed": seed,
            "resamples": resamples,
        }
        self._stack = ExitStack()
        self._done: dict[Setting, Point] = {}
        self._asked: set[Setting] = set()
        self._given: set[Setting] = set()

    def __enter__(self) -> Evaluator:
        read = (*self.subject.files, *self.task.inputs_read, *self._norms_files)
        check_journal_place(self._store, read)
        unpruned = Setting()
        if self._progress:
            self._progress(unpruned.label)
        with self.subject.pruned(unpruned) as (runner, _):
            before = run(self.task, runner, quick=self.quick)
        self._scoring = _Scoring(self.task, self._scorers, before, self.quick, self._seed, self._resamples)
        self.machine = self.subject.gains(len(before.outputs)) if self._cycles else ScoresOnly()
        self._defined = {
            "versions": _versions(),
            "model": self.subject.identity,
            "samples": before.digest,
            "quick": self.quick,
            "metrics": list(self.metrics),
            "cycles": self._cycles,
            "seed": self._seed,
            "resamples": self._resamples,
            "selection": asdict(self.selection),
        }
        if self._weighed is not None:
            self._defined["norms"] = _digest(self._weighed)
        units = point_units(self.metrics)
        self._journal = self._stack.enter_context(
            journal_beside(
                self._store,
                self._defined,
                columns=units,
                restart=self._restart,
                inputs=read,
                of="evaluation",
            )
        )
        self._done = _finished(self._journal, self.metrics)
        self._given = set(self._done)
        self._done[unpruned] = self._scoring.unpruned(self.machine)
        return self

    def __exit__(self, *about: Any) -> None:
        self._stack.__exit__(*about)

    @property
    def resumed(self) -> int:
        """Points that were asked for and had been finished before."""
        return len(self._asked & self._given)

    @property
    def _norms_files(self) -> tuple[Path, ...]:
        return () if self.norms is None else (self.norms,)

    def settled(self, setting: Setting) -> Setting:
        """Write a setting in one way only."""
        return self.subject.settled(setting)

    def point(self, setting: Setting) -> Point:
        """Score one setting, which is `settled`; one that was scored is not run again.

        Raises
        ------
        NonfiniteOutputError
            If the pruned model gives a NaN or Inf; its part is the setting.
        BitxError
            As `evaluate`.
        """
        self._asked.add(setting)
        if setting not in self._done:
            try:
                with self.subject.pruned(setting) as (runner, changes):
                    found = run(self.task, runner, quick=self.quick)
            except NonfiniteOutputError as error:
                error.part = f"pruned to {setting.label}"
                error.hint = "leave this setting out"
                raise
            self.keep(setting, self._scoring.point(found, setting, self.machine, changes))
        return self._done[setting]

    def missing(self, settings: Sequence[Setting]) -> list[Setting]:
        """Return those that have no point yet."""
        return [setting for setting in settings if setting not in self._done]

    def keep(self, setting: Setting, point: Point) -> None:
        """Keep the point of a setting, in the journal too."""
        self._done[setting] = point
        if self._journal is not None:
            row = point.columns()
            kept = {name: row[name] for name in point_units(self.metrics)}
            self._journal.append([{"point": _number(setting), **kept}])

    def finished(self, points: Sequence[Point], parameters: Mapping[str, Any]) -> Evaluation:
        """Make an evaluation of points, write it to the store, and forget the journal."""
        against = {scorer.name: scorer.against for scorer in self._scorers}
        result = Evaluation(self.task.title, self.metrics, against, list(points), self.resumed)
        if self._store is not None:
            inputs = [*self.task.models, *self.task.files, *self._norms_files]
            write_evaluation(self._store, result, inputs, {**self._defined, **parameters})
        if self._journal is not None:
            self._journal.remove()
        return result


def _subject(task: Task, selection: Selection, norms: Norms | None) -> Subject:
    """Find what a task prunes and runs."""
    if isinstance(task, ModuleTask):
        from hwmodel.evaluation.subjects.torch_module import TorchModule

        return TorchModule(task.module, selection, norms)
    return OnnxFiles(task.models, task.joined, selection, norms)


class _Scoring:
    """Scores what models give, beside what the unpruned one gave."""

    def __init__(
        self, task: Task, scorers: list[Metric], before: Run, quick: bool, seed: int, resamples: int
    ) -> None:
        self.before, self._quick = before, quick
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
            *(changes.ones_means if changes else (None, None)),
        )

    def _scored(self, scorer: Metric, found: Run) -> Any:
        with error_context(path=self._task.model, part=f"metric {scorer.name}"):
            outputs = self._task.view(scorer.name, found.outputs)
            targets = self._targets(scorer, found)
            try:
                return scorer.records(outputs, targets)
            except TensorError as error:
                if error.index is not None:
                    error.path = self._task.origin(error.index, self._quick)
                raise

    def _targets(self, scorer: Metric, found: Run) -> Any:
        if scorer.against == "unpruned":
            return self._task.view(scorer.name, self.before.outputs)
        if found.labels is None:
            raise OptionError(
                "needs labels, and the data have none",
                hint="give labels, or a metric against the unpruned model: agreement, cosine",
            )
        return found.labels


# -- in a worker -------------------------------------------------------------------------------


def _score(job: Job) -> Point:
    asked, setting = job
    return _entered(asked).point(setting)


@lru_cache(maxsize=1)
def _entered(asked: PointTask) -> Evaluator:
    """Enter an evaluator; it has no file open, and is left when the next run comes."""
    return Evaluator(asked.task, **asked.options).__enter__()


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


def _digest(norms: Norms) -> str:
    """SHA-256 of names, shapes and values, whatever file they are in."""
    found = sha256()
    for name in sorted(norms):
        found.update(f"{name!r} {norms[name].shape} ".encode())
        found.update(norms[name].tobytes())
    return found.hexdigest()


def _number(setting: Setting) -> int:
    """Return a setting's number in the journal, whatever the grid."""
    return crc32(json.dumps(setting.columns(), sort_keys=True).encode())


def _finished(journal: Journal | None, metrics: tuple[str, ...]) -> dict[Setting, Point]:
    if journal is None:
        return {}
    points = (Point.of(row, metrics) for row in journal.rows.values())
    return {point.setting: point for point in points}
