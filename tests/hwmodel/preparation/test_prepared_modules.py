"""Modules of PyTorch within a budget: the same weights as their ONNX export gets."""

import copy
import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bitxcore as bx
from bitxcore.batch import Selection
from bitxcore.errors import BitxError, OptionError, TensorError
from hwmodel.cli import group
from hwmodel.evaluation import task
from hwmodel.preparation import Budget, prepare_model, prepare_module
from hwmodel.preparation.module_layers import ModuleMoments, as_array

torch = pytest.importorskip("torch")
nn = torch.nn
ROOT = Path(__file__).parents[3]

BUDGETS = [
    Budget(ones=2, rows=5), Budget(ones=3, grouping="channel"), Budget(rows=3, compensates=False),
    Budget(ones=2, compensates=False, corrects_bias=False),
]  # fmt: skip


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, groups=4, dilation=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 9, 12), nn.ReLU(), nn.Linear(12, 5, bias=False),
    )  # fmt: skip


@pytest.fixture
def module():
    made = network()
    made[3].running_mean.copy_(torch.randn(8))
    made[3].running_var.copy_(torch.rand(8) + 0.5)
    return made


@pytest.fixture
def batches():
    rng = np.random.default_rng(6)
    mixed = rng.standard_normal((3, 3))
    pictures = np.einsum("nchw,cd->ndhw", rng.standard_normal((48, 3, 9, 9)) + 0.5, mixed).astype("f4")
    return [{"image": pictures[:32]}, {"image": pictures[32:]}]


def values(module):
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def exported(module, path):
    """The same network, with the same names, as ONNX."""
    onnx = pytest.importorskip("onnx")
    make, state = onnx.helper, values(module)
    norm = [f"3.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        make.make_node("Conv", ["image", "0.weight", "0.bias"], ["a"], name="0", pads=[1] * 4),
        make.make_node("Relu", ["a"], ["b"]),
        make.make_node("Conv", ["b", "2.weight"], ["c"], name="2", strides=[2, 2], dilations=[2, 2], group=4),
        make.make_node("BatchNormalization", ["c", *norm], ["d"], epsilon=module[3].eps),
        make.make_node("Relu", ["d"], ["e"]),
        make.make_node("Flatten", ["e"], ["f"]),
        make.make_node("Gemm", ["f", "6.weight", "6.bias"], ["g"], name="6", transB=1),
        make.make_node("Relu", ["g"], ["h"]),
        make.make_node("Gemm", ["h", "8.weight"], ["scores"], name="8", transB=1),
    ]
    graph = make.make_graph(
        nodes,
        "small",
        [make.make_tensor_value_info("image", 1, ["N", 3, 9, 9])],
        [make.make_tensor_value_info("scores", 1, ["N", 5])],
        [onnx.numpy_helper.from_array(x, name) for name, x in state.items() if x.ndim],
    )
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_module_gets_what_its_onnx_export_gets(module, batches, tmp_path, budget):
    pytest.importorskip("onnxruntime")
    path = exported(module, tmp_path / "m.onnx")
    wanted = prepare_model(path, batches, tmp_path / "p.onnx", budget)
    found = prepare_module(module, batches, budget)
    state = values(module)
    assert [row.offset for row in found] == [row.offset for row in wanted]
    assert [(row.tensor, row.compensated) for row in found] == [(r.tensor, r.compensated) for r in wanted]
    assert any(row.offset == "3.running_mean" for row in found) == budget.corrects_bias
    with bx.open_dump(tmp_path / "p.onnx") as dump:
        # The first layer reads the same bits. Behind it PyTorch and ONNX Runtime add up in another order.
        assert state["0.weight"].tobytes() == dump["0.weight"].read().tobytes()
        for mine, theirs in zip(found, wanted, strict=True):
            there = dump[mine.tensor].read()
            assert np.mean(state[mine.tensor] == there) >= (0.99 if budget.compensates else 1)
            assert mine.output_error == pytest.approx(theirs.output_error, rel=0.02)
            if mine.offset and not budget.compensates:
                np.testing.assert_allclose(state[mine.offset], dump[mine.offset].read(), atol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_pruner_leaves_what_is_prepared(module, batches, budget):
    report = prepare_module(module, batches, budget)
    before = values(module)
    bx.torch.prune_(
        module, rows=max(r.rows_max for r in report), group=budget.group, grouping=budget.grouping,
        layout="module",
    )  # fmt: skip
    assert all(values(module)[name].tobytes() == x.tobytes() for name, x in before.items())


@pytest.mark.parametrize("layer", [
    nn.Linear(6, 4), nn.Conv1d(6, 4, 3, padding=2),
    nn.Conv1d(6, 4, 4, padding="same", padding_mode="circular"),
    nn.Conv2d(6, 4, (3, 2), stride=(1, 2), dilation=(1, 2), groups=2, padding=(2, 1), padding_mode="reflect"),
    nn.Conv2d(6, 4, 3, padding="valid"), nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="replicate"),
    nn.Conv3d(6, 4, 2, padding=1), nn.Conv2d(6, 4, 4, padding="same", dilation=3),
], ids=str)  # fmt: skip
def test_moments_are_those_of_what_a_layer_reads(layer):
    torch.manual_seed(1)
    dims = layer.weight.ndim - 2
    x = torch.randn(5, 6, *range(7, 7 + dims))
    filters = layer.weight.detach().numpy()
    moments = ModuleMoments(layer, filters)
    moments.add(as_array(x))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch: even kernels with padding="same" are slow
        y = layer(x) - layer.bias.reshape(-1, *[1] * dims)
    y = y.numpy().astype(np.float64) if dims else y.numpy()[..., None].astype(np.float64)
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    np.testing.assert_allclose(moments.missing_means(np.zeros_like(filters)), y.mean(axis=axes), atol=1e-5)
    power = (y**2).mean(axis=axes).sum()
    assert moments.relative(filters * np.float32(0.5), corrected=False) == pytest.approx(0.5)
    assert (moments.second.shape[0], pytest.approx(power, rel=1e-4)) == (
        getattr(layer, "groups", 1),
        moments._power / moments._count,
    )


