"""Compare two runs by their shares of the yardstick; fail where one of ours got worse beyond its noise.

``python -m bench.compare OLD.json NEW.json`` takes two files of ``python -m bench.table --json``. Exit
status: 0, nothing got worse; 1, something did; 2, the files can't be compared.

The noise of a case is the larger of two. One is the interquartile spreads of the rounds' shares in both
runs, added as errors are; the rounds come from several processes over the whole session, so that most of what
makes two runs of the same code differ is in there. It is about 5 standard errors of the difference of two
medians if rounds were independent, which those of one process are not. The other is `FLOOR`, for the rest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from bench.machine import HARDWARE, differences
from bench.results import Case, ResultsError, Run

# Two runs of the same code, on a virtual machine with other work on it, differed by 9 % in the median case.
FLOOR = 0.1
STYLES = {"worse": "bold red", "better": "green", "same": "", "peer": "dim"}


@dataclass(frozen=True)
class Change:
    """What became of one case."""

    old: Case
    new: Case

    @property
    def relative(self) -> float:
        """Change of the share: -0.2 is a fifth slower against the yardstick."""
        return self.new.share / self.old.share - 1

    @property
    def noise(self) -> float:
        """Relative change that means nothing."""
        return max(FLOOR, hypot(self.old.spread, self.new.spread))

    @property
    def verdict(self) -> Literal["worse", "better", "same", "peer"]:
        """What to make of it."""
        if self.new.peer:
            return "peer"
        if abs(self.relative) <= self.noise:
            return "same"
        return "worse" if self.relative < 0 else "better"


def changes(old: Run, new: Run) -> list[Change]:
    """Pair the cases that both runs measured; raise `ResultsError` if there is none of ours."""
    before = {case.key: case for case in old.cases if not case.missing}
    found = [Change(before[c.key], c) for c in new.cases if c.key in before and not c.missing]
    if all(change.new.peer for change in found):
        raise ResultsError("the two runs have no case in common")
    return found


def notes(old: Run, new: Run) -> Iterator[tuple[str, str]]:
    """Style and text of what to know besides: other machines and versions, and cases without a partner."""
    for key, (a, b) in differences(old.machine, new.machine).items():
        if key in HARDWARE:
            yield "yellow", f"warning: different machines, {key}: {a} -> {b}"
        else:
            yield "dim", f"note: {key}: {a} -> {b}"
    for which, run, other in (("new", new, old), ("old", old, new)):
        measured = {case.key for case in run.cases if not case.missing}
        why = {case.key: case.missing for case in run.cases if case.missing}
        for case in other.cases:
            if case.key not in measured and not case.missing:
                yield (
                    "yellow",
                    f"missing in the {which} run: {case.name} ({why.get(case.key, 'no such case')})",
                )


def table(found: list[Change]) -> Table:
    layout = Table("kernel", "case", box=None, pad_edge=False)
    for name in ("threads", "old share", "new share", "change", "noise"):
        layout.add_column(name, justify="right")
    layout.add_column("")
    for change in found:
        layout.add_row(
            change.new.kernel, change.new.case, str(change.new.threads),
            f"{change.old.share:.3f}", f"{change.new.share:.3f}",
            f"{change.relative:+.1%}", f"{change.noise:.1%}", change.verdict,
            style=STYLES[change.verdict],
        )  # fmt: skip
    return layout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    paths = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, highlight=False)
    try:
        old, new = Run.load(paths.old), Run.load(paths.new)
        found = changes(old, new)
    except ResultsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(table(found))
    for style, line in notes(old, new):
        console.print(line, style=style, soft_wrap=True)
    worse = [change for change in found if change.verdict == "worse"]
    for change in worse:
        console.print(
            f"worse: {change.new.name}: {change.old.share:.3f} -> {change.new.share:.3f} of the yardstick",
            style=STYLES["worse"],
            soft_wrap=True,
        )
    ours = sum(not change.new.peer for change in found)
    console.print(f"{len(worse)} of {ours} cases got worse beyond their noise")
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
