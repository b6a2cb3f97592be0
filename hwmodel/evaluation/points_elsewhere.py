"""Points of an evaluation on workers: each runs the unpruned model once, and then one setting at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from bitxcore.batch.runs.executing import Workers, execute
from bitxcore.errors import BitxError, OptionError
from hwmodel.evaluation.evaluated import Point
from hwmodel.evaluation.settings import Setting
from hwmodel.evaluation.tasks import Task
from hwmodel.evaluation.tasks.module_task import ModuleTask


@dataclass(frozen=True)
class PointTask:
    """What every worker needs to know; equal within one run.

    Parameters
    ----------
    task : Task
    options : dict
        Those that points depend on, besides the task.
    """

    task: Task = field(compare=False)
    options: dict[str, Any] = field(compare=False)
    run: str = field(default_factory=lambda: uuid4().hex)


Job = tuple[PointTask, Setting]


def points_elsewhere(
    task: PointTask, settings: Sequence[Setting], workers: Workers, score: Callable[[Job], Point]
) -> Generator[tuple[Setting, Point], None, None]:
    """Score settings in no certain order.

    Parameters
    ----------
    task : PointTask
    settings : sequence of Setting
        Settled, and all different.
    workers : Workers
    score : callable
        Scores one of them; a function of a module.

    Yields
    ------
    Setting
    Point

    Raises
    ------
    OptionError
        For a task whose model is in memory only.
    BitxError
        As of `score`; or if workers died again and again.
    """
    if isinstance(task.task, ModuleTask):
        raise OptionError("a module in memory can't be sent to workers: evaluate it without them")
    with closing(execute(score, ((task, setting) for setting in settings), workers)) as outcomes:
        for outcome in outcomes:
            setting = outcome.job[1]
            if outcome.data is None:
                raise BitxError(
                    "workers died on it (out of memory?), again and again; finished points are kept",
                    part=f"pruned to {setting.label}",
                )
            yield setting, outcome.data
