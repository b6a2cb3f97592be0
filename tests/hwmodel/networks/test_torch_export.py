"""Modules of PyTorch: layers and weights by the parameters' names, and the module as it was."""

import copy
import dataclasses
import gc
import pickle
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import bitxcore as bx
import hwmodel as hw
from bitxcore.errors import OptionError

pytest.importorskip("onnx")


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.seq = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Sequential(nn.BatchNorm2d(channels)))

    def forward(self, x):
        return x + self.seq(self.conv(x))


class Nested(nn.Module):
    """Submodules in every kind of container, a tied weight, a bare parameter, and one block called twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.stages = nn.ModuleList([nn.ModuleList([Block(4), Block(4)])])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
        self.heads["b"].weight = self.heads["a"].weight
        self.up = nn.ConvTranspose2d(4, 2, 2)
        self.W = nn.Parameter(torch.randn(4, 5))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):  # equal, but not one
                nn.init.ones_(part.weight)

    def forward(self, x):
        x = self.stem(x)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        up = self.up(self.stages[0][1](x))
        x = x.mean((2, 3))
        x = self.heads["b"](self.heads["a"](x))
        return {"up": up, "y": x @ self.W, "products": x @ x.T, "nothing": None}


NESTED = {
    "stem": ("stem.weight", 3 * 9 * 4 * 9),
    "stages.0.0.conv": ("stages.0.0.conv.weight", 4 * 9 * 4 * 9),
    "stages.0.0.seq.0": ("stages.0.0.seq.0.weight", 4 * 4 * 9),
    "stages.0.1.conv": ("stages.0.1.conv.weight", 4 * 9 * 4 * 9),
    "stages.0.1.seq.0": ("stages.0.1.seq.0.weight", 4 * 4 * 9),
    "stages.0.1.conv#2": ("stages.0.1.conv.weight", 4 * 9 * 4 * 9),
    "stages.0.1.seq.0#2": ("stages.0.1.seq.0.weight", 4 * 4 * 9),
    "up": ("up.weight", 4 * 4 * 2 * 9),
    "heads.a": ("heads.a.weight", 16),
    "heads.b": ("heads.a.weight", 16),
    "W": ("W", 20),
    "MatMul_1": (None, 4),
}


def weights(network):
    return {e.layer.name: (e.weight, e.layer.macs) for e in network.layers}


def test_layers_have_the_names_of_parameters():
    network = hw.load_network(Nested(), torch.zeros(1, 3, 8, 8))
    assert weights(network) == NESTED
    # What is shared counts once, what is equal does not.
    assert network.parameters == 108 + 2 * (144 + 16) + 32 + 16 + 20
    assert network.name == "Nested"
    assert network.source == f"torch module {__name__}.Nested"
    assert network.notes == ()


def test_weights_are_the_modules_bit_for_bit():
    module = Nested()
    network = hw.load_network(module, torch.zeros(1, 3, 8, 8))
    with bx.open_dump(network.path) as dump:
        named = dict(module.named_parameters())
        for entry in filter(lambda e: e.weight, network.layers):
            stored = dump[entry.weight].read()
            assert np.array_equal(stored, named[entry.weight].detach().numpy())
            assert entry.read(dump).shape == entry.layer.weight_shape
    run = hw.simulate_network(["bitx", "dadiannao"], network)
    assert run.total("bitx").layers == len(network) - 1
    assert run.total("dadiannao").layers == len(network)


@pytest.mark.parametrize("grad", [True, False])
def test_attention_is_taken_apart(grad):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    module = nn.TransformerEncoder(layer, 2).requires_grad_(grad)
    network = hw.load_network(module, torch.zeros(2, 5, 16))
    expected = ["self_attn.in_proj", "self_attn.MatMul_1", "self_attn.MatMul_2", "self_attn.out_proj"]
    expected += ["linear1", "linear2"]
    assert [x.name for x in network] == [f"layers.{i}.{name}" for i in range(2) for name in expected]
    assert network.parameters == sum(p.numel() for p in module.parameters() if p.ndim > 1)
    assert torch.backends.mha.get_fastpath_enabled()


def test_recurrent_layers():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 5, num_layers=2, batch_first=True)
            self.gru = nn.GRU(5, 4, bidirectional=True)
            self.fc = nn.Linear(8, 3)

        def forward(self, x):
            return self.fc(self.gru(self.lstm(x)[0])[0])

    network = hw.load_network(Recurrent(), torch.zeros(2, 7, 6))
    assert {x.name: x.macs for x in network} == {
        "lstm.l0.input": 2 * 7 * 20 * 6,
        "lstm.l0.recurrent": 2 * 7 * 20 * 5,
        "lstm.l1.input": 2 * 7 * 20 * 5,
        "lstm.l1.recurrent": 2 * 7 * 20 * 5,
        **{f"gru.l0.input[{i}]": 2 * 7 * 12 * 5 for i in range(2)},
        **{f"gru.l0.recurrent[{i}]": 2 * 7 * 12 * 4 for i in range(2)},
        "fc": 2 * 7 * 3 * 8,
    }
    assert network.notes == ()
    # Gates are stored in another order than ONNX wants; the weights are found all the same.
    assert hw.simulate_network("bitx", network).total("bitx").layers == len(network)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclasses.dataclass
class Output:
    y: torch.Tensor
    rest: tuple


class Meddling(nn.Module):
    """Changes what it can reach: its buffers, its parameters, its inputs, the state of random numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("replaced", torch.tensor([float("nan"), 0.0]))
        self.fc, self.frozen, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.tuned = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
        self.frozen.eval()

    def train(self, mode=True):
        if not mode:
            self.fc.weight.data.zero_()
        return super().train(mode)

    def forward(self, pair, scale=2, *, extra):
        x = pair.first.add_(1) + pair.second + extra["deep"][0]
        self.steps += 1
        self.replaced = self.replaced + 1
        self.fc.weight.data.mul_(1.5)
        if x.sum() > 0:
            x = x * scale
        y = self.drop(self.frozen(self.fc(x))) + torch.rand(1)
        return Output(self.tuned(y), (y, None))


