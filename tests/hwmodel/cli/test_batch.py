"""`bitx batch`: many dumps in one run, which goes on where it ended."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from bench.kills import without_time, write_dumps
from bitxcore.batch.runs import assembling, running
from bitxcore.batch.runs.spool import Spool
from bitxcore.store import Store
from bitxcore.tables import plain_columns

BITX = [sys.executable, "-m", "hwmodel.cli"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with tiny dumps in ``in``."""
    write_dumps(tmp_path / "in", 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def batch(bitx, folder):
    """Run a batch in this process, which goes on as the tests do."""

    def run(action, *args, code=0):
        return bitx("batch", action, *args, "-j", "1", code=code)

    return run


def table(path, name):
    with Store.open(path) as store:
        return plain_columns(store.table(name))


def statuses(bitx, *args, code=0):
    found = json.loads(bitx("batch", *args, "-j", "1", "--json", code=code).stdout)
    return [row["status"] for row in found["dumps"]], found


# -- what comes out ----------------------------------------------------------------------------


def test_a_batch_has_what_the_command_has(bitx, batch, folder):
    batch("inspect", "in", "-o", "run.h5")
    bitx("inspect", *sorted((folder / "in").iterdir()), "-o", "single.h5")
    found, single = table("run.h5", "statistics"), table("single.h5", "statistics")
    prefix = f"{folder}/"
    assert [name.removeprefix(prefix) for name in single["tensor"]] == found["tensor"]
    assert list(found) == list(single)
    for name in set(found) - {"tensor", "dump"}:
        np.testing.assert_array_equal(found[name], single[name])
    with Store.open("run.h5") as run, Store.open("single.h5") as one:
        assert run.units("statistics") == one.units("statistics")
        for name in found["tensor"]:
            own, theirs = run.tensors[name], one.tensors[prefix + name]
            assert own.keys() == theirs.keys()
            for key in own:
                np.testing.assert_array_equal(own[key], theirs[key])
                assert own[key].dtype == theirs[key].dtype
    assert sorted(path.name for path in folder.iterdir()) == ["in", "run.h5", "run.timings.h5", "single.h5"]


def test_the_list_of_dumps(batch, folder):
    batch("prune", "in", "-o", "run.h5")
    found = table("run.h5", "dumps")
    assert found["path"] == [f"in/d{n:04}.npz" for n in range(4)]
    assert found["status"] == ["done"] * 4
    assert found["error"] == [None] * 4
    assert found["values"] == [232] * 4
    assert found["bytes"] == [928] * 4
    with Store.open("run.h5") as store:
        inputs = {item.sha256: item.path for item in store.provenance.inputs}
    assert inputs == dict(zip(found["sha256"], (f"{folder}/{path}" for path in found["path"]), strict=True))


def test_each_dump_has_its_own_results(bitx, batch, folder):
    shutil.copytree("in", "in2/sub")
    batch("prune", "in", "in2", "--each", "out", "--rows", "4", "--masks")
    names = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("*.*")}
    own = {f"{place}/d{n:04}.npz" for n in range(4) for place in ("in", "in2/sub")}
    assert names == {*own, *(f"{name}.h5" for name in own), "batch.h5", "batch.timings.h5"}
    bitx("prune", "in/d0001.npz", "-o", "one.npz", "--rows", "4", "--store", "one.h5", "--masks")
    with np.load("one.npz") as one, np.load("out/in/d0001.npz") as pruned:
        for name in one:
            np.testing.assert_array_equal(one[name], pruned[name])
    assert table("out/in/d0001.npz.h5", "pruning") == table("one.h5", "pruning")
    with Store.open("out/in/d0001.npz.h5") as store, Store.open("one.h5") as one:
        np.testing.assert_array_equal(store.tensors["fc"]["row_masks"], one.tensors["fc"]["row_masks"])
    dumps = table("out/batch.h5", "dumps")
    assert (dumps["store"][0], dumps["out"][0]) == ("in/d0000.npz.h5", "in/d0000.npz")
    with Store.open("out/batch.h5") as store:
        assert store.tables == ("dumps",)


