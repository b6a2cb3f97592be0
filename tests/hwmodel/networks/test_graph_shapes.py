"""Shapes of a graph's values: stated, inferred, found in a run, or as ONNX Runtime computes them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper as oh
from onnx import numpy_helper as on

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError

value = oh.make_tensor_value_info
node = oh.make_node


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def model_of(nodes, inputs, stored, outputs, value_info=()):
    graph = oh.make_graph(
        nodes,
        "g",
        [value(name, 1, shape) for name, shape in inputs.items()],
        [value(name, 1, shape) for name, shape in outputs.items()],
        [on.from_array(np.asarray(v), k) for k, v in stored.items()],
        value_info=[value(name, 1, shape) for name, shape in dict(value_info).items()],
    )
    return oh.make_model(
        graph, opset_imports=[oh.make_opsetid("", 17), oh.make_opsetid("m", 1)], ir_version=8
    )


@pytest.fixture
def save(tmp_path):
    def save(*arguments, **options):
        onnx.save(model_of(*arguments, **options), tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return save


PLUG = [
    node("Conv", ["x", "w"], ["a"]),
    node("Plug", ["a"], ["b"], domain="m"),
    node("Conv", ["b", "w"], ["y"]),
]


def test_shapes_that_the_file_states_are_read(save):
    path = save(
        PLUG,
        {"x": [1, 3, 8, 8]},
        {"w": floats(3, 3, 3, 3)},
        {"y": [1, 3, 4, 4]},
        value_info={"a": [1, 3, 6, 6], "b": [1, 3, 6, 6]},
    )
    assert [layer.in_size for layer in hw.load_network(path)] == [(8, 8), (6, 6)]


def test_open_dimensions_of_stated_shapes_get_the_inputs_sizes(save):
    path = save(
        PLUG,
        {"x": ["n", 3, 8, 8]},
        {"w": floats(3, 3, 3, 3)},
        {"y": ["n", 3, 4, 4]},
        value_info={"a": [1, 3, 2, 2], "b": ["n", 3, 6, 6]},  # the first is stated for other sizes
    )
    network = hw.load_network(path, sizes={"n": 5})
    assert [(layer.batch, layer.in_size) for layer in network] == [(5, (8, 8)), (5, (6, 6))]


def test_behind_an_operator_that_is_not_known_no_shape_is_known(save):
    path = save(PLUG, {"x": [1, 3, 8, 8]}, {"w": floats(3, 3, 3, 3)}, {"y": None})
    network = hw.load_network(path)
    assert [layer.name for layer in network] == ["a"]
    (conv,) = (n for n in network.not_simulated if n.operation == "Conv")
    assert conv.multiplies
    assert "no shape for 'b'" in conv.reason


def test_a_run_begins_behind_an_operator_that_is_not_known(save):
    nodes = [
        node("Plug", ["x"], ["b"], domain="m"),
        node("NonZero", ["ones"], ["n"]),  # a shape that no inference finds: 8
        node("Shape", ["n"], ["s"]),
        node("Gather", ["s", "one"], ["k"]),
        node("Concat", ["k", "rest"], ["shape"], axis=0),
        node("Reshape", ["b", "shape"], ["r"]),
        node("MatMul", ["r", "w"], ["y"]),
    ]
    stored = {
        "ones": np.ones(8, "f4"), "one": np.array([1]), "rest": np.array([-1]), "w": floats(4, 3),
    }  # fmt: skip
    path = save(nodes, {"x": [2, 16]}, stored, {"y": None}, value_info={"b": [2, 16]})
    assert [layer.positions for layer in hw.load_network(path)] == [8]


def test_a_size_of_zero_on_a_run_on_zeros(save, tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["first"]),
        node("Greater", ["first", "nought"], ["mask"]),
        node("Cast", ["mask"], ["number"], to=1),
        node("ReduceMax", ["number"], ["row"], axes=[1], keepdims=0),
        node("NonZero", ["row"], ["found"]),
        node("Squeeze", ["found", "axis"], ["rows"]),
        node("Gather", ["x", "rows"], ["chosen"]),
        node("MatMul", ["chosen", "w"], ["y"]),
    ]
    stored = {"w": floats(8, 3), "nought": np.float32(0), "axis": np.array([0])}
    path = save(nodes, {"x": [4, 8]}, stored, {"y": [None, 3]})
    network = hw.load_network(path)
    assert [layer.name for layer in network] == ["first"]
    (left,) = (n for n in network.not_simulated if n.operation == "MatMul")
    assert left.multiplies
    assert "is 0 on a run on zeros" in left.reason
    # A trace has real inputs, whose sizes it uses.
    x = np.stack([floats(8), np.zeros(8, "f4"), floats(8), np.zeros(8, "f4")])
    result = hw.trace(path, {"x": x}, tmp_path / "t.h5")
    assert [(r.layer, r.shape) for r in result.operands] == [("first", (4, 8)), ("y", (2, 8))]
    assert [layer.positions for layer in hw.load_network(path, inputs={"x": x})] == [4, 2]


def test_a_reshape_that_fails_on_zeros(save, tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["first"]),
        node("Reshape", ["x", "good"], ["other"]),
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["n"], to=7),
        node("Add", ["n", "one"], ["n1"]),
        node("Concat", ["n1", "n1"], ["shape"], axis=0),
        node("Reshape", ["first", "shape"], ["r"]),  # of 16 elements; to (1, 1) on zeros
        node("MatMul", ["r", "v"], ["y"]),
        node("NonZero", ["first"], ["nz"]),
        node("Shape", ["nz"], ["s"]),
        node("Slice", ["s", "zero", "one"], ["two"]),
        node("Concat", ["two", "minus"], ["shape2"], axis=0),
        node("Reshape", ["other", "shape2"], ["z"]),
        node("MatMul", ["z", "u"], ["last"]),
    ]
    stored = {
        "w": floats(8, 4), "v": floats(4, 3), "u": floats(16, 5), "one": np.array([1]), "zero": np.array([0]),
        "minus": np.array([-1]), "good": np.array([-1]),
    }  # fmt: skip
    path = save(nodes, {"x": [4, 8]}, stored, {"y": None, "last": None})
    network = hw.load_network(path)
    assert [layer.name for layer in network] == ["first", "last"]
    (left,) = (n for n in network.not_simulated if n.operation == "MatMul")
    assert "a run on zeros fails" in left.reason
    x = np.zeros((4, 8), "f4")
    x[0, 0] = 3
    result = hw.trace(path, {"x": x}, tmp_path / "t.h5")
    assert {r.layer: r.shape for r in result.operands} == {"first": (4, 8), "y": (4, 4), "last": (2, 16)}


def test_operands_that_do_not_fit_are_the_sizes_fault(save):
    path = save([node("MatMul", ["x", "w"], ["y"])], {"x": [4, "k"]}, {"w": floats(8, 3)}, {"y": None})
    with pytest.raises(TensorError, match="no shape for 'y'"):
        hw.load_network(path, sizes={"k": 9})


# -- attributes of convolutions, against ONNX Runtime --------------------------------------------


def drawn(rng, transposed):
    """Draw a convolution, and a second one whose input is the first one's output."""
    ndim = int(rng.integers(1, 3))
    draw = lambda low, high: [int(n) for n in rng.integers(low, high, ndim)]  # noqa: E731
    kernel, size = draw(1, 5), draw(1 if transposed else 4, 9)
    attributes = {"strides": draw(1, 5)}
    if rng.integers(2):
        attributes["dilations"] = draw(1, 3)
    if rng.integers(2):
        attributes["kernel_shape"] = kernel
    mode = str(rng.choice(["none", "", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if mode != "none":
        attributes["auto_pad"] = mode
    if mode in ("none", "", "NOTSET") and rng.integers(2):
        attributes["pads"] = draw(0, 3) + draw(0, 3)
    group = int(rng.integers(1, 3))
    attributes["group"] = group
    if transposed:
        if rng.integers(2):
            limits = zip(attributes["strides"], attributes.get("dilations", [1] * ndim), strict=True)
            attributes["output_padding"] = [int(rng.integers(0, max(s, d))) for s, d in limits]
        if rng.integers(3) == 0:
            attributes["output_shape"] = draw(1, 20)
            attributes.pop("pads", None)
        weights = (4, 6 // group, *kernel)
    else:
        weights = (6, 4 // group, *kernel)
    operator = "ConvTranspose" if transposed else "Conv"
    nodes = [
        node(operator, ["x", "w"], ["a"], **attributes),
        node("Conv", ["a", "one"], ["y"], kernel_shape=[1] * ndim),
    ]
    stored = {"w": floats(*weights), "one": floats(2, 6, *[1] * ndim)}
    return nodes, {"x": [2, 4, *size]}, stored, {"a": None, "y": None}


def check(seed, path):
    """Return whether ONNX Runtime takes the graph; if so, ours must agree."""
    rng = np.random.default_rng(seed)
    model = model_of(*drawn(rng, transposed=seed % 4 != 0))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    (x,) = model.graph.input
    shape = [d.dim_value for d in x.type.tensor_type.shape.dim]
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        a, _ = session.run(None, {"x": np.zeros(shape, "f4")})
    except Exception:  # ONNX Runtime's errors share no base but Exception.
        return False
    if not a.size:
        return False
    onnx.save(model, path)
    network = hw.load_network(path)
    first, second = network
    assert (first.batch, first.out_channels, *first.out_size) == a.shape, seed
    assert (second.batch, second.in_channels, *second.in_size) == a.shape, seed
    return True


def test_convolutions_have_the_sizes_of_onnx_runtime(tmp_path):
    assert sum(check(seed, tmp_path / "m.onnx") for seed in range(300)) > 200


@pytest.mark.slow
def test_many_convolutions_have_the_sizes_of_onnx_runtime(tmp_path):
    assert sum(check(seed, tmp_path / "m.onnx") for seed in range(300, 3300)) > 2000


# -- sizes of inputs -----------------------------------------------------------------------------


@pytest.mark.parametrize("given", [np.float32(2), 2.0, np.array(2, "f4")])
def test_a_scalar_input_stays_one(save, tmp_path, given):
    nodes = [node("Mul", ["x", "s"], ["a"]), node("MatMul", ["a", "w"], ["y"])]
    path = save(nodes, {"x": [2, 8], "s": []}, {"w": floats(8, 3)}, {"y": None})
    result = hw.trace(path, {"x": np.ones((2, 8), "f4"), "s": given}, tmp_path / "t.h5")
    assert [(r.layer, r.highest) for r in result.operands] == [("y", 2)]
    assert result.input_sizes == {"x": (2, 8), "s": ()}


OPEN = {"x": ["n", 8, "height", "width"], "t": ["n", "length"]}


def test_all_open_dimensions_are_asked_for_at_once(save):
    nodes = [node("Conv", ["x", "w"], ["y"]), node("MatMul", ["t", "v"], ["z"])]
    path = save(nodes, OPEN, {"w": floats(2, 8, 1, 1), "v": floats(5, 3)}, {"y": None, "z": None})
    asked = (
        r"input 'x' has the dynamic dimensions 'height' \(axis 2\), 'width' \(axis 3\);"
        r" input 't' has the dynamic dimension 'length' \(axis 1\);"
        r" set them with sizes={'height': …, 'width': …, 'length': …} or input_size="
    )
    with pytest.raises(OptionError, match=asked):
        hw.load_network(path)
    with pytest.raises(OptionError, match="'heigth'; there are height, length, n, width"):
        hw.load_network(path, sizes={"heigth": 320})
    network = hw.load_network(path, sizes={"height": 4, "width": 6, "length": 5})
    assert network.input_sizes == {"x": (1, 8, 4, 6), "t": (1, 5)}
