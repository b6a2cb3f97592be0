"""Runs written by hand: what passes, what fails, what is named."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bench import compare
from bench.machine import HARDWARE, describe
from bench.results import Case, ResultsError, Run

MACHINE = {
    "cpu": "Some CPU", "architecture": "x86_64", "llvm_cpu": "some", "features": ["avx2"],
    "caches": {"L1": "32K"}, "threads": 2, "cores": 2, "huge_pages": None, "os": "Linux", "python": "3.12.1",
    "compiler": None, "packages": {"bitx": "0.1.0", "numpy": "2.0", "numba": "0.62"}, "load": 0.1,
}  # fmt: skip


def case(share, kernel="prune", name="float32", spread=0.02, speed=1.0, **fields):
    """Case whose rounds have a median share and an interquartile spread relative to it, exactly."""
    ratios = share * (1 + spread * np.array([-1, -0.5, 0, 0.5, 1]))
    yardstick = np.array([1, 2, 3, 4, 5]) * 1e-3 / speed
    of = {"values": 1 << 20, "threads": 2, **fields}
    return Case(kernel, name, seconds=list(yardstick / ratios), yardstick_seconds=list(yardstick), **of)


def run(*cases, **machine):
    return Run("2025-01-01T00:00:00Z", "abc", MACHINE | machine, cases)


@pytest.fixture
def compared(tmp_path, capsys):
    def compared(old, new):
        for name, which in (("old", old), ("new", new)):
            which.save(tmp_path / f"{name}.json")
        status = compare.main([str(tmp_path / "old.json"), str(tmp_path / "new.json")])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return compared


def test_synthetic_cases_are_what_they_say():
    assert case(0.5, spread=0.04).share == pytest.approx(0.5)
    assert case(0.5, spread=0.04).spread == pytest.approx(0.04)


def test_same_run_passes(compared):
    status, out, _ = compared(run(case(0.5)), run(case(0.5)))
    assert status == 0
    assert "0 of 1 cases got worse" in out


def test_worse_share_fails_and_is_named(compared):
    status, out, _ = compared(run(case(0.6), case(0.5, name="int8")), run(case(0.45), case(0.5, name="int8")))
    assert status == 1
    assert "worse: prune: float32, 2 threads: 0.600 -> 0.450" in out
    assert "1 of 2 cases got worse" in out
    assert "-25.0%" in out


def test_better_share_passes(compared):
    status, out, _ = compared(run(case(0.4)), run(case(0.6)))
    assert status == 0
    assert "better" in out


def test_only_the_ratio_counts(compared):
    """A machine at half the speed changes the times of both, and nothing else."""
    status, _, _ = compared(run(case(0.5)), run(case(0.5, speed=0.5)))
    assert status == 0


def test_share_is_taken_round_by_round():
    """Rounds that were slow for both are no noise."""
    assert case(0.5, spread=0.0).spread == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("spreads", "status"), [((0.0, 0.0), 1), ((0.2, 0.0), 0), ((0.0, 0.2), 0), ((0.09, 0.09), 1)]
)
def test_noise_of_either_run_excuses(compared, spreads, status):
    old, new = spreads
    assert compared(run(case(0.5, spread=old)), run(case(0.43, spread=new)))[0] == status


@pytest.mark.parametrize(("factor", "status"), [(0.99, 1), (1.01, 0)])
def test_floor(compared, factor, status):
    worse = 0.5 * (1 - compare.FLOOR / factor)
    assert compared(run(case(0.5, spread=0)), run(case(worse, spread=0)))[0] == status


def test_peers_are_shown_and_never_fail(compared):
    ours = case(0.5)
    status, out, _ = compared(
        run(ours, case(0.5, name="theirs", peer=True)), run(ours, case(0.1, name="theirs", peer=True))
    )
    assert status == 0
    assert "theirs" in out
    assert "-80.0%" in out


def test_missing_cases_are_named(compared):
    gone = Case("peers", "C++", 1, peer=True, missing="no g++")
    there = case(0.1, kernel="peers", name="C++", threads=1, peer=True)
    old = run(case(0.5), case(0.5, name="int8"), there)
    new = run(case(0.5), case(0.5, name="int4"), gone)
    status, out, _ = compared(old, new)
    assert status == 0
    assert "missing in the new run: prune: int8, 2 threads (no such case)" in out
    assert "missing in the old run: prune: int4, 2 threads (no such case)" in out
    assert "missing in the new run: peers: C++, 1 thread (no g++)" in out


def test_nothing_in_common_is_an_error(compared):
    status, _, err = compared(run(case(0.5)), run(case(0.5, threads=4)))
    assert status == 2
    assert err == "error: the two runs have no case in common\n"


def test_different_machines_warn(compared):
    status, out, _ = compared(run(case(0.5)), run(case(0.5), cpu="Another CPU", threads=4))
    assert status == 0
    assert "warning: different machines, cpu: Some CPU -> Another CPU" in out
    assert "warning: different machines, threads: 2 -> 4" in out


def test_other_versions_are_noted_and_load_is_not(compared):
    _, out, _ = compared(run(case(0.5)), run(case(0.5), python="3.13.0", load=3.0))
    assert "note: python: 3.12.1 -> 3.13.0" in out
    assert "warning" not in out
    assert "load" not in out


@pytest.mark.parametrize(("text", "message"), [
    ("", "Expecting value"), ("[]", "not results"), ('{"benchmarks": []}', "not results"),
    ('{"format": "bitx-bench-1"}', "cases"),
    ('{"format": "bitx-bench-1", "cases": [{"kernel": 1}]}', "missing"),
    ('{"format": "bitx-bench-1", "cases": [{"kernel": "k", "case": "c", "threads": 1}]}', "every round"),
    ('{"format": "bitx-bench-1", "cases": [], "surprise": 1}', "surprise"),
])  # fmt: skip
def test_file_that_holds_no_run(tmp_path, capsys, text, message):
    bad, good = tmp_path / "bad.json", tmp_path / "good.json"
    bad.write_text(text)
    run(case(0.5)).save(good)
    assert compare.main([str(good), str(bad)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_file_that_is_not_there(tmp_path, capsys):
    assert compare.main([str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "a.json" in capsys.readouterr().err


@pytest.mark.parametrize("fields", [
    {"seconds": [1.0], "yardstick_seconds": []}, {"seconds": [], "yardstick_seconds": []},
    {"seconds": [0.0], "yardstick_seconds": [1.0]}, {"seconds": [1.0], "yardstick_seconds": [float("nan")]},
    {"seconds": [1.0], "yardstick_seconds": [1.0], "missing": "no g++"},
    {"seconds": [1.0, 1.0], "yardstick_seconds": [1.0, 1.0], "prune_seconds": [1.0]},
])  # fmt: skip
def test_case_without_whole_rounds(fields):
    with pytest.raises(ResultsError):
        Case("prune", "float32", 2, **fields)


def test_run_survives_its_file(tmp_path):
    peer = replace(case(0.25, name="theirs", peer=True), prune_seconds=[1e-3] * 5)
    before = run(case(0.5, row="`prune`"), peer, Case("peers", "C++", 1, missing="no g++"))
    before.save(tmp_path / "folder" / "run.json")
    after = Run.load(tmp_path / "folder" / "run.json")
    assert after.machine == before.machine
    assert [c.key for c in after.cases] == [c.key for c in before.cases]
    assert [c.missing for c in after.cases] == ["", "", "no g++"]
    assert after.cases[0].share == pytest.approx(0.5, rel=1e-3)
    assert after.cases[1].times_prune == pytest.approx(before.cases[1].times_prune, rel=1e-3)


def test_passes_add_up():
    missing = Case("peers", "C++", 1, peer=True, missing="no g++")
    both = run(case(0.4, spread=0), missing) + run(case(0.6, spread=0), missing)
    assert len(both.cases[0].seconds) == len(both.cases[0].yardstick_seconds) == 10
    assert both.cases[0].spread == pytest.approx(0.4)
    assert both.cases[1].missing == "no g++"


def test_passes_of_different_cases_do_not_add_up():
    with pytest.raises(ResultsError, match="same cases"):
        run(case(0.4)) + run(case(0.4, name="int8"))


def test_machine_is_described():
    machine = json.loads(json.dumps(describe()))
    assert {*HARDWARE, "os", "python", "compiler", "packages", "load"} == set(machine)
    assert machine["threads"] >= 1
    assert machine["packages"]["numba"]
