"""The C++ version: built into a temporary folder, loaded, and the folder removed."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bench.peers import MissingPeerError
from bench.peers.numpy_prune import Result

SOURCE = Path(__file__).with_name("prune.cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=c++17", "-shared", "-fPIC")


@cache
def build(group: int) -> ctypes.CDLL:
    """Compile and load; raise `MissingPeerError` where that is not possible."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingPeerError("no g++")
    with tempfile.TemporaryDirectory(prefix="bitx-bench-") as folder:
        library = Path(folder) / "prune.so"
        command = [compiler, *FLAGS, f"-DGROUP={group}", str(SOURCE), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise MissingPeerError(f"g++ failed: {(done.stderr.splitlines() or ['no message'])[0]}")
        return ctypes.CDLL(str(library))


class CppPrune:
    """Calls the C++ function for one group size."""

    def __init__(self, group: int) -> None:
        self.group = group
        self._function = build(group).prune
        self._function.restype = ctypes.c_int64
        pointer, count = ctypes.c_void_p, ctypes.c_int
        self._function.argtypes = [*[pointer] * 5, ctypes.c_int64, count, count]

    def empty(self, x: np.ndarray) -> Result:
        """Arrays for the results, their pages touched."""
        n = x.size // self.group
        return Result(np.zeros_like(x), np.zeros(n, np.uint32), np.zeros(n, np.int16), np.zeros(n, np.uint8))

    def __call__(self, x: np.ndarray, rows: int, threads: int, results: Result) -> int:
        """Prune the C-contiguous float32 array `x` into `results`; return the groups with a NaN or Inf."""
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert x.size == results.masks.size * self.group
        return self._function(
            x.ctypes.data, *(r.ctypes.data for r in results), results.masks.size, rows, threads
        )
