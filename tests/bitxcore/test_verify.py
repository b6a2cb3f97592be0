"""A store that breaks a rule is told so; damage is found by the seal, by a checksum or by a clean error."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bitxcore.errors import DumpError
from bitxcore.store import Store, verify
from bitxcore.store.array_rules import ARRAY_RULES, DTYPE_KINDS, HISTOGRAMS, TENSOR_RULES
from bitxcore.store.count_rules import CROSS_RULES, KNOWN_RULES, ROW_RULES, UNIQUE_RULES, AtMost, Rows
from bitxcore.store.seal import check_seal
from bitxcore.store.table_rules import RULES
from tests.bitxcore.broken_stores import SEAL_BYTES, edit, write_good

ARCHIVES = Path(__file__).parents[1] / "archives"


Good = Callable[..., Path]


@pytest.fixture(scope="session")
def written() -> dict[frozenset[str], Path]:
    """Stores by their tables."""
    return {}


@pytest.fixture
def good(written, tmp_path_factory, tmp_path: Path) -> Good:
    """Makes a store that keeps all rules, of all tables or some."""

    def make(*tables: str) -> Path:
        key = frozenset(tables)
        if key not in written:
            written[key] = tmp_path_factory.mktemp("good") / "run.h5"
            write_good(written[key], tables or None)
        return Path(shutil.copy(written[key], tmp_path / "run.h5"))

    return make


def broken(path: Path, change: Callable[[h5py.File], Any], **how: bool) -> list[tuple[str, str]]:
    """Place and text of what is found after a change."""
    edit(path, change, **how)
    found = verify(path)
    assert not found.is_sound
    return [(finding.place, str(finding)) for finding in found]


def told(found: list[tuple[str, str]], place: str, *words: str) -> bool:
    return any(where == place and all(word in text for word in words) for where, text in found)


def put(name: str, row: int, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][row] = value

    return change


# -- sound stores ------------------------------------------------------------------------------


def test_a_good_store(good: Good) -> None:
    found = verify(good())
    assert [str(finding) for finding in found] == []
    assert (found.is_sealed, found.version, found.tensors) == (True, "1.1", 1)
    assert found.tables == 14
    assert found.checksums == found.arrays > 200


@pytest.mark.parametrize("path", sorted(ARCHIVES.glob("*/*.h5")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_archives(path: Path) -> None:
    found = verify(path)
    assert [str(finding) for finding in found] == []
    with Store.open(path) as store:
        assert store.sealed
        assert store.provenance.versions["bitx"] == path.parent.name
        tables = store.read_tables()
        assert tables
        assert all(len(table) for name, table in tables.items() if name != "not_simulated")
        assert all(store.tensors[name] for name in store.tensors)
    assert found.version == ("1.0" if path.parent.name == "0.1.0" else "1.1")
    assert found.checksums == (0 if found.version == "1.0" else found.arrays)


def test_what_0_1_0_wrote_has_its_values() -> None:
    with Store.open(ARCHIVES / "0.1.0" / "prune.h5") as store:
        assert store.table("pruning")["packed_bits"].tolist() == [2176, 5440]
        assert store.tensors["stem.weight"]["kept_rows"].tolist() == [[5]] * 16
    with Store.open(ARCHIVES / "0.1.0" / "simulate.h5") as store:
        assert store.table("networks")["cycles"].tolist() == [165, 104]


def test_there_is_an_archive_of_every_release() -> None:
    text = (ARCHIVES.parents[1] / "CHANGELOG.md").read_text("utf-8")
    released = {line.split()[1] for line in text.splitlines() if line.startswith("## ") and " - " in line}
    assert released <= {path.name for path in ARCHIVES.iterdir()}


# -- checksums ---------------------------------------------------------------------------------


def plain_checksum(dataset: h5py.Dataset) -> str:
    """The definition of docs/store.md, by other means."""
    if h5py.check_string_dtype(dataset.dtype):
        texts = [text.encode() for text in dataset.asstr()[()]]
        data, dtype = b"".join(struct.pack("<Q", len(text)) + text for text in texts), "utf-8"
    else:
        values = dataset[()]
        data, dtype = np.asarray(values, values.dtype.newbyteorder("<")).tobytes(), values.dtype.name
    sizes = "x".join(map(str, dataset.shape)) or "scalar"
    missing = " missing" if "_FillValue" in dataset.attrs else ""
    end = f"\n{dtype} {sizes}{missing}\n{dataset.attrs['units']}"
    return "sha256:" + hashlib.sha256(data + end.encode()).hexdigest()


def test_checksums_are_as_defined(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    columns = {"n": [1, None], "x": [0.5, None], "text": ["a\x00", None], "b": [True, False]}
    with Store.create(path) as store:
        store.write_table("t", columns, units={"n": "cycles", "x": "J", "text": "", "b": ""})
        store.write_table("empty", {"x": []}, units={"x": ""})
        arrays = {"f": np.ones((2, 3), "f2"), "s": np.int8(5), "none": np.zeros((2, 0), "u8"), "b": [[True]]}
        arrays["big"] = np.arange(3000, dtype=">i4")[::-1]
        store.write_tensor_arrays("w", arrays, dict.fromkeys(arrays, "1"))
    seen = []
    with h5py.File(path) as file:
        for table in ("t", "empty", "tensors/w", "provenance/inputs"):
            for dataset in file[table].values():
                assert dataset.attrs["checksum"] == plain_checksum(dataset)
                seen.append(dataset.name)
    assert len(seen) == verify(path).checksums == 13


def test_blocks_make_no_difference(tmp_path: Path) -> None:
    rows = [{"n": None if i % 3 else i, "text": None if i < 9 else str(i)} for i in range(20)]
    blocks = [
        {name: [row[name] for row in rows[i : i + 3]] for name in ("n", "text")} for i in range(0, 20, 3)
    ]
    found = []
    for path, content in ((tmp_path / "a.h5", rows), (tmp_path / "b.h5", blocks)):
        with Store.create(path) as store:
            store.write_table("t", content, units={"n": "1", "text": ""})
        with h5py.File(path) as file:
            found.append({name: dataset.attrs["checksum"] for name, dataset in file["t"].items()})
        assert verify(path).is_sound
    assert found[0] == found[1]


def test_a_dtype_a_unit_or_a_missing_value_makes_a_difference(tmp_path: Path) -> None:
    low = np.iinfo(np.int64).min
    checksums = set()
    tables = [([1, 2], "1", "i8"), ([1, 2], "1", "i4"), ([1, 2], "J", "i8"), ([1, None], "1", "i8")]
    for i, (values, unit, dtype) in enumerate([*tables, ([1, low], "1", "i8"), ([1, 2, 0], "1", "i8")]):
        path = tmp_path / f"{i}.h5"
        with Store.create(path) as store:
            store.write_table("t", {"n": values}, units={"n": unit}, dtypes={"n": dtype})
        with h5py.File(path) as file:
            checksums.add(file["t/n"].attrs["checksum"])
    assert len(checksums) == 6


def test_large_arrays_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with Store.create(path) as store:
        store.write_tensor_arrays("w", {"x": np.arange(6000.0).reshape(60, 100)}, {"x": "1"})
    monkeypatch.setattr("bitxcore.store.checksum.BLOCK_BYTES", 4000)
    assert verify(path).is_sound


@pytest.mark.parametrize("name", ["simulation/cycles", "simulation/layer", "tensors/w/values"])
def test_a_changed_value(good: Good, name: str) -> None:
    def change(file: h5py.File) -> None:
        dataset = file[name]
        dataset[1] = "z" if dataset.dtype == object else dataset[1] + 1

    (found,) = broken(good("simulation", "tensors"), change, checksums=False)
    assert found[0] == f"/{name}"
    assert "the checksum of the values must be the one that was stored: expected sha256:" in found[1]


def test_a_missing_checksum(good: Good) -> None:
    def change(file: h5py.File) -> None:
        del file["simulation/cycles"].attrs["checksum"]

    place = "/simulation/cycles"
    assert broken(good("simulation"), change) == [(place, f"{place}: the attribute 'checksum' is missing")]


# -- rules -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "table"),
    [pytest.param(r, table, id=f"{table}.{r.column}") for r in ROW_RULES for table in r.tables],
)
def test_row_rules(good: Good, rule: Any, table: str) -> None:
    def change(file: h5py.File) -> None:
        column = file[table][rule.column]
        limit = file[table][rule.limit][0] if isinstance(rule, AtMost) else column[0]
        column[0] = limit + 1

    found = broken(good(table), change)
    assert told(found, f"/{table}/{rule.column}", "row 0", f"must be {rule.words}", "expected ", "found ")


@pytest.mark.parametrize("rule", UNIQUE_RULES, ids=lambda r: r.table)
def test_unique_rules(good: Good, rule: Any) -> None:
    def change(file: h5py.File) -> None:
        for name, column in file[rule.table].items():
            column.resize((max(2, len(column)),))
            if name in rule.keys:
                column[1] = column[0]

    found = broken(good(rule.table), change)
    assert told(found, f"/{rule.table}", "row 1", f"must have {rule.words}")


@pytest.mark.parametrize("rule", KNOWN_RULES, ids=lambda r: r.table)
def test_known_rules(good: Good, rule: Any) -> None:
    found = broken(good(rule.table, rule.target), put(f"{rule.table}/{rule.keys[0]}", 0, "unheard-of"))
    assert told(found, f"/{rule.table}", "row 0", f"must have {rule.words}", "unheard-of")


@pytest.mark.parametrize("rule", CROSS_RULES, ids=lambda r: f"{r.target}.{r.into}")
def test_cross_rules(good: Good, rule: Any) -> None:
    def change(file: h5py.File) -> None:
        column = file[rule.target][rule.into]
        column[0] = column[0] + 1

    found = broken(good(rule.source, rule.target), change)
    assert told(found, f"/{rule.target}/{rule.into}", "row 0", f"must be {rule.words}", "expected ")


@pytest.mark.slow
@pytest.mark.parametrize("rule", CROSS_RULES, ids=lambda r: f"{r.source}.{getattr(r, 'column', r.keys)}")
def test_cross_rules_from_the_other_side(good: Good, rule: Any) -> None:
    name = f"{rule.source}/{rule.given if isinstance(rule, Rows) else rule.column}"

    def change(file: h5py.File) -> None:
        column = file[name]
        column[0] = "for no reason" if isinstance(rule, Rows) else column[0] + 1

    assert told(
        broken(good(rule.source, rule.target), change), f"/{rule.target}/{rule.into}", f"must be {rule.words}"
    )


@pytest.mark.parametrize("table", ["kept_rows", "kept_ones", "energy"])
def test_rows_that_are_gone(good: Good, table: str) -> None:
    def change(file: h5py.File) -> None:
        for column in file[table].values():
            column.resize((2,))

    column = "energy_j" if table == "energy" else f"{table}_mean"
    assert told(broken(good(table, "simulation"), change), f"/simulation/{column}", "row 1")


@pytest.mark.parametrize("table", sorted(name for name in RULES if RULES[name].must))
def test_columns_that_must_be_there(good: Good, table: str) -> None:
    name = next(iter(RULES[table].must))

    def change(file: h5py.File) -> None:
        group = file[table]
        order = [column for column in group.attrs["column-order"] if column != name]
        group.attrs.create("column-order", order, dtype=h5py.string_dtype())
        del group[name]

    assert told(broken(good(table), change), f"/{table}", f"lacks the column {name!r}")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("simulation/cycles", -1, "a whole number from 0 to 2**53"),
        ("simulation/seconds", -0.5, "a number from 0 to 1e300"),
        ("sweep/point", -3, "a whole number from 0 to 2**53"),
        ("kept_rows/kept_rows", 5000, "a whole number from 0 to 4096"),
        ("reproduction/ours", 1e301, "a number of at most 1e300"),
        ("statistics/tensor", "\x10", "text: found a missing value"),
        ("networks/fill_cycles", 2**60, "at most 2**53 in magnitude"),
    ],
)
def test_values(good: Good, name: str, value: Any, words: str) -> None:
    def change(file: h5py.File) -> None:
        file[name][0] = value
        if value == "\x10":
            file[name].attrs["_FillValue"] = value

    found = broken(good(name.partition("/")[0]), change)
    assert told(found, f"/{name}", "row 0", f"must be {words}")


@pytest.mark.parametrize("rule", ARRAY_RULES, ids=lambda r: r.array)
def test_array_rules(good: Good, rule: Any) -> None:
    def change(file: h5py.File) -> None:
        group = file["tensors/w"]
        if rule.array in ("exponents", "signs", "rows"):
            _replace(group, rule.array, group[rule.array][()].reshape(-1)[:-1])
            return
        array = group[rule.array]
        at = (0,) * len(array.shape)
        array[at] = array[at] | 1 << 15 if rule.array == "row_masks" else array[at] + 1

    found = broken(good("tensors"), change)
    assert told(found, f"/tensors/w/{rule.array}", f"must {rule.words}", "expected ", "found ")


def _replace(group: h5py.Group, name: str, values: Any) -> None:
    attrs = dict(group[name].attrs)
    del group[name]
    dataset = group.create_dataset(name, data=values)
    for key, value in attrs.items():
        dataset.attrs[key] = value


def test_dtypes_of_arrays(good: Good) -> None:
    def change(file: h5py.File) -> None:
        for name in DTYPE_KINDS:
            _replace(file["tensors/w"], name, np.zeros((4, 2)))

    found = broken(good("tensors"), change)
    for name, (_, words) in DTYPE_KINDS.items():
        assert told(found, f"/tensors/w/{name}", f"must hold {words}", "found float64")


@pytest.mark.parametrize("values", [[-1, 3], [[1, 2]], [0.5], np.zeros(5000, "i8")])
def test_histograms(good: Good, values: Any) -> None:
    def change(file: h5py.File) -> None:
        for name in HISTOGRAMS:
            _replace(file["tensors/w"], name, np.array(values))

    found = broken(good("tensors"), change)
    for name in HISTOGRAMS:
        assert told(found, f"/tensors/w/{name}", "must hold 1 to 4097 counts from 0 to 2**53")


@pytest.mark.parametrize(
    "attribute", [("group", 0), ("window", "wide"), ("grouping", "none"), ("format", "f")]
)
def test_attributes_of_arrays_that_make_no_sense(good: Good, attribute: tuple[str, Any]) -> None:
    found = broken(good("tensors"), lambda file: file["tensors/w"].attrs.__setitem__(*attribute))
    assert any("which can't be told: " in text for _, text in found)


@pytest.mark.parametrize("rule", TENSOR_RULES, ids=lambda r: f"{r.table}.{r.column}-{r.array}")
def test_tensor_rules(good: Good, rule: Any) -> None:
    def change(file: h5py.File) -> None:
        column = file[rule.table][rule.column]
        column[0] = column[0] + 1

    found = broken(good(rule.table, "tensors"), change)
    words = rule.words.format(array=rule.array)
    assert told(found, f"/{rule.table}/{rule.column}", "row 0", f"must be {words} of the tensor", "expected ")


def pruned_store(path: Path, names: list[str], with_arrays: list[str]) -> Path:
    with Store.create(path) as store:
        rows = {"dump": ["d"] * len(names), "tensor": names, "groups": [3] * len(names)}
        store.write_table("pruning", rows, units={"dump": "", "tensor": "", "groups": "1"})
        for name in with_arrays:
            store.write_tensor_arrays(name, {"kept_rows_histogram": [1, 2]}, {"kept_rows_histogram": "1"})
    return path


@pytest.mark.parametrize("kept", [[], ["a", "b", "c"], ["a", "d/b", "d/c", "more"]])
def test_rows_of_which_all_or_none_have_arrays(tmp_path: Path, kept: list[str]) -> None:
    found = verify(pruned_store(tmp_path / "a.h5", ["a", "b", "c"], kept))
    assert [str(finding) for finding in found] == []


def test_rows_without_arrays(tmp_path: Path) -> None:
    path = pruned_store(tmp_path / "a.h5", ["a", "b", "c"], ["a", "d/b", "c"])
    found = broken(path, lambda file: [file.__delitem__(f"tensors/{name}") for name in ("a", "c")])
    words = "row 0 and 1 more: must have arrays of the tensor in every row or in none: found none of 'a'"
    assert found == [("/pruning/tensor", f"/pruning/tensor: {words}")]


def test_a_tensor_that_cant_be_read_is_told_once(tmp_path: Path) -> None:
    path = pruned_store(tmp_path / "a.h5", ["a", "b"], ["a", "b"])
    found = broken(path, lambda file: file["tensors/a"].attrs.__delitem__("encoding-type"))
    assert [place for place, _ in found] == ["/tensors/a"]


# -- layout ------------------------------------------------------------------------------------


def _column_order(file: h5py.File) -> None:
    del file["sweep"].attrs["column-order"]


def _soft_link(file: h5py.File) -> None:
    del file["sweep/cycles"]
    file["sweep/cycles"] = h5py.SoftLink("/sweep/macs")


def _external_link(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/")


def _virtual(file: h5py.File) -> None:
    del file["tensors/w/values"]
    layout = h5py.VirtualLayout((4, 16), "f4")
    dataset = file["tensors/w"].create_virtual_dataset("values", layout)
    dataset.attrs.update({"encoding-type": "array", "encoding-version": "1.0", "units": "1"})


def _filter(file: h5py.File) -> None:
    values, attrs = file["tensors/w/values"][()], dict(file["tensors/w/values"].attrs)
    del file["tensors/w/values"]
    dataset = file["tensors/w"].create_dataset("values", data=values, compression="lzf")
    dataset.attrs.update(attrs)


def _without_stamp(file: h5py.File) -> None:
    file.create_group("more")


def _lengths(file: h5py.File) -> None:
    file["sweep/cycles"].resize((3,))


def _tensor_name(file: h5py.File) -> None:
    file.move("tensors/w", "tensors/%77")


def _identifier(file: h5py.File) -> None:
    file.move("tensors/w/values", "tensors/w/my values")


def _complex(file: h5py.File) -> None:
    _replace(file["tensors/w"], "values", np.zeros((4, 16), complex))


def _attribute(name: str, attribute: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__setitem__(attribute, value)


def _no_attribute(name: str, attribute: str) -> Callable[[h5py.File], None]:
    return lambda file: file[name].attrs.__delitem__(attribute)


LOWEST = np.int64(np.iinfo("i8").min)
LAYOUT = {
    "a newer root": (_attribute("/", "encoding-version", "2.0"), "/", "bitx-store 2.0 is newer than 1.1"),
    "another root": (_attribute("/", "encoding-type", "x"), "/", "encoding-type must be 'bitx-store'"),
    "no creator": (_no_attribute("/", "creator"), "/", "the attribute 'creator' is missing"),
    "no time": (_attribute("/", "created", "now"), "/", "must be a time with its offset: found now"),
    "no provenance": (lambda file: file.pop("provenance"), "/provenance", "must be there"),
    "no tensors": (lambda file: file.pop("tensors"), "/tensors", "must be there"),
    "no JSON": (_attribute("provenance", "parameters", "{"), "/provenance", "'parameters' must be JSON"),
    "no command": (_no_attribute("provenance", "command-line"), "/provenance", "'command-line' is missing"),
    "no digest": (put("provenance/inputs/sha256", 0, "ab"), "/provenance/inputs/sha256", "64 hex"),
    "a size": (put("provenance/inputs/size_bytes", 0, -5), "/provenance/inputs/size_bytes", "be negative"),
    "no stamp": (_without_stamp, "/more", "must have an encoding-type"),
    "no order": (_column_order, "/sweep", "the attribute 'column-order' is missing"),
    "no column": (lambda file: file["sweep"].pop("cycles"), "/sweep", "'cycles' is missing, or"),
    "a soft link": (_soft_link, "/sweep", "'cycles' is missing, or is a link to elsewhere"),
    "an external link": (_external_link, "/elsewhere", "'elsewhere' is missing, or is a link to elsewhere"),
    "values elsewhere": (_virtual, "/tensors/w/values", "its values are kept in another file"),
    "another filter": (_filter, "/tensors/w/values", "no filter but deflate and shuffle: found 32000"),
    "lengths": (_lengths, "/sweep", "columns must be 1-D and of one length"),
    "no unit": (_no_attribute("sweep/cycles", "units"), "/sweep/cycles", "'units' is missing"),
    "a version": (_attribute("area/part", "encoding-version", "x"), "/area/part", "must be 'major.minor'"),
    "a newer array": (_attribute("area/part", "encoding-version", "3.0"), "/area/part", "newer than 1.1"),
    "an encoding": (_attribute("area/part", "encoding-type", "array"), "/area/part", "of dtype object"),
    "a tensor's name": (_tensor_name, "/tensors/%77", "must be written as 'w'"),
    "an array's name": (_identifier, "/tensors/w/my values", "a name must be letters"),
    "a dtype": (_complex, "/tensors/w/values", "a array of dtype complex128"),
    "a fill of floats": (_attribute("area/area_mm2", "_FillValue", 1.5), "/area/area_mm2", "must not have"),
    "a fill of arrays": (_attribute("tensors/w/rows", "_FillValue", 1), "/tensors/w/rows", "must not have"),
    "another fill": (_attribute("sweep/cycles", "_FillValue", 0), "/sweep/cycles", "column's type: found "),
    "a fill of text": (_attribute("area/part", "_FillValue", "\x10"), "/area/part", "but no value is"),
    "a fill too much": (_attribute("sweep/cycles", "_FillValue", LOWEST), "/sweep/cycles", "but no value"),
    "an escape": (put("area/part", 1, "\x10zz"), "/area/part", "row 1: must hold U+0010 only before"),
    "a lone escape": (put("area/part", 0, "\x10"), "/area/part", "row 0: must hold U+0010 only before"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUT)
def test_layout(good: Good, case: str) -> None:
    change, place, words = LAYOUT[case]
    assert told(broken(good("area", "sweep", "tensors"), change), place, words)


# -- damage ------------------------------------------------------------------------------------


def test_no_file(tmp_path: Path) -> None:
    (found,) = verify(tmp_path / "none.h5")
    assert str(found) == "there is no such file"


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(999), b"text"])
def test_no_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    found = verify(path)
    assert [finding.rule for finding in found] == ["file"]
    assert not found.is_sealed


def test_files_that_crash_hdf5() -> None:
    for path in sorted((Path(__file__).parent / "data" / "damaged").glob("crashes-*.h5")):
        assert not verify(path).is_sound


def test_a_store_without_a_seal(good: Good) -> None:
    path = good("area")
    os.truncate(path, path.stat().st_size - SEAL_BYTES)
    found = verify(path)
    assert found.is_sound
    assert not found.is_sealed


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-20],
        lambda data: data[:-83],
        lambda data: data + b"x",
        lambda data: data[:-30] + bytes(30),
        lambda data: data[:-84] + bytes(1 << 20),
        lambda data: data[:-60].replace(b'"group": 8', b'"group": 9') + b"\x00" + data[-59:],
    ],
    ids=["cut 1", "cut 20", "cut 83", "one more", "zeros", "longer", "flipped with a parameter"],
)
def test_a_seal_that_is_damaged(good: Good, damage: Callable[[bytes], bytes]) -> None:
    path = good("area")
    path.write_bytes(damage(path.read_bytes()))
    found = verify(path)
    assert [finding.rule for finding in found] == ["seal"]
    assert "damaged or cut seal" in str(next(iter(found)))
    assert found.tables == 1  # the rest is looked at all the same


@pytest.mark.parametrize(("libver", "version"), [("EARLIEST", 0), ("V18", 2), ("LATEST", 3)])
@pytest.mark.parametrize("width", [4, 8])
def test_where_hdf5_data_end(tmp_path: Path, libver: str, version: int, width: int) -> None:
    path = tmp_path / "plain.h5"
    creation, access = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    creation.set_sizes(width, width)
    bound = getattr(h5py.h5f, f"LIBVER_{libver}")
    access.set_libver_bounds(bound, h5py.h5f.LIBVER_LATEST if bound else h5py.h5f.LIBVER_V18)
    with h5py.File(h5py.h5f.create(bytes(path), fcpl=creation, fapl=access)) as file:
        file["x"] = np.arange(1000)
    size = path.stat().st_size
    assert path.read_bytes()[8] == version
    assert not check_seal(path)
    with path.open("ab") as more:
        more.write(b"\n")
    with pytest.raises(DumpError, match=f"end at byte {size}, and what follows is no seal"):
        check_seal(path)
    os.truncate(path, size - 1)
    assert not check_seal(path)


def test_a_superblock_of_version_1(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    start = b"\x89HDF\r\n\x1a\n\x01" + bytes(4) + b"\x08\x08" + bytes(13) + struct.pack("<QqQ", 0, -1, 200)
    path.write_bytes(start.ljust(200, b"x"))
    assert not check_seal(path)
    path.write_bytes(start.ljust(201, b"x"))
    with pytest.raises(DumpError, match="end at byte 200,"):
        check_seal(path)


@pytest.mark.parametrize("width", [0, 33, 255])
def test_superblocks_that_make_no_sense(tmp_path: Path, width: int) -> None:
    path = tmp_path / "a.h5"
    for version in range(256):
        fields = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([version]) + bytes(300))
        fields[9] = fields[13] = width
        for length in (9, 10, 127, 309):
            path.write_bytes(fields[:length])
            assert not check_seal(path)


def test_a_seal_that_is_wrong_hides_no_place(good: Good) -> None:
    path = good("tensors")
    ending = path.read_bytes()[-SEAL_BYTES:]
    edit(path, put("tensors/w/values", (0, 0), 5.0), checksums=False, sealed=False)
    with path.open("ab") as file:
        file.write(ending)
    assert [(finding.rule, finding.place) for finding in verify(path)] == [
        ("seal", ""),
        ("checksum", "/tensors/w/values"),
    ]


def small_store(path: Path) -> bytes:
    with Store.create(path) as store:
        store.write_table("t", {"n": [1, None, 3], "text": ["a", "b", None]}, units={"n": "1", "text": ""})
        store.write_tensor_arrays("w", {"x": np.arange(400.0)}, {"x": "J"}, {"group": 8})
    return path.read_bytes()


def contents(path: Path) -> Any:
    with Store.open(path, verify=False) as store:
        tables = {
            name: (store.units(name), {k: v.tolist() for k, v in store.table(name).items()})
            for name in store.tables
        }
        tensors = {
            name: (store.tensor_units(name), {k: v.tolist() for k, v in arrays.items()})
            for name, arrays in store.tensors.items()
        }
    return tables, tensors


def check_flips(tmp_path: Path, count: int) -> None:
    """Damage that is not found changes no value, and no unit: it is where nothing is read."""
    path = tmp_path / "run.h5"
    data = small_store(path)
    before = contents(path)
    rng = random.Random(4)
    silent = 0
    for at in sorted(rng.sample(range(len(data) - SEAL_BYTES), count)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert next(iter(verify(path))).rule == "seal"
        path.write_bytes(flipped[:-SEAL_BYTES])
        if verify(path).is_sound:
            silent += 1
            assert contents(path) == before, f"byte {at}"
    assert silent < count


def test_flipped_bits(tmp_path: Path) -> None:
    check_flips(tmp_path, 12)


@pytest.mark.slow
def test_many_flipped_bits(tmp_path: Path) -> None:
    check_flips(tmp_path, 120)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_shorter_file(good: Good, share: float) -> None:
    path = good("area")
    os.truncate(path, int(path.stat().st_size * share))
    assert not verify(path).is_sound
