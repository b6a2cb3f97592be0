"""A disk that is full in the middle: one line that names the file, and what was there before stays."""

import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
RUN = "import sys\nfrom hwmodel.cli import main\nmain(sys.argv[1:])\n"


@contextmanager
def small_disk(folder):
    """Mount a file system of 1 MiB; only root can."""
    if not hasattr(os, "geteuid") or os.geteuid():
        pytest.skip("only root mounts file systems")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def dump_of(folder, name, nbytes):
    x = np.random.default_rng(0).standard_normal((64, nbytes // 256), np.float32)
    if name.endswith(".npy"):
        np.save(folder / name, x)
    elif name.endswith(".npz"):
        np.savez(folder / name, w=x)
    else:
        import safetensors.numpy

        safetensors.numpy.save_file({"w": x}, folder / name)
    return folder / name


def check(dump, out, code):
    """Prune, and look at what is left."""
    before = out.read_bytes() if out.exists() else None
    command = [sys.executable, "-c", code, "prune", str(dump), "-o", str(out), "--memory", "256K"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert f"{out}: can't be written: " in lines[0], done.stderr
    assert [path.name for path in out.parent.iterdir()] == ([out.name] if before is not None else [])
    assert before is None or out.read_bytes() == before
    return lines[0]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".npy"])
@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_may_not_grow(tmp_path, suffix, old):
    dump = dump_of(tmp_path, f"in{suffix}", 1 << 20)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / f"out{suffix}"
    if old:
        out.write_bytes(b"of an earlier run")
    assert "File too large" in check(dump, out, LIMITED + RUN)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_small_file_system(tmp_path, suffix):
    dump = dump_of(tmp_path, f"in{suffix}", 4 << 20)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        out = disk / f"out{suffix}"
        out.write_bytes(b"of an earlier run")
        assert "No space left on device" in check(dump, out, RUN)
