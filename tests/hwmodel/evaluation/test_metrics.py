"""Each metric on samples that are scored by hand."""

from __future__ import annotations

import math
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitxcore.errors import MissingExtraError, OptionError, TensorError
from hwmodel.evaluation import found_by_name, metric, metric_names
from hwmodel.evaluation.average_precision import mean_average_precision
from hwmodel.evaluation.detections import Detections, stacked
from hwmodel.evaluation.metrics.text_lines import edit_distance, fewest_edits


def score(name, outputs, targets):
    found = metric(name)
    return found.total(found.records(np.asarray(outputs), np.asarray(targets)))


def test_top1_and_top5_by_hand():
    outputs = [[0.1, 0.9, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0], [0, 0, 0, 0, 0, 1.0], [2, 2, 0, 0, 0, 0]]
    assert score("top1", outputs, [1, 4, 0, 0]) == 0.5  # of two largest the first counts
    assert score("top5", outputs, [1, 4, 4, 1]) == 0.75  # class 4 of the third sample: 0 ... 3 come first
    with pytest.raises(TensorError, match="label 6 of sample 1 is no class: the model has 6"):
        score("top1", outputs, [0, 6, 0, 0])
    with pytest.raises(TensorError, match=r"one score per class.*\(4,\)"):
        score("top1", [1, 2, 3, 4], [0, 0, 0, 0])


def test_agreement_and_cosine_by_hand():
    assert score("agreement", [[1, 2], [3, 1]], [[0, 9], [0, 1]]) == 0.5
    places = np.array([[[1, 2], [3, 1]], [[1, 2], [1, 2]]])  # two answers per sample
    assert score("agreement", places, places[::-1]) == 0.5
    assert score("cosine", [[1.0, 0], [0, 2.0]], [[3.0, 0], [2.0, 2.0]]) == pytest.approx(
        (1 + math.sqrt(0.5)) / 2
    )
    assert score("cosine", [[0.0, 0], [0, 0]], [[0.0, 0], [1, 0]]) == 0.5


def test_lines_by_hand():
    read, there = ["kitten", "to be", ""], ["sitting", "to be", "or"]
    assert score("exact_lines", read, there) == pytest.approx(1 / 3)
    assert score("cer", read, there) == pytest.approx((3 + 0 + 2) / (7 + 5 + 2))
    with pytest.raises(TensorError, match="one line of text per sample"):
        score("cer", [[1.0, 2.0]], ["a"])


def test_lines_of_pages_by_hand():
    there = ["one\ntwo\nthree", "four\nfive", "six", "a\na"]
    read = ["three\none", "five\nfour\nnoise", "", "a"]
    # Whatever their order; missed: two, six and an a. What was invented is no line that is there.
    assert score("exact_lines", read, there) == pytest.approx((2 + 2 + 0 + 1) / 8)
    assert score("cer", read, there) == pytest.approx((3 + 5 + 3 + 1) / (11 + 8 + 3 + 2))
    assert score("cer", ["abd\nxyz"], ["xya\nabc"]) == pytest.approx((1 + 1) / 6)


@given(*[st.lists(st.text("ab", max_size=3), min_size=1, max_size=4)] * 2)
def test_lines_are_matched_with_the_fewest_edits(read, there):
    size = max(len(read), len(there))
    some, other = (lines + [""] * (size - len(lines)) for lines in (read, there))
    edits = [
        (sum(map(plain_distance, order, other)), -sum(map(str.__eq__, order, other)))
        for order in permutations(some)
    ]
    assert fewest_edits(read, there) == min(edits)[0]
    # Equal lines are matched there as well.
    exact = -min(edits)[1] - min(some.count(""), other.count("")) + min(read.count(""), there.count(""))
    found = metric("exact_lines").records(np.array(["\n".join(read)]), np.array(["\n".join(there)]))
    assert found.tolist() == [[exact, len(there)]]


def test_a_missing_rapidfuzz_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    with pytest.raises(MissingExtraError, match=r"rapidfuzz.*bitx\[evaluation\]"):
        score("cer", ["a"], ["b"])


def plain_distance(some, other):
    if not some or not other:
        return len(some) + len(other)
    return min(
        plain_distance(some[1:], other) + 1,
        plain_distance(some, other[1:]) + 1,
        plain_distance(some[1:], other[1:]) + (some[0] != other[0]),
    )


@given(st.text("ab☃", max_size=5), st.text("ab☃", max_size=5))
def test_edit_distance_is_its_definition(some, other):
    assert edit_distance(some, other) == plain_distance(some, other)


def test_spearman_by_hand():
    # Ranks 1 2 3 4 and 1 2 4 3: 1 - 6 * (0 + 0 + 1 + 1) / (4 * 15).
    assert score("spearman", [0.1, 0.2, 0.4, 0.3], [1.0, 2.0, 3.0, 4.0]) == pytest.approx(0.8)
    assert score("spearman", [[1.0], [2.0], [2.0]], [[5.0], [6.0], [6.0]]) == pytest.approx(1)
    assert math.isnan(score("spearman", [1.0, 1.0], [1.0, 2.0]))
    with pytest.raises(TensorError, match="one number per sample"):
        score("spearman", [[1.0, 2.0]], [[1.0, 2.0]])


