"""Running a model over a task's samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.evaluation.runners import Runner
from hwmodel.evaluation.tasks import Samples, Task

Array = npt.NDArray[Any]


class NonfiniteOutputError(TensorError):
    """A model gave a NaN or Inf, which no metric scores."""


@dataclass(frozen=True, eq=False)
class Run:
    """What a model gave.

    Parameters
    ----------
    outputs : ndarray, shape (samples, ...)
        What is scored.
    labels : ndarray or None, shape (samples, ...)
    digest : str
        SHA-256 of all inputs and labels.
    """

    outputs: Array
    labels: Array | None
    digest: str


def run(
    task: Task, runner: Runner, *, quick: bool = False, progress: Callable[[int], None] | None = None
) -> Run:
    """Run a model over a task's samples.

    A model of a fixed batch gets so many samples at a time; the last ones are repeated to fill it up, and
    what it gives for these is dropped.

    Parameters
    ----------
    task : Task
    runner : Runner
        The task's own model, or a pruned one.
    quick : bool
    progress : callable, optional
        Called with the number of samples that are done.

    Raises
    ------
    DumpError
        If the model does not take the samples.
    NonfiniteOutputError
        If an output is NaN or Inf.
    TensorError
        If what is scored is not one entry per sample.
    """
    outputs: list[Array] = []
    labels: list[Array] = []
    digest = hashlib.sha256()
    done = 0
    for some in task.samples(quick):
        _add_up(some, digest)
        at_once = runner.batch or some.count
        for start in range(0, some.count, at_once):
            part = {name: array[start : start + at_once] for name, array in some.feeds.items()}
            count = len(next(iter(part.values())))
            given = task.scored(runner(_filled(part, at_once), count))[:count]
            if len(given) != count:
                raise TensorError(
                    f"scores need one entry per sample along the first axis; {count} samples gave"
                    f" {given.shape}",
                    path=task.model,
                )
            if given.dtype.kind == "f" and not np.isfinite(given).all():
                raise NonfiniteOutputError(
                    f"an output of sample {done} to {done + count - 1} is NaN or Inf{_in_inputs(part, done)}",
                    path=task.model,
                )
            outputs.append(given)
            done += count
        if some.labels is not None:
            labels.append(some.labels)
        if progress:
            progress(done)
    if not outputs:
        raise TensorError("there are no samples", path=task.model)
    return Run(np.concatenate(outputs), np.concatenate(labels) if labels else None, digest.hexdigest())


def _in_inputs(feeds: dict[str, Array], start: int) -> str:
    """Say which input has a NaN or Inf already."""
    for name, array in feeds.items():
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            sample = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
            return f", and so is a value of input {name!r} of sample {start + sample}"
    return ""


def _add_up(some: Samples, digest: Any) -> None:
    for name, array in (*some.feeds.items(), ("labels", some.labels)):
        if array is not None:
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            digest.update(array.tobytes() if array.dtype.kind != "O" else repr(array.tolist()).encode())


def _filled(feeds: dict[str, Array], count: int) -> dict[str, Array]:
    """Repeat the last sample until there are `count`."""
    short = count - len(next(iter(feeds.values())))
    if not short:
        return feeds
    return {name: np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) for name, x in feeds.items()}
