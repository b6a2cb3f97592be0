"""Intervals hold the truth as often as they say, and p-values are uniform where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest

from hwmodel.evaluation import Estimate, estimate, metric
from hwmodel.evaluation.metrics import Ratio


class Mean(Ratio):
    """Mean of the outputs."""

    name = "mean"

    def records(self, outputs, targets):
        return np.stack([outputs, np.ones_like(outputs)], axis=1)


def hits(values):
    return np.stack([values, np.ones(len(values))], axis=1).astype(float)


def test_the_same_seed_gives_the_same_estimate():
    rng = np.random.default_rng(1)
    some, other = hits(rng.random(50) < 0.8), hits(rng.random(50) < 0.9)
    first = estimate(metric("top1"), some, other, resamples=50)
    assert first == estimate(metric("top1"), some, other, resamples=50)
    assert first != estimate(metric("top1"), some, other, resamples=50, seed=1)
    assert first.difference == pytest.approx(some[:, 0].mean() - other[:, 0].mean())
    assert first.low <= first.value <= first.high


def test_p_by_hand():
    # Five samples get worse. Exchanged at random, all five differ in one direction in 2 of 32 ways.
    before, after = hits(np.ones(40)), hits(np.arange(40) >= 5)
    found = estimate(metric("top1"), after, before, resamples=4000)
    assert found.p_value == pytest.approx(2 / 32, abs=0.012)
    assert found.difference == pytest.approx(-5 / 40)
    assert found.difference_high < 0
    same = estimate(metric("top1"), before, before, resamples=10)
    assert same == Estimate(1, 1, 1, 0, 0, 0, 1)


def test_one_sample_and_scores_of_nothing():
    found = estimate(metric("top1"), hits([1]), hits([0]), resamples=10)
    assert (found.low, found.high, found.difference) == (1, 1, 1)
    assert found.p_value == 1  # one sample can't tell


@pytest.mark.slow
def test_intervals_hold_the_truth_at_their_rate():
    """Of 95 % intervals of 1000 synthetic data sets, 95 % within what 1000 and the bootstrap leave open."""
    rng = np.random.default_rng(2021)
    sets, samples, before, loss = 1000, 250, 0.85, 0.05
    held = np.zeros(2)
    for number in range(sets):
        right = rng.random(samples) < before
        lost = right & (rng.random(samples) < loss / before)
        found = estimate(metric("top1"), hits(right & ~lost), hits(right), seed=number, resamples=400)
        held += [
            found.low <= before - loss <= found.high,
            found.difference_low <= -loss <= found.difference_high,
        ]
    assert np.all(held / sets > 0.925), held / sets
    assert np.all(held / sets < 0.97), held / sets


@pytest.mark.slow
def test_p_values_are_uniform_where_nothing_differs():
    from scipy.stats import kstest

    rng = np.random.default_rng(2022)
    found = []
    for number in range(500):
        shared = rng.normal(size=60)  # samples that are hard for one model are so for the other
        some, other = (shared + rng.normal(size=60) for _ in range(2))
        scorer = Mean()
        records = [scorer.records(values, values) for values in (some, other)]
        found.append(estimate(scorer, *records, seed=number, resamples=399).p_value)
    assert kstest(found, "uniform").pvalue > 0.01
    assert 0.03 < np.mean(np.array(found) <= 0.05) < 0.075