def test_a_report_shows_one_dump_of_a_simulation(bitx, batch):
    batch("simulate", "in/d0000.npz", "in/d0001.npz", "-o", "run.h5", "-a", "dadiannao")
    message = bitx.error("report", "run.h5", "-o", "r.html")
    assert "holds 2 dumps, of which a report shows one; bitx batch --each writes a store per dump" in message


def test_selection_and_options(batch):
    batch("inspect", "in/*.npz", "-o", "run.h5", "--include", "f*", "--group", "4")
    found = table("run.h5", "statistics")
    assert found["tensor"] == [f"in/d{n:04}.npz/fc" for n in range(4)]
    assert found["groups"] == [40] * 4


def test_containers_that_are_not_written_give_safetensors(batch, folder):
    import h5py

    with h5py.File("m.h5", "w") as file:
        file["fc"] = np.ones((4, 16), "f4")
    batch("prune", "m.h5", "--each", "out")
    assert {path.name for path in (folder / "out").iterdir()} == {
        "m.h5.safetensors", "m.h5.h5", "batch.h5", "batch.timings.h5",
    }  # fmt: skip


def test_policies(bitx, batch, folder):
    from bitxcore import Policy

    Policy({"fc": {"rows": 2}}).save("p.json")
    batch("prune", "in", "-o", "run.h5", "--policy", "p.json")
    assert {name.rpartition("/")[2] for name in table("run.h5", "pruning")["tensor"]} == {"fc"}
    Policy({"fc": {"rows": 3}}).save("p.json")  # which is another batch
    assert statuses(bitx, "prune", "in", "-o", "run.h5", "--policy", "p.json")[0] == ["done"] * 4
    assert table("run.h5", "pruning")["kept_rows_max"] == [3] * 4
    result = batch("prune", "in", "-o", "run.h5", "--policy", "p.json", "--rows", "4", code=2)
    assert "--policy says how each tensor is pruned" in result.stderr


@pytest.mark.parametrize("text", ["in/d0001.npz\nin/d0003.npz\n"])
def test_manifests(batch, folder, text):
    (folder / "m.txt").write_text(text)
    batch("inspect", "--manifest", "m.txt", "-o", "run.h5")
    assert table("run.h5", "dumps")["path"] == ["in/d0001.npz", "in/d0003.npz"]


def test_simulate(batch, folder, write):
    model = write("onnx")
    batch("simulate", model, "in/d0000.npz", "-o", "run.h5", "-a", "dadiannao", "--positions", "1", code=1)
    dumps = table("run.h5", "dumps")
    assert dumps["status"] == ["failed", "done"]
    assert dumps["error"][0].startswith("--positions ")
    batch("simulate", model, "in/d0000.npz", "-o", "run.h5", "-a", "dadiannao")
    found = table("run.h5", "simulation")
    assert list(found)[:2] == ["dump", "layer"]
    assert set(found["dump"]) == {str(model), "in/d0000.npz"}


@pytest.mark.slow
def test_evaluate_and_prepare(bitx, folder, sample):
    rng = np.random.default_rng(0)
    np.savez("data.npz", image=rng.random((20, 1, 8, 8), "f4"), labels=rng.integers(0, 10, 20))
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(sample, name)
    bitx(
        "batch",
        "evaluate",
        "a.onnx",
        "b.onnx",
        "--data",
        "data.npz",
        "--rows",
        "6,4",
        "-o",
        "e.h5",
        "-j",
        "2",
    )
    assert table("e.h5", "evaluation")["dump"] == ["a.onnx"] * 3 + ["b.onnx"] * 3
    how = ["--calibration", "data.npz", "--ones", "2", "--method", "nearest"]
    bitx("batch", "prepare", "a.onnx", "b.onnx", *how, "--each", "out", "-j", "1")
    assert {path.name for path in (folder / "out").iterdir()} == {
        "a.onnx", "b.onnx", "a.onnx.h5", "b.onnx.h5", "batch.h5", "batch.timings.h5",
    }  # fmt: skip
    assert max(table("out/a.onnx.h5", "preparation")["ones_max"]) == 2
    bitx("prepare", "a.onnx", *how, "-o", "one.onnx")
    assert (folder / "one.onnx").read_bytes() == (folder / "out" / "a.onnx").read_bytes()


