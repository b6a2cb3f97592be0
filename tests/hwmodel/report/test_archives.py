"""A report shows the stores of every release."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwmodel.report.stored_runs import read_runs

ARCHIVES = Path(__file__).parents[2] / "archives"


@pytest.mark.parametrize("release", sorted(path.name for path in ARCHIVES.iterdir() if path.is_dir()))
def test_stores_of_a_release(release):
    runs = read_runs(sorted((ARCHIVES / release).glob("*.h5")))
    assert [run.kind for run in runs] == ["statistics", "pruning", "simulation", "sweep"]
    assert not [remark for run in runs for remark in run.remarks]
