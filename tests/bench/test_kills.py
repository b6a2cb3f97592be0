"""The campaign of kills, scaled down."""

import pytest

from bench.kills import campaign


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "action"), [(1, "inspect"), (2, "prune")])
def test_nothing_is_lost_and_nothing_done_twice(tmp_path, jobs, action):
    (tmp_path / "work").mkdir()
    found = campaign(tmp_path / "work", dumps=20, kills=5, jobs=jobs, action=action, seed=jobs)
    assert found.passed, found
    assert found.kills == 5
