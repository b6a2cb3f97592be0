"""What ``bitx batch`` prints: its plan, how far it is, and how each dump ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hwmodel.cli import output as out
from hwmodel.cli.progress import progress

if TYPE_CHECKING:
    from bitxcore.batch.runs.events import Tell
    from bitxcore.batch.runs.places import Places
    from bitxcore.batch.runs.planning import BatchPlan
    from bitxcore.batch.runs.results import BatchReport, DumpDone

MOST_ROWS = 40
"""Of the table at the end; of more dumps, it shows those that failed."""

_STAGES = {
    "hash": "hash inputs",
    "check": "check what was done before",
    "read": "read",
    "compute": "compute",
    "write": "write dumps",
    "keep": "keep parts",
    "store": "write stores",
}


def size_text(nbytes: float) -> str:
    """``12.9 GB``.

    Examples
    --------
    >>> size_text(12_900_000_000)
    '12.9 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.3g} TB"


def values_text(values: float) -> str:
    """``3.2 G``."""
    for unit in ("", " k", " M", " G"):
        if values < 999.5:
            return f"{values:.3g}{unit}"
        values /= 1000
    return f"{values:,.3g} T"


def time_text(seconds: float) -> str:
    """``3 min``.

    Examples
    --------
    >>> time_text(170.0), time_text(7200.0)
    ('2.8 min', '2 h')
    """
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 3600 else f"{seconds / 3600:.2g} h"


# -- before ------------------------------------------------------------------------------------


def plan_lines(plan: BatchPlan, jobs: int, seconds: float | None) -> list[str]:
    """Say what is going to be done, and how long that takes if it is known."""
    units = out.counted(plan.units, "unit")
    lines = [
        f"{out.counted(len(plan.dumps), 'dump')}, {out.counted(plan.tensors, 'tensor')},"
        f" {values_text(plan.values)} values, {size_text(plan.nbytes)}",
        f"{units} of work, {jobs} at a time; memory: about {size_text(plan.memory(jobs))}",
    ]
    if plan.units:
        lines.append(f"time: {_time(plan, seconds)}")
    lost = [dump for dump in plan.dumps if dump.reason is not None]
    return lines + [f"can't be worked on: {dump.path}: {dump.reason}" for dump in lost]


def _time(plan: BatchPlan, seconds: float | None) -> str:
    if seconds is not None:
        return f"about {time_text(seconds)}, estimated from the work on a part of one tensor"
    return f"known after the first {'unit' if plan.action.timed_by_size else 'dump'}"


def say_plan(plan: BatchPlan, jobs: int, seconds: float | None) -> None:
    """Say it on standard error."""
    _say(*plan_lines(plan, jobs, seconds))


def print_plan(plan: BatchPlan, jobs: int, seconds: float | None, *, as_json: bool) -> None:
    """Print the plan, and that nothing was done."""
    if as_json:
        dumps = [{"path": dump.path, **_sizes(dump), "error": dump.reason} for dump in plan.dumps]
        total: dict[str, Any] = {**_sizes(plan), "units": plan.units, "jobs": jobs}
        total |= {"memory_bytes": plan.memory(jobs), "expected_seconds": seconds}
        out.print_json({"dumps": dumps, **total, "written": []})
        return
    out.say(*plan_lines(plan, jobs, seconds), "nothing done: --dry-run")


def _sizes(of: Any) -> dict[str, int]:
    return {"tensors": of.tensors, "values": of.values, "bytes": of.nbytes}


def _say(*lines: str) -> None:
    from bitxcore.showing import printable

    for line in lines:
        click.echo(f"bitx: {printable(line)}", err=True)


# -- meanwhile ---------------------------------------------------------------------------------


@contextmanager
def watching(plan: BatchPlan, jobs: int, what: str, *, verbose: bool) -> Iterator[Tell]:
    """Show a bar, and with `verbose` a line per event; yields what is to be told."""
    with progress(plan.nbytes, what) as bar:
        yield _Watch(plan, jobs, bar, verbose=verbose)


