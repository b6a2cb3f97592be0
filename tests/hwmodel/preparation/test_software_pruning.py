"""Software pruning: each score against its definition, exact counts, masks, removal, and what is refused."""

import json
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
import hwmodel as hw
from bitxcore.batch import Selection
from bitxcore.errors import BitxError, OptionError, TensorError
from hwmodel.cli import group
from hwmodel.evaluation import task
from hwmodel.preparation.software_pruning import (
    ChannelRanking,
    SoftwareMethod,
    method_names,
    software_method,
    software_prune,
    total_of,
)
from hwmodel.preparation.software_pruning.shares import kept_by_layer, kept_of_all, taken
from hwmodel.preparation.software_pruning.thinet import greedy, rescaled

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

SHAPES = {
    "stem": (8, 3, 3, 3), "same": (8, 8, 3, 3), "expand": (12, 8, 1, 1), "depth": (12, 1, 3, 3),
    "project": (10, 12, 1, 1), "fc": (40, 6), "out": (6, 5),
}  # fmt: skip
OF_CHANNELS = [name for name in method_names() if software_method(name).on == "channels"]
OF_WEIGHTS = [name for name in method_names() if software_method(name).on == "weights"]


def written(path, nodes, stored, inputs, output):
    make, numpy = onnx.helper, onnx.numpy_helper
    graph = make.make_graph(
        nodes,
        "small",
        [make.make_tensor_value_info(*inputs)],
        [make.make_tensor_value_info(*output)],
        [numpy.from_array(x.astype("f4"), name) for name, x in stored.items()],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.fixture
def model(tmp_path):
    """A residual sum, an inverted bottleneck, flattened positions, products; norms, biases."""
    node = onnx.helper.make_node
    rng = np.random.default_rng(5)
    stored = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    stored |= {"stem.bias": rng.standard_normal(8), "fc.bias": rng.standard_normal(6)}
    for name, count in (("n1", 8), ("n2", 12), ("n3", 12)):
        stored |= {f"{name}.scale": rng.standard_normal(count), f"{name}.shift": rng.standard_normal(count)}
        stored |= {f"{name}.mean": rng.standard_normal(count), f"{name}.var": rng.random(count) + 0.5}

    def norm(x, y, name):
        parts = [f"{name}.{part}" for part in ("scale", "shift", "mean", "var")]
        return node("BatchNormalization", [x, *parts], [y], name=name)

    nodes = [
        node("Conv", ["image", "stem", "stem.bias"], ["a"], name="stem", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "same"], ["c"], name="same", pads=[1, 1, 1, 1]),
        norm("c", "d", "n1"),
        node("Add", ["d", "b"], ["e"]),
        node("Conv", ["e", "expand"], ["f"], name="expand"),
        norm("f", "g", "n2"),
        node("Relu", ["g"], ["h"]),
        node("Conv", ["h", "depth"], ["i"], name="depth", group=12, pads=[1, 1, 1, 1]),
        norm("i", "j", "n3"),
        node("Relu", ["j"], ["k"]),
        node("Conv", ["k", "project"], ["l"], name="project", strides=[3, 3]),
        node("Relu", ["l"], ["m"]),
        node("Flatten", ["m"], ["n"]),
        node("MatMul", ["n", "fc"], ["o"], name="fc"),
        node("Add", ["o", "fc.bias"], ["p"]),
        node("Relu", ["p"], ["q"]),
        node("Gemm", ["q", "out"], ["scores"], name="out"),
    ]
    image, scores = ("image", 1, ["N", 3, 6, 6]), ("scores", 1, ["N", 5])
    return written(tmp_path / "small.onnx", nodes, stored, image, scores)


@pytest.fixture
def batches():
    pictures = np.random.default_rng(6).standard_normal((40, 3, 6, 6)).astype("f4")
    return [{"image": pictures[:25]}, {"image": pictures[25:]}]


def values(path, batches, names=("scores",)):
    """Values of a graph for all samples, by name."""
    proto = onnx.load(path)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(list(names), feeds) for feeds in batches]
    return {name: np.concatenate([part[at] for part in found]) for at, name in enumerate(names)}


