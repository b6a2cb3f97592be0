"""What a model has to do: samples, what is right for them, and how outputs are scored. One file each."""

from hwmodel.evaluation.tasks.task_base import Samples, Task, task, task_class, task_names

__all__ = ["Samples", "Task", "task", "task_class", "task_names"]
