"""Mean average precision of a detector: pycocotools matches boxes and accumulates them, as COCO does.

Two steps, so that a score of other images, drawn again, needs no other matching: `matched` makes a record of
each image, `coco_precision` makes the score of records. `precisions_of_draws` is the second step for
thousands of draws of images, for which COCOeval's loops over boxes and recalls are too slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import MissingExtraError
from hwmodel.evaluation.detections import Detections, stacked

_RECALLS = np.linspace(0, 1, 101)
_TRUTH = -1.0  # in place of a score: an object that is there
_ALL_AREAS = ((-np.inf, np.inf),)

Truth = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
"""Boxes ``(objects, 4)`` and classes ``(objects,)`` of one image."""

Array = npt.NDArray[Any]


def matched(boxes: Array, objects: Array, overlaps: Sequence[float] = (0.5,)) -> npt.NDArray[np.float64]:
    """Match the boxes of each image with its objects, by COCOeval; none is left out for its size or number.

    Parameters
    ----------
    boxes : float array (images, boxes, 6)
        Left, top, right and bottom edge, score, class; below 0, a class is none.
    objects : float array (images, objects, 5)
        The same without score.
    overlaps : sequence of float
        Intersections over union from which a box is right.

    Returns
    -------
    float64 array (images, boxes + objects, 2 + overlaps)
        Class, score, and whether the box is right at each overlap; an object has -1 for its score.

    Raises
    ------
    MissingExtraError
        If pycocotools is missing.
    """
    count, slots = boxes.shape[:2]
    found = np.full((count, slots + objects.shape[1], 2 + len(overlaps)), -1.0)
    found[:, :slots, 0], found[:, slots:, 0] = boxes[:, :, 5], objects[:, :, 4]
    found[:, :slots, 1], found[:, slots:, 1] = boxes[:, :, 4], _TRUTH
    hits = np.zeros((count * slots, len(overlaps)))
    labels = _labels(found)
    with _evaluator(count, labels, overlaps, slots) as evaluator:
        evaluator.cocoGt, evaluator.cocoDt = (_annotated(x, count, labels) for x in (objects, boxes))
        evaluator.evaluate()
        for one in evaluator.evalImgs:
            if one is not None:
                # Identifiers count from 1; that of an unmatched box's object is 0.
                hits[np.array(one["dtIds"], np.int64) - 1] = one["dtMatches"].T > 0
    found[:, :slots, 2:] = hits.reshape(count, slots, len(overlaps))
    found[:, :slots, 2:][boxes[:, :, 5] < 0] = -1
    return found


def coco_precision(records: Array) -> float:
    """Average the precision over classes with objects, recalls of 0, 0.01, … 1 and overlaps, by COCOeval.

    Parameters
    ----------
    records : float array (images, rows, 2 + overlaps)
        Of `matched`; an image that occurs several times counts as often.

    Returns
    -------
    float
        0 to 1; NaN if no image has an object.

    Raises
    ------
    MissingExtraError
        If pycocotools is missing.
    """
    labels = _labels(records)
    with _evaluator(len(records), labels, range(records.shape[2] - 2), records.shape[1]) as evaluator:
        evaluator.evalImgs = [_evaluated(image, label) for label in labels for image in records]
        evaluator.accumulate()
        precision: Array = evaluator.eval["precision"]
    precision = precision[precision > -1]  # that of classes without objects
    return float(precision.mean()) if precision.size else float("nan")


def precisions_of_draws(records: Array, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Give `coco_precision` of each of several draws ``(draws, images)`` of records, given by their places.

    Boxes are ranked once, and count as often as their image was drawn. It is `coco_precision` of each draw,
    but for boxes of one class and one score in two images: these are ranked by image, and not as they were
    drawn.
    """
    times = np.stack([np.bincount(draw, minlength=len(records)) for draw in draws]).astype(np.float64)
    rows = records.reshape(-1, records.shape[-1])
    images = np.repeat(np.arange(len(records)), records.shape[1])
    order = np.argsort(-rows[:, 1], kind="stable")
    sums, counts = np.zeros(len(draws)), np.zeros(len(draws))
    is_object = rows[:, 1] == _TRUTH
    for label in np.unique(rows[is_object & (rows[:, 0] >= 0), 0]):
        objects = times[:, images[is_object & (rows[:, 0] == label)]].sum(axis=1)
        own = order[(rows[order, 0] == label) & ~is_object[order]]
        weights = times[:, images[own]]
        ranks = weights.cumsum(axis=1)
        for hits in rows[own, 2:].T > 0:
            averages = average_precisions(weights[:, hits], ranks[:, hits], objects)
            sums += np.where(objects > 0, averages, 0)
            counts += objects > 0
    scores: npt.NDArray[np.float64] = np.full(len(draws), np.nan)
    np.divide(sums, counts, out=scores, where=counts > 0)
    return scores


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

    Raises
    ------
    MissingExtraError
        If pycocotools is missing.

    Examples
    --------
    >>> boxes, classes = np.array([[0, 0, 4, 4], [6, 6, 9, 9]], np.float32), np.array([1, 1])
    >>> one = Detections(boxes[:1], np.ones(1, np.float32), classes[:1])
    >>> round(mean_average_precision([one], [(boxes, classes)]), 4)
    0.505
    """
    objects = np.full((len(truths), max((len(classes) for _, classes in truths), default=0), 5), -1.0)
    for row, (boxes, classes) in zip(objects, truths, strict=True):
        row[: len(boxes), :4], row[: len(boxes), 4] = boxes, classes
    limit = max((len(one.scores) for one in found), default=0)
    return coco_precision(matched(stacked(list(found), limit), objects, (overlap,)))


# -- pycocotools -------------------------------------------------------------------------------


@contextmanager
def _evaluator(images: int, labels: list[float], overlaps: Sequence[float], limit: int) -> Iterator[Any]:
    """Make a COCOeval for so many images, without what it prints."""
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtraError("pycocotools", "evaluation") from error
    with redirect_stdout(StringIO()):
        evaluator = COCOeval(iouType="bbox")
        parameters = evaluator.params
        parameters.imgIds, parameters.catIds = list(range(images)), labels
        parameters.iouThrs = np.array(overlaps, np.float64)
        parameters.recThrs = _RECALLS
        parameters.areaRng, parameters.areaRngLbl = _ALL_AREAS, ["all"]
        parameters.maxDets = [limit]
        evaluator._paramsEval = parameters  # as `evaluate` leaves them for `accumulate`
        yield evaluator


def _labels(records: Array) -> list[float]:
    return sorted({label for label in records[:, :, 0].ravel().tolist() if label >= 0})


def _annotated(boxes: Array, images: int, labels: list[float]) -> Any:
    """Give boxes or objects of all images, as `matched` takes them, to pycocotools."""
    from pycocotools.coco import COCO

    annotations = []
    for place, (left, top, right, bottom, *score, label) in enumerate(
        boxes.reshape(-1, boxes.shape[2]).tolist()
    ):
        if label >= 0:
            sides = right - left, bottom - top
            annotations.append(
                {
                    "id": place + 1,
                    "image_id": place // boxes.shape[1],
                    "category_id": label,
                    "bbox": [left, top, *sides],
                    "area": sides[0] * sides[1],
                    "iscrowd": 0,
                    "score": score[0] if score else None,
                }
            )
    made = COCO()
    made.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }
    made.createIndex()
    return made


def _evaluated(rows: Array, label: float) -> dict[str, Any] | None:
    """Give the records of one image and class as `COCOeval.evaluate` leaves them."""
    rows = rows[rows[:, 0] == label]
    if not len(rows):
        return None
    is_object = rows[:, 1] == _TRUTH
    boxes = rows[~is_object]
    boxes = boxes[np.argsort(-boxes[:, 1], kind="stable")]
    hits = boxes[:, 2:].T > 0
    return {
        "dtScores": boxes[:, 1],
        "dtMatches": hits,
        "dtIgnore": np.zeros_like(hits),
        "gtIgnore": np.zeros(int(is_object.sum())),
    }
