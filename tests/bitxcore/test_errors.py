"""Errors say in fields where they happened and with what value; their text is made from the fields."""

import os
import pickle
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
    (lambda x: bx.prune(x, rows=5, group=4097), 4097, "group must be an integer from 1 to 4096, got 4097"),
    (lambda x: bx.prune(x, rows=5, window=0), 0, "window must be an integer from 1 to 64, got 0"),
    (lambda x: bx.prune(x, rows=-1), -1, "rows must be a positive integer, got -1"),
    (lambda x: bx.prune(x, rows=5, grouping="f"), "f",
     "grouping must be one of flat, channel, kernel, got 'f'"),
    (lambda x: bx.prune(x, criterion="c"), "c",
     "criterion must be one of topn, msb, threshold, energy, calibrated, got 'c'"),
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


@pytest.mark.parametrize("setting", ["none", "0", "-1", "²", "٨", "1.0", "1e3", "0x8", "1_0", "+2", "000"])
def test_threads_that_are_refused(monkeypatch, setting):
    monkeypatch.setenv("BITX_THREADS", setting)
    with pytest.raises(OptionError) as caught:
        threads()
    assert str(caught.value) == f"BITX_THREADS must be a positive integer, got {setting!r}"


@pytest.mark.parametrize("setting", ["1025", "1180591620717411303424", "9" * 5000])
def test_threads_that_are_too_many(monkeypatch, setting):
    monkeypatch.setenv("BITX_THREADS", setting)
    with pytest.raises(OptionError, match=r"^BITX_THREADS must be at most 1024, got \d+$"):
        threads()


def test_threads_that_are_taken(monkeypatch):
    for setting, number in (("1", 1), (" 8 ", 8), ("007", 7), ("0001024", 1024)):
        monkeypatch.setenv("BITX_THREADS", setting)
        assert threads() == number


# -- values of no sensible type or size --------------------------------------------------------


class Silent:
    def __repr__(self):
        raise ValueError("says nothing of itself")


ODD = {
    "integer": 5,
    "negative": -(2**70),
    "beyond int64": 2**70,
    "too many digits": 10**5000,
    "float": 0.25,
    "not a number": float("nan"),
    "complex": 1j,
    "truth": True,
    "text": "0.1",
    "long text": "9" * 6000,
    "bytes": b"float32",
    "list": [1],
    "dict": {},
    "array": np.ones((3, 2)),
    "array of one": np.array([0.1]),
    "tensor": torch.ones(2),
    "type": np.float32,
    "silent": Silent(),
}
TAKEN = {  # where an odd value is none
    "rows": {"integer", "beyond int64", "too many digits"},
    "group": {"integer"},
    "window": {"integer"},
    "threshold": {"float"},
    "budget": {"float"},
    "bits": {"integer"},
    "scale": {"integer", "float", "beyond int64"},
}
CRITERIA = {"threshold": {"criterion": "threshold"}, "budget": {"criterion": "energy"}}
OPTIONS = (
    "rows", "group", "window", "format", "criterion", "rounding", "grouping", "threshold", "budget",
    "nonfinite",
)  # fmt: skip


def one_line(error):
    text = str(error)
    return "\n" not in text and 0 < len(text) < 400


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("option", OPTIONS)
def test_odd_values_of_options(option, value):
    x = np.ones((4, 16), np.float32)
    if any(ODD[name] is value for name in TAKEN.get(option, ())):
        assert (bx.prune(x, **{option: value}, **CRITERIA.get(option, {})).values == x).all()
        return
    with pytest.raises(OptionError) as caught:
        bx.prune(x, **{option: value}, **CRITERIA.get(option, {}))
    assert one_line(caught.value)
    if option in ("group", "window", "format", "grouping", "nonfinite"):
        with pytest.raises(OptionError):
            bx.statistics(x, **{option: value})
    if option == "format":
        for function in (bx.decompose, bx.essential_bits, lambda x, f: bx.weight_ones(x, format=f)):
            with pytest.raises(OptionError):
                function(x, value)
        with pytest.raises(OptionError):
            bx.number_format(value)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("option", ["bits", "scale"])
def test_odd_values_of_quantisation(option, value):
    x = np.ones((4, 16), np.float32)
    given = {"bits": 8} | {option: value}
    if any(ODD[name] is value for name in TAKEN[option]):
        assert bx.quantize(x, **given).codes.shape == x.shape
        return
    with pytest.raises(OptionError) as caught:
        bx.quantize(x, **given)
    assert one_line(caught.value)


@pytest.mark.parametrize("name", [
    "int²", "fixed²", "int٨", "fixed٨", "int8 ", "int8\n", "fixed8\n", "int1", "int17", "uint16", "int-8",
    "int" + "9" * 5000, "fixed" + "9" * 5000, "", "float32\0", "Float32",
])  # fmt: skip
def test_names_that_are_no_format(name):
    with pytest.raises(OptionError) as caught:
        bx.prune(np.ones((2, 8), np.float32), format=name)
    assert one_line(caught.value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.float16(0.5), Fraction(1, 2)])
