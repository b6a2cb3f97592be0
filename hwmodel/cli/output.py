"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 100_000  # columns: nothing is cut where no terminal asks for it


def console() -> Console:
    """Return a console on standard output, as wide as its terminal, or unlimited without one."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, width=None if terminal else _UNLIMITED, markup=False, highlight=False, emoji=False
    )


def printable(text: str) -> str:
    """Escape control characters, which a name out of a file may hold."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    numeric: Sequence[bool] | None = None,
    footer: Sequence[str] | None = None,
) -> None:
    """Print a table.

    Parameters
    ----------
    headings : sequence of str
    rows : iterable of sequences of str
    title : str, optional
        A line above.
    numeric : sequence of bool, optional
        Which columns hold numbers, aligned to the right and never broken; others are text, and may be
        folded. By default all but the first.
    footer : sequence of str, optional
        A last row below a rule.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_footer=footer is not None,
    )
    for index, heading in enumerate(headings):
        is_text = index == 0 if numeric is None else not numeric[index]
        table.add_column(
            Text(heading),
            Text(printable(footer[index])) if footer else "",
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    out = console()
    if title is not None:
        out.print(Text(printable(title), style="bold"), soft_wrap=True)
    out.print(table)


def say(*lines: str) -> None:
    """Print lines of text, each as long as it is."""
    for line in lines:
        click.echo(printable(line))


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document; NaN and infinities, which JSON has not, become null."""
    click.echo(json.dumps(_plain(document), indent=2, allow_nan=False))


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


# -- lines -------------------------------------------------------------------------------------


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """Say how many tensors were left out for which reason, and the first of their names."""
    from bitxcore.batch import grouped

    if not left_out:
        return []
    lines = [f"left out: {len(left_out)} tensors" if len(left_out) > 1 else "left out: 1 tensor"]
    for reason, names in grouped(dict(left_out)).items():
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        lines.append(f"  {len(names)} × {reason}: {shown}")
    return lines


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
