"""`bitx evaluate`: what it prints, what it keeps, how it goes on, and how bad input ends."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bitxcore.store import Store


@pytest.fixture
def model(write):
    """A network of two layers and ten classes."""
    return write("onnx")


@pytest.fixture
def arrays(tmp_path):
    """Samples for it; labels are drawn."""
    rng = np.random.default_rng(9)
    samples = rng.normal(size=(40, 4, 6, 6)).astype("f4")
    np.savez(tmp_path / "arrays.npz", x=samples, labels=rng.integers(0, 10, 40))
    return tmp_path / "arrays.npz"


def test_the_table_fits_80_columns_and_says_what_agreement_is(bitx):
    lines = bitx("evaluate", "--task", "digits", "--quick", "--rows", "10,2").stdout.splitlines()
    table = [line for line in lines if line.startswith(" ")]
    assert max(map(len, table)) < 80
    assert any("*" in line and line.split()[0] == "2" for line in table)
    assert any("agreement: compared with what the unpruned model gives, not with labels" in x for x in lines)
    assert "within 0.5 points of unpruned in top1: rows ≥ 10" in lines
    assert any(line.startswith("no significant loss in top1, p ≥ 0.05: ") for line in lines)


def test_json_and_store_have_every_score(bitx, model, arrays, tmp_path):
    store = tmp_path / "e.h5"
    command = [
        "evaluate", model, "--data", arrays, "--rows", "none,4:8:2,4", "--format", "own,fixed8", "--group",
        "8,whole", "--grouping", "flat,kernel", "--metric", "cosine", "--metric", "top1", "-o", store,
    ]  # fmt: skip
    found = bitx.json(*command)
    # Unpruned; fixed8 alone; 3 rows x 2 formats x (flat and kernel of 8, whole kernels).
    assert len(found["points"]) == 2 + 3 * 2 * 3
    assert found["metrics"] == ["cosine", "top1"]
    assert found["against"] == {"cosine": "unpruned", "top1": "labels"}
    assert found["units"]["cycles"] == "cycles"
    first = found["points"][0]
    assert (first["rows"], first["cosine"], first["cosine_p_value"]) == (None, 1, None)
    assert first["top1_low"] <= first["top1"] <= first["top1_high"]
    reasons = {p["reason"] for p in found["points"] if p["group"] is None}
    assert reasons == {"no machine takes whole kernels as groups"}
    with Store.open(store) as opened:
        table = opened.table("evaluation")
        assert table["cosine"].tolist() == [p["cosine"] for p in found["points"]]
        parameters = opened.provenance.parameters
        assert parameters["grid"]["rows"] == ["all", "4", "6", "8"]
        assert len(opened.provenance.inputs) == 2


@pytest.mark.slow
def test_a_killed_evaluation_goes_on(bitx, model, arrays, tmp_path):
    store = tmp_path / "e.h5"
    journal = tmp_path / "e.h5.journal"
    command = ["evaluate", model, "--data", arrays, "--rows", "1:12", "--group", "4,8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hwmodel.cli", *map(str, command), "-o", store], stdout=subprocess.DEVNULL
    )
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not store.exists()
    resumed, fresh = bitx.json(*command, "-o", store), bitx.json(*command)
    assert 2 <= resumed["resumed_points"] < 24
    assert fresh["resumed_points"] == 0
    assert resumed["points"] == fresh["points"]
    assert not journal.exists()


@pytest.fixture
def bad(tmp_path):
    """Data that do not fit the sample network, by name."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "empty").mkdir()
    picture = image.fromarray(np.zeros((8, 8), np.uint8))
    for folder in ("0", "12"):
        (tmp_path / "classes" / folder).mkdir(parents=True)
        picture.save(tmp_path / "classes" / folder / "a.png")
    digits = np.zeros((4, 1, 8, 8), np.float32)
    arrays = {
        "colours": {"image": np.zeros((4, 3, 8, 8), np.float32), "labels": np.zeros(4, int)},
        "names": {"a": digits, "b": digits},
        "short": {"image": digits, "labels": np.zeros(3, int)},
        "text": {"image": digits, "labels": np.array(["a", "b", "c", "d"])},
        "unlabelled": {"image": digits},
    }
    for name, some in arrays.items():
        np.savez(tmp_path / f"{name}.npz", **some)
    tables = {
        "gone": [("path", "label"), ("gone.png", "1")],
        "words": [("path", "label"), ("classes/0/a.png", "zero")],
        "narrow": [("classes/0/a.png",)],
        "nothing": [("path", "label")],
    }
    for name, rows in tables.items():
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


