"""Wrap the prose of Markdown as the pages are wrapped; tables, headings and code stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

WIDTH = 80
WHOLE_LINES = "|", "#", "<!--", "!["
"""How lines begin that are not wrapped."""
ITEM = re.compile(r" *(?:[-*]|\d+\.) ")
ATTACHED = re.compile(r"(?:[-+*=|>–×%]|#+|\d+[.)]|(?:s|ms|bits?|B|[KMG]i?B|mW|mm²|[kMG]Hz)[.,;:)]*)$")
"""A word that stays behind the one before it: a unit, or what is markup at the beginning of a line."""


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
        if len(line) + 1 + len(piece) > WIDTH:
            yield line
            line = " " * len(indent) + piece
        else:
            line += " " + piece
    yield line


def _with_code_whole(words: list[str]) -> Iterator[str]:
    """Join words that must stay on one line: those of code, and what stays behind another word."""
    piece: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        piece.append(word)
        if word != "=" and " ".join(piece).count("`") % 2 == 0 and not ATTACHED.match(following):
            yield " ".join(piece)
            piece = []
    if piece:
        yield " ".join(piece)
