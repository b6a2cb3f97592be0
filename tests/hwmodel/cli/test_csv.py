"""``--csv``: the rows of a result with all columns, under the names of the store's."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest

from bitxcore.store import Store
from hwmodel.cli.view import csv_text

SAMPLE = str(Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx")
DIGITS = [SAMPLE, "--size", "N=1"]
SMALL = ["-a", "bitx:dram=none", "--vary", "rows=4,5", "-j", 1]
STORED = {
    "statistics": ["inspect", SAMPLE, "--preset", "wild", "-o", "{out}/r.h5"],
    "pruning": ["prune", SAMPLE, "-o", "{out}/p.onnx", "--store", "{out}/r.h5"],
    "traces": ["trace", SAMPLE, "--input", str(Path(SAMPLE).with_name("three.png")), "-o", "{out}/r.h5"],
    "simulation": ["simulate", *DIGITS, "-o", "{out}/r.h5"],
    "networks": ["simulate", *DIGITS, "--summary", "-o", "{out}/r.h5"],
    "sweep": ["sweep", *DIGITS, *SMALL, "-o", "{out}/r.h5"],
    "evaluation": ["evaluate", "--task", "digits", "--quick", "--rows", "6", "-o", "{out}/r.h5"],
    "reproduction": ["reproduce", "--only", "Contradictions", "-o", "{out}/r.h5"],
}
"""By table of the store."""


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", STORED)
def test_rows_are_the_stores(bitx, out, table):
    result = bitx(*[str(arg).format(out=out) for arg in STORED[table]], "--csv", out / "r.csv")
    assert f"{out / 'r.csv'} (" in result.stdout.splitlines()[-1]
    rows = read(out / "r.csv")
    with Store.open(out / "r.h5") as store:
        columns = store.table(table)
        assert set(rows[0]) <= set(columns)
        assert set(columns) - set(rows[0]) <= {"network"}
        assert len(rows) == len(next(iter(columns.values())))
        for name in rows[0]:
            for row, value in zip(rows, columns[name], strict=True):
                if np.ma.is_masked(value) or (isinstance(value, float) and np.isnan(value)):
                    assert row[name] == ""
                elif isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
                    assert float(row[name]) == value
                elif isinstance(value, str):
                    assert row[name] == value


def test_other_commands(bitx, out):
    runs = {
        "software-prune": [SAMPLE, "--method", "l1", "--ratio", 0.25, "-o", out / "s.onnx"],
        "prepare": ["--task", "digits", "--ones", 2, "--method", "nearest", "--samples", 4, "-o",
                    out / "q.onnx"],
    }  # fmt: skip
    for name, args in runs.items():
        document = bitx.json(name, *args, "--csv", out / f"{name}.csv")
        assert document["written"][-1] == str(out / f"{name}.csv")
        rows = read(out / f"{name}.csv")
        assert [row["tensor"] for row in rows] == [row["tensor"] for row in document["tensors"]]
        assert set(rows[0]) == set(document["tensors"][0])


@pytest.mark.parametrize("what", ["networks", "accelerators"])
def test_lists(bitx, what):
    found = list(csv.DictReader(io.StringIO(bitx("list", what, "--csv", "-").stdout)))
    rows = bitx.json("list", what)[what]
    assert [set(row) for row in found] == [set(row) for row in rows]
    assert [next(iter(row.values())) for row in found] == [next(iter(row.values())) for row in rows]


def test_standard_output_holds_nothing_else(bitx, out):
    text = bitx("inspect", SAMPLE, "--csv", "-", "-o", out / "r.h5").stdout
    assert len(list(csv.DictReader(io.StringIO(text)))) == 13
    assert os.listdir(out) == ["r.h5"]
    bitx("inspect", SAMPLE, "--csv", "-", "--json", code=2)


def test_names_and_values_come_back():
    pandas = pytest.importorskip("pandas")
    names = ['a"b,c\n', "=1+1", "-x", "@é", "\u202e", "\x1b[2J"]
    rows = [{"tensor": name, "error": 0.1 + i, "count": None, "ok": True} for i, name in enumerate(names)]
    rows[0]["shape"] = (16, 3)
    frame = pandas.read_csv(io.StringIO(csv_text(rows)))
    assert frame["tensor"].tolist() == names
    assert frame["error"].tolist() == [row["error"] for row in rows]
    assert frame["count"].isna().all()
    assert frame["ok"].all()
    assert frame["shape"].tolist()[0] == "16x3"
    shown = csv_text(rows, shown=True)
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == len(rows) + 1


def test_no_input_is_overwritten(bitx, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(Path(SAMPLE).read_bytes())
    (tmp_path / "link.csv").symlink_to(model)
    for path in (model, tmp_path / "link.csv"):
        for args in (
            ["inspect", model],
            ["simulate", model, "--size", "N=1", "-a", "dadiannao"],
            ["sweep", model, "--size", "N=1", *SMALL],
            ["prune", model, "-o", tmp_path / "p.onnx"],
            ["software-prune", model, "--method", "l1", "--ratio", 0.25, "-o", tmp_path / "p.onnx"],
        ):
            assert "is the input" in bitx.error(*args, "--csv", path)
    inside = tmp_path / "dumps"
    inside.mkdir()
    np.save(inside / "w.npy", np.ones((8, 8), "f4"))
    assert "is the input" in bitx.error("inspect", inside, "--csv", inside / "w.npy")
    assert model.read_bytes() == Path(SAMPLE).read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["dumps", "link.csv", "m.onnx"]


def test_no_task_is_overwritten(bitx, tmp_path):
    (link := tmp_path / "link.csv").symlink_to(SAMPLE)
    for args in (
        ["evaluate", "--task", "digits", "--rows", 6],
        ["prepare", "--task", "digits", "--ones", 2, "-o", tmp_path / "q.onnx"],
    ):
        assert "is the input" in bitx.error(*args, "--csv", link)


@pytest.mark.parametrize("name", ["run.h5", "model.ONNX"])
def test_no_store_or_model_is_overwritten(bitx, tmp_path, name):
    (other := tmp_path / name).write_bytes(b"results")
    assert "choose a name that ends in .csv" in bitx("inspect", SAMPLE, "--csv", other, code=2).stderr
    assert other.read_bytes() == b"results"


@pytest.mark.parametrize("path", ["nowhere/r.csv", "."])
def test_bad_paths(bitx, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    bitx.error("inspect", SAMPLE, "--csv", path)
    assert os.listdir(tmp_path) == []


def test_one_file_is_not_two_outputs(bitx, tmp_path):
    same = tmp_path / "r"
    assert (
        "--csv and --output are the same file"
        in bitx("inspect", SAMPLE, "-o", same, "--csv", same, code=2).stderr
    )
