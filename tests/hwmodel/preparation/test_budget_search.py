"""Budgets by tensor: within what is asked for, better than one for all, and the same from run to run."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.batch.selection import channel_first
from bitxcore.errors import BitxError
from hwmodel.cli import group
from hwmodel.evaluation.runners import OnnxRunner
from hwmodel.preparation import Budget, prepare_model, search_budgets
from hwmodel.preparation.budget_search import PREPARED

pytest.importorskip("onnxruntime")

BUDGETS = [Budget(ones=ones, sweeps=1) for ones in (1, 2, 3, 4)]


def moved(model, other, batches):
    """Root of the squared error of the outputs, over that of the outputs."""
    both = [
        np.concatenate([OnnxRunner(path).outputs(feeds)[0] for feeds in batches]) for path in (model, other)
    ]
    was, now = (x.astype(np.float64) for x in both)
    return np.linalg.norm(now - was) / np.linalg.norm(was)


def cycles(model):
    """Of a group, over the positions of the network's table."""
    import hwmodel as hw

    network = hw.load_network(model, sizes={"N": 1})
    total = groups = 0
    with bx.open_dump(model) as dump:
        for layer in network.layers:
            tensor = dump[layer.weight]
            ones = bx.essential_bits(channel_first(tensor).turn(tensor.read()))
            for row in ones.reshape(len(ones), -1):
                for at in range(0, len(row), 8):
                    total += max(1, int(row[at : at + 8].max())) * layer.layer.positions
                    groups += layer.layer.positions
    return total / groups


def test_the_least_error_within_cycles(model, batches, tmp_path):
    found = search_budgets(model, batches, BUDGETS, cycles=2)
    assert found.cycles <= 2
    assert found.tried <= 2
    prepare_model(model, batches, tmp_path / "found.onnx", found.budgets.get)
    assert moved(model, tmp_path / "found.onnx", batches) == pytest.approx(found.loss, rel=1e-4)
    assert cycles(tmp_path / "found.onnx") == pytest.approx(found.cycles, rel=0.02)
    prepare_model(model, batches, tmp_path / "same.onnx", BUDGETS[1])
    assert found.loss <= 1.0001 * moved(model, tmp_path / "same.onnx", batches)
    again = search_budgets(model, batches, BUDGETS, cycles=2)
    assert again == found


def test_the_fewest_cycles_within_a_loss(model, batches):
    losses = [search_budgets(model, batches, BUDGETS, loss=loss) for loss in (0.005, 0.02, 1.0)]
    assert all(found.loss <= loss for found, loss in zip(losses, (0.005, 0.02, 1.0), strict=True))
    assert all(found.tried <= PREPARED + 1 for found in losses)
    assert losses[0].cycles > losses[1].cycles > losses[2].cycles
    assert {budget.ones for budget in losses[2].budgets.values()} == {1}


def test_rows_are_found_too(model, batches):
    some = [Budget(ones=2, rows=rows, sweeps=1) for rows in (3, 8)] + [Budget(ones=1, rows=3, sweeps=1)]
    found = search_budgets(model, batches, some, cycles=1.5)
    assert set(found.budgets.values()) <= set(some)
    assert found.cycles <= 1.5


@pytest.mark.parametrize(("options", "text"), [
    ({}, "needs either a loss or cycles"),
    ({"loss": 0.1, "cycles": 2.0}, "needs either a loss or cycles"),
    ({"cycles": 0.5}, "no budgets take 0.5 cycles per group; the least is 1"),
    ({"loss": 1e-9}, "no budgets were found that move the outputs by 1e-07 % at most"),
])  # fmt: skip
def test_what_is_refused(model, batches, options, text):
    with pytest.raises(BitxError, match=text):
        search_budgets(model, batches, BUDGETS[:2], **options)
    with pytest.raises(BitxError, match="needs budgets that a tensor may have"):
        search_budgets(model, batches, [], cycles=2)


def run(*arguments):
    return CliRunner().invoke(group, ["prepare", *map(str, arguments)], terminal_width=80)


def test_the_command_searches_and_changes_channels(tmp_path):
    out, rows = tmp_path / "p.onnx", tmp_path / "rows.json"
    options = ["--task", "digits", "--ones", "1,2,3", "--cycles", "1.8", "--sweeps", "1"]
    found = run(*options, "--equalise", "--permute", "-o", out, "--write-policy", rows, "--json")
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["found"]["cycles"] <= 1.8
    assert {row["ones_max"] for row in document["tensors"]} <= {1, 2, 3}
    assert any(change["done"] for change in document["channels"])
    assert document["float_errors"]["logits"]["relative"] < 1e-5
    origin = json.loads(rows.read_text())["origin"]
    assert (origin["equalised"], origin["permuted"], origin["method"]) == (1, 1, "reconstruct")
    with bx.open_dump(out) as dump:
        for tensor in Selection().choose(dump).tensors:
            assert bx.essential_bits(tensor.read()).max() <= 3


@pytest.mark.parametrize(("options", "text"), [
    (["--ones", "1,2"], "several --ones or --rows need --loss or --cycles, to choose among them"),
    (["--ones", "1,2", "--loss", "1", "--cycles", "2"], "give either --loss or --cycles"),
    ([], "give a budget: --ones, --rows, or both"),
    (["--ones", "2", "--loss", "0"], "--loss"),
])  # fmt: skip
def test_options_that_do_not_fit(tmp_path, options, text):
    found = run("--task", "digits", "-o", tmp_path / "p.onnx", *options)
    assert found.exit_code == 2
    assert text in found.output
    assert not (tmp_path / "p.onnx").exists()
