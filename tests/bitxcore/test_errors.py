"""Errors say in fields where they happened and with what value; their text is made from the fields."""

import os
import pickle
import zipfile

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.batch import Selection, inspect_dump, prune_dump
from bitxcore.errors import (
    BitxError,
    DumpError,
    MissingExtraError,
    OptionError,
    TensorError,
    error_context,
)
from bitxcore.jit import threads
from bitxcore.store import Store

FIELDS = ("path", "tensor", "layer", "part", "index", "value", "hint")


def fields(error):
    """Those that are set."""
    return {name: getattr(error, name) for name in FIELDS if getattr(error, name) is not None}


def test_text_is_made_from_the_fields():
    error = TensorError("m", path="f", tensor="t", layer="l", index=1, value=2, hint="h")
    assert str(error) == "f: tensor 't': layer 'l': m; h"
    error.part = "member 't.npy'"
    assert str(error) == "f: member 't.npy': layer 'l': m; h"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), fields(again)) == (str(error), fields(error))


def test_context_adds_what_is_not_known():
    with (
        pytest.raises(BitxError) as caught,
        error_context(path="outer", part="p"),
        error_context(path="f", tensor="t"),
    ):
        raise BitxError("m", layer="l")
    assert fields(caught.value) == {"path": "f", "tensor": "t", "layer": "l"}
    with pytest.raises(MissingExtraError) as missing, error_context(path="f"):
        raise MissingExtraError("onnx", "onnx")
    assert fields(missing.value) == {}


@pytest.mark.parametrize(("call", "value", "text"), [
    (lambda x: bx.prune(x, rows=5, group=65), 65, "group must be an integer from 1 to 64, got 65"),
    (lambda x: bx.prune(x, rows=5, window=0), 0, "window must be an integer from 1 to 64, got 0"),
    (lambda x: bx.prune(x, rows=-1), -1, "rows must be a positive integer, got -1"),
    (lambda x: bx.prune(x, rows=5, grouping="f"), "f",
     "grouping must be one of flat, channel, kernel, got 'f'"),
    (lambda x: bx.prune(x, criterion="c"), "c",
     "criterion must be one of topn, msb, threshold, energy, got 'c'"),
    (lambda x: bx.prune(x, criterion="threshold", threshold=2), 2, "threshold must be from 0 to 1, got 2"),
    (lambda x: bx.prune(x, rows=5, rounding="r"), "r", "rounding must be one of truncate, nearest, got 'r'"),
    (lambda x: bx.statistics(x, nonfinite="n"), "n", "nonfinite must be 'raise' or 'keep', got 'n'"),
    (lambda x: bx.statistics(x, format="fixed1"), "fixed1",
     "format 'fixed1': the width must be 2 to 16, got 1"),
    (lambda x: bx.quantize(x, 8, scale="s"), "s", "scale must be one of power-of-two, free, unit, got 's'"),
])  # fmt: skip
def test_options_that_are_refused(call, value, text):
    with pytest.raises(OptionError) as caught:
        call(np.ones((4, 16), np.float32))
    assert (str(caught.value), fields(caught.value)) == (text, {"value": value})


def test_names_that_are_not_known():
    with pytest.raises(
        OptionError, match=r"^format 'int99' is not known; known: float64, .*fixed16$"
    ) as caught:
        bx.number_format("int99")
    assert caught.value.message == "format 'int99' is not known"
    with pytest.raises(TensorError, match=r"^dtype int64 has no number format; supported: ") as caught:
        bx.essential_bits(np.ones(3, np.int64))
    assert caught.value.hint == (
        "supported: float64, float32, float16, bfloat16, float8_e4m3fn, float8_e5m2, int8, int16, uint8"
    )


def test_threads_that_are_refused(monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "none")
    with pytest.raises(OptionError, match="BITX_THREADS must be a positive integer, got 'none'"):
        threads()


