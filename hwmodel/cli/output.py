"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bitxcore.showing import printable

if TYPE_CHECKING:
    from hwmodel.networks.network import Network

Row = TypeVar("Row")


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None without one: nothing is then broken."""
    if not sys.stdout.isatty():
        return None
    from shutil import get_terminal_size

    return max(get_terminal_size().columns, 1)


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
    click.echo(json_text(document))


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
        return os.fspath(value)
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


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """Say how many tensors were left out for which reason, and the first of their names."""
    from bitxcore.batch import grouped

    if not left_out:
        return []
    lines = [f"left out: {counted(len(left_out), 'tensor')}"]
    for reason, names in grouped(dict(left_out)).items():
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        lines.append(f"  {len(names)} × {reason}: {shown}")
    return lines


def network_line(name: str, net: Network) -> str:
    """Say how large a network is."""
    layers = counted(len(net), "layer")
    return f"{name}: {net.macs:,} MACs, {net.parameters:,} weights in {layers}"


def written_line(paths: Iterable[str | os.PathLike[str] | None], hint: str) -> str:
    """Say what was written where; `hint` if nothing was."""
    parts = [f"{path} ({_size(Path(path))})" for path in paths if path is not None]
    return f"wrote {', '.join(parts)}" if parts else f"nothing written; {hint}"


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
