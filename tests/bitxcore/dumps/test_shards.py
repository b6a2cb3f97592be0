import json

import numpy as np
import pytest
import safetensors.numpy

from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError


def test_a_folder_with_an_index_is_its_shards(write, tensors, same):
    index = write("shards")
    np.save(index.parent / "other.npy", np.ones(2))
    dump = open_dump(index.parent)
    assert dump.container == "shards"
    assert sorted(dump) == sorted(tensors)
    assert dump.files() == [index, index.parent / "one.safetensors", index.parent / "two.safetensors"]
    assert dump.ignored == {"other.npy": f"not a part of {index.name}"}
    assert same(dump["b"].read(), tensors["b"])


def test_written_as_a_new_folder(write, tmp_path, tensors, same):
    index = write("shards")
    out = tmp_path / "pruned-v1.0"
    save(open_dump(index), out, lambda tensor: -tensor.read() if tensor.name == "a" else None)
    assert (out / index.name).read_bytes() == index.read_bytes()
    assert (out / "two.safetensors").read_bytes() == (index.parent / "two.safetensors").read_bytes()
    assert same(safetensors.numpy.load_file(out / "one.safetensors")["a"], -tensors["a"])
    with pytest.raises(BitxError, match="new or empty"):
        save(open_dump(index), out)


def test_written_as_one_file(write, tmp_path):
    save(open_dump(write("shards")), tmp_path / "one.safetensors")
    assert open_dump(tmp_path / "one.safetensors").metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../one.safetensors", "not the name of a .safetensors file"),
        ("/etc/one.safetensors", "not the name of"),
        ("sub/one.safetensors", "not the name of"),
        ("..\\one.safetensors", "not the name of"),
        ("", "not the name of"),
        ("..", "not the name of"),
        ("one.bin", "not the name of"),
        ("none.safetensors", "does not exist"),
        ("a\0.safetensors", "leaves the dump's folder"),
        ("two.safetensors", "is not in two"),
        ("link.safetensors", "a link out of the dump's folder"),
    ],
)
def test_refused(write, tmp_path, name, reason):
    index = write("shards")
    (index.parent / "link.safetensors").symlink_to(tmp_path / "one.safetensors")
    (tmp_path / "one.safetensors").write_bytes((index.parent / "one.safetensors").read_bytes())
    content = json.loads(index.read_text())
    content["weight_map"]["a"] = name
    index.write_text(json.dumps(content))
    with pytest.raises(DumpError, match=reason) as caught:
        open_dump(index)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": 1}', '{"weight_map": {"a": 1}}', '{"weight_map": ']
)
def test_an_index_that_is_none(tmp_path, content):
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(DumpError):
        open_dump(index)


def test_tensors_that_the_index_leaves_out(write, tmp_path, tensors, same):
    index = write("shards")
    content = json.loads(index.read_text())
    del content["weight_map"]["b"]
    index.write_text(json.dumps(content))
    for path in (index, index.parent):
        dump = open_dump(path)
        assert sorted(dump) == sorted(set(tensors) - {"b"})
        assert dump.ignored == {"two.safetensors/b": "not in model.safetensors.index.json"}
    seen, out = [], tmp_path / "out"
    save(dump, out, lambda tensor: tensor.read() + 1, progress=lambda tensor: seen.append(tensor.name))
    assert seen == list(dump)
    after = safetensors.numpy.load_file(out / "two.safetensors")
    assert same(after["b"], tensors["b"])
    assert same(after["scalar"], np.asarray(tensors["scalar"] + 1))


def test_a_tensor_that_two_shards_hold_is_that_of_the_index(write, tmp_path, tensors, same):
    index = write("shards")
    two = safetensors.numpy.load_file(index.parent / "two.safetensors")
    safetensors.numpy.save_file(two | {"a": np.zeros((2, 2), "f4")}, index.parent / "two.safetensors")
    dump = open_dump(index)
    assert same(dump["a"].read(), tensors["a"])
    assert dump.ignored == {"two.safetensors/a": "model.safetensors.index.json places it in one.safetensors"}
    save(dump, tmp_path / "out", lambda tensor: -tensor.read() if tensor.name == "a" else None)
    assert same(safetensors.numpy.load_file(tmp_path / "out" / "one.safetensors")["a"], -tensors["a"])
    assert not safetensors.numpy.load_file(tmp_path / "out" / "two.safetensors")["a"].any()
