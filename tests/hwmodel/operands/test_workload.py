"""Workloads: what does not go together or is of no use is refused in one line."""

import pickle

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.operands.opening import SurplusError


@pytest.mark.parametrize(("call", "text"), [
    (lambda: hw.Workload.of(None), "network must be a network, its name or its path, got None"),
    (lambda: hw.Workload.of(3), "network must be .*, got 3"),
    (lambda: hw.Workload.of(""), "network ''"),
    (lambda: hw.Workload.of("resnet18", weights=3), "weights must be a dump, a mapping or a path, got 3"),
    (lambda: hw.Workload.of("resnet18", traces=[1]), "traces must be"),
    (lambda: hw.Workload.of("resnet18", activations=3), "activations must be a distribution or its text"),
    (lambda: hw.Workload.of("resnet18", precisions={"conv1": 8}), "precisions: layer 'conv1': .*got 8"),
    (lambda: hw.Workload(network="resnet18"), "network must be a hwmodel.Network"),
    (lambda: hw.Workload(network=hw.load_network("resnet18"), stand_ins="normal"), "stand_ins must be"),
    (lambda: hw.profile_precisions(hw.Workload.of("resnet18"), dump="x.npz"), "nothing else may be given"),
])  # fmt: skip
def test_bad_workloads(call, text):
    with pytest.raises(OptionError, match=text):
        call()


def test_profiles_take_stand_ins_only_where_they_are_asked_for():
    net = hw.load_network("resnet20-cifar10")
    plain = hw.profile_precisions(net, weights="normal")
    assert plain == hw.profile_precisions(hw.Workload.of(net, weights="normal"))
    assert all(p.activation_bits is None and p.weight_bits for p in plain.values())
    drawn = hw.profile_precisions(hw.Workload.of(net, weights="normal"), activations="relu-normal")
    assert all(p.activation_bits for p in drawn.values())


def test_the_record_says_where_operands_come_from(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones((2, 2), np.float32))
    load = hw.Workload.of("resnet18", dump=tmp_path / "w.npz", activations=None)
    assert load.record == {
        "network": "resnet18",
        "weights": str(tmp_path / "w.npz"),
        "traces": None,
        "synthetic_weights": None,
        "stand_ins": None,
    }
    drawn = hw.Workload.of("resnet18", traces={}, weights="laplace").record
    assert (drawn["traces"], drawn["synthetic_weights"]) == ("arrays in memory", "laplace, seed 0")


def test_missing_weights_have_their_place(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones((2, 2), np.float32))
    with pytest.raises(TensorError) as caught:
        hw.simulate_network("bitx", "resnet20-cifar10", dump=tmp_path / "w.npz")
    error = caught.value
    assert str(error.path) == str(tmp_path / "w.npz")
    assert (error.tensor, error.layer) == ("conv1.weight", "conv1")
    assert "20 of 20 weights" in error.message


def test_needs_name_a_machine_once():
    machines = [hw.accelerators.BitX(rows=r) for r in (3, 4)]
    with pytest.raises(TensorError, match="'resnet18': bitx needs weights"):
        hw.simulate_network(machines, "resnet18")


def test_a_surplus_error_keeps_its_path():
    error = SurplusError(("positions",), "is for dumps")
    error.path = "a.npz"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.options) == (str(error), "a.npz", ("positions",))
