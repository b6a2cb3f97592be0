"""Lines of known text as pictures: two families of fonts, several sizes, blur and noise.

Texts, sizes and noise are drawn from `Draws` and are the same everywhere. Glyphs are those of Pillow's own
font (Aileron) and of OpenCV's (Hershey), which both packages carry; other versions of them may set a pixel
otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.datasets.draws import Draws

SEED = 2021
LINES = 200

_TEXT = """
able about account across afternoon answer apple arrive autumn balance basket because between bicycle
blanket bottle bridge brother butter calendar carry castle century chapter cheese circle climate collect
common copper corner country courage credit curtain daily dance december delay detail dinner distance doctor
double dozen early earth east edge eight electric empty engine evening exact example family farmer feather
figure finger flower foreign forest forty fresh friend future garden gentle glass golden grain green guest
habit handle harbour heavy height history honest hour hundred island january journey juice jungle kettle
kitchen ladder language large lemon letter light lion liquid little machine market matter meadow measure
message middle minute mirror modern month morning mountain narrow nation nature needle night nine number
object ocean office orange order other oxygen paper parcel pencil people picture planet plenty pocket powder
present price quarter question quick quiet rabbit railway rain record region rhythm river round salary
sample school season second seven shadow sheep silver simple sister sixty south sugar summer supply table
teacher tenth thirty thunder ticket timber total tower travel trouble twelve twenty under useful valley
velvet village violin visit voice volume voyage water weather wednesday weight west whisper window winter
wonder wooden yellow yesterday young zebra zero
"""
WORDS = tuple(_TEXT.split())
_SIZES = (18, 40)  # of letters, pixels
_NOISE = 14
_HERSHEY = ("FONT_HERSHEY_SIMPLEX", "FONT_HERSHEY_DUPLEX", "FONT_HERSHEY_COMPLEX", "FONT_HERSHEY_TRIPLEX")


class RenderedLine(NamedTuple):
    """A line of text and its picture.

    Attributes
    ----------
    text : str
    image : uint8 array (height, width)
        Grey values.
    """

    text: str
    image: npt.NDArray[np.uint8]


def line_text(draws: Draws) -> str:
    """Draw a text of two or three words, of a price, a date or a number."""
    words = [WORDS[draws.one(0, len(WORDS) - 1)] for _ in range(draws.one(2, 3))]
    case = draws.one(0, 3)
    if case == 1:
        words = [word.capitalize() for word in words]
    elif case == 2:
        words[0] = words[0].upper()
    kind = draws.one(0, 3)
    if kind == 1:
        words[-1] = f"{draws.one(1, 999)}.{draws.one(0, 99):02}"
    elif kind == 2:
        words[-1] = f"{draws.one(1900, 2099)}-{draws.one(1, 12):02}-{draws.one(1, 28):02}"
    elif kind == 3:
        words[-1] = f"{words[-1]} {draws.one(0, 99999)}"
    return " ".join(words)


def rendered_line(index: int, seed: int = SEED) -> RenderedLine:
    """Make one line; it depends on no other.

    Raises
    ------
    MissingExtraError
        If Pillow or OpenCV is missing.

    Examples
    --------
    >>> line = rendered_line(0)
    >>> line.text, line.image.ndim
    ('WEIGHT object fresh', 2)
    """
    try:
        from PIL import Image, ImageFilter
    except ImportError as error:
        raise MissingExtraError("pillow", "models") from error
    draws = Draws(seed, index)
    text, size = line_text(draws), draws.one(*_SIZES)
    paper, ink = draws.one(190, 255), draws.one(0, 70)
    mask = line_mask(text, size, drawn_font(draws))
    blur = draws.one(0, 6) * size / 240  # up to 1 pixel at 40
    if blur:
        mask = np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(blur)))
    levels = paper + (ink - paper) * mask.astype(np.int64) // 255
    strength = draws.one(0, _NOISE)
    levels += draws.array(-strength, strength, levels.size).reshape(levels.shape)
    image = np.clip(levels, 0, 255).astype(np.uint8)
    return RenderedLine(text, 255 - image if draws.one(0, 5) == 0 else image)


def drawn_font(draws: Draws) -> str | None:
    """Draw one of OpenCV's fonts, by name, or, twice as often, Pillow's: None."""
    return None if draws.one(0, 2) else _HERSHEY[draws.one(0, len(_HERSHEY) - 1)]


def line_mask(text: str, size: int, font: str | None) -> npt.NDArray[np.uint8]:
    """Set a line.

    Parameters
    ----------
    text : str
    size : int
        Of letters, pixels; a quarter of it is left free around the text.
    font : str or None
        Of `drawn_font`.

    Returns
    -------
    uint8 array (height, width)
        How much ink there is in each pixel.

    Raises
    ------
    MissingExtraError
        If Pillow or OpenCV is missing.
    """
    try:
        return _pillow_mask(text, size) if font is None else _hershey_mask(text, size, font)
    except ImportError as error:
        raise MissingExtraError("pillow or opencv-python", "models") from error


def _pillow_mask(text: str, size: int) -> npt.NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    margin = size // 4
    picture = Image.new("L", (right - left + 2 * margin, bottom - top + 2 * margin))
    ImageDraw.Draw(picture).text((margin - left, margin - top), text, fill=255, font=font)
    return np.asarray(picture, np.uint8)


def _hershey_mask(text: str, size: int, name: str) -> npt.NDArray[np.uint8]:
    import cv2

    font, scale, thick = getattr(cv2, name), size / 30, max(1, size // 14)
    (width, height), below = cv2.getTextSize(text, font, scale, thick)
    margin = size // 4
    picture = np.zeros((height + below + 2 * margin, width + 2 * margin), np.uint8)
    cv2.putText(picture, text, (margin, margin + height), font, scale, 255, thick, cv2.LINE_AA)
    return picture
