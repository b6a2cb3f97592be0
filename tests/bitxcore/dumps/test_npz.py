import io
import re
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_npy import DTYPES, SHAPES, Bomb, header

from bitxcore.dumps import convert, open_dump, save
from bitxcore.errors import DumpError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0"), min_size=1, max_size=8)


@given(st.data(), st.booleans())
def test_round_trip(tmp_path_factory, data, deflate):
    names = data.draw(st.lists(NAMES, max_size=3, unique=True))
    arrays = {name: data.draw(hnp.arrays(data.draw(DTYPES), data.draw(SHAPES))) for name in names}
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
        for name, value in arrays.items():
            archive.writestr(f"{name}.npy", npy(value))
    dump = open_dump(path)
    assert list(dump) == names
    for name, value in arrays.items():
        assert dump[name].read().tobytes() == value.astype(value.dtype.newbyteorder("=")).tobytes()
    for suffix in ("same.npz", "new.npz"):
        out = path.with_name(suffix)
        save(dump, out, None if suffix == "same.npz" else lambda tensor: tensor.read())
        with np.load(out) as loaded:
            assert list(loaded) == names
            assert all(loaded[name].tobytes() == value.tobytes() for name, value in arrays.items())


def npy(value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_other_members_and_comments_are_kept(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.comment = b"trained on digits"
        file.writestr("config.json", "{}")
        file.writestr(zipfile.ZipInfo("a.npy", (1999, 12, 31, 1, 2, 4)), npy(np.ones(3)))
        file.writestr("notes.txt", "x" * 999, zipfile.ZIP_DEFLATED)
    dump = open_dump(path)
    assert list(dump) == ["a"]
    assert dump.ignored == {"config.json": "not a .npy member", "notes.txt": "not a .npy member"}
    save(dump, tmp_path / "y.npz", lambda tensor: tensor.read() * 2)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.npz") as new:
        assert new.comment == old.comment
        for before, after in zip(old.infolist(), new.infolist(), strict=True):
            for key in ("filename", "date_time", "compress_type", "external_attr", "file_size"):
                assert getattr(before, key) == getattr(after, key)
        assert new.read("notes.txt") == old.read("notes.txt")
    assert np.load(tmp_path / "y.npz")["a"].tolist() == [2, 2, 2]


def test_duplicate_names(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(1))), ("a.npy", npy(np.ones(2)))])
    with pytest.raises(DumpError, match=r"two members are named 'a\.npy'"):
        open_dump(path)


def test_objects_are_ignored_and_copied(tmp_path):
    np.savez(tmp_path / "x.npz", good=np.ones(3), bad=np.array([Bomb()], dtype=object))
    dump = open_dump(tmp_path / "x.npz")
    assert list(dump) == ["good"]
    assert dump.ignored["bad"].startswith("holds Python objects")
    save(dump, tmp_path / "y.npz", lambda tensor: tensor.read() * 2)
    with zipfile.ZipFile(tmp_path / "x.npz") as old, zipfile.ZipFile(tmp_path / "y.npz") as new:
        assert new.read("bad.npy") == old.read("bad.npy")
    assert np.load(tmp_path / "y.npz")["good"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, compression):
    path = archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(99)))], compression)
    with pytest.raises(DumpError, match="neither stored nor deflated"):
        open_dump(path)


