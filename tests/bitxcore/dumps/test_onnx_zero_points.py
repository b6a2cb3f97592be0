"""What stored integers stand for: zero points that differ, are moved, are no integers, or come late."""

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.batch import Selection, prune_dump
from bitxcore.dumps import open_dump
from bitxcore.groups import Layout
from tests.bitxcore.dumps.test_onnx_layout import from_array, make, node, onnx


def saved(folder, nodes, x=(2, 6), **constants):
    inputs = [make.make_tensor_value_info("x", 1, x)]
    outputs = [make.make_tensor_value_info("y", 1, None)]
    stored = [from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = make.make_graph(nodes, "net", inputs, outputs, stored)
    sets = [make.make_opsetid("", 21), make.make_opsetid("com.microsoft", 1)]
    onnx.save(make.make_model(graph, opset_imports=sets, ir_version=10), folder / "m.onnx")
    return folder / "m.onnx"


W = np.random.default_rng(5).integers(100, 156, (6, 4)).astype("u1")
S = np.float32(0.5)


def cast_and(*nodes):
    return [node("Cast", ["w"], ["c"], to=1), *nodes, node("MatMul", ["x", "d"], ["y"])]


def read(path):
    """Weights of each layer, the output channel first."""
    with open_dump(path) as dump:
        return [entry.read(dump) for entry in hw.load_network(path).layers]


def test_a_zero_point_of_one_part_is_brought_back_to_the_whole(tmp_path):
    nodes = [
        node("Split", ["w"], ["a", "b"], axis=1, num_outputs=2),
        node("DequantizeLinear", ["a", "s", "z"], ["d"], axis=1),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    path = saved(tmp_path, nodes, w=W, s=np.ones(2, "f4"), z=np.array([3, 130], "u1"))
    with open_dump(path) as dump:
        codes, _ = dump["w"].encoding.codes(dump["w"].read())
    np.testing.assert_array_equal(codes, W.astype(int) - [3, 130, 0, 0])
    np.testing.assert_array_equal(read(path)[0].T, W[:, :2].astype(int) - [3, 130])


def test_reversed_channels_have_reversed_zero_points(tmp_path):
    nodes = [
        node("Slice", ["w", "first", "last", "axis", "back"], ["r"]),
        node("DequantizeLinear", ["r", "s", "z"], ["d"], axis=1),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    cut = {"first": [-1], "last": [-9], "axis": [1], "back": [-1]}
    zeros = np.array([1, 2, 3, 4], "u1")
    cut = {name: np.array(v) for name, v in cut.items()}
    path = saved(tmp_path, nodes, w=W, s=np.ones(4, "f4"), z=zeros, **cut)
    with open_dump(path) as dump:
        codes, _ = dump["w"].encoding.codes(dump["w"].read())
        assert dump["w"].layout == Layout(1)
    np.testing.assert_array_equal(codes, W.astype(int) - zeros[::-1])


def test_layers_that_subtract_different_zero_points_leave_a_tensor_alone(tmp_path):
    nodes = [
        node("DequantizeLinear", ["w", "s", "z1"], ["a"]),
        node("DequantizeLinear", ["w", "s", "z2"], ["b"]),
        node("MatMul", ["x", "a"], ["p"]),
        node("MatMul", ["x", "b"], ["q"]),
        node("Gemm", ["x", "v"], ["r"]),
        node("Sum", ["p", "q", "r"], ["y"]),
    ]
    zeros = {"z1": np.uint8(3), "z2": np.uint8(130)}
    path = saved(tmp_path, nodes, w=W, v=np.ones((6, 4), "f4"), s=S, **zeros)
    with open_dump(path) as dump:
        chosen = Selection().choose(dump)
        assert chosen.left_out["w"] == "its zero point is not known: several are subtracted from it"
        assert [row.tensor for row in prune_dump(dump, tmp_path / "p.onnx")] == ["v"]
    first, second, _ = read(path)  # each layer knows its own
    np.testing.assert_array_equal(first.T, W.astype(int) - 3)
    np.testing.assert_array_equal(second.T, W.astype(int) - 130)


@pytest.mark.parametrize("copies", ["Expand", "Gather"])
def test_copies_with_zero_points_of_their_own_leave_a_tensor_alone(tmp_path, copies):
    nodes = [
        node(copies, ["w", "how"], ["e"], **({"axis": 1} if copies == "Gather" else {})),
        node("DequantizeLinear", ["e", "s", "z"], ["d"], axis=1),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    how = np.array([0, 0] if copies == "Gather" else [6, 2])
    path = saved(tmp_path, nodes, w=W[:, :1], how=how, s=np.ones(2, "f4"), z=np.array([3, 130], "u1"))
    with open_dump(path) as dump:
        assert dump["w"].encoding.unknown == "several are subtracted from one number"
    np.testing.assert_array_equal(read(path)[0].T, W[:, [0, 0]].astype(int) - [3, 130])


def test_a_fraction_is_no_zero_point(tmp_path):
    path = saved(tmp_path, cast_and(node("Sub", ["c", "z"], ["d"])), w=W, z=np.float32(7.5))
    with open_dump(path) as dump:
        assert dump["w"].encoding.unknown == "it is no integer"
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights' zero point is not known: it is no integer"


def test_fractions_that_are_many_are_found_when_they_are_read(tmp_path):
    block = {"K": 64, "N": 2048, "bits": 4, "block_size": 16}
    rng = np.random.default_rng(1)
    w = rng.integers(0, 256, (2048, 4, 8)).astype("u1")
    zeros = np.full(2048 * 4, 7.5, "f4")
    nodes = [node("MatMulNBits", ["x", "w", "s", "z"], ["y"], domain="com.microsoft", **block)]
    path = saved(tmp_path, nodes, x=(2, 64), w=w, s=np.ones(2048 * 4, "f4"), z=zeros)
    with open_dump(path) as dump:
        assert dump["w"].encoding.unknown == "a zero point is no integer"


def test_what_is_subtracted_after_scaling_is_no_zero_point(tmp_path):
    """Where ``q * s - t`` is multiplied by, no integers stand for the weights."""
    nodes = cast_and(node("Mul", ["c", "s"], ["m"]), node("Sub", ["m", "t"], ["d"]))
    path = saved(tmp_path, nodes, w=W, s=S, t=np.float32(64))
    with open_dump(path) as dump:
        assert not dump["w"].is_weight
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights are computed from constants by Sub"


@pytest.mark.parametrize(("kind", "stops"), [(3, True), (9, True), (6, False), (7, False)])
def test_a_cast_that_changes_codes_is_not_followed(tmp_path, kind, stops):
    nodes = [node("Cast", ["w"], ["n"], to=kind), node("Cast", ["n"], ["d"], to=1)]
    path = saved(tmp_path, [*nodes, node("MatMul", ["x", "d"], ["y"])], w=W)
    (entry,) = hw.load_network(path).layers
    assert (entry.weight_missing == "the weights are computed from constants by Cast") is stops
    if not stops:
        np.testing.assert_array_equal(read(path)[0].T, W)


def test_codes_that_are_quantised_again_lose_their_zero_point_once(tmp_path):
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["a"]),
        node("QuantizeLinear", ["a", "s", "z"], ["b"]),
        node("DequantizeLinear", ["b", "s", "z"], ["d"]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    path = saved(tmp_path, nodes, w=W, s=S, z=np.uint8(120))
    np.testing.assert_array_equal(read(path)[0].T, W.astype(int) - 120)
    nodes[1] = node("QuantizeLinear", ["a", "other", "z"], ["b"])
    path = saved(tmp_path, nodes, w=W, s=S, z=np.uint8(120), other=np.float32(0.7))
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights are computed from constants by QuantizeLinear"


def test_floats_that_the_graph_quantises_are_codes_of_their_layer(tmp_path):
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=1),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=1),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    w = np.random.default_rng(2).standard_normal((6, 4)).astype("f4")
    scale = np.array([0.01, 0.02, 0.03, 0.001], "f4")
    path = saved(tmp_path, nodes, w=w, s=scale, z=np.zeros(4, "i1"))
    np.testing.assert_array_equal(read(path)[0].T, np.clip(np.rint(w / scale), -128, 127))
    with open_dump(path) as dump:
        assert dump["w"].is_weight


def test_a_scale_is_no_weight_where_what_it_scales_is_not_followed(tmp_path):
    nodes = [node("Sqrt", ["w"], ["r"]), node("Mul", ["s", "r"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    path = saved(tmp_path, nodes, w=np.ones((6, 4), "f4"), s=np.ones(4, "f4"))
    with open_dump(path) as dump:
        assert not any(tensor.is_weight for tensor in dump.values())
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights are computed from constants by Sqrt"


def test_floats_scaled_by_what_is_not_followed_are_said_to_be(tmp_path):
    nodes = [node("Sqrt", ["g"], ["r"]), node("Mul", ["w", "r"], ["d"]), node("MatMul", ["x", "d"], ["y"])]
    path = saved(tmp_path, nodes, w=np.ones((6, 4), "f4"), g=np.full(4, 3, "f4"))
    with open_dump(path) as dump:
        assert [name for name, tensor in dump.items() if tensor.is_weight] == ["w"]
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights are scaled by what Sqrt computes"


def test_sizes_that_are_not_known_are_not_taken_to_be_left_out(tmp_path):
    """A Split whose sizes are computed by an operator that is not followed is not an even one."""
    nodes = [
        node("Abs", ["n"], ["sizes"]),
        node("Split", ["w", "sizes"], ["a", "d"], axis=1),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    path = saved(tmp_path, nodes, w=np.ones((6, 4), "f4"), n=np.array([1, 3]))
    (entry,) = hw.load_network(path).layers
    assert entry.weight_missing == "the weights are computed from constants by Abs"


def test_heads_that_are_split_off_an_axis_have_it_as_their_filters(tmp_path):
    """Groups run along the reduction, not along the outputs of a head."""
    nodes = [
        node("Reshape", ["w", "heads"], ["r"]),
        node("Transpose", ["r"], ["d"], perm=[1, 0, 2]),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    path = saved(tmp_path, nodes, w=np.ones((6, 4), "f4"), heads=np.array([6, 2, 2]))
    with open_dump(path) as dump:
        assert dump["w"].layout == Layout(1)


@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("axis", [0, 1])
def test_floats_that_the_graph_quantises_are_pruned_as_its_codes(tmp_path, zero, axis):
    runtime = pytest.importorskip("onnxruntime")
    import bitxcore as bx

    w = np.random.default_rng(3).standard_normal((6, 16)).astype("f4")
    shape = (-1, 1) if axis == 0 else (1, -1)
    s = (np.abs(w).max(1 - axis) / 100).astype("f4")
    nodes = [
        node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=axis),
        node("DequantizeLinear", ["q", "s", "z"], ["d"], axis=axis),
        node("Gemm", ["x", "d"], ["y"], transB=1),
    ]
    path = saved(tmp_path, nodes, (16, 16), w=w, s=s, z=np.full(len(s), zero, "i1"))
    with open_dump(path) as dump:
        (row,) = prune_dump(dump, tmp_path / "out.onnx", rows=2)
    codes = np.clip(np.rint(w / s.reshape(shape)) + zero, -128, 127).astype(int) - zero
    pruned = bx.prune(codes.astype(row.format.dtype), rows=2, format=row.format.name).values
    y = runtime.InferenceSession(tmp_path / "out.onnx").run(["y"], {"x": np.eye(16, dtype="f4")})[0].T
    assert np.array_equal(y, pruned.astype("f4") * s.reshape(shape))
    assert np.array_equal(read(tmp_path / "out.onnx")[0], pruned)
    before, after = codes * s.reshape(shape).astype(float), pruned * s.reshape(shape).astype(float)
    error = np.linalg.norm(before - after) / np.linalg.norm(before)
    assert row.relative_error == pytest.approx(error, rel=1e-12)
