"""Running a model over samples."""

from __future__ import annotations

import hashlib
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
    labels : ndarray or None, shape (samples, ...)
    shapes : dict of str to tuple of int
        By input: the shape of one sample.
    digest : str
        SHA-256 of all inputs and labels.
    """

    outputs: Array
    labels: Array | None
    shapes: dict[str, tuple[int, ...]]
    digest: str


def run(
    task: Task, model: Path, *, quick: bool = False, progress: Callable[[int], None] | None = None
) -> Run:
    """Run a model over a task's samples with ONNX Runtime.

    A model of a fixed batch gets so many samples at a time; the last ones are repeated to fill it up, and
    what it gives for these is dropped.

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
        If an output is NaN or Inf, or what is scored is not one entry per sample.
    MissingExtraError
        If onnxruntime is missing.
    """
    session = _session(model)
    batch = {item.name: item.shape[0] if item.shape else None for item in session.get_inputs()}
    outputs: list[Array] = []
    labels: list[Array] = []
    shapes: dict[str, tuple[int, ...]] = {}
    digest = hashlib.sha256()
    done = 0
    for some in task.samples(quick):
        shapes = shapes or {name: array.shape[1:] for name, array in some.feeds.items()}
        for name, array in (*some.feeds.items(), ("labels", some.labels)):
            if array is not None:
                digest.update(f"{name} {array.dtype} {array.shape} ".encode())
                digest.update(array.tobytes() if array.dtype.kind != "O" else repr(array.tolist()).encode())
        fixed = next((n for name in some.feeds if isinstance(n := batch.get(name), int)), some.count)
        for start in range(0, some.count, fixed):
            part = {name: array[start : start + fixed] for name, array in some.feeds.items()}
            count = len(next(iter(part.values())))
            given = task.scored(_given(session, task, _filled(part, fixed)))[:count]
            if len(given) != count:
                raise TensorError(
                    f"scores need one entry per sample along the first axis; {count} samples gave"
                    f" {given.shape}",
                    path=task.model,
                )
            if given.dtype.kind == "f" and not np.isfinite(given).all():
                raise TensorError(
                    f"an output of sample {done} to {done + count - 1} is NaN or Inf", path=task.model
                )
            outputs.append(given)
            done += count
        if some.labels is not None:
            labels.append(some.labels)
        if progress:
            progress(done)
    if not outputs:
        raise TensorError("there are no samples", path=task.model)
    return Run(
        np.concatenate(outputs), np.concatenate(labels) if labels else None, shapes, digest.hexdigest()
    )


def _session(model: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base but Exception.
        raise DumpError(f"can't be run: {_one_line(error)}", path=model) from error


def _given(session: Any, task: Task, feeds: dict[str, Array]) -> list[Array]:
    try:
        found: list[Array] = session.run(None, feeds)
    except Exception as error:
        given = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in feeds.items())
        wanted = ", ".join(f"{item.name} {item.type} {item.shape}" for item in session.get_inputs())
        raise DumpError(
            f"does not take the samples: these are {given}; it takes {wanted}: {_one_line(error)}",
            path=task.model,
            hint="give arrays with the names, dtypes and sizes of its inputs",
        ) from error
    return found


def _filled(feeds: dict[str, Array], count: int) -> dict[str, Array]:
    """Repeat the last sample until there are `count`."""
    short = count - len(next(iter(feeds.values())))
    if not short:
        return feeds
    return {name: np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) for name, x in feeds.items()}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
