"""Layers in the bodies of If, Loop and Scan, and nodes that nobody reads."""

import numpy as np
import onnx
import pytest
from onnx import helper as oh
from onnx import numpy_helper as on

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError
from tests.hwmodel.networks.random_control_flow import Generator

value = oh.make_tensor_value_info
node = oh.make_node


def floats(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.fixture
def save(tmp_path):
    def save(nodes, inputs, stored, outputs, value_info=()):
        graph = oh.make_graph(
            nodes,
            "g",
            [x if isinstance(x, onnx.ValueInfoProto) else value(x, 1, inputs[x]) for x in inputs],
            [value(name, 1, shape) for name, shape in outputs.items()],
            [on.from_array(np.asarray(v), k) for k, v in stored.items()],
        )
        model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    return save


def loop_body(nodes, results=(), state=(2, 8)):
    """Body of a Loop with one state `h`, which it hands on as `h2`."""
    return oh.make_graph(
        [*nodes, node("Identity", ["c"], ["c2"])],
        "b",
        [value("i", 7, []), value("c", 9, []), value("h", 1, state)],
        [value("c2", 9, []), value("h2", 1, state), *(value(name, 1, None) for name in results)],
    )


def test_a_loop_that_captures_an_input_is_no_constant(save):
    body = loop_body([node("Gather", ["x", "i"], ["t"]), node("Add", ["t", "h"], ["h2"])])
    path = save(
        [node("Loop", ["M", "k", "h0"], ["hT"], body=body), node("MatMul", ["hT", "W"], ["y"])],
        {"x": [5, 2, 8]},
        {"M": np.int64(5), "k": True, "h0": np.zeros((2, 8), "f4"), "W": floats(8, 3)},
        {"y": [2, 3]},
    )
    network = hw.load_network(path)
    assert [layer.macs for layer in network] == [48]


def test_a_layer_in_a_loop_runs_as_often_as_the_loop(save, tmp_path):
    inner = node("Constant", [], ["v"], value=on.from_array(floats(8, 8)))
    body = loop_body([inner, node("MatMul", ["h", "v"], ["a"]), node("MatMul", ["a", "W"], ["h2"])])
    path = save(
        [node("Loop", ["M", "", "x"], ["y"], body=body, name="lp")],
        {"x": [2, 8]},
        {"M": np.int64(5), "W": floats(8, 8)},
        {"y": [2, 8]},
    )
    network = hw.load_network(path)
    assert [(x.name, x.positions, x.steps) for x in network] == [("a", 10, 5), ("h2", 10, 5)]
    assert [e.weight for e in network.layers] == ["lp.body/v", "W"]
    with bx.open_dump(path) as dump:
        assert all(e.read(dump).shape == (8, 8) for e in network.layers)
    assert "which runs 5 times" in network.layers[0].notes[0]
    result = hw.trace(path, {"x": floats(2, 8)}, tmp_path / "t.h5")
    assert {x.layer for x in result.not_recorded} == {"a", "h2"}
    assert hw.simulate_network(hw.accelerator("bitx"), network).totals[0].layers == 2


def test_a_loop_whose_end_depends_on_data_is_said(save):
    body = oh.make_graph(
        [
            node("MatMul", ["h", "W"], ["h2"]),
            node("ReduceSum", ["h2"], ["s"], keepdims=0),
            node("Less", ["s", "limit"], ["c2"]),
        ],
        "b",
        [value("i", 7, []), value("c", 9, []), value("h", 1, [2, 8])],
        [value("c2", 9, []), value("h2", 1, [2, 8])],
    )
    stored = {"M": np.int64(7), "W": floats(8, 8), "limit": np.float32(3)}
    path = save([node("Loop", ["M", "", "x"], ["y"], body=body)], {"x": [2, 8]}, stored, {"y": [2, 8]})
    network = hw.load_network(path)
    assert network.macs == 128
    assert "known at run time only (at most 7), counted once" in network.layers[0].notes[0]
    # Given inputs decide: the sum of zeros never reaches the limit, that of large values does at once.
    weights = np.full((8, 8), 1 / 8, "f4")
    path = save(
        [node("Loop", ["M", "", "x"], ["y"], body=body)],
        {"x": [2, 8]},
        stored | {"W": weights},
        {"y": [2, 8]},
    )
    assert hw.load_network(path, inputs={"x": np.zeros((2, 8))}).macs == 7 * 128
    assert hw.load_network(path, inputs={"x": np.ones((2, 8))}).macs == 128


def branches():
    def branch(weight):
        return oh.make_graph([node("MatMul", ["x", weight], ["a"])], weight, [], [value("a", 1, None)])

    return {"then_branch": branch("wide"), "else_branch": branch("narrow")}


def test_an_input_decides_a_branch(save, tmp_path):
    rate = value("sr", 7, [])
    path = tmp_path / "m.onnx"
    graph = oh.make_graph(
        [
            node("Equal", ["sr", "fast"], ["k"]),
            node("If", ["k"], ["b"], **branches()),
            node("MatMul", ["b", "b2"], ["y"]),
        ],
        "g",
        [value("x", 1, [2, 8]), rate, value("b2", 1, ["n", 3])],
        [value("y", 1, None)],
        [
            on.from_array(np.int64(16000), "fast"),
            on.from_array(floats(8, 16), "wide"),
            on.from_array(floats(8, 4), "narrow"),
        ],
    )
    onnx.save(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8), path)
    for sr, n in ((16000, 16), (8000, 4)):
        network = hw.load_network(path, inputs={"sr": sr}, sizes={"n": n})
        assert [layer.macs for layer in network] == [2 * 8 * n, 2 * n * 3]
        assert network.layers[0].weight == {16: "wide", 4: "narrow"}[n]
        feeds = {"x": floats(2, 8), "sr": np.array(sr), "b2": floats(n, 3)}
        result = hw.trace(path, feeds, tmp_path / f"{n}.h5")
        assert [x.layer for x in result.operands] == ["a", "y", "y"]
        assert not result.not_recorded
    # Without it the larger branch is assumed, and that is said.
    network = hw.load_network(path, sizes={"n": 16})
    assert network.layers[0].layer.macs == 2 * 8 * 16
    assert any("then_branch, which has the most multiply-accumulates" in note for note in network.notes)
    with pytest.raises(OptionError, match="no input 'rate'; it has x, sr, b2"):
        hw.load_network(path, inputs={"rate": 1})
    with pytest.raises(OptionError, match="input 'sr': float64 is given, the model takes int64"):
        hw.load_network(path, inputs={"sr": 1.5})


