"""Running a model over samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import DumpError, MissingExtraError, TensorError
from hwmodel.evaluation.tasks import Task

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Run:
    """What a model gave.

    Parameters
    ----------
    outputs : ndarray, shape (samples, ...)
        What is scored.
    labels : ndarray or None, shape (samples,)
    """

    outputs: Array
    labels: Array | None


def run(
    task: Task, model: Path, *, quick: bool = False, progress: Callable[[int], None] | None = None
) -> Run:
    """Run a model over a task's samples with ONNX Runtime.

    Parameters
    ----------
    task : Task
    model : pathlib.Path
        The task's own, or a pruned one.
    quick : bool
    progress : callable, optional
        Called with the number of samples that are done.

    Raises
    ------
    DumpError
        If the model can't be loaded or does not take the samples.
    TensorError
        If an output is NaN or Inf.
    MissingExtraError
        If onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception.
        raise DumpError(f"can't be run: {_one_line(error)}", path=model) from error
    outputs: list[Array] = []
    labels: list[Array] = []
    done = 0
    for some in task.samples(quick):
        try:
            given = task.scored(session.run(None, some.feeds))
        except Exception as error:
            shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in some.feeds.items())
            raise DumpError(
                f"does not take the samples ({shapes}): {_one_line(error)}", path=task.model
            ) from error
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise TensorError(
                f"an output of sample {done} to {done + some.count - 1} is NaN or Inf", path=model
            )
        outputs.append(given)
        if some.labels is not None:
            labels.append(some.labels)
        done += some.count
        if progress:
            progress(done)
    return Run(np.concatenate(outputs), np.concatenate(labels) if labels else None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
