"""The campaign of kills, scaled down."""

import pytest

from bench.kills import campaign, worker_campaign


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "action"), [(1, "inspect"), (2, "prune")])
def test_nothing_is_lost_and_nothing_done_twice(tmp_path, jobs, action):
    (tmp_path / "work").mkdir()
    found = campaign(tmp_path / "work", dumps=20, kills=5, jobs=jobs, action=action, seed=jobs)
    assert found.passed, found
    assert found.kills == 5


@pytest.mark.slow
def test_nothing_is_lost_with_workers_of_dask(tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "work").mkdir()
    found = worker_campaign(tmp_path / "work", dumps=30, kills=4, jobs=2, action="prune", seed=0)
    assert found.passed, found
    assert found.kills == 4
