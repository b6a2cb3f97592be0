"""Pages of known lines as pictures: one column or two, turned and slanted a little, with blur and noise.

Words and fonts are those of `rendered_lines`. Texts, sizes, places and noise are drawn from `Draws` and are
the same everywhere; other versions of Pillow and OpenCV may set a pixel otherwise.

Lines are short, as those of lists and receipts, and words are set two spaces apart. This is a choice for the
recogniser, unpruned: it was trained on pictures 320 pixels wide, and drops narrow spaces from wider ones. Of
the same pages with the texts of `rendered_lines` it has 70 of 312 lines exactly, and nearly all that it
misses are spaces; such a score would say little about pruning.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.datasets.draws import Draws
from hwmodel.evaluation.datasets.rendered_lines import WORDS, drawn_font, line_mask

SEED = 2021
PAGES = 40
SIDE = 736
"""Width and height of a page, pixels: the smallest that the detector's package does not enlarge."""

_STREAM = 1  # so that pages draw no text of a line
_MARGIN = 48
_GUTTER = 40  # between two columns
_TWO_COLUMNS = 4  # one page in so many
_LINES = ((6, 10), (3, 5))  # of a page with one column, and per column of two
_SIZES = ((18, 34), (18, 24))  # of letters, pixels; a line that is too wide is set smaller
_PITCH = (46, 90)  # from line to line, pixels
_INDENT = 40
_SLOPE = 30  # thousandths of a pixel that a line falls or rises per pixel
_SLANT = 60  # the same of an upright, sideways
_BLUR = 6  # eighths of a pixel
_NOISE = 14


class RenderedPage(NamedTuple):
    """Lines of text and their picture.

    Attributes
    ----------
    lines : tuple of str
        From top to bottom, the left column first.
    image : uint8 array (SIDE, SIDE)
        Grey values.
    """

    lines: tuple[str, ...]
    image: npt.NDArray[np.uint8]


def entry_text(draws: Draws) -> str:
    """Draw a date, a word, or a word with another one, a price or a number."""
    words = [WORDS[draws.one(0, len(WORDS) - 1)] for _ in range(2)]
    case, kind = draws.one(0, 3), draws.one(0, 4)
    if case == 1:
        words = [word.capitalize() for word in words]
    elif case == 2:
        words[0] = words[0].upper()
    second = ("", words[1], f"{draws.one(1, 999)}.{draws.one(0, 99):02}", str(draws.one(0, 99999)))
    date = f"{draws.one(1900, 2099)}-{draws.one(1, 12):02}-{draws.one(1, 28):02}"
    return date if kind == len(second) else f"{words[0]} {second[kind]}".rstrip()


def rendered_page(index: int, seed: int = SEED) -> RenderedPage:
    """Make one page; it depends on no other.

    Raises
    ------
    MissingExtraError
        If Pillow or OpenCV is missing.

    Examples
    --------
    >>> page = rendered_page(0)
    >>> page.image.shape, len(page.lines), page.lines[0]
    ((736, 736), 7, 'Market 1353')
    """
    try:
        from PIL import Image, ImageFilter
    except ImportError as error:
        raise MissingExtraError("pillow", "models") from error
    draws = Draws(seed, _STREAM, index)
    columns = 2 if draws.one(1, _TWO_COLUMNS) == 1 else 1
    count, font = draws.one(*_LINES[columns - 1]), drawn_font(draws)
    paper, ink = draws.one(190, 255), draws.one(0, 70)
    pitch = draws.one(_PITCH[0], min(_PITCH[1], (SIDE - 2 * _MARGIN) // count))
    width = (SIDE - 2 * _MARGIN - (columns - 1) * _GUTTER) // columns
    mask = np.zeros((SIDE, SIDE), np.uint8)
    lines = []
    for place in range(columns * count):
        column, row = divmod(place, count)
        text, size, indent = entry_text(draws), draws.one(*_SIZES[columns - 1]), draws.one(0, _INDENT)
        spaced = text.replace(" ", "  ")
        line = line_mask(spaced, size, font)
        if line.shape[1] > width:
            line = line_mask(spaced, size * width // line.shape[1], font)
        left = _MARGIN + column * (width + _GUTTER) + min(indent, max(0, width - line.shape[1]))
        top = _MARGIN + row * pitch
        part = mask[top : top + line.shape[0], left : left + line.shape[1]]
        np.maximum(part, line, out=part)
        lines.append(text)
    slope, slant = draws.one(-_SLOPE, _SLOPE) / 1000, draws.one(-_SLANT, _SLANT) / 1000
    half = SIDE / 2  # the middle stays
    affine = (1, slant, -slant * half, slope, 1, -slope * half)
    picture = Image.fromarray(mask).transform(
        (SIDE, SIDE), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
    )
    mask = np.asarray(picture.filter(ImageFilter.GaussianBlur(draws.one(0, _BLUR) / 8)))
    levels = paper + (ink - paper) * mask.astype(np.int64) // 255
    strength = draws.one(0, _NOISE)
    levels += draws.array(-strength, strength, levels.size).reshape(levels.shape)
    image = np.clip(levels, 0, 255).astype(np.uint8)
    return RenderedPage(tuple(lines), 255 - image if draws.one(0, 5) == 0 else image)
