"""The example package in docs/ installs, is found, and counts what its description says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "docs" / "example-accelerator"
NAME = "zero-skipping-columns"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy, for building leaves files behind, where nothing else is."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "target"))
    shutil.copytree(PACKAGE, source, dirs_exist_ok=True)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--target"]
    run([sys.executable, "-m", "pip", "install", "-q", *options, str(target), str(source)])
    return target


def run(command: list[str], path: Path | None = None) -> str:
    environment = os.environ | ({"PYTHONPATH": str(path), "COLUMNS": "250"} if path else {})
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bitx(path: Path, *arguments: str) -> str:
    return run([sys.executable, "-m", "hwmodel.cli", *arguments], path)


@pytest.mark.slow
def test_installed_package_is_listed_and_runs(installed: Path) -> None:
    listed = bitx(installed, "list", "accelerators")
    assert NAME in listed
    assert "Example package" in listed
    model = "data/samples/digits_resnet.onnx"
    printed = bitx(installed, "simulate", model, "--size", "N=1", "-a", f"{NAME}:rows=16")
    assert f"{NAME}(rows=16)" in printed


@pytest.mark.slow
def test_its_knowledge_is_found_in_its_class(installed: Path) -> None:
    """Variants, changes, what lowers accuracy and what a report says: nothing of it stands in our files."""
    options = ("data/samples/digits_resnet.onnx", "--size", "N=1")
    printed = bitx(installed, "simulate", *options, "-a", f"{NAME}:dram=none", "--explain", "--notes")
    assert "cycles follow the filter with most weights" in printed
    assert re.search(r"half the columns, twice as long +equal peak", printed)
    assert re.search(r"rows=128 instead of 64 +adds hardware", printed)
    assert re.search(r"dropped=1 instead of 0 +lowers accuracy", printed)
    assert "index_bits=" not in printed
    compared = json.loads(bitx(installed, "simulate", *options, "-a", "all", "--json"))["comparison"]["rows"]
    rows = {row["accelerator"]: row for row in compared}
    assert {NAME, f"{NAME}(dropped=8)"} <= set(rows)
    assert rows[f"{NAME}(dropped=8)"]["cycles"] <= rows[NAME]["cycles"]
    assert f"number format, {NAME}: 16-bit fixed point" in bitx(installed, "simulate", *options, "-a", "all")
    command = ("sweep", *options, "-a", NAME, "--vary", "dropped=0,4", "--vary", "rows=16,64", "-j", "1")
    points = json.loads(bitx(installed, *command, "--json"))["points"]
    errors = {point["dropped"]: point["relative_error"] for point in points}
    assert errors[0] == 0 < errors[4]
    assert all(point["reason"] is None for point in points)


def test_cycles_are_those_of_the_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PACKAGE)
    from zero_skipping_columns import ZeroSkippingColumns

    rng = np.random.default_rng(0)
    machine = ZeroSkippingColumns(rows=5, columns=3)
    for layer in (
        hw.Conv("conv", in_channels=8, out_channels=14, in_size=(4, 3), kernel=2, groups=2),
        hw.Linear("fc", 30, 7),
        hw.Linear("recurrent", 30, 7, positions=6, steps=3),
    ):
        w = rng.integers(-3, 4, layer.weight_shape) * (rng.random(layer.weight_shape) < 0.4)
        compute = fill = 0
        filters = layer.filters // layer.conv_groups
        for group in w.reshape(layer.conv_groups, filters, -1):
            for first in range(0, filters, 3):
                columns = [[v for v in f if v] for f in group[first : first + 3]]
                while any(columns):
                    columns = [c[5:] for c in columns]
                    compute += layer.positions
                    fill += layer.steps * (5 - 1 + 3 - 1)
        r = hw.simulate(machine, layer, hw.Operands(w, weight_bits=4))
        assert (r.compute_cycles, r.fill_cycles) == (compute, fill)
        assert 0 < r.utilisation <= 1
    assert not hw.simulate(machine, hw.MatMul("qk", 2, 3, 4)).applicable