class _Watch:
    """Follows the events of a batch."""

    def __init__(self, plan: BatchPlan, jobs: int, bar: Any, *, verbose: bool) -> None:
        self._plan, self._jobs, self._bar, self._verbose = plan, jobs, bar, verbose
        self._start = time.monotonic()
        self._nbytes = self._values = self._units = self._done = self._here = 0

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        """Show an event."""
        if event in ("done", "reused") or (event == "failed" and "bytes" in facts):
            self._count(event, facts)
        if not self._verbose:
            return
        if event in ("begun", "done", "reused", "failed"):
            part = f" (part {facts['unit'] + 1} of {facts['of']})" if facts.get("of", 1) > 1 else ""
            why = ""
            if event == "failed":
                tensor = facts.get("tensor")
                why = f": {facts['reason']}" if tensor is None else f": tensor {tensor!r}: {facts['reason']}"
            _say(f"{event}: {facts['dump']}{part}{why}")
        elif event == "died":
            _say(f"a process died with {facts['dump']}")
        if event == "done" and self._done == 1 and self._units < self._plan.units:
            _say(f"expected: about {time_text(self._expected())}")

    def _count(self, event: str, facts: dict[str, Any]) -> None:
        self._nbytes += facts["bytes"]
        self._values += facts["values"]
        self._units += 1
        if event == "done":
            self._done += 1
            self._here += facts["bytes"]
        words = f"{self._units:,}/{self._plan.units:,}, {values_text(self._values)} values"
        self._bar.reach(self._nbytes, self._plan.nbytes, words)

    def _expected(self) -> float:
        """Seconds that the rest takes, if it goes on so."""
        spent = time.monotonic() - self._start
        left = self._plan.nbytes - self._nbytes
        return spent * left / max(1, self._here) / self._jobs


# -- at the end --------------------------------------------------------------------------------


def rows(found: BatchReport) -> list[dict[str, Any]]:
    """Return a row per dump."""
    return [_row(done) for done in found.dumps]


def _row(done: DumpDone) -> dict[str, Any]:
    columns = done.dump.columns()
    return {**columns, "status": done.status, "seconds": done.seconds}


def document(found: BatchReport, parameters: dict[str, Any], places: Places) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {
        "parameters": parameters,
        "dumps": rows(found),
        "failed": found.failed,
        "complete_before": found.complete,
        "seconds": found.stages,
        "parts": found.kept,
        "written": [] if found.complete else [places.output],
    }


def print_report(found: BatchReport, plan: BatchPlan, places: Places, *, profile: bool) -> None:
    """Print how each dump ended, and what to do about those that failed."""
    from bitxcore.batch.runs.timings import timings_path

    if found.complete:
        out.say(f"{places.output} is complete: {out.counted(len(plan.dumps), 'dump')}; nothing to do")
        return
    shown = rows(found)
    title = f"{out.counted(len(shown), 'dump')}"
    if len(shown) > MOST_ROWS:
        shown = [row for row in shown if row["status"] == "failed"]
        title += ", those that failed"
    if shown:
        out.print_rows(
            (
                out.Shown("path", "dump", text=True),
                out.Shown("status", "status", text=True),
                out.Shown("tensors", "tensors", out.count),
                out.Shown("values", "values", out.count, more=True),
                out.Shown("bytes", "MB", out.scaled(1e-6)),
                out.Shown("seconds", "seconds", out.number, more=True),
                out.Shown("error", "why", lambda why: why or "", text=True, if_any=found.failed == 0),
            ),
            shown,
            title=title,
        )
    if profile:
        _print_stages(found)
    status = [done.status for done in found.dumps]
    counts = [f"{status.count(name):,} {name}" for name in ("done", "reused", "failed")]
    out.say(", ".join(counts))
    if found.failed:
        out.say(f"what is done is kept in {found.kept}: the same command does the rest again")
    elif found.kept is not None:
        out.say(f"parts are kept in {found.kept}")
    out.finish([places.output, timings_path(places.output)])


def _print_stages(found: BatchReport) -> None:
    total = sum(found.stages.values())
    out.print_rows(
        (
            out.Shown("stage", "stage", text=True),
            out.Shown("seconds", "seconds", out.number),
            out.Shown("share", "share", out.percent),
        ),
        [
            {"stage": words, "seconds": seconds, "share": seconds / total if total else None}
            for name, words in _STAGES.items()
            if (seconds := found.stages.get(name)) is not None
        ],
        title="time by stage, summed over processes",
        footer={"stage": "", "seconds": total},
    )
