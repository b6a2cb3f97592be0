"""`bitx verify`: a line for each fault, folders, exit status, and what programs read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bitxcore.broken_stores import edit, write_good

ARCHIVES = Path(__file__).parents[2] / "archives"
OLD, NEW, *_ = sorted(ARCHIVES.glob("*/prune.h5"))
RULE = "must be the mean of kept_rows_histogram of the tensor"


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """A folder with one sound store, and one with a fault below."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "more").mkdir(parents=True)
    shutil.copy(NEW, "runs/a.h5")
    shutil.copy(OLD, "runs/more/b.hdf5")

    def change(file):
        file["pruning/kept_rows_mean"][1] = 4.5

    edit(Path("runs/more/b.hdf5"), change)
    return tmp_path / "runs"


def test_a_sound_store(bitx):
    assert bitx("verify", OLD).stdout == (
        f"{OLD}: sound: 1 table, 2 tensors, 29 arrays, 29 of them without a checksum\n"
    )


def test_a_fault_is_a_line(bitx, stores):
    assert bitx("verify", "runs", code=1).stdout.splitlines() == [
        "runs/a.h5: sound: 1 table, 2 tensors, 34 arrays",
        f"runs/more/b.hdf5: /pruning/kept_rows_mean: row 1: {RULE}: expected 5.0, found 4.5",
        "1 of 2 stores has a fault",
    ]


def test_for_programs(bitx, stores):
    import json

    document = json.loads(bitx("verify", "runs", "runs/a.h5", "--json", code=1).stdout)
    assert not document["is_sound"]
    first, second = document["stores"]
    assert first["is_sound"]
    assert first["is_sealed"]
    assert (first["version"], first["checksums"], first["findings"]) == ("1.1", 34, [])
    assert second["path"] == "runs/more/b.hdf5"
    assert second["findings"] == [
        {
            "rule": "arrays",
            "place": "/pruning/kept_rows_mean",
            "message": RULE,
            "index": 1,
            "count": 1,
            "expected": 5.0,
            "found": 4.5,
            "text": f"/pruning/kept_rows_mean: row 1: {RULE}: expected 5.0, found 4.5",
        }
    ]


def test_what_is_no_store(bitx, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"no")
    assert bitx("verify", path, code=1).stdout == f"{path}: not an HDF5 file\n"
    assert bitx("verify", tmp_path / "b.h5", code=1).stdout == f"{tmp_path}/b.h5: there is no such file\n"


def test_a_folder_without_stores(bitx, tmp_path):
    assert bitx.error("verify", tmp_path) == f"{tmp_path}: no file in this folder ends in .h5 or .hdf5"


def test_names_that_a_terminal_would_obey(bitx, tmp_path):
    path = tmp_path / "run.h5"
    write_good(path, ["area"])

    def change(file):
        file["area/accelerator"][1] = file["area/accelerator"][0] = "\x1b[2J"
        file["area/part"][1] = file["area/part"][0]

    edit(path, change)
    text = bitx("verify", path, code=1).stdout
    assert "row 1: must have one row per accelerator and part: found " in text
    assert "\x1b" not in text


def test_what_commands_write_is_sound(bitx, tmp_path, monkeypatch, sample):
    monkeypatch.chdir(tmp_path)
    size = ["--size", "N=1"]
    bitx("inspect", sample, "--preset", "wild", "-o", "inspect.h5")
    bitx("prune", sample, "-o", "p.onnx", "--store", "prune.h5", "--masks", "--format", "fixed16")
    machines = ["-a", "bitx", "-a", "bitx:serial=activations,serial_unit=row", "-a", "eie", "-a", "dadiannao"]
    bitx("simulate", sample, *size, *machines, "-o", "simulate.h5")
    bitx(
        "sweep",
        sample,
        *size,
        "-a",
        "bitx",
        "-j",
        "1",
        "--vary",
        "dram=none,DDR4-2400_x64_bgint",
        "-o",
        "s.h5",
    )
    document = bitx.json("verify", ".")
    assert document["is_sound"], document
    assert len(document["stores"]) == 4
    assert all(store["checksums"] == store["arrays"] > 50 for store in document["stores"])


@pytest.mark.slow
def test_what_other_commands_write_is_sound(bitx, tmp_path, monkeypatch, sample):
    monkeypatch.chdir(tmp_path)
    picture = sample.parent / "three.png"
    bitx("simulate", sample, "--size", "N=1", "-a", "all", "-o", "all.h5")
    bitx("evaluate", "--task", "digits", "--quick", "--rows", "6,8", "--format", "own,fixed8", "-o", "e.h5")
    bitx("reproduce", "--only", "Contradictions", "-o", "reproduce.h5")
    bitx("trace", sample, "--input", picture, "-o", "trace.h5")
    bitx("trace", sample, "--input", picture, "-o", "norms.h5", "--norms")
    bitx("inspect", sample, sample.with_name("digit_detector.onnx"), "-o", "two.h5")
    bitx(
        "prune",
        sample,
        "-o",
        "p.onnx",
        "--store",
        "p.h5",
        "--masks",
        "--group",
        "whole",
        "--grouping",
        "kernel",
    )
    document = bitx.json("verify", ".")
    assert document["is_sound"], document
    assert len(document["stores"]) == 7
