"""`--scheduler`: on the workers of a Dask scheduler, commands write what they write without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.kills import without_time, write_dumps
from hwmodel.cli import group

RUNS = {
    "inspect": ["batch", "inspect", "in", "-o", "out.h5"],
    "prune": ["batch", "prune", "in", "--each", "each", "-o", "out.h5", "--rows", "3"],
    "batch simulate": ["batch", "simulate", "in", "-o", "out.h5", "-a", "dadiannao"],
    "sweep": ["sweep", "resnet20-cifar10", "-a", "dadiannao", "--vary", "columns=1:6", "-o", "out.h5"],
    "simulate": ["simulate", "m.onnx", "--size", "N=1", "-a", "bitx", "-a", "dadiannao", "-o", "out.h5"],
    "policy": ["simulate", "m.onnx", "--size", "N=1", "--policy", "p.json", "-a", "bitx", "-o", "out.h5"],
    "evaluate": ["evaluate", "--task", "digits", "--quick", "--rows", "6,4", "-o", "out.h5"],
}
POLICY = """{"version": 1, "default": {"rows": 4}, "tensors": {}}"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command whose store is out.h5, in a folder with dumps."""
    sample = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
    (tmp_path / "m.onnx").symlink_to(sample)
    write_dumps(tmp_path / "in", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bitx"])

    def run(*args, code=0):
        done = CliRunner().invoke(group, args, prog_name="bitx")
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.mark.parametrize("name", RUNS)
def test_stores_equal_those_of_a_local_run(run, scheduler, name, tmp_path):
    args = RUNS[name]
    (tmp_path / "p.json").write_text(POLICY, "utf-8")
    alone = ["-j", "1"] * (args[0] in ("batch", "sweep"))
    run(*args, *alone)
    expected = {path: path.read_bytes() for path in tmp_path.glob("each/*.npz")}
    Path("out.h5").rename("expected.h5")
    for path in expected:
        path.unlink()
    spread = run(*args, "--scheduler", scheduler)
    assert f"Dask: 2 workers of {scheduler}; " in spread.stderr
    assert "Dask" not in spread.stdout
    assert without_time(Path("out.h5")) == without_time(Path("expected.h5"))
    assert expected == {path: path.read_bytes() for path in tmp_path.glob("each/*.npz")}
    assert bool(expected) == ("--each" in args)


def test_a_dump_that_a_worker_can_not_read(run, scheduler, tmp_path):
    (tmp_path / "in" / "d0001.npz").write_bytes(b"no")
    found = run("batch", "inspect", "in", "-o", "out.h5", "--scheduler", scheduler, code=1)
    assert "in/d0001.npz" in found.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["simulate", "resnet18", "-a", "dadiannao", "-j", "2"], "--jobs goes with --scheduler local"),
        (["evaluate", "--task", "digits", "-j", "2"], "--jobs goes with --scheduler local"),
        (["sweep", "resnet18", "--vary", "rows=1", "-j", "2", "--scheduler", "tcp://x:1"],
         "a scheduler has its own"),
        (["evaluate", "--task", "digits", "--rows", "auto:1", "--write-policy", "x.json", "--scheduler",
          "local"], "it has nothing for --scheduler"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(run, args, message):
    assert message in run(*args, code=2).stderr