@pytest.mark.parametrize("at", [0, 2, 6])
def test_offsets_take_over_the_mean_error(module, batches, at):
    """Measured behind the layer, or behind its normalisation, of a module of which only this is prepared."""
    behind = module[: at + (2 if at == 2 else 1)].eval()
    x = torch.from_numpy(np.concatenate([part["image"] for part in batches]))
    with torch.no_grad():
        before = behind(x).double()
    for corrects in (False, True):
        other = copy.deepcopy(module)
        budget = Budget(ones=1, compensates=False, corrects_bias=corrects)
        prepare_module(other, batches, budget, selection=Selection(include=(f"{at}.weight",)))
        with torch.no_grad():
            moved = other.eval()[: len(behind)](x).double() - before
        largest = moved.mean(dim=[axis for axis in range(moved.ndim) if axis != 1]).abs().max()
        assert (largest < 1e-5) == corrects


class Odd(nn.Module):
    """Layers that run twice, that are tied, that run within others, or whose output others read, too."""

    def __init__(self):
        super().__init__()
        self.twice, self.plain = nn.Linear(8, 8), nn.Conv1d(4, 4, 1, bias=False)
        self.norm, self.read_twice = nn.BatchNorm1d(4), nn.Conv1d(4, 4, 1, bias=False)
        self.norm_of_that = nn.BatchNorm1d(4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first, self.second, self.up = nn.Linear(8, 8), nn.Linear(8, 8), nn.ConvTranspose1d(4, 4, 2, 2)
        self.second.weight = self.first.weight
        self.never = nn.Linear(8, 8)

    def forward(self, x):
        x = self.twice(self.twice(x))
        x = self.norm(self.plain(x))
        y = self.read_twice(x)
        x = self.norm_of_that(y) + y
        x = self.second(self.first(x))
        x, _ = self.attention(x, x, x)
        return self.up(x)


def test_what_has_no_moments_of_its_own_gets_the_nearest_values():
    torch.manual_seed(2)
    module = Odd()
    before = values(module)
    x = np.random.default_rng(2).standard_normal((32, 4, 8)).astype("f4")
    report = {row.tensor: row for row in prepare_module(module, [{"x": x}], Budget(ones=2))}
    fitted = {name for name, row in report.items() if row.compensated}
    assert fitted == {"plain.weight", "read_twice.weight"}
    assert report["plain.weight"].offset == "norm.running_mean"
    assert {row.offset for name, row in report.items() if name != "plain.weight"} == {None}
    assert {*report} == {name for name, value in before.items() if value.ndim > 1} - {"second.weight"}
    assert module.second.weight is module.first.weight
    state = values(module)
    for name in ("twice.weight", "attention.in_proj_weight", "never.weight", "first.weight"):
        assert state[name].tobytes() == bx.prepare(before[name], ones=2).values.tobytes()
    turned = np.ascontiguousarray(before["up.weight"].swapaxes(0, 1))
    assert (state["up.weight"].swapaxes(0, 1) == bx.prepare(turned, ones=2).values).all()


def test_modes_gradients_and_other_tensors_stay(module, batches):
    module.train()
    module[3].eval()
    modes = [part.training for part in module.modules()]
    before = values(module)
    report = prepare_module(module, batches, Budget(ones=2), selection=Selection(exclude=("6.*",)))
    assert [part.training for part in module.modules()] == modes
    assert all(value.grad is None and value.requires_grad for value in module.parameters())
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in module.modules())
    changed = {row.tensor for row in report} | {row.offset for row in report if row.offset}
    after = values(module)
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == changed
    assert report[0].tensor == "0.weight"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats(module, batches, dtype):
    module.to(getattr(torch, dtype))
    report = prepare_module(module, batches, Budget(ones=2))
    assert all(row.ones_max <= 2 and row.compensated for row in report)
    assert module[0].weight.dtype == getattr(torch, dtype)


