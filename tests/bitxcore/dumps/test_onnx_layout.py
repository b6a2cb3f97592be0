"""Layouts are right if clearing a filter clears that output channel, and changes no other."""

import numpy as np
import pytest

from bitxcore.dumps import open_dump, save
from bitxcore.groups import Layout

onnx = pytest.importorskip("onnx")
make = onnx.helper
from_array = onnx.numpy_helper.from_array
node = make.make_node

# name: (nodes from x and w to y, x's shape, w's shape, layout, axis of the output channel in y)
CASES = {
    "conv": ([node("Conv", ["x", "w"], ["y"])], (1, 3, 6, 6), (4, 3, 3, 3), Layout(0), 1),
    "conv-1d": ([node("Conv", ["x", "w"], ["y"])], (1, 3, 6), (4, 3, 3), Layout(0), 1),
    "conv-grouped": ([node("Conv", ["x", "w"], ["y"], group=2)], (1, 4, 6, 6), (4, 2, 3, 3), Layout(0), 1),
    "transposed": ([node("ConvTranspose", ["x", "w"], ["y"])], (1, 3, 5, 5), (3, 4, 2, 2), Layout(1), 1),
    "transposed-grouped": (
        [node("ConvTranspose", ["x", "w"], ["y"], group=2)],
        (1, 6, 5, 5),
        (6, 4, 2, 2),
        Layout(1, 2),
        1,
    ),
    "gemm": ([node("Gemm", ["x", "w"], ["y"])], (2, 5), (5, 3), Layout(1), 1),
    "gemm-transposed": ([node("Gemm", ["x", "w"], ["y"], transB=1)], (2, 5), (3, 5), Layout(0), 1),
    "gemm-left": ([node("Gemm", ["w", "x"], ["y"])], (5, 2), (3, 5), Layout(0), 0),
    "gemm-left-transposed": ([node("Gemm", ["w", "x"], ["y"], transA=1)], (5, 2), (5, 3), Layout(1), 0),
    "matmul": ([node("MatMul", ["x", "w"], ["y"])], (2, 7, 5), (5, 3), Layout(1), 2),
    "matmul-batched": ([node("MatMul", ["x", "w"], ["y"])], (2, 7, 5), (2, 5, 3), Layout(2), 2),
    "matmul-left": ([node("MatMul", ["w", "x"], ["y"])], (2, 5, 7), (3, 5), Layout(0), 1),
    "matmul-left-batched": ([node("MatMul", ["w", "x"], ["y"])], (2, 5, 7), (2, 3, 5), Layout(1), 1),
    "through-transpose": (
        [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"])],
        (2, 5),
        (3, 5),
        Layout(0),
        1,
    ),
    "through-default-transpose": (
        [node("Transpose", ["w"], ["t"]), node("Gemm", ["x", "t"], ["y"])],
        (2, 5),
        (3, 5),
        Layout(0),
        1,
    ),
    "through-two-transposes": (
        [
            node("Transpose", ["w"], ["t"], perm=[2, 0, 1, 3]),
            node("Transpose", ["t"], ["u"], perm=[0, 2, 3, 1]),
            node("Conv", ["x", "u"], ["y"]),
        ],
        (1, 2, 6, 6),
        (3, 2, 4, 3),  # u is (4, 2, 3, 3): source axes 2, 1, 3, 0
        Layout(2),
        1,
    ),
    "through-reshape": (
        [
            node("Constant", [], ["s"], value_ints=[0, -1]),
            node("Reshape", ["w", "s"], ["r"]),
            node("Gemm", ["x", "r"], ["y"], transB=1),
        ],
        (2, 12),
        (3, 4, 3),
        Layout(0),
        1,
    ),
    "through-squeeze": (
        [node("Squeeze", ["w"], ["r"]), node("Identity", ["r"], ["i"]), node("MatMul", ["x", "i"], ["y"])],
        (2, 5),
        (1, 5, 1, 3),
        Layout(3),
        1,
    ),
    "through-unsqueeze": (
        [
            node("Constant", [], ["a"], value_ints=[-1, 2]),
            node("Unsqueeze", ["w", "a"], ["r"]),
            node("Conv", ["x", "r"], ["y"]),
        ],
        (1, 3, 6, 6),
        (4, 3),
        Layout(0),
        1,
    ),
    "through-flatten": (
        [node("Flatten", ["w"], ["r"], axis=2), node("MatMul", ["x", "r"], ["y"])],
        (2, 6),
        (2, 3, 4),
        Layout(2),
        1,
    ),
    "through-cast": (
        [
            node("Cast", ["w"], ["c"], to=11),
            node("Cast", ["c"], ["d"], to=1),
            node("MatMul", ["x", "d"], ["y"]),
        ],
        (2, 5),
        (5, 3),
        Layout(1),
        1,
    ),
}


def save_model(path, nodes, initializers, x_shape=None, opset=21):
    inputs = [make.make_tensor_value_info("x", 1, x_shape)]
    outputs = [make.make_tensor_value_info("y", 1, None)]
    graph = make.make_graph(nodes, "net", inputs, outputs, initializers)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", opset)], ir_version=10), path)


def run(path, x):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]