def test_the_format_that_has_a_value_is_a_hint():
    with pytest.raises(TensorError) as caught:
        bx.prune(np.array([1, -128], np.int8), rows=1)
    assert fields(caught.value) == {"index": 1, "value": -128, "hint": "format 'int8-twos' has it"}
    assert str(caught.value) == (
        "value -128 at flat index 1: int8 is sign-magnitude, from -127 to 127; format 'int8-twos' has it"
    )


@pytest.mark.parametrize("work", [
    lambda dump, _: list(inspect_dump(dump)), lambda dump, out: prune_dump(dump, out, rows=5),
], ids=["inspect", "prune"])  # fmt: skip
def test_a_value_is_found_where_the_file_has_it(tmp_path, work):
    """Of a ``K x N`` matrix the columns are the filters: the index is not that of the turned array."""
    onnx = pytest.importorskip("onnx")
    weight = np.ones((20, 3), np.float32)
    weight[1, 2] = np.inf
    h = onnx.helper
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", 1, [1, 20])],
        [h.make_tensor_value_info("y", 1, [1, 3])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(h.make_model(graph), path)
    with bx.open_dump(path) as dump, pytest.raises(TensorError) as caught:
        work(dump, tmp_path / "out.onnx")
    assert fields(caught.value) == {"path": path, "tensor": "w", "index": 5, "value": np.inf}
    assert str(caught.value) == f"{path}: tensor 'w': value inf at flat index 5: float32 must be finite"


def test_an_option_is_no_tensors_fault(tmp_path):
    np.save(tmp_path / "w.npy", np.ones((4, 16), np.float32))
    with bx.open_dump(tmp_path / "w.npy") as dump:
        with pytest.raises(OptionError) as caught:
            list(inspect_dump(dump, group=65))
        assert str(caught.value) == "group must be an integer from 1 to 64, got 65"
        with pytest.raises(OptionError, match="no tensor is named like 'x'") as caught:
            Selection(include=("x",)).choose(dump)
        assert fields(caught.value) == {"path": tmp_path / "w.npy"}
        with pytest.raises(TensorError) as caught:
            Selection().choose(dump, "int8")
        assert fields(caught.value) == {"path": tmp_path / "w.npy", "tensor": "w"}


def test_damage_is_placed(tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.ones(1000, np.float32))
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    with path.open("r+b") as file:
        file.seek(start + 1000)
        file.write(b"damage")
    with pytest.raises(DumpError) as caught:
        bx.open_dump(path)  # reads so short a member whole
    assert fields(caught.value) == {"path": path, "tensor": "w", "part": "member 'w.npy'"}
    assert str(caught.value) == (
        f"{path}: member 'w.npy': checksum (CRC-32) does not match; the data are damaged"
    )
    path = tmp_path / "w.npy"
    np.save(path, np.ones(1000, np.float32))
    os.truncate(path, 1000)
    with pytest.raises(DumpError) as caught:
        bx.open_dump(path)
    assert fields(caught.value) == {"path": path, "tensor": "w"}


def test_what_can_not_be_written_is_placed(tmp_path):
    path = tmp_path / "w.npy"
    np.save(path, np.ones((4, 16), np.float32))
    with bx.open_dump(path) as dump, pytest.raises(BitxError) as caught:
        prune_dump(dump, path, rows=5)
    assert fields(caught.value) == {"path": path}
    assert str(caught.value) == f"{path}: is the input; choose another output"


def test_a_column_names_its_table(tmp_path):
    with Store.create(tmp_path / "s.h5") as store:
        with pytest.raises(TensorError) as caught:
            store.write_table("t", [{"x": [1, 2]}, {"x": [3, 0.5]}], units={"x": "1"})
        assert fields(caught.value) == {"part": "table /t: column 'x'", "index": 1, "value": 0.5}
        with pytest.raises(OptionError) as caught:
            store.write_table("t", {"a/b": [1]}, units={"a/b": "1"})
        assert fields(caught.value) == {"part": "table /t: column 'a/b'"}
