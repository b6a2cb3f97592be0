"""What holds for every container."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import h5py
import numpy as np
import pytest

import bitxcore.dumps as dumps
from bitxcore.dumps import open_dump, save
from bitxcore.errors import BitxError, DumpError, TensorError


def test_reads_back_what_was_written(sample, tensors, same):
    with open_dump(sample) as dump:
        prefix = "model." if dump.container == "torch" else ""
        expected = {"a": tensors["a"]} if dump.container == "npy" else tensors
        for name, value in expected.items():
            tensor = dump[prefix + name]
            assert (tensor.name, tensor.shape, tensor.dtype) == (prefix + name, value.shape, value.dtype)
            assert same(tensor.read(), value)
            assert same(np.asarray(tensor), value)
            assert tensor.read().flags["C_CONTIGUOUS"]
            assert tensor.read().flags["WRITEABLE"]


def test_rows_and_blocks_add_up(sample, same):
    with open_dump(sample) as dump:
        for tensor in dump.values():
            whole = tensor.read()
            if not tensor.shape:
                assert [same(block, whole) for block in tensor.blocks()] == [True]
                with pytest.raises(TensorError, match="0-d"):
                    tensor.read_rows(0, 1)
                continue
            for start, stop in [(0, 2), (1, 3), (2, 2), (0, 99), (-1, 99), (3, 1)]:
                assert same(tensor.read_rows(start, stop), whole[start:stop])
            for nbytes in (1, 130, 1 << 20):
                blocks = list(tensor.blocks(nbytes))
                assert same(np.concatenate([whole[:0], *blocks]), whole)
            if tensor.nbytes > 1000 or (tensor.ndim > 1 and tensor.shape[0]):
                assert len(list(tensor.blocks(1))) > 1 or dump.container == "npy" or tensor.shape[0] == 1


def test_hash_covers_every_file(sample):
    with open_dump(sample) as dump:
        before = dump.sha256()
        assert sample in dump.files()
        last = dump.files()[-1]
    data = last.read_bytes()
    last.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert dump.sha256() != before


def test_a_file_changed_after_opening_is_noticed(write):
    for container in ("npy", "npz", "npz-deflated", "safetensors"):
        path = write(container)
        dump = open_dump(path)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(DumpError, match="changed since"):
            dump["a"].read()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_converts_to(sample, suffix, tmp_path, same):
    out = tmp_path / f"out{suffix}"
    seen = []
    with open_dump(sample) as dump:
        if suffix == ".npz" and dump.container == "torch":
            with pytest.raises(DumpError, match=r"'model.half': .npz can't hold bfloat16; use .safetensors"):
                save(dump, out)
            assert not out.exists()
            return
        save(dump, out, progress=seen.append)
        assert [tensor.name for tensor in seen] == list(dump)
        with open_dump(out) as copy:
            assert list(copy) == list(dump)
            assert all(same(copy[name].read(), dump[name].read()) for name in dump)


def test_replaces_in_its_own_container(sample, tmp_path, same):
    out = tmp_path / sample.name
    with open_dump(sample) as dump:
        if dump.container == "shards":
            out = tmp_path / "out"
        if dump.container == "hdf5":
            with pytest.raises(DumpError, match=r"can't be written back; name a \.npz or .safetensors"):
                save(dump, out)
            assert not out.exists()
            return
        order = []

        def negate(tensor):
            order.append(tensor.name)
            return -tensor.read() if tensor.name in {"a", "b", "scalar", "floats", "int"} else None

        save(dump, out, negate)
        assert order == list(dump)
        with open_dump(out) as copy:
            assert list(copy) == list(dump)
            for name, tensor in dump.items():
                new = negate(tensor)
                assert same(copy[name].read(), tensor.read() if new is None else new)
                assert copy[name].layout == tensor.layout
                assert copy[name].is_weight == tensor.is_weight


@pytest.mark.parametrize("container", ["npy", "npy-fortran", "npz", "npz-deflated", "safetensors"])
def test_no_change_gives_the_same_bytes(container, write, tmp_path):
    path = write(container)
    out = tmp_path / path.name
    save(open_dump(path), out)
    assert out.read_bytes() == path.read_bytes()
    save(open_dump(path), out, lambda tensor: tensor.read())
    assert out.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("container", ["npy", "npy-fortran", "npz", "npz-deflated", "safetensors", "onnx"])
def test_replacements_may_come_in_blocks(container, write, tmp_path, tensors, same):
    path = write(container)
    out = tmp_path / path.name
    dump = open_dump(path)
    save(dump, out, lambda tensor: (-block for block in tensor.blocks(100)))
    assert same(open_dump(out)["a"].read(), -tensors["a"])


@pytest.mark.parametrize("container", ["npy", "npy-fortran", "npz", "npz-deflated", "safetensors", "onnx"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x[:-1],
        lambda x: x.T,
        lambda x: x.astype("f8"),
        lambda x: x.view("i4"),
        lambda x: iter([x, x[:1]]),
        lambda x: iter([x[:3]]),
        lambda x: iter([]),
        lambda x: iter([x[:, :-1]]),
        lambda x: iter([x.ravel()[1:]]),
    ],
)
def test_replacements_must_fit(container, wrong, write, tmp_path):
    path = write(container)
    out = tmp_path / "out" / path.name
    out.parent.mkdir()
    with pytest.raises(TensorError, match=r"tensor 'a': new (values|rows) ") as caught:
        save(open_dump(path), out, lambda tensor: wrong(tensor.read()) if tensor.name == "a" else None)
    assert "\n" not in str(caught.value)
    assert list(out.parent.iterdir()) == []


def test_replacements_of_the_other_byte_order_are_turned(write, tmp_path, tensors, same):
    for container in ("npy", "npy-fortran", "npz", "safetensors"):
        path = write(container)
        out = tmp_path / path.name
        save(open_dump(path), out, lambda tensor: tensor.read().astype(tensor.dtype.newbyteorder(">")))
        assert same(open_dump(out)["a"].read(), tensors["a"])


def test_an_error_while_replacing_leaves_nothing(sample, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def fail(tensor):
        raise TensorError("stop")

    with open_dump(sample) as dump:
        for out in (folder / "o.npz", folder / "o.safetensors", folder / f"o{sample.suffix}", folder / "o"):
            with pytest.raises(BitxError):
                save(dump, out, fail)
    assert list(folder.iterdir()) == []


def test_an_output_that_can_not_be_written(sample, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with open_dump(sample) as dump:
        for out in (tmp_path / "file" / "o.safetensors", tmp_path / "none" / f"o{sample.suffix}"):
            with pytest.raises(BitxError) as caught:
                save(dump, out)
            assert "\n" not in str(caught.value)


def test_the_input_is_not_overwritten(sample):
    before = sample.read_bytes()
    with open_dump(sample) as dump:
        for out in (sample, sample.parent / "." / sample.name):
            with pytest.raises(BitxError):
                save(dump, out)
    assert sample.read_bytes() == before


def test_unknown_and_missing_files(tmp_path):
    with pytest.raises(DumpError, match="does not exist"):
        open_dump(tmp_path / "a.npz")
    with pytest.raises(DumpError, match="does not exist"):
        open_dump(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DumpError, match=r"suffix is none of .*\.safetensors"):
        open_dump(tmp_path / "a.txt")
    (tmp_path / "dev.npy").symlink_to("/dev/zero")
    with pytest.raises(DumpError, match="not a regular file"):
        open_dump(tmp_path / "dev.npy")
    for suffix in dumps.READERS:
        empty = tmp_path / f"empty{suffix}"
        empty.write_bytes(b"")
        with pytest.raises(DumpError, match="empty"):
            open_dump(empty)


def test_suffixes_that_can_not_be_written(write, tmp_path):
    with pytest.raises(DumpError, match=r"npz dump can be written as .npz or .safetensors"):
        save(open_dump(write("npz")), tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_suffixes_ignore_case(write, tmp_path, tensors, same):
    path = write("npz")
    assert same(open_dump(path.rename(tmp_path / "S.NPZ"))["a"].read(), tensors["a"])


def test_readers_of_other_distributions(tmp_path, monkeypatch, tensors, same):
    point = EntryPoint("mine", "bitxcore.dumps.hdf5:open_hdf5", dumps.GROUP)
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [point] if group == dumps.GROUP else []
    )
    dumps._readers.cache_clear()
    try:
        with h5py.File(tmp_path / "x.mine", "w") as file:
            file["a"] = tensors["a"]
        with open_dump(tmp_path / "x.mine") as dump:
            assert same(dump["a"].read(), tensors["a"])
    finally:
        dumps._readers.cache_clear()


def test_imports_stay_light():
    heavy = "{'h5py', 'onnx', 'torch', 'numba', 'zipfile', 'importlib.metadata'}"
    code = f"import sys, bitxcore.dumps; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
