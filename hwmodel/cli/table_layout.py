"""Tables as lines of text that fit a terminal; no number is ever broken, and no name is cut.

A table that is too wide becomes several that all begin with the same columns. Text breaks into lines at
spaces and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

__all__ = ["at_words", "lines_of_table", "natural_width"]

_BETWEEN = 2  # blank columns between two of a table
_LEFT = 1
_NARROW = 12  # text is not made narrower than this
_LINES = 4  # that a cell may take, roughly, before a table becomes several
_LONGEST_NUMBER = 26  # 64 bits with commas; longer runs of digits are names

_HANGING = 2  # of prose: indent of all lines but the first

_WORDS = re.compile(r"\s*\S+\s*|\s+")
_BREAKS = "./\\_-,:;=()[]+×|"
_ATOMS = re.compile(r"[-+]?\d+(?:[.,]\d+)*[%x]?|\D")  # numbers, else single characters


def lines_of_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: Sequence[bool],
    footer: Sequence[str] | None = None,
    keys: int = 1,
    width: int | None = None,
    rule: str = "─",
) -> Iterator[tuple[str, bool]]:
    """Lay out a table.

    Parameters
    ----------
    headings : sequence of str
        May have several lines.
    rows : iterable of sequences of str
        Of printable characters.
    text : sequence of bool
        Which columns are text: aligned to the left, and broken where they must. Others are numbers.
    footer : sequence of str, optional
        A last row below a blank line.
    keys : int
        Leading columns that every part repeats, as far as they fit into half the width and beside any other.
    width : int, optional
        Columns of the terminal; None for any number.
    rule : str
        What the line below the headings is made of.

    Yields
    ------
    (str, bool)
        A line without its end, and whether it is one of the headings.
    """
    cells = [list(row) for row in rows]
    columns = [
        _Column(heading.split("\n"), [row[i] for row in cells], footer[i] if footer else None, text[i])
        for i, heading in enumerate(headings)
    ]
    for part, widths in _parts(columns, keys, width):
        yield from _lines(part, widths, rule)
    yield "", False


def natural_width(columns: Iterable[Iterable[str]]) -> int:
    """Columns of a terminal that a table takes unbroken, from the lines of headings and the cells of each."""
    return _total([max(map(_cell_width, own), default=0) for own in columns])


@dataclass
class _Column:
    """One column: the lines of its heading, its cells, and its footer."""

    heading: list[str]
    cells: list[str]
    footer: str | None
    is_text: bool

    @cached_property
    def texts(self) -> set[str]:
        """Everything in it."""
        return {*self.heading, *self.cells, *([] if self.footer is None else [self.footer])}

    @cached_property
    def width(self) -> int:
        """Columns of a terminal that it takes unbroken."""
        return max(map(_cell_width, self.texts), default=0)

    @cached_property
    def least(self) -> int:
        """The fewest: no number in it breaks."""
        if not self.is_text or self.width <= _NARROW:
            return self.width
        numbers = {len(atom) for text in self.texts for atom in _ATOMS.findall(text)}
        return max([_NARROW, *(size for size in numbers if size <= _LONGEST_NUMBER)])


def _parts(columns: list[_Column], keys: int, width: int | None) -> Iterator[tuple[list[_Column], list[int]]]:
    """Divide columns into parts that fit, each with the widths of its columns."""
    natural = [column.width for column in columns]
    if width is None or _total(natural) <= width:
        yield columns, natural
        return
    # One table, if no text needs many lines for that.
    if widths := _narrowed(columns, width, lambda own: own // _LINES):
        yield columns, widths
        return
    least = [column.least for column in columns]
    while keys > 1 and (
        _total(least[:keys]) > width // 2 or _total([*least[:keys], max(least[keys:], default=0)]) > width
    ):
        keys -= 1
    repeated, rest = columns[:keys], columns[keys:]
    while rest:
        taken = [rest.pop(0)]
        while rest and _narrowed([*repeated, *taken, rest[0]], width, lambda own: min(own, width // 3)):
            taken.append(rest.pop(0))
        part = [*repeated, *taken]
        # Where a terminal is narrower than a name and a number, lines are longer than it is.
        yield part, _narrowed(part, width, lambda _: 0) or [column.least for column in part]


def _total(widths: Sequence[int]) -> int:
    return _LEFT + sum(widths) + _BETWEEN * (len(widths) - 1)


def _narrowed(columns: Sequence[_Column], width: int, least: Callable[[int], int]) -> list[int] | None:
    """Take from the widest texts until the columns fit; None if they then are below what is least for them.

    Parameters
    ----------
    columns : sequence of _Column
    width : int
    least : function of int
        From the width of unbroken text to the fewest columns it may get.
    """
    floors = [max(column.least, least(column.width) if column.is_text else 0) for column in columns]
    widths = [min(column.width, max(width, floor)) for column, floor in zip(columns, floors, strict=True)]
    while (excess := _total(widths) - width) > 0:
        spare = [(own, i) for i, (own, floor) in enumerate(zip(widths, floors, strict=True)) if own > floor]
        if not spare:
            return None
        widest, at = max(spare)
        second = max((own for own, i in spare if i != at), default=0)
        widths[at] = max(floors[at], widest - excess, min(second, widest - 1))
    return widths


def _lines(columns: Sequence[_Column], widths: Sequence[int], rule: str) -> Iterator[tuple[str, bool]]:
    yield "", False
    headings = [_broken(column.heading, own) for column, own in zip(columns, widths, strict=True)]
    height = max(map(len, headings))
    headings = [[""] * (height - len(lines)) + lines for lines in headings]  # at the bottom
    for line in _row(columns, widths, headings):
        yield line, True
    yield " " * _LEFT + rule * (_total(widths) - _LEFT), False
    for cells in zip(*(column.cells for column in columns), strict=True):
        broken = [_broken([cell], own) for cell, own in zip(cells, widths, strict=True)]
        for line in _row(columns, widths, broken):
            yield line, False
    footer = [column.footer for column in columns]
    if footer[0] is not None:
        yield "", False
        for line in _row(
            columns, widths, [_broken([c or ""], w) for c, w in zip(footer, widths, strict=True)]
        ):
            yield line, False


def _row(columns: Sequence[_Column], widths: Sequence[int], cells: Sequence[list[str]]) -> Iterator[str]:
    """Lines of one row, whose cells may have several."""
    for at in range(max(map(len, cells))):
        padded = []
        for column, own, lines in zip(columns, widths, cells, strict=True):
            line = lines[at] if at < len(lines) else ""
            blank = " " * (own - _cell_width(line))
            padded.append(line + blank if column.is_text else blank + line)
        yield (" " * _LEFT + (" " * _BETWEEN).join(padded)).rstrip()


# -- breaking text -----------------------------------------------------------------------------


def _broken(lines: Iterable[str], width: int) -> list[str]:
    """Break text into lines of at most `width`."""
    return [part for line in lines for part in _filled(_pieces(line, width), width)]


def at_words(line: str, width: int | None) -> list[str]:
    """Break a line of prose at spaces only, so that paths and names stay whole; later lines are indented."""
    if width is None or _cell_width(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    first, *rest = _filled(_WORDS.findall(line.lstrip()), max(width - len(indent) - _HANGING, 1))
    return [indent + first, *(" " * _HANGING + indent + part for part in rest)]


def _filled(pieces: Iterable[str], width: int) -> list[str]:
    found = [""]
    for piece in pieces:
        if found[-1] and _cell_width(found[-1] + piece.rstrip()) > width:
            found.append("")
        found[-1] += piece if found[-1] else piece.lstrip()
    return [line.rstrip() for line in found]


def _pieces(text: str, width: int) -> Iterator[str]:
    """Parts of a text between which lines may end: words, or, of those that are too long, what fits."""
    if _cell_width(text) <= width:
        yield text
        return
    for word in _WORDS.findall(text):
        if _cell_width(word.rstrip()) <= width:
            yield word
            continue
        start = 0
        for end in range(1, len(word) + 1):
            if end == len(word) or _may_break(word[end - 1], word[end]):
                yield from _atoms(word[start:end], width)
                start = end


def _atoms(piece: str, width: int) -> Iterator[str]:
    if _cell_width(piece.rstrip()) <= width:
        yield piece
        return
    for atom in _ATOMS.findall(piece):
        yield from [atom] if len(atom) <= width else atom


def _may_break(before: str, after: str) -> bool:
    """Whether a line may end between two characters: after punctuation that is not of a number."""
    return before in _BREAKS and after not in _BREAKS and not (before in ".,+-" and after.isdecimal())


def _cell_width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
