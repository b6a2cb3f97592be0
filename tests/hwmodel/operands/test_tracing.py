"""What is recorded is what the layers multiply: with the weights it gives ONNX Runtime's own outputs."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.errors import BitxError, DumpError, MissingExtraError, OptionError, TensorError
from bitxcore.store import Store
from hwmodel.networks import onnx as onnx_graph
from hwmodel.networks.graph_operands import hidden_rows
from hwmodel.operands.im2col import windows

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
make, numpy_helper = onnx.helper, onnx.numpy_helper

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
RNG = np.random.default_rng(3)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def save(path, nodes, inputs, stored=(), outputs=("y",), dtype=1):
    """A model of `nodes`, written to `path`."""
    graph = make.make_graph(
        nodes,
        "g",
        [make.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in dict(stored).items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def run(path, feeds):
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def recorded(path, feeds, tmp_path, **options):
    result = hw.trace(path, feeds, tmp_path / "t.h5", **options)
    return result, hw.open_traces(tmp_path / "t.h5")


def weights(result, path):
    import bitxcore as bx

    with bx.open_dump(path) as dump:
        return {e.layer.name: e.read(dump) for e in result.network.layers}


# -- every kind of layer -----------------------------------------------------------------------


def test_convolutions(tmp_path):
    stored = {"w1": floats(6, 2, 3, 2), "w2": floats(6, 4, 3, 3)}
    nodes = [
        make.make_node("Conv", ["x", "w1"], ["c"], name="c", group=2, pads=[1, 0, 2, 1], strides=[2, 1]),
        make.make_node("Relu", ["c"], ["r"]),
        make.make_node("ConvTranspose", ["r", "w2"], ["y"], name="t", strides=[2, 2]),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [2, 4, 7, 6]}, stored, ("c", "y"))
    x = floats(2, 4, 7, 6)
    c, _ = run(path, {"x": x})
    result, traces = recorded(path, x, tmp_path)
    assert np.array_equal(traces["c"], x)
    assert np.array_equal(traces["t"], np.maximum(c, 0))
    layer = result.network.layers[0].layer
    seen = windows(layer, traces["c"]).reshape(2, layer.positions, -1)
    w = stored["w1"].reshape(2, 3, -1)
    products = np.einsum("gpk,gfk->gfp", seen, w).reshape(6, 2, *layer.out_size)
    assert np.allclose(products.swapaxes(0, 1), c, atol=1e-5)
    zeros = {row.layer: row.zeros for row in result.operands}
    assert zeros == {"c": 0, "t": pytest.approx(np.mean(c <= 0))}


@pytest.mark.parametrize("flips", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_gemm(tmp_path, flips):
    a, b = floats(5, 4), floats(4, 3)
    stored = {"b": b.T.copy() if flips[1] else b}
    node = make.make_node("Gemm", ["x", "b"], ["y"], name="l", transA=flips[0], transB=flips[1])
    given = a.T.copy() if flips[0] else a
    path = save(tmp_path / "m.onnx", [node], {"x": given.shape}, stored)
    result, traces = recorded(path, given, tmp_path)
    assert np.array_equal(traces["l"], a)
    assert np.allclose(traces["l"] @ weights(result, path)["l"].T, run(path, {"x": given})[0], atol=1e-5)


@pytest.mark.parametrize(
    ("x", "w", "weights_first"),
    [
        ((2, 3, 4), (4, 5), False),
        ((4,), (4, 5), False),
        ((3, 4), (4,), False),
        ((6, 3, 4), (6, 4, 5), False),
        ((2, 1, 3, 4), (3, 4, 5), False),
        ((3, 4), (2, 4, 5), False),
        ((4, 5), (3, 4), True),
        ((2, 4, 5), (3, 4), True),
        ((4, 5), (2, 3, 4), True),
        ((4,), (3, 4), True),
    ],
)
def test_matrix_products_with_weights(tmp_path, x, w, weights_first):
    w, x = floats(*w), floats(*x)
    names = ["w", "x"] if weights_first else ["x", "w"]
    path = save(
        tmp_path / "m.onnx", [make.make_node("MatMul", names, ["y"], name="l")], {"x": x.shape}, {"w": w}
    )
    (y,) = run(path, {"x": x})
    result, traces = recorded(path, x, tmp_path)
    assert not result.not_recorded
    turned = weights(result, path)
    products = [traces[name] @ turned[name].reshape(turned[name].shape[0], -1).T for name in traces]
    # Every output is one product of a recorded row with one filter; each row's products lie together.
    assert sum(p.size for p in products) == y.size
    assert np.allclose(
        np.sort(np.concatenate([p.reshape(-1) for p in products])), np.sort(y.reshape(-1)), atol=1e-5
    )
    filters_last = y if not weights_first else np.swapaxes(y, -1, -2) if y.ndim > 1 else y
    if len(products) == 1:
        assert np.allclose(products[0].reshape(-1), filters_last.reshape(-1), atol=1e-5)
    else:
        stack = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
        assert np.prod(stack) % len(products) == 0
        last = np.broadcast_to(filters_last, filters_last.shape).reshape(
            -1, len(products), *filters_last.shape[-2:]
        )
        for i, product in enumerate(products):
            assert np.allclose(product, last[:, i].reshape(product.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 5, 4), (2, 3, 4, 6)),
        ((3, 5, 4), (4, 6)),
        ((1, 5, 4), (3, 4, 6)),
        ((5, 4), (4,)),
        ((4,), (2, 4, 6)),
    ],
)
def test_products_of_activations(tmp_path, a, b):
    a, b = floats(*a), floats(*b)
    node = make.make_node("MatMul", ["a", "b"], ["y"], name="m")
    path = save(tmp_path / "m.onnx", [node], {"a": a.shape, "b": b.shape})
    result, traces = recorded(path, {"a": a, "b": b}, tmp_path)
    layer = result.network.layers[0].layer
    assert traces["m"].shape == (layer.batch, layer.rows, layer.inner)
    assert traces.second("m").shape == (layer.batch, layer.inner, layer.columns)
    y = traces["m"] @ traces.second("m")
    assert np.allclose(y.reshape(-1), run(path, {"a": a, "b": b})[0].reshape(-1), atol=1e-5)
    hw.Operands(activations=traces["m"]).check(layer)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
def test_recurrent(tmp_path, direction, initial, last_only):
    """tanh(input rows x W + hidden rows x R) are the hidden states, step by step."""
    d = 2 if direction == "bidirectional" else 1
    stored = {"w": floats(d, 4, 3), "r": floats(d, 4, 4)}
    inputs = ["x", "w", "r"]
    if initial:
        stored["h"] = floats(d, 2, 4)
        inputs += ["", "", "h"]
    outputs = ["", "last"] if last_only else ["y"]
    node = make.make_node("RNN", inputs, outputs, name="n", hidden_size=4, direction=direction)
    path = save(tmp_path / "m.onnx", [node], {"x": [5, 2, 3]}, stored, outputs[-1:])
    x = floats(5, 2, 3)
    (y,) = run(path, {"x": x})
    result, traces = recorded(path, x, tmp_path)
    w = weights(result, path)
    for i in range(d):
        suffix = f"[{i}]" if d == 2 else ""
        rows, hidden = traces[f"n.input{suffix}"], traces[f"n.recurrent{suffix}"]
        assert np.array_equal(rows, x.reshape(10, 3))
        backward = direction == "reverse" or i == 1
        fed = rows.reshape(5, 2, 3)[::-1] if backward else rows.reshape(5, 2, 3)
        states = np.tanh(
            fed @ w[f"n.input{suffix}"].T + hidden.reshape(5, 2, 4) @ w[f"n.recurrent{suffix}"].T
        )
        expected = y[i] if last_only else y[::-1, i] if backward else y[:, i]
        assert np.allclose(states[-1] if last_only else states, expected, atol=1e-5)


def test_hidden_states_with_the_batch_first():
    y, h = floats(5, 2, 3, 4), floats(2, 3, 4)
    for direction, backward in ((0, False), (1, True)):
        options = {"direction": direction, "backward": backward}
        time_first = hidden_rows(y, h, batch_first=False, **options)
        turned = hidden_rows(y.transpose(2, 0, 1, 3), h.transpose(1, 0, 2), batch_first=True, **options)
        assert np.array_equal(time_first, turned)


def test_lstm_gives_inputs_and_hidden_states(tmp_path):
    stored = {"w": floats(1, 16, 3), "r": floats(1, 16, 4)}
    node = make.make_node("LSTM", ["x", "w", "r"], ["y"], name="n", hidden_size=4)
    path = save(tmp_path / "m.onnx", [node], {"x": [5, 2, 3]}, stored)
    x = floats(5, 2, 3)
    (y,) = run(path, {"x": x})
    _, traces = recorded(path, x, tmp_path)
    assert np.array_equal(traces["n.recurrent"].reshape(5, 2, 4)[1:], y[:-1, 0])
    assert not traces["n.recurrent"][:2].any()


def test_what_cannot_be_recorded_is_listed(tmp_path):
    stored = {"w": floats(1, 4, 3), "r": floats(1, 4, 4), "lengths": np.array([5, 3], np.int32)}
    node = make.make_node("RNN", ["x", "w", "r", "", "lengths"], ["y"], name="n", hidden_size=4)
    path = save(tmp_path / "m.onnx", [node], {"x": [5, 2, 3]}, stored)
    result, traces = recorded(path, floats(5, 2, 3), tmp_path)
    assert list(traces) == ["n.input"]
    assert [row.layer for row in result.not_recorded] == ["n.recurrent"]
    assert result.not_recorded == traces.not_recorded
    reason = "sequences of several lengths: which steps are real is known at run time only"
    ran = hw.simulate_network(hw.accelerator("pragmatic"), result.network, traces=traces)
    assert f"activations of layer n.recurrent were not recorded: {reason}" in ran.notes
    assert ran.layers[1].notes == ("stand-in activations: relu-normal, seed 0",)


@pytest.mark.parametrize("zero", [0, 128])
def test_integers_lose_their_zero_point(tmp_path, zero):
    stored = {"w": RNG.integers(-5, 6, (4, 3)).astype(np.int8), "zero": np.array(zero, np.uint8)}
    node = make.make_node("MatMulInteger", ["x", "w", "zero"], ["y"], name="l")
    path = save(tmp_path / "m.onnx", [node], {"x": [2, 4]}, stored, dtype=2)
    x = RNG.integers(0, 256, (2, 4)).astype(np.uint8)
    result, traces = recorded(path, x, tmp_path)
    assert traces["l"].dtype == (np.int16 if zero else np.uint8)
    y = traces["l"].astype(int) @ weights(result, path)["l"].T.astype(int)
    assert np.array_equal(y, run(path, {"x": x})[0])


def test_quantised_convolution_and_a_zero_point_that_is_computed(tmp_path):
    """QLinearConv; and a product whose input is quantised at run time."""
    stored = {
        "s": np.array(0.5, np.float32), "zx": np.array(7, np.uint8), "zw": np.array(0, np.int8),
        "w": RNG.integers(-9, 9, (3, 2, 1, 1)).astype(np.int8),
        "m": RNG.integers(-9, 9, (4, 3)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        make.make_node("QuantizeLinear", ["x", "s", "zx"], ["q"]),
        make.make_node("QLinearConv", ["q", "s", "zx", "w", "s", "zw", "s", "zx"], ["c"], name="c"),
        make.make_node("DequantizeLinear", ["c", "s", "zx"], ["f"]),
        make.make_node("DynamicQuantizeLinear", ["f"], ["d", "ds", "dz"]),
        make.make_node("MatMulInteger", ["d", "m", "dz"], ["y"], name="l"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 2, 3, 4]}, stored, ("q", "d", "dz", "y"))
    x = floats(1, 2, 3, 4) * 4
    q, d, dz, y = run(path, {"x": x})
    result, traces = recorded(path, x, tmp_path)
    assert np.array_equal(traces["c"], q.astype(int) - 7)
    assert dz > 0
    assert np.array_equal(traces["l"].reshape(1, 3, 3, 4), d.astype(int) - int(dz))
    turned = weights(result, path)["l"].astype(int)
    assert np.array_equal((traces["l"].astype(int) @ turned.T).reshape(y.shape), y)


# -- memory ------------------------------------------------------------------------------------


def deep(tmp_path, layers):
    """A chain of equal convolutions; and an input."""
    stored = {f"w{i}": floats(4, 4, 1, 1) for i in range(layers)}
    nodes = [make.make_node("Conv", [f"v{i}", f"w{i}"], [f"v{i + 1}"], name=f"c{i}") for i in range(layers)]
    path = save(tmp_path / f"{layers}.onnx", nodes, {"v0": [1, 4, 128, 128]}, stored, (f"v{layers}",))
    return path, np.round(floats(1, 4, 128, 128))


def test_memory_holds_a_slice_however_deep_the_model(tmp_path, monkeypatch):
    """Arrays that ONNX Runtime hands over, and memory that Python holds, are bounded by the slice."""
    handed = []
    real = onnx_graph.run_graph

    def watched(*args, **options):
        # Copies are Python's own memory, which tracemalloc counts.
        values = [v.copy() for v in real(*args, **options)]
        handed.append(sum(v.nbytes for v in values))
        return values

    monkeypatch.setattr(onnx_graph, "run_graph", watched)

    def peak(depth, layers_a_slice):
        """Most layers' inputs that were in memory at once, before the last slice."""
        path, x = deep(tmp_path, depth)
        peaks = []

        def progress(done, total, name):
            if done < total:  # the file's digest, at the end, takes 4 MiB at a time
                peaks.append(tracemalloc.get_traced_memory()[1] if done else 0)
                tracemalloc.reset_peak()

        handed.clear()
        tracemalloc.start()
        result = hw.trace(
            path, x, tmp_path / "t.h5", slice_bytes=layers_a_slice * x.nbytes, progress=progress
        )
        tracemalloc.stop()
        assert result.slices == len(handed) == -(-depth // layers_a_slice)
        assert max(handed) == layers_a_slice * x.nbytes
        assert len(result.operands) == depth
        return max(peaks) / x.nbytes

    peak(4, 2)  # modules are loaded
    assert peak(24, 2) == pytest.approx(peak(8, 2), abs=0.5)
    assert peak(24, 2) < 8 < 12 < peak(24, 12)


def test_values_do_not_depend_on_the_slices(tmp_path):
    x = floats(1, 1, 8, 8)
    for nbytes in (1, 5000, 1 << 20):
        hw.trace(SAMPLE, x, tmp_path / f"{nbytes}.h5", slice_bytes=nbytes)
    one, some, all_ = (hw.open_traces(tmp_path / f"{n}.h5") for n in (1, 5000, 1 << 20))
    assert len(one) == 13
    for name in one:
        assert np.array_equal(one[name], some[name])
        assert np.array_equal(one[name], all_[name])


def test_a_layer_that_is_larger_than_the_slice_is_taken_alone(tmp_path):
    seen = []
    result = hw.trace(
        SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5", slice_bytes=1, progress=lambda *p: seen.append(p)
    )
    assert result.slices == 13
    assert seen[0] == (0, 13, "stem")
    assert seen[-1] == (13, 13, "")
    assert len(seen) == 14


def test_simulation_reads_one_layer_at_a_time(tmp_path, monkeypatch):
    hw.trace(SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5")
    traces = hw.open_traces(tmp_path / "t.h5")
    order = []
    real = type(traces).__getitem__
    monkeypatch.setattr(
        type(traces), "__getitem__", lambda self, k: order.append(("read", k)) or real(self, k)
    )
    hw.simulate_network(
        hw.accelerator("pragmatic"),
        hw.load_network(SAMPLE),
        traces=traces,
        progress=lambda done, total, name: order.append(("next", name)),
    )
    names = [layer.name for layer in hw.load_network(SAMPLE)]
    assert order == [step for name in names for step in (("next", name), ("read", name))] + [("next", "")]


# -- the file ----------------------------------------------------------------------------------


def test_store_and_its_reading(tmp_path):
    x = floats(2, 1, 8, 8)
    np.save(tmp_path / "x.npy", x)
    result = hw.trace(SAMPLE, tmp_path / "x.npy", tmp_path / "t.h5")
    names = [layer.name for layer in result.network]
    with Store.open(tmp_path / "t.h5") as store:
        assert list(store.tensors) == names
        assert store.table("traces")["shape"][0] == "2x1x8x8"
        assert store.units("traces")["zeros"] == "1"
        paths = [item.path for item in store.provenance.inputs]
        assert paths == [str(SAMPLE), str(tmp_path / "x.npy")]
        assert store.provenance.parameters["input_sizes"] == {"image": [2, 1, 8, 8]}
    with hw.open_traces(tmp_path / "t.h5") as traces:
        assert (list(traces), len(traces)) == (names, 13)
        assert np.array_equal(traces["stem"], x)
        assert traces.input_sizes == {"image": (2, 1, 8, 8)}
        assert traces.operands == result.operands
        assert "none" not in traces
        with pytest.raises(KeyError):
            traces["none"]
        assert traces.second("stem") is None
    # By path, as an open file, and as plain arrays: the same rows.
    network = hw.load_network(SAMPLE, sizes={"N": 2})
    machine = hw.accelerator("laconic")
    with hw.open_traces(tmp_path / "t.h5") as traces:
        given = [tmp_path / "t.h5", traces, dict(traces)]
        runs = [hw.simulate_network(machine, network, traces=t) for t in given]
    assert runs[0].layers == runs[1].layers == runs[2].layers
    hw.simulate_network(machine, network, traces=tmp_path / "t.h5", store=tmp_path / "r.h5")
    with Store.open(tmp_path / "r.h5") as store:
        assert str(tmp_path / "t.h5") in [item.path for item in store.provenance.inputs]


def test_traces_must_fit_the_network(tmp_path):
    hw.trace(SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5")
    machine = hw.accelerator("pragmatic")
    with pytest.raises(TensorError, match=r"'stem' were recorded with shape \(1, 1, 8, 8\).*\(2, 1, 8, 8\)"):
        hw.simulate_network(machine, hw.load_network(SAMPLE, sizes={"N": 2}), traces=tmp_path / "t.h5")
    with pytest.raises(OptionError, match="network 'resnet18' has no layer 'stem'"):
        hw.simulate_network(machine, hw.load_network("resnet18"), traces=tmp_path / "t.h5")


def test_traces_of_another_model_are_noted(tmp_path):
    hw.trace(SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5")
    model = onnx.load(SAMPLE)
    model.doc_string = "changed"
    onnx.save(model, tmp_path / "other.onnx")
    machine = hw.accelerator("stripes")
    same = hw.simulate_network(machine, hw.load_network(SAMPLE), traces=tmp_path / "t.h5")
    other = hw.simulate_network(machine, hw.load_network(tmp_path / "other.onnx"), traces=tmp_path / "t.h5")
    assert not any("another model" in note for note in same.notes)
    assert any(f"another model ({SAMPLE}, sha256 " in note for note in other.notes)


def test_stores_that_hold_no_traces(tmp_path):
    with Store.create(tmp_path / "s.h5") as store:
        store.write_table("other", {"a": [1]}, units={"a": "1"})
    with pytest.raises(DumpError, match=r"s\.h5: is a store, but holds no traces") as raised:
        hw.open_traces(tmp_path / "s.h5")
    assert raised.value.path == tmp_path / "s.h5"
    with Store.create(tmp_path / "d.h5") as store:
        store.write_table("traces", {"layer": ["a"], "shape": ["x"]}, units={"layer": "", "shape": ""})
        store.write_table("not_recorded", {"layer": ["a"]}, units={"layer": ""})
    with pytest.raises(DumpError, match=r"d\.h5: is damaged"):
        hw.open_traces(tmp_path / "d.h5")
    with pytest.raises(DumpError, match="no such file"):
        hw.open_traces(tmp_path / "none.h5")


def test_nothing_appears_if_the_run_fails(tmp_path):
    (tmp_path / "t.h5").write_bytes(b"old")
    path = save(tmp_path / "m.onnx", [make.make_node("MatMul", ["x", "w"], ["y"], name="l")], {"x": [2, 4]}, {
        "w": floats(4, 3)})  # fmt: skip
    with pytest.raises(TensorError, match="layer 'l': activations: nan at flat index 5") as raised:
        hw.trace(path, np.array([[0, 1, 2, 3], [4, np.nan, 6, np.inf]], np.float32), tmp_path / "t.h5")
    error = raised.value
    assert (error.layer, error.index) == ("l", 5)
    assert np.isnan(error.value)
    assert (tmp_path / "t.h5").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "t.h5"]
    with pytest.raises(BitxError, match="is the input"):
        hw.trace(path, floats(2, 4), path)


# -- inputs ------------------------------------------------------------------------------------


def two_inputs(tmp_path):
    nodes = [make.make_node("MatMul", ["a", "w"], ["y"], name="l"), make.make_node("Add", ["y", "b"], ["z"])]
    return save(tmp_path / "m.onnx", nodes, {"a": ["N", 4], "b": ["N", 3]}, {"w": floats(4, 3)}, ("z",))


def test_several_inputs(tmp_path):
    path, a, b = two_inputs(tmp_path), floats(2, 4), floats(2, 3)
    np.savez(tmp_path / "i.npz", a=a, b=b)
    hw.trace(path, {"a": a, "b": b}, tmp_path / "1.h5")
    hw.trace(path, {"a": tmp_path / "i.npz", "b": str(tmp_path / "i.npz")}, tmp_path / "2.h5")
    hw.trace(path, tmp_path / "i.npz", tmp_path / "3.h5")
    assert np.array_equal(hw.open_traces(tmp_path / "3.h5")["l"], a)
    assert np.array_equal(hw.open_traces(tmp_path / "1.h5")["l"], a)
    assert np.array_equal(hw.open_traces(tmp_path / "2.h5")["l"], a)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"a": floats(2, 5), "b": floats(2, 3)}, "input 'a': shape 2x5 is given, the model takes Nx4"),
        ({"a": floats(4), "b": floats(2, 3)}, "input 'a': shape 4 is given, the model takes Nx4"),
        ({"a": floats(0, 4), "b": floats(2, 3)}, "input 'a': is empty"),
        ({"a": floats(2, 4) * 1j, "b": floats(2, 3)}, "input 'a': holds complex64, the model takes float32"),
        ({"a": floats(2, 4), "b": floats(5, 3)}, "m.onnx: "),
    ],
)
def test_inputs_that_do_not_fit(tmp_path, given, part):
    with pytest.raises(TensorError) as raised:
        hw.trace(two_inputs(tmp_path), given, tmp_path / "t.h5")
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (floats(2, 4), "has inputs a, b; name the one that is given"),
        ({"a": floats(2, 4)}, "input 'b' (Nx3) is not given"),
        ({"a": floats(2, 4), "c": floats(1)}, "there is no input 'c'; it has a, b"),
    ],
)
def test_inputs_that_are_not_the_models(tmp_path, given, part):
    path = two_inputs(tmp_path)
    with pytest.raises(OptionError) as raised:
        hw.trace(path, given, tmp_path / "t.h5")
    assert str(raised.value) == f"{path}: {part}"
    assert raised.value.path == path