def _unchanged(module, batches, error, match, budget=None, **options):
    before, mode = values(module), module.training
    with pytest.raises(error, match=match) as caught:
        prepare_module(module, batches, budget or Budget(ones=2), **options)
    after = values(module)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    assert module.training == mode
    return caught.value


def test_errors_leave_the_module_as_it_was(module, batches):
    _unchanged(module, [], OptionError, "there are no calibration samples")
    _unchanged(module, [{"image": np.ones((0, 3, 9, 9), "f4")}], OptionError, "no calibration samples")
    wrong = [{"image": np.ones((2, 4, 9, 9), "f4")}]
    _unchanged(
        module, wrong, TensorError, r"does not take the samples: these are image float32 \(2, 4, 9, 9\)"
    )
    batches[1]["image"][3, 2, 1, 0] = np.nan
    found = _unchanged(module, batches, TensorError, r"calibration sample 35 holds a NaN at \(2, 1, 0\)")
    assert "input 'image'" in str(found)
    batches[1]["image"][3, 2, 1, 0] = 0
    _unchanged(module, batches, OptionError, "ones must be an integer", Budget(ones=99))
    with torch.no_grad():
        module[8].weight[2, 3] = float("nan")
    found = _unchanged(module, batches, TensorError, "value nan")
    assert (found.tensor, found.index, found.path) == ("8.weight", 2 * 12 + 3, None)

    def stop(done, total, tensor):
        if done == 2:
            raise KeyboardInterrupt("stopped")

    _unchanged(module, batches, KeyboardInterrupt, "stopped", progress=stop)
    with pytest.raises(OptionError, match="module must be a torch"):
        prepare_module(3, batches, Budget(ones=2))


