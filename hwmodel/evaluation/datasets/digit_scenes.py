"""Scenes of handwritten digits for a detector: images, boxes and classes, the same on every machine.

The digits are scikit-learn's, 8x8 pixels with labels; the last ones are kept for the held-out scenes. They
are enlarged and placed on a grey gradient with noise. All numbers are drawn from the raw words of a PCG64,
which NumPy promises never to change, and pixels are computed in integers.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError, OptionError
from hwmodel.evaluation.datasets.draws import Draws

SIDE = 96
"""Width and height of a scene, pixels."""
SEED = 2021
TRAIN_DIGITS = 1437
"""Digits for scenes to train on; the others, 360 by later writers, are for held-out scenes."""
PARTS = ("train", "held_out")

_DIGIT = 8
_INK = 16  # the darkest value of a digit's pixel
_SIZES = (8, 24)
_COUNTS = (3, 8)
_TRIES = 20
_OVERLAP = 0.1  # of the smaller box
_BOXED_INK = 4  # a pixel with less of it is outside the box
_BACKGROUND = 110  # brightest corner
_DIGIT_LEVELS = (150, 255)
_NOISE = (4, 28)
_INVERTED = 4  # one scene in so many has dark digits


class Scene(NamedTuple):
    """One picture and what is in it.

    Attributes
    ----------
    image : uint8 array (SIDE, SIDE)
        Grey values.
    boxes : float32 array (objects, 4)
        Left, top, right and bottom edge in pixels from the upper left corner.
    classes : int64 array (objects,)
        0 to 9.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


@cache
def _digits() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Images ``(n, 8, 8)`` with values 0 to 16, and labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "evaluation") from error
    found = load_digits()
    return found.images.astype(np.int64), found.target.astype(np.int64)


def _enlarged(digit: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Bilinear copy ``(size, size)`` of a digit; values 0 to 16 times ``(2 * size) ** 2``, which is exact."""
    # The middle of pixel i is at (2i + 1) * 8 / (2 * size) - 1/2 of the digit's pixels; in 1 / (2 * size):
    place = np.clip((2 * np.arange(size) + 1) * _DIGIT - size, 0, 2 * size * (_DIGIT - 1))
    low, share = np.divmod(place, 2 * size)
    high = np.minimum(low + 1, _DIGIT - 1)
    rows = digit[low] * (2 * size - share)[:, None] + digit[high] * share[:, None]
    enlarged: npt.NDArray[np.int64] = rows[:, low] * (2 * size - share) + rows[:, high] * share
    return enlarged


def _background(draws: Draws) -> npt.NDArray[np.int64]:
    """Grey values between those drawn for the four corners."""
    corners = draws.array(0, _BACKGROUND, 4)
    forth = np.arange(SIDE)
    back = SIDE - 1 - forth
    top, bottom = (corners[i] * back + corners[i + 1] * forth for i in (0, 2))
    levels: npt.NDArray[np.int64] = (back[:, None] * top + forth[:, None] * bottom) // (SIDE - 1) ** 2
    return levels


def _is_free(box: tuple[int, ...], others: list[tuple[int, ...]]) -> bool:
    def area(left: int, top: int, right: int, bottom: int) -> int:
        return max(0, right - left) * max(0, bottom - top)

    for other in others:
        shared = area(*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
        if shared > _OVERLAP * min(area(*box), area(*other)):
            return False
    return True


def digit_scene(part: str, index: int, seed: int = SEED) -> Scene:
    """Make one scene.

    Parameters
    ----------
    part : {"train", "held_out"}
        Which digits are taken.
    index : int
        Number of the scene; a scene depends on no other.
    seed : int
        Another one gives other scenes of the same digits.

    Raises
    ------
    OptionError
        If the part is unknown.
    MissingExtraError
        If scikit-learn is missing.

    Examples
    --------
    >>> scene = digit_scene("held_out", 0)
    >>> scene.image.shape, scene.boxes.shape, scene.classes.tolist()
    ((96, 96), (8, 4), [1, 2, 9, 4, 5, 4, 4, 0])
    """
    if part not in PARTS:
        raise OptionError(f"part must be one of {', '.join(PARTS)}, not {part!r}")
    digits, labels = _digits()
    first, last = (0, TRAIN_DIGITS - 1) if part == "train" else (TRAIN_DIGITS, len(digits) - 1)
    draws = Draws(seed, PARTS.index(part), index)
    canvas = _background(draws)
    boxes: list[tuple[int, ...]] = []
    classes: list[int] = []
    for _ in range(draws.one(*_COUNTS)):
        which, size, level = draws.one(first, last), draws.one(*_SIZES), draws.one(*_DIGIT_LEVELS)
        full = _INK * (2 * size) ** 2
        ink = _enlarged(digits[which], size)
        rows, columns = (np.flatnonzero((ink * _INK >= _BOXED_INK * full).any(axis=axis)) for axis in (1, 0))
        inner = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        for _ in range(_TRIES):
            left, top = draws.array(0, SIDE - size, 2).tolist()
            box = tuple(int(edge) + at for edge, at in zip(inner, (left, top, left, top), strict=True))
            if _is_free(box, boxes):
                under = canvas[top : top + size, left : left + size]
                under += (level - under) * ink // full
                boxes.append(box)
                classes.append(int(labels[which]))
                break
    noise = draws.one(*_NOISE)
    canvas += draws.array(-noise, noise, SIDE * SIDE).reshape(SIDE, SIDE)
    image = np.clip(canvas, 0, 255).astype(np.uint8)
    if draws.one(1, _INVERTED) == 1:
        image = 255 - image
    return Scene(image, np.array(boxes, np.float32), np.array(classes, np.int64))


def digit_scenes(part: str, count: int, *, first: int = 0, seed: int = SEED) -> list[Scene]:
    """Make `count` scenes, from number `first` on; see `digit_scene`."""
    return [digit_scene(part, index, seed) for index in range(first, first + count)]


def scene_images(scenes: list[Scene]) -> npt.NDArray[np.float32]:
    """Images ``(n, 1, SIDE, SIDE)``, 0 to 1, as a network takes them."""
    return np.stack([scene.image for scene in scenes])[:, None].astype(np.float32) / np.float32(255)
