"""Products that are neither MatMul nor Conv: fused, packed, attention, Einsum."""

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper as oh
from onnx.numpy_helper import from_array

import hwmodel as hw
from bitxcore import open_dump

onnxruntime = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(11)
MS = {"domain": "com.microsoft"}


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def codes(low, high, *shape, dtype="u1"):
    return RNG.integers(low, high, shape).astype(dtype)


def save(path, nodes, inputs, stored, functions=(), opset=21):
    info = [oh.make_tensor_value_info(k, 1, s) for k, s in inputs.items()]
    out = [oh.make_tensor_value_info("y", 1, None)]
    held = [from_array(np.asarray(v), k) for k, v in stored.items()]
    domains = [oh.make_opsetid("", opset), oh.make_opsetid("com.microsoft", 1), oh.make_opsetid("m", 1)]
    graph = oh.make_graph(nodes, "g", info, out, held)
    onnx.save(oh.make_model(graph, opset_imports=domains, functions=list(functions), ir_version=10), path)
    return path


def run(path, **feeds):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["y"], feeds)[0]


def test_weights_that_a_function_is_handed_are_weights(tmp_path):
    gemm = oh.make_node("Gemm", ["X", "Wf", "Bf"], ["Y"], transB=1)
    function = oh.make_function("m", "Lin", ["X", "Wf", "Bf"], ["Y"], [gemm], [oh.make_opsetid("", 21)])
    node = oh.make_node("Lin", ["x", "w1", "b1"], ["y"], domain="m")
    stored = {"w1": floats(5, 4), "b1": floats(5)}
    path = save(tmp_path / "f2.onnx", [node], {"x": [3, 4]}, stored, [function])
    with open_dump(path) as dump:
        assert (dump["w1"].is_weight, dump["b1"].is_weight) == (True, False)
        (entry,) = hw.load_network(path).layers
        assert entry.layer.macs == 60
        assert np.array_equal(entry.read(dump), stored["w1"])


@pytest.mark.parametrize("equation", [
    "bsd,dk->bsk", "bsd,dhk->bhsk", "sd,kd->sk", "sd,kd->ks", "bsd,bkd->bsk", "abcd,cdef->abef",
    "dk,bsd->bsk",
])  # fmt: skip
def test_einsum_is_a_product_with_its_weights(tmp_path, equation):
    left, right = equation.split("->")[0].split(",")
    sizes = dict(zip("abcdefhks", (2, 3, 4, 5, 2, 3, 2, 6, 3), strict=True))
    w_place = 0 if equation == "dk,bsd->bsk" else 1
    shapes = [[sizes[label] for label in term] for term in (left, right)]
    names = ["w", "x"] if w_place == 0 else ["x", "w"]
    w, x = floats(*shapes[w_place]), floats(*shapes[1 - w_place])
    node = oh.make_node("Einsum", names, ["y"], equation=equation, name="e")
    path = save(tmp_path / "e.onnx", [node], {"x": list(x.shape)}, {"w": w})
    network = hw.load_network(path)
    assert network.macs == np.prod([sizes[label] for label in {*left, *right}])
    hw.trace(path, {"x": x}, tmp_path / "t.h5")
    with open_dump(path) as dump, hw.open_traces(tmp_path / "t.h5") as traces:
        assert dump["w"].is_weight
        results = [traces[e.layer.name] @ e.read(dump).T for e in network.layers]
    found = np.sort(np.concatenate([r.ravel() for r in results]))
    np.testing.assert_allclose(found, np.sort(run(path, x=x).ravel()), rtol=1e-5, atol=1e-6)


