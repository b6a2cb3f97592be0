"""A small model that has layers of all kinds, and samples for it."""

import numpy as np
import pytest

SHAPES = {
    "conv": (8, 3, 3, 3), "depthwise": (8, 1, 3, 3), "point": (12, 8, 1, 1), "fc": (12, 20), "out": (5, 20),
}  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """Convolutions and products; behind them a bias, nothing, a normalisation, a sum, nothing."""
    onnx = pytest.importorskip("onnx")
    make, numpy = onnx.helper, onnx.numpy_helper
    rng = np.random.default_rng(5)
    stored = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    stored |= {"conv.bias": rng.standard_normal(8), "fc.bias": rng.standard_normal(20)}
    stored |= {"scale": rng.random(12) + 0.5, "shift": np.zeros(12), "mean": rng.standard_normal(12)}
    stored |= {"var": rng.random(12) + 0.5}
    nodes = [
        make.make_node("Conv", ["image", "conv", "conv.bias"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "depthwise"], ["c"], name="depthwise", group=8, pads=[1, 1, 1, 1]),
        make.make_node("Conv", ["c", "point"], ["d"], name="point"),
        make.make_node("BatchNormalization", ["d", "scale", "shift", "mean", "var"], ["e"]),
        make.make_node("GlobalAveragePool", ["e"], ["f"]),
        make.make_node("Flatten", ["f"], ["g"]),
        make.make_node("MatMul", ["g", "fc"], ["h"], name="fc"),
        make.make_node("Add", ["fc.bias", "h"], ["i"]),
        make.make_node("Relu", ["i"], ["j"]),
        make.make_node("Gemm", ["j", "out"], ["scores"], name="out", transB=1),
    ]
    graph = make.make_graph(
        nodes,
        "small",
        [make.make_tensor_value_info("image", 1, ["N", 3, 9, 9])],
        [make.make_tensor_value_info("scores", 1, ["N", 5])],
        [numpy.from_array(x.astype("f4"), name) for name, x in stored.items()],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "small.onnx").write_bytes(made.SerializeToString())
    return tmp_path / "small.onnx"


@pytest.fixture
def batches():
    rng = np.random.default_rng(6)
    mixed = rng.standard_normal((3, 3))
    pictures = np.einsum("nchw,cd->ndhw", rng.standard_normal((48, 3, 9, 9)) + 0.5, mixed).astype("f4")
    return [{"image": pictures[:32]}, {"image": pictures[32:]}]