@pytest.mark.parametrize("action", ["inspect", "prune"])
def test_large_dumps_are_cut_into_units(bitx, batch, folder, monkeypatch, action):
    """Of some tensors each; nothing of the results tells."""
    from bitxcore import Policy
    from bitxcore.batch.runs import units

    rng = np.random.default_rng(0)
    np.savez("w.npz", **{f"w{n:02}": rng.normal(size=(8, 8 + n)).astype("f4") for n in range(9)})
    how = [] if action == "inspect" else ["--masks", "--policy", "p.json"]
    Policy({f"w{n:02}": {"rows": 2 + n} for n in range(9)}).save("p.json")
    batch(action, "w.npz", "-o", "whole.h5", *how)
    monkeypatch.setattr(units, "UNIT_BYTES", 1000)
    batch(action, "w.npz", "-o", "cut.h5", *how, "--log-json", "log")
    events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [event["of"] for event in events if event["event"] == "done"] == [4] * 4
    name = {"inspect": "statistics", "prune": "pruning"}[action]
    assert table("cut.h5", name) == table("whole.h5", name)
    assert len(table("cut.h5", name)["tensor"]) == 9
    with Store.open("cut.h5") as cut, Store.open("whole.h5") as whole:
        assert list(cut.tensors) == list(whole.tensors)
        for tensor in cut.tensors:
            for key, values in whole.tensors[tensor].items():
                np.testing.assert_array_equal(cut.tensors[tensor][key], values)


def test_folders_that_were_made_are_made_again(bitx, batch, folder, stop_after):
    """A folder of dumps gives a folder, which is never replaced unless the batch itself has made it."""
    (folder / "m.txt").write_text("in\n")
    args = ["prune", "--manifest", "m.txt", "--each", "out"]
    stopped(stop_after, bitx, 0, *args)
    assert (folder / "out" / "in" / "d0000.npz").exists()
    assert statuses(bitx, *args)[0] == ["done"]
    batch(*args, "--rows", "3", code=1)
    assert "must be new or empty" in table("out/batch.h5", "dumps")["error"][0]


# -- going on ----------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def stop_after(monkeypatch):
    """Let a run end after so many units."""

    def arrange(units):
        kept = running._Run._keep
        left = [units]

        def keep(self, outcome):
            if not left[0]:
                raise StoppedError
            left[0] -= 1
            kept(self, outcome)

        with monkeypatch.context() as patch:
            patch.setattr(running._Run, "_keep", keep)
            yield

    return arrange


def stopped(stop_after, bitx, units, *args):
    for _ in stop_after(units):
        with pytest.raises(StoppedError):
            bitx("batch", *args, "-j", "1")


def test_what_was_done_is_not_done_again(bitx, batch, folder, stop_after):
    args = ["prune", "in", "-o", "run.h5"]
    batch(*args)
    expected = without_time(folder / "run.h5")
    (folder / "run.h5").unlink()
    stopped(stop_after, bitx, 2, *args)
    assert not (folder / "run.h5").exists()
    assert len(list((folder / "run.h5.parts").glob("*.part"))) == 2
    sys.argv[:] = ["bitx"]
    found, document = statuses(bitx, *args)
    assert found == ["reused", "reused", "done", "done"]
    assert document["failed"] == 0
    assert not (folder / "run.h5.parts").exists()
    # The command line is a part of the provenance: the same one as at first.
    (folder / "run.h5").unlink()
    stopped(stop_after, bitx, 2, *args)
    batch(*args)
    assert without_time(folder / "run.h5") == expected


