"""Checkpoints as training leaves them: optimisers' state, quantised weights, folders of models."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import hwmodel as hw
from bitxcore.batch import Selection, prune_dump
from bitxcore.dumps import open_dump, save
from bitxcore.dumps.roles import no_weights
from bitxcore.errors import BitxError, OptionError

RNG = np.random.default_rng(3)


def matrix(*shape):
    return RNG.normal(size=shape or (8, 64)).astype("f4")


@pytest.mark.parametrize("name", [
    "optimizer.state.0.exp_avg", "optimizer_state.fc.weight.exp_avg_sq", "optimizer.param_groups.0.x",
    "optimizer_states.0.state.3.momentum_buffer", "checkpoint-5/optimizer.pt/state.1.exp_avg",
    "opt_state.0.mu.dense.kernel", "optimizers.x", "optimizer_state_dict.state.a.b",
    "fc.weight.exp_avg", "state.7.sum", "state.0.state1", "exp_avg_sq_row", "optim.adam.m",
])  # fmt: skip
def test_state_of_optimisers(name):
    assert no_weights(name) == "state of an optimiser"


@pytest.mark.parametrize("name", [
    "fc.scale", "fc.zero_point", "fc.weight_scale", "fc.weight_zero_point", "model.layers.0.q_proj.scales",
    "a.zeros", "a.qzeros", "a.g_idx", "a.weight_g_idx", "a.weight_scale_inv", "a.input_scale", "a.SCB",
    "a.weight.absmax", "a.weight.nested_quant_map", "a.weight.quant_state.bitsandbytes__nf4", "k_scale",
])  # fmt: skip
def test_scales_of_quantised_weights(name):
    assert no_weights(name) == "scales or zero points of quantised weights"


@pytest.mark.parametrize("name", [
    "fc.weight", "optimal_transport.weight", "model.option.weight", "grayscale.weight", "upscale",
    "multiscale.conv.weight", "state.0.weight", "zeros_net.weight", "scale.weight", "adoptimizer.weight",
    "layers.0.qweight", "weight", "w",
])  # fmt: skip
def test_weights_by_their_names(name):
    assert no_weights(name) is None


def test_checkpoints_in_commands_and_networks(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors = {
        "fc.weight": matrix(),
        "optimizer.state.0.exp_avg": matrix(),
        "fc.weight_scale": matrix(8, 4),
        "four.weight": np.ones((64, 1), "u1"),
        "four.weight.absmax": matrix(8, 2),
    }
    save_file(tensors, path)
    with open_dump(path) as dump:
        chosen = Selection().choose(dump)
        assert [tensor.name for tensor in chosen.tensors] == ["fc.weight"]
        assert chosen.left_out["optimizer.state.0.exp_avg"] == "state of an optimiser"
        assert "bitsandbytes" in chosen.left_out["four.weight"]
        included = Selection(include=("opt*", "*scale")).choose(dump)
        assert {tensor.name for tensor in included.tensors} == {
            "optimizer.state.0.exp_avg",
            "fc.weight_scale",
        }
        network = hw.network_from_dump(dump)
        assert [layer.layer.name for layer in network.layers] == ["fc.weight"]
        assert {entry.reason for entry in network.not_simulated} >= {"state of an optimiser"}
        prune_dump(dump, tmp_path / "p.safetensors", rows=2)
    pruned = load_file(tmp_path / "p.safetensors")
    assert {name for name in tensors if not np.array_equal(pruned[name], tensors[name])} == {"fc.weight"}


# -- folders of models -------------------------------------------------------------------------


def model_folder(path, sharded):
    """A folder as Hugging Face's libraries save one."""
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "small"}')
    (path / "tokenizer").mkdir()
    (path / "tokenizer" / "vocab.txt").write_text("a b c")
    (path / ".gitattributes").write_text("*.safetensors filter=lfs")
    (path / ".git").mkdir()
    (path / ".git" / "large").write_text("x")
    if sharded:
        names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        for name, file in names.items():
            save_file({name: matrix()}, path / file)
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    else:
        save_file({"a": matrix(), "b": matrix()}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("sharded", [False, True])
def test_all_else_of_a_folder_is_kept(tmp_path, sharded):
    folder = model_folder(tmp_path / "in", sharded)
    (folder / ".bitx-0123456789abcdef.tmp").write_bytes(b"half")
    with open_dump(folder) as dump:
        prune_dump(dump, tmp_path / "out", rows=2)

    def files(root):
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    out = tmp_path / "out"
    assert files(out) == files(folder) - {".git/large", ".bitx-0123456789abcdef.tmp"}
    for name in files(out):
        if not name.endswith(".safetensors"):
            assert (out / name).read_bytes() == (folder / name).read_bytes()
    with open_dump(folder) as before, open_dump(out) as after:
        assert list(before) == list(after)
        assert not any(np.array_equal(before[name].read(), after[name].read()) for name in before)


def test_what_is_no_file_in_a_folder(tmp_path):
    folder = model_folder(tmp_path / "in", False)
    os.mkfifo(folder / "pipe")
    with open_dump(folder) as dump, pytest.raises(BitxError, match="pipe: is not a regular file"):
        save(dump, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- PyTorch's ---------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def training(torch):
    """A checkpoint as a training loop saves it, with a weight that two layers share."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    model[1].weight = model[0].weight
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.randn(3, 64)).sum().backward()
    optimiser.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimiser.state_dict(),
        "epoch": 7,
        "name": "run",
        "list": [torch.randn(8, 64).to(torch.bfloat16), (None, torch.randn(16, 8).T)],
        "size": torch.Size([3, 4]),
        "meta": torch.empty(3, 4, device="meta"),
        "part": torch.arange(1000.0).reshape(10, 100)[2:4, ::2],
        "parameter": torch.nn.Parameter(torch.randn(4, 4)),
    }


@pytest.mark.slow
def test_pt_is_written_as_it_was_read(torch, tmp_path):
    path, out = tmp_path / "in.pt", tmp_path / "out.pt"
    torch.save(training(torch), path)
    with open_dump(path) as dump:
        names = {tensor.name for tensor in Selection().choose(dump).tensors}
        assert names == {"model.0.weight", "model.1.weight", "list.0", "list.1.1", "part", "parameter"}
        rows = prune_dump(dump, out, rows=2)
        expected = {row.tensor for row in rows}
    assert expected == names
    old, new = torch.load(path, weights_only=True), torch.load(out, weights_only=True)
    assert list(old) == list(new)
    assert type(new["model"]) is type(old["model"])
    assert new["model"]._metadata == old["model"]._metadata
    assert (new["epoch"], new["name"], new["size"]) == (7, "run", old["size"])
    assert type(new["list"][1]) is tuple
    assert new["list"][0].dtype == torch.bfloat16
    assert new["meta"].is_meta
    assert new["model"]["0.weight"].data_ptr() == new["model"]["1.weight"].data_ptr()
    assert new["optimizer"]["param_groups"] == old["optimizer"]["param_groups"]
    assert torch.equal(new["optimizer"]["state"][0]["exp_avg"], old["optimizer"]["state"][0]["exp_avg"])
    with open_dump(path) as before, open_dump(out) as after:
        assert list(before) == list(after)
        same = {n for n in before if before[n].read().tobytes() == after[n].read().tobytes()}
        assert same == set(before) - names
    assert b".bitx" not in out.read_bytes()
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    model.load_state_dict(new["model"])


def test_lone_tensors_and_old_files(torch, tmp_path):
    x = matrix()
    torch.save(torch.tensor(x), tmp_path / "lone.pt", _use_new_zipfile_serialization=False)
    with open_dump(tmp_path / "lone.pt") as dump:
        prune_dump(dump, tmp_path / "out.pth", rows=2)
    found = torch.load(tmp_path / "out.pth", weights_only=True)
    assert found.shape == x.shape
    assert not np.array_equal(found.numpy(), x)


def test_a_failed_write_of_pt_leaves_nothing(torch, tmp_path):
    torch.save(training(torch), tmp_path / "in.pt")
    with open_dump(tmp_path / "in.pt") as dump:
        with pytest.raises(OptionError):
            prune_dump(dump, tmp_path / "out.pt", rows=0)
        with pytest.raises(BitxError, match="is the input"):
            prune_dump(dump, tmp_path / "in.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]


def test_float8_in_pt(torch, tmp_path):
    torch.save({"w": torch.randn(8, 64).to(torch.float8_e4m3fn)}, tmp_path / "in.pt")
    with open_dump(tmp_path / "in.pt") as dump:
        save(dump, tmp_path / "out.pt")
        with open_dump(tmp_path / "out.pt") as again:
            assert again["w"].dtype == ml_dtypes.float8_e4m3fn
            assert again["w"].read().tobytes() == dump["w"].read().tobytes()
