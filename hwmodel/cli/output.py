"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from bitxcore.showing import printable

if TYPE_CHECKING:
    from hwmodel.networks.network import Network

Row = TypeVar("Row")


@dataclass(frozen=True)
class Shown:
    """One column of a table for people.

    Parameters
    ----------
    name : str
        Of the value in a row: that of the store's column.
    heading : str
        Lines separated.
    show : function of any to str
        From the value, which may be None, to the cell.
    text : bool
        Whether it is text, aligned to the left; else numbers, which are never broken.
    more : bool
        Whether it is left out where the table is too wide, unless ``--wide`` is given.
    if_any : bool
        Whether it is left out if no row has a value other than 0.
    """

    name: str
    heading: str
    show: Callable[[Any], str] = str
    text: bool = False
    more: bool = False
    if_any: bool = False


def terminal_width() -> int | None:
    """Columns of ``COLUMNS``, or of the terminal that standard output is; None without either: no limit."""
    exported = os.environ.get("COLUMNS", "")
    if re.fullmatch("0*[1-9][0-9]{0,5}", exported):
        return int(exported)
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return max(get_terminal_size().columns, 1)


def print_rows(
    columns: Iterable[Shown],
    rows: Iterable[Mapping[str, Any]],
    *,
    title: str | None = None,
    footer: Mapping[str, Any] | None = None,
    keys: int = 1,
) -> None:
    """Print rows under the columns that are declared: all of them, or the main ones if these alone fit.

    Parameters
    ----------
    columns : iterable of Shown
    rows : iterable of mappings
        By the columns' names.
    title : str, optional
        A line above.
    footer : mapping, optional
        A last row; a name that it lacks is an empty cell.
    keys : int
        Leading columns that each of several tables begins with.
    """
    from hwmodel.cli.table_layout import natural_width
    from hwmodel.cli.view import current_view

    found = list(rows)
    used = [c for c in columns if not c.if_any or any(row.get(c.name) not in (None, 0) for row in found)]
    cells = {c: [c.show(row.get(c.name)) for row in found] for c in used}
    last = {c: "" if footer is None or c.name not in footer else c.show(footer[c.name]) for c in used}
    width, view = terminal_width(), current_view()
    if width is not None and not view.wide:
        texts = [[*c.heading.split("\n"), *map(printable, [*cells[c], last[c]])] for c in used]
        if natural_width(texts) > width:
            view.left_out += [c.heading.replace("-\n", "").replace("\n", " ") for c in used if c.more]
            used = [c for c in used if not c.more]
    print_table(
        [c.heading for c in used],
        zip(*(cells[c] for c in used), strict=True),
        title=title,
        numeric=[not c.text for c in used],
        footer=None if footer is None else [last[c] for c in used],
        keys=keys,
    )


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    numeric: Sequence[bool] | None = None,
    footer: Sequence[str] | None = None,
    keys: int = 1,
) -> None:
    """Print a table; one that is too wide for the terminal becomes several.

    Parameters
    ----------
    headings : sequence of str
    rows : iterable of sequences of str
    title : str, optional
        A line above.
    numeric : sequence of bool, optional
        Which columns hold numbers, aligned to the right and never broken; others are text, and may be
        broken into lines. By default all but the first.
    footer : sequence of str, optional
        A last row below a blank line.
    keys : int
        Leading columns, by which rows are known, that each of several tables begins with.
    """
    from hwmodel.cli.table_layout import at_words, lines_of_table

    numbers = [index > 0 for index in range(len(headings))] if numeric is None else numeric
    width = terminal_width()
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    lines = lines_of_table(
        headings,
        ([printable(cell) for cell in row] for row in rows),
        text=[not number for number in numbers],
        footer=None if footer is None else [printable(cell) for cell in footer],
        keys=keys,
        width=width,
        rule="─" if encoding.lower().startswith("utf") else "-",
    )
    for line in [] if title is None else at_words(printable(title), width):
        click.echo(_bold(line))
    for line, is_heading in lines:
        click.echo(_bold(line) if is_heading else line)


def _bold(line: str) -> str:
    """Make a line bold where standard output shows that."""
    shows = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return click.style(line, bold=True) if shows else line


def say(*lines: str) -> None:
    """Print lines of text; a terminal's are broken at spaces, so that no number falls apart."""
    from hwmodel.cli.table_layout import at_words

    width = terminal_width()
    for line in lines:
        for part in at_words(printable(line), width):
            click.echo(part)


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document; NaN and infinities, which JSON has not, become null."""
    from hwmodel.cli.view import current_view

    also = current_view().written
    click.echo(
        json_text({**document, "written": [*document.get("written", ()), *also]} if also else document)
    )


def json_text(document: Mapping[str, Any]) -> str:
    """Write a document as `print_json` prints it."""
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return str(value) if isinstance(value, Path) else os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return value


# -- cells -------------------------------------------------------------------------------------


def count(value: int | None) -> str:
    """``12,345``; a dash for None."""
    return "–" if value is None else f"{value:,}"


def number(value: float | None, digits: int = 2) -> str:
    """``1,234.50``; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """``48.6%``; a dash for None."""
    return "–" if value is None else f"{value:.{digits}%}"