def stored_in(path):
    with bx.open_dump(path) as dump:
        return {name: tensor.read() for name, tensor in dump.items()}


def kept_of(path, tensor, axis=0):
    """Places along an axis that are not all zero."""
    x = np.moveaxis(stored_in(path)[tensor], axis, 0)
    return np.flatnonzero(x.reshape(len(x), -1).any(axis=1)).tolist()


def highest(scores, count):
    """Places of the highest, rising."""
    return sorted(np.argsort(scores, kind="stable")[-count:].tolist())


# -- scores --------------------------------------------------------------------------------------

# Channels of three spaces of the model: the residual sum, the bottleneck, the product's outputs.


def l1(w, _):
    norm = {name: abs(w[name]).sum(axis=tuple(range(1, w[name].ndim))) for name in SHAPES if name != "fc"}
    return norm["stem"] + norm["same"], norm["expand"] + norm["depth"], abs(w["fc"]).sum(axis=0)


def slimming(w, _):
    return abs(w["n1.scale"]), abs(w["n2.scale"]) + abs(w["n3.scale"]), None


def zeros(w, seen):
    def share(name):
        return (seen[name] != 0).mean(axis=(0, 2, 3) if seen[name].ndim == 4 else 0)

    return share("b") + share("e"), share("h") + share("k"), share("q")


def entropies(w, seen):
    def of(name):
        x = seen[name].astype("f8")
        pooled = x.mean(axis=(2, 3)) if x.ndim == 4 else x
        found = []
        for channel in pooled.T:
            edges = np.linspace(channel.min(), channel.max(), 101)
            counts = [((channel >= a) & (channel < b)).sum() for a, b in pairwise(edges)]
            counts[-1] += (channel == edges[-1]).sum()
            p = np.array([c for c in counts if c]) / len(channel)
            found.append(-(p * np.log(p)).sum())
        return np.array(found)

    return of("b") + of("e"), of("h") + of("k"), of("q")


def norms(w, _):
    def of(name, axis):
        x = np.moveaxis(w[name].astype("f8"), axis, 0)
        return np.sqrt((x.reshape(len(x), -1) ** 2).sum(axis=1))

    return (
        of("stem", 0) + of("same", 0) + of("same", 1) + of("expand", 1),
        of("expand", 0) + of("depth", 0) + of("project", 1),
        of("fc", 1) + of("out", 0),
    )


def squares(w, _):
    return (
        (w["same"] ** 2).sum(axis=(0, 2, 3)) + (w["expand"] ** 2).sum(axis=(0, 2, 3)),
        (w["project"] ** 2).sum(axis=(0, 2, 3)),
        (w["out"] ** 2).sum(axis=1),
    )


@pytest.mark.parametrize(("method", "definition"), [
    ("l1", l1), ("slimming", slimming), ("apoz", zeros), ("entropy", entropies), ("group-norm", norms),
    ("monte-carlo-channels", squares),
])  # fmt: skip
def test_channels_with_the_highest_scores_stay(model, batches, tmp_path, method, definition):
    options = {"expected": True} if method.startswith("monte-carlo") else {}
    way = software_method(method, **options)
    software_prune(
        model, tmp_path / "p.onnx", method=way, ratio=0.5, form="mask", scope="layer", batches=batches
    )
    wanted = definition(stored_in(model), values(model, batches, ("b", "e", "h", "k", "q")))
    for scores, tensor, axis in zip(wanted, ("same", "depth", "fc"), (0, 0, 1), strict=True):
        if scores is not None:
            assert kept_of(tmp_path / "p.onnx", tensor, axis) == highest(scores, len(scores) // 2)


def test_flattened_positions_go_with_their_channel(model, tmp_path):
    software_prune(model, tmp_path / "p.onnx", method="l1", ratio=0.3, form="mask")
    kept = kept_of(tmp_path / "p.onnx", "project")
    assert len(kept) == 7
    assert kept_of(tmp_path / "p.onnx", "fc") == [4 * channel + at for channel in kept for at in range(4)]


def test_one_threshold_over_all_layers_is_that_of_network_slimming(model, tmp_path):
    software_prune(model, tmp_path / "p.onnx", method="slimming", ratio=0.4, form="mask")
    w = stored_in(model)
    of_first, of_second = abs(w["n1.scale"]), (abs(w["n2.scale"]) + abs(w["n3.scale"])) / 2
    threshold = np.sort(np.concatenate([of_first, of_second]))[8]
    assert kept_of(tmp_path / "p.onnx", "same") == np.flatnonzero(of_first >= threshold).tolist()
    assert kept_of(tmp_path / "p.onnx", "depth") == np.flatnonzero(of_second >= threshold).tolist()


def test_thinet_takes_the_channels_by_which_the_next_layer_changes_least():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 9)) * np.arange(1, 10)
    x[:, 8] = -x[:, 7] + 0.01 * rng.standard_normal(300)  # two large ones that cancel
    gone = []
    for _ in range(4):
        left = [c for c in range(9) if c not in gone]
        gone.append(min(left, key=lambda c: (x[:, [*gone, c]].sum(axis=1) ** 2).sum()))
    kept = greedy(x, 4)
    assert sorted({*range(9)} - {*kept.tolist()}) == sorted(gone)
    wanted = np.linalg.lstsq(x[:, kept], x.sum(axis=1), rcond=None)[0]
    assert rescaled(x, kept) == pytest.approx(wanted)
    assert greedy(x, 9).size == 1


