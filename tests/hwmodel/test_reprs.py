"""What a notebook shows of a result fits on a screen, and says what matters."""

from dataclasses import replace

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.showing import MOST_LINES
from hwmodel.networks.network import Network, NetworkLayer


@pytest.fixture(scope="module")
def load():
    return hw.Workload.of("resnet20-cifar10", weights="normal")


def check(result, *parts):
    text = repr(result)
    lines = text.splitlines()
    assert len(lines) <= MOST_LINES
    assert all(len(line) <= 160 for line in lines)
    for part in parts:
        assert part in text
    return lines


def test_workload_and_network(load):
    check(load, "resnet20-cifar10", "20 layers", "normal, seed 0")
    check(load.network, "40,551,040 MACs", "layer1.0.conv1", "… 4 more", load.network.source)
    check(hw.load_network("densenet201"))


def test_run(load):
    run = hw.simulate_network(["stripes", "dadiannao"], load)
    dense = run.total("dadiannao")
    lines = check(run, "resnet20-cifar10", "dadiannao", f"{dense.cycles:,}", ".to_pandas()")
    assert len(lines) == 5
    (line,) = check(run.layers[1], "conv1", "dadiannao", f"cycles={run.layers[1].cycles}", "bound_by=")
    assert line.startswith("LayerResult(")
    check(dense, "layers=20", f"cycles={dense.cycles}")
    refused = next(r for r in hw.simulate_network("eie", load).layers if r.reason)
    check(refused, f"reason={refused.reason!r}")


def test_comparison(load):
    found = hw.compare(load, accelerators=["dadiannao", "stripes", "eie"])
    check(found, "resnet20-cifar10", "3 machines", "stripes", f"{found.row('stripes').cycles:,}", ".run")
    for row in found.rows:
        check(row)
    check(replace(found, rows=found.rows * 20), "… 44 more")


def test_sweep_and_explanation(load):
    found = hw.sweep(load, {"columns": [1, 2]}, accelerator="dadiannao", jobs=1)
    check(found, "dadiannao", "columns (2)", f"{found.columns['cycles'][1]:,}")
    why = hw.explain("dadiannao", load, effort_s=0.1)
    check(why, f"{why.cycles:,} cycles", why.causes[0].name, why.best().change.words)
    check(why.causes[0])
    check(why.layers[0])


def test_operands(load):
    check(
        hw.Operands(weights=np.zeros((64, 64, 3, 3)), activations=np.zeros((1, 64, 99, 99))), "(64, 64, 3, 3)"
    )
    weights = {e.weight or e.layer.name: np.zeros(e.layer.weight_shape, "f4") for e in load.network.layers}
    check(hw.match_weights(load.network, weights), "Matching(", "unused=()")


def test_names_are_made_harmless():
    evil = "conv\x1b[2J\n\u202e"
    network = Network(evil, (NetworkLayer(hw.Linear(evil, 8, 4)),), source=evil)
    run = hw.simulate_network("dadiannao", network)
    for result in (network, run, run.layers[0], hw.Workload.of(network)):
        assert repr(result).replace("\n", "").isprintable()
        assert r"conv\x1b[2J\n\u202e" in repr(result)
