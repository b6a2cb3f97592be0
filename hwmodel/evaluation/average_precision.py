"""Mean average precision of a detector, as COCO computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.detections import Detections, box_overlaps

_RECALLS = np.linspace(0, 1, 101)

Truth = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Boxes ``(objects, 4)`` and classes ``(objects,)`` of one image."""


def matches(found: npt.NDArray[np.floating], true: npt.NDArray[np.floating], overlap: float) -> list[bool]:
    """Say of each box, best first, whether it meets a free object; it takes the one that it overlaps most.

    Parameters
    ----------
    found : float array (boxes, 4)
    true : float array (objects, 4)
    overlap : float
        Intersection over union from which a box is right.
    """
    return met(box_overlaps(found, true), overlap)


def met(overlaps: npt.NDArray[np.float64], overlap: float) -> list[bool]:
    """Say the same from overlaps ``(boxes, objects)``."""
    free = np.ones(overlaps.shape[1], np.bool_)
    hits = []
    for row in overlaps:
        best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
        hits.append(best >= 0 and bool(row[best] >= overlap))
        if hits[-1]:
            free[best] = False
    return hits


def average_precision(hits: npt.NDArray[np.bool_], objects: int) -> float:
    """Average precision of one class.

    Parameters
    ----------
    hits : bool array (boxes,)
        Whether each box is right, best first, over all images.
    objects : int
        That there are, 1 or more.
    """
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # The first box at which a recall is reached.
    places = np.searchsorted(right / objects, _RECALLS)
    return float(np.append(best, 0.0)[places.clip(max=len(best))].mean())


def average_precisions(
    times: npt.NDArray[np.float64], ranks: npt.NDArray[np.float64], objects: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Average precision of one class in several draws of images, from the boxes that are right.

    Parameters
    ----------
    times : float array (draws, right boxes)
        How often each was drawn, best first.
    ranks : float array (draws, right boxes)
        Boxes down to each, it included, wrong ones too, as often as they were drawn.
    objects : float array (draws,)
        That there are.

    Returns
    -------
    float array (draws,)
        0 where nothing is right.

    Examples
    --------
    >>> average_precisions(np.array([[1.0, 1.0]]), np.array([[1.0, 3.0]]), np.array([2.0])).round(4)
    array([0.835])
    >>> round(average_precision(np.array([True, False, True]), 2), 4)
    0.835
    """
    right = times.cumsum(axis=1)
    precision = right / np.maximum(ranks, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Precision is highest at right boxes; each counts for the recalls that it is the first to reach.
    reached = np.searchsorted(_RECALLS, right / np.maximum(objects, 1)[:, None], side="right")
    return np.asarray((best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS))


def mean_average_precision(
    found: Sequence[Detections], truths: Sequence[Truth], overlap: float = 0.5
) -> float:
    """Average precision, averaged over the classes that occur.

    Precision is read at 101 recalls from 0 to 1, each time the best at this recall or a higher one.

    Parameters
    ----------
    found : sequence of Detections
        One per image.
    truths : sequence of (boxes, classes)
        One per image.
    overlap : float
        Intersection over union from which a box is right.

    Returns
    -------
    float
        0 to 1; NaN if no image has an object.

    Examples
    --------
    >>> boxes, classes = np.array([[0, 0, 4, 4], [6, 6, 9, 9]], np.float32), np.array([1, 1])
    >>> one = Detections(boxes[:1], np.ones(1, np.float32), classes[:1])
    >>> round(mean_average_precision([one], [(boxes, classes)]), 4)
    0.505
    """
    averages = []
    for label in sorted({int(label) for _, classes in truths for label in classes}):
        hits: list[bool] = []
        scores: list[npt.NDArray[np.float32]] = []
        objects = 0
        for detections, (boxes, classes) in zip(found, truths, strict=True):
            of_label, true = detections.classes == label, boxes[classes == label]
            objects += len(true)
            hits += matches(detections.boxes[of_label], true, overlap)
            scores.append(detections.scores[of_label])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        averages.append(average_precision(np.array(hits, np.bool_)[order], objects))
    return float(np.mean(averages)) if averages else float("nan")