def test_bits_per_character_by_hand():
    even, sure = [0.0, 0.0, 0.0, 0.0], [0.0, math.log(4), 0.0, math.log(2)]
    # 2 bits; 1 of 8: 3 bits, 4 of 8: 1 bit; the last does not count.
    found = score("bits_per_character", [[even, sure], [sure, even]], [[3, 0], [1, -1]])
    assert found == pytest.approx((2 + 3 + 1) / 3)
    assert score("bits_per_character", [[[1000.0, 0.0]]], [[1]]) == pytest.approx(1000 / math.log(2))
    with pytest.raises(TensorError, match="label 2 is no code: the model has 2"):
        score("bits_per_character", [[[0.0, 0.0]]], [[2]])
    with pytest.raises(TensorError, match="needs logits"):
        score("bits_per_character", [[0.0, 0.0]], [0])


def scene(rng, count):
    corners = rng.integers(0, 12, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 8, (count, 2))], axis=1).astype(np.float32)
    return boxes, rng.integers(0, 3, count)


def test_average_precision_is_that_of_the_detector():
    rng = np.random.default_rng(5)
    truths = [scene(rng, int(rng.integers(0, 5))) for _ in range(12)]
    found = []
    for _ in truths:
        boxes, classes = scene(rng, 6)
        found.append(Detections(boxes, -np.sort(-rng.random(6)).astype(np.float32), classes))
    labels = np.full((len(truths), 5, 5), -1.0)
    for row, (boxes, classes) in zip(labels, truths, strict=True):
        row[: len(boxes), :4], row[: len(boxes), 4] = boxes, classes
    outputs = stacked(found, limit=8)
    assert score("map50", outputs, labels) == pytest.approx(mean_average_precision(found, truths), abs=1e-12)
    wanted = np.mean([mean_average_precision(found, truths, 0.5 + 0.05 * i) for i in range(10)])
    assert score("map", outputs, labels) == pytest.approx(wanted, abs=1e-12)


def test_average_precision_by_hand():
    box, far = [0, 0, 4, 4], [8, 8, 9, 9]
    outputs = [[[*box, 0.9, 1], [*far, 0.8, 1], [0, 0, 0, 0, 0, -1]]]
    # The first of two boxes is right, and one of two objects is found: 51 of 101 recalls are reached.
    assert score("map50", outputs, [[[*box, 1], [20, 20, 22, 22, 1]]]) == pytest.approx(51 / 101)
    assert score("map50", outputs, [[[*box, 1], [0, 0, 0, 0, -1]]]) == pytest.approx(1)
    assert math.isnan(score("map50", outputs, [[[*box, -1]]]))
    with pytest.raises(TensorError, match=r"needs boxes \(images, boxes, 6\)"):
        score("map50", [[box]], [[[*box, 1]]])


@pytest.mark.parametrize("name", ["map50", "map"])
def test_precision_of_draws_is_that_of_each_draw(name):
    """Images that were drawn twice or not at all, classes that a draw lacks, images without boxes."""
    rng, found = np.random.default_rng(4), metric(name)
    labels = np.full((12, 4, 5), -1.0)
    outputs = np.zeros((12, 6, 6))
    outputs[:, :, 5] = -1
    for image in range(11):
        objects, boxes = rng.integers(0, 5), rng.integers(0, 7)
        corner = rng.uniform(0, 20, (objects, 2))
        labels[image, :objects] = np.column_stack([corner, corner + 8, rng.integers(0, 3, objects)])
        near = labels[image, rng.integers(0, max(1, objects), boxes)]
        outputs[image, :boxes, :4] = near[:, :4] + rng.normal(0, 1, (boxes, 4))
        outputs[image, :boxes, 4] = rng.uniform(0, 1, boxes)
        outputs[image, :boxes, 5] = near[:, 4].clip(0)
    labels[11, 0] = (0, 0, 5, 5, 3)
    records, draws = found.records(outputs, labels), rng.integers(0, 12, (40, 12))
    expected = [found.total(records[draw]) for draw in draws]
    assert np.ptp(expected) > 0.05
    assert found.totals(records, draws) == pytest.approx(expected, abs=1e-12)
    nothing = np.full((1, 12), 11)
    nothing[0] = np.flatnonzero((labels[:, :, 4] < 0).all(axis=1))[:1]
    assert np.isnan(found.totals(records, nothing)).all()


def test_metrics_of_other_packages_are_found(monkeypatch):
    place = {"bitx.metrics": {"hits": "hwmodel.evaluation.metrics.classification:Top1"}}
    monkeypatch.setattr(found_by_name, "_of_other_packages", place.__getitem__)
    assert "hits" in metric_names()
    assert metric("hits").name == "top1"
    with pytest.raises(OptionError, match=r"metric must be one of agreement, .*, got 'top'"):
        metric("top")


@pytest.mark.parametrize("name", metric_names())
def test_scores_of_draws_are_those_of_each_draw(name):
    rng = np.random.default_rng(3)
    found = metric(name)
    shape = {"spearman": (30, 2), "map50": (30, 9, 3), "map": (30, 9, 12)}.get(name, (30, 2))
    records, draws = rng.integers(0, 3, shape).astype(float), rng.integers(0, 30, (5, 30))
    totals = found.totals(records, draws)
    assert totals == pytest.approx([found.total(records[draw]) for draw in draws], nan_ok=True)