@pytest.mark.parametrize(("data", "text"), [
    ("empty", "has no pictures: it needs a folder for each class, with .png or .jpg files in it"),
    ("classes", "12/a.png: metric top1: label 12 of sample 1 is no class: the model has 10; number the"),
    ("colours.npz", "does not take the samples: these are image float32 (4, 3, 8, 8); it takes image"),
    ("names.npz", "has no array for the model's input 'image'; it has a, b; name the arrays image"),
    ("short.npz", "needs as many samples in every array, at least one: image 4, labels 3"),
    ("text.npz", "labels must be class numbers, one per sample; got <U1"),
    ("gone.csv", "line 2: there is no picture"),
    ("words.csv", "line 2: the label must be a class number, got 'zero'"),
    ("narrow.csv", "line 1: needs a path and a label"),
    ("nothing.csv", "has no lines with a path and a label"),
    ("missing", "does not exist"),
])  # fmt: skip
def test_data_that_do_not_fit_end_in_one_line(bitx, sample, bad, data, text):
    assert text in bitx.error("evaluate", sample, "--data", bad / data, "--rows", "6")


@pytest.mark.parametrize(("more", "text"), [
    (["--metric", "top1"], "metric top1: needs labels, and the data have none; give labels, or a metric"),
    (["--metric", "cer"], "metric cer: needs labels"),
    (["--metric", "spearman"], "metric spearman: needs one number per sample"),
    (["--metric", "nope"], "metric must be one of agreement, "),
    (["--include", "nope"], "no tensor is named like 'nope'"),
    (["-o", "nowhere/e.h5"], "nowhere is not an existing folder"),
    (["-o", "e.txt"], "its name must end in .h5 or .hdf5"),
])  # fmt: skip
def test_options_that_do_not_fit_end_in_one_line(bitx, sample, bad, more, text):
    assert text in bitx.error("evaluate", sample, "--data", bad / "unlabelled.npz", *more)


@pytest.mark.parametrize(("arguments", "text"), [
    ([], "give either MODEL.onnx with --data, or --task NAME"),
    (["SAMPLE"], "MODEL needs --data"),
    (["SAMPLE", "--task", "digits"], "give either MODEL.onnx with --data, or --task NAME"),
    (["--task", "digits", "--data", "x"], "--data is for a MODEL of one's own"),
    (["--task", "digits", "--rows", "6:2"], "'6:2' is no range"),
    (["--task", "digits", "--rows", "0"], "'0' is neither an integer from 1 nor none"),
    (["--task", "digits", "--group", "whole"], "--group whole stands for whole kernels"),
    (["--task", "digits", "--format", "fixed99"], "fixed99"),
    (["--task", "digits", "--criterion", "energy"], "'energy' is none of topn, msb"),
])  # fmt: skip
def test_usage(bitx, sample, arguments, text):
    given = [str(sample) if word == "SAMPLE" else word for word in arguments]
    assert text in " ".join(bitx("evaluate", *given, code=2).stderr.split())


def test_tasks_and_metrics_are_listed(bitx):
    assert "digits" in bitx("list", "tasks").stdout
    rows = {row["metric"]: row for row in bitx.json("list", "metrics")["metrics"]}
    assert rows["agreement"]["against"] == "the unpruned model"
    assert rows["cer"]["better"] == "less"
    said = bitx.error("evaluate", "--task", "nope")
    assert "task must be one of crops, detector, detector-slimmed, digits" in said


def test_what_happens_at_run_time_is_on_the_grid(bitx, model, arrays):
    options = ("evaluate", model, "--data", arrays, "--rows", "none,2", "--activation-rows", "none,2")
    found = bitx.json(*options)
    pairs = [(p["rows"], p["activation_rows"]) for p in found["points"]]
    assert pairs == [(None, None), (None, 2), (2, None), (2, 2)]
    assert found["parameters"]["grid"]["activation_rows"] == ["all", "2"]
    assert found["points"][1]["cycles"] < found["points"][1]["unpruned_cycles"]
    assert "not both" in bitx(*options).stdout
    products = ("evaluate", model, "--data", arrays, "--rows", "2", "--criterion", "topn,products", "--notes")
    text = bitx(*products).stdout
    assert "kept ones per weight that meets no zero: rows 2, group 8, criterion products: " in text
    point = bitx.json(*products)["points"][2]
    assert point["kept_ones_mean"] > 0 < point["plain_kept_ones_mean"]
    assert point["relative_error"] is point["cycles"] is None


@pytest.mark.parametrize("more", [("--activation-rows", "4"), ("--criterion", "products")])
def test_rows_by_tensor_are_of_stored_weights(bitx, model, arrays, tmp_path, more):
    auto = ("--rows", "auto:1", "--write-policy", tmp_path / "p.json")
    found = bitx("evaluate", model, "--data", arrays, *auto, *more, code=2)
    assert "nothing is pruned at run time" in found.output
