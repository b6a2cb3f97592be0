"""The HDF5 store: round trips, atomic writes, damage."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitxcore.dumps.base import Dump
from bitxcore.errors import BitxError, DumpError, OptionError, TensorError
from bitxcore.store import Store, reader
from bitxcore.store.columns import NUMBERS, ROWS
from bitxcore.store.seal import _SEAL, check_seal
from bitxcore.store.text import escape_name, escape_text, unescape_name, unescape_text

DATA = Path(__file__).parent / "data"

any_text = st.text(st.characters(codec=None, categories=None) | st.sampled_from("%/.\\\x00\x10\x7f"))
"""Lone surrogates included."""


@dataclasses.dataclass(frozen=True)
class Machine:
    lanes: int
    depth: float


def write_sample(path: Path) -> None:
    """Write a store with one of everything; also made tests/bitxcore/data/store-1.0.h5."""
    with Store.create(path, parameters={"rows": 5, "group": 16}) as store:
        store.write_table(
            "statistics",
            {"tensor": ["conv1/weight", ""], "values": [9, 4], "bit_sparsity": [0.5, np.nan]},
            units={"tensor": "", "values": "1", "bit_sparsity": "1"},
            attrs={"format": "float32"},
        )
        store.write_table(
            "simulation",
            [
                {"layer": "conv1", "accelerator": "bitx", "compute_cycles": 12, "energy_j": 1e-6},
                {"layer": "conv1", "accelerator": "eie", "compute_cycles": None, "energy_j": None},
            ],
            units={"layer": "", "accelerator": "", "compute_cycles": "cycles", "energy_j": "J"},
        )
        store.write_tensor_arrays(
            "conv1/weight",
            {"ones_per_row": np.arange(32, dtype=np.uint64), "row_masks": np.full((3, 2), 2**32 - 1, "u4")},
            {"ones_per_row": "1", "row_masks": ""},
            attrs={"window": 32},
        )
        store.write_tensor_arrays("", {"kept_rows": np.zeros((1, 0), "u1")}, {"kept_rows": "1"})


def check_sample(path: Path, *, sealed: bool = True) -> None:
    with Store.open(path) as store:
        assert store.sealed == sealed
        assert set(store.tables) == {"statistics", "simulation"}
        statistics = store.table("statistics")
        assert list(statistics) == ["tensor", "values", "bit_sparsity"]
        assert statistics["tensor"].tolist() == ["conv1/weight", ""]
        assert statistics["values"].tolist() == [9, 4]
        np.testing.assert_array_equal(statistics["bit_sparsity"], [0.5, np.nan])
        assert store.attrs("statistics") == {"format": "float32"}
        assert store.units("simulation")["energy_j"] == "J"
        cycles = store.table("simulation")["compute_cycles"]
        assert cycles.tolist() == [12, None]
        assert list(store.tensors) == ["conv1/weight", ""]
        arrays = store.tensors["conv1/weight"]
        np.testing.assert_array_equal(arrays["ones_per_row"], np.arange(32))
        assert arrays["row_masks"].dtype == np.uint32
        assert arrays["row_masks"].tolist() == [[2**32 - 1] * 2] * 3
        assert store.tensors[""]["kept_rows"].shape == (1, 0)
        assert store.tensor_units("conv1/weight") == {"ones_per_row": "1", "row_masks": ""}
        assert store.tensor_attrs("conv1/weight") == {"window": 32}
        assert store.provenance.parameters == {"rows": 5, "group": 16}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "run.h5"
    write_sample(path)
    return path


def one_line(error: pytest.ExceptionInfo[BaseException], *parts: object) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def test_round_trip(sample: Path) -> None:
    check_sample(sample)


def test_a_file_of_the_first_release() -> None:
    check_sample(DATA / "store-1.0.h5")


def test_plain_h5py(sample: Path) -> None:
    with h5py.File(sample) as file:
        assert file.attrs["encoding-type"] == "bitx-store"
        assert file.attrs["encoding-version"] == "1.1"
        assert file["simulation/layer"].asstr()[()].tolist() == ["conv1", "conv1"]
        assert file["simulation/energy_j"].attrs["units"] == "J"
        assert file["simulation"].attrs["column-order"].tolist()[0] == "layer"
        assert file["tensors/conv1%2Fweight/ones_per_row"][31] == 31
        elements: list[h5py.HLObject] = []
        file.visititems(lambda _, element: elements.append(element))
        assert all({"encoding-type", "encoding-version"} <= element.attrs.keys() for element in elements)
        assert all(isinstance(e.attrs["units"], str) for e in elements if isinstance(e, h5py.Dataset))


@pytest.mark.parametrize("dtype", sorted(NUMBERS, key=str), ids=str)
def test_every_dtype(tmp_path: Path, dtype: np.dtype) -> None:
    if dtype.kind == "f":
        info = np.finfo(dtype)
        values = np.array([info.min, info.max, info.smallest_subnormal, -0.0, np.inf, np.nan], dtype)
    elif dtype.kind == "b":
        values = np.array([True, False])
    else:
        values = np.array([np.iinfo(dtype).min, 0, np.iinfo(dtype).max], dtype)
    path = tmp_path / "a.h5"
    with Store.create(path) as store:
        store.write_table("t", {"x": values}, units={"x": "1"})
        arrays = {
            "x": values.reshape(1, -1),
            "scalar": values[0],
            "big_endian": values.astype(dtype.newbyteorder(">")),
        }
        store.write_tensor_arrays("w", arrays, dict.fromkeys(arrays, "1"))
    with Store.open(path) as store:
        back = store.table("t")["x"]
        assert back.dtype == dtype
        assert not isinstance(back, np.ma.MaskedArray)
        assert back.tobytes() == values.tobytes()
        arrays = store.tensors["w"]
        assert arrays["x"].shape == (1, len(values))
        assert arrays["scalar"].shape == ()
        assert arrays["big_endian"].dtype.isnative
        assert {a.ravel()[:1].tobytes() for a in arrays.values()} == {values[:1].tobytes()}


@pytest.mark.parametrize("dtype", sorted(NUMBERS - {np.dtype(bool)}, key=str), ids=str)
def test_missing_numbers(tmp_path: Path, dtype: np.dtype) -> None:
    path = tmp_path / "a.h5"
    masked = np.ma.masked_array(np.array([1, 2, 3], dtype), [True, False, False])
    with Store.create(path) as store:
        store.write_table(
            "t", {"x": masked, "y": [None, 2, 3]}, units={"x": "1", "y": "1"}, dtypes={"y": dtype}
        )
    with Store.open(path) as store:
        for column in store.table("t").values():
            assert column.dtype == dtype
            assert column[1:].tolist() == [2, 3]
            assert np.isnan(column[0]) if dtype.kind == "f" else column.mask.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([True, None], "bool can't be missing"),
        ([1, "a"], "all numbers or all strings"),
        ([1, 2j], "got complex, int"),
        ([None, 2**63, -1], "does not fit 64 bits"),
        ([2**64], "does not fit 64 bits"),
        ([0.5, 2**53 + 1], "not exact as float64"),
        ([None, -(2**63)], "stands for them"),
        (np.zeros((2, 2)), "1-D"),
        (np.zeros(2, np.complex128), "complex128"),
        (np.zeros(2, ml_dtypes.bfloat16), "bfloat16"),
        (np.zeros(2, "S3"), "|S3"),
        ([b"bytes"], "bytes"),
        ([[1], [2]], "list"),
    ],
)
def test_columns_that_are_refused(tmp_path: Path, column: object, words: str) -> None:
    with Store.create(tmp_path / "a.h5") as store:
        with pytest.raises(TensorError) as error:
            store.write_table("t", {"name": ["a"] * len(column), "x": column}, units={"name": "", "x": "1"})
        one_line(error, "/t", "'x'", words)
    with Store.open(tmp_path / "a.h5") as store:
        assert store.tables == ()


def test_columns_and_units_must_agree(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.h5") as store:
        for columns, units, kind, words in [
            ({"x": [1], "y": [1]}, {"x": "1"}, TensorError, "units names"),
            ({"x": [1]}, {"x": None}, OptionError, "units must be a string"),
            ({"x": [1], "y": [1, 2]}, {"x": "1", "y": "1"}, TensorError, "different lengths"),
            ({}, {}, OptionError, "at least one column"),
            ({"a/b": [1]}, {"a/b": "1"}, OptionError, "letters, digits"),
            ([{"x": 1}, {"y": 1}], {"x": "1"}, TensorError, "a row has the columns"),
        ]:
            with pytest.raises(kind, match=words):
                store.write_table("t", columns, units=units)
        for name in ("tensors", "provenance", "a/b", "..", ""):
            with pytest.raises(OptionError):
                store.write_table(name, {"x": [1]}, units={"x": "1"})
        with pytest.raises(TensorError, match="'accelerator'"):
            store.write_table("simulation", {"layer": ["a"]}, units={"layer": ""})
        with pytest.raises(OptionError, match="'y', which is no column"):
            store.write_table("t", {"x": [1]}, units={"x": "1"}, dtypes={"y": int})
        store.write_table("t", {"x": [1]}, units={"x": "1"})
        with pytest.raises(OptionError, match="already"):
            store.write_table("t", {"x": [1]}, units={"x": "1"})


def test_tensor_arrays_that_are_refused(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.h5") as store:
        for arrays, units, attrs, kind, words in [
            ({"x": [1]}, {}, None, TensorError, "units names"),
            ({"x": ["a"]}, {"x": "1"}, None, TensorError, "can't be stored"),
            ({"x": np.array([None])}, {"x": "1"}, None, TensorError, "can't be stored|numbers"),
            ({"x": np.zeros(1, ml_dtypes.bfloat16)}, {"x": "1"}, None, TensorError, "bfloat16"),
            ({"..": [1]}, {"..": "1"}, None, OptionError, "letters, digits"),
            ({"x": [1]}, {"x": "1"}, {"units": "J"}, OptionError, "layout's own"),
            ({"x": [1]}, {"x": "1"}, {"a": [1, 2]}, OptionError, "not list"),
        ]:
            with pytest.raises(kind, match=words):
                store.write_tensor_arrays("w", arrays, units, attrs)
        store.write_tensor_arrays("w", {"x": [1]}, {"x": "1"})
        with pytest.raises(OptionError, match="already"):
            store.write_tensor_arrays("w", {"x": [1]}, {"x": "1"})
    with Store.open(tmp_path / "a.h5") as store:
        assert list(store.tensors) == ["w"]
        assert "x" not in store.tensors
        with pytest.raises(KeyError):
            store.tensors["x"]
        with pytest.raises(DumpError, match="no table 'x'"):
            store.table("x")


@given(any_text, any_text)
def test_names_are_escaped_reversibly(name: str, other: str) -> None:
    link = escape_name(name)
    assert unescape_name(link) == name
    assert link
    assert not set(link) & {"/", "\0"}
    assert not link.startswith(".")
    link.encode()
    assert (escape_name(other) == link) == (other == name)


@given(any_text)
def test_text_is_escaped_reversibly(text: str) -> None:
    stored = escape_text(text)
    assert unescape_text(stored) == text
    assert "\0" not in stored
    stored.encode()


@settings(deadline=None, max_examples=50)
@given(st.lists(any_text, min_size=1, max_size=6, unique=True), st.lists(st.none() | any_text, max_size=6))
def test_any_names_and_strings(tmp_path_factory: pytest.TempPathFactory, names: list, strings: list) -> None:
    path = tmp_path_factory.mktemp("names") / "a.h5"
    with Store.create(path, parameters=dict.fromkeys(names, 1)) as store:
        for i, name in enumerate(names):
            store.write_tensor_arrays(name, {"x": [i]}, {"x": name}, attrs={"name": name})
        store.write_table("t", {"x": strings}, units={"x": "°C"}, dtypes={"x": str})
        store.write_table("rows", ({"x": s} for s in strings), units={"x": ""}, dtypes={"x": str})
    with Store.open(path) as store:
        assert list(store.tensors) == names
        for i, name in enumerate(names):
            assert store.tensors[name]["x"].tolist() == [i]
            assert store.tensor_units(name) == {"x": name}
            assert store.tensor_attrs(name) == {"name": name}
        assert store.table("t")["x"].tolist() == strings
        assert store.table("rows")["x"].tolist() == strings
        assert store.units("t") == {"x": "°C"}
        assert list(store.provenance.parameters) == names


def test_numpy_strings(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.h5") as store:
        columns = {"u": np.array(["a", "bc"]), "t": np.array(["a", "bc"], np.dtypes.StringDType())}
        store.write_table("t", columns, units={"u": "", "t": ""})
        store.write_table("none", {"u": np.array([], "U3")}, units={"u": ""})
    with Store.open(tmp_path / "a.h5") as store:
        assert {k: v.tolist() for k, v in store.table("t").items()} == {"u": ["a", "bc"], "t": ["a", "bc"]}
        assert store.table("none")["u"].dtype == object


def rows(count: int):
    return (
        {"i": i, "name": f"row {i}", "half": i / 2, "late": None if i < 5000 else i} for i in range(count)
    )


UNITS = {"i": "1", "name": "", "half": "1", "late": "1"}


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 5])
def test_rows_are_streamed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.h5"
    with Store.create(path) as store:
        store.write_table("t", rows(count), units=UNITS)
    with Store.open(path) as store:
        whole = store.table("t")
        assert {len(column) for column in whole.values()} == {count}
        assert whole["i"].tolist() == list(range(count))
        assert whole["half"].tolist() == [i / 2 for i in range(count)]
        assert whole["name"].tolist() == [f"row {i}" for i in range(count)]
        late = whole["late"]
        if count > 5000:
            assert late.dtype == np.int64
            assert late.tolist() == [None if i < 5000 else i for i in range(count)]
        else:
            assert np.isnan(late).all()
        again = tmp_path / "b.h5"
        with Store.create(again) as other:
            other.write_table("t", store.blocks("t", 1000), units=store.units("t"))
    with Store.open(again) as store:
        for name, column in store.table("t").items():
            if len(column):
                np.testing.assert_array_equal(column, whole[name])


def test_what_a_stream_raises_is_passed_on(tmp_path: Path) -> None:
    def failing():
        yield {"x": 1}
        raise RuntimeError("the simulator's own")

    with Store.create(tmp_path / "a.h5") as store:
        with pytest.raises(RuntimeError, match="the simulator's own"):
            store.write_table("t", failing(), units={"x": "1"})
        store.write_table("t", {"x": [1]}, units={"x": "1"})


def test_rows_and_blocks_mix(tmp_path: Path) -> None:
    items = [{"x": 1}, {"x": np.array([2, 3])}, {"x": [4]}, {"x": 5}, {"x": ()}]
    with Store.create(tmp_path / "a.h5") as store:
        store.write_table("t", items, units={"x": "1"})
    with Store.open(tmp_path / "a.h5") as store:
        assert store.table("t")["x"].tolist() == [1, 2, 3, 4, 5]


def test_a_later_block_must_fit_the_first(tmp_path: Path) -> None:
    with Store.create(tmp_path / "a.h5") as store:
        for second, words in [
            ([0.5], "row 0 of the block holds 0.5, which is not exact as int64"),
            ([np.nan], "not exact as int64"),
            (["a"], "holds int64, not strings"),
        ]:
            with pytest.raises(TensorError, match=words):
                store.write_table("t", [{"x": [1]}, {"x": second}], units={"x": "1"})
        with pytest.raises(TensorError, match="not exact as float64"):
            store.write_table("t", [{"x": [0.5]}, {"x": [2**53 + 1]}], units={"x": "1"})
        with pytest.raises(TensorError, match="holds strings, not int64"):
            store.write_table("t", [{"x": ["a"]}, {"x": [1]}], units={"x": ""})
        store.write_table("t", [{"x": [1]}, {"x": [0.5]}], units={"x": "1"}, dtypes={"x": float})
    with Store.open(tmp_path / "a.h5") as store:
        assert store.table("t")["x"].tolist() == [1.0, 0.5]


def test_memory_stays_flat(tmp_path: Path) -> None:
    def blocks():
        for _ in range(64):
            yield {"x": np.zeros(1 << 16)}

    with Store.create(tmp_path / "a.h5") as store:
        tracemalloc.start()
        store.write_table("t", blocks(), units={"x": "1"})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * 2**20  # of 32 MiB in all
    with Store.open(tmp_path / "a.h5") as store:
        assert sum(len(block["x"]) for block in store.blocks("t")) == 64 << 16


def test_provenance(tmp_path: Path) -> None:
    source = tmp_path / "weights.bin"
    source.write_bytes(b"weights")
    parameters = {
        "machine": Machine(lanes=1, depth=float("inf")),
        "rows": np.int64(5),
        "path": source,
        "options": [1, None, True, "x\0", {"a": (1.5,)}],
    }
    before = datetime.now(UTC).replace(microsecond=0)
    with Store.create(
        tmp_path / "a.h5", parameters=parameters, inputs=[source, str(source), Dump(source, "raw", {})]
    ):
        pass
    with Store.open(tmp_path / "a.h5") as store:
        found = store.provenance
    assert before <= found.created <= datetime.now(UTC)
    assert found.parameters == {
        "machine": {"lanes": 1, "depth": "inf"},
        "rows": 5,
        "path": str(source),
        "options": [1, None, True, "x\0", {"a": [1.5]}],
    }
    assert found.command_line == tuple(sys.argv)
    assert found.versions["numpy"] == np.__version__
    assert found.versions.keys() == {"bitx", "python", "numpy", "numba", "h5py", "hdf5"}
    digest = hashlib.sha256(b"weights").hexdigest()
    assert [dataclasses.astuple(i) for i in found.inputs] == [(str(source), digest, 7)] * 3
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file["provenance"].attrs["parameters"])["rows"] == 5
        assert datetime.fromisoformat(file.attrs["created"]).utcoffset().total_seconds() == 0


def test_inputs_and_parameters_that_are_refused(tmp_path: Path) -> None:
    for options, words in [
        ({"inputs": [tmp_path / "absent"]}, "must be a file"),
        ({"inputs": [tmp_path]}, "must be a file"),
        ({"inputs": [Dump(tmp_path / "absent", "raw", {})]}, "can't be read: No such file"),
        ({"parameters": {"a": {"b": [object()]}}}, r"parameter a\.b\[0\]: a object"),
    ]:
        with pytest.raises(BitxError, match=words), Store.create(tmp_path / "a.h5", **options):
            pass
    source = tmp_path / "input"
    source.write_bytes(b"x")
    with pytest.raises(BitxError, match="input"), Store.create(source, inputs=[source]):
        pass
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_failing_block_leaves_nothing(tmp_path: Path, older: bool, error: BaseException) -> None:
    path = tmp_path / "run.h5"
    if older:
        write_sample(path)
    before = path.read_bytes() if older else None

    def fail() -> None:
        with Store.create(path) as store:
            store.write_table("t", {"x": [1]}, units={"x": "1"})
            raise error

    with pytest.raises(type(error)) as raised:
        fail()
    assert raised.value is error
    assert list(tmp_path.iterdir()) == ([path] if older else [])
    assert not older or path.read_bytes() == before


def test_a_killed_process_keeps_the_older_file(sample: Path) -> None:
    code = (
        "import os, sys; from bitxcore.store import Store\n"
        "with Store.create(sys.argv[1]) as store:\n"
        "    store.write_table('t', {'x': [1]}, units={'x': '1'}); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(sample)], check=False).returncode == 9
    check_sample(sample)


def test_places_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    places = [tmp_path / "absent" / "a.h5", tmp_path, tmp_path / "file" / "a.h5", Path("/proc/a.h5")]
    for path in places:
        with pytest.raises(BitxError) as error, Store.create(path):
            pass
        one_line(error, path)


WRITES = {
    "arrays": "store.write_tensor_arrays('w', {'x': values}, {'x': '1'})",
    "rows": "store.write_table('t', ({'x': v} for v in itertools.cycle(values)), units={'x': '1'})",
    "strings": "store.write_table('t', ({'x': str(v)} for v in values), units={'x': ''})",
}


@pytest.mark.parametrize("write", WRITES)
def test_a_full_disk(tmp_path: Path, write: str) -> None:
    code = (
        "import itertools, resource, signal, sys, numpy as np; from bitxcore.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with Store.create(sys.argv[1]) as store:\n"
        f"    values = np.random.default_rng(0).random(10**5); {WRITES[write]}"
    )
    path = tmp_path / "a.h5"
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.endswith(f"bitxcore.errors.DumpError: {path}: can't be written: File too large\n")
    assert list(tmp_path.iterdir()) == []


def read_all(path: Path, verify: bool = True) -> None:
    with Store.open(path, verify=verify) as store:
        for name in store.tables:
            store.table(name)
            store.units(name)
            store.attrs(name)
        for name in store.tensors:
            assert isinstance(store.tensors[name], dict)
            store.tensor_units(name)
            store.tensor_attrs(name)
        assert store.provenance


def test_truncated(sample: Path) -> None:
    whole = sample.read_bytes()
    for length in [0, 1, 8, 9, 100, *range(200, len(whole) - 84, 997), len(whole) - 85]:
        sample.write_bytes(whole[:length])
        with pytest.raises(DumpError) as error:
            read_all(sample)
        one_line(error, sample)
    for length in range(len(whole) - 83, len(whole), 13):  # a part of the seal is left
        sample.write_bytes(whole[:length])
        with pytest.raises(DumpError) as error:
            Store.open(sample)
        one_line(error, sample, "cut seal")
        read_all(sample, verify=False)
    sample.write_bytes(whole[:-84])  # only the seal is gone
    with Store.open(sample) as store:
        assert not store.sealed
        assert store.table("statistics")["values"].tolist() == [9, 4]


def test_flipped_bits(sample: Path) -> None:
    whole = sample.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*rng.integers(0, len(whole), 300), *range(len(whole) - 84, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(0, 8)
        sample.write_bytes(damaged)
        with pytest.raises(DumpError) as error:
            Store.open(sample)
        one_line(error, sample, "damaged" if _SEAL.fullmatch(damaged[-84:]) else "damaged or cut seal")


def test_added_bytes(sample: Path) -> None:
    sample.write_bytes(sample.read_bytes()[:-84] + b"more" + sample.read_bytes()[-84:])
    with pytest.raises(DumpError, match="damaged"):
        Store.open(sample)
    with Store.open(sample, verify=False) as store:
        assert not store.sealed


def edit(path: Path, change) -> None:
    path.write_bytes(path.read_bytes()[:-84])
    with h5py.File(path, "r+") as file:
        change(file)


def _relink(file: h5py.File, link: object) -> None:
    del file["statistics/values"]
    file["statistics/values"] = link


def _replace(file: h5py.File, name: str, **options) -> None:
    old = dict(file[name].attrs)
    del file[name]
    dataset = file.create_dataset(name, **options)
    for key, value in old.items():
        dataset.attrs[key] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.__setitem__("encoding-version", "2.0"), "newer"),
        (lambda f: f.attrs.__setitem__("encoding-version", 1), "'major.minor'"),
        (lambda f: f.attrs.__setitem__("encoding-type", "anndata"), "'anndata'"),
        (lambda f: f.attrs.__delitem__("encoding-type"), "'bitx-store'"),
        (lambda f: f["statistics"].attrs.__setitem__("encoding-version", "7.3"), "newer"),
        (lambda f: f["statistics/values"].attrs.__setitem__("encoding-type", "sparse"), "'sparse'"),
        (lambda f: f["statistics/values"].attrs.__setitem__("encoding-type", "string-array"), "int64"),
        (lambda f: f["statistics/values"].attrs.__delitem__("units"), "'units' is missing"),
        (lambda f: f["statistics"].attrs.__delitem__("column-order"), "'column-order' is missing"),
        (lambda f: f.__delitem__("statistics/values"), "'values' is missing"),
        (lambda f: f.__delitem__("provenance"), "'provenance' is missing"),
        (lambda f: f["provenance"].attrs.__setitem__("parameters", "{"), "can't be read"),
        (lambda f: f.move("tensors/%", "tensors/%FF"), "can't be read"),
        (lambda f: _relink(f, h5py.ExternalLink("/etc/passwd", "/x")), "link to elsewhere"),
        (lambda f: _relink(f, h5py.SoftLink("/simulation/compute_cycles")), "link to elsewhere"),
        (lambda f: _relink(f, [1, 2, 3]), "one length"),
        (lambda f: _replace(f, "statistics/values", data=b"x"), "one length"),
        (
            lambda f: [
                _replace(f, f"statistics/{c}", shape=(1 << 50,), chunks=(4096,), dtype="i8")
                for c in ("tensor", "values", "bit_sparsity")
            ],
            "claims 9007199254740992 bytes",
        ),
        (
            lambda f: _replace(
                f, "statistics/values", shape=(2,), dtype="i8", external=[("/dev/zero", 0, 16)]
            ),
            "another file",
        ),
    ],
)
def test_stores_that_are_refused(sample: Path, change, words: str) -> None:
    edit(sample, change)
    with pytest.raises(DumpError) as error:
        read_all(sample)
    one_line(error, sample, words)


def test_newer_minor_versions_and_unknown_members_are_read(sample: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["encoding-version"] = "1.9"
        file.attrs["later"] = 1
        file.create_group("later").attrs["encoding-type"] = "something"

    edit(sample, change)
    read_all(sample)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(DumpError, match="no such file"):
        Store.open(path)
    with pytest.raises(DumpError, match="no such file"):
        Store.open(tmp_path)
    path.write_bytes(b"text" * 100)
    with pytest.raises(DumpError, match="not an HDF5 file"):
        Store.open(path)
    with h5py.File(path, "w") as file:
        file["x"] = [1]
    with pytest.raises(DumpError, match="encoding-type must be 'bitx-store', found None"):
        Store.open(path)


# -- files that change -------------------------------------------------------------------------


def numbered(path: Path, number: int) -> None:
    with Store.create(path) as writer:
        writer.write_table("t", {"x": np.full(20000, number)}, units={"x": "1"})


def test_a_store_that_is_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.h5"
    numbered(path, 1)

    def check_then_replace(path: Path, file: Any) -> bool:
        sealed = check_seal(path, file)
        numbered(path, 2)
        return sealed

    monkeypatch.setattr(reader, "check_seal", check_then_replace)
    with Store.open(path) as store:
        assert store.sealed
        assert set(store.table("t")["x"]) == {1}
    monkeypatch.undo()
    with Store.open(path) as store:
        assert set(store.table("t")["x"]) == {2}


@pytest.mark.slow
def test_a_store_that_is_replaced_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    numbered(path, 0)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from typing import Any
from tests.bitxcore.test_store import numbered
for number in range(100000):
    numbered(Path(sys.argv[1]), number)
"""
    writing = subprocess.Popen([sys.executable, "-c", code, path])
    try:
        seen = set()
        for _ in range(400):
            with Store.open(path) as store:
                (number,) = set(store.table("t")["x"])
                seen.add(number)
    finally:
        writing.kill()
        writing.wait()
    assert len(seen) > 10


def test_a_store_that_is_truncated_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    numbered(path, 1)
    with Store.open(path) as store:
        os.truncate(path, 3000)
        with pytest.raises(DumpError, match=r"s\.h5: .*early; was it truncated\?"):
            store.table("t")


def test_a_store_that_is_left_open(tmp_path: Path) -> None:
    numbered(tmp_path / "s.h5", 1)
    code = f"""
import gc, os, warnings
warnings.simplefilter("error")
from bitxcore.store import Store
def last():
    return Store.open({str(tmp_path / "s.h5")!r}).table("t")["x"][-1]
before = len(os.listdir("/proc/self/fd"))
print([int(last()) for _ in range(5)])
gc.collect()
assert len(os.listdir("/proc/self/fd")) == before
kept = Store.open({str(tmp_path / "s.h5")!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1, 1, 1, 1, 1]\n", "")
