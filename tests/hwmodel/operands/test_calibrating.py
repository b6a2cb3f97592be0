"""Norms of a calibration run: root mean squares of what the layers read, as tensors have their inputs."""

from pathlib import Path

import numpy as np
import pytest

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import prune_dump
from bitxcore.errors import DumpError, OptionError

onnx = pytest.importorskip("onnx")
make, numpy_helper = onnx.helper, onnx.numpy_helper

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
RNG = np.random.default_rng(3)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def save(path, nodes, inputs, stored, outputs=("y",)):
    """A model of `nodes`, written to `path`."""
    graph = make.make_graph(
        nodes,
        "g",
        [make.make_tensor_value_info(name, 1, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def rms(x, axis):
    return np.sqrt(np.square(x.astype(np.float64)).mean(axis=axis))


def calibrated(path, inputs, tmp_path, **options):
    result = hw.calibrate(path, inputs, tmp_path / "norms.h5", **options)
    return result, hw.open_norms(tmp_path / "norms.h5")


def test_norms_are_those_of_the_traced_activations(tmp_path):
    x = np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float32)
    result, norms = calibrated(SAMPLE, x, tmp_path)
    assert not result.not_recorded
    assert result.runs == 1
    hw.trace(SAMPLE, x, tmp_path / "t.h5")
    with hw.open_traces(tmp_path / "t.h5") as traces, bx.open_dump(SAMPLE) as dump:
        for entry in result.network.layers:
            read = traces[entry.layer.name]
            want = rms(read, (0, *range(2, read.ndim)))
            shape = dump[entry.weight].shape
            if shape[1] == 1 and shape[0] > 16:  # depthwise: each filter reads its own channel
                want = want.reshape(-1, 1, 1, 1)
            np.testing.assert_allclose(norms[entry.weight], want, rtol=1e-12)
    assert [row.tensor for row in result.tensors] == list(norms)


def test_runs_and_slices_do_not_matter(tmp_path):
    x = np.random.default_rng(0).random((5, 1, 8, 8)).astype(np.float32)
    _, whole = calibrated(SAMPLE, x, tmp_path)
    result, parts = calibrated(SAMPLE, x, tmp_path, batch=2, slice_bytes=20_000)
    assert result.runs > 6
    assert {row.tensor: row.values for row in result.tensors}["stem.weight"] == 5 * 64
    for name, norms in whole.items():
        np.testing.assert_allclose(parts[name], norms, rtol=1e-6)  # ONNX Runtime's own rounding


def test_a_model_of_one_sample_runs_as_often_as_it_takes(tmp_path):
    nodes = [make.make_node("MatMul", ["x", "w"], ["y"], name="fc")]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 6]}, {"w": floats(6, 4)})
    x = floats(3, 6)
    result, norms = calibrated(path, x, tmp_path)
    assert result.runs == 3
    np.testing.assert_allclose(norms["w"], rms(x, 0), rtol=1e-12)
    with pytest.raises(OptionError, match="takes 1 samples in a run, not 2"):
        calibrated(path, x, tmp_path, batch=2)
    two = save(tmp_path / "two.onnx", nodes, {"x": [2, 6]}, {"w": floats(6, 4)})
    with pytest.raises(OptionError, match="takes 2 samples in a run, 3 are given"):
        calibrated(two, x, tmp_path)


