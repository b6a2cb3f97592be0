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
        click.argument("model", metavar="[MODEL]", required=False),
        click.option(
            "--task", "task_name", metavar="NAME", help="A task of bitx list tasks, with its own model."
        ),
        click.option(
            "--calibration",
            "data",
            metavar="DIR|CSV|NPZ",
            help="With MODEL: samples of what it will see, in the form of --data of bitx evaluate. Never use"
            " samples that it is scored on.",
        ),
        click.option(
            "--samples",
            type=Integer(1, 65536),
            default=64,
            show_default=True,
            help="How many samples are used; they are evenly spread over the data.",
        ),
    )
    function = picture_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def scaling_of(
    scale: float | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None, channels: str
) -> dict[str, Any]:
    """Keep those of the options of pictures that were given."""
    given = {"scale": scale, "mean": mean, "std": std, "channels": channels}
    return {name: value for name, value in given.items() if value is not None}


def task_of(
    model: str | None,
    task_name: str | None,
    data: str | None,
    scaling: dict[str, Any],
    instead: str = "export the module to ONNX",
) -> Task:
    """Make what has a graph and samples."""
    from pathlib import Path

    from bitxcore.errors import DumpError
    from hwmodel.evaluation import task
    from hwmodel.evaluation.tasks.labelled import Labelled
    from hwmodel.operands.traces.pictures import Scaling

    if task_name is not None:
        made = task(task_name)
        if len(made.models) > 1:
            raise click.UsageError(f"task {task_name} has several models; give one of them as MODEL")
        return made
    path = Path(str(model))
    if path.suffix.lower() == ".pt2":
        raise DumpError("programs of torch.export are not read; export the module to ONNX", path=path)
    if path.suffix.lower() != ".onnx":
        raise DumpError(f"a state dict has no graph: {instead}", path=path)
    return Labelled(path, Path(str(data)), Scaling(**scaling))


def batches_of(made: Task, samples: int, *, of_task: bool) -> Iterator[dict[str, Any]]:
    """Give calibration samples: a task's own, or evenly spread ones of the data."""
    from hwmodel.preparation.samples import check_numbers, spread

    if of_task:
        yield from (part.feeds for part in made.calibration(samples))
        return
    parts = list(made.samples())
    wanted = set(spread(sum(part.count for part in parts), samples))
    first = 0
    for part in parts:
        chosen = [at for at in range(part.count) if first + at in wanted]
        for at in chosen:
            for name, array in part.feeds.items():
                check_numbers(name, array[at : at + 1], [first + at], made.origin(first + at, quick=False))
        first += part.count
        if chosen:
            yield {name: array[chosen] for name, array in part.feeds.items()}