def test_files_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "two.npz", p=floats(1), q=floats(1))
    np.save(tmp_path / "x.npy", floats(1, 1, 4, 4))
    for name, part in (
        ("two.npz", "two.npz: has no tensor 'image'"),
        ("x.npy", "x.npy: input 'image': shape 1x1x4x4 is given, the model takes Nx1x8x8"),
        ("none.npy", "none.npy: does not exist"),
    ):
        with pytest.raises(BitxError, match=part):
            hw.trace(SAMPLE, tmp_path / name, tmp_path / "t.h5")
    with pytest.raises(DumpError, match="only ONNX models can be traced"):
        hw.trace("resnet18", floats(1), tmp_path / "t.h5")
    with pytest.raises(OptionError, match="slice_bytes must be an integer of at least 1, got 0"):
        hw.trace(SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5", slice_bytes=0)
    for options, part, kind in (
        ({"sizes": {"M": 2}}, "no dynamic dimension is called 'M'; there are N", OptionError),
        ({"input_size": (1, 1, 9, 8)}, "size 1x1x9x8 is asked for, the model takes Nx1x8x8", OptionError),
        ({"input_size": {"x": (1, 1, 8, 8)}}, "there is no input 'x'", OptionError),
        ({"input_size": (2, 1, 8, 8)}, "shape 1x1x8x8 is given, the model takes 2x1x8x8", TensorError),
    ):
        with pytest.raises(kind, match=part):
            hw.trace(SAMPLE, floats(1, 1, 8, 8), tmp_path / "t.h5", **options)


def picture(path, size=(8, 8), mode="RGB"):
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, (*size, 3)).astype(np.uint8)
    image.fromarray(pixels).convert(mode).save(path)
    return np.asarray(image.open(path).convert("RGB"))