@pytest.mark.slow
def test_the_digits_network_as_its_recipe_builds_it():
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("digits_resnet", ROOT / "docs/recipes/digits_resnet.py")
    built = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(built)

    class Digits(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = built.build()

        def forward(self, x):
            return built.forward(self.parts, x)

    torch.manual_seed(4)
    module = Digits()
    batches = [part.feeds for part in task("digits").calibration(32)]
    report = prepare_module(module, batches, Budget(ones=2, rows=6))
    assert all(row.compensated and row.offset for row in report)
    assert {row.offset.rpartition(".")[2] for row in report} == {"running_mean", "bias"}


# -- on the command line -------------------------------------------------------------------------


def run(*given, code=0):
    done = CliRunner().invoke(group, ["prepare", *map(str, given)])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def files(module, batches, tmp_path, monkeypatch):
    """A state dict, arrays, and the module's code where it can be imported."""
    torch.save(module.state_dict(), tmp_path / "m.pt")
    np.savez(tmp_path / "cal.npz", input=np.concatenate([part["image"] for part in batches]))
    (tmp_path / "small_network.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n    return nn.Sequential(\n"
        "        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),\n"
        "        nn.Conv2d(8, 8, 3, stride=2, groups=4, dilation=2, bias=False),\n"
        "        nn.BatchNorm2d(8), nn.ReLU(),\n"
        "        nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 5, bias=False),\n    )\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("small_network", None)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dict_is_written_again(module, batches, files, suffix):
    path, out = files / f"m{suffix}", files / f"p{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(module.state_dict(), path)
    options = [path, "--module", "small_network:make", "--calibration", files / "cal.npz", "--ones", 2]
    found = json.loads(run(*options, "--rows", 5, "-o", out, "--json").stdout)
    whole = [
        {"image": np.concatenate([part["image"] for part in batches])[at : at + 16]} for at in (0, 16, 32)
    ]
    report = prepare_module(module, whole, Budget(ones=2, rows=5))
    assert found["tensors"] == [vars(row) for row in report]
    with bx.open_dump(path) as before, bx.open_dump(out) as after:
        assert list(before) == list(after)
        for name, value in values(module).items():
            assert after[name].read().tobytes() == value.tobytes()
    assert out.stat().st_size == path.stat().st_size or suffix == ".pt"
    assert not list(files.glob("*.journal"))


@pytest.mark.parametrize(("given", "text"), [
    (["m.pt"], "m.pt: a state dict has no graph: name its module with --module, or call"),
    (["m.safetensors"], "hwmodel.preparation.prepare_module, or export the module to ONNX"),
    (["m.pt2"], "m.pt2: programs of torch.export are not read"),
    (["m.pt", "--module", "small_network"], "module must be package.module:factory, got 'small_network'"),
    (["m.pt", "--module", "no_such_module:make"], "can't be imported: No module named 'no_such_module'"),
    (["m.pt", "--module", "small_network:torch.nn.ReLU"], "no state dict of ReLU, which has no '0.weight'"),
    (["m.pt", "--module", "json:dumps.__name__"], "must give a torch.nn.Module, it gives 'dumps'"),
    (["no.pt", "--module", "small_network:make"], "no.pt: does not exist"),
])  # fmt: skip
def test_what_a_file_of_pytorch_does_not_tell(files, given, text):
    done = run(files / given[0], *given[1:], "--calibration", files / "cal.npz", "--ones", 2, "-o",
               files / "p.pt", code=1)  # fmt: skip
    assert text in " ".join(done.output.split())
    assert len(done.output.strip().splitlines()) == 1
    assert not (files / "p.pt").exists()
    assert not list(files.glob("*.journal"))


@pytest.mark.parametrize(("arrays", "text"), [
    ({"x": np.ones((4, 5, 9, 9), "f4")}, "does not take the samples: these are x float32 (4, 5, 9, 9)"),
    ({"x": np.ones((0, 3, 9, 9), "f4")}, "needs as many samples in every array, at least one: x 0"),
    ({"x": np.ones((4, 3, 9, 9), "f4"), "z": np.ones((3, 2), "f4")}, "at least one: x 4, z 3"),
    ({"x": np.full((4, 3, 9, 9), np.nan, "f4")}, "bad.npz: input 'x': calibration sample 0 holds a NaN"),
])  # fmt: skip
def test_calibration_data_that_do_not_fit_a_module(files, arrays, text):
    np.savez(files / "bad.npz", **arrays)
    done = run(files / "m.pt", "--module", "small_network:make", "--calibration", files / "bad.npz", "--ones",
               2, "-o", files / "p.pt", code=1)  # fmt: skip
    assert text in " ".join(done.output.split())
    assert len(done.output.strip().splitlines()) == 1
    assert not (files / "p.pt").exists()


def test_a_state_dict_goes_on_after_an_interrupt(module, batches, files):
    from hwmodel.preparation.module_files import prepare_state_dict

    def stop(done, total, tensor):
        if done == 2:
            raise BitxError("stopped")

    given = (files / "m.pt", network(), batches)
    with pytest.raises(BitxError, match="stopped"):
        prepare_state_dict(*given, files / "p.pt", Budget(ones=2), progress=stop)
    assert (files / "p.pt.journal").exists()
    resumed = prepare_state_dict(*given, files / "p.pt", Budget(ones=2))
    fresh = prepare_state_dict(*given, files / "q.pt", Budget(ones=2))
    assert resumed == fresh
    assert (files / "p.pt").read_bytes() == (files / "q.pt").read_bytes()
    assert not (files / "p.pt.journal").exists()