@pytest.mark.parametrize("form", ["mask", "removal"])
def test_thinet_doubles_the_twin_of_a_channel_that_goes(batches, tmp_path, form):
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal((6, 3, 3, 3)), rng.standard_normal((4, 6, 3, 3))
    first[4] = first[1] = 0.05 * first[1]
    second[:, 4] = second[:, 1]
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["image", "first"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "second"], ["y"], strides=[2, 1], pads=[1, 0, 1, 1]),
    ]
    image, y = ("image", 1, ["N", 3, 6, 6]), ("y", 1, ["N", 4, None, None])
    path = written(tmp_path / "twins.onnx", nodes, {"first": first, "second": second}, image, y)
    out = tmp_path / "p.onnx"
    software_prune(path, out, method="thinet", ratio=0.2, form=form, batches=batches)
    before, after = values(path, batches, ("y",))["y"], values(out, batches, ("y",))["y"]
    assert abs(after - before).max() < 1e-4 * abs(before).max()
    assert stored_in(out)["first"].shape[0] == (5 if form == "removal" else 6)


def test_thinet_scales_what_stays_and_leaves_residual_sums(model, batches, tmp_path):
    before = values(model, batches, ("l",))["l"]
    errors = []
    for method in ("thinet", "monte-carlo-channels"):
        out = tmp_path / f"{method}.onnx"
        report = software_prune(
            model, out, method=method, ratio=0.5, form="mask", batches=batches,
            selection=Selection(exclude=("stem", "fc")),
        )  # fmt: skip
        errors.append(np.square(values(out, batches, ("l",))["l"] - before).sum())
    assert errors[0] < errors[1]
    report = software_prune(model, out, method="thinet", ratio=0.5, form="mask", batches=batches)
    reasons = {row.tensor: row.reason for row in report}
    assert reasons["same"] == "2 layers read its channels"
    assert reasons["expand"] is None
    # Each channel that stays has one scale in the layer that reads it.
    found, w = stored_in(out)["project"], stored_in(model)["project"]
    ratio = (found / w)[kept_of(out, "project"), :, 0, 0]
    assert np.allclose(ratio, ratio[0], rtol=1e-5)
    assert (ratio[0] != 1)[ratio[0] != 0].all()
    assert (ratio[0] == 0).sum() == 6


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["magnitude", "monte-carlo"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_ratio_of_weights_is_exact(model, tmp_path, method, scope):
    report = software_prune(model, tmp_path / "p.onnx", method=method, ratio=0.37, scope=scope)
    w, found = stored_in(model), stored_in(tmp_path / "p.onnx")
    sizes = {name: w[name].size for name in SHAPES}
    gone = {name: int((found[name] == 0).sum()) for name in SHAPES}
    if scope == "layer":
        assert gone == {name: int(0.37 * size) for name, size in sizes.items()}
    assert sum(gone.values()) == total_of(report).weights_before - total_of(report).weights_after
    if scope == "global":
        assert sum(gone.values()) == int(0.37 * sum(sizes.values()))
    if method == "magnitude":
        parts = [SHAPES] if scope == "global" else [[name] for name in SHAPES]
        for names in parts:
            large = max(abs(w[name][found[name] == 0]).max(initial=0) for name in names)
            small = min(abs(w[name][found[name] != 0]).min() for name in names)
            assert large <= small
    assert all((found[name] == w[name])[found[name] != 0].all() for name in SHAPES)


@pytest.mark.parametrize(("ratio", "stride"), [(0.0, 1), (0.3, 2), (0.5, 3), (0.6, 3), (0.7, 5), (0.95, 9)])
def test_strided_positions_of_all_kernels(model, tmp_path, ratio, stride):
    report = software_prune(model, tmp_path / "p.onnx", method="strided", ratio=ratio)
    w, found = stored_in(model), stored_in(tmp_path / "p.onnx")
    for name in ("stem", "same", "depth"):
        sums = abs(w[name]).sum(axis=(0, 1), dtype="f8").reshape(-1)
        offset = max(range(stride), key=lambda at: sums[at::stride].sum())
        stays = np.zeros(9, bool)
        stays[offset::stride] = True
        assert ((found[name] != 0).reshape(-1, 9) == stays).all()
    assert {row.tensor for row in report if row.reason} == {"expand", "project", "fc", "out"}


def test_draws_follow_the_squares_of_the_weights(model, tmp_path):
    def kept(**options):
        way = software_method("monte-carlo", **options)
        software_prune(model, tmp_path / "p.onnx", method=way, ratio=0.5)
        return stored_in(tmp_path / "p.onnx")["same"] != 0

    w = stored_in(model)["same"].astype("f8")
    drawn = np.mean([kept(seed=seed) for seed in range(20)], axis=0)
    quarter = np.quantile(w**2, [0.25, 0.75])
    assert drawn[w**2 < quarter[0]].mean() < 0.2 < 0.7 < drawn[w**2 > quarter[1]].mean()
    assert (kept(seed=1) == kept(seed=1)).all()
    assert (kept(seed=1) != kept(seed=2)).any()
    # The expected importance as a ranking is that of magnitudes.
    expected = kept(expected=True)
    software_prune(model, tmp_path / "m.onnx", method="magnitude", ratio=0.5)
    assert (expected == (stored_in(tmp_path / "m.onnx")["same"] != 0)).all()


def test_draws_of_channels_follow_the_squared_norms(model, tmp_path):
    found = []
    for seed in range(25):
        way = software_method("monte-carlo-channels", seed=seed)
        software_prune(model, tmp_path / "p.onnx", method=way, ratio=0.5, form="mask")
        found.append(kept_of(tmp_path / "p.onnx", "out"))
    norms = np.square(stored_in(model)["out"]).sum(axis=1)
    drawn = np.bincount(np.concatenate(found), minlength=6)
    assert drawn[norms.argmax()] > drawn[norms.argmin()]
    assert len({tuple(kept) for kept in found}) > 3


# -- counts --------------------------------------------------------------------------------------


def test_counts_are_exact_and_something_stays():
    assert [taken(100, r / 100) for r in range(100)] == list(range(100))
    scores = {"a": np.array([3.0, 1.0, 2.0]), "b": np.array([0.1, 0.2])}
    assert {k: v.tolist() for k, v in kept_by_layer(scores, 0.7).items()} == {"a": [0], "b": [1]}
    assert {k: v.tolist() for k, v in kept_of_all(scores, 0.7).items()} == {"a": [0], "b": [1]}
    assert {k: v.tolist() for k, v in kept_of_all(scores, 0.4).items()} == {"a": [0, 2], "b": [1]}
    equal = {"a": np.zeros(4)}
    assert kept_by_layer(equal, 0.5)["a"].tolist() == [2, 3]


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 0.99])
def test_the_ratio_of_channels_is_exact(model, tmp_path, ratio):
    report = software_prune(model, tmp_path / "p.onnx", method="l1", ratio=ratio)
    for row in report:
        least = row.filters_before - int(row.filters_before * ratio)
        assert row.filters_after == (row.filters_before if row.tensor == "out" else max(least, 1))
    assert report[-1].reason == "'scores' is an output of the graph"


