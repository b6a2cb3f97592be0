"""The campaign of kills, scaled down."""

import pytest

from bench.kills import campaign


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_is_lost_and_nothing_done_twice(tmp_path, jobs):
    (tmp_path / "work").mkdir()
    found = campaign(tmp_path / "work", dumps=20, kills=5, jobs=jobs, seed=jobs)
    assert found.passed, found
    assert found.kills == 5
