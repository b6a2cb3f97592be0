"""What a task is, and finding one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import OptionError
from hwmodel.evaluation.found_by_name import FoundByName
from hwmodel.evaluation.runners import Runner

TASKS = {
    "crops": "hwmodel.evaluation.tasks.crops:Crops",
    "detector": "hwmodel.evaluation.tasks.detector:Detector",
    "detector-slimmed": "hwmodel.evaluation.tasks.detector_slimmed:DetectorSlimmed",
    "digits": "hwmodel.evaluation.tasks.digits:Digits",
    "minilm": "hwmodel.evaluation.tasks.minilm:MiniLM",
    "ocr": "hwmodel.evaluation.tasks.ocr:Ocr",
    "pages": "hwmodel.evaluation.tasks.pages:Pages",
    "transformer": "hwmodel.evaluation.tasks.transformer:Transformer",
}
"""Tasks of this package, by name."""

_FOUND = FoundByName("task", "bitx.tasks", TASKS)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """Some samples.

    Parameters
    ----------
    feeds : dict of str to ndarray
        Inputs of the model, samples along the first axis.
    labels : ndarray, optional
        One per sample.
    """

    feeds: dict[str, Array]
    labels: Array | None = None

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(next(iter(self.feeds.values())))


class Task(ABC):
    """A model's task.

    Attributes
    ----------
    name : str
    summary : str
        In one line, for ``bitx list tasks``.
    title : str
        What it is, in words: model, data, how many.
    metrics : tuple of str
        Names of its metrics, the most telling one first.
    model : pathlib.Path
        ONNX.
    models : tuple of pathlib.Path
        Where several are pruned and run together; by default `model` alone.
    files : tuple of pathlib.Path
        What was read besides, for a store's provenance.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    metrics: tuple[str, ...]
    title: str
    model: Path
    files: tuple[Path, ...] = ()

    @abstractmethod
    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the samples in batches, in the same order each time; a fifth of them, if it is to be quick."""

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give samples of the same kind, of which none is scored: for `hwmodel.calibrate` and the like.

        Raises
        ------
        OptionError
            If the task has none.
        """
        raise OptionError(f"task {self.name} has no samples but those that are scored")

    @property
    def models(self) -> tuple[Path, ...]:
        """All models that are pruned."""
        return (self.model,)

    @property
    def inputs_read(self) -> tuple[Path, ...]:
        """Files that no output may replace: models, and what was read besides."""
        return (*self.models, *self.files)

    def origin(self, sample: int, quick: bool) -> Path:
        """File that errors about a sample name; by default the model.

        Parameters
        ----------
        sample : int
            Its place among all of `samples`.
        quick : bool
            Of which of both.
        """
        return self.model

    def joined(self, runners: Sequence[Runner]) -> Runner:
        """Make one runner of those of the models, in their order."""
        (runner,) = runners
        return runner

    def scored(self, outputs: list[Array]) -> Array:
        """Choose what is scored of the model's outputs; by default the first."""
        return outputs[0]

    def view(self, metric: str, outputs: Array) -> Array:
        """Give what one metric takes, from what `scored` gave for all samples; by default the same.

        Parameters
        ----------
        metric : str
            Its name.
        outputs : ndarray, shape (samples, ...)
            Of the model, pruned or not.

        Returns
        -------
        ndarray
            One entry per label; for a metric against the unpruned model, one for each that is scored.
        """
        return outputs


def task_names() -> list[str]:
    """Names of all tasks, sorted.

    Examples
    --------
    >>> "digits" in task_names()
    True
    """
    return _FOUND.names()


def task_class(name: str) -> type[Task]:
    """Find a task's class.

    Raises
    ------
    OptionError
        If there is none of that name.

    Examples
    --------
    >>> task_class("digits").name
    'digits'
    """
    found: type[Task] = _FOUND.find(name)
    return found


def task(name: str) -> Task:
    """Make a task.

    Raises
    ------
    OptionError
        If there is none of that name.

    Examples
    --------
    >>> task("digits").metrics
    ('top1', 'agreement', 'cosine')
    """
    return task_class(name)()


def in_batches(feeds: Mapping[str, Array], labels: Array | None, batch: int) -> Iterator[Samples]:
    """Cut arrays into batches."""
    count = len(next(iter(feeds.values())))
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        yield Samples(
            {name: np.ascontiguousarray(array[part]) for name, array in feeds.items()},
            None if labels is None else labels[part],
        )