# -- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", OF_CHANNELS)
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_mask_and_a_removal_are_one_network(model, batches, tmp_path, method, scope):
    way = software_method(method)
    if scope not in way.scopes:
        with pytest.raises(OptionError, match=f"method {method} has no scope global, only layer"):
            software_prune(model, tmp_path / "p.onnx", method=way, ratio=0.4, scope=scope, batches=batches)
        return
    options = {"method": way, "ratio": 0.4, "scope": scope, "batches": batches}
    report = software_prune(model, tmp_path / "mask.onnx", form="mask", **options)
    assert software_prune(model, tmp_path / "less.onnx", **options) == report
    masked, less = (values(tmp_path / f"{name}.onnx", batches)["scores"] for name in ("mask", "less"))
    assert abs(masked - less).max() <= 1e-5 * abs(less).max()
    smaller = hw.load_network(tmp_path / "less.onnx")
    assert {e.weight: e.layer.macs for e in smaller.layers} == {r.tensor: r.macs_after for r in report}
    assert smaller.macs < hw.load_network(model).macs
    with bx.open_dump(tmp_path / "less.onnx") as dump:
        assert {row.tensor: dump[row.tensor].size for row in report} == {
            row.tensor: row.weights_after for row in report
        }


@pytest.mark.parametrize("method", method_names())
def test_masks_keep_shapes_and_the_rest_byte_for_byte(model, batches, tmp_path, method):
    out = tmp_path / "p.onnx"
    software_prune(model, out, method=method, ratio=0.3, form="mask", batches=batches)
    first = out.read_bytes()
    software_prune(model, out, method=method, ratio=0.3, form="mask", batches=batches)
    assert out.read_bytes() == first
    before, after = onnx.load(model).graph, onnx.load(out).graph
    assert before.node == after.node
    scaled = {"fc", "project", "out"} if method == "thinet" else set()
    w, found = stored_in(model), stored_in(out)
    for name in w:
        assert (w[name].dtype, w[name].shape) == (found[name].dtype, found[name].shape)
        if method in OF_WEIGHTS and name not in SHAPES:
            assert w[name].tobytes() == found[name].tobytes()
        changed = found[name] != w[name]
        assert name in scaled or not found[name][changed].any()
        assert not (name.endswith(".var") and changed.any())