def test_numbers_of_any_type_are_shares(value):
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    for option, name in (("threshold", "threshold"), ("budget", "energy")):
        found, same = (bx.prune(x, criterion=name, **{option: v}).values for v in (value, 0.5))
        assert (found == same).all()


FUNCTIONS = (
    bx.prune, bx.statistics, bx.decompose, bx.essential_bits, bx.weight_ones, lambda x: bx.quantize(x, 8),
)  # fmt: skip
NO_TENSORS = {
    "masked": lambda: np.ma.masked_array(np.ones((2, 8), np.float32), mask=np.eye(2, 8)),
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "text": lambda: "weights",
    "nothing": lambda: None,
    "objects": lambda: np.array([1.0, None], object),
    "mapping": dict,
    "record": lambda: np.zeros(4, [("a", "f4")]),
    "subarray": lambda: np.zeros(4, [("a", "f4", (2,))]),
    "raw": lambda: np.zeros(4, "V2"),
    "dates": lambda: np.zeros(4, "M8[s]"),
    "truth": lambda: np.zeros(4, bool),
    "complex": lambda: np.zeros(4, "c8"),
    "large integers": lambda: [2**70],
    "0-d": lambda: np.float32(1),
    "no values": lambda: np.zeros((0, 4), np.float32),
    "meta": lambda: torch.ones(2, 8, device="meta"),
    "sparse": lambda: torch.eye(4).to_sparse(),
    "conjugate": lambda: torch.ones(4, dtype=torch.cfloat).conj(),
}


@pytest.mark.parametrize("make", NO_TENSORS.values(), ids=NO_TENSORS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_no_tensor(make, function):
    x = make()
    if function in FUNCTIONS[2:4] and type(x) in (np.float32, np.ndarray) and x.dtype == np.float32:
        function(x)  # each value by itself
        return
    with pytest.raises(TensorError) as caught:
        function(x)
    assert one_line(caught.value)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_tensors_of_torch(name, grad):
    values = torch.linspace(-1, 1, 64).reshape(8, 8).T
    tensor = values.to(getattr(torch, name))
    expected = values.numpy().astype(bx.number_format(name).dtype)
    if grad:
        tensor = torch.nn.Parameter(tensor, requires_grad=True)
    before = tensor.detach().clone()
    pruned = bx.prune(tensor, rows=2)
    assert pruned.format.name == name
    assert pruned.values.tobytes() == bx.prune(expected, rows=2).values.tobytes()
    assert bx.statistics(tensor).essential_bits == bx.statistics(expected).essential_bits
    assert (bx.essential_bits(tensor) == bx.essential_bits(expected)).all()
    assert torch.equal(before.float(), tensor.detach().float())


def test_masked_arrays_without_masked_values_are_arrays():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    for mask in (np.ma.nomask, np.zeros(64, bool)):
        assert (bx.prune(np.ma.masked_array(x, mask=mask), rows=2).values == bx.prune(x, rows=2).values).all()


@pytest.mark.parametrize("out", [[1], 5, "out", torch.ones(4, 16)])
def test_results_go_to_arrays_only(out):
    with pytest.raises(TensorError, match=r"^out must be an ndarray, got "):
        bx.prune(np.ones((4, 16), np.float32), out=out)


# -- the ends of the ranges --------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "value", "bits"), [
    ("float16", 60000, 4), ("float16", 65504, 2), ("float32", 3.4e38, 4), ("float64", 1.7e308, 3),
    ("float64", 1.7976931348623157e308, 2), ("bfloat16", 3.3e38, 3), ("float8_e4m3fn", 448, 2),
])  # fmt: skip
def test_products_that_would_be_too_large(dtype, value, bits):
    """Never an infinity in place of a weight."""
    x = np.array([value, 1], bx.number_format(dtype).dtype)
    p = bx.prune(x, format=f"fixed{bits}")
    assert np.isfinite(p.values.astype(np.float64)).all()
    assert p.values[0].astype(np.float64) >= value / 2


def test_the_largest_product_that_fits():
    x = np.array([57344, 1, -57344], np.float16)  # 7 * 2**13
    assert bx.prune(x, format="fixed4", rows=3, window=3, group=1).values.tolist() == [57344, 0, -57344]
    with pytest.raises(TensorError, match="codes times a scale are floats, but the array is int8"):
        bx.quantize(x, 4).dequantize(np.int8)


@pytest.mark.parametrize("value", [5e-324, 1e-320, 2.2e-308, 1e-300])
@pytest.mark.parametrize("scale", ["power-of-two", "free"])
def test_the_smallest_values_have_codes(value, scale):
    fixed = bx.quantize(np.array([value, 0.0, -value]), 8, scale=scale)
    assert fixed.dequantize(np.float64).tolist() == pytest.approx([value, 0.0, -value], rel=2**-7, abs=0)


@given(st.floats(2.0**-1000, 2.0**1000), st.integers(2, 16))
def test_the_scale_is_the_smallest_that_saturates_nothing(value, bits):
    scale, top = Fraction(float(bx.quantize(np.array([value]), bits).scale)), 2 ** (bits - 1) - 1
    assert scale / 2 * top < Fraction(value) <= scale * top


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