def test_inputs_that_can_not_be_cut(tmp_path):
    nodes = [
        make.make_node("MatMul", ["x", "w"], ["a"], name="fc"),
        make.make_node("Add", ["a", "b"], ["y"]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": ["n", 6], "b": ["m"]}, {"w": floats(6, 4)})
    feeds = {"x": floats(3, 6), "b": floats(4)}
    assert calibrated(path, feeds, tmp_path)[0].runs == 1
    with pytest.raises(OptionError, match="different lengths"):
        calibrated(path, feeds, tmp_path, batch=1)


def test_a_tensor_of_two_layers_has_the_mean_over_all_that_they_read(tmp_path):
    nodes = [
        make.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        make.make_node("MatMul", ["z", "w"], ["b"], name="two"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [2, 6], "z": [5, 6]}, {"w": floats(6, 4)}, ("a", "b"))
    x, z = floats(2, 6), 9 * floats(5, 6)
    result, norms = calibrated(path, {"x": x, "z": z}, tmp_path)
    np.testing.assert_allclose(norms["w"], rms(np.concatenate([x, z]), 0), rtol=1e-12)
    assert (result.tensors[0].layers, result.tensors[0].values) == (2, 42)


def test_grouped_convolutions_stacks_and_pieces(tmp_path):
    stored = {"w1": floats(6, 2, 3, 3), "w2": floats(3, 7, 5), "w3": floats(4, 8)}
    nodes = [
        make.make_node("Conv", ["x", "w1"], ["c"], name="c", group=2),
        make.make_node("MatMul", ["z", "w2"], ["s"], name="s"),
        make.make_node("Transpose", ["w3"], ["t"], perm=[1, 0]),
        make.make_node("MatMul", ["v", "t"], ["p"], name="p"),
    ]
    inputs = {"x": [2, 4, 5, 5], "z": [3, 2, 7], "v": [9, 8]}
    path = save(tmp_path / "m.onnx", nodes, inputs, stored, ("c", "s", "p"))
    feeds = {"x": floats(2, 4, 5, 5), "z": floats(3, 2, 7), "v": floats(9, 8)}
    result, norms = calibrated(path, feeds, tmp_path)
    assert not result.not_recorded
    channels = rms(feeds["x"], (0, 2, 3))
    assert norms["w1"].shape == (6, 2, 1, 1)
    np.testing.assert_allclose(
        norms["w1"][:, :, 0, 0], np.repeat(channels.reshape(2, 2), 3, axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(norms["w3"], rms(feeds["v"], 0), rtol=1e-12)
    with bx.open_dump(path) as dump:
        # Output channel first: (5, 3, 7), whose filters all meet (3, 7).
        stack = dump["w2"].layout.turn(np.broadcast_to(rms(feeds["z"], 1)[:, :, None], (3, 7, 5)))
        assert norms["w2"].shape == (3, 7)
        np.testing.assert_allclose(np.broadcast_to(norms["w2"], stack.shape), stack, rtol=1e-12)
        rows = prune_dump(dump, tmp_path / "p.onnx", criterion="calibrated", norms=norms, rows=3)
    assert [row.tensor for row in rows] == ["w1", "w2", "w3"]


def test_recurrent_layers(tmp_path):
    stored = {"w": floats(1, 12, 5), "r": floats(1, 12, 3)}
    nodes = [make.make_node("LSTM", ["x", "w", "r"], ["", "h"], name="l", hidden_size=3)]
    path = save(tmp_path / "m.onnx", nodes, {"x": [4, 2, 5]}, stored, ("h",))
    x = floats(4, 2, 5)
    _, norms = calibrated(path, x, tmp_path)
    with bx.open_dump(path) as dump:
        met = np.broadcast_to(norms["w"].reshape(-1), (12, 5)) if norms["w"].size == 5 else norms["w"]
        np.testing.assert_allclose(met.reshape(-1, 5)[0], rms(x, (0, 1)), rtol=1e-12)
        prune_dump(dump, tmp_path / "p.onnx", criterion="calibrated", norms=norms, rows=3)


def test_pruning_by_norms_turns_tensors_first(tmp_path):
    nodes = [make.make_node("MatMul", ["x", "w"], ["y"], name="fc")]
    w, x = floats(16, 4), floats(9, 16) * np.exp(floats(16))
    path = save(tmp_path / "m.onnx", nodes, {"x": [9, 16]}, {"w": w})
    _, norms = calibrated(path, x, tmp_path)
    with bx.open_dump(path) as dump:
        prune_dump(dump, tmp_path / "p.onnx", criterion="calibrated", norms=norms, rows=2)
        with pytest.raises(OptionError, match=r"m.onnx: tensor 'w': has no norms; exclude"):
            prune_dump(dump, tmp_path / "q.onnx", criterion="calibrated", norms={}, rows=2)
        with pytest.raises(
            OptionError, match=r"m.onnx: tensor 'w': norms of a tensor of shape \(4, 16\) must"
        ):
            prune_dump(dump, tmp_path / "q.onnx", criterion="calibrated", norms={"w": [1, 2]}, rows=2)
    assert not (tmp_path / "q.onnx").exists()
    with bx.open_dump(tmp_path / "p.onnx") as pruned:
        want = bx.prune(w.T, criterion="calibrated", norms=rms(x, 0), rows=2).values.T
        assert pruned["w"].read().tobytes() == np.ascontiguousarray(want).tobytes()


def test_less_error_where_channels_differ(tmp_path):
    rng = np.random.default_rng(5)
    w = rng.standard_normal((64, 64)).astype(np.float32)
    norms = np.exp(rng.normal(0, 1.5, 64))
    x = rng.standard_normal((500, 64)) * norms
    errors = [
        np.linalg.norm(x @ (bx.prune(w, rows=3, **how).values - w).T)
        for how in ({}, {"criterion": "calibrated", "norms": rms(x, 0)})
    ]
    assert errors[1] < 0.8 * errors[0]


def test_what_holds_no_norms(tmp_path):
    hw.trace(SAMPLE, np.ones((1, 1, 8, 8), np.float32), tmp_path / "t.h5")
    with pytest.raises(DumpError, match="holds no norms; bitx trace --norms writes them"):
        hw.open_norms(tmp_path / "t.h5")
    calibrated(SAMPLE, np.ones((1, 1, 8, 8), np.float32), tmp_path)
    with pytest.raises(DumpError, match="holds no traces"):
        hw.open_traces(tmp_path / "norms.h5")
