"""What a user waits for before the first result: imports, and the first call of a kernel."""

import os
import subprocess
import sys

import pytest

PRUNE = "import numpy as np, bitxcore as bx; bx.prune(np.ones((8, 64), np.float32), rows=5)"


@pytest.mark.parametrize(("name", "code"), [
    ("import numpy", "import numpy"),
    ("import bitxcore", "import bitxcore"),
    ("import hwmodel", "import hwmodel"),
    ("bitx --help", "from hwmodel.cli import main; main(['--help'])"),
])  # fmt: skip
def test_import(benchmark, name, code):
    benchmark.group = "start of a process"
    command = [sys.executable, "-c", code]
    benchmark.pedantic(subprocess.run, (command,), {"check": True, "stdout": subprocess.DEVNULL}, rounds=7)


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_first_prune(benchmark, cache, tmp_path):
    benchmark.group = "start of a process"
    environment = {**os.environ, "BITX_CACHE_DIR": str(tmp_path / "warm")}
    run = lambda: subprocess.run([sys.executable, "-c", PRUNE], check=True, env=environment)  # noqa: E731
    if cache == "warm":
        run()
        benchmark.pedantic(run, rounds=5)
        return

    def fresh():
        environment["BITX_CACHE_DIR"] = str(tmp_path / os.urandom(4).hex())

    benchmark.pedantic(run, setup=fresh, rounds=3)
