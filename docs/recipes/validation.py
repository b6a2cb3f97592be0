"""Write docs/validation.md: papers' tables with ours beside them.

``python docs/recipes/validation.py --write`` rewrites the page, in a minute or two; without, the sections are
printed, those of the machines that are named or all: ``python docs/recipes/validation.py stripes eie``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import hwmodel as hw
from hwmodel.studies.reproduction.written import wrapped
from hwmodel.studies.validation import STANDINGS, Row

PAGE = Path(__file__).parents[1] / "validation.md"

HEAD = """# Beside papers' tables

This page compares our results with figures that papers print, machine by
machine. `make validation` computes everything and writes this page. The
published figures, and the precisions and densities that papers name, are in
[`data/published`](../data/published/README.md).

No model is tuned to meet a figure. A reading that fits the figures of a paper
but is not stated there is marked [fits]; in BitX this includes the weights of
Figure 8. The ratio is ours over published.

```python
import hwmodel as hw

for row in hw.validation.rows(["stripes"]):
    print(row.network, row.what, row.published, round(row.ours, 2), round(row.ratio, 2), row.standing)
```

The standing says how certain it is that a published figure is the paper's:
"""


def number(value: float) -> str:
    """Three digits, or all of a larger whole number."""
    return f"{value:.0f}" if value >= 1000 else f"{value:#.3g}".rstrip(".")


def table(rows: Sequence[Row]) -> str:
    """Lay out the rows of one machine."""
    remarks = any(row.remark for row in rows)
    lines = [
        "| what | network | published | ours | unit | ratio | standing |" + " remark |" * remarks,
        "|---|---|---:|---:|---|---:|---|" + "---|" * remarks,
    ]
    lines += [
        f"| {row.what} | {row.network} | {number(row.published)} | {number(row.ours)} | {row.unit}"
        f" | {row.ratio:.2f} | {row.standing} |" + f" {row.remark} |" * remarks
        for row in rows
    ]
    return "\n".join(lines)


def section(machine: str, rows: Sequence[Row]) -> str:
    """Lay out the section of one machine: method, table, findings."""
    study = hw.validation.study(machine)
    findings = "\n".join(wrapped(finding, "- ") for finding in study.findings)
    return f"## {study.title}\n\n{wrapped(study.method)}\n\n{table(rows)}\n\n{findings}\n"


def summary(rows: dict[str, Sequence[Row]]) -> str:
    """Lay out the ratios of every machine: least, median, greatest."""
    lines = ["| machine | rows | least ratio | median | greatest |", "|---|---:|---:|---:|---:|"]
    for machine, found in rows.items():
        ratios = [row.ratio for row in found]
        cells = (f"{value:.2f}" for value in (min(ratios), median(ratios), max(ratios)))
        lines.append(f"| {hw.validation.study(machine).title} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page() -> str:
    """Compute everything; return the page."""
    rows = {machine: hw.validation.rows([machine]) for machine in hw.validation.MACHINES}
    standings = "\n".join(wrapped(f"*{name}*: {meaning}.", "- ") for name, meaning in STANDINGS.items())
    sections = "\n".join(section(machine, found) for machine, found in rows.items())
    return f"{HEAD}\n{standings}\n\n{summary(rows)}\n\n{sections}"


def main() -> None:
    """Write the page, or print sections of it."""
    names = sys.argv[1:]
    if names == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
        return
    for machine in names or hw.validation.MACHINES:
        print(section(machine, hw.validation.rows([machine])))


if __name__ == "__main__":
    main()
