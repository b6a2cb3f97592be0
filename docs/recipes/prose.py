"""Wrap the prose of Markdown as the pages are wrapped; tables, headings and code stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

WIDTH = 80
WHOLE_LINES = "|", "#", "<!--", "!["
"""How lines begin that are not wrapped."""
ITEM = re.compile(r" *(?:[-*]|\d+\.) ")
MARKUP = re.compile(r"(?:[-+*=|>–]|#+|\d+[.)])$")
"""A word that would be markup at the beginning of a line."""


def wrapped(text: str) -> str:
    """Break paragraphs and items of lists at 80 columns, never inside of code."""
    out: list[str] = []
    paragraph: list[str] = []
    fenced = False
    for line in text.split("\n"):
        word = line.lstrip()
        fence = word.startswith("```")
        if paragraph and (fence or not word or word.startswith(WHOLE_LINES) or ITEM.match(line)):
            out += _lines(paragraph)
            paragraph = []
        if fenced or fence or not word or word.startswith(WHOLE_LINES):
            out.append(line)
        else:
            paragraph.append(line)
        fenced ^= fence
    return "\n".join([*out, *_lines(paragraph)])


def _lines(paragraph: list[str]) -> Iterator[str]:
    if not paragraph:
        return
    item = ITEM.match(paragraph[0])
    indent = item[0] if item else re.match(" *", paragraph[0])[0]  # type: ignore[index]
    words = " ".join(line.strip() for line in paragraph).split()[item is not None :]
    line = indent + next(pieces := _with_code_whole(words))
    for piece in pieces:
        # The length of what can't begin a line counts with the word before it.
        if len(line) + 1 + len(piece) > WIDTH and not MARKUP.match(piece.split()[0]):
            yield line
            line = " " * len(indent) + piece
        else:
            line += " " + piece
    yield line


def _with_code_whole(words: list[str]) -> Iterator[str]:
    """Join words that must stay on one line: those of code, and markup with the word before it."""
    piece: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        piece.append(word)
        if " ".join(piece).count("`") % 2 == 0 and not MARKUP.match(following):
            yield " ".join(piece)
            piece = []
    if piece:
        yield " ".join(piece)
