"""Rows by tensor: the fewest cycles at which a model loses no more than is allowed.

1. Each tensor alone is pruned to `PROBE_ROWS`, and the model runs on a few samples: how far its outputs move
   says how much an error of this tensor matters.
2. The error of a tensor's weights at every number of rows, times that, foretells the outputs' squared error;
   the machine says the cycles. Errors of several tensors add up.
3. From the most rows on, the step that costs least error per saved cycle is taken next (the lower convex hull
   of each tensor, all hulls merged): a path of policies, each with fewer cycles than the one before.
4. The policy that is furthest along the path and within the loss is found by bisection, with the task's own
   score on all samples.

The same is done with one number of rows for all, as published methods have it: the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from bitxcore.policy import Policy, PruningOptions
from hwmodel.evaluation.evaluated import Point, is_within
from hwmodel.evaluation.evaluation import Evaluator
from hwmodel.evaluation.pruned_models import Changes
from hwmodel.evaluation.settings import Setting

CANDIDATES = tuple(range(2, 13))
"""Rows that a tensor may keep."""
PROBE_ROWS = 4
PROBE_SAMPLES = 64

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
        The fewest cycles within the same loss with one number of rows for all; None if none is within it.
    loss : float
        What was allowed, as of `Evaluation.held`.
    points : tuple of Point
        All that was scored: unpruned, each number of rows, policies.
    """

    policy: Policy
    point: Point
    single: Point | None
    loss: float
    points: tuple[Point, ...]


@dataclass(frozen=True)
class _Unit:
    """Tensors of a layer: cycles and the outputs' error foretold, by candidate from the most rows on."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    cycles: tuple[int, ...]
    errors: tuple[float, ...]

    def steps(self) -> Iterator[tuple[float, tuple[str, ...], int]]:
        """Give the steps down the lower convex hull: error per saved cycle, names, rows; rising."""
        best = [0]
        for at in range(1, len(self.rows)):
            if self.cycles[at] >= self.cycles[best[-1]]:
                continue  # fewer rows that save nothing
            while len(best) > 1 and self._slope(best[-2], best[-1]) >= self._slope(best[-1], at):
                best.pop()
            best.append(at)
        for one, next_one in pairwise(best):
            yield self._slope(one, next_one), self.names, self.rows[next_one]

    def _slope(self, one: int, other: int) -> float:
        return (self.errors[other] - self.errors[one]) / (self.cycles[one] - self.cycles[other])


def search_rows(
    evaluator: Evaluator,
    loss: float,
    *,
    way: Setting = Setting(rows=6),  # noqa: B008 - frozen
    candidates: Sequence[int] = CANDIDATES,
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
    progress : callable, optional
        ``progress(done, total, next_step)``; the total is an estimate.

    Returns
    -------
    RowsFound

    Raises
    ------
    OptionError
        If the task has several models, a machine can't prune so, or not even the most rows are within the
        loss.
    """
    return _Search(evaluator, loss, way, candidates, progress).found()