def test_bfloat16_stays_bfloat16(tmp_path):
    import ml_dtypes

    x = np.random.default_rng(0).standard_normal((8, 16)).astype(ml_dtypes.bfloat16)
    proto = onnx.helper.make_tensor("w", 16, x.shape, x.tobytes(), raw=True)
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [info("x", 16, [1, 8])], [info("y", 16, [1, 16])], [proto])
    (tmp_path / "b.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    software_prune(tmp_path / "b.onnx", tmp_path / "p.onnx", method="magnitude", ratio=0.25)
    found = stored_in(tmp_path / "p.onnx")["w"]
    assert found.dtype == ml_dtypes.bfloat16
    assert (found.astype("f4") == 0).sum() == 32


def test_selected_tensors(model, tmp_path):
    only = Selection(include=("expand", "depth"))
    report = software_prune(model, tmp_path / "p.onnx", method="l1", ratio=0.5, selection=only)
    assert [(row.tensor, row.filters_after) for row in report] == [("expand", 6), ("depth", 6)]
    without = Selection(exclude=("project",))
    report = software_prune(model, tmp_path / "p.onnx", method="l1", ratio=0.5, selection=without)
    reasons = {row.tensor: row.reason for row in report}
    assert reasons["expand"] == "project is excluded"
    assert reasons["stem"] is None


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "text"), [
    ({"method": "best"}, "method must be one of apoz, entropy, .*, got 'best'"),
    ({"ratio": 1.0}, "ratio must be from 0 to below 1, got 1.0"),
    ({"ratio": -0.1}, "ratio must be from 0 to below 1"),
    ({"ratio": float("nan")}, "ratio must be from 0 to below 1"),
    ({"method": "apoz"}, "small.onnx: method apoz looks at activations, and there are no calibration"),
    ({"method": "magnitude", "form": "removal"}, "chooses single weights, which can't be removed"),
    ({"form": "both"}, "form must be one of"),
    ({"scope": "all"}, "scope must be one of"),
    ({"selection": Selection(include=("out",))}, "has nothing to prune .*1 x 'scores' is an output"),
    ({"method": "strided", "selection": Selection(include=("fc",))}, "nothing to prune .*single position"),
])  # fmt: skip
def test_what_does_not_go(model, tmp_path, options, text):
    with pytest.raises(BitxError, match=text) as caught:
        software_prune(model, tmp_path / "p.onnx", **{"method": "l1", "ratio": 0.5} | options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p.onnx").exists()


def test_options_of_methods():
    with pytest.raises(OptionError, match="method entropy has no option 'seed'; its options are bins"):
        software_method("entropy", seed=3)
    with pytest.raises(OptionError, match=r"option seed of method monte-carlo must be an integer, got 1\.5"):
        software_method("monte-carlo", seed=1.5)
    with pytest.raises(OptionError, match="method l1 has no option 'p'; it has none"):
        software_method("l1", p=2)
    with pytest.raises(OptionError, match="seed must be from 0"):
        software_method("monte-carlo-channels", seed=-1)
    with pytest.raises(OptionError, match="bins must be from 2"):
        software_method("entropy", bins=1)


def test_samples_that_do_not_fit(model, tmp_path):
    wrong = [{"image": np.ones((2, 5, 6, 6), "f4")}]
    for method in ("apoz", "thinet"):
        with pytest.raises(
            BitxError, match=r"small\.onnx: does not run on the samples: these are image float32"
        ):
            software_prune(model, tmp_path / "p.onnx", method=method, ratio=0.5, batches=wrong)


def test_activations_that_are_not_finite(model, tmp_path):
    huge = [{"image": np.full((2, 3, 6, 6), 3e38, "f4")}]
    for method in ("entropy", "thinet"):
        with pytest.raises(TensorError, match=r"small\.onnx: .* have a NaN or Inf"):
            software_prune(model, tmp_path / "p.onnx", method=method, ratio=0.5, batches=huge)


def test_values_that_are_not_finite(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([[1, np.nan], [2, 3]], "f4"))
    with pytest.raises(TensorError, match="tensor 'a': value nan at flat index 1 must be finite"):
        software_prune(tmp_path / "w.npz", tmp_path / "p.npz", method="magnitude", ratio=0.5)
    np.savez(tmp_path / "w.npz", a=np.ones((4, 4), "f4"))
    report = software_prune(tmp_path / "w.npz", tmp_path / "p.npz", method="magnitude", ratio=0.5)
    assert (report[0].weights_after, report[0].macs_after) == (8, None)
    with pytest.raises(BitxError, match="this is no ONNX"):
        software_prune(tmp_path / "w.npz", tmp_path / "p.npz", method="l1", ratio=0.5)


@pytest.mark.parametrize("method", ["l1", "thinet"])
def test_channels_that_are_not_finite(model, batches, tmp_path, method):
    proto = onnx.load(model)
    values = np.full((8, 8, 3, 3), np.nan, "f4")
    next(t for t in proto.graph.initializer if t.name == "same").CopyFrom(
        onnx.numpy_helper.from_array(values, "same")
    )
    model.write_bytes(proto.SerializeToString())
    with pytest.raises(TensorError, match=r"small\.onnx: tensor 'same': has a NaN or Inf"):
        software_prune(model, tmp_path / "p.onnx", method=method, ratio=0.5, batches=batches)


@pytest.mark.parametrize("method", ["l1", "thinet"])
@pytest.mark.parametrize("where", ["external", "constants"])
@pytest.mark.parametrize("form", ["removal", "mask"])
def test_wherever_weights_are_stored(model, batches, tmp_path, where, method, form):
    other = tmp_path / where / "model.onnx"
    other.parent.mkdir()
    proto = onnx.load(model)
    if where == "external":
        onnx.save(proto, other, save_as_external_data=True, location="weights.bin", size_threshold=0)
    else:
        constants = [
            onnx.helper.make_node("Constant", [], [t.name], value=t) for t in proto.graph.initializer
        ]
        nodes = [*constants, *proto.graph.node]
        del proto.graph.initializer[:], proto.graph.node[:]
        proto.graph.node.extend(nodes)
        onnx.save(proto, other)
    found = []
    for at, path in enumerate((model, other)):
        out = tmp_path / f"p{at}.onnx"
        report = software_prune(path, out, method=method, ratio=0.5, form=form, batches=batches)
        session = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        found.append((report, session.run(None, batches[0])[0]))
    assert {row.tensor: row for row in found[0][0]} == {row.tensor: row for row in found[1][0]}
    assert abs(found[0][1] - found[1][1]).max() < 1e-4


def test_every_method_says_what_it_is():
    for name in method_names():
        way = software_method(name)
        assert isinstance(way, SoftwareMethod)
        assert way.name == name
        assert way.summary
        assert way.source
        assert isinstance(way, ChannelRanking) or name in ("thinet", *OF_WEIGHTS)


# -- real networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", OF_CHANNELS)
def test_digits(tmp_path, method):
    digits = task("digits")
    batches = [part.feeds for part in digits.calibration(32)]
    if method == "slimming":
        with pytest.raises(TensorError, match="it may have been folded into the weights"):
            software_prune(digits.model, tmp_path / "p.onnx", method=method, ratio=0.25)
        return
    report = software_prune(digits.model, tmp_path / "p.onnx", method=method, ratio=0.25, batches=batches)
    smaller = hw.load_network(tmp_path / "p.onnx", sizes={"N": 1})
    assert smaller.macs == total_of(report).macs_after < 0.75 * total_of(report).macs_before
    assert values(tmp_path / "p.onnx", batches, ("logits",))["logits"].shape == (32, 10)


def test_few_of_the_weights_matter_to_digits(tmp_path):
    digits = task("digits")
    parts = list(digits.samples())
    labels = np.concatenate([part.labels for part in parts])
    feeds = [part.feeds for part in parts]
    software_prune(digits.model, tmp_path / "p.onnx", method="magnitude", ratio=0.3, scope="global")
    before, after = (
        values(path, feeds, ("logits",))["logits"] for path in (digits.model, tmp_path / "p.onnx")
    )
    assert (after.argmax(axis=1) == labels).mean() >= (before.argmax(axis=1) == labels).mean() - 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), [
    ("detector", "l1"), ("detector", "entropy"), ("detector", "thinet"), ("transformer", "group-norm"),
    pytest.param("crops", "slimming", marks=pytest.mark.models),
    pytest.param("crops", "apoz", marks=pytest.mark.models),
])  # fmt: skip
def test_masks_of_real_networks_are_removals(tmp_path, name, method):
    made = task(name)
    batches = [part.feeds for part in made.calibration(8)]
    options = {"method": method, "ratio": 0.3, "batches": batches}
    report = software_prune(made.model, tmp_path / "mask.onnx", form="mask", **options)
    assert software_prune(made.model, tmp_path / "less.onnx", **options) == report
    assert (tmp_path / "less.onnx").stat().st_size < 0.95 * (tmp_path / "mask.onnx").stat().st_size
    smaller = hw.load_network(tmp_path / "less.onnx", sizes={"N": 1})
    macs = {row.tensor: row.macs_after for row in report}
    assert {e.weight: e.layer.macs for e in smaller.layers if e.weight in macs} == macs
    names = [value.name for value in onnx.load(made.model).graph.output]
    masked, less = (values(tmp_path / f"{form}.onnx", batches[:1], names) for form in ("mask", "less"))
    for output in names:
        assert abs(masked[output] - less[output]).max() <= 1e-4 * abs(masked[output]).max()