def written(path):
    """What changes when a file is written, and not when it is read."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def test_a_complete_output_is_left_alone(batch, folder):
    batch("inspect", "in", "-o", "run.h5")
    before = written(folder / "run.h5")
    result = batch("inspect", "in", "-o", "run.h5")
    assert result.stdout == "run.h5 is complete: 4 dumps; nothing to do\n"
    assert written(folder / "run.h5") == before
    assert not (folder / "run.h5.parts").exists()


@pytest.mark.parametrize("name", ["d0001.npz", "d0001.npz.h5"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "other"])
def test_a_complete_output_of_which_a_file_is_damaged_is_mended(bitx, batch, folder, name, damage):
    args = ["prune", "in", "--each", "out"]
    batch(*args)
    dumps, pruned = table("out/batch.h5", "dumps"), table("out/d0001.npz.h5", "pruning")
    made = (folder / "out" / "d0001.npz").read_bytes()
    assert dumps["out_sha256"][1] == hashlib.sha256(made).hexdigest()
    assert dumps["out_bytes"][1] == len(made)
    times = {n: (folder / "out" / f"d000{n}.npz.h5").stat().st_mtime_ns for n in (0, 2, 3)}
    path = folder / "out" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "other":
        shutil.copy(folder / "out" / name.replace("1", "2"), path)
    else:
        path.write_bytes(data[:-1] if damage == "cut" else data[:200] + bytes([data[200] ^ 1]) + data[201:])
    assert statuses(bitx, *args)[0] == ["reused", "done", "reused", "reused"]
    assert times == {n: (folder / "out" / f"d000{n}.npz.h5").stat().st_mtime_ns for n in times}
    assert (folder / "out" / "d0001.npz").read_bytes() == made
    assert (table("out/batch.h5", "dumps"), table("out/d0001.npz.h5", "pruning")) == (dumps, pruned)
    assert "nothing to do" in batch(*args).stdout


def test_a_repair_that_fails_keeps_what_was_finished(bitx, batch, folder):
    args = ["prune", "in", "--each", "out"]
    batch(*args)
    made = folder / "out" / "d0001.npz"
    made.unlink()
    made.mkdir()
    batch(*args, code=1)
    made.rmdir()
    assert "1 done, 3 reused" in batch(*args).stdout
    assert "nothing to do" in batch(*args).stdout


def test_a_batch_whose_store_has_no_digests_is_complete_if_all_is_there(batch, folder, monkeypatch):
    args = ["prune", "in", "--each", "out"]
    kept = ("path", "sha256", "status", "error", "tensors", "values", "bytes", "store", "out")
    units = {name: unit for name, unit in assembling.DUMP_UNITS.items() if name in kept}
    with monkeypatch.context() as patch:
        patch.setattr(assembling, "DUMP_UNITS", units)
        batch(*args)
    assert "out_sha256" not in table("out/batch.h5", "dumps")
    assert "nothing to do" in batch(*args).stdout
    (folder / "out" / "d0001.npz").unlink()
    assert "1 done, 3 reused" in batch(*args).stdout


def test_other_content_or_options_are_another_batch(bitx, batch, folder):
    args = ["prune", "in", "-o", "run.h5", "--keep-parts"]
    batch(*args)
    np.savez("in/d0001.npz", fc=np.ones((4, 8), "f4"))
    assert statuses(bitx, *args)[0] == ["reused", "done", "reused", "reused"]
    assert statuses(bitx, *args, "--rows", "5")[0] == ["done"] * 4
    assert statuses(bitx, *args)[0] == ["reused"] * 4
    os.rename("in/d0003.npz", "in/other.npz")
    assert statuses(bitx, *args)[0] == ["reused"] * 4
    assert len(list((folder / "run.h5.parts").glob("*.part"))) == 9
    batch(*args[:-1])  # complete, and parts are not to be kept
    assert not (folder / "run.h5.parts").exists()


def test_another_release_does_all_again(bitx, batch, stop_after, monkeypatch):
    stopped(stop_after, bitx, 3, "prune", "in", "-o", "run.h5")
    monkeypatch.setattr(running, "code_hash", lambda packages: "other")
    assert statuses(bitx, "prune", "in", "-o", "run.h5")[0] == ["done"] * 4


def test_a_damaged_part_is_done_again(bitx, batch, folder, stop_after):
    stopped(stop_after, bitx, 3, "prune", "in", "-o", "run.h5")
    part = sorted((folder / "run.h5.parts").glob("*.part"))[1]
    part.write_bytes(part.read_bytes()[:-1])
    assert sorted(statuses(bitx, "prune", "in", "-o", "run.h5")[0]) == ["done", "done", "reused", "reused"]


def test_a_dump_that_was_made_and_is_gone_is_made_again(bitx, batch, folder, stop_after):
    stopped(stop_after, bitx, 3, "prune", "in", "--each", "out")
    (folder / "out" / "d0000.npz").unlink()
    (folder / "out" / "d0001.npz").write_bytes(b"other")
    assert statuses(bitx, "prune", "in", "--each", "out")[0] == ["done", "done", "reused", "done"]
    with np.load("out/d0001.npz") as found:
        assert sorted(found) == ["conv", "fc"]


def test_dumps_of_the_same_content_are_worked_on_once(batch, folder):
    shutil.copy("in/d0000.npz", "in/z.npz")
    batch("prune", "in", "-o", "run.h5", "--log-json", "log")
    events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert sum(event["event"] == "done" for event in events) == 4
    rows = table("run.h5", "pruning")
    first, last = (rows["dump"].index(f"in/{name}.npz") for name in ("d0000", "z"))
    assert rows["relative_error"][first] == rows["relative_error"][last]


def test_a_dump_that_changes_meanwhile_fails(batch, folder, monkeypatch):
    run = running.run_job

    def change(job):
        if job.path.endswith("d0002.npz"):
            np.savez("in/d0002.npz", fc=np.ones((4, 8), "f4"))
        return run(job)

    monkeypatch.setattr(running, "run_job", change)
    batch("prune", "in", "-o", "run.h5", code=1)
    assert table("run.h5", "dumps")["status"] == ["done", "done", "failed", "done"]
    assert "changed while the batch ran" in table("run.h5", "dumps")["error"][2]


# -- what fails --------------------------------------------------------------------------------


def test_bad_dumps_and_tensors_do_not_stop_the_rest(bitx, batch, folder):
    bad = np.ones((4, 16), "f4")
    bad[1, 2] = np.nan
    np.savez("in/bad.npz", a=bad, b=np.ones((4, 16), "f4"), c=bad)
    (folder / "in" / "broken.npz").write_bytes(b"PK")
    result = batch("prune", "in", "-o", "run.h5", code=1)
    assert "tensor 'a': value nan at flat index 18: float32 must be finite (and 1 more)" in result.stdout
    assert "what is done is kept in run.h5.parts" in result.stdout
    assert result.stderr == ""
    found = table("run.h5", "dumps")
    assert found["status"] == ["failed", "failed", "done", "done", "done", "done"]
    assert found["error"][1] == "can't be read: File is not a zip file"
    failures = table("run.h5", "failures")
    assert failures["dump"] == ["in/bad.npz", "in/bad.npz", "in/broken.npz"]
    assert failures["tensor"] == ["a", "c", None]
    assert "in/bad.npz/b" in table("run.h5", "pruning")["tensor"]
    # After they are mended, the rest is not done again.
    np.savez("in/bad.npz", a=np.ones((4, 16), "f4"))
    (folder / "in" / "broken.npz").unlink()
    assert statuses(bitx, "prune", "in", "-o", "run.h5")[0] == ["done", *["reused"] * 4]


@pytest.mark.parametrize("action", ["inspect", "prune"])
def test_a_dump_with_a_bad_tensor_is_not_written(batch, folder, action):
    bad = np.full((4, 16), np.inf, "f4")
    np.savez("in/bad.npz", a=bad, b=np.ones((4, 16), "f4"))
    batch(action, "in", "--each", "out", code=1)
    assert not (folder / "out" / "bad.npz").exists()
    name = "pruning" if action == "prune" else "statistics"
    assert table("out/bad.npz.h5", name)["tensor"] == ["b"]
    assert table("out/bad.npz.h5", "failures")["tensor"] == ["a"]


@pytest.mark.parametrize("memory", ["1GiB", "1KiB"])
@pytest.mark.parametrize("name", ["bad.npz", "bad.safetensors", "bad.h5"])
def test_a_bad_tensor_that_is_written_in_pieces_does_not_stop_the_rest(batch, folder, name, memory):
    bad = np.ones((40, 64), "f4")
    bad[39, 2] = np.nan
    tensors = {"a": bad, "b": np.ones((40, 64), "f4"), "c": bad[::-1].copy()}
    if name.endswith(".h5"):  # which is written as another container
        with h5py.File(f"in/{name}", "w") as file:
            for key, values in tensors.items():
                file.create_dataset(key, data=values, chunks=(8, 64))
    elif name.endswith(".npz"):
        np.savez(f"in/{name}", **tensors)
    else:
        save_file(tensors, f"in/{name}")
    batch("prune", f"in/{name}", "--each", "out", "--memory", memory, "--masks", code=1)
    assert table(f"out/{name}.h5", "pruning")["tensor"] == ["b"]
    assert table(f"out/{name}.h5", "failures")["tensor"] == ["a", "c"]
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("batch.h5", "batch.h5.parts", "batch.timings.h5"),
        f"{name}.h5",
    }


def test_a_dump_that_is_gone_before_it_is_hashed_does_not_stop_the_rest(batch, folder, monkeypatch):
    jobs = running.run_job

    def run_job(job):
        (folder / "in" / "d0002.npz").unlink(missing_ok=True)
        return jobs(job)

    monkeypatch.setattr(running, "run_job", run_job)
    batch("inspect", "in", "-o", "run.h5", code=1)
    assert table("run.h5", "dumps")["status"] == ["done", "done", "failed", "done"]
    assert table("run.h5", "failures")["dump"] == ["in/d0002.npz"]


def test_errors_of_the_programme_fail_a_dump(batch, monkeypatch):
    from bitxcore.batch.runs import dump_actions

    def fail(*args, **options):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(dump_actions, "inspect_dump", fail)
    batch("inspect", "in/d0000.npz", "-o", "run.h5", code=1)
    assert table("run.h5", "failures")["error"] == ["internal error: ZeroDivisionError: no"] * 2


def test_a_folder_and_a_part_of_it_are_refused_before_any_work(batch, folder):
    (folder / "m.txt").write_text("in\nin/d0001.npz\n")
    result = batch("inspect", "--manifest", "m.txt", "-o", "run.h5", code=1)
    assert result.stderr == (
        "bitx: error: in/d0001.npz: is part of in, which is a dump of this batch, too;"
        " leave one of them out, or use --each\n"
    )
    assert not (folder / "run.h5.parts").exists()
    batch("inspect", "--manifest", "m.txt", "--each", "out")


def test_manifests_may_name_what_is_not_there(batch, folder):
    (folder / "m.txt").write_text("in/d0001.npz\ngone.npz\n")
    batch("inspect", "--manifest", "m.txt", "-o", "run.h5", code=1)
    assert table("run.h5", "dumps")["error"] == [None, "does not exist"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["gone.npz", "-o", "r.h5"], "gone.npz: does not exist"),
        (["in/*.onnx", "-o", "r.h5"], "in/*.onnx: no dump fits the pattern"),
        (["in", "-o", "gone/r.h5"], "can't be written: gone is not an existing folder"),
        (["in", "-o", "in"], "a store is an HDF5 file"),
        (["w.h5", "-o", "w.h5"], "w.h5: is the input; choose another output"),
        (["w.h5", "-o", "r.h5", "--log-json", "w.h5"], "w.h5: is the input"),
        (["in", "--each", "gone/out"], "gone"),
        (["in", "--each", "."], None),
        (["in/d0000.npz", "--each", "in"], "in/d0000.npz: is the input; choose another folder"),
        (["in", "-o", "r.npz"], "a store is an HDF5 file, its name must end in .h5 or .hdf5"),
    ],
)
def test_bad_input(bitx, batch, folder, args, message):
    import h5py

    with h5py.File("w.h5", "w") as file:
        file["a"] = np.ones((2, 8), "f4")
    before = sorted(path.name for path in (folder / "in").iterdir())
    if message is None:
        bitx("batch", "prune", *args, "-j", "1")
        return
    assert message in bitx.error("batch", "prune", *args, "-j", "1")
    assert not (folder / "r.h5").exists()
    assert sorted(path.name for path in (folder / "in").iterdir()) == before


def test_bad_usage(bitx, folder):
    for args, message in (
        (["inspect", "in"], "say where results go"),
        (["inspect", "-o", "r.h5"], "say what the batch is of"),
        (["prune", "in", "-o", "r.h5", "--criterion", "calibrated"], "--criterion calibrated needs --norms"),
        (["inspect", "in", "-o", "r.h5", "--group", "whole"], "needs --grouping kernel"),
        (["inspect", "in", "-o", "r.h5", "--log-json", "r.h5"], "are the same file"),
        (["explain", "in", "-o", "r.h5"], "No such command"),
    ):
        assert message in bitx("batch", *args, code=2).stderr


def test_an_unknown_tensor_fails_its_dump(batch):
    batch("inspect", "in", "-o", "run.h5", "--include", "nobody", code=1)
    assert set(table("run.h5", "dumps")["error"]) == {"no tensor is named like 'nobody'"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_not_be_written(bitx, folder):
    (folder / "closed").mkdir(mode=0o500)
    assert "Permission denied" in bitx.error("batch", "inspect", "in", "-o", "closed/r.h5", "-j", "1")


# -- what is said ------------------------------------------------------------------------------


def test_the_plan(bitx, folder):
    assert bitx("batch", "prune", "in", "-o", "run.h5", "-j", "2", "--dry-run").stdout.splitlines()[::3] == [
        "4 dumps, 8 tensors, 928 values, 3.71 kB",
        "nothing done: --dry-run",
    ]
    plan = bitx.json("batch", "prune", "in", "-o", "run.h5", "-j", "2", "--dry-run")
    assert (plan["tensors"], plan["units"], plan["jobs"], plan["written"]) == (8, 4, 2, [])
    assert plan["expected_seconds"] > 0
    assert sorted(path.name for path in folder.iterdir()) == ["in"]


def test_the_time_that_is_expected(bitx, batch, folder):
    def said(action, *args):
        return bitx("batch", action, "in", "-o", "run.h5", *args).stdout.splitlines()

    assert "time: about " in said("inspect", "-j", "1", "--dry-run")[2]
    assert said("simulate", "-j", "1", "--dry-run")[2] == "time: known after the first dump"
    assert said("prune", "--scheduler", "tcp://h:1", "--dry-run")[2] == "time: known after the first unit"
    more = batch("prune", "in", "-o", "a.h5", "-v").stderr
    assert "bitx: time: about" in more
    assert more.count("bitx: expected: about") == 1
    assert "expected" not in batch("prune", "in/d0000.npz", "-o", "b.h5", "-v").stderr  # nothing is left


def test_logs(batch, folder):
    (folder / "in" / "broken.npz").write_bytes(b"PK")
    result = batch("prune", "in", "-o", "run.h5", "--log-json", "log", "-v", "--profile", code=1)
    events = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "start", "failed", *["begun", "done"] * 4, "store", "end",
    ]  # fmt: skip
    assert all(event["time"] for event in events)
    assert events[3]["seconds"].keys() >= {"read", "compute", "keep"}
    assert events[-1] == {**events[-1], "units_done": 4, "units_reused": 0, "failed": 1}
    assert "error" not in events[-1]
    assert "bitx: begun: in/d0000.npz\nbitx: done: in/d0000.npz\n" in result.stderr
    assert "bitx: failed: in/broken.npz: can't be read" in result.stderr
    assert "time by stage" in result.stdout
    stages = table("run.timings.h5", "stages")
    assert {"hash", "check", "read", "compute", "keep"} <= set(stages["stage"])
    timings = table("run.timings.h5", "timings")
    assert timings["dump"] == [f"in/d{n:04}.npz" for n in range(4)]
    assert all(seconds > 0 for seconds in timings["compute"])
    batch("prune", "in", "-o", "run.h5", "--log-json", "log", code=1)  # lines are added
    assert len((folder / "log").read_text().splitlines()) > len(events)


def test_rows_as_csv(bitx, folder):
    lines = bitx("batch", "inspect", "in", "-o", "run.h5", "-j", "1", "--csv", "-").stdout.splitlines()
    assert lines[0].startswith("path,sha256,status,error,tensors,values,bytes")
    assert len(lines) == 5


# -- several at a time, and full disks ---------------------------------------------------------


def test_a_second_run_says_that_there_is_one(bitx, folder):
    with Spool(folder / "run.h5"):
        message = bitx.error("batch", "inspect", "in", "-o", "run.h5", "-j", "1")
    assert message == "run.h5: another run is at work on this output; --wait waits for it"


def test_a_second_run_waits(bitx, batch, folder):
    first = Spool(folder / "run.h5")
    timer = threading.Timer(0.5, first.close)
    timer.start()
    start = time.monotonic()
    batch("inspect", "in", "-o", "run.h5", "--wait")
    assert time.monotonic() - start >= 0.4
    timer.join()


@pytest.mark.slow
def test_two_runs_on_one_output(folder):
    args = [*BITX, "batch", "prune", "in", "-o", "run.h5", "--wait"]
    both = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [run.communicate(timeout=120)[0] for run in both]
    assert [run.returncode for run in both] == [0, 0]
    assert sorted("nothing to do" in text for text in printed) == [False, True]
    assert table("run.h5", "dumps")["status"] == ["done"] * 4
    assert not (folder / "run.h5.parts").exists()


def test_a_disk_that_fills_up(bitx, batch, folder, monkeypatch):
    """What it would do: the test below needs a disk of its own."""
    batch("prune", "in", "-o", "run.h5")
    before = (folder / "run.h5").read_bytes()
    written = Spool.write
    left = [2]

    def write(self, key, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path(key)))
        left[0] -= 1
        written(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "write", write)
        args = ["prune", "in", "-o", "run.h5", "--rows", "3", "-j", "1", "--log-json", "log"]
        message = bitx.error("batch", *args)
    assert "can't be written: No space left on device; make room" in message
    end = json.loads((folder / "log").read_text().splitlines()[-1])
    assert (end["event"], end["units_done"], end["failed"], end["error"]) == ("end", 2, 0, message)
    assert (folder / "run.h5").read_bytes() == before
    found = statuses(bitx, "prune", "in", "-o", "run.h5", "--rows", "3")[0]
    assert found == ["reused", "reused", "done", "done"]


@pytest.fixture
def small_disk(folder):
    """A file system of 300 kB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small file system")
    place = folder / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk(bitx, folder, small_disk):
    write_dumps(folder / "many", 40, seed=3)
    args = ["prune", "many", "-o", "small/run.h5", "-j", "1"]
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(180_000))
    message = bitx.error("batch", *args)
    assert "No space left on device; make room, and give the same command again" in message
    kept = len(list((small_disk / "run.h5.parts").glob("*.part")))
    assert 0 < kept < 40
    assert not (small_disk / "run.h5").exists()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    found, _ = statuses(bitx, *args[:-2])
    assert found.count("reused") == kept
    assert found.count("done") == 40 - kept
    sys.argv[:] = ["bitx", "batch", *args]
    bitx("batch", "prune", "many", "-o", "run.h5", "-j", "1")
    assert table("run.h5", "pruning") == table("small/run.h5", "pruning")


