"""Mean average precision of a detector, as COCO computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.detections import Detections, box_overlaps

_RECALLS = np.linspace(0, 1, 101)

Truth = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Boxes ``(objects, 4)`` and classes ``(objects,)`` of one image."""


def _matches(found: npt.NDArray[np.float32], true: npt.NDArray[np.float32], overlap: float) -> list[bool]:
    """Whether each box, best first, meets a free object; it takes the one that it overlaps most."""
    overlaps = box_overlaps(found, true)
    free = np.ones(len(true), np.bool_)
    hits = []
    for row in overlaps:
        best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
        hits.append(best >= 0 and bool(row[best] >= overlap))
        if hits[-1]:
            free[best] = False
    return hits


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
            hits += _matches(detections.boxes[of_label], true, overlap)
            scores.append(detections.scores[of_label])
        order = np.argsort(-np.concatenate(scores), kind="stable")
        right = np.cumsum(np.array(hits, np.bool_)[order])
        precision = right / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(
            right / objects, _RECALLS
        )  # the first detection at which a recall is reached
        averages.append(np.append(best, 0.0)[places.clip(max=len(best))].mean())
    return float(np.mean(averages)) if averages else float("nan")
