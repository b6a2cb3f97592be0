"""Accuracy of pruned networks: settings, tasks, scores and their confidence intervals."""

from hwmodel.evaluation.evaluated import Evaluation, Point
from hwmodel.evaluation.evaluation import Evaluator, evaluate
from hwmodel.evaluation.grouping_choice import groupings_by_error
from hwmodel.evaluation.intervals import Estimate, estimate
from hwmodel.evaluation.metrics import Metric, metric, metric_names
from hwmodel.evaluation.rows_search import RowsFound, search_rows
from hwmodel.evaluation.settings import Setting
from hwmodel.evaluation.tasks import Samples, Task, task, task_names
from hwmodel.evaluation.tasks.module_task import ModuleTask

__all__ = [
    "Estimate",
    "Evaluation",
    "Evaluator",
    "Metric",
    "ModuleTask",
    "Point",
    "RowsFound",
    "Samples",
    "Setting",
    "Task",
    "estimate",
    "evaluate",
    "groupings_by_error",
    "metric",
    "metric_names",
    "search_rows",
    "task",
    "task_names",
]
