"""A dump that is larger than the memory it is given: bounded memory, the same file."""

import filecmp
import sys

import pytest

from bench.large import MIB, check, prune_peak, write_dump

BUDGET = 64
STARTED = 330
"""MiB of a process that has loaded what it needs and prunes next to nothing; 184 were measured."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak of a child")
def test_peak_memory_is_bounded_and_results_are_equal(tmp_path):
    dump, small, large = (tmp_path / f"{name}.safetensors" for name in ("dump", "small", "large"))
    write_dump(dump, 600_000_000)
    _, peak = prune_peak(dump, small, "--memory", f"{BUDGET}M")
    assert peak < (STARTED + BUDGET) * MIB
    prune_peak(dump, large)
    assert filecmp.cmp(small, large, shallow=False)
    check(dump, small)


def test_a_dump_is_of_the_size_that_is_asked_for(tmp_path):
    write_dump(tmp_path / "dump.safetensors", 2_000_000)
    assert abs((tmp_path / "dump.safetensors").stat().st_size - 2_000_000) < 100_000
