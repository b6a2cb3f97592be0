"""Models of other libraries through the command line: inspect, prune, simulate and trace."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import bitxcore as bx

onnx = pytest.importorskip("onnx")

from tests.hwmodel.cli.conftest import Bitx  # noqa: E402
from tests.hwmodel.networks import foreign_models as foreign  # noqa: E402

MODELS = {
    "lstm": partial(foreign.recurrent, kind="LSTM", dynamo=False),
    "gru": partial(foreign.recurrent, kind="GRU", dynamo=False),
    "lstm-dynamo": partial(foreign.recurrent, kind="LSTM", dynamo=True),
    "gru-dynamo": partial(foreign.recurrent, kind="GRU", dynamo=True),
    "voice": foreign.voice_detector,
    "dynamic": foreign.dynamic,
    "qdq": foreign.static,
    "qdq-of-floats": partial(foreign.static, floats_kept=True),
    "qlinear": partial(foreign.static, qdq=False),
    "int4": partial(foreign.four_bits, qdq=False),
    "int4-qdq": partial(foreign.four_bits, qdq=True),
    "int8-packed": partial(foreign.four_bits, qdq=False, bits=8),
    "int4-by-hand": partial(foreign.four_bits_by_hand, qdq=False),
    "int4-qdq-by-hand": partial(foreign.four_bits_by_hand, qdq=True),
    "int8-weight-only": foreign.weight_only,
    "qonnx": foreign.qonnx,
    "detector": foreign.detector,
    "basic": partial(foreign.optimised, make=foreign.small_network, level="BASIC"),
    "extended": partial(foreign.optimised, make=foreign.small_network, level="EXTENDED"),
    "extended-transformer": partial(foreign.optimised, make=foreign.transformer_layer, level="EXTENDED"),
    "extended-qdq": partial(foreign.optimised, make=foreign.static, level="EXTENDED"),
    "extended-int8": partial(foreign.optimised, make=foreign.weight_only, level="EXTENDED"),
}
QUICK = (
    "lstm",
    "voice",
    "dynamic",
    "qdq",
    "int4-by-hand",
    "int8-weight-only",
    "qonnx",
    "detector",
    "extended",
)


@pytest.fixture
def bitx(monkeypatch):
    monkeypatch.setattr("sys.argv", ["bitx"])
    return Bitx()


def run(path, feeds):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def cases(names, mark=()):
    return [pytest.param(name, marks=mark, id=name) for name in names]


PARAMETERS = [*cases(QUICK), *cases([n for n in MODELS if n not in QUICK], pytest.mark.slow)]


@pytest.fixture(params=PARAMETERS)
def model(request, tmp_path):
    return MODELS[request.param](tmp_path)


def test_every_command_goes_through(bitx, model, tmp_path):
    check_inspected_and_pruned(bitx, model, tmp_path)
    inputs = [f"--input={name}={tmp_path / name}.npy" for name in model.feeds]
    for name, value in model.feeds.items():
        np.save(tmp_path / name, value)
    if model.runs:
        traced = bitx.json("trace", model.path, *inputs, "-o", tmp_path / "t.h5")
        assert traced["layers"] == model.layers + model.products
    check_simulated(bitx, model, tmp_path)


def check_inspected_and_pruned(bitx, model, folder):
    inspected = bitx.json("inspect", model.path)["dumps"][0]
    document = bitx.json("prune", model.path, "-o", folder / "pruned.onnx", "--rows", 2)
    names = [row["tensor"] for row in document["tensors"]]
    assert names == [row["tensor"] for row in inspected["tensors"]]
    assert all(0 < row["relative_error"] < 1 for row in document["tensors"])
    expected = replaced(model.path, folder / "expected.onnx", names)
    assert (folder / "pruned.onnx").stat().st_size == pytest.approx(model.path.stat().st_size, rel=0.1)
    assert same_but_weights(folder / "pruned.onnx", expected)
    if model.runs:
        got, want = run(folder / "pruned.onnx", model.feeds), run(expected, model.feeds)
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
        assert all(np.isfinite(a).all() for a in got)


def replaced(path, target, names):
    """Write a model whose weights are replaced by what the library's functions on arrays give."""
    model = onnx.load(path)
    with bx.open_dump(path) as dump:
        new = {name: pruned_by_hand(dump[name]) for name in names}
    for name, tensor in tensors_of(model.graph, ""):
        if name in new:
            tensor.CopyFrom(onnx.numpy_helper.from_array(new.pop(name), tensor.name))
    assert not new
    onnx.save(model, target)
    return target


