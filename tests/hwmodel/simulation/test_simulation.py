"""Operands, runs over networks, totals, and what reaches the store."""

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.store import Store

RNG = np.random.default_rng(5)
LAYER = hw.Conv("c", in_channels=4, out_channels=6, in_size=(8, 8), kernel=3)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("layer", "operands", "message"),
    [
        (LAYER, {"weights": floats(6, 4, 3)}, r"must have shape \(6, 4, 3, 3\), got \(6, 4, 3\)"),
        (LAYER, {"activations": floats(4, 8)}, "must have 256 values, got 32"),
        (
            hw.Linear("l", 2, 2),
            {"weights": np.array([[1, 2], [3, -9]], np.int8), "weight_bits": 4},
            r"weights \[3\] = -9 does not fit 4 bits",
        ),
        (
            hw.MatMul("m", 2, 2, 2),
            {"weights": floats(3, 2)},
            "a second operand, in the place of weights, must have shape",
        ),
    ],
)
def test_operands_must_fit_the_layer(layer, operands, message):
    with pytest.raises(TensorError, match=message):
        hw.simulate(hw.accelerator("dadiannao"), layer, hw.Operands(**operands))


def test_a_precision_that_can_not_be():
    with pytest.raises(OptionError, match="weights precision must be 1 to 64 bits, got 0") as raised:
        hw.simulate(hw.accelerator("dadiannao"), LAYER, hw.Operands(weight_bits=0))
    assert (raised.value.layer, raised.value.value) == ("c", 0)


def test_precisions_at_their_limits():
    layer = hw.Linear("l", 2, 1)
    for values, bits in (([-8, 7], 4), ([0, 15], 4), ([0, 0], 1)):
        hw.Operands(np.array([values], np.int16), weight_bits=bits).check(layer)
    for values in ([-9, 0], [-1, 8], [0, 16]):
        with pytest.raises(TensorError, match="does not fit 4 bits"):
            hw.Operands(np.array([values], np.int16), weight_bits=4).check(layer)


def test_a_linear_takes_weights_of_any_shape_of_its_size():
    r = hw.simulate(hw.accelerator("bitx"), hw.Linear("l", 36, 6), hw.Operands(floats(6, 4, 3, 3)))
    assert r.groups == 6 * 5


def test_missing_weights_and_bad_values_name_the_layer():
    acc = hw.accelerator("bitx")
    with pytest.raises(TensorError, match="layer 'c': bitx needs weights"):
        hw.simulate(acc, LAYER)
    bad = floats(6, 4, 3, 3)
    bad[2, 1, 0, 0] = np.nan
    with pytest.raises(TensorError, match=r"layer 'c'.*81"):
        hw.simulate(acc, LAYER, hw.Operands(bad))


WEIGHTS = {"c.w": floats(6, 4, 3, 3), "l.w": floats(5, 96)}


@pytest.fixture
def network():
    return hw.Network(
        "small",
        (
            hw.NetworkLayer(LAYER, "c.w"),
            hw.NetworkLayer(hw.MatMul("qk", rows=4, inner=8, columns=4)),
            hw.NetworkLayer(hw.Linear("l", 96, 5), "l.w", notes=("a note",)),
            hw.NetworkLayer(hw.Linear("late", 5, 5), weight_missing="the weights are computed at run time"),
        ),
        source="a test",
        not_simulated=(hw.NotSimulated("Relu", 2, "element-wise"),),
    )


MACHINES = [hw.accelerator("bitx"), hw.accelerator("bitx", rows=3), hw.accelerator("dadiannao")]