@pytest.mark.parametrize("case", CASES)
def test_filters_are_output_channels(case, tmp_path):
    nodes, x_shape, w_shape, layout, axis = CASES[case]
    rng = np.random.default_rng(1)
    x, w = (rng.uniform(1, 2, shape).astype("f4") for shape in (x_shape, w_shape))
    save_model(tmp_path / "m.onnx", nodes, [from_array(w, "w")], x_shape)
    dump = open_dump(tmp_path / "m.onnx")
    assert (dump["w"].is_weight, dump["w"].layout) == (True, layout)
    assert all(tensor.is_weight is False for name, tensor in dump.items() if name != "w")
    before = np.moveaxis(run(tmp_path / "m.onnx", x), axis, 0)

    def clear(tensor):
        if tensor.name != "w":
            return None
        turned = tensor.layout.turn(tensor.read()).copy()
        assert len(turned) == len(before)
        turned[1] = 0
        return tensor.layout.restore(turned)

    save(dump, tmp_path / "cleared.onnx", clear)
    after = np.moveaxis(run(tmp_path / "cleared.onnx", x), axis, 0)
    assert not after[1].any()
    np.testing.assert_allclose(np.delete(after, 1, 0), np.delete(before, 1, 0), rtol=1e-5)


def layouts(tmp_path, nodes, **constants):
    initializers = [from_array(np.asarray(value), name) for name, value in constants.items()]
    save_model(tmp_path / "m.onnx", nodes, initializers)
    dump = open_dump(tmp_path / "m.onnx")
    return {name: tensor.layout if tensor.is_weight else None for name, tensor in dump.items()}


Q = np.ones((4, 3, 3, 3), "i1")
M = np.ones((5, 3), "i1")
S, Z = np.float32(1), np.int8(0)


@pytest.mark.parametrize(
    ("operator", "inputs", "w", "layout"),
    [
        ("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], Q, Layout(0)),
        ("ConvInteger", ["x", "w", "z", "z"], Q, Layout(0)),
        ("MatMulInteger", ["x", "w", "z", "z"], M, Layout(1)),
        ("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], M, Layout(1)),
        ("QGemm", ["x", "s", "z", "w", "s", "z"], M, Layout(1)),
        ("DynamicQuantizeMatMul", ["x", "w", "s", "z"], M, Layout(1)),
        ("LSTM", ["x", "w", "r"], np.ones((2, 8, 3), "f4"), Layout(1)),
        ("GRU", ["x", "r", "w"], np.ones((2, 8, 3), "f4"), Layout(1)),
        ("MatMul", ["x", "w"], np.ones(5, "f4"), Layout(0)),
        ("DeformConv", ["x", "w", "o"], np.ones((4, 3, 3, 3), "f4"), Layout(0)),
        ("Mul", ["x", "w"], np.ones((5, 3), "f4"), None),
        ("Gather", ["w", "x"], np.ones((5, 3), "f4"), None),
        ("ConvTranspose", ["x", "w"], np.ones(3, "f4"), None),
        ("Conv", ["x", "w"], np.float32(1), None),
    ],
)
def test_other_operators(tmp_path, operator, inputs, w, layout):
    found = layouts(tmp_path, [node(operator, inputs, ["y"])], w=w, s=S, z=Z)
    assert found == {"w": layout, "s": None, "z": None}


def test_quantised_weights_are_seen_through(tmp_path):
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0),
        node("Transpose", ["d"], ["t"], perm=[1, 0]),
        node("MatMul", ["x", "t"], ["y"]),
    ]
    found = layouts(tmp_path, nodes, w=np.ones((3, 5), "i1"), s=S, z=Z)
    assert found == {"w": Layout(0), "s": None, "z": None}


