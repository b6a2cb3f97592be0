"""Groupings by tensor: the one that moves its weights least."""

from __future__ import annotations

from dataclasses import replace

from bitxcore.groups import GROUPINGS
from bitxcore.policy import Policy, PruningOptions
from hwmodel.evaluation.evaluation import Evaluator
from hwmodel.evaluation.settings import Setting


def groupings_by_error(evaluator: Evaluator, way: Setting) -> Policy:
    """Choose each tensor's grouping by the error of its weights; of equal errors, flat, then channel.

    Parameters
    ----------
    evaluator : Evaluator
        Of a task with one model.
    way : Setting
        Rows, and all else but the grouping.

    Returns
    -------
    Policy

    Examples
    --------
    >>> from hwmodel.evaluation import Evaluator, Setting, groupings_by_error, task
    >>> found = groupings_by_error(Evaluator(task("digits")), Setting(rows=6))
    >>> found.of("head.weight").grouping, found.of("head.weight").rows
    ('kernel', 6)
    """
    errors = {grouping: evaluator.subject.changes(replace(way, grouping=grouping)) for grouping in GROUPINGS}
    chosen = {}
    for name in errors["flat"]:
        best = min(GROUPINGS, key=lambda grouping: errors[grouping][name].error_square)
        chosen[name] = PruningOptions(way.rows, way.group, best, way.window, way.rounding, way.criterion)
    return Policy(chosen, origin={"groupings": "of least error of the weights", "rows": way.rows})
