"""``--policy`` of prune, simulate and sweep."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from bitxcore.errors import OptionError, TensorError
from bitxcore.store import Store

RNG = np.random.default_rng(4)
WEIGHTS = {
    "conv.weight": RNG.standard_normal((8, 4, 3, 3)).astype(np.float32),
    "fc.weight": RNG.standard_normal((10, 32)).astype(np.float32),
    "head.weight": RNG.standard_normal((5, 10)).astype(np.float32),
    "fc.bias": RNG.standard_normal(10).astype(np.float32),
}
POLICY = bx.Policy(
    {
        "conv.weight": {"rows": 4, "group": None, "grouping": "kernel"},
        "fc.weight": {"rows": 3, "rounding": "nearest", "window": 20, "criterion": "msb"},
        "fc.bias": {"rows": None},
    }
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, **WEIGHTS)
    return path


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.json"
    POLICY.save(path)
    return path


def read(path):
    with np.load(path) as file:
        return dict(file)


def test_each_tensor_is_pruned_as_by_itself(bitx, model, policy, out):
    found = bitx.json("prune", model, "-o", out / "p.npz", "--policy", policy, "--store", out / "p.h5")
    pruned = read(out / "p.npz")
    assert [row["tensor"] for row in found["tensors"]] == ["conv.weight", "fc.weight"]
    assert found["left_out"]["head.weight"] == "the policy does not prune it"
    assert found["parameters"]["policy"]["tensors"] == json.loads(policy.read_text())["tensors"]
    for name, w in WEIGHTS.items():
        own = POLICY.options_for(name)
        alone = w if own["rows"] is None else bx.prune(w, **own).values
        assert pruned[name].tobytes() == alone.tobytes()
    with Store.open(out / "p.h5") as kept:
        assert kept.provenance.parameters["policy"]["path"] == str(policy)
        assert [file.path for file in kept.provenance.inputs] == [str(model), str(policy)]
    text = bitx("prune", model, "-o", out / "q.npz", "--policy", policy).output
    assert "the policy does not prune it" in text
    assert read(out / "q.npz").keys() == pruned.keys()


def test_a_policy_may_prune_nothing(bitx, model, tmp_path, out):
    bx.Policy().save(tmp_path / "nothing.json")
    bitx("prune", model, "-o", out / "p.npz", "--policy", tmp_path / "nothing.json")
    assert all(values.tobytes() == WEIGHTS[name].tobytes() for name, values in read(out / "p.npz").items())
    # In fixed point, what is not pruned is rounded.
    bitx("prune", model, "-o", out / "q.npz", "--policy", tmp_path / "nothing.json", "--format", "fixed8")
    after = read(out / "q.npz")
    for name in ("conv.weight", "fc.weight", "head.weight"):
        fixed = bx.quantize(WEIGHTS[name], 8)
        assert np.array_equal(after[name], fixed.codes * fixed.scale)
    assert after["fc.bias"].tobytes() == WEIGHTS["fc.bias"].tobytes()


def test_prune_dump_with_a_policy(model, policy, out):
    with bx.open_dump(model) as dump:
        rows = prune_dump(dump, out / "p.npz", policy=policy)
        assert [row.tensor for row in rows] == ["conv.weight", "fc.weight"]
        one = prune_dump(dump, out / "q.npz", (dump["fc.weight"],), policy=POLICY)
        assert [row.tensor for row in one] == ["fc.weight"]
        with pytest.raises(OptionError, match="the policy sets rows for each tensor: rows can't be given"):
            prune_dump(dump, out / "r.npz", policy=POLICY, rows=4)
        with pytest.raises(
            OptionError, match=r"'gone': is named in the policy, but .*npz has no such tensor"
        ):
            prune_dump(dump, out / "r.npz", policy=bx.Policy({"gone": {"rows": 4}}))
        with pytest.raises(
            TensorError, match=r"'fc.bias': the policy prunes it, but it can't be: fewer than 2"
        ):
            prune_dump(dump, out / "r.npz", policy=bx.Policy({"fc.bias": {"rows": 4}}))


@pytest.mark.parametrize(
    "args",
    [("--rows", 6), ("--group", 8), ("--window", 20), ("--grouping", "flat"), ("--criterion", "topn"),
     ("--rounding", "truncate"), ("--threshold", 0.1), ("--budget", 0.1), ("--preset", "mild")],
)  # fmt: skip
def test_prune_takes_a_policy_or_options(bitx, model, policy, out, args):
    told = bitx("prune", model, "-o", out / "p.npz", "--policy", policy, *args, code=2).output
    assert f"--policy says how each tensor is pruned: {args[0]} can't be given besides" in told
    assert not list(out.iterdir())


def test_a_policy_that_is_none(bitx, model, tmp_path, out):
    path = tmp_path / "policy.json"
    path.write_text('{"version": 1, "tensors": {"fc.weight": {"rows": 0}}}')
    rule = f"{path}: tensor 'fc.weight': rows must be an integer from 1 to 64, got 0"
    for command in (
        ("prune", model, "-o", out / "p.npz"),
        ("simulate", model),
        ("sweep", model, "--vary", "fifo_depth=0,2"),
    ):
        assert rule in bitx.error(*command, "--policy", path)
    bx.Policy({"gone": {"rows": 4}}).save(path)
    for command in (
        ("prune", model, "-o", out / "p.npz"),
        ("simulate", model),
        ("sweep", model, "--vary", "fifo_depth=0,2"),
    ):
        told = bitx.error(*command, "--policy", path)
        assert f"tensor 'gone': is named in the policy, but {model} has no such tensor" in told
    assert "does not exist" in bitx.error("simulate", model, "--policy", tmp_path / "nowhere.json")


def test_a_tensor_left_out_by_name_is_no_mistake(bitx, model, policy, out):
    found = bitx.json("prune", model, "-o", out / "p.npz", "--policy", policy, "--exclude", "fc*")
    assert found["left_out"]["fc.weight"] == "excluded"
    assert read(out / "p.npz")["fc.weight"].tobytes() == WEIGHTS["fc.weight"].tobytes()


@pytest.fixture
def flat(tmp_path):
    path = tmp_path / "flat.json"
    bx.Policy({"conv.weight": {"rows": None}, "fc.weight": {"rows": 3, "group": 16}}, {"rows": 5}).save(path)
    return path


def test_simulate(bitx, model, flat, out):
    found = bitx.json("simulate", model, "--policy", flat, "-o", out / "s.h5", "--fifo-depth", 0)
    run = hw.simulate_network(
        [hw.accelerator("bitx", fifo_depth=0), "dadiannao"], model, policy=flat
    )  # fmt: skip
    layers = [(row["layer"], row["accelerator"], row["cycles"]) for row in found["layers"]]
    assert layers == [(row.layer, row.accelerator, row.cycles) for row in run.layers]
    with Store.open(out / "s.h5") as kept:
        assert kept.provenance.parameters["policy"]["path"] == str(flat)
        assert str(flat) in [file.path for file in kept.provenance.inputs]
    text = bitx("simulate", model, "--policy", flat).output
    assert f"bitx: weights pruned by the policy {flat}, in 2 of 3 layers" in " ".join(text.split())
    assert "dadiannao: does not prune by a policy's options" in " ".join(text.split())


def test_simulate_takes_a_policy_or_options(bitx, model, flat):
    for args in (("--rows", 4), ("--group", 4), ("--preset", "mild")):
        told = bitx("simulate", model, "--policy", flat, *args, code=2).output
        assert f"{args[0]} can't be given besides" in told
    told = bitx.error("simulate", model, "--policy", flat, "-a", "bitx:rows=4")
    assert "the policy sets rows for each layer: rows=4 can't be given besides" in told
    for args in (("-a", "all"), ("--explain",)):
        told = bitx("simulate", model, "--policy", flat, *args, code=2).output
        assert "--policy is neither for -a all nor for --explain" in told


def test_sweep(bitx, model, flat, out):
    args = ("sweep", model, "--vary", "compute_units=8,16", "-j", 1, "--policy", flat)
    found = bitx.json(*args, "-o", out / "s.h5")
    for point in found["points"]:
        machine = hw.accelerator("bitx", compute_units=point["compute_units"])
        run = hw.simulate_network(machine, model, policy=flat)
        assert point["cycles"] == run.totals[0].cycles
    assert any("weights pruned by the policy" in note for note in found["notes"])
    assert "option 'rows' is set by the policy" in bitx.error(*args, "--vary", "rows=3,4")


@pytest.mark.slow
def test_processes_of_a_sweep_have_the_policy(bitx, model, flat):
    varied = ("sweep", model, "--policy", flat, "--vary", "compute_units=8,16", "--vary", "fifo_depth=0:3")
    assert bitx.json(*varied, "-j", 2)["points"] == bitx.json(*varied, "-j", 1)["points"]