def conv_model(tmp_path, shape, channels=3):
    node = make.make_node("Conv", ["x", "w"], ["y"], name="c")
    return save(tmp_path / "m.onnx", [node], {"x": shape}, {"w": floats(2, channels, 1, 1)})


def test_pictures(tmp_path):
    pixels = picture(tmp_path / "p.png")
    path = conv_model(tmp_path, [1, 3, 8, 8])
    _, traces = recorded(path, tmp_path / "p.png", tmp_path)
    assert np.array_equal(traces["c"], (pixels * (1 / 255)).astype(np.float32).transpose(2, 0, 1)[None])
    scaling = hw.Scaling(scale=0.5, mean=(1, 2, 3), std=(2,))
    _, traces = recorded(path, tmp_path / "p.png", tmp_path, scaling=scaling)
    expected = ((pixels * 0.5 - [1, 2, 3]) / 2).astype(np.float32)
    assert np.array_equal(traces["c"][0], expected.transpose(2, 0, 1))


def test_pictures_are_resized(tmp_path):
    picture(tmp_path / "p.jpg", (20, 30))
    for sizes, shape in (
        ([1, 3, 8, 8], (1, 3, 8, 8)),
        (["N", 3, 10, "W"], (1, 3, 10, 15)),
        (["N", 3, "H", 60], (1, 3, 40, 60)),
        (["N", 3, "H", "W"], (1, 3, 20, 30)),
    ):
        result, traces = recorded(conv_model(tmp_path, sizes), tmp_path / "p.jpg", tmp_path)
        assert traces["c"].shape == shape == result.input_sizes["x"]
        assert 0 <= traces["c"].min() < traces["c"].max() <= 1
    result, _ = recorded(
        conv_model(tmp_path, ["N", 3, "H", "W"]), tmp_path / "p.jpg", tmp_path, sizes={"H": 5, "W": 7}
    )
    assert result.input_sizes["x"] == (1, 3, 5, 7)


