"""Dumps that lie in a store like S3: what is read of them, and that it is what a file would give."""

import json

import numpy as np
import pytest
import safetensors.numpy

import bitxcore as bx
from bitxcore.errors import BitxError, DumpError
from bitxcore.remote.remote_path import RemotePath
from tests.bitxcore.dumps.conftest import (
    write_deflated,
    write_fortran,
    write_hdf5,
    write_npy,
    write_npz,
    write_safetensors,
    write_shards,
)
from tests.remote_servers import stores_closed

WRITERS = [write_npy, write_fortran, write_npz, write_deflated, write_safetensors, write_hdf5]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_container_reads_as_its_file(write, s3, tmp_path):
    file = write(tmp_path)
    url = s3.put(f"some/folder/{file.name}", file.read_bytes())
    with bx.open_dump(file) as local, bx.open_dump(url) as remote:
        assert str(remote.path) == url
        assert list(remote) == list(local)
        assert remote.container == local.container
        assert remote.sha256() == local.sha256()
        for name, tensor in local.items():
            values = tensor.read()
            np.testing.assert_array_equal(remote[name].read(), values)
            if tensor.size and tensor.shape:
                np.testing.assert_array_equal(remote[name].read_rows(1, 3), values[1:3])
                blocks = list(remote[name].blocks(64))
                np.testing.assert_array_equal(np.concatenate(blocks), values)


def test_of_a_large_file_only_header_and_tensor_come(s3):
    tensors = {f"layer{i}": np.full((1 << 20,), i, "f4") for i in range(12)}
    data = safetensors.numpy.save(tensors)
    url = s3.put("large.safetensors", data)
    assert len(data) > 50e6
    s3.traffic.clear()
    with bx.open_dump(url) as dump:
        header = 8 + int.from_bytes(data[:8], "little")
        assert s3.traffic.nbytes <= header + 9
        s3.traffic.clear()
        np.testing.assert_array_equal(dump["layer7"].read(), tensors["layer7"])
    offset = dump["layer7"].offset
    assert s3.traffic.requests == [
        ("GET", "/models/large.safetensors", f"bytes={offset}-{offset + (4 << 20) - 1}")
    ]
    assert s3.traffic.nbytes == 4 << 20


def test_rows_are_one_range(s3):
    url = s3.put("a.safetensors", safetensors.numpy.save({"a": np.arange(1000.0).reshape(100, 10)}))
    with bx.open_dump(url) as dump:
        s3.traffic.clear()
        np.testing.assert_array_equal(dump["a"].read_rows(50, 52), np.arange(500.0, 520).reshape(2, 10))
    assert s3.traffic.nbytes == 160
    assert len(s3.traffic.requests) == 1


def test_of_an_archive_only_headers_and_the_member_come(s3, tmp_path):
    np.savez(tmp_path / "a.npz", big=np.ones(1 << 20, "f4"), small=np.arange(1 << 16, dtype="f4"))
    url = s3.put("a.npz", (tmp_path / "a.npz").read_bytes())
    s3.traffic.clear()
    with bx.open_dump(url) as dump:
        assert s3.traffic.nbytes < 400_000
        s3.traffic.clear()
        assert dump["small"].read()[-1] == (1 << 16) - 1
    assert s3.traffic.nbytes == (1 << 18) + 128


def test_shards_are_read_beside_their_index(s3, tmp_path):
    index = write_shards(tmp_path)
    for file in tmp_path.iterdir():
        s3.put(f"sharded/{file.name}", file.read_bytes())
    with bx.open_dump(index) as local:
        urls = (f"s3://models/sharded/{index.name}", "s3://models/sharded", "s3://models/sharded/")
        for number, url in enumerate(urls):
            with bx.open_dump(url) as remote:
                assert list(remote) == list(local)
                assert remote.container == "shards"
                assert {path.name for path in remote.files()} == {path.name for path in local.files()}
                assert remote.sha256() == local.sha256()
                out = tmp_path / f"out{number}"
                bx.dumps.save(remote, out, lambda tensor: None)
            for file in local.files():
                assert (out / file.name).read_bytes() == file.read_bytes()


def test_a_folder_is_one_dump(s3, tmp_path):
    s3.put("runs/one/a.npy", write_npy(tmp_path).read_bytes())
    s3.put("runs/b.npz", write_npz(tmp_path).read_bytes())
    s3.put("runs/c.h5", write_hdf5(tmp_path).read_bytes())
    s3.put("runs/.hidden/x.npz", b"")
    with bx.open_dump("s3://models/runs") as dump:
        assert {"one/a", "b.npz/a", "c.h5/a"} <= set(dump)
        assert dump["one/a"].read().shape == (8, 16)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/a.safetensors", "b/../../a.safetensors"])
