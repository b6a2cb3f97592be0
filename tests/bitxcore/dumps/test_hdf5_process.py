"""HDF5 files are opened by processes of their own; nothing that happens to these ends ours."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from bitxcore.dumps import hdf5_process, open_dump
from bitxcore.dumps.hdf5 import _Mapped
from bitxcore.errors import DumpError
from bitxcore.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


def packed(path, names=("x",), shape=(40, 10)):
    """Write datasets that have to be unpacked."""
    with h5py.File(path, "w") as file:
        for name in names:
            file.create_dataset(name, data=np.arange(np.prod(shape)).reshape(shape), compression="gzip")
    return path


def children():
    server = hdf5_process._server._process.pid
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def test_nothing_is_started_by_other_files(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    code = (
        "import sys, bitxcore as bx; bx.open_dump(sys.argv[1])['a'].read(); "
        "print('h5py' in sys.modules, 'bitxcore.dumps.hdf5_process' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npy")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_the_library_is_not_loaded_here_and_all_processes_end(path):
    packed(path)
    code = (
        "import sys, bitxcore as bx; dump = bx.open_dump(sys.argv[1]); print(dump['x'].read().sum()); "
        "from bitxcore.dumps import hdf5_process; "
        "print('h5py' in sys.modules, hdf5_process._server._process.pid)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code, str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    total, loaded, server = done.stdout.split()
    assert (total, loaded, done.stderr) == (str(sum(range(400))), "False", "")
    assert not Path(f"/proc/{server}").exists()


def test_a_process_that_dies_is_an_error_that_names_file_and_dataset(path):
    with open_dump(packed(path)) as dump:
        dump["x"].read()
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        with pytest.raises(DumpError) as caught:
            dump["x"].read()
        assert str(caught.value) == f"{path}: tensor 'x': can't be read: it makes the HDF5 library crash"
        assert dump["x"].read().sum() == sum(range(400))


def test_a_server_that_dies_is_replaced(path):
    with open_dump(packed(path)):
        hdf5_process._server._process.kill()
        hdf5_process._server._process.wait()
    with open_dump(path) as dump:
        assert dump["x"].read().sum() == sum(range(400))


def test_a_request_without_end(path, monkeypatch):
    packed(path, [f"x{number}" for number in range(2000)], (2, 2))
    monkeypatch.setattr(hdf5_process, "SECONDS", 0.03)
    monkeypatch.setattr(hdf5_process, "BYTES_PER_SECOND", 1e12)
    with pytest.raises(
        DumpError, match=r"x\.h5: can't be read: the HDF5 library took more than 0 s"
    ) as caught:
        open_dump(path)
    assert "\n" not in str(caught.value)


def test_a_request_that_takes_too_much_memory(path, monkeypatch):
    packed(path, shape=(4096, 1024))
    with open_dump(path) as dump:
        monkeypatch.setattr(hdf5_process, "MEMORY", -(120 << 20))
        with pytest.raises(DumpError, match=r"tensor 'x': can't be read"):
            dump["x"].read()
        monkeypatch.undo()
        assert dump["x"].read()[-1, -1] == 4096 * 1024 - 1


def test_few_processes_are_kept(tmp_path):
    dumps = [open_dump(packed(tmp_path / f"{number}.h5")) for number in range(20)]
    for dump in [*dumps, *dumps]:
        assert dump["x"].read_rows(3, 5).sum() == sum(range(30, 50))
        assert fall_to(hdf5_process.MAX_PROCESSES)
    for dump in dumps:
        dump.close()
    assert fall_to(0)


def fall_to(count):
    """Whether no more children than that are left, once those that were told to end have ended."""
    until = time.monotonic() + 10
    while len(children()) > count and time.monotonic() < until:
        time.sleep(0.01)
    return len(children()) <= count


def test_a_file_that_changes(path, tmp_path):
    with open_dump(packed(path)) as dump:
        packed(tmp_path / "y.h5", shape=(40, 11))
        (tmp_path / "y.h5").replace(path)
        with pytest.raises(DumpError, match="has changed since it was opened"):
            dump["x"].read()


def test_threads_and_forks_read_one_dump(path):
    names = [f"x{number}" for number in range(30)]
    with open_dump(packed(path, names)) as dump:
        with ThreadPoolExecutor(8) as pool:
            assert (
                len({array.tobytes() for array in pool.map(lambda name: dump[name].read(), names * 3)}) == 1
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = multiprocessing.get_context("fork")
            ours, theirs = context.Pipe()
            forks = [context.Process(target=_sum, args=(dump, theirs)) for _ in range(2)]
            for fork in forks:
                fork.start()
        assert [ours.recv(), dump["x1"].read().sum(), ours.recv()] == [sum(range(400))] * 3
        for fork in forks:
            fork.join()
            assert fork.exitcode == 0


def _sum(dump, pipe):
    pipe.send(int(dump["x1"].read().sum()))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 1024])
def test_values_are_those_of_the_library(path, libver, userblock):
    rng = np.random.default_rng(0)
    pairs = np.dtype([("x", "f4"), ("y", ">i2"), ("z", "u1", (3,))])
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        for dtype in ("f2", "f4", "f8", ">f4", "i1", ">i8", "u2", "c8", "c16", "?", "S5", "V3", "f16", pairs):
            values = rng.integers(0, 256, (7, 5, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
            if np.dtype(dtype) == bool:
                values = rng.random((7, 5)) < 0.5
            name = str(np.dtype(dtype))
            file.create_dataset(f"{name} plain", data=values)
            file.create_dataset(f"{name} chunked", data=values, chunks=(2, 5))
            file.create_dataset(f"{name} scalar", data=values[0, 0])
        twelve = h5py.h5t.STD_I16LE.copy()
        twelve.set_precision(12)
        h5py.h5d.create(file.id, b"twelve", twelve, h5py.h5s.create_simple((3,)))
        file["twelve"][:] = [-5, 0, 2047]
        file.create_dataset("enum", data=[0, 1], dtype=h5py.enum_dtype({"a": 0, "b": 1}, "i2"))
        file.create_dataset("arrays", (3,), dtype=np.dtype(("f4", (2,))))
        file[b"\xff"] = np.ones(2)
    with open_dump(path) as dump, h5py.File(path) as file:
        assert list(dump.ignored) == ["arrays"]
        assert len(dump) == 3 * 14 + 3
        for name, tensor in dump.items():
            values = np.asarray(file[name.encode("utf-8", "surrogateescape")][()])
            expected = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(values.shape)
            assert (tensor.shape, tensor.dtype) == (expected.shape, expected.dtype), name
            assert tensor.read().tobytes() == expected.tobytes(), name
            if tensor.shape:
                assert tensor.read_rows(1, 2).tobytes() == expected[1:2].tobytes(), name
        mapped = [name for name, tensor in dump.items() if isinstance(tensor, _Mapped)]
        assert "float32 plain" in mapped
        assert not [name for name in mapped if "chunked" in name or name == "twelve"]


def test_large_chunks_are_read_once(path):
    values = np.arange(3 << 20, dtype="f4").reshape(3 << 10, 1 << 10)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(1000, 1 << 10), compression="lzf")
    with open_dump(path) as dump:
        assert np.array_equal(dump["x"].read(), values)
        assert np.array_equal(dump["x"].read_rows(999, 2001), values[999:2001])
        assert [len(block) for block in dump["x"].blocks(1 << 20)] == [1000, 1000, 1000, 72]


def test_unsealed_stores_are_tried_first(path, monkeypatch):
    with Store.create(path) as store:
        store.write_table("t", {"n": np.arange(3)}, units={"n": "1"})
    with h5py.File(path, "a") as file:  # drops the seal
        file.attrs["note"] = 1
    with Store.open(path) as store:
        assert not store.sealed
        assert store.table("t")["n"].tolist() == [0, 1, 2]
    monkeypatch.setattr(hdf5_process, "SECONDS", 1e-6)
    monkeypatch.setattr(hdf5_process, "BYTES_PER_SECOND", 1e12)
    with pytest.raises(DumpError, match="took more than 0 s"):
        Store.open(path)
    Store.open(path, verify=False).close()
