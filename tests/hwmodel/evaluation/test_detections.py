"""Boxes from maps, and their mean average precision, beside plain definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitxcore.errors import TensorError
from hwmodel.evaluation.average_precision import mean_average_precision
from hwmodel.evaluation.detections import Detections, box_overlaps, decode_centres, suppress


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, x[2] - x[0]) * max(0.0, x[3] - x[1]) for x in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else 0.0


def some(generator: np.random.Generator, count: int, classes: int = 3) -> Detections:
    corners = generator.integers(0, 12, (count, 2))
    boxes = np.concatenate([corners, corners + generator.integers(0, 8, (count, 2))], axis=1)
    scores = -np.sort(-generator.permutation(64)[:count] / 64)
    return Detections(
        boxes.astype(np.float32), scores.astype(np.float32), generator.integers(0, classes, count)
    )


def plain_precision(
    found: list[Detections], truths: list[tuple[np.ndarray, np.ndarray]], least: float
) -> float:
    averages = []
    for label in {int(c) for _, classes in truths for c in classes}:
        ranked = [
            (float(score), image, box.tolist())
            for image, detections in enumerate(found)
            for box, score, own in zip(*detections, strict=True)
            if own == label
        ]
        ranked.sort(key=lambda entry: -entry[0])
        free = [[b.tolist() for b, c in zip(*truth, strict=True) if c == label] for truth in truths]
        objects = sum(map(len, free))
        points, right = [], 0
        for rank, (_, image, box) in enumerate(ranked, start=1):
            best = max(free[image], key=lambda true: overlap(box, true), default=None)
            if best is not None and overlap(box, best) >= least:
                free[image].remove(best)
                right += 1
            points.append((right / objects, right / rank))
        read = [max((p for r, p in points if r >= i / 100 - 1e-12), default=0.0) for i in range(101)]
        averages.append(sum(read) / 101)
    return sum(averages) / len(averages)


def test_overlaps_and_suppression_are_the_plain_ones() -> None:
    generator = np.random.default_rng(1)
    for _ in range(20):
        found = some(generator, 20)
        expected = [[overlap(a, b) for b in found.boxes.tolist()] for a in found.boxes.tolist()]
        np.testing.assert_allclose(box_overlaps(found.boxes, found.boxes), expected)
        kept: list[int] = []
        for i in range(20):
            if all(expected[i][j] <= 0.3 or found.classes[i] != found.classes[j] for j in kept):
                kept.append(i)
        for got, given in zip(suppress(found, 0.3), found, strict=True):
            np.testing.assert_array_equal(got, given[kept])


@pytest.mark.parametrize("least", [0.3, 0.5, 0.75])
def test_precision_is_the_plain_one(least: float) -> None:
    generator = np.random.default_rng(2)
    for _ in range(10):
        found = []
        truths = []
        scores = iter(generator.permutation(64) / np.float32(64))  # without ties
        for _ in range(4):
            one = some(generator, 12)
            order = -np.sort(-np.array([next(scores) for _ in range(12)], np.float32))
            found.append(Detections(one.boxes, order, one.classes))
            true = some(generator, 5)
            truths.append(
                (np.concatenate([one.boxes[:4], true.boxes]), np.concatenate([one.classes[:4], true.classes]))
            )
        expected = plain_precision(found, truths, least)
        assert mean_average_precision(found, truths, least) == pytest.approx(expected)


def test_precision_at_its_ends() -> None:
    true = (np.array([[0, 0, 4, 4], [8, 8, 12, 12]], np.float32), np.array([0, 1]))
    perfect = Detections(true[0], np.ones(2, np.float32), true[1])
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    no_object = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert mean_average_precision([perfect], [true]) == 1
    assert mean_average_precision([nothing], [true]) == 0
    assert mean_average_precision([perfect, perfect], [true, no_object]) == pytest.approx(1.0)
    assert math.isnan(mean_average_precision([nothing], [no_object]))
    assert math.isnan(mean_average_precision([], []))


def test_maps_are_decoded() -> None:
    centres = np.full((2, 3, 6, 8), -9.0, np.float32)
    edges = np.zeros((2, 4, 6, 8), np.float32)
    for row, column, logit in ((1, 1, 2.0), (1, 2, 1.0), (4, 6, 3.0)):  # the second is beside a higher one
        centres[0, 1, row, column] = logit
        edges[0, :, row, column] = 0.5, 1, 1.5, 2
    first, second = decode_centres(centres, edges, stride=4)
    assert first.boxes.tolist() == [[24, 14, 32, 26], [4, 2, 12, 14]]
    np.testing.assert_allclose(first.scores, 1 / (1 + np.exp([-3.0, -2.0])), rtol=1e-6)
    assert first.classes.tolist() == [1, 1]
    assert second.boxes.shape == (0, 4)
    assert len(decode_centres(centres, edges, stride=4, limit=1)[0].scores) == 1
    assert len(decode_centres(centres, edges, stride=4, score=0.9)[0].scores) == 1


def test_maps_that_do_not_fit() -> None:
    with pytest.raises(TensorError, match="do not fit each other"):
        decode_centres(np.zeros((1, 3, 4, 4)), np.zeros((1, 3, 4, 4)), stride=4)
