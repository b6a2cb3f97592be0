"""Models in stages: the same outputs, changes on the edges into layers only, and what can't be cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection
from bitxcore.data import data_folder
from bitxcore.dumps import open_dump
from bitxcore.errors import DumpError, TensorError
from bitxcore.store import Store
from hwmodel.evaluation import Setting, evaluate, task
from hwmodel.evaluation.machine_gain import MachineGains
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.activation_pruning import ActivationPruning
from hwmodel.evaluation.tasks.labelled import Labelled

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
make, numpy_helper = onnx.helper, onnx.numpy_helper

SAMPLES = data_folder("samples")
RNG = np.random.default_rng(3)


def plain(path, feeds):
    """Outputs of the whole model, operators as they are."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def written(path, nodes, inputs, outputs, tensors, ir_version=8):
    """Write a graph of nodes; inputs by name and shape."""
    graph = make.make_graph(
        [make.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [make.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [make.make_tensor_value_info(name, 1, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=ir_version)
    path.write_bytes(model.SerializeToString())
    return path


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


FEEDS = {
    "digits_resnet": {"image": RNG.random((5, 1, 8, 8), np.float32)},
    "digit_detector": {"image": RNG.random((2, 1, 96, 96), np.float32)},
    "pydoc_transformer": {"ids": RNG.integers(0, 100, (2, 128))},
}


@pytest.mark.parametrize("name", FEEDS)
def test_stages_give_what_the_whole_model_gives(name):
    path, feeds = SAMPLES / f"{name}.onnx", FEEDS[name]
    runner = StagedRunner(path, optimised=False)
    for _ in range(2):
        for staged, whole in zip(runner(feeds), plain(path, feeds), strict=True):
            np.testing.assert_array_equal(staged, whole)
    with open_dump(path) as dump:
        stored = {tensor.name for tensor in dump.values()}
    assert {name for layer in runner.layers for name in layer.tensors} <= stored
    assert 1 < runner.stages <= len(runner.layers) + 1
    optimised = StagedRunner(path)(feeds)
    for staged, whole in zip(optimised, plain(path, feeds), strict=True):
        np.testing.assert_allclose(staged, whole, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crops", "minilm", "ocr"])
def test_stages_of_a_large_network(name):
    large = task(name)
    feeds = {key: array[:2] for key, array in next(large.samples(quick=True)).feeds.items()}
    runner = StagedRunner(large.model, optimised=False)
    np.testing.assert_array_equal(runner(feeds)[0], plain(large.model, feeds)[0])


def test_constants_are_constant_in_their_stages(tmp_path):
    """A weight in a Constant node is packed as one that is stored, which decides last bits."""
    nodes = [
        ("Constant", [], ["w"], {"value": numpy_helper.from_array(normal(60, 120), "")}),
        ("Relu", ["x"], ["r"]),
        ("MatMul", ["r", "w"], ["p"]),
        ("Transpose", ["w"], ["t"], {"perm": [1, 0]}),
        ("MatMul", ["p", "t"], ["y"]),
        ("Relu", ["t"], ["c"]),
    ]
    path = written(tmp_path / "m.onnx", nodes, [("x", 1, ["N", 60])], ["y", "c"], {})
    feeds = {"x": normal(33, 60)}
    expected = plain(path, feeds)
    for staged, whole in zip(StagedRunner(path, optimised=False)(feeds), expected, strict=True):
        np.testing.assert_array_equal(staged, whole)

    def compute(layer, inputs):
        return inputs[0] @ inputs[1]

    for staged, whole in zip(StagedRunner(path, compute=compute)(feeds), expected, strict=True):
        np.testing.assert_allclose(staged, whole, rtol=1e-4, atol=1e-4)


def test_only_the_edge_into_a_layer_is_changed(tmp_path):
    a, b = normal(4, 4), normal(4, 4)
    path = written(
        tmp_path / "m.onnx",
        [
            ("MatMul", ["x", "a"], ["p"]),
            ("MatMul", ["x", "b"], ["q"]),
            ("Add", ["p", "q"], ["s"]),
            ("Add", ["s", "x"], ["y"]),
        ],
        [("x", 1, ["N", 4])],
        ["y", "p"],
        {"a": a, "b": b},
    )
    x = normal(3, 4)
    seen = []

    def change(layer, value):
        seen.append((layer.name, layer.tensors, layer.place))
        return value * 2 if layer.tensors == ("a",) else value

    y, p = StagedRunner(path, change, optimised=False)({"x": x})
    np.testing.assert_array_equal(p, x * 2 @ a)
    np.testing.assert_allclose(y, x * 2 @ a + x @ b + x, rtol=1e-5)
    assert seen == [("p", ("a",), 0), ("q", ("b",), 0)]
    # Of layers with other weights nothing is known.
    seen.clear()
    StagedRunner(path, change, tensors={"b"})({"x": x})
    assert [name for name, *_ in seen] == ["q"]


def test_a_layer_may_be_computed_in_place_of_its_node(tmp_path):
    w, bias = normal(4, 6), normal(6)
    path = written(
        tmp_path / "m.onnx",
        [
            ("Transpose", ["w"], ["t"], {"perm": [1, 0]}),
            ("Relu", ["x"], ["r"]),
            ("Gemm", ["r", "t", "c"], ["g"], {"transB": 1, "beta": 0.5}),
            ("Add", ["g", "x0"], ["y"]),
        ],
        [("x", 1, ["N", 4]), ("x0", 1, [1])],
        ["y"],
        {"w": w, "c": bias},
    )
    feeds = {"x": normal(3, 4), "x0": np.ones(1, np.float32)}

    def compute(layer, inputs):
        x, t, c = inputs
        np.testing.assert_array_equal(x, np.maximum(feeds["x"], 0) + 1)
        np.testing.assert_array_equal(t, w.T)
        return x @ t.T + c * layer.attributes["beta"]

    runner = StagedRunner(path, lambda _, x: x + 1, compute=compute)
    (y,) = runner(feeds)
    np.testing.assert_allclose(y, (np.maximum(feeds["x"], 0) + 1) @ w + bias / 2 + 1, rtol=1e-5)


def test_outputs_that_no_stage_makes(tmp_path):
    """An input and a stored tensor may be outputs; stored tensors of old files are inputs, too."""
    w = normal(4, 4)
    path = written(
        tmp_path / "m.onnx",
        [("MatMul", ["x", "w"], ["y"])],
        [("x", 1, ["N", 4]), ("w", 1, [4, 4])],
        ["y", "x", "w"],
        {"w": w},
        ir_version=3,
    )
    x = normal(2, 4)
    y, same, stored = StagedRunner(path, optimised=False)({"x": x})
    np.testing.assert_array_equal(y, x @ w)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(stored, w)


def in_a_branch(path):
    def body(name, operator):
        return make.make_graph(
            [make.make_node(operator, ["x", "w"], [name])],
            name,
            [],
            [make.make_tensor_value_info(name, 1, None)],
        )

    node = make.make_node("If", ["f"], ["y"], then_branch=body("a", "MatMul"), else_branch=body("b", "Add"))
    inputs = [make.make_tensor_value_info("x", 1, [4, 4]), make.make_tensor_value_info("f", 9, [])]
    graph = make.make_graph(
        [node],
        "g",
        inputs,
        [make.make_tensor_value_info("y", 1, [4, 4])],
        [numpy_helper.from_array(normal(4, 4), "w")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_what_can_not_be_cut_says_so(tmp_path):
    with pytest.raises(TensorError, match=r"m\.onnx.*MatMul 'a' is inside of If 'y'.*can't be cut"):
        StagedRunner(in_a_branch(tmp_path / "m.onnx"))
    path = written(
        tmp_path / "e.onnx",
        [("Einsum", ["x", "w"], ["y"], {"equation": "nk,km->nm"})],
        [("x", 1, ["N", 4])],
        ["y"],
        {"w": normal(4, 4)},
    )
    with pytest.raises(TensorError, match="Einsum 'y': activations can be changed of Conv"):
        StagedRunner(path)
    (y,) = StagedRunner(path, tensors=())({"x": normal(2, 4)})
    assert y.shape == (2, 4)


def test_samples_that_a_model_does_not_take(model):
    runner = StagedRunner(model)
    with pytest.raises(DumpError, match="takes image; it was given x"):
        runner({"x": normal(1, 3, 8, 8)})
    with pytest.raises(DumpError, match="does not run on the samples: these are image float32"):
        StagedRunner(model)({"image": normal(1, 5, 8, 8)})
    renamed = model.with_name("other.onnx")
    with pytest.raises(DumpError, match=r"other\.onnx"):
        StagedRunner(model, named=renamed)({"y": normal(1)})


def test_a_fixed_batch_is_the_runners(tmp_path, write_model):
    assert StagedRunner(write_model(tmp_path / "m.onnx", batch=4)).batch == 4
    assert StagedRunner(write_model(tmp_path / "n.onnx")).batch is None


# -- pruned activations ------------------------------------------------------------------------


class Keeping:
    """Keeps what a change makes of each layer's activations."""

    def __init__(self, change):
        self.change, self.pairs = change, []

    def __call__(self, layer, x):
        self.pairs.append((layer, x, self.change(layer, x)))
        return self.pairs[-1][2]


def test_groups_of_activations_are_channels_at_one_position(tmp_path):
    path = written(
        tmp_path / "m.onnx",
        [
            ("Conv", ["x", "w1"], ["a"], {"group": 2}),
            ("Flatten", ["a"], ["f"]),
            ("Gemm", ["f", "w2"], ["g"], {"transA": 0, "transB": 1}),
            ("Transpose", ["g"], ["t"], {"perm": [1, 0]}),
            ("MatMul", ["w3", "t"], ["y"]),
        ],
        [("x", 1, ["N", 10, 4, 4])],
        ["y"],
        {"w1": normal(4, 5, 3, 3), "w2": normal(9, 16), "w3": normal(2, 9)},
    )
    keeping = Keeping(ActivationPruning(2, 4))
    StagedRunner(path, keeping)({"x": normal(3, 10, 4, 4)})
    (conv, x, changed), (_, f, changed_f), (left, t, changed_t) = keeping.pairs
    assert (conv.conv_groups, left.place) == (2, 1)
    for sample in range(3):
        for row, column in np.ndindex(4, 4):
            for half in (slice(0, 5), slice(5, 10)):  # groups of 4 and 1, within a group of the convolution
                own = bx.prune(x[sample, half, row, column], rows=2, group=4).values
                np.testing.assert_array_equal(changed[sample, half, row, column], own)
    np.testing.assert_array_equal(changed_f, bx.prune(f, rows=2, group=4).values)
    np.testing.assert_array_equal(changed_t.T, bx.prune(np.ascontiguousarray(t.T), rows=2, group=4).values)


def test_activations_take_a_format():
    x = normal(3, 5, 16)
    flat = x.reshape(-1, 16)
    half = ActivationPruning(3, format="bfloat16").rows_of(x)
    dtype = bx.number_format("bfloat16").dtype
    np.testing.assert_array_equal(half.reshape(-1, 16), bx.prune(flat.astype(dtype), rows=3).values)
    fixed = ActivationPruning(3, format="fixed8").rows_of(x)
    for own, pruned in zip(x, fixed, strict=True):  # a scale for each sample, whatever the others are
        np.testing.assert_array_equal(pruned, ActivationPruning(3, format="fixed8").rows_of(own[None])[0])
    np.testing.assert_array_equal(fixed[0], bx.prune(x[0], rows=3, format="fixed8").values)
    assert half.dtype == fixed.dtype == np.float32
    every = ActivationPruning(64, 1, window=64).rows_of(x)
    np.testing.assert_array_equal(every, x)


def test_evaluation_with_pruned_activations(model, data, tmp_path):
    own = Labelled(model, data["arrays"])
    settings = [
        Setting(activation_rows=64, window=64),
        Setting(activation_rows=1),
        Setting(5, activation_rows=1),
    ]
    found = evaluate(own, settings, resamples=20, store=tmp_path / "e.h5")
    before, same, worse, both = found.points
    assert same.scores["cosine"].value == pytest.approx(1)
    assert worse.scores["cosine"].value < 0.9999
    assert (worse.relative_error, worse.kept_rows_mean) == (None, None)
    assert both.relative_error > 0
    assert [p.setting.label for p in (worse, both)] == [
        "all rows, group 8, activation rows 1",
        "rows 5, group 8, activation rows 1",
    ]
    # The machine that is serial over activations, and one operand at a time.
    assert worse.machine.cycles < worse.machine.unpruned_cycles
    assert "not both" in both.machine.reason
    assert before.machine.reason is None
    with Store.open(tmp_path / "e.h5") as store:
        table = store.table("evaluation")
    assert list(table["activation_rows"][1:]) == [64, 1, 1]


def test_machine_of_pruned_activations_prunes_alike(model, data):
    """Ones that the machine keeps are those of the activations that the model is given."""
    image = next(Labelled(model, data["arrays"]).samples()).feeds["image"][:1]
    image[image < 0.4] = 0  # zeros keep their places in the groups
    keeping = Keeping(ActivationPruning(2))
    StagedRunner(model, keeping)({"image": image})
    (_, _, pixels), _ = keeping.pairs
    padded = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    setting = Setting(activation_rows=2)
    network = hw.load_network(model, input_size={"image": (1, 3, 8, 8)})
    with open_dump(model) as dump:
        machine = hw.accelerator("bitx", **setting.machine)
        result = hw.simulate_network(machine, network, dump=dump, traces={"conv1": image})
    row = next(row for row in result.layers if row.layer == "conv1")
    assert row.kept_ones_mean == pytest.approx(bx.essential_bits(seen).mean())
    gains = MachineGains(model, {"image": (3, 8, 8)}, Selection(), {"image": image})
    assert gains.gain(setting).cycles >= row.cycles
    assert gains.gain(replace(setting, format="bfloat16")).cycles is not None
    assert "no sample" in MachineGains(model, {"image": (3, 8, 8)}, Selection()).gain(setting).reason
