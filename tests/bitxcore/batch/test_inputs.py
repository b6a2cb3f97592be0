"""Which dumps a batch is of."""

import json

import numpy as np
import pytest

from bitxcore.batch.runs.inputs import find_inputs
from bitxcore.errors import BitxError, DumpError
from bitxcore.store import Store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with dumps, and files that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "b").mkdir(parents=True)
    for name in ("runs/2.npz", "runs/10.npz", "runs/b/1.npz"):
        np.savez(tmp_path / name, w=np.ones((2, 8), "f4"))
    (tmp_path / "runs" / "notes.txt").write_text("x")
    (tmp_path / "runs" / ".hidden.npz").write_text("x")
    return tmp_path


def names(given, manifest=None, **options):
    return [str(path) for path in find_inputs(given, manifest, **options)]


def test_folders_are_searched(folder):
    assert names(["runs"]) == ["runs/10.npz", "runs/2.npz", "runs/b/1.npz"]


def test_patterns(folder):
    assert names(["runs/*.npz"]) == ["runs/10.npz", "runs/2.npz"]
    assert names(["runs/**/*"]) == ["runs/10.npz", "runs/2.npz", "runs/b/1.npz"]


def test_order_is_that_given_and_each_is_taken_once(folder):
    assert names(["runs/b", "runs/2.npz", "runs"]) == ["runs/b/1.npz", "runs/2.npz", "runs/10.npz"]


def test_outputs_and_stores_are_no_dumps(folder):
    with Store.create("runs/earlier.h5") as writer:
        writer.write_table("t", {"a": [1]}, units={"a": "1"})
    (folder / "runs" / "now.h5").write_bytes(b"x")
    assert names(["runs"], without=[folder / "runs" / "now.h5", folder / "runs" / "b"]) == [
        "runs/10.npz", "runs/2.npz",
    ]  # fmt: skip


def test_shards_are_read_through_their_index(folder):
    (folder / "llm").mkdir()
    for name in ("m-1.safetensors", "m-2.safetensors", "other.safetensors"):
        (folder / "llm" / name).write_bytes(b"x")
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    (folder / "llm" / "m.safetensors.index.json").write_text(json.dumps(index))
    assert names(["llm"]) == ["llm/m.safetensors.index.json", "llm/other.safetensors"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.txt", "# two\nruns/2.npz\n\n  gone.npz \n"),
        ("m.csv", "step,path\n1,runs/2.npz\n2,gone.npz\n"),
        ("m.csv", "dump\nruns/2.npz\ngone.npz\n"),
        ("m.json", '["runs/2.npz", {"path": "gone.npz", "step": 2}]'),
    ],
)
def test_manifests_name_dumps_from_their_folder(folder, monkeypatch, name, text):
    (folder / name).write_text(text)
    monkeypatch.chdir(folder / "runs")
    assert names([], f"../{name}") == ["../runs/2.npz", "../gone.npz"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.txt", "# nothing\n", "names no dump"),
        ("m.csv", "file\nx\n", "has no column path or dump"),
        ("m.csv", "path,dump\n,\n", "row 1 names no dump"),
        ("m.json", "{", "is not JSON"),
        ("m.json", "{}", "must be a list, of paths or of rows"),
        ("m.json", '["a.npz", 3]', "row 2 names no dump"),
    ],
)
def test_bad_manifests(folder, name, text, message):
    (folder / name).write_text(text)
    with pytest.raises(DumpError, match=message) as error:
        find_inputs([], name)
    assert str(error.value).startswith(name)


def test_what_is_not_there(folder):
    with pytest.raises(DumpError, match=r"gone.npz: does not exist"):
        find_inputs(["gone.npz"])
    with pytest.raises(DumpError, match="no dump fits the pattern"):
        find_inputs(["runs/*.onnx"])
    with pytest.raises(DumpError, match="can't be read: No such file"):
        find_inputs([], "gone.txt")
    (folder / "empty").mkdir()
    with pytest.raises(DumpError, match="empty: holds no dump"):
        find_inputs(["empty"])
    (folder / "m.bin").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(DumpError, match="is not text in UTF-8"):
        find_inputs([], "m.bin")
    with pytest.raises(BitxError, match="no dump is given"):
        find_inputs([])
