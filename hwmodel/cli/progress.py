"""Progress on standard error: on a terminal only, and only for what takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from bitxcore.showing import printable

PATIENCE_S = 2.0


class Bar:
    """A bar that the work moves."""

    def advance(self, amount: float, next_step: str = "") -> None:
        """Move on by `amount`, and name what comes next."""

    def reach(self, done: float, total: float, next_step: str = "") -> None:
        """Stand at `done` of `total`, and name what comes next."""


@contextmanager
def progress(total: float | None, what: str, *, patience_s: float = PATIENCE_S) -> Iterator[Bar]:
    """Show a bar after `patience_s` seconds.

    Parameters
    ----------
    total : float or None
        Sum of all amounts; None if `Bar.reach` tells.
    what : str
        The activity, e.g. ``"inspect"``.
    patience_s : float
        Seconds.
    """
    if not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=Console(file=sys.stderr), transient=True, refresh_per_second=4)
    task = shown.add_task(what, total=total)

    def words(next_step: str) -> str:
        return printable(f"{what} {next_step}".strip())

    class Shown(Bar):
        def advance(self, amount: float, next_step: str = "") -> None:
            shown.update(task, advance=amount, description=words(next_step))

        def reach(self, done: float, total: float, next_step: str = "") -> None:
            shown.update(task, completed=done, total=total, description=words(next_step))

    timer = Timer(patience_s, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield Shown()
    finally:
        timer.cancel()
        timer.join()
        shown.stop()