def test_blue_may_come_first(tmp_path):
    pixels = picture(tmp_path / "p.png")[..., ::-1]
    scaling = hw.Scaling(mean=(0.1, 0.2, 0.3), channels="bgr")
    _, traces = recorded(conv_model(tmp_path, [1, 3, 8, 8]), tmp_path / "p.png", tmp_path, scaling=scaling)
    expected = (pixels * (1 / 255) - [0.1, 0.2, 0.3]).astype(np.float32)
    assert np.array_equal(traces["c"][0], expected.transpose(2, 0, 1))
    with pytest.raises(OptionError, match="channels must be one of rgb, bgr, got 'gbr'"):
        hw.Scaling(channels="gbr")


@pytest.mark.parametrize(
    ("shape", "to_nchw"),
    [
        ([3, 8, 6], None),
        ([8, 6, 3], None),
        (["H", "W", 3, "batch"], (3, 2, 0, 1)),
        ([3, 8, 6, 1], (3, 0, 1, 2)),
        ([8, 6, 3, 1], (3, 2, 0, 1)),
        (["H", "batch_size", "W", 3], (1, 3, 0, 2)),
        (["N", 8, 6, 3], (0, 3, 1, 2)),
    ],
)
def test_pictures_go_where_the_input_has_them(tmp_path, shape, to_nchw):
    pixels = picture(tmp_path / "p.png", (8, 6))
    nodes = [make.make_node("Conv", ["t", "w"], ["y"], name="c")]
    if to_nchw is None:
        axes = [0] if shape[0] == 3 else None
        first = "x" if axes else "s"
        if not axes:
            nodes.insert(0, make.make_node("Transpose", ["x"], ["s"], perm=[2, 0, 1]))
        nodes.insert(-1, make.make_node("Unsqueeze", [first, "axes"], ["t"]))
    else:
        nodes.insert(0, make.make_node("Transpose", ["x"], ["t"], perm=to_nchw))
    weights = {"w": floats(2, 3, 1, 1), "axes": np.array([0])}
    path = save(tmp_path / "m.onnx", nodes, {"x": shape}, weights)
    _, traces = recorded(path, tmp_path / "p.png", tmp_path)
    assert np.array_equal(traces["c"][0], (pixels * (1 / 255)).astype(np.float32).transpose(2, 0, 1))