def patched(path, offset, layout, value, signature=b"PK\1\2"):
    """Change one field of the directory's entry."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.rindex(signature) + offset, value)
    path.write_bytes(data)
    return path


def claim(shape, dtype="<u1"):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_sizes_that_lie(tmp_path):
    size = 3_000_000_000
    start = claim((size,))
    path = archive(tmp_path / "x.npz", [("a.npy", start + bytes(1000))], zipfile.ZIP_DEFLATED)
    with pytest.raises(DumpError, match="needs 3000000000 bytes, the member holds 1000"):
        open_dump(path)
    patched(path, 24, "<I", len(start) + size)
    with pytest.raises(DumpError, match="claims 3000000128 bytes, of which only"):
        open_dump(path)
    path = archive(tmp_path / "y.npz", [("a.npy", claim((500_000,)) + bytes(100_000))], zipfile.ZIP_DEFLATED)
    patched(path, 24, "<I", len(start) + 500_000)
    a = open_dump(path)["a"]
    for read in (a.read, lambda: list(a.blocks())):
        with pytest.raises(DumpError, match="holds less than it claims"):
            read()
    path = archive(tmp_path / "z.npz", [("a.npy", claim((100_000,)) + bytes(500_000))], zipfile.ZIP_DEFLATED)
    patched(path, 24, "<I", len(start) + 100_000)
    with pytest.raises(DumpError, match="checksum"):
        open_dump(path)["a"].read()
    path = archive(tmp_path / "s.npz", [("a.npy", start + bytes(1000))])
    patched(path, 24, "<I", len(start) + size)
    with pytest.raises(DumpError, match="stored bytes 1128, claimed"):
        open_dump(path)
    patched(path, 20, "<I", len(start) + size)
    with pytest.raises(DumpError, match="claim more bytes than the file has"):
        open_dump(path)


def test_zeros_compress_as_far_as_deflate_goes(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(80 << 20, np.uint8))
    assert path.stat().st_size * 1000 < 80 << 20
    assert open_dump(path)["a"].read_rows(50, 60).tolist() == [0] * 10


@pytest.mark.parametrize(
    ("offset", "layout", "value", "reason"),
    [
        (8, "<H", 1, "is encrypted"),
        (42, "<I", 7, "points elsewhere"),
        (42, "<I", 2_000_000_000, "can't be read"),
        (10, "<H", 99, "compression 99"),
    ],
)
def test_a_directory_that_lies(tmp_path, offset, layout, value, reason):
    path = patched(archive(tmp_path / "x.npz", [("a.npy", npy(np.ones(9)))]), offset, layout, value)
    with pytest.raises(DumpError, match=re.escape(reason)):
        open_dump(path)


def test_stored_data_are_checked_by_their_sum(tmp_path):
    path = archive(tmp_path / "x.npz", [("a.npy", npy(np.arange(9999.0)))])
    data = path.read_bytes().replace(np.float64(9998).tobytes(), np.float64(9).tobytes())
    path.write_bytes(data)
    a = open_dump(path)["a"]
    for read in (a.read, lambda: list(a.blocks())):
        with pytest.raises(DumpError, match=r"member 'a\.npy': checksum \(CRC-32\) does not match"):
            read()
    with pytest.raises(DumpError, match="CRC-32"):
        save(open_dump(path), tmp_path / "y.npz")
    assert not (tmp_path / "y.npz").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\0b", "can't hold this name, which zip would cut or change"),
        ("\0", "can't hold this name"),
        ("a.npy\0", "can't hold this name"),
        ("\ud800", "not Unicode text"),
        ("x" * 70_000, "name of 70004 bytes, more than 65535"),
    ],
)
@pytest.mark.parametrize("how", [save, convert])
def test_names_that_zip_would_change_are_refused(tmp_path, name, reason, how):
    source = tmp_path / "x.npy"
    np.save(source, np.ones((2, 2)))
    dump = open_dump(source)
    tensor = dump["x"]
    tensor.name = name
    dump._tensors = {name: tensor}
    with pytest.raises(DumpError, match=reason) as caught:
        how(dump, tmp_path / "y.npz")
    assert caught.value.path == tmp_path / "y.npz"
    assert caught.value.tensor == name
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    "names", [("a\0b", "a\0c"), ("a\0.npy", "a\0b.npy"), ("a.npy\0x", "a.npy"), ("é\0.npy", "é")]
)
def test_members_with_a_nul_keep_their_names(tmp_path, names):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, npy(np.full(2, number)))
    dump = open_dump(path)
    assert {*dump, *dump.ignored} == {name.removesuffix(".npy") for name in names}
    save(dump, tmp_path / "y.npz", lambda tensor: tensor.read() + 5)
    again = open_dump(tmp_path / "y.npz")
    assert (list(again), again.ignored) == (list(dump), dump.ignored)
    assert all(np.array_equal(again[name].read(), dump[name].read() + 5) for name in dump)


@pytest.mark.parametrize(
    "name",
    [name for name in dir(ml_dtypes) if isinstance(getattr(ml_dtypes, name), type) and "info" not in name],
)
def test_dtypes_that_numpy_can_not_name_are_refused(tmp_path, name):
    tensor_dtype = np.dtype(getattr(ml_dtypes, name))
    source = tmp_path / "x.npy"
    np.save(source, np.ones((2, 2)))
    dump = open_dump(source)
    dump["x"].dtype = tensor_dtype
    with pytest.raises(DumpError, match=rf"\.npz can't hold {tensor_dtype}; use \.safetensors"):
        convert(dump, tmp_path / "y.npz")


@pytest.mark.parametrize("compress", [False, True])
def test_float8_e5m2_is_what_numpy_writes_as_f1(tmp_path, compress):
    values = np.array([[1.5, -2], [np.inf, 0]]).astype(ml_dtypes.float8_e5m2)
    (np.savez_compressed if compress else np.savez)(tmp_path / "x.npz", a=values, f=values.T, b=np.ones(3))
    with open_dump(tmp_path / "x.npz") as dump:
        assert dump["a"].read().tobytes() == values.tobytes()
        assert dump["a"].dtype == dump["f"].dtype == values.dtype
        assert dump["f"].read().tobytes() == values.T.copy().tobytes()
        save(dump, tmp_path / "y.npz", lambda tensor: -tensor.read())
    with open_dump(tmp_path / "y.npz") as dump:
        assert dump["a"].read().tobytes() == (-values).tobytes()
    np.save(tmp_path / "z.npy", values)
    assert open_dump(tmp_path / "z.npy")["z"].read_rows(0, 1).tolist() == [[1.5, -2]]


@pytest.mark.parametrize(
    ("descr", "reason"),
    [
        ("<W4", "descr is not a valid dtype"),
        ("<q9", "descr is not a valid dtype"),
        ([("x", "<f1"), ("y", "<W4")], "descr is not a valid dtype"),
        ([("x", "<f1")], "descr is not a valid dtype"),
        ("|O", "Python objects"),
        ([("x", "|O"), ("y", "<f4")], "Python objects"),
        ("|S0", "has no size"),
    ],
)
def test_one_member_of_an_odd_kind_leaves_the_others(tmp_path, descr, reason):
    bad = header(descr=repr(descr)) + bytes(8)
    path = archive(tmp_path / "x.npz", [("bad.npy", bad), ("good.npy", npy(np.ones((2, 3))))])
    with open_dump(path) as dump:
        assert list(dump) == ["good"]
        assert reason in dump.ignored["bad"]
        save(dump, tmp_path / "y.npz", lambda tensor: tensor.read() * 2)
    with zipfile.ZipFile(tmp_path / "y.npz") as file:
        assert file.read("bad.npy") == bad
        assert np.load(io.BytesIO(file.read("good.npy"))).tolist() == [[2] * 3] * 2
    (tmp_path / "bad.npy").write_bytes(bad)
    with pytest.raises(DumpError, match=reason):
        open_dump(tmp_path / "bad.npy")


def test_dtypes_that_numpy_would_not_read_again_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    dump = open_dump(tmp_path / "x.npy")
    for fields, reason in ((900, "Header info length"), (9000, "Header length")):
        dump["x"].dtype = np.dtype([(f"field{number}", "<f4") for number in range(fields)])
        with pytest.raises(DumpError, match=rf"\.npz can't hold this dtype: .*{reason}"):
            convert(dump, tmp_path / "y.npz")
        assert not (tmp_path / "y.npz").exists()
