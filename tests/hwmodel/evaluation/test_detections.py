"""Boxes from maps, and their mean average precision, beside plain definitions."""

from __future__ import annotations

import contextlib
import io
import math
import sys

import numpy as np
import pytest

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.evaluation import metric
from hwmodel.evaluation.average_precision import mean_average_precision
from hwmodel.evaluation.detections import Detections, box_overlaps, decode_centres, stacked, suppress


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
    assert mean_average_precision([perfect], [true]) == pytest.approx(1, abs=1e-15)  # as COCO rounds it
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


def coco_figures(
    found: list[Detections], truths: list[tuple[np.ndarray, np.ndarray]], images: list[int]
) -> tuple[float, float]:
    """mAP at 0.5 and at 0.5:0.95 as COCO's own summary has them, of images that may occur several times."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")

    def entry(place: int, box: list[float], label: int, **more: float) -> dict[str, object]:
        left, top, right, bottom = box
        sides = right - left, bottom - top
        return {"image_id": place, "category_id": int(label), "bbox": [left, top, *sides], **more}

    objects, boxes = [], []
    for place, image in enumerate(images):
        for box, label in zip(*truths[image], strict=True):
            about = entry(place, box.tolist(), label, iscrowd=0, id=len(objects) + 1)
            objects.append({**about, "area": about["bbox"][2] * about["bbox"][3]})
        for box, score, label in zip(*found[image], strict=True):
            boxes.append(entry(place, box.tolist(), label, score=float(score)))
    true = coco.COCO()
    true.dataset = {
        "images": [{"id": place} for place in range(len(images))],
        "categories": [{"id": label} for label in range(3)],
        "annotations": objects,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        true.createIndex()
        evaluation = cocoeval.COCOeval(true, true.loadRes(boxes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1], evaluation.stats[0]


def test_scores_and_their_draws_are_those_of_coco() -> None:
    """Of images drawn again: by COCO's own summary, by ours, and by the fast one for all draws at once."""
    generator = np.random.default_rng(6)
    scores = -np.sort(-generator.permutation(640) / 640).reshape(64, 10)[generator.permutation(64)]
    found, truths, labels = [], [], np.full((64, 7, 5), -1.0)
    for image in range(64):
        corners, near = generator.integers(0, 40, (6, 2)), generator.integers(0, 6, 10)
        boxes = np.concatenate([corners, corners + generator.integers(6, 15, (6, 2))], axis=1)
        boxes, classes = boxes.astype(np.float32), generator.integers(0, 3, 6)
        moved = (boxes[near] + generator.integers(-1, 2, (10, 4))).astype(np.float32)
        found.append(Detections(moved, scores[image].astype(np.float32), classes[near]))
        count = int(generator.integers(0, 7))
        truths.append((boxes[:count], classes[:count]))
        labels[image, :count] = np.column_stack([*truths[-1]])
    draws = np.array([np.arange(64), *generator.integers(0, 64, (8, 64))])
    expected = [coco_figures(found, truths, draw.tolist()) for draw in draws]
    for name, figures in zip(("map50", "map"), zip(*expected, strict=True), strict=True):
        scorer = metric(name)
        records = scorer.records(stacked(found, 12), labels)
        assert 0.05 < figures[0] < 0.95
        assert [scorer.total(records[draw]) for draw in draws] == pytest.approx(figures, abs=1e-12)
        # Equal scores are those of one box only, of an image that was drawn twice.
        assert scorer.totals(records, draws) == pytest.approx(figures, abs=1e-12)


def test_no_box_is_left_out() -> None:
    """Also more boxes per image than COCO's hundred, and boxes that are turned inside out."""
    count = 150
    corners = np.arange(count) * 8.0
    boxes = np.column_stack([corners, corners, corners + 4, corners + 4])
    outputs = np.column_stack([boxes, np.linspace(1, 0.5, count), np.zeros(count)])[None]
    labels = np.column_stack([boxes, np.zeros(count)])[None]
    scorer = metric("map50")
    assert scorer.total(scorer.records(outputs, labels)) == pytest.approx(1)
    outputs[0, :75, :4] = outputs[0, :75, [2, 3, 0, 1]].T
    # The best half is wrong: at the last right box 75 of 150 are.
    assert scorer.total(scorer.records(outputs, labels)) == pytest.approx(51 / 101 / 2)


def test_a_missing_pycocotools_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(MissingExtraError, match=r"pycocotools.*bitx\[evaluation\]"):
        metric("map").records(np.zeros((1, 1, 6)), np.zeros((1, 1, 5)))
