"""Dumps on web servers, some of which do not do what they say."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy

import bitxcore as bx
from bitxcore.errors import DumpError, MissingExtraError, OptionError
from bitxcore.remote.remote_path import as_path
from bitxcore.remote.stores import forget_stores
from bitxcore.remote.urls import hide_secrets, public
from bitxcore.store import Store
from tests.bitxcore.dumps.conftest import write_hdf5, write_npz

VALUES = np.arange(1000.0)
DATA = safetensors.numpy.save({"a": VALUES, "b": np.ones(3, "f4")})


@pytest.fixture
def model(web):
    web.files["/m.safetensors"] = DATA
    return f"{web.url}/m.safetensors"


def test_ranges(model, web):
    with bx.open_dump(model) as dump:
        np.testing.assert_array_equal(dump["a"].read(), VALUES)
        assert dump["b"].read().sum() == 3
    assert all(asked for _, _, asked in web.traffic.requests)


def test_a_server_without_ranges_is_downloaded_from(model, web):
    web.lie = "whole"
    with bx.open_dump(model) as dump:
        np.testing.assert_array_equal(dump["a"].read(), VALUES)
        assert str(dump.path) == model
    assert len(web.traffic.requests) == 3  # of which two are dropped after the first byte


def test_a_small_object_of_a_server_without_ranges_is_read_whole(model, web):
    web.lie = "whole"
    assert as_path(model).read_bytes() == DATA


def test_other_bytes_than_asked_for(model, web):
    with bx.open_dump(model) as dump:
        offset = dump["a"].offset
        web.lie = "shifted"
        reason = f"the server gave bytes from {offset + 1} on, 8000 from byte {offset} on were asked for"
        with pytest.raises(DumpError, match=f"^{model}: tensor 'a': {reason}|^{model}: {reason}"):
            dump["a"].read()
        web.lie = "short"
        with pytest.raises(DumpError, match=f"gave 4000 bytes from byte {offset} on, 8000 were asked for"):
            dump["a"].read()
        web.lie = "whole"
        with pytest.raises(DumpError, match=f"gave bytes from 0 on, 8000 from byte {offset} on"):
            dump["a"].read()


def test_a_busy_server_is_asked_again(model, web):
    web.lie = "busy"
    with bx.open_dump(model) as dump:
        assert dump["b"].read().sum() == 3
    assert web.busy == 2


@pytest.mark.parametrize("change", ["tag", "size"])
def test_a_change_between_reads(change, model, web):
    web.tags["/m.safetensors"] = '"one"'
    with bx.open_dump(model) as dump:
        if change == "tag":
            web.tags["/m.safetensors"] = '"two"'
        else:
            web.files["/m.safetensors"] = DATA + b"more"
        with pytest.raises(DumpError, match="has changed since it was opened"):
            dump["a"].read()


def test_no_redirect_to_a_file(model, web):
    web.lie = "file"
    with pytest.raises(DumpError, match=f"^{model}: can't be read: "):
        bx.open_dump(model)


def test_no_permission_and_no_server(model, web):
    web.lie = "forbidden"
    with pytest.raises(DumpError, match=f"^{model}: can't be read: no permission .status 403"):
        bx.open_dump(model)
    with pytest.raises(DumpError, match=r"^http://127.0.0.1:9/a.npz: can't be read: its server can't be"):
        bx.open_dump("http://127.0.0.1:9/a.npz")
    with pytest.raises(DumpError, match=r"^.*/none.npz: does not exist$"):
        bx.open_dump(f"{web.url}/none.npz")
    with pytest.raises(DumpError, match=r"a folder can't be listed by http|does not exist"):
        bx.open_dump(f"{web.url}/folder")


@pytest.mark.parametrize("name", ["%2e%2e%2fb.safetensors", "b.safetensors?x.safetensors", "b#.safetensors"])
def test_an_index_names_files_only(name, web):
    web.files["/x.safetensors.index.json"] = json.dumps({"weight_map": {"a": name}}).encode()
    with pytest.raises(DumpError, match="is none that can be asked a web server for"):
        bx.open_dump(f"{web.url}/x.safetensors.index.json")


def test_secrets_are_sent_and_not_told(model, web, tmp_path):
    secret = model.replace("http://", "http://me:word@") + "?signature=123"
    with bx.open_dump(secret) as dump:
        assert str(dump.path) == model
        assert "signature" not in repr(dump) + str(dump.files())
        with Store.create(tmp_path / "a.h5", parameters={"model": secret}, inputs=[dump]):
            pass
    assert set(web.queries) == {"signature=123"}
    assert all(web.authorization)
    with Store.open(tmp_path / "a.h5") as store:
        assert store.provenance.inputs[0].path == model
        assert store.provenance.parameters == {"model": model}
    web.lie = "forbidden"
    with pytest.raises(DumpError) as caught:
        bx.open_dump(secret)
    assert "word" not in str(caught.value)
    assert "123" not in str(caught.value)
    with pytest.raises(DumpError, match="given twice, with different queries"):
        bx.open_dump(f"{model}?signature=456")


def test_others_are_downloaded_once(web, tmp_path):
    web.files["/a.h5"] = write_hdf5(tmp_path).read_bytes()
    with bx.open_dump(f"{web.url}/a.h5") as dump:
        dump["a"].read()
    assert len(web.traffic.requests) == 2  # the first tells the size


def test_nothing_is_written(web, tmp_path):
    refused = pytest.raises(DumpError, match=r"/b.npz: can't be written: http only reads")
    with bx.open_dump(write_npz(tmp_path)) as dump, refused:
        bx.dumps.save(dump, f"{web.url}/b.npz")


def test_memory(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    forget_stores()
    files = fsspec.filesystem("memory")
    files.pipe_file("/models/a.npz", write_npz(tmp_path).read_bytes())
    with bx.open_dump("memory://models/a.npz") as dump:
        assert dump["a"].read().shape == (8, 16)
        bx.dumps.save(dump, "memory://models/b.safetensors")
    with bx.open_dump("memory://models") as dump:
        assert "b.safetensors/a" in dump
    files.rm("/models", recursive=True)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("reference://a.npz", "protocol 'reference' is not opened"),
        ("local:///etc/a.npz", "protocol 'local' is not opened"),
        ("zip://a.npz::s3://b/c.zip", "protocol 'zip' is not opened"),
        ("simplecache::s3://b/c.npz", "chained URLs are not opened"),
        ("s3://bucket/../a.npz", "names no object"),
        ("s3://bucket//a.npz", "names no object"),
        ("s3:///a.npz", "names no object"),
        ("s3://key:word@bucket/a.npz", "takes no credentials"),
        ("file://host/a.npz", "of another machine"),
    ],
)
def test_what_is_no_url_of_an_object(url, reason):
    with pytest.raises(DumpError, match=reason) as caught:
        bx.open_dump(url)
    assert "word" not in str(caught.value)


def test_a_package_that_is_missing(monkeypatch):
    with pytest.raises(OptionError, match="gs:// needs gcsfs, which is not installed: pip install gcsfs"):
        bx.open_dump("gs://bucket/a.npz")
    forget_stores()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"s3fs is not installed: pip install 'bitx\[remote\]'"):
        bx.open_dump("s3://bucket/a.npz")


def test_files_of_this_machine(tmp_path):
    file = write_npz(tmp_path)
    with bx.open_dump(f"file://{file}") as dump:
        assert dump.path == file
    for name in ("C:/a.npz", "a:b.npz", "x::y.npz", "s3:/a.npz"):
        assert str(as_path(name)) == name


def test_texts_without_secrets():
    assert public("see https://me:word@host/a?x=1, or s3://b/c?d") == "see https://host/a or s3://b/c?d"
    assert hide_secrets("--weights=https://me:word@host/a.npz?x=1") == "--weights=https://host/a.npz"
    assert public("a file?x@y") == "a file?x@y"
