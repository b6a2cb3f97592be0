"""Prune a dump that is larger than memory, beside `cp` of the same file: ``python -m bench.large``.

The dump is written first, of random weights that repeat after 64 MiB, which is faster than to draw them all.
One tensor has three tenths of it. What is pruned is compared with what `bitxcore.prune` makes of some rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import bitxcore as bx

MIB = 1 << 20
COLUMNS = 4096
SEED = 0
CHECKED = 8
"""Runs of rows of each tensor that are compared."""


class Measured(NamedTuple):
    """One run.

    Parameters
    ----------
    dump_bytes : int
    copy_s, flush_s : float
        Of ``cp``, and of writing what it left in memory to the disk.
    prune_s : float
        Until all is on the disk.
    peak_bytes : int
        Of the process of ``bitx prune``.
    """

    dump_bytes: int
    copy_s: float
    flush_s: float
    prune_s: float
    peak_bytes: int

    @property
    def share(self) -> float:
        """Speed of pruning over that of copying."""
        return self.copy_s / self.prune_s


def write_dump(path: Path, nbytes: int) -> None:
    """Write a ``.safetensors`` dump of float32 matrices, of about so many bytes."""
    rows = max(10, nbytes // (4 * COLUMNS))
    shares = {"embedding": 0.3, "layers.0": 0.25, "layers.1": 0.25, "head": 0.2}
    shapes = {name: (max(1, int(rows * share)), COLUMNS) for name, share in shares.items()}
    entries, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * shape[0] * shape[1]
        entries[f"{name}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    rng = np.random.default_rng(SEED)
    block = rng.standard_normal(16 * MIB, np.float32) * np.float32(0.02)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        while end:
            part = block[: end // 4]
            file.write(part.data)
            end -= part.nbytes
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Let the system drop a file from memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


RUN = """
import resource, subprocess, sys, time
begin = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(status, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""In a small process: the system counts for a child what the process that started it had at most."""


def prune_peak(dump: Path, out: Path, *options: str) -> tuple[float, int]:
    """Run ``bitx prune``; return its seconds and the most memory that its process had, in bytes."""
    command = [sys.executable, "-m", "hwmodel.cli", "prune", str(dump), "-o", str(out), *options]
    done = subprocess.run([sys.executable, "-c", RUN, *command], stdout=subprocess.PIPE, check=True)
    status, seconds, peak = done.stdout.split()
    if int(status):
        raise SystemExit(f"bitx prune ended with status {int(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return float(seconds), int(peak) * unit


def check(dump: Path, out: Path) -> None:
    """Compare some rows of every tensor with what `bitxcore.prune` makes of them."""
    rng = np.random.default_rng(SEED)
    with bx.open_dump(dump) as before, bx.open_dump(out) as after:
        for name, tensor in before.items():
            for start in rng.integers(0, tensor.shape[0], CHECKED):
                stop = min(tensor.shape[0], int(start) + 16)
                expected = bx.prune(tensor.read_rows(int(start), stop)).values
                if after[name].read_rows(int(start), stop).tobytes() != expected.tobytes():
                    raise SystemExit(f"{name}: rows {start} to {stop} differ")


def measure(folder: Path, nbytes: int, memory: str) -> Measured:
    """Write a dump, copy it, prune it and check the result; what was written is removed."""
    dump, other = folder / "dump.safetensors", folder / "other.safetensors"
    write_dump(dump, nbytes)
    size = dump.stat().st_size
    forget(dump)
    begin = time.perf_counter()
    subprocess.run(["cp", str(dump), str(other)], check=True)
    copied = time.perf_counter()
    forget(other)
    flushed = time.perf_counter()
    other.unlink()
    forget(dump)
    seconds, peak = prune_peak(dump, other, "--memory", memory)
    check(dump, other)
    return Measured(size, copied - begin, flushed - copied, seconds, peak)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of the dump, if the disk has room")
    parser.add_argument("--memory", default="1GiB", help="--memory of bitx prune")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    room = shutil.disk_usage(given.folder).free
    nbytes = int(min(given.gigabytes * 1e9, 0.45 * room))  # the dump, and one more
    if nbytes < given.gigabytes * 1e9:
        print(f"the disk has room for {nbytes / 1e9:.1f} GB only")
    with tempfile.TemporaryDirectory(prefix="bitx-large-", dir=given.folder) as folder:
        found = measure(Path(folder), nbytes, given.memory)
    largest, both = 0.3 * found.dump_bytes, found.copy_s + found.flush_s
    print(f"dump               {found.dump_bytes / 1e9:8.2f} GB, one tensor of {largest / 1e9:.2f} GB")
    print(f"cp                 {found.copy_s:8.1f} s, and {found.flush_s:.1f} s until it is on the disk")
    print(f"bitx prune         {found.prune_s:8.1f} s, which ends on the disk; --memory {given.memory}")
    print(f"speed over cp      {found.share:8.2f}, over cp and its flush {both / found.prune_s:.2f}")
    print(f"peak memory        {found.peak_bytes / MIB:8.0f} MiB")


if __name__ == "__main__":
    main()
