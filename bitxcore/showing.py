"""Text for people: names that files hold, made harmless, and reprs that fit on a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

__all__ = ["MOST_LINES", "brief", "printable", "record_repr", "shown_lines"]

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
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 2]} …"


def record_repr(record: Any) -> str:
    """Return the repr of a dataclass, as its own would be, but short: ``__repr__ = record_repr``.

    Fields that are None are left out, and so are those with ``repr=False``.
    """
    told = {f.name: getattr(record, f.name) for f in fields(record) if f.repr}
    parts = [f"{name}={brief(value)}" for name, value in told.items() if value is not None]
    name = type(record).__name__
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _MOST_CHARACTERS:
        return line
    return "\n".join(shown_lines(f"{name}(", (f"  {part}," for part in parts), (")",)))


def shown_lines(head: str, lines: Iterable[str], tail: Iterable[str] = ()) -> list[str]:
    """Return `head`, as many of `lines` as fit into `MOST_LINES`, and `tail`; say how many are left out.

    Parameters
    ----------
    head : str
    lines, tail : iterable of str
        Each becomes at most one short line.
    """
    body, end = list(lines), list(tail)
    room = MOST_LINES - 1 - len(end)
    if len(body) > room:
        body = [*body[: room - 1], f"  … {len(body) - room + 1:,} more"]
    return [_shortened(printable(line)) for line in (head, *body, *end)]
