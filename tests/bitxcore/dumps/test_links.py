"""Which links are followed: those of the user's own folder, to files kept apart for it."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError


def move_to_blobs(cache, folder):
    """Move all files of a snapshot to `blobs`, named by numbers, and leave relative links."""
    blobs = cache / "blobs"
    blobs.mkdir(exist_ok=True)
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        blob = blobs / f"{len(list(blobs.iterdir())):040x}"
        file.rename(blob)
        file.symlink_to(os.path.relpath(blob, file.parent))


@pytest.fixture
def cache(tmp_path):
    root = tmp_path / "hub" / "models--org--net"
    (root / "snapshots" / "0123abc").mkdir(parents=True)
    return root


@pytest.fixture
def snapshot(cache):
    return cache / "snapshots" / "0123abc"


def fill_with_shards(cache, snapshot, tensors):
    names = {"a": "one.safetensors", "b": "two.safetensors"}
    for name, shard in names.items():
        safetensors.numpy.save_file({name: tensors[name]}, snapshot / shard)
    index = snapshot / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    (snapshot / "config.json").write_text("{}")
    move_to_blobs(cache, snapshot)
    return index


def test_one_file_of_a_cache(cache, snapshot, tensors, same, tmp_path):
    safetensors.numpy.save_file({"a": tensors["a"]}, snapshot / "model.safetensors")
    move_to_blobs(cache, snapshot)
    for path, name in ((snapshot / "model.safetensors", "a"), (snapshot, "model.safetensors/a")):
        with open_dump(path) as dump:
            assert same(dump[name].read(), tensors["a"])
    for folder in (snapshot.parent, cache, cache.parent):
        with open_dump(folder) as dump:
            assert [same(tensor.read(), tensors["a"]) for tensor in dump.values()] == [True]
    blobs = {path: path.read_bytes() for path in (cache / "blobs").iterdir()}
    with open_dump(snapshot) as dump:
        save(dump, tmp_path / "out", lambda tensor: -tensor.read())
        for out in (snapshot / "model.safetensors", *blobs):
            with pytest.raises(BitxError):
                save(open_dump(snapshot / "model.safetensors"), out, lambda tensor: -tensor.read())
    assert not (tmp_path / "out" / "model.safetensors").is_symlink()
    assert same(safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")["a"], -tensors["a"])
    assert {path: path.read_bytes() for path in (cache / "blobs").iterdir()} == blobs


@pytest.mark.parametrize("linked", [False, True])
def test_shards_of_a_cache(cache, snapshot, tensors, same, tmp_path, linked):
    index = fill_with_shards(cache, snapshot, tensors)
    if linked:
        (tmp_path / "mine").symlink_to(snapshot)
        index, snapshot = tmp_path / "mine" / index.name, tmp_path / "mine"
    for path in (index, snapshot):
        with open_dump(path) as dump:
            assert sorted(dump) == ["a", "b"]
            assert all(same(dump[name].read(), tensors[name]) for name in dump)
            assert dump.ignored == {}
    save(open_dump(snapshot), tmp_path / "out", lambda tensor: -tensor.read())
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if not p.is_symlink()) == sorted(
        ["config.json", index.name, "one.safetensors", "two.safetensors"]
    )
    assert same(open_dump(tmp_path / "out")["b"].read(), -tensors["b"])


def external_model(folder, location="model.onnx_data"):
    onnx = pytest.importorskip("onnx")
    weights = onnx.TensorProto(name="w", data_type=1, dims=[2, 3], data_location=1)
    weights.external_data.add(key="location", value=location)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [onnx.helper.make_tensor_value_info("x", 1, [1, 2])],
        [onnx.helper.make_tensor_value_info("y", 1, [1, 3])],
        [weights],
    )
    folder.mkdir(exist_ok=True, parents=True)
    (folder / location).parent.mkdir(exist_ok=True)
    (folder / location).write_bytes(np.arange(6, dtype="f4").tobytes())
    onnx.save(onnx.helper.make_model(graph), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("sub", ["", "onnx"])
@pytest.mark.parametrize("location", ["model.onnx_data", "data/w.bin"])
def test_external_data_of_a_cache(cache, snapshot, tmp_path, sub, location):
    path = external_model(snapshot / sub, location)
    move_to_blobs(cache, snapshot)
    for opened in (path, snapshot):
        with open_dump(opened) as dump:
            assert [tensor.read().tolist() for tensor in dump.values()] == [[[0, 1, 2], [3, 4, 5]]]
    (tmp_path / "out").mkdir()
    save(open_dump(path), tmp_path / "out" / "p.onnx", lambda tensor: tensor.read() * 2)
    assert (tmp_path / "out" / location).is_file()
    assert not (tmp_path / "out" / location).is_symlink()
    assert open_dump(tmp_path / "out" / "p.onnx")["w"].read().tolist() == [[0, 2, 4], [6, 8, 10]]
    assert np.fromfile(path.parent / location, "f4").tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("location", ["w.bin", "data/w.bin"])
def test_data_beside_the_real_file(tmp_path, location):
    real = external_model(tmp_path / "real", location)
    (tmp_path / "mine").mkdir()
    link = tmp_path / "mine" / "net.onnx"
    link.symlink_to(real)
    assert open_dump(link)["w"].read().sum() == 15
    if location == "w.bin":
        (tmp_path / "mine" / "w.bin").symlink_to(tmp_path / "real" / "w.bin")
        assert open_dump(link)["w"].read().sum() == 15


def test_shards_beside_the_real_index(write, tmp_path, tensors, same):
    index = write("shards")
    (tmp_path / "mine").mkdir()
    link = tmp_path / "mine" / index.name
    link.symlink_to(index)
    assert same(open_dump(link)["b"].read(), tensors["b"])
    (tmp_path / "mine" / "one.safetensors").symlink_to(index.parent / "one.safetensors")
    assert same(open_dump(link)["a"].read(), tensors["a"])
    save(open_dump(link), tmp_path / "out")
    assert same(open_dump(tmp_path / "out")["b"].read(), tensors["b"])


@pytest.fixture
def secret(tmp_path):
    (tmp_path / "private").mkdir()
    np.save(tmp_path / "private" / "secret.npy", np.ones((2, 2)))
    safetensors.numpy.save_file({"a": np.ones((2, 2))}, tmp_path / "private" / "one.safetensors")
    return tmp_path / "private"


@pytest.mark.parametrize(
    "target",
    ["{secret}/secret.npy", "../../../../private/secret.npy", "../../../secret.npy", "../../secret.npy",
     "../../blobs/link", "../../blobs/deep/secret.npy", "../../../other/blobs/secret.npy", "{secret}",
     "../../blobs", "../../blobs/../../secret.npy"],
)  # fmt: skip
def test_links_out_of_a_cache_are_refused(cache, snapshot, secret, target):
    blobs = cache / "blobs"
    for folder in (blobs / "deep", cache.parent / "other" / "blobs"):
        folder.mkdir(parents=True)
    for folder in (cache, cache.parent, blobs / "deep", cache.parent / "other" / "blobs"):
        np.save(folder / "secret.npy", np.ones((2, 2)))
    (blobs / "link").symlink_to(secret / "secret.npy")
    (snapshot / "x.npy").symlink_to(target.format(secret=secret))
    with pytest.raises(DumpError, match=r"'x\.npy' is a link out of the dump's folder"):
        open_dump(snapshot)


@pytest.mark.parametrize(
    "what", ["blobs is a link", "snapshots is elsewhere", "no cache", "a folder on the way"]
)
def test_what_only_looks_like_a_cache_is_refused(tmp_path, cache, snapshot, secret, what):
    folder = snapshot
    if what == "blobs is a link":
        (cache / "blobs").symlink_to(secret)
        (snapshot / "x.npy").symlink_to("../../blobs/secret.npy")
    elif what == "snapshots is elsewhere":
        (snapshot / "x.npy").symlink_to(secret / "secret.npy")
        secret.rename(tmp_path / "blobs")
        (snapshot / "x.npy").unlink()
        (snapshot / "x.npy").symlink_to(tmp_path / "blobs" / "secret.npy")
    elif what == "no cache":
        folder = tmp_path / "plain" / "rev"
        folder.mkdir(parents=True)
        secret.rename(tmp_path / "blobs")
        (folder / "x.npy").symlink_to("../../blobs/secret.npy")
    else:
        secret.rename(cache / "blobs")
        (snapshot / "sub").symlink_to("../../blobs")
    with pytest.raises(DumpError, match="is a link out of the dump's folder"):
        open_dump(folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../blobs/0.safetensors", "not the name"),
        ("{secret}/one.safetensors", "not the name"),
        ("evil.safetensors", "is a link out of the dump's folder"),
        ("up.safetensors", "is a link out of the dump's folder|not a regular file"),
        ("none.safetensors", "does not exist"),
    ],
)
def test_shards_that_lead_elsewhere_are_refused(cache, snapshot, tensors, secret, name, reason):
    index = fill_with_shards(cache, snapshot, tensors)
    (snapshot / "evil.safetensors").symlink_to(secret / "one.safetensors")
    (snapshot / "up.safetensors").symlink_to("../../blobs")
    index.write_text(json.dumps({"weight_map": {"a": name.format(secret=secret)}}))
    with pytest.raises(DumpError, match=reason):
        open_dump(index)


@pytest.mark.parametrize(
    "location", ["../blobs/w", "../../blobs/w", "up/w", "evil", "deep/evil", "{secret}/secret.npy"]
)
def test_external_data_that_lead_elsewhere_are_refused(cache, snapshot, secret, location):
    location = location.format(secret=secret)
    path = external_model(snapshot)
    data = path.read_bytes()
    (cache / "blobs").mkdir()
    (cache / "blobs" / "w").write_bytes(bytes(24))
    (snapshot / "up").symlink_to("../../blobs")
    (snapshot / "deep").mkdir()
    for link in ("evil", "deep/evil"):
        (snapshot / link).symlink_to(secret / "secret.npy")
    import onnx

    model = onnx.ModelProto.FromString(data)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    for linked in (False, True):
        if linked:
            move_to_blobs(cache, snapshot)
        with pytest.raises(DumpError, match=r"leaves the dump's folder|is a link out of the dump's folder"):
            open_dump(path)


def test_a_file_that_is_no_link_has_no_kin(tmp_path, secret):
    """An unpacked archive brings its own links; names in its files do not follow them out."""
    path = external_model(tmp_path / "in")
    (path.parent / "model.onnx_data").unlink()
    (path.parent / "model.onnx_data").symlink_to(secret / "secret.npy")
    with pytest.raises(DumpError, match="is a link out"):
        open_dump(path)
    real = external_model(tmp_path / "real")
    link = path.parent / "net.onnx"
    link.symlink_to(real)
    with pytest.raises(DumpError, match="is a link out"):
        open_dump(link)  # its data are named beside the link, and lead to neither folder
