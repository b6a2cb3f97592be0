"""ONNX graphs, tables and bare dumps as networks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from onnx import TensorProto as T

import hwmodel as hw
from bitxcore.dumps.base import Dump, Tensor
from bitxcore.errors import DumpError, OptionError, TensorError
from bitxcore.groups import Layout

RNG = np.random.default_rng(7)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def model_file(path, nodes, inputs, outputs, stored, opset=17, **graph):
    tensors = [onnx.numpy_helper.from_array(v, k) for k, v in stored.items()]
    g = oh.make_graph(
        nodes,
        "g",
        [oh.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        tensors,
        **graph,
    )
    imports = [oh.make_opsetid("", opset), oh.make_opsetid("com.microsoft", 1), oh.make_opsetid("other", 1)]
    onnx.save(oh.make_model(g, opset_imports=imports, ir_version=10), path)
    return path


@pytest.fixture
def save(tmp_path):
    def save(nodes, stored, inputs=(("x", T.FLOAT, [1, 4, 8, 8]),), outputs=("y",), **options):
        return model_file(tmp_path / "m.onnx", nodes, inputs, outputs, stored, **options)

    return save


def only(network):
    assert len(network.layers) == 1
    return network.layers[0]


@pytest.mark.parametrize(
    ("attributes", "arguments"),
    [
        ({}, {}),
        ({"strides": [2, 1], "pads": [0, 1, 1, 2]}, {"stride": (2, 1), "padding": ((0, 1), (1, 2))}),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"stride": (2, 2), "padding": ((0, 1), (0, 1))}),
        ({"auto_pad": "SAME_LOWER", "strides": [2, 2]}, {"stride": (2, 2), "padding": ((1, 0), (1, 0))}),
        ({"auto_pad": "VALID", "dilations": [2, 1]}, {"dilation": (2, 1)}),
        ({"group": 2}, {"groups": 2}),
    ],
)
def test_conv(save, attributes, arguments):
    w = floats(6, 4 // attributes.get("group", 1), 3, 3)
    path = save([oh.make_node("Conv", ["x", "w"], ["y"], name="c", **attributes)], {"w": w})
    entry = only(hw.load_network(path))
    expected = hw.Conv("c", in_channels=4, out_channels=6, in_size=(8, 8), kernel=(3, 3), **arguments)
    assert entry.layer == expected
    assert entry.weight == "w"
    np.testing.assert_array_equal(entry.read({"w": w}), w)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 0, 1, 0], "output_padding": [1, 0]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "output_shape": [15, 16]},
        {"strides": [3, 3], "output_shape": [25, 25]},
    ],
)
def test_conv_transpose_turns_its_weights(save, attributes, groups):
    w = floats(4, 3, 3, 3)
    node = oh.make_node("ConvTranspose", ["x", "w"], ["y"], name="t", group=groups, **attributes)
    entry = only(hw.load_network(save([node], {"w": w})))
    assert entry.layer.out_channels == 3 * groups
    turned = entry.read({"w": w})
    assert turned.shape == entry.layer.weight_shape
    for f in range(3 * groups):
        group, channel = divmod(f, 3)
        expected = w[group * (4 // groups) : (group + 1) * (4 // groups), channel]
        np.testing.assert_array_equal(turned[f], expected)


@pytest.mark.parametrize("flips", [0, 1])
def test_gemm(save, flips):
    w = floats(5, 7)  # 7 outputs, or 5 if flipped
    node = oh.make_node("Gemm", ["x", "w"], ["y"], name="fc", transB=flips)
    path = save([node], {"w": w}, inputs=[("x", T.FLOAT, [3, 7 if flips else 5])])
    entry = only(hw.load_network(path))
    inner, outer = (7, 5) if flips else (5, 7)
    assert entry.layer == hw.Linear("fc", in_features=inner, out_features=outer, positions=3)
    np.testing.assert_array_equal(entry.read({"w": w}), w if flips else w.T)


def test_matmul_of_every_kind(save):
    stored = {"w": floats(8, 3), "left": floats(5, 8), "stack": floats(4, 8, 2), "v": floats(8)}
    nodes = [
        oh.make_node("MatMul", ["x", "w"], ["a"]),
        oh.make_node("MatMul", ["left", "x"], ["b"]),
        oh.make_node("MatMul", ["x", "stack"], ["c"]),
        oh.make_node("MatMul", ["x", "v"], ["d"]),
        oh.make_node("MatMul", ["x", "x"], ["e"]),
        oh.make_node("MatMul", ["left", "w"], ["f"]),
    ]
    path = save(nodes, stored, outputs=list("abcdef"))
    network = hw.load_network(path)
    layers = {e.layer.name: e for e in network.layers}
    assert layers["a"].layer == hw.Linear("a", in_features=8, out_features=3, positions=32)
    assert layers["b"].layer == hw.Linear("b", in_features=8, out_features=5, positions=32)
    assert [layers[f"c[{i}]"].layer.positions for i in range(4)] == [8] * 4
    assert layers["d"].layer == hw.Linear("d", in_features=8, out_features=1, positions=32)
    assert layers["e"].layer == hw.MatMul("e", rows=8, inner=8, columns=8, batch=4)
    np.testing.assert_array_equal(layers["a"].read(stored), stored["w"].T)
    np.testing.assert_array_equal(layers["b"].read(stored), stored["left"])
    np.testing.assert_array_equal(layers["c[2]"].read(stored), stored["stack"][2].T)
    np.testing.assert_array_equal(layers["d"].read(stored).reshape(-1), stored["v"])
    reasons = {(n.operation, n.reason) for n in network.not_simulated}
    assert reasons == {("MatMul", "computed from constants before run time")}
    # x (4 products of 8x8 with 8x8): all layers' multiply-accumulates by hand.
    assert network.macs == 32 * 8 * (3 + 5 + 2 + 1 + 8)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers(save, kind, gates, direction):
    d = 1 if direction == "forward" else 2
    stored = {"w": floats(d, gates * 6, 5), "r": floats(d, gates * 6, 6)}
    node = oh.make_node(kind, ["x", "w", "r"], ["y"], name="rnn", hidden_size=6, direction=direction)
    network = hw.load_network(save([node], stored, inputs=[("x", T.FLOAT, [9, 2, 5])]))
    assert len(network) == 2 * d
    last = network.layers[-1]
    assert last.layer.steps == 9
    assert (last.layer.in_features, last.layer.out_features, last.layer.positions) == (6, gates * 6, 18)
    np.testing.assert_array_equal(last.read(stored), stored["r"][d - 1])
    np.testing.assert_array_equal(network.layers[0].read(stored), stored["w"][0])
    assert network.macs == d * 18 * gates * 6 * (5 + 6)


def test_quantised_operators(save):
    stored = {
        "w": RNG.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
        "m": RNG.integers(0, 255, (8, 3)).astype(np.uint8),
        "s": np.float32(0.1),
        "zx": np.uint8(3),
        "zw": np.int8(0),
        "zm": np.uint8(128),
    }
    nodes = [
        oh.make_node("QuantizeLinear", ["x", "s", "zx"], ["q"]),
        oh.make_node("ConvInteger", ["q", "w", "zx", "zw"], ["ci"]),
        oh.make_node("QLinearConv", ["q", "s", "zx", "w", "s", "zw", "s", "zx"], ["qc"]),
        oh.make_node("MatMulInteger", ["q", "m", "zx", "zm"], ["mi"]),
        oh.make_node("DequantizeLinear", ["w", "s", "zw"], ["dw"]),
        oh.make_node("Conv", ["x", "dw"], ["dc"]),
    ]
    network = hw.load_network(save(nodes, stored, outputs=["ci", "qc", "mi", "dc"]))
    found = {e.layer.name: e for e in network.layers}
    assert set(found) == {"ci", "qc", "mi", "dc"}
    assert [found[n].weight for n in ("ci", "qc", "mi", "dc")] == ["w", "w", "m", "w"]
    assert not any(found[n].notes for n in found)
    m = stored["m"].astype(int) - 128
    assert np.array_equal(found["mi"].read(stored), m.T)
    assert all(np.array_equal(found[n].read(stored), stored["w"]) for n in ("ci", "qc", "dc"))
    assert network.parameters == 6 * 36 + 24  # a shared tensor counts once


def test_weights_behind_a_transpose_and_in_a_constant_node(save):
    w = floats(3, 8)
    nodes = [
        oh.make_node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(w)),
        oh.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        oh.make_node("MatMul", ["x", "wt"], ["y"]),
    ]
    entry = only(hw.load_network(save(nodes, {})))
    assert (entry.weight, entry.layout) == ("w", Layout(0))
    np.testing.assert_array_equal(entry.read({"w": w}), w)


def test_weights_that_are_no_stored_tensor_stay_layers(save):
    nodes = [
        oh.make_node("Mul", ["w", "w"], ["w2"]),
        oh.make_node("Conv", ["x", "w2"], ["a"]),
        oh.make_node("Mul", ["w", "z"], ["w3"]),
        oh.make_node("Conv", ["x", "w3"], ["b"]),
    ]
    inputs = [("x", T.FLOAT, [1, 4, 8, 8]), ("z", T.FLOAT, [1])]
    network = hw.load_network(save(nodes, {"w": floats(2, 4, 3, 3)}, inputs=inputs, outputs=["a", "b"]))
    missing = [e.weight_missing for e in network.layers]
    assert missing == [
        "the weights are computed from constants by Mul",
        "the weights are computed at run time",
    ]


def test_what_is_not_simulated_is_listed(save):
    branch = oh.make_graph(
        [oh.make_node("MatMul", ["x", "x"], ["r"])], "b", [], [oh.make_tensor_value_info("r", T.FLOAT, None)]
    )
    nodes = [
        oh.make_node("Relu", ["x"], ["a"]),
        oh.make_node("Relu", ["a"], ["b"]),
        oh.make_node("Einsum", ["b", "b"], ["c"], equation="abcd,abcd->abcd"),
        oh.make_node("If", ["k"], ["d"], then_branch=branch, else_branch=branch),
        oh.make_node("Strange", ["c"], ["y"], domain="other"),
    ]
    inputs = [("x", T.FLOAT, [1, 4, 8, 8]), ("k", T.BOOL, [])]
    network = hw.load_network(save(nodes, {}, inputs=inputs, outputs=["y", "d"]))
    assert [layer.name for layer in network] == ["r"]
    found = {n.operation: (n.count, n.multiplies) for n in network.not_simulated}
    assert found == {"Relu": (2, False), "Einsum": (1, True), "If": (1, False), "Strange": (1, True)}
    assert "one branch" in next(n.reason for n in network.not_simulated if n.operation == "If")


def test_nodes_of_the_same_name_become_two_layers(save):
    nodes = [
        oh.make_node("Conv", ["x", "w"], ["a"], name="c"),
        oh.make_node("Conv", ["a", "w"], ["y"], name="c"),
    ]
    network = hw.load_network(save(nodes, {"w": floats(4, 4, 3, 3)}))
    assert [layer.name for layer in network] == ["c", "c#2"]


DYNAMIC = [("x", T.FLOAT, ["batch", 4, None, None])]


def test_dynamic_dimensions(save):
    path = save([oh.make_node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 4, 3, 3)}, inputs=DYNAMIC)
    layer = only(hw.load_network(path, input_size=(2, 4, 10, 12))).layer
    assert (layer.batch, layer.in_size) == (2, (10, 12))
    assert only(hw.load_network(path, input_size={"x": (2, 4, 10, 12)})).layer == layer
    assert only(hw.load_network(path, sizes={"batch": 2, "x.2": 10, "x.3": 12})).layer == layer
    assert only(hw.load_network(path, sizes={"x.0": 2, "x.2": 10, "x.3": 12})).layer == layer
    both = (
        r"dynamic dimensions '\?' \(axis 2\), '\?' \(axis 3\);"
        r" set them with sizes={'x.2': …, 'x.3': …} or input_size={'x': \(1, 4, …, …\)}"
    )
    with pytest.raises(OptionError, match=both):
        hw.load_network(path)
    with pytest.raises(OptionError, match=r"dynamic dimensions '\?' \(axis 2\)"):
        hw.load_network(path, sizes={"batch": 1})
    with pytest.raises(OptionError, match="axis 1: size 3 is asked for, 4 is needed"):
        hw.load_network(path, input_size=(1, 3, 8, 8))
    with pytest.raises(OptionError, match="4 dimensions"):
        hw.load_network(path, input_size=(1, 4, 8))
    with pytest.raises(OptionError, match="no input 'z'; it has x"):
        hw.load_network(path, input_size={"z": (1,)})
    with pytest.raises(OptionError, match="no dynamic dimension is called 'bach'; there are batch"):
        hw.load_network(path, input_size=(1, 4, 8, 8), sizes={"bach": 1})


def test_an_open_batch_is_one_and_noted(save):
    inputs = [("x", T.FLOAT, ["batch", 4, 8, 8])]
    network = hw.load_network(
        save([oh.make_node("Conv", ["x", "w"], ["y"])], {"w": floats(2, 4, 3, 3)}, inputs=inputs)
    )
    assert only(network).layer.batch == 1
    assert network.notes == ("the batch dimension 'batch' is open: 1 was assumed",)


def test_a_batch_that_is_called_so_is_found_on_any_axis(save):
    nodes, weights = [oh.make_node("MatMul", ["x", "w"], ["y"])], {"w": floats(8, 3)}
    path = save(nodes, weights, inputs=[("x", T.FLOAT, ["length", "batch_size", 8])])
    with pytest.raises(OptionError, match=r"the dynamic dimension 'length' \(axis 0\); set it with"):
        hw.load_network(path)
    network = hw.load_network(path, sizes={"length": 5})
    assert only(network).layer.positions == 5
    assert network.notes == ("the batch dimension 'batch_size' is open: 1 was assumed",)


def test_sizes_that_do_not_fit_the_graph(save):
    nodes = [oh.make_node("MatMul", ["x", "w"], ["y"])]
    path = save(nodes, {"w": floats(8, 3)}, inputs=[("x", T.FLOAT, ["n", "k"])])
    assert only(hw.load_network(path, sizes={"n": 5, "k": 8})).layer.positions == 5
    with pytest.raises(TensorError, match=r"shapes can't be inferred|no shape for"):
        hw.load_network(path, sizes={"n": 5, "k": 9})


def test_shapes_known_at_run_time_only(save):
    nodes = [
        oh.make_node("NonZero", ["ones"], ["n"]),  # inference can't tell how many there are
        oh.make_node("ReduceMax", ["n"], ["side"], keepdims=1, axes=[1]),
        oh.make_node("Squeeze", ["side"], ["s"]),
        oh.make_node("Add", ["s", "one"], ["s1"]),
        oh.make_node("Reshape", ["s1", "vector"], ["s2"]),
        oh.make_node("Concat", ["head", "s2", "tail"], ["shape"], axis=0),
        oh.make_node("Reshape", ["x", "shape"], ["r"]),
        oh.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    stored = {
        "ones": np.ones(8, np.float32),
        "one": np.int64(1),
        "vector": np.array([1]),
        "head": np.array([1, 4]),
        "tail": np.array([8]),
        "w": floats(8, 3),
    }
    network = hw.load_network(save(nodes, stored))
    assert only(network).layer == hw.Linear("y", in_features=8, out_features=3, positions=32)
    assert network.notes == ("some shapes were read off a run on zeros with ONNX Runtime",)


def test_local_functions_are_inlined(tmp_path):
    function = oh.make_function(
        "other",
        "F",
        ["a", "b"],
        ["c"],
        [oh.make_node("MatMul", ["a", "b"], ["c"])],
        [oh.make_opsetid("", 17)],
    )
    graph = oh.make_graph(
        [oh.make_node("F", ["x", "w"], ["y"], domain="other")],
        "g",
        [oh.make_tensor_value_info("x", T.FLOAT, [2, 8])],
        [oh.make_tensor_value_info("y", T.FLOAT, None)],
        [onnx.numpy_helper.from_array(floats(8, 3), "w")],
    )
    imports = [oh.make_opsetid("", 17), oh.make_opsetid("other", 1)]
    path = tmp_path / "f.onnx"
    onnx.save(oh.make_model(graph, functions=[function], opset_imports=imports, ir_version=10), path)
    assert only(hw.load_network(path)).weight == "w"


def test_damaged_files(tmp_path):
    path = tmp_path / "bad.onnx"
    with pytest.raises(DumpError, match="No such file"):
        hw.load_network(path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(DumpError, match=r"bad\.onnx: is no ONNX model"):
        hw.load_network(path)
    path.write_bytes(b"")
    with pytest.raises(DumpError, match="its graph has no nodes"):
        hw.load_network(path)
    table = tmp_path / "bad.json"
    for text, message in (("{", "is not JSON"), ("[]", "no table"), ('{"version": 9}', "version 9")):
        table.write_text(text)
        with pytest.raises(DumpError, match=message):
            hw.load_network(table)
    with pytest.raises(OptionError, match=r"'nonet' is neither a file.*efficientnet-lite0"):
        hw.load_network("nonet")
    with pytest.raises(OptionError, match="ONNX graphs only"):
        hw.load_network("minilm-l6", input_size=(1,))


class Stored(Tensor):
    def __init__(self, name, values, **kind):
        super().__init__(name, values.shape, values.dtype, **kind)
        self.values = values

    def read(self):
        return self.values


def test_a_dump_without_shapes(tmp_path):
    tensors = [
        Stored("conv.weight", floats(8, 4, 3, 3)),
        Stored("conv.bias", floats(8)),
        Stored("matrix", floats(5, 7), layout=Layout(1), is_weight=True),
        Stored("vector", floats(6), is_weight=True),
        Stored("embeddings.table", floats(9, 4)),
        Stored("ids", np.zeros((1, 4), np.int64)),
        Stored("scale", floats(3, 3), is_weight=False),
    ]
    dump = Dump(tmp_path / "weights.npz", "npz", {t.name: t for t in tensors})
    network = hw.network_from_dump(dump, positions=49, exclude=["*embeddings*"])
    assert [(x.name, x.in_features, x.out_features) for x in network] == [
        ("conv.weight", 36, 8),
        ("matrix", 5, 7),
        ("vector", 6, 1),
    ]
    assert all(x.positions == 49 for x in network)
    assert "49 output position(s) assumed" in network.notes[0]
    assert network.name == "weights"
    reasons = {n.reason: n.count for n in network.not_simulated}
    assert reasons == {
        "no weights of a layer": 2,
        "excluded by name": 1,
        "dtype int64 has no number format": 1,
    }
    for entry in network.layers:
        turned = entry.read(dump)
        hw.Operands(turned).check(entry.layer)


def test_two_layers_of_one_name_are_refused():
    layer = hw.NetworkLayer(hw.Linear("a", 1, 1))
    with pytest.raises(TensorError, match="two layers called 'a'"):
        hw.Network("n", (layer, layer), "here")


def test_the_weights_must_fit_the_layer():
    entry = hw.NetworkLayer(hw.Linear("a", 4, 3), "w", Layout(1))
    with pytest.raises(TensorError, match=r"'w'.*\(3, 4, 1\).*gives \(4, 3\)"):
        hw.NetworkLayer(hw.Conv("a", in_channels=4, out_channels=3, in_size=1, kernel=1), "w").turn(
            floats(4, 3)
        )
    with pytest.raises(TensorError, match="stack of matrices"):
        hw.NetworkLayer(hw.Linear("a", 4, 3), "w", index=0).turn(floats(4, 3))
    with pytest.raises(TensorError, match="0-d"):
        entry.turn(np.float32(1))


def test_importing_costs_nothing():
    code = (
        "import sys, hwmodel; hwmodel.__all__;"
        "assert not {'numpy', 'numba', 'h5py', 'onnx'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_every_public_name_is_there():
    for name in hw.__all__:
        assert getattr(hw, name) is not None