# -- on the command line -------------------------------------------------------------------------


def run(*given, code=0):
    sys.argv[:] = ["bitx"]
    done = CliRunner().invoke(group, ["software-prune", *map(str, given)])
    assert done.exit_code == code, done.output
    return done


def test_command(model, batches, tmp_path):
    np.savez(tmp_path / "cal.npz", image=np.concatenate([part["image"] for part in batches]))
    out, report = tmp_path / "p.onnx", tmp_path / "report.json"
    common = ["--calibration", tmp_path / "cal.npz", "--samples", 20, "-o", out, "--write-report", report]
    options = ["--method", "thinet:positions=4,seed=1", "--ratio", 0.5]
    found = json.loads(run(model, *common, *options, "--json").stdout)
    assert found["samples"] == 20
    assert found["options"] == {"positions": 4, "seed": 1}
    assert [row["tensor"] for row in found["tensors"]] == list(SHAPES)
    assert found["written"] == [str(out), str(report)]
    assert json.loads(report.read_text("utf-8")) == found
    shown = run(model, "-o", out, "--method", "slimming", "--ratio", 0.3, "--notes").stdout
    assert re.search(r"all filters stay: .*: no batch normalisation is behind it", shown)
    assert f"wrote {out}" in shown
    shown = run("--task", "digits", "-o", out, "--method", "apoz", "--ratio", 0.3, "--samples", 16).stdout
    assert "digits_resnet.onnx: 13 tensors, by apoz" in shown


