"""Rows by tensor: the fewest cycles at which a model loses no more than is allowed.

1. Each tensor alone is pruned to `PROBE_ROWS`, and the model runs on a few samples: how far its outputs move
   says how much an error of this tensor matters.
2. The error of a tensor's weights at every number of rows, times that, foretells the outputs' squared error;
   the machine says the cycles. Errors of several tensors add up.
3. From the least error on, the step that costs least error per saved cycle is taken next (`pruning_path`): a
   path of policies, each with fewer cycles than the one before.
4. The policy that is furthest along the path and within the loss is found by bisection, with the task's own
   score on all samples.

The same is done with one number of rows for all, as published methods have it: the baseline. Since scores
are not a steady function of the error, a second path goes from there to fewer cycles; what takes fewer cycles
of the two is what is found, which is never more than the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from bitxcore.groups import Grouping
from bitxcore.policy import Policy, PruningOptions
from hwmodel.evaluation.evaluated import Point, is_within
from hwmodel.evaluation.evaluation import Evaluator
from hwmodel.evaluation.model_runs import NonfiniteOutputError
from hwmodel.evaluation.pruned_models import Changes
from hwmodel.evaluation.pruning_path import Choice, Names, State, path, path_from
from hwmodel.evaluation.settings import Setting

CANDIDATES = tuple(range(2, 17))
"""Rows that a tensor may keep."""
PROBE_ROWS = 4
PROBE_SAMPLES = 64
MOST_MOVED = 1e12
"""In place of a squared error that is no number: a million times the outputs' size."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class RowsFound:
    """What a search found.

    Attributes
    ----------
    policy : Policy
    point : Point
        The policy's scores and cycles.
    single : Point or None
        The point with the fewest cycles within the same loss with one number of rows for all; None if there
        is none.
    loss : float
        The allowed loss, as of `Evaluation.held`.
    points : tuple of Point
        All scored points: unpruned, each number of rows, policies.
    """

    policy: Policy
    point: Point
    single: Point | None
    loss: float
    points: tuple[Point, ...]


def search_rows(
    evaluator: Evaluator,
    loss: float,
    *,
    way: Setting = Setting(rows=6),  # noqa: B008 - frozen
    candidates: Sequence[int] = CANDIDATES,
    groupings: Sequence[Grouping] = (),
    progress: Progress | None = None,
) -> RowsFound:
    """Find rows by tensor.

    Parameters
    ----------
    evaluator : Evaluator
        Entered, with cycles; of a task with one model.
    loss : float
        Allowed loss of the first metric against the unpruned model: of a share, as a part of 1 (0.005 is half
        a point); of another score, as a share of the unpruned model's.
    way : Setting
        All but the rows.
    candidates : sequence of int
        Rows that a tensor may keep.
    groupings : sequence of str, optional
        That a tensor may have; by default that of `way`.
    progress : callable, optional
        ``progress(done, total, next_step)``; the total is an estimate.

    Returns
    -------
    RowsFound

    Raises
    ------
    OptionError
        If the task has several models, a machine can't prune in this way, or even the most rows exceed the
        loss.
    """
    return _Search(evaluator, loss, way, candidates, tuple(groupings), progress).found()