def times(value: float | None) -> str:
    """``3.21x``; a dash for None."""
    return "–" if value is None else f"{value:.2f}x"


def figure(value: float | None, scale: float = 1.0) -> str:
    """``1,235``: four digits; a dash for None."""
    return "–" if value is None else f"{value * scale:,.4g}"


def scaled(scale: float) -> Callable[[float | None], str]:
    """Show a value in another unit, of which it has `scale`, with four digits."""
    return lambda value: figure(value, scale)


def words(value: object) -> str:
    """Text; a dash for None."""
    return "–" if value is None else str(value)


# -- notes -------------------------------------------------------------------------------------


class Note(NamedTuple):
    """A remark on a result.

    Parameters
    ----------
    kind : str
        What it is about, by which notes are counted.
    text : str
    brief : str, optional
        What of it is always printed, because it changes what the numbers mean; by default nothing. The
        whole text is printed if it fits the line.
    """

    kind: str
    text: str
    brief: str | None = None


_FEW = 2  # notes without a brief form that are printed, if each fits a line
_LINE = 80


def say_notes(notes: Iterable[Note]) -> None:
    """Print what must be known of the numbers, and count the rest; ``--notes`` prints all in full."""
    from hwmodel.cli.view import current_view

    found = list(notes)
    if current_view().notes:
        say(*dict.fromkeys(note.text for note in found))
        return
    width = terminal_width()
    rest = [note for note in found if note.brief is None]
    if len(rest) <= _FEW and all(len(note.text) <= (width or _LINE) for note in rest):
        rest = []
    briefly = [
        note.text if note.brief is None or width is None or len(note.text) <= width else note.brief
        for note in found
        if note not in rest
    ]
    say(*dict.fromkeys(briefly))
    if rest:
        kinds = Counter(note.kind for note in rest)
        told = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
        say(f"--notes shows {counted(len(rest), 'more note')}: {told}")


# -- rows --------------------------------------------------------------------------------------


def heaviest(
    rows: Sequence[Row], top: int | None, cycles: Callable[[Row], int | None]
) -> tuple[list[Row], list[Row]]:
    """Choose the `top` rows with most cycles, most first, and return the others besides; None: all."""
    if top is None or top >= len(rows):
        return list(rows), []
    ranked = sorted(rows, key=lambda row: -(cycles(row) or 0))
    return ranked[:top], ranked[top:]


# -- lines -------------------------------------------------------------------------------------


def counted(number: int, noun: str) -> str:
    """``1 point``; ``12 points``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def holders(groups: int) -> str:
    """``1 group holds``; ``12 groups hold``."""
    return f"{counted(groups, 'group')} {'holds' if groups == 1 else 'hold'}"


def left_out_notes(left_out: Mapping[str, str]) -> list[Note]:
    """Say how many tensors were left out for which reason, and the first of their names."""
    from bitxcore.batch import grouped

    found = []
    for reason, names in grouped(dict(left_out)).items():
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        line = f"left out: {counted(len(names), 'tensor')}: {reason}"
        found.append(Note("left out", f"{line}: {shown}", f"{line}"))
    return found


def network_line(name: str, net: Network) -> str:
    """Say how large a network is."""
    layers = counted(len(net), "layer")
    return f"{name}: {net.macs:,} MACs, {net.parameters:,} weights in {layers}"


def finish_columns() -> None:
    """Say which columns were left out, if any."""
    from hwmodel.cli.view import current_view

    if names := list(dict.fromkeys(current_view().left_out)):
        say(_first_names(names, terminal_width()))


def finish(paths: Iterable[str | os.PathLike[str] | None], hint: str = "") -> None:
    """End the output: say which columns were left out, and what was written where; `hint` if nothing was."""
    from bitxcore.remote.remote_path import as_path
    from hwmodel.cli.view import current_view

    view = current_view()
    finish_columns()
    parts = [f"{path} ({_size(as_path(path))})" for path in [*paths, *view.written] if path is not None]
    say(f"wrote {', '.join(parts)}" if parts else f"nothing written; {hint}")


def _first_names(names: Sequence[str], width: int | None) -> str:
    """Name the columns that were left out, as many as one line has room for."""
    head = f"--wide shows {counted(len(names), 'more column')}: "
    for count in range(len(names), 0, -1):
        line = head + ", ".join(names[:count]) + (", …" if count < len(names) else "")
        if width is None or len(line) <= width:
            return line
    return head + names[0]


def _size(path: Path) -> str:
    if path.is_dir():
        nbytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    else:
        nbytes = path.stat().st_size
    size = float(nbytes)
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