def test_grey_and_channels_last(tmp_path):
    picture(tmp_path / "p.png", (8, 8), "L")
    _, traces = recorded(conv_model(tmp_path, [1, 1, 8, 8], 1), tmp_path / "p.png", tmp_path)
    assert traces["c"].shape == (1, 1, 8, 8)
    nodes = [
        make.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        make.make_node("Conv", ["t", "w"], ["y"], name="c"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 8, 8, 3]}, {"w": floats(2, 3, 1, 1)})
    pixels = picture(tmp_path / "p.png")
    _, traces = recorded(path, tmp_path / "p.png", tmp_path)
    assert np.array_equal(traces["c"][0], (pixels * (1 / 255)).astype(np.float32).transpose(2, 0, 1))


def test_pictures_that_do_not_fit(tmp_path):
    picture(tmp_path / "p.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "p.png").read_bytes()[:60])
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    for shape, name, options, part in (
        ([1, 3, 8, 8], "bad.png", {}, "bad.png: can't be read"),
        ([1, 3, 8, 8], "none.png", {}, "none.png: does not exist"),
        ([1, 3, 8, 8], "deep.png", {}, "deep.png: has more than 8 bits per channel"),
        ([4, 3, 8, 8], "p.png", {}, "takes 4 pictures; give an array"),
        ([1, 5, 8, 8], "p.png", {}, "is no picture"),
        ([1, 3, 8, 8], "p.png", {"scaling": hw.Scaling(mean=(1, 2))}, "mean has 2 values, the input has 3"),
    ):
        with pytest.raises(BitxError, match=part):
            hw.trace(conv_model(tmp_path, shape, shape[1]), tmp_path / name, tmp_path / "t.h5", **options)
    with pytest.raises(OptionError, match="std not 0"):
        hw.Scaling(std=(0.0,))


def test_without_pillow(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "p.png").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"pip install 'bitx\[images\]'"):
        hw.trace(conv_model(tmp_path, [1, 3, 8, 8]), tmp_path / "p.png", tmp_path / "t.h5")


