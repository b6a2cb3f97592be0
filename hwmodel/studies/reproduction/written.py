"""Lines as tables for people, and as the page docs/reproduction.md."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import fill

from hwmodel.studies.reproduction.line import HELD, MARKS, Line

HEADINGS = ("network", "setting", "quantity", "unit", "published", "ours", "ratio", "weights", "why")
NUMERIC = (False, False, False, False, True, True, True, False, False)

CONTRADICTIONS = "Contradictions"
OWN = ": our networks"
"""Ending of a sheet whose lines are of other networks and data than the paper's."""

HEAD = """# The BitX paper, reproduced

Every number of the paper (H. Li et al., "BitX", ICPP 2021) that can be
computed, compared with ours. `bitx reproduce --write docs/reproduction.md`, or
`make reproduce`, computes everything in about half an hour and writes this
page. The published numbers are in
[`data/published`](../data/published/README.md). They are only compared with and
never used as inputs, except where a line says so. The ratio is ours over
published.

```python
import hwmodel as hw

for line in hw.reproduction.reproduce(["Table 3"], accuracy=False):
    print(line.network, line.setting, line.published, line.ours, line.ratio, line.mark, line.why)
```

*Work* is the cycles of perfectly balanced lanes. With the *barrier*, the lanes
of a group wait for the weight with most ones, as in the drawings of the
machine. The paper's figures show both without saying so
([assumptions](assumptions.md)).

Weights are drawn from a named distribution, with the seed that each line names.
Lines on trained weights of layers need the extra `models` and have no published
figure. The accuracy that pruning costs our own networks is shown beside the
paper's, in separate sections, because networks and data differ.

Each line has a mark for the origin of its reading:
"""


@dataclass(frozen=True)
class Sheet:
    """The lines of one place as text.

    Parameters
    ----------
    place : str
    rows : tuple of tuple of str
        Cells under `HEADINGS`.
    notes : tuple of str
        The texts to which the numbers under ``why`` refer.
    details : int
        Lines that are left out here.
    """

    place: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    details: int


def number(value: float | None) -> str:
    """Format with four digits, without trailing zeros; None is a dash.

    Examples
    --------
    >>> number(2.61200001), number(0.00342), number(None)
    ('2.612', '0.00342', '–')
    """
    return "–" if value is None else f"{value:.4g}"


def wrapped(prose: str, start: str = "") -> str:
    """Break prose for a page into lines of at most 80 characters; text between backticks stays whole.

    Examples
    --------
    >>> print(wrapped("one two three four " * 4 + "`five six seven`.", start="1. "))
    1. one two three four one two three four one two three four one two three four
       `five six seven`.
    """
    whole = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), prose)
    lines = fill(
        whole, 80, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return lines.replace("\0", " ")


def sheets(lines: Iterable[Line]) -> tuple[Sheet, ...]:
    """Lay out lines: one sheet per place, and one for our own networks; details are only counted."""
    places: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        places[line.place if line.alike else line.place + OWN].append(line)
    return tuple(_sheet(place, found) for place, found in places.items())


def _sheet(place: str, lines: Sequence[Line]) -> Sheet:
    shown = [line for line in lines if not line.detail]
    notes = list(dict.fromkeys(f"[{line.mark}] {line.why}" for line in shown))
    rows = tuple(
        (
            line.network,
            line.setting,
            line.quantity,
            line.unit,
            number(line.published),
            number(line.ours),
            "–" if line.ratio is None else f"{line.ratio:.3f}",
            line.weights,
            str(notes.index(f"[{line.mark}] {line.why}") + 1),
        )
        for line in shown
    )
    return Sheet(place, rows, tuple(notes), len(lines) - len(shown))


def headings(place: str) -> tuple[str, ...]:
    """Give the headings of a place; in contradictions, both numbers are the paper's."""
    if place != CONTRADICTIONS:
        return HEADINGS
    other = {"setting": "where", "published": "says", "ours": "gives", "weights": "how"}
    return tuple(other.get(heading, heading) for heading in HEADINGS)


def page(lines: Sequence[Line]) -> str:
    """Lay out the page docs/reproduction.md of a whole run.

    Examples
    --------
    >>> import hwmodel as hw
    >>> lines = hw.reproduction.reproduce(["Contradictions"])
    >>> page(lines).splitlines()[0]
    '# The BitX paper, reproduced'
    """
    marks = "\n".join(f"- [{mark}]: {meaning}." for mark, meaning in MARKS.items())
    sections = "\n".join(_section(sheet) for sheet in sheets(lines))
    return f"{HEAD}\n{marks}\n\n{_summary(lines)}\n{_what_holds(lines)}{sections}"


def what_holds(lines: Iterable[Line]) -> str:
    """Say with how many rows each of our networks loses no more than the paper's; empty if none was run.

    Examples
    --------
    >>> from hwmodel.studies.reproduction.line import Mark
    >>> line = Line(place="Table 2", network="ours: digits", setting="", quantity=f"{HELD}, groups of 8",
    ...             unit="rows", published=6, ours=4, weights="", why="", mark=Mark.PAPER, alike=False)
    >>> print(what_holds([line]))
    Our networks lose no more than the paper's lose at N = 6: digits with 4 rows or more (groups of 8).
    """
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.quantity.startswith(HELD):
            rows = (
                "with none of 10, 8, 6, 4 rows" if line.ours is None else f"with {line.ours:.0f} rows or more"
            )
            way = line.quantity.removeprefix(f"{HELD}, ")
            found[line.network.removeprefix("ours: ")].append(f"{rows} ({way})")
    said = "; ".join(f"{network} {', '.join(ways)}" for network, ways in found.items())
    return f"Our networks lose no more than the paper's lose at N = 6: {said}." if said else ""


def _what_holds(lines: Iterable[Line]) -> str:
    said = what_holds(lines)
    more = "Networks and data differ from the paper's; [accuracy.md](accuracy.md) has their curves."
    return f"{wrapped(f'{said} {more}')}\n\n" if said else ""


def _summary(lines: Sequence[Line]) -> str:
    """Lay out the ratios by place and mark: least, median, greatest."""
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        if line.ratio is not None and line.place != CONTRADICTIONS:
            ratios[line.place, line.mark].append(line.ratio)
    table = ["| place | reading | lines | least ratio | median | greatest |", "|---|---|---:|---:|---:|---:|"]
    for (place, mark), found in ratios.items():
        cells = " | ".join(f"{value:.3f}" for value in (min(found), median(found), max(found)))
        table.append(f"| {place} | [{mark}] | {len(found)} | {cells} |")
    return "\n".join(table) + "\n"


def _section(sheet: Sheet) -> str:
    rule = "|".join("---:" if numeric else "---" for numeric in NUMERIC)
    table = [f"| {' | '.join(headings(sheet.place))} |", f"|{rule}|"]
    table += [f"| {' | '.join(row)} |" for row in sheet.rows]
    notes = "\n".join(wrapped(note, f"{at}. ") for at, note in enumerate(sheet.notes, 1))
    rest = f"\n{sheet.details} more lines, layer by layer, are in the store and in `--json`.\n" * bool(
        sheet.details
    )
    return f"## {sheet.place}\n\n" + "\n".join(table) + f"\n\n{notes}\n{rest}"
