"""Are objects found, where they are and for what they are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.evaluation.average_precision import coco_precision, matched, precisions_of_draws
from hwmodel.evaluation.metrics.metric_base import Array, Metric


class MeanAveragePrecision50(Metric):
    """Mean average precision over classes, by pycocotools; a box is right from an overlap of 0.5 on."""

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
            As of `matched`.

        Raises
        ------
        MissingExtraError
            If pycocotools is missing.
        """
        if outputs.ndim != 3 or outputs.shape[2] != 6 or targets.ndim != 3 or targets.shape[2] != 5:
            raise TensorError(
                "needs boxes (images, boxes, 6) and objects (images, objects, 5); the output has"
                f" {outputs.shape}, the labels have {targets.shape}"
            )
        return matched(outputs, targets, self.overlaps)

    def total(self, records: Array) -> float:
        """Rank the boxes of each class over all images; NaN if there are no objects."""
        return coco_precision(records)

    def totals(self, records: Array, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Score all draws; see `precisions_of_draws`."""
        return precisions_of_draws(records, draws)


class MeanAveragePrecision(MeanAveragePrecision50):
    """The same, averaged over overlaps of 0.5, 0.55, … 0.95, as COCO has it."""

    name: ClassVar[str] = "map"
    overlaps: ClassVar[tuple[float, ...]] = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