def test_a_network_on_several_machines(network):
    seen = []
    run = hw.simulate_network(MACHINES, network, dump=WEIGHTS, progress=lambda *p: seen.append(p))
    assert run.accelerators == ("bitx", "bitx(rows=3)", "dadiannao")
    assert seen == [(0, 4, "c"), (1, 4, "qk"), (2, 4, "l"), (3, 4, "late"), (4, 4, "")]
    assert len(run.layers) == 12
    bitx = run.of("bitx")
    assert [r.applicable for r in bitx] == [True, False, True, False]
    assert bitx[3].reason == "the weights are computed at run time"
    assert bitx[2].notes == ("a note",)
    for row, layer, key in ((0, LAYER, "c.w"), (2, hw.Linear("l", 96, 5), "l.w")):
        alone = hw.simulate(MACHINES[0], layer, hw.Operands(WEIGHTS[key]))
        assert bitx[row].cycles == alone.cycles
    total = run.total("bitx")
    assert (total.layers, total.not_applicable) == (2, 2)
    assert total.cycles == bitx[0].cycles + bitx[2].cycles
    assert total.macs == LAYER.macs + 480
    assert total.unpruned_cycles == sum(r.unpruned_cycles for r in bitx if r.applicable)
    assert total.speedup_over_unpruned == total.unpruned_cycles / total.cycles
    assert 0 < total.utilisation <= 1
    assert run.total("dadiannao").layers == 4
    assert run.total("dadiannao").speedup_over_all_rows is None
    assert run.total("bitx(rows=3)").cycles <= total.cycles
    assert run.not_simulated == network.not_simulated
    # Layers that one of the two does not run are left out of both sides.
    dense = run.of("dadiannao")
    assert run.speedup("bitx", over="dadiannao") == (dense[0].cycles + dense[2].cycles) / total.cycles
    with pytest.raises(OptionError, match=r"'x' is not in this run; it has bitx, bitx\(rows=3\)"):
        run.of("x")


def test_a_machine_that_ignores_weights_needs_none(network):
    run = hw.simulate_network(hw.accelerator("dadiannao"), network)
    assert all(r.applicable for r in run.layers)
    assert run.totals[0].macs == network.macs


def test_what_is_missing_is_named(network):
    with pytest.raises(TensorError, match="network 'small': bitx needs weights"):
        hw.simulate_network(MACHINES, network)
    with pytest.raises(TensorError, match=r"tensor 'l.w': layer 'l': is not in the dump \(1 of 2 "):
        hw.simulate_network(MACHINES, network, dump={"c.w": WEIGHTS["c.w"]})
    with pytest.raises(TensorError, match=r"tensor 'c.w'.*needs weights of shape"):
        hw.simulate_network(MACHINES, network, dump=WEIGHTS | {"c.w": floats(6, 4, 9)})
    with pytest.raises(OptionError, match="at least one accelerator"):
        hw.simulate_network([], network)
    with pytest.raises(OptionError, match="given twice"):
        hw.simulate_network([MACHINES[0]] * 2, network, dump=WEIGHTS)
    with pytest.raises(OptionError, match="no layer 'x'"):
        hw.simulate_network(MACHINES, network, dump=WEIGHTS, traces={"x": floats(1)})


def test_weights_from_a_file(network, tmp_path):
    path = tmp_path / "w.npz"
    np.savez(path, **WEIGHTS)
    run = hw.simulate_network(MACHINES, network, dump=path, store=tmp_path / "run.h5")
    assert run == hw.simulate_network(MACHINES, network, dump=WEIGHTS)
    with Store.open(tmp_path / "run.h5") as store:
        provenance = store.provenance
        assert provenance.inputs[0].path == str(path)
        assert provenance.parameters["accelerators"]["bitx(rows=3)"]["rows"] == 3
    with pytest.raises(DumpError):
        hw.simulate_network(MACHINES, network, dump=tmp_path / "none.npz")


def test_rows_reach_the_store(network, tmp_path):
    path = tmp_path / "run.h5"
    run = hw.simulate_network(MACHINES, network, dump=WEIGHTS, store=path)
    with Store.open(path) as store:
        rows = store.table("simulation")
        assert list(rows["layer"]) == [r.layer for r in run.layers]
        cycles = np.ma.filled(rows["cycles"], -1).tolist()
        assert cycles == [-1 if r.cycles is None else r.cycles for r in run.layers]
        assert list(rows["reason"]) == [r.reason for r in run.layers]
        assert store.units("simulation")["cycles"] == "cycles"
        totals = store.table("networks")
        assert totals["cycles"].tolist() == [t.cycles for t in run.totals]
        assert store.table("not_simulated")["operation"].tolist() == ["Relu"]
        kept = store.table("kept_rows")
        groups = sum(r.groups for r in run.layers if r.groups)
        assert int(np.sum(kept["groups"])) == groups
