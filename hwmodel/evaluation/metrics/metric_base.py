"""What a metric is, and finding one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.found_by_name import FoundByName

METRICS = {
    "top1": "hwmodel.evaluation.metrics.classification:Top1",
    "top5": "hwmodel.evaluation.metrics.classification:Top5",
    "agreement": "hwmodel.evaluation.metrics.agreement:Agreement",
    "cosine": "hwmodel.evaluation.metrics.agreement:Cosine",
    "spearman": "hwmodel.evaluation.metrics.rank_correlation:Spearman",
    "exact_lines": "hwmodel.evaluation.metrics.text_lines:ExactLines",
    "cer": "hwmodel.evaluation.metrics.text_lines:CharacterErrors",
    "bits_per_character": "hwmodel.evaluation.metrics.language:BitsPerCharacter",
    "map50": "hwmodel.evaluation.metrics.detection:MeanAveragePrecision50",
    "map": "hwmodel.evaluation.metrics.detection:MeanAveragePrecision",
}
"""Metrics of this package, by name."""

_FOUND = FoundByName("metric", "bitx.metrics", METRICS)

Array = npt.NDArray[Any]


class Metric(ABC):
    """A score of a model's outputs on a set of samples.

    Attributes
    ----------
    name : str
        As tables have it.
    unit : str
        ``"1"`` for shares.
    against : {"labels", "unpruned"}
        Reference of the outputs. A score against the unpruned model says how much outputs changed, not how
        good they are.
    higher_is_better : bool
    is_share : bool
        Whether tables show it in percent, and losses in points.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "1"
    against: ClassVar[str] = "labels"
    higher_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = False

    @abstractmethod
    def records(self, outputs: Array, targets: Array) -> Array:
        """Turn samples into records.

        Parameters
        ----------
        outputs : ndarray, shape (samples, ...)
            Of the model.
        targets : ndarray, shape (samples, ...)
            Labels, or the unpruned model's outputs.

        Returns
        -------
        ndarray, shape (samples, ...)
        """

    @abstractmethod
    def total(self, records: Array) -> float:
        """Turn records, each as often as it was drawn, into the score."""

    def totals(self, records: Array, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Score each of several draws ``(draws, samples)`` of records, given by their places."""
        return np.array([self.total(records[draw]) for draw in draws], np.float64)


class Ratio(Metric):
    """A metric whose records are (part, whole); the score is the sum of parts over that of wholes."""

    def total(self, records: Array) -> float:
        """Sum of parts over sum of wholes; NaN of nothing."""
        part, whole = np.asarray(records, np.float64).reshape(-1, 2).sum(axis=0)
        return float(part / whole) if whole else float("nan")

    def totals(self, records: Array, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Score all draws at once."""
        part, whole = np.asarray(records, np.float64)[draws].sum(axis=1).T
        scores: npt.NDArray[np.float64] = np.full(len(draws), np.nan)
        np.divide(part, whole, out=scores, where=whole != 0)
        return scores


def metric_names() -> list[str]:
    """Names of all metrics, sorted.

    Examples
    --------
    >>> "top1" in metric_names()
    True
    """
    return _FOUND.names()


def metric(name: str) -> Metric:
    """Make a metric.

    Parameters
    ----------
    name : str
        One of `metric_names`.

    Raises
    ------
    OptionError
        If there is none of that name.

    Examples
    --------
    >>> metric("top1").against
    'labels'
    """
    made: Metric = _FOUND.find(name)()
    return made