def test_the_module_is_as_it_was():
    module = Meddling()
    held = module.state_dict(keep_vars=True)
    before = {name: tensor.detach().clone() for name, tensor in held.items()}
    modes = [part.training for part in module.modules()]
    graph = module.fc(torch.ones(1, 4)).sum()
    random = torch.get_rng_state()
    arguments = {
        "pair": Pair(torch.zeros(2, 4), np.zeros((2, 4), np.float32)),
        "extra": {"deep": [torch.zeros(4)]},
    }
    network = hw.load_network(module, arguments)
    assert [x.name for x in network] == ["fc", "tuned.Gemm"]
    assert [part.training for part in module.modules()] == modes
    after = module.state_dict(keep_vars=True)
    for name, tensor in after.items():
        assert tensor is held[name]
        assert tensor.detach().numpy().tobytes() == before[name].numpy().tobytes()
        assert tensor.grad is None
    assert torch.equal(torch.get_rng_state(), random)
    assert not arguments["pair"].first.any()
    graph.backward()  # what was computed before can still be differentiated
    assert "exported by tracing: what depends on values, at 1 line(s)" in network.notes[0]


def test_a_failed_export_leaves_the_module_too(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Bilinear(3, 3, 3))
    with pytest.raises(OptionError, match=r"^module Sequential can't be exported to ONNX: ") as raised:
        hw.load_network(module, torch.zeros(2, 3))
    assert "\n" not in str(raised.value)
    assert all(part.training for part in module.modules())
    assert module[0].num_batches_tracked == 0
    del raised
    gc.collect()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_the_file_lives_as_long_as_the_network():
    network = hw.load_network(nn.Linear(3, 2), torch.zeros(1, 3))
    folder = network.path.parent
    copies = [
        copy.deepcopy(network),
        copy.copy(network),
        dataclasses.replace(network, name="other"),
        hw.Workload.of(network),
    ]
    sent = pickle.loads(pickle.dumps(network))
    assert sent == network
    del network
    gc.collect()
    while copies:
        assert folder.exists()
        copies.pop()
        gc.collect()
    assert not folder.exists()
    assert sent.path.parent == folder


FORKED = """
import gc, os, torch, hwmodel as hw
network = hw.load_network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
path = network.path
child = os.fork()
if not child:
    del network
    gc.collect()
    os._exit(0)
os.waitpid(child, 0)
assert path.exists()
"""


@pytest.mark.slow
def test_a_fork_does_not_remove_the_file():
    """In a process of its own: what other tests left has threads that a child lacks."""
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=300)


@pytest.mark.slow
def test_sweeps_in_processes_find_the_weights():
    network = hw.load_network(nn.Linear(32, 16), torch.zeros(1, 32))
    alone, together = (hw.sweep(network, {"rows": [4, 6]}, jobs=jobs) for jobs in (1, 2))
    assert alone.columns == together.columns


def test_inputs_do_not_clash_with_parameters():
    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.x = nn.Parameter(torch.randn(3, 2))

        def forward(self, x):
            return x @ self.x

    network = hw.load_network(Clash(), {"x": torch.zeros(5, 3)})
    assert weights(network) == {"x": ("x", 30)}
    assert network.input_sizes == {"x_": (5, 3)}


def test_traces_of_the_exported_file_are_the_networks(tmp_path):
    network = hw.load_network(Nested(), {"x": torch.zeros(1, 3, 8, 8)})
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    hw.trace(network.path, {"x": x}, tmp_path / "t.h5")
    run = hw.simulate_network("bitx", network, traces=tmp_path / "t.h5")
    assert run.total("bitx").layers == len(network)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(2, 2),), "module Linear needs example_inputs"),
        ((nn.Linear(2, 2), torch.zeros(1, 3)), "can't be exported to ONNX: mat1 and mat2 shapes"),
        ((nn.Linear(2, 2), "text"), "can't be exported to ONNX: "),
        ((nn.Linear(2, 2, device="meta"), torch.zeros(1, 2)), "can't be exported to ONNX: "),
        (("resnet18", torch.zeros(1)), "resnet18: example_inputs are for modules of PyTorch only"),
        ((nn.Linear, torch.zeros(1, 2)), "a network is a name, a path or a torch.nn.Module, got <class"),
        ((None,), "a network is a name, a path or a torch.nn.Module, got None"),
        ((5,), "a network is a name, a path or a torch.nn.Module, got 5"),
    ],
)
def test_what_can_not_be_loaded_is_said_in_a_line(arguments, message):
    with pytest.raises(OptionError) as raised:
        hw.load_network(*arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("option", [{"sizes": {"N": 1}}, {"input_size": (1, 2)}, {"inputs": {}}])
def test_options_of_graphs_are_none_of_modules(option):
    with pytest.raises(OptionError, match="are for ONNX graphs only; of a module, example_inputs"):
        hw.load_network(nn.Linear(2, 2), torch.zeros(1, 2), **option)


def test_a_module_is_no_network_yet():
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(
        OptionError, match="network must be a network, its name or its path, got Seq"
    ) as raised:
        hw.simulate_network("dadiannao", module)
    assert "\n" not in str(raised.value)


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(bx.errors.MissingExtraError, match=r"bitx\[torch\]"):
        hw.load_network(nn.Linear(2, 2), torch.zeros(1, 2))
