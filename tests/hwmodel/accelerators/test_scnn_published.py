"""SCNN beside its paper: ``python tests/hwmodel/accelerators/test_scnn_published.py`` prints the table.

Weights and activations are drawn value by value at the densities of each layer in
``data/published/scnn-densities.csv``; speed is that of all layers together over the dense machine of the same
tiles. Nothing is tuned to meet a figure. The tests hold ours to what was found, so that a change is noticed.
"""

import csv
import sys

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.data import data_folder

PUBLISHED = {
    "AlexNet over dense": 2.37,
    "GoogLeNet over dense": 2.19,
    "VGG-16 over dense": 3.52,
    "GoogLeNet over dense, operands dense": 0.79,
    "GoogLeNet over dense, densities 0.1 and 0.1": 24,
}


def densities():
    """Densities of weights and inputs by layer."""
    with (data_folder("published") / "scnn-densities.csv").open(encoding="utf-8") as file:
        return {
            r["layer"]: (float(r["weight_density"]), float(r["input_density"])) for r in csv.DictReader(file)
        }


def convolutions(name):
    """Convolutions of a network, each with its rows of the table: one, or one for each half."""
    layers = [e.layer for e in hw.load_network(name).layers if isinstance(e.layer, hw.Conv)]
    if name == "googlenet":
        # The paper has the inception modules only.
        return [(x, [x.name.replace("/", "-")]) for x in layers if x.name.startswith("inception")]
    if name == "vgg16":
        return [(x, [row]) for x, row in zip(layers, [r for r in densities() if r[:3] == "VGG"], strict=True)]
    rows = [["conv1"], ["conv2_1", "conv2_2"], ["conv3"], ["conv4"], ["conv5"]]
    return [(x, [f"ALEX_{r}" for r in of]) for x, of in zip(layers, rows, strict=True)]


def drawn(rng, layer, parts):
    """Operands of a layer whose equal parts have the given densities of weights and inputs."""
    n = len(parts)
    shape = (layer.weight_shape[0] // n, *layer.weight_shape[1:])
    w = np.concatenate([rng.random(shape) < weights for weights, _ in parts])
    a = np.concatenate([rng.random(layer.input_count // n) < inputs for _, inputs in parts])
    return hw.Operands(w.astype(np.int8), a.astype(np.int8))


def cycles(machine, layers, seed=0):
    """Cycles of all layers; `layers`: pairs of a layer and the densities of its parts."""
    rng = np.random.default_rng(seed)
    return sum(machine.run(layer, drawn(rng, layer, parts)).cycles for layer, parts in layers)


def gain(layers, **options):
    """Speed of SCNN over the dense machine."""
    sparse, dense = (
        hw.accelerator("scnn", rules="paper", dram=None, **options, multiplies=which)
        for which in ("nonzero", "dense")
    )
    return cycles(dense, layers) / cycles(sparse, layers)


def of_paper(name):
    table = densities()
    return [(layer, [table[row] for row in rows]) for layer, rows in convolutions(name)]


def gains(**options):
    """Our figures by the names of `PUBLISHED`."""

    def of_all(weights, inputs):
        return [(layer, [(weights, inputs)]) for layer, _ in convolutions("googlenet")]

    ours = (
        gain(layers, **options)
        for layers in (
            of_paper("alexnet-grouped"),
            of_paper("googlenet"),
            of_paper("vgg16"),
            of_all(1, 1),
            of_all(0.1, 0.1),
        )
    )
    return dict(zip(PUBLISHED, ours, strict=True))


def test_the_table_has_the_layers_of_the_paper():
    rows = [
        row
        for name in ("alexnet-grouped", "googlenet", "vgg16")
        for _, of in convolutions(name)
        for row in of
    ]
    assert sorted(rows) == sorted(densities())
    # With conv2 of AlexNet counted once.
    assert len(rows) - 1 == 72


def test_alexnet_over_the_dense_machine():
    assert gain(of_paper("alexnet-grouped")) == pytest.approx(2.32, abs=0.02)


@pytest.mark.slow
def test_gains_over_the_dense_machine():
    ours = gains()
    assert list(ours.values()) == pytest.approx([2.32, 2.10, 3.96, 0.72, 15.2], rel=0.01)


def main():
    # Options as arguments: ``queue_depth=8``.
    options = dict(argument.split("=") for argument in sys.argv[1:])
    options = {name: int(value) if value.isdigit() else value for name, value in options.items()}
    print(f"{'':44} {'published':>9} {'ours':>6} {'ratio':>6}")
    for name, ours in gains(**options).items():
        print(f"{name:44} {PUBLISHED[name]:9.2f} {ours:6.2f} {ours / PUBLISHED[name]:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