class _Search:
    def __init__(
        self,
        evaluator: Evaluator,
        loss: float,
        way: Setting,
        candidates: Sequence[int],
        groupings: tuple[Grouping, ...],
        progress: Progress | None,
    ) -> None:
        if len(evaluator.task.models) > 1:
            raise OptionError("rows by tensor are searched for one model; this task has several")
        if way.takes_norms:
            raise OptionError("a policy has no criterion 'calibrated'", value=way.criterion)
        if loss < 0:
            raise OptionError(f"a loss is 0 or more, got {loss}", value=loss)
        self._evaluator, self._loss, self._way = evaluator, loss, way
        self._rows = tuple(sorted({*candidates}, reverse=True))
        self._groupings = groupings or (way.grouping,)
        self._progress = progress
        self._done = 0

    def found(self) -> RowsFound:
        unpruned = self._point(Setting())
        singles = [point for grouping in self._groupings for point in self._singles(grouping)]
        held = [point for point in singles if self._holds(point) and point.machine.cycles is not None]
        single = min(held, key=_cycles, default=None)
        choices = self._choices()
        paths = [list(path(choices))]
        if single is not None:
            best = single.setting
            start = _options(replace(self._way, rows=best.rows, grouping=best.grouping))
            paths.append(list(path_from(start, choices)))
        found: list[tuple[State, Point]] = []
        points = [unpruned, *singles]
        for states in paths:
            scored, within = self._furthest(states)
            points += [scored[at] for at in sorted(scored)]
            if within is not None:
                found.append((states[within], scored[within]))
        if not found:
            raise OptionError(
                f"{self._rows[0]} rows for all lose more than {self._loss:g} of {self._evaluator.metrics[0]}",
                value=self._loss,
                hint="allow more",
            )
        state, point = min(found, key=lambda one: _cycles(one[1]))
        each = {point.setting: point for point in points}
        return RowsFound(self._policy(state, point), point, single, self._loss, tuple(each.values()))

    def _singles(self, grouping: Grouping) -> list[Point]:
        """Bisect the numbers of rows for all; return those that were scored, most rows first."""
        scored: dict[int, Point] = {}

        def holds(at: int) -> bool:
            return self._scores(scored, at, replace(self._way, rows=self._rows[at], grouping=grouping))

        _furthest(len(self._rows), holds)
        return [scored[at] for at in sorted(scored)]

    def _ways(self) -> list[Setting]:
        """One number of rows for all, with each grouping."""
        return [replace(self._way, rows=n, grouping=g) for g in self._groupings for n in self._rows]

    # -- the choices ---------------------------------------------------------------------------

    def _choices(self) -> dict[Names, list[Choice[PruningOptions]]]:
        """Cycles and foretold errors of every way, by the tensors that a layer has together."""
        found: dict[Names, list[Choice[PruningOptions]]] = {}
        before = list(self._outputs(Setting(format=self._way.format)))
        weights: dict[Names, float] = {}
        for way in self._ways():
            self._tell(f"cycles and errors of {way.label}", len(self._rows))
            changes = self._evaluator.subject.changes(way)
            for names, cycles in self._evaluator.subject.tensor_cycles(way).items():
                if names not in weights:
                    self._tell(f"probing {names[0]}", len(self._rows))
                    weights[names] = self._weight(names, before)
                error = weights[names] * sum(changes[name].error_square for name in names)
                found.setdefault(names, []).append(Choice(_options(way), cycles, error))
        return found

    def _weight(self, names: Names, before: Sequence[Sequence[Any]]) -> float:
        """How far the outputs move for an error of these tensors."""
        probed = sum(self._probed[name].error_square for name in names)
        if not probed:
            return 0.0
        alone = Policy(dict.fromkeys(names, _options(replace(self._way, rows=PROBE_ROWS))))
        return _moved(before, self._outputs(Setting(policy=alone, format=self._way.format))) / probed

    @cached_property
    def _probed(self) -> dict[str, Changes]:
        return self._evaluator.subject.changes(replace(self._way, rows=PROBE_ROWS))

    def _outputs(self, setting: Setting) -> Iterator[list[npt.NDArray[Any]]]:
        """Give a model's raw outputs on a few samples."""
        left = PROBE_SAMPLES
        with self._evaluator.subject.pruned(setting) as (runner, _):
            for some in self._evaluator.task.samples(quick=True):
                count = runner.batch or min(left, some.count)
                yield runner({name: array[:count] for name, array in some.feeds.items()})
                left -= count
                if left <= 0:
                    return

    # -- the furthest that holds -----------------------------------------------------------------

    def _furthest(self, states: list[State]) -> tuple[dict[int, Point], int | None]:
        """Bisect a path; return what was scored, and the furthest place that holds, if the first one does."""
        scored: dict[int, Point] = {}

        def holds(at: int) -> bool:
            return self._scores(scored, at, Setting(policy=self._bare(states[at]), format=self._way.format))

        return scored, _furthest(len(states), holds)

    def _scores(self, scored: dict[int, Point], at: int, setting: Setting) -> bool:
        """Score a setting and keep its point; whether it is within the loss. One without a score is not."""
        try:
            scored[at] = self._point(setting)
        except NonfiniteOutputError:
            return False
        return self._holds(scored[at])

    def _holds(self, point: Point) -> bool:
        name = self._evaluator.metrics[0]
        return is_within(name, point.scores[name], self._loss)

    # -- policies --------------------------------------------------------------------------------

    def _bare(self, state: State) -> Policy:
        """Tensors that no simulated layer has, or that were left out, are not pruned."""
        return Policy(state)

    def _policy(self, state: State, point: Point) -> Policy:
        name = self._evaluator.metrics[0]
        found = point.scores[name]
        return self._bare(state).with_origin(
            program=f"bitx {version('bitx')}",
            model_sha256=self._evaluator.subject.identity,
            task=self._evaluator.task.title,
            samples=point.samples,
            metric=name,
            allowed_loss=self._loss,
            score=found.value,
            unpruned_score=found.value - found.difference,
            cycles=point.machine.cycles or 0,
        )

    # -- telling ---------------------------------------------------------------------------------

    def _point(self, setting: Setting) -> Point:
        self._tell(setting.label, len(self._rows))
        return self._evaluator.point(self._evaluator.settled(setting))

    def _tell(self, what: str, more: int) -> None:
        if self._progress is not None:
            self._progress(self._done, self._done + more, what)
        self._done += 1


def _furthest(count: int, holds: Callable[[int], bool]) -> int | None:
    """Bisect for the last place that holds, of places of which the first ones do; None if none does."""
    if not holds(0):
        return None
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _cycles(point: Point) -> int:
    return point.machine.cycles or 0


def _options(way: Setting) -> PruningOptions:
    return PruningOptions(way.rows, way.group, way.grouping, way.window, way.rounding, way.criterion)


def _moved(before: Sequence[Sequence[Any]], after: Iterator[Sequence[Any]]) -> float:
    """Squared error of outputs, over their squared size; a NaN or Inf is `MOST_MOVED`."""
    error = size = 0.0
    for outputs, others in zip(before, after, strict=True):
        for output, other in zip(outputs, others, strict=True):
            wide = np.asarray(output, np.float64)
            error += float(np.square(np.asarray(other, np.float64) - wide).sum())
            size += float(np.square(wide).sum())
    moved = error / size if size else 0.0
    return moved if np.isfinite(moved) else MOST_MOVED