def tensors_of(graph, prefix):
    """Stored tensors of a graph and its bodies, by the names of dumps."""
    yield from ((prefix + t.name, t) for t in graph.initializer)
    for node in graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.name == "value":
                yield prefix + node.output[0], a.t
            if a.HasField("g"):
                yield from tensors_of(a.g, f"{prefix}{node.name or node.output[0]}.{a.name}/")


def pruned_by_hand(tensor):
    stored = tensor.read()
    if tensor.encoding is None:
        return tensor.layout.restore(bx.prune(tensor.layout.turn(stored), rows=2).values)
    codes, form = tensor.encoding.codes(stored)
    values = bx.prune(tensor.layout.turn(codes), rows=2, format=form).values
    return tensor.encoding.stored(tensor.layout.restore(values), stored)


def same_but_weights(path, expected):
    """Whether two models are the same, however their tensors are written."""
    models = [onnx.load(p) for p in (path, expected)]
    for model in models:
        for _, tensor in tensors_of(model.graph, ""):
            array = onnx.numpy_helper.to_array(tensor)
            doc = tensor.doc_string
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
            tensor.doc_string = doc
    return models[0] == models[1]


def check_simulated(bitx, model, folder):
    given = ["--traces", folder / "t.h5"] if model.runs else []
    rows = bitx.json("simulate", model.path, *given)["layers"]
    own = [row for row in rows if row["accelerator"] == "bitx"]
    assert len(own) == model.layers + model.products - model.sized_by_inputs
    without = [row["reason"] for row in own if row["cycles"] is None]
    assert all(reason.startswith("both operands are activations") for reason in without)
    assert sum(row["cycles"] is not None for row in own) >= model.layers - model.sized_by_inputs
    machines = bitx.json("simulate", model.path, "-a", "all", *given)["totals"]
    assert len(machines) > 10
    assert {row["layers"] + row["not_applicable"] for row in machines} == {len(own)}


@pytest.mark.parametrize(
    ("kind", "value", "layer"),
    [(2, np.uint8(200), "taken"), (9, np.bool_(True), "taken"), (1, np.float32(0.1), "other")],
)
def test_traces_keep_flags_of_every_type(bitx, tmp_path, kind, value, layer):
    """Which of two layers runs depends on a flag, not on which of them is larger."""
    node, make = onnx.helper.make_node, onnx.helper
    y = make.make_tensor_value_info("y", 1, None)
    branches = {
        f"{name}_branch": make.make_graph([node("MatMul", ["x", w], ["y"], w)], name, [], [y])
        for name, w in (("then", "taken"), ("else", "other"))
    }
    nodes = [
        node("Cast", ["flag"], ["f"], to=1),
        node("Less", ["f", "half"], ["no"]),
        node("Not", ["no"], ["yes"]),
    ]
    path = foreign.save(
        tmp_path / "flag.onnx",
        [*nodes, node("If", ["yes"], ["y"], "if", **branches)],
        {"x": (1, [1, 4]), "flag": (kind, [])},
        {"y": (1, None)},
        {"half": np.float32(0.5), "taken": foreign.floats(4, 3), "other": foreign.floats(4, 30)},
    )
    for name, given in (("x", foreign.floats(1, 4)), ("flag", value)):
        np.save(tmp_path / name, given)
    inputs = [f"--input={name}={tmp_path / name}.npy" for name in ("x", "flag")]
    assert bitx.json("trace", path, *inputs, "-o", tmp_path / "t.h5")["layers"] == 1
    rows = bitx.json("simulate", path, "-a", "stripes", "--traces", tmp_path / "t.h5")["layers"]
    assert [row["layer"] for row in rows] == [layer]


def test_a_hub_cache(bitx, tmp_path):
    snapshot = foreign.hub_cache(tmp_path)
    file = snapshot / "model.safetensors"
    for path, out, prefix in ((file, "one.safetensors", ""), (snapshot, "folder", "model.safetensors/")):
        names = [f"{prefix}layers.{i}.weight" for i in range(2)]
        assert bitx.json("inspect", path)["dumps"][0]["totals"]["tensors"] == 2
        document = bitx.json("prune", path, "-o", tmp_path / out)
        assert [row["tensor"] for row in document["tensors"]] == names
        for machines in ([], ["-a", "all"]):
            assert bitx.json("simulate", path, "--exclude", "*.bias", *machines)["totals"]
    with bx.open_dump(tmp_path / "one.safetensors") as dump:
        assert sorted(dump) == ["layers.0.bias", "layers.0.weight", "layers.1.weight"]
