"""Are objects found, where they are and for what they are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.evaluation.average_precision import average_precision, average_precisions, met
from hwmodel.evaluation.detections import box_overlaps
from hwmodel.evaluation.metrics.metric_base import Array, Metric

_TRUTH = -1.0  # in place of a score: an object that is there


class MeanAveragePrecision50(Metric):
    """Mean average precision over classes; a box is right from an overlap of 0.5 on."""

    name: ClassVar[str] = "map50"
    is_share: ClassVar[bool] = True
    overlaps: ClassVar[tuple[float, ...]] = (0.5,)

    def records(self, outputs: Array, targets: Array) -> Array:
        """Match the boxes of each image with its objects.

        Parameters
        ----------
        outputs : ndarray, shape (images, boxes, 6)
            Left, top, right and bottom edge, score, class; below 0, a class is none.
        targets : ndarray, shape (images, objects, 5)
            The same without score.

        Returns
        -------
        ndarray, shape (images, boxes + objects, 2 + overlaps)
            Class, score, and whether the box is right at each overlap; an object has -1 for its score.
        """
        if outputs.ndim != 3 or outputs.shape[2] != 6 or targets.ndim != 3 or targets.shape[2] != 5:
            raise TensorError(
                "needs boxes (images, boxes, 6) and objects (images, objects, 5); the output has"
                f" {outputs.shape}, the labels have {targets.shape}"
            )
        boxes, objects = outputs.shape[1], targets.shape[1]
        found = np.full((len(outputs), boxes + objects, 2 + len(self.overlaps)), -1.0)
        for image, (given, true) in enumerate(zip(outputs, targets, strict=True)):
            found[image, :boxes, 0], found[image, boxes:, 0] = given[:, 5], true[:, 4]
            found[image, :boxes, 1], found[image, boxes:, 1] = given[:, 4], _TRUTH
            for label in np.unique(given[given[:, 5] >= 0, 5]):
                own = np.flatnonzero(given[:, 5] == label)
                own = own[np.argsort(-given[own, 4], kind="stable")]
                overlaps = box_overlaps(given[own, :4], true[true[:, 4] == label, :4])
                for place, overlap in enumerate(self.overlaps, start=2):
                    found[image, own, place] = met(overlaps, overlap)
        return found

    def total(self, records: Array) -> float:
        """Rank the boxes of each class over all images; NaN if there are no objects."""
        rows = records.reshape(-1, records.shape[-1])
        rows = rows[rows[:, 0] >= 0]
        objects, boxes = rows[rows[:, 1] == _TRUTH, 0], rows[rows[:, 1] != _TRUTH]
        boxes = boxes[np.argsort(-boxes[:, 1], kind="stable")]
        averages = []
        for label, count in zip(*np.unique(objects, return_counts=True), strict=True):
            hits = boxes[boxes[:, 0] == label, 2:] > 0
            averages += [average_precision(column, int(count)) for column in hits.T]
        return float(np.mean(averages)) if averages else float("nan")

    def totals(self, records: Array, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Score all draws; boxes are ranked once, and count as often as their image was drawn.

        It is `total` of each draw, but for boxes of one class and one score in two images: these are ranked
        by image, and not as they were drawn.
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


class MeanAveragePrecision(MeanAveragePrecision50):
    """The same, averaged over overlaps of 0.5, 0.55, … 0.95, as COCO has it."""

    name: ClassVar[str] = "map"
    overlaps: ClassVar[tuple[float, ...]] = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