def test_axes_that_a_reshape_mixes_are_taken_as_they_are_stored(tmp_path):
    w = np.ones((4, 6), "f4")
    for shape in ([6, 4], [2, 12], [24]):
        nodes = [node("Reshape", ["w", "s"], ["r"]), node("MatMul", ["x", "r"], ["y"])]
        assert layouts(tmp_path, nodes, w=w, s=np.array(shape))["w"] == Layout()
    nodes = [
        node("Transpose", ["w"], ["t"], perm=[1, 0, 2]),
        node("ConvTranspose", ["x", "t"], ["y"], group=2),
    ]
    assert layouts(tmp_path, nodes, w=np.ones((4, 6, 3), "f4"))["w"] == Layout()


def test_what_can_not_be_reshaped_is_no_weight(tmp_path):
    for shape in ([0, 0, 0], [-1, 7]):
        nodes = [node("Reshape", ["w", "s"], ["r"]), node("MatMul", ["x", "r"], ["y"])]
        assert layouts(tmp_path, nodes, w=np.ones((4, 6), "f4"), s=np.array(shape))["w"] is None


def test_a_shared_weight_takes_its_first_layer(tmp_path):
    shared = [node("Gemm", ["x", "w"], ["a"], transB=1), node("MatMul", ["a", "w"], ["y"])]
    w = np.ones((4, 4), "f4")
    assert layouts(tmp_path, shared, w=w)["w"] == Layout(0)
    assert layouts(tmp_path, shared[::-1], w=w)["w"] == Layout(1)
    tied = [node("Gather", ["w", "i"], ["x2"]), node("Gemm", ["x2", "w"], ["y"], transB=1)]
    assert layouts(tmp_path, tied, w=w)["w"] == Layout(0)


def test_fixed_transforms_are_left_alone_unless_they_are_included(tmp_path):
    from bitxcore.batch import Selection

    stored = {
        "m.22.dfl.conv.weight": np.arange(16, dtype="f4").reshape(1, 16, 1, 1),
        "_model.stft.forward_basis_buffer": np.ones((16, 16, 1, 1), "f4"),
        "head.weight": np.ones((1, 16, 1, 1), "f4"),
    }
    nodes = [node("Conv", ["x", name], [f"y{i}"]) for i, name in enumerate(stored)]
    nodes.append(node("Concat", [f"y{i}" for i in range(len(stored))], ["y"], axis=1))
    save_model(tmp_path / "m.onnx", nodes, [from_array(v, k) for k, v in stored.items()], [1, 16, 2, 2])
    dump = open_dump(tmp_path / "m.onnx")
    assert all(tensor.is_weight for tensor in dump.values())
    chosen = Selection().choose(dump)
    assert [tensor.name for tensor in chosen.tensors] == ["head.weight"]
    assert chosen.left_out == {
        "m.22.dfl.conv.weight": "a fixed kernel, 0 to 15",
        "_model.stft.forward_basis_buffer": "a fixed transform, by its name",
    }
    assert len(Selection(include=("*",)).choose(dump).tensors) == 3


def test_what_is_not_followed_is_named_with_the_operator_that_stopped_it(tmp_path):
    from bitxcore.batch import Selection

    stored = {"w": np.ones((4, 3), "f4"), "v": np.ones((3, 2), "f4"), "e": np.ones((9, 3), "f4")}
    nodes = [
        node("Tanh", ["w"], ["t"]),
        node("Transpose", ["t"], ["r"], perm=[0, 1]),
        node("MatMul", ["x", "r"], ["a"]),
        node("MatMul", ["a", "v"], ["y"]),
    ]
    save_model(tmp_path / "m.onnx", nodes, [from_array(v, k) for k, v in stored.items()], [2, 4])
    dump = open_dump(tmp_path / "m.onnx")
    left_out = Selection().choose(dump).left_out
    assert left_out == {"w": "a layer multiplies by what Tanh makes of it", "e": "no layer multiplies by it"}


@pytest.mark.parametrize("condition", [True, False])
def test_a_branch_that_a_stored_condition_takes_hands_its_weight_on(tmp_path, condition):
    result = make.make_tensor_value_info("r", 1, [4, 5])
    branches = {
        f"{way}_branch": make.make_graph([node("Identity", [name], ["r"])], "b", [], [result])
        for way, name in (("then", "w1"), ("else", "w2"))
    }
    nodes = [node("If", ["c"], ["w"], **branches), node("MatMul", ["x", "w"], ["y"])]
    stored = {"w1": np.ones((4, 5), "f4"), "w2": np.ones((4, 5), "f4"), "c": np.array(condition)}
    save_model(tmp_path / "m.onnx", nodes, [from_array(v, k) for k, v in stored.items()], [3, 4])
    dump = open_dump(tmp_path / "m.onnx")
    assert (dump["w1"].is_weight, dump["w2"].is_weight) == (condition, not condition)
