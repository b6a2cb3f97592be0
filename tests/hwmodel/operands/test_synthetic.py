"""Arrays that are drawn when they are asked for."""

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import OptionError
from hwmodel.operands.synthetic import Drawn

CONV = hw.Conv("c", in_channels=2, out_channels=3, in_size=(4, 5), kernel=3)
PRODUCT = hw.MatMul("m", rows=2, inner=3, columns=4, batch=5)
NETWORK = hw.Network(
    "n",
    (
        hw.NetworkLayer(CONV, "c.weight"),
        hw.NetworkLayer(hw.Linear("a", 6, 4), "shared"),
        hw.NetworkLayer(hw.Linear("b", 6, 4), "shared"),
        hw.NetworkLayer(hw.Linear("gates", 6, 4), "stack", index=1),
        hw.NetworkLayer(PRODUCT),
    ),
    source="a test",
)


def test_every_layer_has_activations_of_its_shape():
    drawn = hw.stand_ins(NETWORK, "uniform")
    assert list(drawn) == ["c", "a", "b", "gates", "m"]
    assert len(drawn) == 5
    assert drawn["c"].shape == (1, 2, 4, 5)
    assert drawn["a"].shape == (1, 6)
    assert drawn["m"].shape == (5, 2, 3)
    assert "c.weight" not in drawn
    with pytest.raises(KeyError):
        drawn["none"]


def test_a_trace_takes_the_place_of_a_draw():
    trace = np.arange(6.0).reshape(1, 6)
    drawn = hw.stand_ins(NETWORK, "uniform", {"a": trace})
    assert drawn["a"] is trace
    assert np.array_equal(drawn["b"], hw.stand_ins(NETWORK, "uniform")["b"])


def test_weights_by_tensor_and_none_of_a_stack():
    drawn = hw.synthetic_weights(NETWORK, "laplace:zeros=0.5")
    assert sorted(drawn) == ["c.weight", "shared"]
    assert drawn["c.weight"].shape == CONV.weight_shape
    # Layers that share a tensor get the same values.
    entries = {entry.layer.name: entry for entry in NETWORK.layers}
    assert np.array_equal(entries["a"].read(drawn), entries["b"].read(drawn))


def test_nothing_is_kept():
    made = []

    def make(entry):
        made.append(entry.layer.name)
        return np.zeros(1)

    drawn = Drawn({"x": NETWORK.layers[0]}, make)
    assert "x" in drawn
    assert made == []
    assert drawn["x"] is not drawn["x"]
    assert made == ["c", "c"]


def test_a_distribution_that_is_not_known():
    for draw in (hw.stand_ins, hw.synthetic_weights):
        with pytest.raises(OptionError, match="'gauss' is none of") as raised:
            draw(NETWORK, "gauss")
        assert raised.value.value == "gauss"