def test_einsum_of_activations_is_a_product_of_both(tmp_path):
    node = oh.make_node("Einsum", ["a", "b"], ["y"], equation="bhqd,bhkd->bhqk")
    path = save(tmp_path / "e.onnx", [node], {"a": [2, 3, 4, 5], "b": [2, 3, 6, 5]}, {})
    (layer,) = hw.load_network(path)
    assert (layer.operation, layer.macs) == ("matmul", 2 * 3 * 4 * 5 * 6)
    a, b = floats(2, 3, 4, 5), floats(2, 3, 6, 5)
    hw.trace(path, {"a": a, "b": b}, tmp_path / "t.h5")
    with hw.open_traces(tmp_path / "t.h5") as traces:
        product = traces[layer.name] @ traces.second(layer.name)
    np.testing.assert_allclose(product.reshape(2, 3, 4, 6), run(path, a=a, b=b), rtol=1e-5)


@pytest.mark.parametrize("equation", ["abcd,abcd->abcd", "ab,cd->abcd", "abc,cd->ad", "ij,jk,kl->il"])
def test_an_einsum_that_is_no_product_of_two_is_named(tmp_path, equation):
    terms = equation.split("->")[0].split(",")
    names = [f"x{i}" for i in range(len(terms))]
    node = oh.make_node("Einsum", names, ["y"], equation=equation)
    inputs = {name: [2] * len(term) for name, term in zip(names, terms, strict=True)}
    network = hw.load_network(save(tmp_path / "e.onnx", [node], inputs, {}))
    assert not network.layers
    assert network.not_simulated[0].multiplies


def test_attention_has_a_projection_and_two_products(tmp_path):
    node = oh.make_node("Attention", ["x", "w", "b"], ["y"], num_heads=2, name="a", **MS)
    stored = {"w": floats(8, 24), "b": floats(24)}
    path = save(tmp_path / "a.onnx", [node], {"x": [2, 3, 8]}, stored)
    network = hw.load_network(path)
    assert {layer.name: layer.macs for layer in network} == {
        "a.qkv": 2 * 3 * 8 * 24,
        "a.scores": 2 * 2 * 3 * 3 * 4,
        "a.context": 2 * 2 * 3 * 3 * 4,
    }
    with open_dump(path) as dump:
        assert np.array_equal(network.layers[0].read(dump), stored["w"].T)
    result = hw.trace(path, {"x": floats(2, 3, 8)}, tmp_path / "t.h5")
    assert {row.layer for row in result.operands} == {"a.qkv"}


@pytest.mark.parametrize(("bits", "asymmetric"), [*itertools.product((4, 8), (False, True))])
def test_packed_weights_are_what_onnx_runtime_multiplies_by(tmp_path, bits, asymmetric):
    filters, columns, block = 6, 30, 16
    per_block = block * bits // 8
    stored = {"B": codes(0, 256, filters, 2, per_block), "s": RNG.random((filters, 2)).astype("f4")}
    if asymmetric:
        stored["z"] = codes(0, 256, filters, 1 if bits == 4 else 2)
    node = oh.make_node(
        "MatMulNBits", ["x", *stored], ["y"], K=columns, N=filters, bits=bits, block_size=block, **MS
    )
    path = save(tmp_path / "n.onnx", [node], {"x": [columns, columns]}, stored)
    (entry,) = hw.load_network(path).layers
    with open_dump(path) as dump:
        tensor = dump["B"]
        weights, found = tensor.encoding.weights(tensor.read()), entry.read(dump)
    scales = np.repeat(stored["s"], block, axis=1)[:, :columns]
    np.testing.assert_allclose(weights, found * scales, rtol=1e-6)
    np.testing.assert_allclose(run(path, x=np.eye(columns, dtype="f4")).T, weights, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "operator", ["FusedMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"]
)
def test_fused_products_have_weights(tmp_path, operator):
    q, z, s = codes(0, 256, 8, 5), np.uint8(120), np.float32(0.1)
    w = floats(5, 8)
    nodes, stored, expected = {
        "FusedMatMul": ([oh.make_node(operator, ["x", "w"], ["y"], transB=1, **MS)], {"w": w}, w),
        "DynamicQuantizeMatMul": (
            [oh.make_node(operator, ["x", "w", "s", "z"], ["y"], **MS)],
            {"w": q, "s": s, "z": z},
            q.T.astype(int) - 120,
        ),
        "MatMulIntegerToFloat": (
            [
                oh.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
                oh.make_node(operator, ["a", "w", "s", "s", "z", "z"], ["y"], **MS),
            ],
            {"w": q, "s": s, "z": z},
            q.T.astype(int) - 120,
        ),
        "QGemm": (
            [
                oh.make_node("QuantizeLinear", ["x", "s", "z"], ["a"]),
                oh.make_node(operator, ["a", "s", "z", "w", "s", "z"], ["y"], transB=1, **MS),
            ],
            {"w": q.T.copy(), "s": s, "z": z},
            q.T.astype(int) - 120,
        ),
    }[operator]
    path = save(tmp_path / "p.onnx", nodes, {"x": [3, 8]}, stored)
    (entry,) = hw.load_network(path).layers
    assert entry.layer.macs == 120
    with open_dump(path) as dump:
        assert dump["w"].is_weight
        assert np.array_equal(entry.read(dump), expected)


