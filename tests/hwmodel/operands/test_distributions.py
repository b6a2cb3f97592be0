"""Stand-ins: named distributions, drawn by layer name."""

import subprocess
import sys

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import BitxError, TensorError
from hwmodel.operands.distributions import DISTRIBUTIONS, distribution

CONV = hw.Conv("c", in_channels=3, out_channels=5, in_size=(9, 8), kernel=3)
FC = hw.Linear("f", in_features=40, out_features=6, positions=4)
NETWORK = hw.Network(
    "small",
    (
        hw.NetworkLayer(CONV, "c.weight"),
        hw.NetworkLayer(FC, "f.weight"),
        hw.NetworkLayer(hw.MatMul("m", rows=4, inner=6, columns=3, batch=2)),
    ),
    source="a test",
)
NEEDY = ("pragmatic", "laconic", "loom", "shapeshifter", "bit_tactical", "scnn")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_values_are_of_their_distribution(name):
    x = distribution(name).draw("activations", "layer", (40, 100, 50)).astype(np.float64)
    assert x.shape == (40, 100, 50)
    zeros = np.mean(x == 0)
    assert zeros == pytest.approx(0.5 if name == "relu-normal" else 0, abs=0.005)
    some = x[x != 0]
    # Mean, standard deviation and kurtosis of the values that are not 0.
    half = np.sqrt(2 / np.pi)
    mean, std = {"relu-normal": (half, np.sqrt(1 - half**2)), "normal": (0, 1), "laplace": (0, np.sqrt(2)),
                 "uniform": (0, 1 / np.sqrt(3))}[name]  # fmt: skip
    assert some.mean() == pytest.approx(mean, abs=0.02)
    assert some.std() == pytest.approx(std, abs=0.02)
    fourth = np.mean(((some - some.mean()) / some.std()) ** 4)
    expected = {"relu-normal": 3.87, "normal": 3, "laplace": 6, "uniform": 1.8}[name]
    assert fourth == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("zeros", [0, 0.25, 0.6, 1])
def test_share_of_zeros(zeros):
    x = distribution(f"laplace:zeros={zeros},seed=3").draw("weights", "w", (1000, 100))
    assert np.mean(x == 0) == pytest.approx(zeros, abs=0.01)
    assert (x >= 0).all() == (zeros == 1)


def test_a_draw_depends_on_seed_name_and_kind_only():
    a = distribution("relu-normal")
    x = a.draw("activations", "one", (2, 8))
    a.draw("activations", "two", (100,))
    assert np.array_equal(x, a.draw("activations", "one", (2, 8)))
    others = [
        a.draw("activations", "two", (2, 8)),
        a.draw("weights", "one", (2, 8)),
        distribution("relu-normal:seed=1").draw("activations", "one", (2, 8)),
    ]
    assert not any(np.array_equal(x, other) for other in others)
    # More values than a block, in another process, which hashes strings otherwise.
    code = (
        "from hwmodel.operands.distributions import distribution as d;"
        "print(float(d('laplace:zeros=0.1').draw('weights', 'ä', (1 << 20, 2))[-1, -1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = distribution("laplace:zeros=0.1").draw("weights", "ä", (1 << 20, 2))
    assert float(done.stdout) == float(here[-1, -1])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("gauss", "distribution 'gauss' is none of relu-normal, normal, laplace, uniform"),
        ("normal:zeros=2", "zeros must be from 0 to 1, got 2.0"),
        ("normal:zeros=nan", "zeros must be from 0 to 1, got nan"),
        ("normal:seed=-1", "seed must be an integer of at least 0, got -1"),
        ("normal:seed=x", "'seed=x'"),
        ("normal:zero=1", "'zero=1'"),
        ("normal:", "is not of the form"),
    ],
)
def test_bad_texts(text, part):
    with pytest.raises(BitxError, match="^" + ".*".join(["", part.split("(")[0]])):
        distribution(text)


def test_labels():
    assert distribution("normal").label == "normal, seed 0"
    assert distribution("relu-normal:zeros=0.6,seed=4").label == "relu-normal, zeros 0.6, seed 4"
    assert hw.Distribution("normal", 0.5) == distribution("normal:zeros=0.5")


# -- in a run ----------------------------------------------------------------------------------


def test_rows_and_run_say_that_operands_were_drawn():
    machines = [hw.accelerator(name) for name in ("pragmatic", "scnn", "bitx", "dadiannao")]
    run = hw.simulate_network(machines, NETWORK, weights="laplace:zeros=0.5", activations="normal:seed=2")
    synthetic, stand_in = (
        "synthetic weights: laplace, zeros 0.5, seed 0",
        "stand-in activations: normal, seed 2",
    )
    notes = {row.accelerator: row.notes for row in run.layers if row.layer == "c"}
    for name, own in {
        "pragmatic": {stand_in},
        "scnn": {synthetic, stand_in},
        "bitx": {synthetic},
        "dadiannao": set(),
    }.items():
        assert {note for note in notes[name] if "seed" in note} == own
    assert "synthetic weights in 2 layers: laplace, zeros 0.5, seed 0" in run.notes
    assert "stand-in activations in 3 layers: normal, seed 2" in run.notes
    # What a machine does not run has no operands to speak of.
    assert not any("seed" in note for row in run.layers if not row.applicable for note in row.notes)


