"""Damaged files of the containers that fell once, in child processes with limits; `make fuzz` reads more."""

import numpy as np
import pytest

from bench import fuzz
from bitxcore.dumps import hdf5_process, open_dump
from bitxcore.errors import DumpError

EXTRAS = {"torch": "torch", "onnx": "onnx"}


@pytest.mark.parametrize("kind", fuzz.SUFFIXES)
@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_mutants(kind, count, tmp_path):
    pytest.importorskip(EXTRAS.get(kind, "numpy"))
    totals = fuzz.campaign(kind, count, tmp_path)
    assert not [name for name in totals if name.startswith("FAILED")], totals
    peak = totals.pop("peak MiB")
    assert totals.total() == count
    assert totals["whole"]
    assert totals["refused"]
    if kind != "torch":
        assert peak < 400


def test_a_mutant_is_always_the_same():
    seeds = fuzz.seeds("hdf5")
    assert fuzz.mutant("hdf5", seeds, 7) == fuzz.mutant("hdf5", seeds, 7) != fuzz.mutant("hdf5", seeds, 8)


def test_another_seed_gives_other_mutants(tmp_path, monkeypatch):
    seeds = fuzz.seeds("npz")
    first, other = (fuzz.mutant("npz", seeds, 7, seed) for seed in (0, 1))
    assert first == fuzz.mutant("npz", seeds, 7) != other
    monkeypatch.setattr(fuzz, "SECONDS", 0)
    monkeypatch.setattr(fuzz, "_wait", lambda child, number: (child.wait(), "failed")[-1])
    fuzz.campaign("npz", 1, tmp_path, seed=1)
    assert (tmp_path / "npz-1-0.npz").read_bytes() == fuzz.mutant("npz", seeds, 0, 1)


def test_failures_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0)
    monkeypatch.setattr(fuzz, "_wait", lambda child, number: (child.kill(), child.wait(), "hang")[-1])
    totals = fuzz.campaign("npz", 2, tmp_path)
    assert totals["FAILED (hang)"] == 2
    assert len(list(tmp_path.iterdir())) == 2


REFUSED = {
    "checksum.pt": None,
    "chunks-of-another-rank.h5": r"tensor 'b': chunks \(1, 4, 5\) do not fit shape \(3,\)",
    "repeated-key.safetensors": "key 'a' is there twice",
}
IGNORED = {
    "claims-of-nothing.h5": ("huge", "has 4000000000000000 bytes, of which 0 are stored; the limit of bitx"),
    "names.h5": ("x", "is a soft link in a circle"),
    "virtual-circle.h5": ("a", "is virtual, and made of itself"),
    "virtual-of-itself.h5": ("v", "is virtual, and made of itself"),
}


@pytest.fixture(autouse=True)
def _little_time(monkeypatch):
    monkeypatch.setattr(hdf5_process, "SECONDS", 1.0)


@pytest.mark.parametrize("path", sorted(fuzz.CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_once_fell(path):
    pytest.importorskip({".pt": "torch", ".onnx": "onnx"}.get(path.suffix, "numpy"))
    whole = fuzz.outcome(path) == "whole"
    if REFUSED.get(path.name):
        with pytest.raises(DumpError, match=REFUSED[path.name]):
            open_dump(path)
    if path.name in IGNORED:
        name, reason = IGNORED[path.name]
        with open_dump(path) as dump:
            assert dump.ignored[name].startswith(reason)
        assert whole
    if path.suffix in {".npz", ".onnx"} or path.name == "nested-entry.safetensors":
        assert whole
    elif path.name in REFUSED or path.name.startswith(("crashes", "loops")):
        assert not whole


def test_elements_that_are_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(3), b=np.ones(3, "f2"))
    data = (tmp_path / "x.npz").read_bytes()
    content = data[data.index(b"\x93NUMPY") :][:128].replace(b"'<f8', ", b"'3u1', ")
    (tmp_path / "x.npy").write_bytes(content + bytes(9))
    with pytest.raises(DumpError, match="elements are arrays"):
        open_dump(tmp_path / "x.npy")
