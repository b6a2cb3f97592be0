"""Vectors of the other width than this machine's: the same results as the kernels that other tests check."""

import os
import subprocess
import sys

import pytest

from bitxcore.kernels.vectors import register_bits

RESULTS = """
import hashlib, sys
import bitxcore.kernels.vectors as vectors
if sys.argv[1] != "as it is":
    vectors.register_bits = lambda: int(sys.argv[1])
import numpy as np
import bitxcore as bx

def told(what, found):
    digest = hashlib.sha256()
    for part in ("values", "row_masks", "exponents", "kept_rows", "signs", "rows"):
        if isinstance(x := getattr(found, part, None), np.ndarray):
            digest.update(x.tobytes())
    print(what, digest.hexdigest(), getattr(found, "window_limited_groups", ""))

rng = np.random.default_rng(0)
some = rng.standard_normal((12, 1200)) * np.exp2(rng.integers(-40, 5, (12, 1200)) // 8)
some[:, ::17] = 0
for name in ("float32", "bfloat16", "float8_e5m2", "int8"):
    fmt = bx.number_format(name)
    x = some.astype(fmt.dtype) if fmt.is_float else (some * 20).clip(-99, 99).astype(fmt.dtype)
    for group in (4, 8, 9):
        found = bx.prune(x, group=group, rows=3)
        told(f"{name} {group}", found)
        told(f"{name} {group} packed", bx.pack(found))
        assert bx.unpack(bx.pack(found)).tobytes() == found.values.tobytes()
    print(name, repr(bx.statistics(x, rows=3)))
    told(name + " nearest", bx.prune(x, rows=3, rounding="nearest"))
    told(name + " channels", bx.prune(x.reshape(12, -1, 3), rows=3, grouping="channel"))
    told(name + " threshold", bx.prune(x, rows=None, criterion="threshold", threshold=0.3))
    narrow = bx.prune(x, rows=12, window=5)
    assert narrow.window_limited_groups or not fmt.is_float
    told(name + " narrow", narrow)
    told(name + " energy", bx.prune(x, criterion="energy", budget=0.1))
"""


def results(width: str, folder: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", RESULTS, width],
        env=os.environ | ({"BITX_CACHE_DIR": folder} if folder else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_either_width_gives_the_same(tmp_path):
    """Of registers that this machine lacks, LLVM makes several of those it has."""
    other = results(str(768 - register_bits()), str(tmp_path))
    assert other == results("as it is", "")
