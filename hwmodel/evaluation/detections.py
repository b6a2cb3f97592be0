"""From a detector's maps to boxes: peaks of the centre maps, sizes at the peaks, non-maximum suppression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError

Floats = npt.NDArray[np.floating]


class Detections(NamedTuple):
    """What was found in one image, best first.

    Attributes
    ----------
    boxes : float32 array (found, 4)
        Left, top, right and bottom edge, pixels.
    scores : float32 array (found,)
        0 to 1.
    classes : int64 array (found,)
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]


def box_overlaps(some: Floats, others: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes ``(n, 4)`` with boxes ``(m, 4)``, as an array ``(n, m)``.

    Boxes without an area overlap with nothing.

    Examples
    --------
    >>> box_overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]]))
    array([[0.33333333, 0.        ]])
    """
    a, b = some[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(0).prod(axis=-1) for boxes in (a, b)]
    union = areas[0] + areas[1] - shared
    overlaps: npt.NDArray[np.float64] = np.zeros_like(shared)
    np.divide(shared, union, out=overlaps, where=union > 0)
    return overlaps


def suppress(found: Detections, overlap: float = 0.5) -> Detections:
    """Keep of every class the best boxes; a box that overlaps with a better one by more than `overlap` goes.

    Parameters
    ----------
    found : Detections
        Best first.
    overlap : float
        Intersection over union.
    """
    too_close = box_overlaps(found.boxes, found.boxes) > overlap
    too_close &= found.classes[:, None] == found.classes
    kept = np.ones(len(found.scores), np.bool_)
    for index in range(len(kept)):
        if kept[index]:
            kept[index + 1 :] &= ~too_close[index, index + 1 :]
    return Detections(found.boxes[kept], found.scores[kept], found.classes[kept])


def _peaks(scores: Floats) -> npt.NDArray[np.bool_]:
    """Where a score ``(classes, rows, columns)`` is the highest of the 3x3 cells around it."""
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.asarray(scores >= windows.max(axis=(-2, -1)))


def decode_centres(
    centres: Floats,
    edges: Floats,
    *,
    stride: int,
    score: float = 0.02,
    limit: int = 100,
    overlap: float = 0.5,
) -> list[Detections]:
    """Decode the two maps of an anchor-free detector.

    Parameters
    ----------
    centres : float array (images, classes, rows, columns)
        Logits: is the centre of an object of this class in this cell?
    edges : float array (images, 4, rows, columns)
        Distances from the middle of the cell to the left, top, right and bottom edge, in cells.
    stride : int
        Pixels per cell, each way.
    score : float
        Peaks below it are left out.
    limit : int
        Peaks per image that are looked at, the best.
    overlap : float
        As of `suppress`.

    Returns
    -------
    list of Detections
        One per image.

    Raises
    ------
    TensorError
        If the maps do not fit each other.

    Examples
    --------
    >>> centres, edges = np.full((1, 2, 3, 3), -9.0), np.ones((1, 4, 3, 3))
    >>> centres[0, 1, 2, 0] = 0.0
    >>> found = decode_centres(centres, edges, stride=4)[0]
    >>> found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()
    ([[-2.0, 6.0, 6.0, 14.0]], [0.5], [1])
    """
    if centres.ndim != 4 or edges.shape != (len(centres), 4, *centres.shape[2:]):
        raise TensorError(f"maps of centres {centres.shape} and of edges {edges.shape} do not fit each other")
    decoded = []
    for logits, distances in zip(centres.astype(np.float64), edges.astype(np.float64), strict=True):
        scores = 1 / (1 + np.exp(-logits.clip(-60, 60)))
        places = np.flatnonzero(_peaks(scores) & (scores >= score))
        places = places[np.argsort(-scores.ravel()[places], kind="stable")[:limit]]
        classes, rows, columns = np.unravel_index(places, scores.shape)
        middles = np.stack([columns, rows], axis=1) + 0.5
        far = distances[:, rows, columns].T
        boxes = np.concatenate([middles - far[:, :2], middles + far[:, 2:]], axis=1) * stride
        found = Detections(
            boxes.astype(np.float32),
            scores[classes, rows, columns].astype(np.float32),
            classes.astype(np.int64),
        )
        decoded.append(suppress(found, overlap))
    return decoded


def stacked(found: list[Detections], limit: int = 100) -> npt.NDArray[np.float32]:
    """Put what was found in images into one array, as the metrics ``map50`` and ``map`` take it.

    Parameters
    ----------
    found : list of Detections
    limit : int
        Boxes per image, the best; where there are fewer, the class of the others is -1.

    Returns
    -------
    float32 array (images, limit, 6)
        Left, top, right and bottom edge, score, class.
    """
    rows = np.zeros((len(found), limit, 6), np.float32)
    rows[:, :, 5] = -1
    for row, one in zip(rows, found, strict=True):
        count = min(len(one.scores), limit)
        row[:count, :4], row[:count, 4], row[:count, 5] = (
            one.boxes[:count], one.scores[:count], one.classes[:count],
        )  # fmt: skip
    return rows