@pytest.mark.parametrize("swapped", [False, True])
def test_sizes_behind_an_if_are_those_of_the_branch_that_is_assumed(save, swapped):
    both = branches()
    if swapped:
        both = dict(zip(both, reversed(both.values()), strict=True))
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "nought"], ["k"]),
        node("If", ["k"], ["b"], **both),
        node("Transpose", ["b"], ["t"], perm=[1, 0]),
        node("MatMul", ["t", "v"], ["y"]),
    ]
    stored = {
        "nought": np.float32(0), "wide": floats(8, 16), "narrow": floats(8, 4), "v": floats(2, 3),
    }  # fmt: skip
    network = hw.load_network(save(nodes, {"x": [2, 8]}, stored, {"y": None}))
    assert [layer.macs for layer in network] == [2 * 8 * 16, 16 * 2 * 3]
    assert len(network.notes) == 1


@pytest.mark.parametrize(("rows", "weight"), [(1, "wide"), (2, "narrow")])
def test_a_size_decides_a_branch(save, rows, weight):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"]),
        node("Equal", ["n", "one"], ["k"]),
        node("If", ["k"], ["y"], **branches()),
    ]
    stored = {"zero": np.int64(0), "one": np.int64(1), "wide": floats(8, 16), "narrow": floats(8, 4)}
    network = hw.load_network(save(nodes, {"x": [rows, 8]}, stored, {"y": None}))
    assert [e.weight for e in network.layers] == [weight]
    assert not network.notes


def test_what_nobody_reads_is_no_layer(save):
    body = loop_body(
        [
            node("MatMul", ["h", "captured"], ["h2"]),
            node("MatMul", ["h", "W"], ["unread"]),
            node("MatMul", ["h", "W"], ["collected"]),
        ],
        ["collected"],
    )
    nodes = [
        node("MatMul", ["x", "W"], ["captured"]),  # read by the body only
        node("MatMul", ["x", "W"], ["dead"]),
        node("MatMul", ["dead", "W"], ["dead2"]),
        node("Loop", ["M", "", "x"], ["y", "ys"], body=body),
    ]
    path = save(nodes, {"x": [8, 8]}, {"M": np.int64(2), "W": floats(8, 8)}, {"y": [8, 8]})
    network = hw.load_network(path)
    assert [(x.name, x.macs) for x in network] == [("captured", 512), ("h2", 1024)]
    reasons = {(n.operation, n.reason): n.count for n in network.not_simulated}
    assert reasons["MatMul", "nobody reads its results"] == 4


def check(seed, tmp_path):
    case = Generator(seed).case()
    path = tmp_path / "m.onnx"
    onnx.save(case.model, path)
    network = hw.load_network(path, inputs=case.given)
    assert network.macs == case.macs, seed
    with bx.open_dump(path) as dump:
        for entry in network.layers:
            assert entry.weight is not None
            assert entry.read(dump).shape == (8, 8)


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
def test_random_control_flow(part, tmp_path):
    for seed in range(15 * part, 15 * part + 15):
        check(seed, tmp_path)


@pytest.mark.slow
def test_much_random_control_flow(tmp_path):
    for seed in range(60, 560):
        check(seed, tmp_path)