def test_the_table_fits_80_columns(model, tmp_path, monkeypatch):
    from hwmodel.cli import output

    monkeypatch.setattr(output, "terminal_width", lambda: 80)
    shown = run(model, "-o", tmp_path / "p.onnx", "--method", "l1", "--ratio", 0.3).stdout
    lines = [line for line in shown.splitlines() if not line.startswith("wrote") and " " in line.strip()]
    assert max(map(len, lines)) <= 80
    assert all(name in shown for name in SHAPES)


@pytest.mark.parametrize(("options", "text"), [
    (["--method", "l1"], "give either MODEL.onnx or --task NAME"),
    (["MODEL", "--task", "digits", "--method", "l1"], "give either MODEL.onnx or --task NAME"),
    (["--task", "digits", "--calibration", "x.npz", "--method", "l1"], "--calibration goes with a MODEL"),
    (["MODEL", "--method", "apoz"], "method apoz looks at activations: give --calibration or --task"),
    (["MODEL", "--method", "l1:p"], "is not NAME:OPTION=VALUE"),
    (["MODEL", "--method", "l1", "--as", "both"], "'both' is none of removal, mask"),
    (["MODEL"], "Missing option '--method'"),
])  # fmt: skip
def test_usage(model, tmp_path, options, text):
    given = [model if word == "MODEL" else word for word in options]
    done = run(*given, "--ratio", "0.5", "-o", tmp_path / "p.onnx", code=2)
    assert text in " ".join(done.output.split())


@pytest.mark.parametrize(("options", "text"), [
    (["--method", "best", "--ratio", 0.5], "method must be one of apoz"),
    (["--method", "l1", "--ratio", 1.5], "ratio must be from 0 to below 1, got 1.5"),
    (["--method", "l1", "--ratio", 0.5, "--include", "out"], "has nothing to prune"),
    (["--method", "l1", "--ratio", 0.5, "--include", "none"], "no tensor is named like 'none'"),
    (["--method", "apoz", "--ratio", 0.5, "--calibration", "CAL"], "these are image float32 (4, 5, 6, 6)"),
])  # fmt: skip
def test_bad_input_ends_in_one_line(model, tmp_path, options, text):
    np.savez(tmp_path / "cal.npz", image=np.ones((4, 5, 6, 6), "f4"))
    given = [tmp_path / "cal.npz" if word == "CAL" else word for word in options]
    done = run(model, *given, "-o", tmp_path / "p.onnx", code=1)
    assert len(done.output.strip().splitlines()) == 1
    assert text in done.output
    assert not (tmp_path / "p.onnx").exists()


def test_the_model_is_not_replaced(model):
    assert "is the input" in run(model, "--method", "l1", "--ratio", 0.5, "-o", model, code=1).output