class _Search:
    def __init__(
        self,
        evaluator: Evaluator,
        loss: float,
        way: Setting,
        candidates: Sequence[int],
        progress: Progress | None,
    ) -> None:
        if len(evaluator.task.models) > 1:
            raise OptionError("rows by tensor are searched for one model; this task has several")
        if loss < 0:
            raise OptionError(f"a loss is 0 or more, got {loss}", value=loss)
        self._evaluator, self._loss, self._way = evaluator, loss, way
        self._rows = tuple(sorted({*candidates}, reverse=True))
        self._progress = progress
        self._done = 0

    def found(self) -> RowsFound:
        unpruned = self._point(Setting())
        singles = [self._point(replace(self._way, rows=rows)) for rows in self._rows]
        path = self._path()
        within = self._furthest(path)
        points = [unpruned, *singles, *(self._scored[at] for at in sorted(self._scored))]
        held = [point for point in singles if self._holds(point) and point.machine.cycles is not None]
        single = min(held, key=lambda point: point.machine.cycles or 0, default=None)
        policy = self._policy(path[within], self._scored[within])
        return RowsFound(policy, self._scored[within], single, self._loss, tuple(points))

    # -- the path --------------------------------------------------------------------------------

    def _path(self) -> list[dict[str, int]]:
        """Rows by tensor, from the most rows on."""
        units = self._units()
        state = {name: unit.rows[0] for unit in units for name in unit.names}
        path = [dict(state)]
        for _, names, rows in sorted(step for unit in units for step in unit.steps()):
            state |= dict.fromkeys(names, rows)
            path.append(dict(state))
        return path

    def _units(self) -> list[_Unit]:
        cycles, errors = {}, {}
        for rows in self._rows:
            self._tell(f"cycles and errors at {rows} rows", len(self._rows))
            cycles[rows] = self._evaluator.subject.tensor_cycles(replace(self._way, rows=rows))
            errors[rows] = self._evaluator.subject.changes(replace(self._way, rows=rows))
        before = list(self._outputs(Setting(format=self._way.format)))
        units: list[_Unit] = []
        for names in cycles[self._rows[0]]:
            self._tell(f"probing {names[0]}", len(cycles[self._rows[0]]) - len(units))
            alone = Policy(dict.fromkeys(names, self._options(PROBE_ROWS)))
            moved = _moved(before, self._outputs(Setting(policy=alone, format=self._way.format)))
            lost = {rows: sum(errors[rows][name].error_square for name in names) for rows in self._rows}
            probed = sum(self._probed[name].error_square for name in names)
            weight = moved / probed if probed else 0.0
            units.append(
                _Unit(
                    names,
                    self._rows,
                    tuple(cycles[rows][names] for rows in self._rows),
                    tuple(weight * lost[rows] for rows in self._rows),
                )
            )
        return units

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

    def _furthest(self, path: list[dict[str, int]]) -> int:
        """Bisect the path; the first policy must hold."""
        self._scored: dict[int, Point] = {}

        def holds(at: int) -> bool:
            self._scored[at] = self._point(Setting(policy=self._bare(path[at]), format=self._way.format))
            return self._holds(self._scored[at])

        if not holds(0):
            name = self._evaluator.metrics[0]
            raise OptionError(
                f"{self._rows[0]} rows for all lose more than {self._loss:g} of {name}",
                value=self._loss,
                hint="allow more, or give more rows",
            )
        low, high = 0, len(path)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if holds(middle) else (low, middle)
        return low

    def _holds(self, point: Point) -> bool:
        name = self._evaluator.metrics[0]
        return is_within(name, point.scores[name], self._loss)

    # -- policies --------------------------------------------------------------------------------

    def _options(self, rows: int) -> PruningOptions:
        way = self._way
        return PruningOptions(rows, way.group, way.grouping, way.window, way.rounding, way.criterion)

    def _bare(self, state: Mapping[str, int]) -> Policy:
        usual = self._options(self._rows[0])
        return Policy({name: self._options(rows) for name, rows in state.items()}, usual)

    def _policy(self, state: Mapping[str, int], point: Point) -> Policy:
        name = self._evaluator.metrics[0]
        found = point.scores[name]
        return self._bare(state).with_origin(
            program=f"bitx {version('bitx')}",
            model_sha256=self._evaluator.subject.identity,
            task=self._evaluator.task.title,
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


def _moved(before: Sequence[Sequence[Any]], after: Iterator[Sequence[Any]]) -> float:
    """Squared error of outputs, over their squared size."""
    error = size = 0.0
    for outputs, others in zip(before, after, strict=True):
        for output, other in zip(outputs, others, strict=True):
            wide = np.asarray(output, np.float64)
            error += float(np.square(np.asarray(other, np.float64) - wide).sum())
            size += float(np.square(wide).sum())
    return error / size if size else 0.0
