import io
import re
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_npy import DTYPES, SHAPES, Bomb

from bitxcore.dumps import open_dump, save
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


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", good=np.ones(3), bad=np.array([Bomb()], dtype=object))
    with pytest.raises(DumpError, match=r"member 'bad\.npy': holds Python objects"):
        open_dump(tmp_path / "x.npz")


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
