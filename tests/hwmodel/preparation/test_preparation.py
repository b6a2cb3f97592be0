"""Models within a budget: what the pruner leaves, and what calibration samples are good for."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection, prune_dump
from bitxcore.batch.selection import channel_first
from bitxcore.errors import BitxError, OptionError
from bitxcore.policy import load_policy
from hwmodel.cli import group
from hwmodel.evaluation import task
from hwmodel.preparation import Budget, policy_of, prepare_model

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

SHAPES = ("conv", "depthwise", "point", "fc", "out")
"""Weights of the small model, in its order."""


def outputs(path, batches, names=("scores",)):
    """Values of a graph for all samples, by name."""
    proto = onnx.load(path)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(list(names), feeds) for feeds in batches]
    return {name: np.concatenate([part[at] for part in found]) for at, name in enumerate(names)}


@pytest.mark.parametrize("budget", [
    Budget(ones=2), Budget(rows=3), Budget(ones=3, rows=5, grouping="channel"), Budget(ones=1, group=4),
    Budget(ones=2, rows=4, compensates=False), Budget(ones=2, rows=4, compensates=False, corrects_bias=False),
])  # fmt: skip
def test_the_pruner_leaves_what_is_written(model, batches, tmp_path, budget):
    report = prepare_model(model, batches, tmp_path / "p.onnx", budget)
    assert [row.tensor for row in report] == list(SHAPES)
    assert all(row.ones_max <= (budget.ones or 24) for row in report)
    assert all(row.rows_max <= (budget.rows or 32) for row in report)
    policy_of(report, budget).save(tmp_path / "rows.json")
    changed = {*SHAPES, *(row.offset for row in report if row.offset)}
    with bx.open_dump(tmp_path / "p.onnx") as dump, bx.open_dump(model) as before:
        prune_dump(dump, tmp_path / "again.onnx", policy=tmp_path / "rows.json")
        with bx.open_dump(tmp_path / "again.onnx") as again:
            for name in dump:
                assert again[name].read().tobytes() == dump[name].read().tobytes()
                same = dump[name].read().tobytes() == before[name].read().tobytes()
                assert same == (name not in changed)
    assert [row.compensated for row in report] == [budget.compensates] * 5
    wanted = ["conv.bias", None, "mean", "fc.bias", None] if budget.corrects_bias else [None] * 5
    assert [row.offset for row in report] == wanted


@pytest.mark.parametrize("reconstructs", [False, True])
def test_weights_are_fitted_to_the_inputs_that_their_layer_has_then(model, batches, tmp_path, reconstructs):
    budget = Budget(ones=2, rows=4, reconstructs=reconstructs)
    report = prepare_model(model, batches, tmp_path / "p.onnx", budget)
    seen, was = (outputs(path, batches, ("g", "j")) for path in (tmp_path / "p.onnx", model))
    with bx.open_dump(model) as before, bx.open_dump(tmp_path / "p.onnx") as dump:
        for name, edge in (("fc", "g"), ("out", "j")):
            x = seen[edge].astype(np.float64)
            wished = was[edge].astype(np.float64) if reconstructs else x
            if name == "fc":  # has an offset, which takes over the means
                x, wished = x - x.mean(axis=0), wished - wished.mean(axis=0)
            filters = channel_first(before[name]).turn(before[name].read())
            damping = 0.01 * np.square(x).sum(axis=0).mean() * np.eye(x.shape[1])
            target = np.linalg.solve(x.T @ x + damping, x.T @ wished @ filters.T + damping @ filters.T).T
            wanted = bx.prepare(target.astype("f4"), ones=2, rows=4, hessian=x.T @ x, damping=0.01, sweeps=4)
            found = channel_first(dump[name]).turn(dump[name].read())
            assert np.mean(found == wanted.values) > 0.9  # sums in another order
            error = np.linalg.norm(x @ found.T - wished @ filters.T)
            whole = np.linalg.norm((was if reconstructs else seen)[edge].astype(np.float64) @ filters.T)
            row = next(row for row in report if row.tensor == name)
            assert row.output_error == pytest.approx(error / whole, rel=1e-4)


@pytest.mark.parametrize(("name", "value"), [("conv", "a"), ("point", "e"), ("fc", "i")])
def test_offsets_take_over_the_mean_error(model, batches, tmp_path, name, value):
    before = outputs(model, batches, (value,))[value]
    for corrects in (False, True):
        budget = Budget(ones=1, compensates=False, corrects_bias=corrects)
        prepare_model(model, batches, tmp_path / "p.onnx", budget, selection=Selection(include=(name,)))
        moved = (outputs(tmp_path / "p.onnx", batches, (value,))[value] - before).astype(np.float64)
        largest = abs(moved.mean(axis=tuple(axis for axis in range(moved.ndim) if axis != 1))).max()
        assert (largest < 1e-5) == corrects


def test_second_order_moves_the_outputs_of_each_layer_less(model, batches, tmp_path):
    found = []
    for compensates in (False, True):
        budget = Budget(ones=2, rows=4, compensates=compensates, reconstructs=False)
        report = prepare_model(model, batches, tmp_path / "p.onnx", budget)
        found.append([row.output_error for row in report])
    assert all(second < nearest for nearest, second in zip(*found, strict=True))


def test_enough_ones_change_no_value_and_the_result_is_the_same_twice(model, batches, tmp_path):
    prepare_model(model, batches, tmp_path / "p.onnx", Budget(ones=24, window=52))
    with bx.open_dump(model) as before, bx.open_dump(tmp_path / "p.onnx") as after:
        assert all(before[name].read().tobytes() == after[name].read().tobytes() for name in before)
    for name in ("a", "b"):
        prepare_model(model, batches, tmp_path / f"{name}.onnx", Budget(ones=2))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_budget_for_each_tensor(model, batches, tmp_path):
    budgets = {"conv": Budget(ones=4), "fc": Budget(ones=1)}
    report = prepare_model(model, batches, tmp_path / "p.onnx", budgets.get)
    assert {row.tensor: row.ones_max for row in report} == {"conv": 4, "fc": 1}


def test_what_does_not_go(model, batches, tmp_path):
    with pytest.raises(BitxError, match="there are no calibration samples"):
        prepare_model(model, [], tmp_path / "p.onnx", Budget(ones=2))
    with pytest.raises(BitxError, match="needs a budget"):
        Budget()
    with pytest.raises(OptionError, match="tensor 'conv': ones must be an integer from 1 to 24, got 99"):
        prepare_model(model, batches, tmp_path / "p.onnx", Budget(ones=99))
    with pytest.raises(BitxError, match=r"small\.onnx"):
        prepare_model(model, [{"image": np.ones((2, 4, 9, 9), "f4")}], tmp_path / "p.onnx", Budget(ones=2))
    assert not (tmp_path / "p.onnx").exists()


def test_two_ones_on_digits(tmp_path):
    digits = task("digits")
    batches = [part.feeds for part in digits.calibration(128)]
    prepare_model(digits.model, batches, tmp_path / "p.onnx", Budget(ones=2, rows=6))
    parts = list(digits.samples())
    labels = np.concatenate([part.labels for part in parts])
    right = []
    for path in (digits.model, tmp_path / "p.onnx"):
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        scores = np.concatenate([session.run(None, part.feeds)[0] for part in parts])
        right.append((scores.argmax(axis=1) == labels).mean())
    assert right[1] >= right[0] - 0.005
    network, machine = hw.load_network(digits.model, sizes={"N": 1}), hw.accelerator("bitx", rows=6)
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        prepared = hw.simulate_network(machine, network, dump=dump).totals[0]
    wild = hw.simulate_network(machine, network).totals[0]
    assert prepared.cycles < wild.cycles
    assert prepared.work_cycles < 0.8 * wild.work_cycles


# -- on the command line -------------------------------------------------------------------------


def run(*given, code=0):
    done = CliRunner().invoke(group, ["prepare", *map(str, given)])
    assert done.exit_code == code, done.output
    return done


def test_command(model, batches, tmp_path):
    np.savez(tmp_path / "cal.npz", image=np.concatenate([part["image"] for part in batches]))
    out, policy = tmp_path / "p.onnx", tmp_path / "rows.json"
    options = [model, "--calibration", tmp_path / "cal.npz", "-o", out, "--ones", 2, "--rows", 4]
    found = json.loads(run(*options, "--write-policy", policy, "--samples", 20, "--json").stdout)
    assert [row["tensor"] for row in found["tensors"]] == list(SHAPES)
    assert found["written"] == [str(out), str(policy)]
    assert all(options.rows <= 4 for options in load_policy(policy).tensors.values())
    shown = run(*options, "--method", "nearest", "--include", "fc").stdout
    assert "fc" in shown
    assert f"wrote {out}" in shown


@pytest.mark.parametrize(("options", "text"), [
    (["--ones", "2"], "give either MODEL.onnx with --calibration, or --task NAME"),
    (["MODEL", "--ones", "2"], "--calibration goes with a MODEL"),
    (["--task", "digits"], "give a budget: --ones, --rows, or both"),
    (["--task", "digits", "--ones", "0"], "0 is not in the range"),
])  # fmt: skip
def test_usage(model, tmp_path, options, text):
    given = [model if word == "MODEL" else word for word in options]
    assert text in " ".join(run(*given, "-o", tmp_path / "p.onnx", code=2).output.split())


def test_calibration_data_that_do_not_fit_end_in_one_line(model, tmp_path):
    np.savez(tmp_path / "cal.npz", image=np.ones((4, 5, 9, 9), "f4"))
    options = ["--calibration", tmp_path / "cal.npz", "--ones", 2]
    done = run(model, *options, "-o", tmp_path / "p.onnx", code=1)
    assert len(done.output.strip().splitlines()) == 1
    assert "image float32 (4, 5, 9, 9)" in done.output
    assert not (tmp_path / "p.onnx").exists()
    assert "is the input" in run(model, *options, "-o", model, code=1).output
