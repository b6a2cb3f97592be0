"""Rows by tensor: the path is the best there is where errors add up, and what it finds holds."""

import json
from importlib import import_module
from itertools import pairwise, product

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from bitxcore.data import data_folder
from bitxcore.errors import BitxError
from bitxcore.policy import PruningOptions
from hwmodel.cli import group
from hwmodel.evaluation import Evaluator, Setting, groupings_by_error, search_rows, task
from hwmodel.evaluation.evaluated import is_within
from hwmodel.evaluation.pruning_path import Choice, hull, path, path_from

rows_search = import_module("hwmodel.evaluation.rows_search")
DIGITS = data_folder("samples") / "digits_resnet.onnx"
CHOICES = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=5)


def totals(state, units):
    """Cycles and error of a state."""
    found = [next(c for c in some if c.options == state[names[0]]) for names, some in units.items()]
    return sum(c.cycles for c in found), sum(c.error for c in found)


@given(st.lists(CHOICES, min_size=1, max_size=4))
def test_no_other_state_beats_one_of_the_path(drawn):
    units = {
        (f"tensor {at}",): [Choice(PruningOptions(n + 1), c, float(e)) for n, (c, e) in enumerate(some)]
        for at, some in enumerate(drawn)
    }
    every = [(sum(c.cycles for c in way), sum(c.error for c in way)) for way in product(*units.values())]
    states = [totals(state, units) for state in path(units)]
    slopes = [list(hull(some)) for some in units.values()]
    assert states[0][1] == min(error for _, error in every)
    assert states[-1][0] == sum(min(c.cycles for c in some) for some in units.values())
    assert len(states) == 1 + sum(len(best) - 1 for best in slopes)
    for (cycles, error), (more, less) in zip(states[1:], states, strict=False):
        assert cycles < more
        assert error >= less
    tied = len({round((b.error - a.error) / (a.cycles - b.cycles), 9)
                for best in slopes for a, b in pairwise(best)})  # fmt: skip
    if tied == len(states) - 1:  # steps of one slope may be taken in any order
        for cycles, error in states:
            assert not any((c < cycles and e <= error) or (c <= cycles and e < error) for c, e in every)


@given(st.lists(CHOICES, min_size=1, max_size=4), st.integers(1, 5))
def test_a_path_from_one_way_for_all_begins_with_no_more_cycles(drawn, rows):
    units = {
        (f"tensor {at}",): [Choice(PruningOptions(n + 1), c, float(e)) for n, (c, e) in enumerate(some)]
        for at, some in enumerate(drawn)
    }
    states = list(path_from(PruningOptions(rows), units))
    for names, some in units.items():
        same = next((c for c in some if c.options.rows == rows), None)
        first = next(c for c in some if c.options == states[0][names[0]])
        if same is None:
            assert first.error == min(c.error for c in some)
        else:
            assert first.cycles <= same.cycles
            assert first is same or first.error <= same.error
    cycles = [totals(state, units)[0] for state in states]
    assert all(after < before for before, after in pairwise(cycles))


@pytest.mark.slow
def test_where_scores_are_no_steady_function_of_the_error(monkeypatch):
    def holds(self, point):  # none of the first path, whose first state has the most rows
        policy = point.setting.policy
        return policy is None or max(options.rows for options in policy.tensors.values()) <= 4

    monkeypatch.setattr(rows_search._Search, "_holds", holds)
    with Evaluator(task("digits"), quick=True, resamples=2) as evaluator:
        found = search_rows(evaluator, 0.03, candidates=(8, 4, 3))
    assert found.single.setting.rows == 3
    assert found.point.machine.cycles <= found.single.machine.cycles
    assert {options.rows for options in found.policy.tensors.values()} == {3}
    assert len({point.setting for point in found.points}) == len(found.points)


@pytest.mark.slow
def test_digits(tmp_path):
    with Evaluator(task("digits"), quick=True, resamples=20) as evaluator:
        found = search_rows(evaluator, 0.03, candidates=(8, 5, 4, 3))
    assert found.single is not None
    assert found.point.machine.cycles < found.single.machine.cycles
    assert is_within("top1", found.point.scores["top1"], 0.03)
    assert {options.rows for options in found.policy.tensors.values()} <= {8, 5, 4, 3}
    # The same cycles and the same weights as of the commands that take the policy.
    net = hw.load_network(DIGITS, sizes={"N": 1})
    run = hw.simulate_network("bitx", net, policy=found.policy)
    assert run.totals[0].cycles == found.point.machine.cycles
    with bx.open_dump(DIGITS) as dump:
        rows = prune_dump(dump, tmp_path / "p.onnx", policy=found.policy)
    assert len(rows) == len(found.policy.tensors)


def test_what_can_not_be_found():
    with Evaluator(task("digits"), quick=True, resamples=5) as evaluator:
        with pytest.raises(BitxError, match=r"2 rows for all lose more than 0\.01 of top1"):
            search_rows(evaluator, 0.01, candidates=(2,))
        with pytest.raises(BitxError, match="a loss is 0 or more, got -1"):
            search_rows(evaluator, -1)


def test_groupings_by_error_move_weights_least():
    evaluator = Evaluator(task("digits"))
    found = groupings_by_error(evaluator, Setting(rows=4))
    chosen = evaluator.subject.changes(Setting(policy=found))
    for grouping in ("flat", "channel", "kernel"):
        other = evaluator.subject.changes(Setting(rows=4, grouping=grouping))
        assert all(chosen[name].error_square <= other[name].error_square for name in chosen)


@pytest.mark.slow
def test_command(tmp_path):
    policy = tmp_path / "rows.json"
    options = ["--task", "digits", "--quick", "--json"]
    search = CliRunner().invoke(
        group, ["evaluate", *options, "--rows", "auto:3", "--write-policy", str(policy)]
    )
    assert search.exit_code == 0, search.output
    document = json.loads(search.stdout)
    again = CliRunner().invoke(group, ["evaluate", *options, "--policy", str(policy)])
    points = json.loads(again.stdout)["points"]
    assert [point["cycles"] for point in points[1:]] == [document["rows_found"]["cycles"]]
    assert points[1]["top1"] in [point["top1"] for point in document["points"]]
    for wrong in (["--rows", "auto:1"], ["--write-policy", str(policy)], ["--rows", "auto:x"]):
        assert CliRunner().invoke(group, ["evaluate", *options, *wrong]).exit_code == 2