# -- a real picture ----------------------------------------------------------------------------

NEEDY = ("pragmatic", "stripes", "shapeshifter", "laconic", "loom", "bit_tactical", "scnn")


def test_a_digit_on_every_machine_that_looks_at_activations(tmp_path):
    """From a picture to cycles: the sample network and a digit of scikit-learn."""
    image = pytest.importorskip("PIL.Image")
    digit = pytest.importorskip("sklearn.datasets").load_digits().images[0]
    image.fromarray((digit * 15).astype(np.uint8)).save(tmp_path / "0.png")
    result = hw.trace(SAMPLE, tmp_path / "0.png", tmp_path / "t.h5", scaling=hw.Scaling(scale=1 / 240))
    traces = hw.open_traces(tmp_path / "t.h5")
    assert np.allclose(traces["stem"][0, 0], digit / 16, atol=1e-6)
    (logits,) = run(SAMPLE, {"image": (digit / 16).astype(np.float32)[None, None]})
    assert logits.argmax() == 0
    machines = [hw.accelerator(name) for name in NEEDY]
    ran = hw.simulate_network(machines, result.network, traces=traces)
    for machine in machines:
        for entry, row in zip(result.network.layers, ran.of(machine.label), strict=True):
            import bitxcore as bx

            with bx.open_dump(SAMPLE) as dump:
                operands = hw.Operands(entry.read(dump), traces[entry.layer.name])
            assert row.cycles == hw.simulate(machine, entry.layer, operands).cycles
            assert "seed" not in " ".join(row.notes)
    profiled = hw.simulate_network(machines, result.network, traces=traces, precisions="profile")
    assert profiled.total("stripes").cycles < ran.total("stripes").cycles
    assert profiled.total("loom").cycles < ran.total("loom").cycles


