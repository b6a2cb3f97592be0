"""Files that are truncated or replaced while they are read: an error, never the end of the process."""

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from bitxcore.dumps import mapped, open_dump
from bitxcore.dumps.trust import Source
from bitxcore.errors import DumpError

ROWS = 3000


def array():
    return np.arange(ROWS * 1000, dtype="f4").reshape(ROWS, 1000)


def write(path):
    x = array()
    if path.name == "fortran.npy":
        np.save(path, np.asfortranarray(x))
    elif path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, w=x)
    elif path.suffix == ".safetensors":
        save_file({"w": x}, path)
    else:
        torch = pytest.importorskip("torch")
        torch.save({"w": torch.tensor(x)}, path)


NAMES = ["w.npy", "fortran.npy", "w.npz", "w.safetensors", "w.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("lease", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_values_of_whole_files(tmp_path, monkeypatch, name, lease):
    if not lease:
        monkeypatch.setattr(mapped, "fcntl", None)
    write(tmp_path / name)
    x = array()
    with open_dump(tmp_path / name) as dump:
        (tensor,) = dump.values()
        np.testing.assert_array_equal(tensor.read(), x)
        np.testing.assert_array_equal(tensor.read_rows(7, 2900), x[7:2900])
        for views in (False, True):
            blocks = list(tensor.blocks(1 << 20, views=views))
            np.testing.assert_array_equal(np.concatenate(blocks), x)
            sums = [float(block.sum()) for block in tensor.blocks(5 << 20, views=views)]
            np.testing.assert_allclose(sum(sums), x.sum(dtype="f8"), rtol=1e-6)


@pytest.mark.parametrize("name", [*NAMES[:-1], pytest.param("w.pt", marks=pytest.mark.slow)])
def test_arrays_outlive_what_the_file_held(tmp_path, name):
    """In a process of its own, which touching a mapping beyond the end of a file would end."""
    write(tmp_path / name)
    code = """
import os, sys
from bitxcore import DumpError, open_dump
with open_dump(sys.argv[1]) as dump:
    (tensor,) = dump.values()
    views = tensor.blocks(4 << 20, views=True)
    arrays = [next(views), tensor.view_rows(0, 9), tensor.read_rows(0, 9)]
    os.truncate(sys.argv[1], 5000)
    total = sum(float(array.sum()) for array in arrays)
    try:
        tensor.read()
    except DumpError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / name}: has changed since it was opened\n"


def test_a_change_during_a_read_is_an_error(tmp_path):
    write(tmp_path / "w.npy")
    source = Source.of(tmp_path / "w.npy")

    def meanwhile(change):
        with source.open():
            change()

    with pytest.raises(DumpError, match="has changed since it was opened"):
        meanwhile(lambda: os.truncate(source.path, 100))
    target = np.empty(4 << 20, np.uint8)
    with pytest.raises(DumpError, match="has changed since it was opened"):
        mapped.read_into(source, 0, target)
    with pytest.raises(DumpError, match=r"ended \d+ bytes early"):
        mapped.read_into(Source.of(source.path), 0, target)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_truncated_at_any_time(tmp_path, name):
    path = tmp_path / name
    write(path)
    data = path.read_bytes()
    code = """
import sys
from bitxcore import DumpError, open_dump
good = bad = 0
print("ready", flush=True)
for line in sys.stdin:
    try:
        with open_dump(sys.argv[1]) as dump:
            (tensor,) = dump.values()
            for _ in range(3):
                tensor.read().sum()
                for block in tensor.blocks(4 << 20, views=True):
                    block.sum()
                tensor.read_rows(10, 2000).sum()
        good += 1
    except DumpError as error:
        assert "\\n" not in str(error)
        bad += 1
    print(good, bad, flush=True)
"""
    draw = random.Random(1)
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout.readline() == "ready\n"
        for _ in range(60):
            reader.stdin.write("go\n")
            reader.stdin.flush()
            time.sleep(draw.random() * 0.03)
            os.truncate(path, draw.randrange(len(data)))
            told = reader.stdout.readline()
            assert told, reader.wait()
            path.write_bytes(data)
        reader.stdin.close()
        assert reader.wait() == 0
    assert int(told.split()[1]) > 3
