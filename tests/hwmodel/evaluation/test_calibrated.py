"""Rows by norms of a calibration run, as one value on the grid; and samples to calibrate on."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection, prune_dump
from bitxcore.errors import BitxError, MissingExtraError, OptionError
from bitxcore.store import Store
from hwmodel.evaluation import Setting, evaluate, search_rows, task
from hwmodel.evaluation.evaluation import Evaluator
from hwmodel.evaluation.model_runs import run
from hwmodel.evaluation.pruned_models import write_pruned
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.evaluation.settings import CALIBRATED
from hwmodel.evaluation.tasks.labelled import Labelled

THREE = Setting(rows=3, criterion=CALIBRATED)


def calibration_pictures():
    shares = np.array([1, 1, 0.01], "f4")[:, None, None]
    return np.random.default_rng(3).random((12, 3, 8, 8)).astype("f4") * shares


@pytest.fixture
def norms(model, tmp_path):
    """Of a model whose third input channel is nearly silent."""
    hw.calibrate(model, calibration_pictures(), tmp_path / "norms.h5")
    return tmp_path / "norms.h5"


def test_what_is_scored_and_simulated_is_the_file_of_bitx_prune(model, data, norms, tmp_path):
    given = Labelled(model, data["arrays"])
    _, plain, point = evaluate(given, [Setting(rows=3), THREE], norms=norms, resamples=2).points
    with bx.open_dump(model) as dump:
        prune_dump(dump, tmp_path / "pruned.onnx", rows=3, criterion=CALIBRATED, norms=hw.open_norms(norms))
    runner = OnnxRunner(tmp_path / "pruned.onnx")
    kept = run(given, runner).outputs
    labels = np.load(data["arrays"])["labels"]
    assert point.scores["top1"].value == (kept.argmax(axis=1) == labels).mean()
    assert point.scores["cosine"].value != plain.scores["cosine"].value
    network = hw.load_network(model, sizes={"N": 1})
    machine = hw.accelerator("bitx", rows=3)
    with bx.open_dump(tmp_path / "pruned.onnx") as dump, bx.open_dump(model) as whole:
        total, before = (hw.simulate_network(machine, network, dump=d).totals[0] for d in (dump, whole))
    found = point.machine
    assert (found.cycles, found.work_cycles) == (total.cycles, total.work_cycles)
    assert found.unpruned_work_cycles == before.unpruned_work_cycles == plain.machine.unpruned_work_cycles
    assert found.work_cycles != plain.machine.work_cycles
    assert point.setting.label == "rows 3, group 8, criterion calibrated"


def test_equal_norms_change_nothing(model, data, tmp_path):
    hw.calibrate(model, np.ones((2, 3, 8, 8), np.float32), tmp_path / "ones.h5")
    options = {"norms": tmp_path / "ones.h5", "selection": Selection(include=("conv",)), "resamples": 2}
    settings = [Setting(rows=1), Setting(rows=1, criterion=CALIBRATED)]
    _, plain, point = evaluate(Labelled(model, data["arrays"]), settings, **options).points
    assert point.scores["cosine"].value == plain.scores["cosine"].value
    with bx.open_dump(model) as dump:
        # As many as are left out, were the weights pruned by software.
        assert (bx.prune(dump["conv"].read(), rows=1).values == 0).mean() > 0.3
    assert point.machine == plain.machine


def test_float_formats_are_pruned_by_norms(model, norms, tmp_path):
    weighed = hw.open_norms(norms)
    with bx.open_dump(model) as dump:
        wanted = bx.prune(
            dump["conv"].read().astype(ml_dtypes.bfloat16),
            rows=3,
            criterion=CALIBRATED,
            norms=weighed["conv"],
        )
        setting = Setting(rows=3, criterion=CALIBRATED, format="bfloat16")
        write_pruned(dump, tmp_path / "p.onnx", setting, Selection(), weighed)
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        assert np.array_equal(dump["conv"].read(), wanted.values.astype("f4"))


def test_layers_that_are_not_pruned_take_unpruned_cycles(model, data, norms):
    given = Labelled(model, data["arrays"])
    found = [
        evaluate(given, [THREE], norms=norms, resamples=2, selection=Selection(exclude=names)).points
        for names in ((), ("fc",), ("conv",))
    ]
    saved = [before.machine.work_cycles - after.machine.work_cycles for before, after in found]
    assert saved[0] == saved[1] + saved[2] > saved[1] > 0


def test_norms_that_are_not_there_are_told(model, data, norms, tmp_path):
    given = Labelled(model, data["arrays"])
    with pytest.raises(OptionError, match="criterion 'calibrated' needs norms of a calibration run"):
        evaluate(given, [THREE], resamples=2)
    digits = task("digits")
    with pytest.raises(OptionError, match=r"tensor 'stem.weight': has no norms, nor 12 more"):
        evaluate(digits, [THREE], norms=norms, quick=True, resamples=2)
    np.savez(tmp_path / "norms.npz", conv=np.ones(3))
    with pytest.raises(BitxError, match=r"norms\.npz"):
        evaluate(given, [THREE], norms=tmp_path / "norms.npz", resamples=2)
    with (
        Evaluator(given, norms=norms, resamples=2) as evaluator,
        pytest.raises(OptionError, match="a policy has no criterion 'calibrated'"),
    ):
        search_rows(evaluator, 0.1, way=THREE)


def test_other_norms_are_another_evaluation(model, data, norms, tmp_path):
    given, store = Labelled(model, data["arrays"]), tmp_path / "e.h5"

    def stop(done, total, setting):
        if done == 2:
            raise InterruptedError

    how = {"resamples": 2, "store": store}
    with pytest.raises(InterruptedError):
        evaluate(given, [THREE, Setting(rows=4)], norms=norms, progress=stop, **how)
    hw.calibrate(model, np.ones((2, 3, 8, 8), np.float32), tmp_path / "others.h5")
    with pytest.raises(BitxError, match="another evaluation, of other norms"):
        evaluate(given, [THREE], norms=tmp_path / "others.h5", **how)
    # The same norms in another file are the same.
    again = tmp_path / "again-norms.h5"
    hw.calibrate(model, calibration_pictures(), again, batch=12)  # recorded, and changes nothing
    assert again.read_bytes() != norms.read_bytes()
    found = evaluate(given, [THREE], norms=again, **how)
    assert found.resumed == 1
    with Store.open(store) as opened:
        assert opened.provenance.inputs[-1].path.endswith("norms.h5")
    with pytest.raises(BitxError, match="is the input"):
        evaluate(given, [THREE], norms=norms, store=norms)


def test_on_the_command_line(bitx_evaluate, model, data, norms):
    shown = bitx_evaluate(
        model, "--data", data["arrays"], "--rows", "3", "--criterion", "topn,calibrated", "--norms", norms
    )
    assert shown.exit_code == 0, shown.output
    assert "calibrated" in shown.output
    for wrong in (["--norms", norms], ["--criterion", "calibrated"]):
        refused = bitx_evaluate(model, "--data", data["arrays"], *wrong)
        assert refused.exit_code == 2
        assert "--norms NORMS.h5 and --criterion calibrated go together" in " ".join(refused.output.split())


@pytest.fixture
def bitx_evaluate():
    from click.testing import CliRunner

    from hwmodel.cli import group

    return lambda *given: CliRunner().invoke(group, ["evaluate", *map(str, given)])


LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("crops", "minilm", "pages")]


@pytest.mark.parametrize("name", ["digits", "transformer", "detector", "ocr", *LARGE])
def test_no_sample_to_calibrate_on_is_scored(name):
    try:
        made = task(name)
        some = list(made.calibration(4))
        scored = next(made.samples(quick=True))
    except (MissingExtraError, OptionError) as error:
        pytest.skip(str(error))
    assert sum(part.count for part in some) == 4
    for key, array in some[0].feeds.items():
        assert array.dtype == scored.feeds[key].dtype
        assert array.ndim == scored.feeds[key].ndim
    key = next(iter(some[0].feeds))
    seen = {row.tobytes() for part in made.samples() for row in part.feeds[key]}
    assert not seen & {row.tobytes() for part in some for row in part.feeds[key]}


def test_a_task_without_says_so(model, data):
    with pytest.raises(OptionError, match="task own has no samples but those that are scored"):
        Labelled(model, data["arrays"]).calibration(4)
