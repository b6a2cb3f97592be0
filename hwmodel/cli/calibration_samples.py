"""Calibration samples of commands: a task's own, or evenly spread ones of a user's data."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hwmodel.cli.options import picture_options
from hwmodel.cli.values import Integer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hwmodel.evaluation import Task

F = TypeVar("F", bound=Callable[..., Any])


def calibration_options(function: F) -> F:
    """Add ``MODEL --task --calibration --samples`` and the options of pictures."""
    options: tuple[Any, ...] = (
        click.argument("model", metavar="[MODEL.onnx]", required=False),
        click.option(
            "--task", "task_name", metavar="NAME", help="A task of bitx list tasks, with its own model."
        ),
        click.option(
            "--calibration",
            "data",
            metavar="DIR|CSV|NPZ",
            help="With MODEL: samples of what it will see, never those that it is scored on; as --data of"
            " evaluate.",
        ),
        click.option(
            "--samples",
            type=Integer(1, 65536),
            default=64,
            show_default=True,
            help="Samples that are taken, evenly spread over what is there.",
        ),
    )
    function = picture_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def task_of_one_model(name: str) -> Task:
    """Make a task.

    Raises
    ------
    click.UsageError
        If it has several models.
    """
    from hwmodel.evaluation import task

    made = task(name)
    if len(made.models) > 1:
        raise click.UsageError(f"task {name} has several models; give one of them as MODEL")
    return made


def labelled(
    model: str,
    data: str,
    scale: float | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    channels: str,
) -> Task:
    """Make the task of a user's model and data; labels are not needed."""
    from pathlib import Path

    from hwmodel.evaluation.tasks.labelled import Labelled
    from hwmodel.operands.traces.pictures import Scaling

    own = Scaling()
    return Labelled(Path(model), Path(data), Scaling(scale, mean or own.mean, std or own.std, channels))


def batches_of(made: Task, samples: int, *, of_task: bool) -> Iterator[dict[str, Any]]:
    """Give calibration samples: a task's own, or evenly spread ones of the data."""
    if of_task:
        yield from (part.feeds for part in made.calibration(samples))
        return
    parts = list(made.samples())
    count = sum(part.count for part in parts)
    wanted = {at * count // samples for at in range(samples)} if count > samples else set(range(count))
    first = 0
    for part in parts:
        chosen = [at for at in range(part.count) if first + at in wanted]
        first += part.count
        if chosen:
            yield {name: array[chosen] for name, array in part.feeds.items()}