def test_stacks_whose_rows_stand_first_are_products(tmp_path):
    node = oh.make_node("FusedMatMul", ["a", "b"], ["y"], transBatchA=1, transBatchB=1, transB=1, **MS)
    path = save(tmp_path / "t.onnx", [node], {"a": [5, 3, 4], "b": [6, 3, 4]}, {})
    (layer,) = hw.load_network(path)
    assert layer.macs == 3 * 5 * 6 * 4
    a, b = floats(5, 3, 4), floats(6, 3, 4)
    hw.trace(path, {"a": a, "b": b}, tmp_path / "t.h5")
    with hw.open_traces(tmp_path / "t.h5") as traces:
        product = traces[layer.name] @ traces.second(layer.name)
    np.testing.assert_allclose(product.reshape(-1), run(path, a=a, b=b).reshape(-1), rtol=1e-5)


def test_attributes_of_a_function_have_defaults(tmp_path):
    gemm = oh.make_node("Gemm", ["X", "W"], ["Y"])
    gemm.attribute.append(onnx.AttributeProto(name="transB", type=2, ref_attr_name="flip"))
    opsets = [oh.make_opsetid("", 21), oh.make_opsetid("m", 1)]
    usual = [oh.make_attribute("flip", 1)]
    inner = oh.make_function("m", "In", ["X", "W"], ["Y"], [gemm], opsets, attribute_protos=usual)
    call = oh.make_node("In", ["X", "W"], ["Y"], domain="m")
    outer = oh.make_function("m", "Out", ["X", "W"], ["Y"], [call], opsets)
    node = oh.make_node("Out", ["x", "w"], ["y"], domain="m")
    path = save(tmp_path / "d.onnx", [node], {"x": [3, 4]}, {"w": floats(5, 4)}, [inner, outer])
    assert hw.load_network(path).macs == 60
    with open_dump(path) as dump:
        assert dump["w"].layout.filter_axis == 0


def test_convolutions_of_channels_last(tmp_path):
    s, z = np.float32(0.1), np.uint8(3)
    quantise = oh.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    names = ["q", "s", "z", "w", "s", "z", "s", "z"]
    conv = oh.make_node("QLinearConv", names, ["y"], channels_last=1, name="c", **MS)
    stored = {"w": codes(0, 256, 4, 3, 3, 3), "s": s, "z": z}
    path = save(tmp_path / "n.onnx", [quantise, conv], {"x": [1, 9, 8, 3]}, stored)
    (layer,) = hw.load_network(path)
    assert (layer.in_channels, layer.in_size, layer.out_size) == (3, (9, 8), (7, 6))
    x = floats(1, 9, 8, 3)
    hw.trace(path, {"x": x}, tmp_path / "t.h5")
    with hw.open_traces(tmp_path / "t.h5") as traces:
        q = np.clip(np.rint(x / s) + 3, 0, 255) - 3
        assert np.array_equal(traces["c"], q.transpose(0, 3, 1, 2))
