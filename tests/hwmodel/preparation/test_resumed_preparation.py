"""A preparation that was stopped or killed goes on, and gives the same bytes."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from bitxcore.batch import Selection
from bitxcore.errors import BitxError
from hwmodel.cli import group
from hwmodel.evaluation import task
from hwmodel.preparation import Budget, prepare_model

pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")
BUDGET = Budget(ones=2, rows=6)
SMALL = Selection(exclude=("stage2*", "stage3*"))
"""Four layers, whose second-order solution is quick."""


def prepare(samples, out, budget=BUDGET, selection=SMALL, **options):
    return prepare_model(task("digits").model, samples, out, budget, selection=selection, **options)


@pytest.fixture(scope="module")
def batches():
    return [part.feeds for part in task("digits").calibration(24)]


@pytest.fixture(scope="module")
def fresh(batches, tmp_path_factory):
    """What an undisturbed call writes, and reports."""
    out = tmp_path_factory.mktemp("fresh") / "p.onnx"
    report = prepare(batches, out)
    assert [row.tensor.split(".")[0] for row in report] == ["stem", "stage1", "stage1", "head"]
    assert [file.name for file in out.parent.iterdir()] == ["p.onnx"]
    return out.read_bytes(), report


def stop_at(layers):
    def progress(done, total, tensor):
        if done == layers:
            raise BitxError("stopped")

    return progress


def stopped(batches, out, layers):
    with pytest.raises(BitxError, match="stopped"):
        prepare(batches, out, progress=stop_at(layers))
    assert not out.exists()


@pytest.mark.parametrize("layers", [1, 3])
def test_a_stopped_preparation_goes_on(batches, fresh, tmp_path, layers, monkeypatch):
    out = tmp_path / "p.onnx"
    stopped(batches, out, layers)
    stopped(batches, out, layers - 1)  # sooner: what is there stays
    import hwmodel.preparation.preparation as used

    solved = []
    fitted = used.fitted
    monkeypatch.setattr(used, "fitted", lambda *given: solved.append(given[1].name) or fitted(*given))
    report = prepare(batches, out)
    assert len(solved) == 4 - layers
    assert (out.read_bytes(), report) == fresh
    assert [file.name for file in tmp_path.iterdir()] == ["p.onnx"]


def test_what_a_kill_left_of_a_line_is_done_again(batches, fresh, tmp_path):
    out, journal = tmp_path / "p.onnx", tmp_path / "p.onnx.journal"
    stopped(batches, out, 3)
    journal.write_bytes(journal.read_bytes()[:-40])
    assert (prepare(batches, out), out.read_bytes()) == fresh[::-1]


def test_nothing_is_left_of_what_finished_no_layer(batches, tmp_path):
    stopped(batches, tmp_path / "p.onnx", 0)
    with pytest.raises(BitxError, match="ones must be an integer"):
        prepare(batches, tmp_path / "p.onnx", Budget(ones=99))
    assert not list(tmp_path.iterdir())


def test_a_journal_of_another_preparation_is_refused(batches, fresh, tmp_path):
    out = tmp_path / "p.onnx"
    stopped(batches, out, 2)
    others = [
        (batches, Budget(ones=3, rows=6), SMALL, "whose ones is 2, not 3"),
        ([{"image": batches[0]["image"] * np.float32(0.5)}], BUDGET, SMALL, "of other samples"),
        (batches, BUDGET, Selection(exclude=("head*",)), "whose selection is"),
        (batches, lambda name: BUDGET, SMALL, "whose ones is 2, not null"),
    ]
    for samples, budget, selection, text in others:
        with pytest.raises(BitxError, match=text) as caught:
            prepare(samples, out, budget, selection)
        assert "holds finished points of another preparation" in str(caught.value)
        assert "restart it, or choose another output" in str(caught.value)
    seen = []
    report = prepare(batches, out, restart=True, progress=lambda *at: seen.append(at))
    assert (out.read_bytes(), report) == fresh
    assert seen[0][:2] == (0, 4)
    (tmp_path / "q.onnx.journal").write_text("notes of mine\n")
    with pytest.raises(BitxError, match="is no journal of a preparation; move it away"):
        prepare(batches, tmp_path / "q.onnx")
    assert (tmp_path / "q.onnx.journal").read_text() == "notes of mine\n"


def test_restart_on_the_command_line(batches, tmp_path):
    out = tmp_path / "p.onnx"
    given = ["prepare", "--task", "digits", "--samples", "24", "--ones", "1", "-o", str(out), "--exclude",
             "stage2*", "--exclude", "stage3*"]  # fmt: skip
    stopped(batches, out, 1)
    done = CliRunner().invoke(group, given)
    assert done.exit_code == 1
    assert "whose ones is 2, not 1" in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert CliRunner().invoke(group, [*given, "--restart"]).exit_code == 0
    assert [file.name for file in tmp_path.iterdir()] == ["p.onnx"]


@pytest.mark.slow
def test_a_killed_preparation_goes_on(tmp_path):
    out, other, journal = (tmp_path / name for name in ("p.onnx", "q.onnx", "p.onnx.journal"))
    command = [sys.executable, "-m", "hwmodel.cli", "prepare", "--task", "digits", "--ones", "2", "-o"]
    process = subprocess.Popen([*command, out], stdout=subprocess.DEVNULL)
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    for path in (out, other):
        subprocess.run([*command, path], check=True, stdout=subprocess.DEVNULL)
    assert out.read_bytes() == other.read_bytes()
    assert not journal.exists()


@pytest.mark.slow
def test_two_runs_and_any_number_of_threads_give_the_same_bytes(tmp_path, monkeypatch):
    found = set()
    for name, threads in (("a", "1"), ("b", "2"), ("c", "2")):
        monkeypatch.setenv("BITX_THREADS", threads)
        command = [sys.executable, "-m", "hwmodel.cli", "prepare", "--task", "digits", "--ones", "2"]
        subprocess.run([*command, "-o", tmp_path / f"{name}.onnx"], check=True, stdout=subprocess.DEVNULL)
        found.add((tmp_path / f"{name}.onnx").read_bytes())
    assert len(found) == 1