@pytest.mark.slow
@pytest.mark.models
def test_a_line_of_text_in_the_text_recogniser(tmp_path):
    """PP-OCRv4 reads the rendered line, and its traces are what its layers read."""
    from importlib.util import find_spec

    spec = find_spec("rapidocr_onnxruntime")
    if spec is None:
        pytest.skip("rapidocr_onnxruntime is not installed")
    path = Path(spec.submodule_search_locations[0]) / "models" / "ch_PP-OCRv4_rec_infer.onnx"
    from PIL import Image, ImageDraw, ImageFont

    line = Image.new("RGB", (320, 48), "white")
    ImageDraw.Draw(line).text((10, 6), "bit rows 2021", fill="black", font=ImageFont.load_default(32))
    line.save(tmp_path / "line.png")
    halves = hw.Scaling(mean=(0.5,), std=(0.5,))
    result = hw.trace(
        path, tmp_path / "line.png", tmp_path / "t.h5", input_size=(1, 3, 48, 320), scaling=halves
    )
    assert (len(result.network), result.not_recorded) == (51, ())
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = (np.asarray(line) / 255 - 0.5) / 0.5
    (scores,) = session.run(None, {"x": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    characters = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    best = scores[0].argmax(axis=1)
    read = "".join(characters[i] for i, last in zip(best, [0, *best[:-1]], strict=True) if i != last)
    assert read.replace(" ", "") == "bitrows2021"
    with hw.open_traces(tmp_path / "t.h5") as traces:
        for layer in result.network:
            hw.Operands(activations=traces[layer.name]).check(layer)
        # The last product's rows, times its weights, are the scores before the softmax.
        import bitxcore as bx

        entry = result.network.layers[-1]
        with bx.open_dump(path) as dump:
            products = traces[entry.layer.name] @ entry.read(dump).T
        assert np.array_equal(products.argmax(axis=1)[best > 0], best[best > 0])
        ran = hw.simulate_network(
            [hw.accelerator(n) for n in ("pragmatic", "scnn")], result.network, traces=traces
        )
        assert ran.total("pragmatic").layers == 51


def test_a_workload_is_traced_with_the_sizes_it_was_loaded_with(tmp_path):
    network = hw.load_network(SAMPLE, sizes={"N": 3})
    assert network.input_sizes == {"image": (3, 1, 8, 8)}
    images = RNG.random((3, 1, 8, 8)).astype(np.float32)
    for i, model in enumerate((network, hw.Workload.of(network))):
        result = hw.trace(model, images, tmp_path / f"{i}.h5")
        assert result.input_sizes == {"image": (3, 1, 8, 8)}
        run = hw.simulate_network("pragmatic", network, traces=tmp_path / f"{i}.h5")
        assert not any("stand-in" in note for note in run.notes)
    table = hw.load_network("resnet18")
    with pytest.raises(OptionError, match="'resnet18' comes from no file"):
        hw.trace(table, images, tmp_path / "no.h5")


def test_bitx_prunes_second_operands_that_were_recorded(tmp_path):
    nodes = [
        make.make_node("Transpose", ["k"], ["t"], perm=[0, 2, 1]),
        make.make_node("MatMul", ["q", "t"], ["y"], name="scores"),
    ]
    path = save(tmp_path / "a.onnx", nodes, {"q": [3, 10, 6], "k": [3, 9, 6]}, {}, ("y",))
    q, k = floats(3, 10, 6), floats(3, 9, 6)
    network = hw.load_network(path)
    (without,) = hw.simulate_network("bitx", network).layers
    assert "needs a trace" in without.reason
    hw.trace(path, {"q": q, "k": k}, tmp_path / "t.h5")
    (row,) = hw.simulate_network("bitx", network, traces=tmp_path / "t.h5").layers
    assert "the second operand is pruned as it arrives" in row.notes
    columns = hw.Operands(weights=k.reshape(-1, 6))
    assert row.cycles == hw.simulate("bitx", network.layers[0].layer, columns).cycles
    swapped = hw.simulate_network("bitx", network, traces=tmp_path / "t.h5", activations=None)
    assert swapped.layers[0].cycles == row.cycles


def test_a_second_operand_costs_what_equal_weights_cost():
    k = floats(12, 7)
    product = hw.MatMul("m", rows=20, inner=7, columns=12)
    linear = hw.Linear("m", in_features=7, out_features=12, positions=20)
    rows = [hw.simulate("bitx", layer, hw.Operands(weights=k)) for layer in (product, linear)]
    assert rows[0].cycles == rows[1].cycles
    assert rows[0].energy_j == rows[1].energy_j


def test_traces_of_another_model_are_named(tmp_path):
    from hwmodel.operands.opening import open_workload

    for name, size in (("a", [3, 4]), ("b", [2, 3, 4])):
        save(
            tmp_path / f"{name}.onnx",
            [make.make_node("MatMul", ["x", "w"], ["y"])],
            {"x": size},
            {"w": floats(4, 5)},
            ("y",),
        )
    hw.trace(tmp_path / "b.onnx", {"x": floats(2, 3, 4)}, tmp_path / "b.h5")
    message = r"the traces .*b\.h5 are of a model with other inputs: input 'x' has 2 dimensions"
    with (
        pytest.raises(OptionError, match=message),
        open_workload(tmp_path / "a.onnx", traces=tmp_path / "b.h5"),
    ):
        pass
