"""What a user waits for before the first result, against the import of NumPy."""

import os
import subprocess
import sys

import pytest

from .measure import against

PRUNE = "import numpy as np, bitxcore as bx; bx.prune(np.ones((8, 64), np.float32))"


def process(code, environment=None):
    """Call that runs code in a fresh interpreter."""
    command = [sys.executable, "-c", code]
    return lambda: subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


numpy_import = process("import numpy")


@pytest.mark.parametrize(("name", "code"), [
    ("import bitxcore", "import bitxcore"),
    ("import hwmodel", "import hwmodel"),
    ("bitx --help", "from hwmodel.cli import main; main(['--help'])"),
])  # fmt: skip
def test_import(benchmark, name, code):
    benchmark.group = "start of a process"
    against(benchmark, process(code), numpy_import, case=name, rounds=3)


@pytest.mark.parametrize(("cache", "until"), [("cold", "end"), ("warm", "end"), ("warm", "answer")])
def test_first_prune(benchmark, cache, until, tmp_path):
    """Of a whole process, and without the interpreter's own end, which clears up what Numba made."""
    benchmark.group = "start of a process"
    environment = {**os.environ, "BITX_CACHE_DIR": str(tmp_path / "warm")}

    def fresh():
        environment["BITX_CACHE_DIR"] = str(tmp_path / os.urandom(4).hex())

    against(
        benchmark,
        process(PRUNE + "; import os; os._exit(0)" * (until == "answer"), environment),
        numpy_import,
        case=f"first prune, {cache} cache" + ", until it answers" * (until == "answer"),
        row=f"first `prune` of a process, {cache} cache" + ", until it answers" * (until == "answer"),
        before=fresh if cache == "cold" else None,
        rounds=1 if cache == "cold" else 3,
    )


@pytest.mark.parametrize("command", ["inspect", "simulate", "simulate -a all"])
def test_first_answer(benchmark, command, tmp_path):
    """Of a command on a small model, with an empty cache."""
    benchmark.group = "start of a process"
    environment = dict(os.environ)
    name, *options = command.split()
    arguments = [name, "data/samples/digits_resnet.onnx", *options]

    def fresh():
        environment["BITX_CACHE_DIR"] = str(tmp_path / os.urandom(4).hex())

    against(
        benchmark,
        process(f"from hwmodel.cli import main; main({arguments})", environment),
        numpy_import,
        case=f"bitx {command}, cold cache",
        row=f"`bitx {command}` on a small model, cold cache",
        before=fresh,
        rounds=1,
    )
