import h5py
import numpy as np
import pytest

from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def test_names_links_and_what_is_ignored(write):
    with open_dump(write("hdf5")) as dump:
        assert list(dump) == ["a", "alias", "b", "empty", "g/big", "g/packed", "scalar"]
        assert dump.ignored == {"text": "text or variable-length data"}
        assert np.array_equal(dump["alias"].read(), dump["g/packed"].read())
        assert dump["g/big"].dtype.isnative
        assert dump["a"].is_weight is None


def test_closed(write):
    dump = open_dump(write("hdf5"))
    dump.close()
    with pytest.raises(DumpError, match="can't be read"):
        dump["a"].read()


def test_circles_end(path):
    with h5py.File(path, "w") as file:
        file["g/a"] = np.ones(2)
        file["g/up"] = file["/"]
        file["g/self"] = h5py.SoftLink("/g")
    with open_dump(path) as dump:
        assert list(dump) == ["g/a"]
    with h5py.File(path, "a") as file:
        file["x"] = h5py.SoftLink("/y")
        file["y"] = h5py.SoftLink("/x")
    with pytest.raises(DumpError, match="x"):
        open_dump(path)


def test_dangling_links(path):
    with h5py.File(path, "w") as file:
        file["a"] = h5py.SoftLink("/nothing")
    with pytest.raises(DumpError, match="soft link 'a' leads nowhere"):
        open_dump(path)


@pytest.mark.parametrize("deep", ["", "g/"])
def test_external_links(path, tmp_path, deep):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.ones(2)
    with h5py.File(path, "w") as file:
        file[f"{deep}out"] = h5py.ExternalLink("secret.h5", "/")
        file["a"] = h5py.SoftLink(f"/{deep}out/a")
    with pytest.raises(DumpError, match=f"link '{deep}out' leads to another file"):
        open_dump(path)


def test_external_raw_storage(path, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(80))
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (10,), "f8", external=[(str(tmp_path / "raw"), 0, 80)])
    with pytest.raises(DumpError, match="tensor 'a': its values are in another file"):
        open_dump(path)


def test_virtual_datasets(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["a"] = np.arange(4.0)
    for name, refused in (("secret.h5", True), (".", False)):
        with h5py.File(path, "w") as file:
            file["a"] = np.arange(4.0)
            layout = h5py.VirtualLayout((4,), "f8")
            layout[:] = h5py.VirtualSource(name, "a", (4,))
            file.create_virtual_dataset("v", layout)
        if refused:
            with pytest.raises(DumpError, match=r"tensor 'v': is virtual, .* 'secret\.h5'"):
                open_dump(path)
        else:
            with open_dump(path) as dump:
                assert dump["v"].read().tolist() == [0, 1, 2, 3]


def test_claims_without_bytes(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("small", (1000,), "f4", fillvalue=3)
    with open_dump(path) as dump:
        assert set(dump["small"].read()) == {3}
    with h5py.File(path, "a") as file:
        file.create_dataset("huge", (10**15,), "f4", chunks=(1024,))
    with pytest.raises(
        DumpError, match="tensor 'huge': claims 4000000000000000 bytes, of which only 0 are stored"
    ):
        open_dump(path)


def test_empty_dataspaces_and_named_types(path):
    with h5py.File(path, "w") as file:
        file["none"] = h5py.Empty("f4")
        file["type"] = np.dtype("f4")
        file["flags"] = np.array([True, False])
    with open_dump(path) as dump:
        assert dump.ignored == {"none": "empty dataspace"}
        assert dump["flags"].dtype == bool


def test_chunks_of_another_rank(path):
    x = np.arange(60, dtype="i2").reshape(3, 4, 5)
    with h5py.File(path, "w") as file:
        file.create_dataset("b", data=x, chunks=(1, 4, 5))
    data = path.read_bytes()
    # Dataspace message: version 1, rank 3, flags 1 (maximum given); then dimension 3.
    space = b"\1\3\1" + bytes(5) + (3).to_bytes(8, "little")
    assert data.count(space) == 1
    path.write_bytes(data.replace(space, b"\1\1" + space[2:]))
    with pytest.raises(DumpError, match=r"tensor 'b': chunks \(1, 4, 5\) do not fit shape \(3,\)"):
        open_dump(path)


def test_blocks_follow_the_chunks(path):
    x = np.arange(1000).reshape(100, 10)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=x, chunks=(7, 10), compression="gzip")
    with open_dump(path) as dump:
        blocks = list(dump["x"].blocks(1000))
        assert {len(block) for block in blocks[:-1]} == {14}
        assert np.array_equal(np.concatenate(blocks), x)