def test_an_index_leads_nowhere_else(name, s3):
    s3.put("a.safetensors", safetensors.numpy.save({"a": np.ones(3)}))
    url = s3.put("folder/x.safetensors.index.json", json.dumps({"weight_map": {"a": name}}).encode())
    with pytest.raises(DumpError, match=r"is not the name of a .safetensors file beside the index"):
        bx.open_dump(url)


def test_sizes_are_held_against_those_of_the_store(s3):
    data = safetensors.numpy.save({"a": np.ones(300)})
    url = s3.put("cut.safetensors", data[:-100])
    with pytest.raises(DumpError, match=r"s3://models/cut.safetensors: tensor 'a': ends at byte"):
        bx.open_dump(url)
    with pytest.raises(DumpError, match=r"claims \d+ bytes"):
        bx.open_dump(s3.put("lies.safetensors", (1 << 40).to_bytes(8, "little") + b"{}"))


def test_an_object_that_changes_is_refused(s3):
    data = safetensors.numpy.save({"a": np.ones(300)})
    url = s3.put("a.safetensors", data)
    with bx.open_dump(url) as dump:
        dump["a"].read()
        s3.put("a.safetensors", safetensors.numpy.save({"a": np.zeros(300)}))
        with pytest.raises(DumpError, match="has changed since it was opened"):
            dump["a"].read()


def test_pruned_dumps_equal_those_of_files(s3, tmp_path):
    for write in (write_safetensors, write_npz, write_npy):
        file = write(tmp_path)
        url = s3.put(file.name, file.read_bytes())
        with bx.open_dump(file) as local, bx.open_dump(url) as remote:
            bx.dumps.save(local, tmp_path / f"local-{file.name}", negated)
            bx.dumps.save(remote, f"s3://models/out/{file.name}", negated)
        assert s3.get(f"out/{file.name}") == (tmp_path / f"local-{file.name}").read_bytes()


def negated(tensor):
    return -tensor.read() if tensor.name == "a" else None


def test_outputs_appear_whole_or_not_at_all(s3, tmp_path):
    url = s3.put("a.npz", write_npz(tmp_path).read_bytes())

    def broken(tensor):
        raise DumpError("no")

    with bx.open_dump(url) as dump:
        with pytest.raises(BitxError, match="is the input"):
            bx.dumps.save(dump, url, negated)
        with pytest.raises(DumpError, match="no"):
            bx.dumps.save(dump, "s3://models/b.npz", broken)
        with pytest.raises(DumpError, match=r"s3://elsewhere/b.npz: can't be written: its bucket does"):
            bx.dumps.save(dump, "s3://elsewhere/b.npz", negated)
        bx.dumps.save(dump, "s3://models/c.safetensors")
    assert s3.names() == ["a.npz", "c.safetensors"]


def test_downloads_are_removed(s3, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    url = s3.put("a.h5", write_hdf5(tmp_path).read_bytes())
    with bx.open_dump(url) as dump:
        assert list(temporary.iterdir())
        dump["a"].read()
    assert not list(temporary.iterdir())
    with pytest.raises(DumpError, match=r"^s3://models/b.h5: "):
        bx.open_dump(s3.put("b.h5", b"nothing"))
    assert not list(temporary.iterdir())


def test_too_large_a_download_is_refused(s3, tmp_path, monkeypatch):
    url = s3.put("a.h5", write_hdf5(tmp_path).read_bytes())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DumpError, match=r"a\.h5: \d+ bytes are to be downloaded into .*, where half of 100"):
        bx.open_dump(url)


def test_what_is_not_there(s3):
    s3.put("x/a.npz", b"")
    for url, reason in [
        ("s3://models/none.npz", "does not exist"),
        ("s3://models/none.h5", "does not exist"),
        ("s3://models/none", "does not exist"),
        ("s3://no-such-bucket/a.npz", "does not exist"),
        ("s3://models/x/a.txt", "suffix is none of|does not exist"),
    ]:
        with pytest.raises(DumpError, match=f"^{url}: .*({reason})") as caught:
            bx.open_dump(url)
        assert "\n" not in str(caught.value)


def test_no_credentials(s3, monkeypatch, tmp_path):
    s3.put("a.npz", b"")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with stores_closed(), pytest.raises(DumpError, match=r"^s3://models/a.npz: .*no credentials were found"):
        bx.open_dump("s3://models/a.npz")


def test_no_server(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with stores_closed(), pytest.raises(DumpError, match=r"^s3://models/a.npz: .*server can't be reached"):
        bx.open_dump("s3://models/a.npz")


def test_paths_of_objects_are_paths():
    path = RemotePath("s3:", "bucket", "models", "a.npz")
    assert str(path) == "s3://bucket/models/a.npz"
    assert (path.name, path.suffix, path.stem) == ("a.npz", ".npz", "a")
    assert str(path.parent / "b.npz") == "s3://bucket/models/b.npz"
    assert str(path.with_name("c.npy")) == "s3://bucket/models/c.npy"
    assert path.relative_to(path.parent.parent).as_posix() == "models/a.npz"
    assert path.is_absolute()
