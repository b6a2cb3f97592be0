"""Scores over a grid: what is run, what it is held against, and what a machine gains by it."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib import import_module

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection
from bitxcore.data import data_folder
from bitxcore.dumps import open_dump
from bitxcore.errors import BitxError
from bitxcore.store import Store
from hwmodel.cli import group
from hwmodel.evaluation import Setting, evaluate, task
from hwmodel.evaluation.pruned_models import write_pruned
from hwmodel.evaluation.settings import settled
from hwmodel.evaluation.tasks.labelled import Labelled

module = import_module("hwmodel.evaluation.subjects.onnx_files")
DIGITS = data_folder("samples") / "digits_resnet.onnx"


class Keeping(Labelled):
    """Keeps every output that is scored."""

    def scored(self, outputs):
        self.kept = [*getattr(self, "kept", []), outputs[0]]
        return outputs[0]


def onnx_outputs(path, feeds):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_digits_end_to_end(tmp_path):
    settings = [Setting(rows=rows) for rows in (6, 2)]
    found = evaluate(task("digits"), settings, resamples=200, store=tmp_path / "e.h5")
    before, mild, worst = found.points
    assert before.samples == 360
    assert before.scores["top1"].value == pytest.approx(357 / 360)
    assert before.scores["agreement"].value == before.scores["cosine"].value == 1
    assert mild.scores["top1"].difference == 0
    assert mild.scores["top1"].p_value == 1
    assert worst.scores["top1"].difference_high < -0.8
    assert worst.scores["top1"].p_value < 0.01
    assert math.isnan(worst.scores["agreement"].p_value)
    assert found.against == {"top1": "labels", "agreement": "unpruned", "cosine": "unpruned"}
    # The machine's own columns; unpruned, what it takes without pruning.
    total = hw.simulate_network("bitx", hw.load_network(DIGITS, sizes={"N": 1})).totals[0]
    six = mild.machine
    assert (six.cycles, six.work_cycles) == (total.cycles, total.work_cycles)
    assert before.machine.cycles == six.unpruned_cycles == total.unpruned_cycles
    assert before.machine.speedup_over_unpruned == 1
    assert found.front == [1, 2]
    assert found.held() == [(Setting(), 6, 6)]
    with Store.open(tmp_path / "e.h5") as store:
        table = store.table("evaluation")
        assert table["top1"].tolist() == [point.scores["top1"].value for point in found.points]
        assert store.units("evaluation")["work_cycles"] == "cycles"
        assert "agreement: unpruned" in store.attrs("evaluation")["against"]
        assert table["on_front"].tolist() == [False, True, True]
    assert not list(tmp_path.glob("*.journal"))
    assert "Evaluation: handwritten digits" in repr(found)


@pytest.mark.parametrize("kind", ["folder", "table", "arrays"])
def test_data_of_every_kind_is_the_same(model, data, kind):
    given = Keeping(model, data[kind])
    found = evaluate(given, [Setting(rows=3)], resamples=20)
    arrays = np.load(data["arrays"])
    wanted = onnx_outputs(model, {"image": arrays["image"]})
    assert np.allclose(np.concatenate(given.kept[: len(given.kept) // 2]), wanted, atol=1e-6)
    hits = (wanted.argmax(axis=1) == arrays["labels"]).mean()
    assert found.points[0].scores["top1"].value == pytest.approx(hits)
    assert "18 samples" in found.task


def test_a_fixed_batch_is_filled_up(write_model, data, tmp_path):
    given = [Keeping(write_model(tmp_path / f"{n}.onnx", n), data["arrays"]) for n in (1, 5, "N")]
    for one in given:
        evaluate(one, [], resamples=2)
    assert [len(one.kept) for one in given] == [18, 5, 2]  # of batches of 16 and 2 samples
    scored = [np.concatenate(one.kept)[:16] for one in given]
    assert np.allclose(scored[0], scored[2], atol=1e-6)
    points = [evaluate(one, [], resamples=2).points[0] for one in given]
    assert points[0].samples == points[1].samples == 18
    assert points[0].scores["top1"] == points[1].scores["top1"] == points[2].scores["top1"]


def test_labels_are_what_the_metric_asks_for(model, data, tmp_path):
    image = np.load(data["arrays"])["image"]
    np.savez(tmp_path / "pairs.npz", image=image, labels=np.zeros((18, 2)))
    with pytest.raises(BitxError, match="labels must be class numbers"):
        Labelled(model, tmp_path / "pairs.npz")
    some = next(Labelled(model, tmp_path / "pairs.npz", metrics=("map50",)).samples())
    assert some.labels.shape == (16, 2)


def test_pictures_of_many_sizes_for_an_open_input(write_model, data, tmp_path):
    from PIL import Image

    Image.new("RGB", (9, 8)).save(data["folder"] / "a" / "00.png")
    open_size = Labelled(write_model(tmp_path / "open.onnx", sides="S"), data["folder"])
    with pytest.raises(BitxError, match=r"pictures differ in size .*; resize them to one size"):
        list(open_size.samples())


@pytest.mark.parametrize("options", [
    {"rows": 6}, {"rows": 3, "group": 16, "grouping": "channel"},
    {"rows": 3, "group": None, "grouping": "kernel"}, {"rows": 4, "format": "fixed8"},
    {"rows": 5, "rounding": "nearest"}, {"rows": 5, "window": 9}, {"rows": 4, "criterion": "msb"},
])  # fmt: skip
def test_what_is_scored_is_what_the_file_of_bitx_prune_gives(model, data, tmp_path, options):
    given = Keeping(model, data["arrays"])
    evaluate(given, [Setting(**options)], resamples=2)
    scored = np.concatenate(given.kept[len(given.kept) // 2 :])
    out = tmp_path / "pruned.onnx"
    flags = [f"--{name}={'whole' if value is None else value}" for name, value in options.items()]
    done = CliRunner().invoke(group, ["prune", str(model), "-o", str(out), *flags])
    assert done.exit_code == 0, done.output
    arrays = np.load(data["arrays"])["image"]
    outputs = [onnx_outputs(out, {"image": arrays[i : i + 16]}) for i in (0, 16)]
    assert np.array_equal(scored, np.concatenate(outputs))
    assert not np.array_equal(scored, np.concatenate(given.kept[: len(given.kept) // 2]))


@pytest.mark.parametrize("form", ["bfloat16", "float16"])
def test_float_formats_are_pruned_and_simulated_as_such(model, tmp_path, form):
    dtype = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[form]
    with open_dump(model) as dump:
        weights = dump["conv"].read()
        changes = write_pruned(dump, tmp_path / "p.onnx", Setting(rows=4, format=form), Selection())
    with open_dump(tmp_path / "p.onnx") as dump:
        pruned = dump["conv"].read()
    assert pruned.dtype == np.float32
    assert np.array_equal(pruned, bx.prune(weights.astype(dtype), rows=4).values.astype("f4"))
    assert 0.001 < changes["conv"].relative_error < 0.2
    assert 0 < changes["conv"].kept_rows_mean <= 4


def test_float_formats_are_for_floats(tmp_path):
    np.savez(tmp_path / "codes.npz", w=np.arange(64, dtype=np.int8).reshape(8, 8))
    with open_dump(tmp_path / "codes.npz") as dump:
        with pytest.raises(BitxError, match="tensor 'w': is int8: a float format is for floats"):
            write_pruned(dump, tmp_path / "o.npz", Setting(rows=4, format="bfloat16"), Selection())
        assert settled(Setting(rows=4), dump, Selection()) == Setting(rows=4)
    with (
        pytest.raises(BitxError, match="weights are beyond what float16 holds"),
        open_large(tmp_path) as dump,
    ):
        write_pruned(dump, tmp_path / "o.npz", Setting(format="float16"), Selection())


def open_large(folder):
    np.savez(folder / "large.npz", w=np.full((8, 8), 1e6, np.float32))
    return open_dump(folder / "large.npz")


def test_cycles_of_a_float_format_are_those_of_such_weights():
    form = [Setting(rows=6, format="bfloat16"), Setting(format="bfloat16")]
    found = evaluate(task("digits"), form, quick=True, resamples=2)
    with open_dump(DIGITS) as dump:
        chosen = {tensor.name for tensor in Selection().choose(dump).tensors}
        cast = {n: t.read().astype(ml_dtypes.bfloat16) if n in chosen else t for n, t in dump.items()}
        total = hw.simulate_network("bitx", hw.load_network(DIGITS, sizes={"N": 1}), dump=cast).totals[0]
    pruned, rounded = (point.machine for point in found.points[1:])
    assert (pruned.cycles, pruned.unpruned_cycles) == (total.cycles, total.unpruned_cycles)
    assert rounded.cycles == total.unpruned_cycles < found.points[0].machine.cycles


def test_a_setting_without_a_machine_says_why(model, data):
    whole = Setting(rows=3, group=None, grouping="kernel")
    point = evaluate(Labelled(model, data["arrays"]), [whole], resamples=2).points[1]
    assert point.machine.cycles is None
    assert point.columns()["reason"] == "no machine takes whole kernels as groups"
    assert point.scores["top1"].value <= 1


def test_layers_that_are_not_pruned_take_unpruned_cycles(model, data):
    given = Labelled(model, data["arrays"])
    found = [
        evaluate(given, [Setting(rows=3)], resamples=2, selection=Selection(exclude=names)).points
        for names in ((), ("fc",), ("conv",))
    ]
    saved = [before.machine.work_cycles - after.machine.work_cycles for before, after in found]
    assert saved[0] == saved[1] + saved[2] > saved[1] > 0


def test_settings_that_say_the_same_are_one(model):
    with open_dump(model) as dump:
        same = [
            Setting(rows=6), Setting(rows=6, window=32), Setting(rows=6, format="float32"),
            Setting(rows=6, format="float32", window=32),
        ]  # fmt: skip
        assert {settled(setting, dump, Selection()) for setting in same} == {Setting(rows=6)}
        assert settled(Setting(group=4, window=9), dump, Selection()) == Setting()
        fixed = Setting(rows=3, format="fixed8", window=7)
        assert settled(fixed, dump, Selection()) == replace(fixed, window=None)
        assert settled(replace(fixed, window=9), dump, Selection()).window == 9


# -- going on ----------------------------------------------------------------------------------


def test_points_that_are_done_are_not_run_again(model, data, tmp_path, monkeypatch):
    given, store = Labelled(model, data["arrays"]), tmp_path / "e.h5"

    def stop(done, total, setting):
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        evaluate(given, [Setting(rows=r) for r in (6, 5, 4)], resamples=9, store=store, progress=stop)
    assert not store.exists()
    with pytest.raises(BitxError, match="another evaluation, whose seed is 0, not 1"):
        evaluate(given, [Setting(rows=6)], resamples=9, store=store, seed=1)
    with pytest.raises(BitxError, match="another evaluation, of other samples; give the evaluation"):
        evaluate(given, [Setting(rows=6)], resamples=9, store=store, quick=True)
    pruned = []
    plain = module.write_pruned
    monkeypatch.setattr(
        module, "write_pruned", lambda *given: (pruned.append(given[2].rows), plain(*given))[1]
    )
    grid = [Setting(rows=r) for r in (6, 5, 3)]  # another grid
    found = evaluate(given, grid, resamples=9, store=store)
    assert (pruned, found.resumed) == ([3], 2)
    fresh = evaluate(given, grid, resamples=9)
    assert [repr(point) for point in fresh.points] == [repr(point) for point in found.points]
    assert store.exists()


def test_a_store_does_not_replace_the_data(model, data, tmp_path):
    import h5py

    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["image"] = np.load(data["arrays"])["image"]
    given = Labelled(model, tmp_path / "data.h5")
    assert given.metrics == ("agreement", "cosine")
    with pytest.raises(BitxError, match="is the input; choose another output"):
        evaluate(given, [], store=tmp_path / "data.h5")


def test_fewest_rows_stop_at_the_first_that_does_not_hold(model, data):
    found = evaluate(Labelled(model, data["arrays"]), [Setting(rows=8)], resamples=2)
    good = found.points[1]
    bad = replace(good, scores={**good.scores, "top1": replace(good.scores["top1"], difference=-0.1)})

    def held(*points):
        made = [replace(p, setting=Setting(rows=rows)) for rows, p in points]
        return replace(found, points=[found.points[0], *made]).held()[0][1]

    assert held((8, good), (6, good), (4, bad), (3, good)) == 6
    assert held((8, bad), (6, good)) is None
