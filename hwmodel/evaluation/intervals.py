"""How sure a score is: bootstrap intervals, and a paired test against the unpruned model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.metrics import Metric

RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 1 << 20
"""Drawn samples that are held at once."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A score with its confidence interval.

    Attributes
    ----------
    value : float
    low, high : float
        Ends of the bootstrap's percentile interval of `LEVEL`.
    difference, difference_low, difference_high : float
        Score minus the unpruned model's, on the same samples drawn together.
    p_value : float
        p-value of a two-sided paired permutation test: the probability of a difference as large if the
        outputs of the two models were exchangeable for each sample. NaN for a score against the unpruned
        model, where no test is needed.
    """

    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float


def estimate(
    metric: Metric, records: Array, unpruned: Array, *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Estimate a score and its difference from the unpruned model's.

    Parameters
    ----------
    metric : Metric
    records, unpruned : ndarray, shape (samples, ...)
        `Metric.records` of both models, on the same samples.
    seed : int
    resamples : int
        Draws of the bootstrap, and of the permutation test.

    Examples
    --------
    >>> from hwmodel.evaluation.metrics import metric
    >>> hits = np.array([[1.0, 1.0]] * 90 + [[0.0, 1.0]] * 10)
    >>> found = estimate(metric("top1"), hits, hits)
    >>> found.value, found.difference, found.p_value
    (0.9, 0.0, 1.0)
    >>> found.low < 0.9 < found.high
    True
    """
    rng = np.random.default_rng(seed)
    count = len(records)
    difference = metric.total(records) - metric.total(unpruned)
    drawn, before = [], []
    for some in _portions(resamples, count):
        draws = rng.integers(0, count, (some, count))
        drawn.append(metric.totals(records, draws))
        before.append(metric.totals(unpruned, draws))
    scores = np.concatenate(drawn)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.nanquantile(scores, tails)
    difference_low, difference_high = np.nanquantile(scores - np.concatenate(before), tails)
    return Estimate(
        metric.total(records),
        float(low),
        float(high),
        difference,
        float(difference_low),
        float(difference_high),
        _p_value(metric, records, unpruned, difference, rng, resamples),
    )


def _portions(draws: int, count: int) -> Iterator[int]:
    """Cut draws of `count` samples into portions that take little memory."""
    most = max(1, AT_ONCE // max(1, count))
    for start in range(0, draws, most):
        yield min(most, draws - start)


def _p_value(
    metric: Metric, records: Array, unpruned: Array, difference: float, rng: np.random.Generator, draws: int
) -> float:
    """Exchange the models' records of each sample at random, and count differences as large."""
    if metric.against == "unpruned":
        return float("nan")
    if np.array_equal(records, unpruned):
        return 1.0
    count = len(records)
    both, places = np.concatenate([records, unpruned]), np.arange(count)
    as_large = 0
    for some in _portions(draws, count):
        swap = rng.integers(0, 2, (some, count)) * count
        changed = metric.totals(both, places + swap) - metric.totals(both, places + count - swap)
        # As large within rounding: sums in another order must not decide.
        as_large += int(np.count_nonzero(np.abs(changed) >= abs(difference) * (1 - 1e-9)))
    return (as_large + 1) / (draws + 1)
