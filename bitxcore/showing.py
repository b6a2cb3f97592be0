"""Text for people: names that files hold, made harmless, and reprs that fit on a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

__all__ = ["MOST_LINES", "brief", "cell_text", "printable", "record_repr", "table_repr"]

MOST_LINES = 20
"""Of a repr."""

_MOST_CHARACTERS = 160  # of a line
_MOST_ITEMS = 6  # of a sequence or a mapping


def printable(text: str) -> str:
    r"""Escape all that a terminal would obey or hide.

    Names of tensors, layers and files may hold anything. Control characters, line breaks, marks of direction
    and characters without a shape become escapes, as Python writes them.

    Examples
    --------
    >>> printable("conv\x1b[2J\n\u202e1")
    'conv\\x1b[2J\\n\\u202e1'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def brief(value: Any) -> str:
    """Write a value in at most one line: arrays by dtype and shape, long sequences by their ends and length.

    Examples
    --------
    >>> brief(list(range(1000)))
    '[0, 1, 2, 3, 4, 5, … 1,000 in all]'
    """
    return _shortened(_brief(value))


def _brief(value: Any, depth: int = 0) -> str:
    if isinstance(value, str):
        return repr(_shortened(value))
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape != ():
        return f"<{value.dtype} {tuple(value.shape)}>"
    if isinstance(value, Mapping) and not hasattr(value, "path"):
        if depth > 1:
            return f"{{… {len(value):,}}}"
        some = (f"{key!r}: {_brief(value[key], depth + 1)}" for key, _ in zip(value, range(_MOST_ITEMS)))  # noqa: B905
        return f"{{{_listed(some, len(value))}}}"
    if type(value) in (list, tuple):
        if depth > 1:
            return f"[… {len(value):,}]"
        first, last = "()" if isinstance(value, tuple) else "[]"
        comma = "," if first == "(" and len(value) == 1 else ""
        return (
            f"{first}{_listed((_brief(v, depth + 1) for v in value[:_MOST_ITEMS]), len(value))}{comma}{last}"
        )
    return printable(repr(value)).replace("\\n", " ")


def _listed(some: Iterable[str], count: int) -> str:
    return ", ".join([*some, *([f"… {count:,} in all"] if count > _MOST_ITEMS else [])])


def _shortened(line: str) -> str:
    if len(line) <= _MOST_CHARACTERS:
        return line
    cut = line[: _MOST_CHARACTERS - 2]
    return f"{cut.rpartition(' ')[0] or cut} …"  # between words, so that no number looks smaller


def record_repr(record: Any, *names: str, **also: Any) -> str:
    """Return the repr of a record, short: ``__repr__ = record_repr`` in a dataclass.

    Parameters
    ----------
    record : object
    *names : str
        Attributes to tell; by default the fields of a dataclass, but for those with ``repr=False``. Those
        that are None are left out.
    **also
        What else to tell, or to tell in place of an attribute.
    """
    names = names or tuple(f.name for f in fields(record) if f.repr)
    told = {name: getattr(record, name, None) for name in names if name not in also} | also
    parts = [f"{name}={brief(value)}" for name, value in told.items() if value is not None]
    title = type(record).__name__
    line = f"{title}({', '.join(parts)})"
    if len(line) <= _MOST_CHARACTERS:
        return line
    return "\n".join(_fitted(f"{title}(", [f"    {part}," for part in parts], [")"]))


def table_repr(head: str, rows: Iterable[Mapping[str, Any]], *tail: str) -> str:
    """Return the repr of a result that has rows: as many as fit, in columns.

    Parameters
    ----------
    head : str
        What it is; the first line.
    rows : iterable of mappings
        All with the same keys. Columns in which all is None are left out.
    *tail : str
        Last lines.

    Examples
    --------
    >>> print(table_repr("Found: 2 layers", [{"layer": "a", "cycles": 1200}, {"layer": "bc", "cycles": 7}]))
    Found: 2 layers
    layer  cycles
    a       1,200
    bc          7
    """
    listed = list(rows)
    names = [name for name in (listed[0] if listed else ()) if any(row[name] is not None for row in listed)]
    cells = [[cell_text(row[name]) for name in names] for row in listed]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    text = [all(isinstance(row[name], (str, type(None))) for row in listed) for name in names]
    lines = [
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, text, strict=True)
        ).rstrip()
        for line in ([names, *cells] if cells else [])
    ]
    return "\n".join(_fitted(head, lines, tail))


def cell_text(value: Any) -> str:
    """Write one value of a table: a dash for None, thousands apart, four digits of fractions.

    Examples
    --------
    >>> [cell_text(value) for value in (None, 1234567, 0.123456, "conv1")]
    ['-', '1,234,567', '0.1235', 'conv1']
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return printable(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _fitted(head: str, body: Sequence[str], tail: Sequence[str]) -> list[str]:
    """Head, as many lines of the body as fit into `MOST_LINES`, and tail; say how many are left out."""
    room = MOST_LINES - 1 - len(tail)
    left_out = [f"    … {len(body) - room + 1:,} more"] if len(body) > room else []
    shown = [head, *body[: room - len(left_out)], *left_out, *tail]
    return [_shortened(printable(line)) for line in shown]