# -- signals -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_how_to_go_on(folder, name):
    write_dumps(folder / "many", 60, seed=3)
    args = [*BITX, "batch", "prune", "many", "-o", "run.h5", "-j", "2", "-v"]

    def usual_signals():
        for each in ("SIGINT", "SIGTERM"):
            signal.signal(getattr(signal, each), signal.SIG_DFL)

    run = subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=usual_signals
    )
    while not run.stderr.readline().startswith("bitx: done"):
        pass
    run.send_signal(getattr(signal, name))
    _, said = run.communicate(timeout=60)
    word = {"SIGINT": "interrupted", "SIGTERM": "terminated"}[name]
    assert said.splitlines()[-1] == f"bitx: {word}; run.h5.parts keeps what is done; the same command goes on"
    assert run.returncode == 128 + getattr(signal, name)
    assert not (folder / "run.h5").exists()
    again = subprocess.run(args, capture_output=True, text=True, check=True)
    assert "reused" in again.stdout


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(folder):
    write_dumps(folder / "many", 60, seed=3)
    args = [*BITX, "batch", "prune", "many", "-o", "run.h5", "-j", "2", "-v", "--log-json", "log"]
    run = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not run.stderr.readline().startswith("bitx: done"):
        pass
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    pids = children.read_text().split() if children.exists() else []
    workers = [int(pid) for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if not workers:
        run.kill()
        pytest.skip("no process can be found here")
    os.kill(workers[-1], signal.SIGKILL)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    rows = table("run.h5", "pruning")["tensor"]
    assert len(rows) == len(set(rows)) == 120