def test_drawn_operands_are_those_of_the_library():
    drawn = distribution("relu-normal")
    for name in NEEDY:
        machine = hw.accelerator(name)
        run = hw.simulate_network(machine, NETWORK, weights="normal")
        for entry, row in zip(NETWORK.layers, run.layers, strict=True):
            if not row.applicable:
                continue
            layer = entry.layer
            shape = {"c": (1, 3, 9, 8), "f": (4, 40), "m": (2, 4, 6)}[layer.name]
            weights = None
            if layer.has_weights:
                weights = distribution("normal").draw("weights", entry.weight, layer.weight_shape)
            alone = hw.Operands(weights, drawn.draw("activations", layer.name, shape))
            assert row.cycles == hw.simulate(machine, layer, alone).cycles


def test_results_do_not_depend_on_the_other_machines_of_a_run():
    together = hw.simulate_network([hw.accelerator(n) for n in NEEDY], NETWORK, weights="normal")
    for name in NEEDY:
        alone = hw.simulate_network(hw.accelerator(name), NETWORK, weights="normal")
        assert [r.cycles for r in alone.layers] == [r.cycles for r in together.of(name)]


def test_a_trace_comes_first_and_nothing_is_drawn_where_that_is_not_wanted():
    traced = np.zeros((1, 3, 9, 8), np.float32)
    traced[0, 1, 2, 3] = 1
    machine = hw.accelerator("pragmatic")
    run = hw.simulate_network(machine, NETWORK, traces={"c": traced})
    assert run.layers[0].cycles == hw.simulate(machine, CONV, hw.Operands(None, traced)).cycles
    assert [row.notes != () for row in run.layers] == [False, True, True]
    assert "stand-in activations in 2 layers: relu-normal, seed 0" in run.notes
    with pytest.raises(TensorError, match="layer 'f': pragmatic needs activations"):
        hw.simulate_network(machine, NETWORK, traces={"c": traced}, activations=None)


def test_a_dump_comes_before_synthetic_weights():
    weights = {"c.weight": np.ones(CONV.weight_shape, np.float32)}
    machine = hw.accelerator("bitx")
    run = hw.simulate_network(machine, NETWORK, dump=weights, weights="uniform")
    assert run.layers[0].cycles == hw.simulate(machine, CONV, hw.Operands(weights["c.weight"])).cycles
    assert "synthetic weights in 1 layers: uniform, seed 0" in run.notes
    assert not any("synthetic" in note for note in run.layers[0].notes)


def test_drawn_operands_for_other_functions():
    """What `traces=` and `dump=` take anywhere gives the same rows."""
    machine = hw.accelerator("scnn")
    drawn = hw.simulate_network(machine, NETWORK, weights="laplace", activations="normal")
    given = hw.simulate_network(
        machine,
        NETWORK,
        dump=hw.synthetic_weights(NETWORK, "laplace"),
        traces=hw.stand_ins(NETWORK, "normal"),
    )
    assert [r.cycles for r in given.layers] == [r.cycles for r in drawn.layers]
    assert sorted(hw.stand_ins(NETWORK)) == ["c", "f", "m"]
    assert len(hw.synthetic_weights(NETWORK)) == 2


def test_synthetic_weights_are_as_the_tensor_is_stored():
    from bitxcore.groups import Layout

    entry = hw.NetworkLayer(FC, "w", Layout(filter_axis=1))
    network = hw.Network("n", (entry,), source="a test")
    stored = hw.synthetic_weights(network)["w"]
    assert stored.shape == (40, 6)
    assert np.array_equal(entry.read({"w": stored}), distribution("normal").draw("weights", "w", (6, 40)))


@pytest.mark.parametrize("precisions", [None, "profile", 7])
def test_bitx_that_feeds_activations_serially_takes_them_as_they_are(precisions):
    machine = hw.accelerator("bitx", serial="activations")
    run = hw.simulate_network(machine, NETWORK, weights="normal", precisions=precisions)
    assert [row.applicable for row in run.layers] == [True, True, False]
    assert "stand-in activations: relu-normal, seed 0" in run.layers[1].notes
    drawn = distribution("relu-normal").draw("activations", "f", (4, 40))
    weights = distribution("normal").draw("weights", "f.weight", (6, 40))
    alone = hw.simulate(machine, FC, hw.Operands(weights, drawn))
    assert run.layers[1].compute_cycles == alone.compute_cycles
