"""Pages of text: how they are made, read and counted; the package's own pipeline is the reference."""

from __future__ import annotations

import numpy as np
import pytest

from bitxcore.batch import Selection
from hwmodel.evaluation import Setting, evaluate, task
from hwmodel.evaluation.datasets.rendered_lines import rendered_line
from hwmodel.evaluation.datasets.rendered_pages import PAGES, SIDE, rendered_page
from hwmodel.evaluation.model_runs import run
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.evaluation.subjects.onnx_files import OnnxFiles
from hwmodel.evaluation.tasks import ocr, pages
from hwmodel.evaluation.tasks.ocr import padded_width


def test_pages_are_drawn_each_for_itself():
    pytest.importorskip("PIL")
    pytest.importorskip("cv2")
    made = [rendered_page(index) for index in range(8)]
    assert made[0].lines == (
        "Market 1353", "Liquid 28.37", "lemon 625.37", "1923-12-15", "middle", "2069-06-08", "about",
    )  # fmt: skip
    again = rendered_page(3)
    assert again.lines == made[3].lines
    assert np.array_equal(again.image, made[3].image)
    assert all(page.image.shape == (SIDE, SIDE) and page.image.dtype == np.uint8 for page in made)
    assert all(6 <= len(page.lines) <= 10 for page in made)
    ink = [np.abs(page.image.astype(int) - int(np.median(page.image))) > 60 for page in made]
    right = [page[:, SIDE // 2 + 100 :].any() for page in ink]
    assert 0 < sum(right) < 8  # of two columns
    assert 0 < sum(np.median(page.image) < 128 for page in made) < 8  # light on dark
    edges = np.array(
        [[page[:4].any(), page[-4:].any(), page[:, :4].any(), page[:, -4:].any()] for page in ink]
    )
    assert not edges.any()


def test_cycles_are_those_of_every_shape(tmp_path, write_model):
    """A model that runs on inputs of two sizes: each counts as often as it was run per sample."""
    model = write_model(tmp_path / "tiny.onnx", sides="S")
    pictures = [np.zeros((count, 3, side, side), np.float32) for count, side in ((2, 8), (3, 16), (1, 8))]

    def subject_after(*given):
        subject = OnnxFiles([model], lambda runners: runners[0], Selection())
        with subject.pruned(Setting()) as (runner, _):
            for picture in given:
                runner({"image": picture})
        return subject, runner

    subject, runner = subject_after(*pictures)
    assert [*runner.shape_runs.values()] == [3, 3]
    assert runner.runs == 6
    assert runner.shapes == {"image": (3, 8, 8)}
    small, large = (
        subject_after(picture)[0].gains(len(picture)).gain(Setting(rows=6)) for picture in pictures[:2]
    )
    both = subject.gains(2).gain(Setting(rows=6))
    assert large.cycles > small.cycles
    for name in ("cycles", "unpruned_cycles"):
        expected = 1.5 * getattr(small, name) + 1.5 * getattr(large, name)
        assert abs(getattr(both, name) - expected) <= 1
    assert OnnxRunner(model).shapes == {}


@pytest.mark.parametrize(("width", "padded"), [(1, 320), (320, 320), (320.5, 400), (401, 480), (900, 960)])
def test_widths_are_few(width, padded):
    assert padded_width(width) == padded


@pytest.fixture(scope="module")
def rapid():
    return pytest.importorskip("rapidocr_onnxruntime").RapidOCR(use_cls=False)


@pytest.mark.models
def test_lines_are_read_as_the_package_reads_them(rapid):
    """The recogniser's input is the package's, pixel by pixel, and so is the text."""
    lines = [rendered_line(index) for index in range(12)]
    for line in lines:
        own = ocr._scaled(line.image)
        wide = np.repeat(line.image[..., None], 3, axis=-1)
        theirs = rapid.text_rec.resize_norm_img(wide, padded_width(own.shape[-1]) / ocr.HEIGHT + 1e-6)
        assert np.array_equal(np.broadcast_to(own, (3, *own.shape)), theirs[:, :, : own.shape[-1]])
        assert not theirs[:, :, own.shape[-1] :].any()
    reader = task("ocr")
    samples = next(reader.samples(quick=True))
    outputs = OnnxRunner(reader.model)(samples.feeds)
    read = [text.strip() for text, _ in rapid.text_rec.postprocess_op(outputs[0])]
    assert reader.scored(outputs).tolist() == read


@pytest.mark.models
@pytest.mark.slow
def test_pages_are_read_as_the_package_reads_them(rapid, monkeypatch):
    """With the package's widths, the text of each page is the package's own; with ours, nearly."""
    reader = task("pages")
    images = np.repeat(np.stack([rendered_page(index).image for index in (0, 4)])[..., None], 3, axis=-1)
    blank = np.full_like(images[:1], 230)
    expected = ["\n".join(text.strip() for _, text, _ in rapid(image)[0]) for image in images]
    runners = [OnnxRunner(model) for model in reader.models]
    joined = reader.joined(runners)
    (read,) = joined({"page": np.concatenate([images, blank])})
    assert read[2] == ""
    assert [len(text.split("\n")) for text in read[:2]] == [7, 8]
    assert [runner.runs for runner in runners] == [3, 15]
    assert {shapes[0][1][2] % 80 for shapes in runners[1].shape_runs} == {0}
    monkeypatch.setattr(pages, "padded_width", lambda width: width)
    # Each reader puts its own models into the engine that they share.
    other = reader.joined([OnnxRunner(model) for model in reader.models])
    assert other({"page": images})[0].tolist() == expected
    assert joined({"page": images[:1]})[0].tolist() == expected[:1]
    assert runners[0].runs == 4


@pytest.mark.models
@pytest.mark.slow
def test_pages_at_ten_rows():
    pytest.importorskip("rapidocr_onnxruntime")
    reader = task("pages")
    assert f"{PAGES} rendered pages" in reader.title
    before, after = evaluate(reader, [Setting(rows=10)], quick=True, resamples=100).points
    assert before.scores["exact_lines"].value > 0.7
    assert before.scores["cer"].value < 0.04
    assert abs(after.scores["cer"].difference) < 0.02
    assert after.machine.speedup_over_unpruned > 1.5
    read = run(reader, reader.joined([OnnxRunner(model) for model in reader.models]), quick=True)
    found, there = ([len(text.split("\n")) for text in texts] for texts in (read.outputs, read.labels))
    assert np.abs(np.subtract(found, there)).sum() <= 1  # the detector finds all lines
