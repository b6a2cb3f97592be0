"""Beside torch-pruning: the same channels go, and the networks that are left are equal up to rounding."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.batch import Selection
from hwmodel.preparation.software_pruning import software_prune

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RECIPES = Path(__file__).parents[3] / "docs" / "recipes"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch: pip install 'bitx[software-pruning]'")


@pytest.fixture(scope="module")
def tp(torch):
    """Imported here, as it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "needs torch-pruning: pip install 'bitx[software-pruning]'"
        return pytest.importorskip("torch_pruning", reason=reason)


def of_filters(tp):
    """L1 norms of the filters that write channels, without the weights that read them: Li et al.'s."""

    class OfFilters(tp.importance.MagnitudeImportance):
        def __call__(self, group):
            writers = (tp.prune_conv_out_channels, tp.prune_linear_out_channels)
            filters = tp.dependency.Group()
            filters._DG = group._DG
            filters._group = [item for item in group if item.dep.pruning_fn in writers]
            return super().__call__(filters)

    return OfFilters(p=1, normalizer=None)


def outputs(path, x):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": x})[0]


def pruned(tp, model, importance, ratio, ignored, x, forward=None):
    """Let torch-pruning remove channels of every layer."""
    tp.pruner.MagnitudePruner(
        model, sys.modules["torch"].from_numpy(x[:1]), importance=importance, pruning_ratio=ratio,
        ignored_layers=ignored, global_pruning=False, forward_fn=forward,
    ).step()  # fmt: skip
    return model.eval()


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_a_chain_of_layers(torch, tp, tmp_path, ratio):
    """By its own L1 importance, of the first layer of a group."""
    torch.manual_seed(1)
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 20), nn.ReLU(), nn.Linear(20, 5),
    ).eval()  # fmt: skip
    make = onnx.helper
    nodes = [
        make.make_node("Conv", ["image", "0.weight", "0.bias"], ["a"], pads=[1, 1, 1, 1]),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "2.weight", "2.bias"], ["c"], strides=[2, 2]),
        make.make_node("Relu", ["c"], ["d"]),
        make.make_node("GlobalAveragePool", ["d"], ["e"]),
        make.make_node("Flatten", ["e"], ["f"]),
        make.make_node("Gemm", ["f", "6.weight", "6.bias"], ["g"], transB=1),
        make.make_node("Relu", ["g"], ["h"]),
        make.make_node("Gemm", ["h", "8.weight", "8.bias"], ["scores"], transB=1),
    ]
    info = make.make_tensor_value_info
    stored = [onnx.numpy_helper.from_array(v.numpy(), k) for k, v in model.state_dict().items()]
    graph = make.make_graph(
        nodes, "chain", [info("image", 1, ["N", 3, 9, 9])], [info("scores", 1, ["N", 5])], stored
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "chain.onnx").write_bytes(made.SerializeToString())
    x = np.random.default_rng(2).standard_normal((6, 3, 9, 9)).astype("f4")
    software_prune(tmp_path / "chain.onnx", tmp_path / "p.onnx", method="l1", ratio=ratio)
    own = tp.importance.MagnitudeImportance(p=1, group_reduction="first", normalizer=None)
    pruned(tp, model, own, ratio, [model[8]], x)
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        for name, tensor in model.state_dict().items():
            assert (dump[name].read() == tensor.numpy()).all(), name
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    assert abs(outputs(tmp_path / "p.onnx", x) - wanted).max() < 1e-5


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_the_sample_network_with_its_residual_sums(torch, tp, tmp_path, monkeypatch, ratio):
    """Norms are the identity, so that folding them leaves the order of the filters."""
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.delitem(sys.modules, "digits_resnet", raising=False)
    import digits_resnet as recipe

    torch.manual_seed(3)
    model = recipe.build().eval()
    path = tmp_path / "digits.onnx"
    path.write_bytes(recipe.to_onnx(model).SerializeToString())
    x = np.random.default_rng(4).random((6, 1, 8, 8)).astype("f4")
    # torch-pruning scores no depthwise filters; ours are of the mean.
    depthwise = model["stage2"]["block2"]["conv2"][0]
    without = Selection(exclude=("stage2.block2.conv2.weight",))
    report = software_prune(path, tmp_path / "p.onnx", method="l1", ratio=ratio, selection=without)
    ignored = [model["head"], depthwise, model["stage2"]["block2"]["conv1"][0]]
    importance = of_filters(tp)
    pruned(tp, model, importance, ratio, ignored, x, forward=lambda m, inputs: recipe.forward(m, inputs))
    shapes = {name.replace(".0.weight", ".weight"): tuple(w.shape) for name, w in model.state_dict().items()}
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        assert {row.tensor: dump[row.tensor].shape for row in report} == {
            row.tensor: shapes[row.tensor] for row in report
        }
        scale = float(1 / np.sqrt(1 + 1e-5))
        for name, w in model.state_dict().items():
            if name.endswith(".0.weight"):
                found = dump[name.replace(".0.weight", ".weight")].read()
                assert np.allclose(found, w.numpy() * scale, rtol=1e-5, atol=1e-7), name
    with torch.no_grad():
        wanted = recipe.forward(model, torch.from_numpy(x)).numpy()
    assert abs(outputs(tmp_path / "p.onnx", x) - wanted).max() < 1e-5 * max(1, abs(wanted).max())
