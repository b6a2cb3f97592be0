"""``--scheduler``: the work of a command on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli.values import Integer

if TYPE_CHECKING:
    from bitxcore.clusters import DaskWorkers


def scheduler_option(units: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--scheduler``.

    Parameters
    ----------
    units : str
        What is sent to workers, in the plural.
    """
    return click.option(
        "--scheduler",
        metavar="ADDRESS|local",
        help=f"Send {units} to the workers of a Dask scheduler, tcp://HOST:PORT. local: to workers of"
        " this machine, as many as --jobs says.",
    )


def cluster_options(units: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--scheduler`` and ``--jobs`` to a command that works in one process otherwise."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        jobs = click.option(
            "-j", "--jobs", type=Integer(1), help="Workers of --scheduler local.  [default: all cores]"
        )
        return scheduler_option(units)(jobs(function))

    return add


@contextmanager
def workers_of(
    scheduler: str | None, jobs: int | None, *, processes: bool = False
) -> Iterator[DaskWorkers | None]:
    """Connect to the scheduler that was asked for, and say on standard error what it has.

    Parameters
    ----------
    scheduler : str or None
        None: nobody is connected to.
    jobs : int, optional
    processes : bool
        Whether `jobs` is of processes where no scheduler is asked for.
    """
    if scheduler is None:
        if jobs is not None and not processes:
            raise click.UsageError("--jobs goes with --scheduler local")
        yield None
        return
    from bitxcore.clusters import LOCAL, dask_workers

    if scheduler != LOCAL and jobs is not None:
        raise click.UsageError("--jobs starts workers of this machine, and a scheduler has its own")
    with dask_workers(scheduler, jobs, say=lambda text: click.echo(text, err=True)) as workers:
        yield workers
