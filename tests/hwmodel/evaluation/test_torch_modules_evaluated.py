"""Modules of PyTorch are evaluated in place, and come back bit for bit."""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.batch import prune_dump
from bitxcore.errors import BitxError
from bitxcore.policy import Policy
from hwmodel.evaluation import Evaluator, ModuleTask, Setting, evaluate, search_rows

torch = pytest.importorskip("torch")


def network():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)
    )


def bits(module):
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


@pytest.fixture
def inputs():
    return np.random.default_rng(4).standard_normal((40, 3, 8, 8)).astype("f4")


@pytest.mark.parametrize("setting", [
    Setting(rows=3), Setting(rows=3, format="fixed16"), Setting(rows=3, format="bfloat16"),
    Setting(format="fixed8"),
    Setting(rows=3, group=None, grouping="kernel"), Setting(rows=2, rounding="nearest", group=16),
    Setting(policy=Policy({"0.weight": {"rows": 2}}, {"rows": 5})),
])  # fmt: skip
def test_equal_to_pruning_by_hand(setting, inputs):
    module = network()
    before = bits(module)
    kept = []
    labels = np.arange(40) % 5
    given = ModuleTask(module, inputs, labels, scored=lambda outputs: kept.append(outputs[0]) or outputs[0])
    found = evaluate(given, [setting], resamples=9)
    assert bits(module) == before
    assert module.training
    point = found.points[1]
    assert point.machine.reason is not None
    assert found.metrics == ("top1", "agreement", "cosine")
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name.endswith("weight"):
                x = value.numpy()
                options = {n: getattr(setting, n) for n in ("rows", "group", "grouping", "rounding")}
                if setting.policy:
                    options = setting.policy.options_for(name)
                form = setting.format
                if options["rows"] is None:
                    y = bx.quantize(x, 8).dequantize(x.dtype)
                elif form == "bfloat16":
                    y = bx.prune(x.astype(bx.number_format(form).dtype), **options).values.astype("f4")
                else:
                    y = bx.prune(x, format=form, **options).values
                value.copy_(torch.from_numpy(y))
        wanted = module.eval()(torch.from_numpy(inputs)).numpy()
    assert np.array_equal(np.concatenate(kept[1:]), wanted)


def test_weights_come_back_after_an_error(inputs):
    module = network()
    before = bits(module)
    calls = []

    def scored(outputs):
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError
        return outputs[0]

    with pytest.raises(ZeroDivisionError):
        evaluate(ModuleTask(module, inputs, scored=scored), [Setting(rows=2)], resamples=9)
    assert bits(module) == before


def test_what_does_not_go(inputs):
    module = network()
    with pytest.raises(BitxError, match="inputs and labels need as many samples"):
        ModuleTask(module, inputs, np.zeros(3))
    with pytest.raises(BitxError, match="the module does not take the samples: these are input float32"):
        evaluate(ModuleTask(module, inputs[:, :2]), [])
    with pytest.raises(BitxError, match="needs an ONNX file"):
        evaluate(ModuleTask(module, inputs), [Setting(rows=3, activation_rows=4)])
    with Evaluator(ModuleTask(module, inputs)) as evaluator, pytest.raises(BitxError, match="ONNX file"):
        search_rows(evaluator, 0.1)


def test_the_pruned_safetensors_file_gives_the_same_outputs(inputs, tmp_path):
    files = pytest.importorskip("safetensors.torch")
    module, kept = network(), []
    given = ModuleTask(module, inputs, scored=lambda outputs: kept.append(outputs[0]) or outputs[0])
    evaluate(given, [Setting(rows=4)], resamples=9)
    files.save_file(module.state_dict(), tmp_path / "model.safetensors")
    with bx.open_dump(tmp_path / "model.safetensors") as dump:
        prune_dump(dump, tmp_path / "pruned.safetensors", rows=4)
    other = network()
    other.load_state_dict(files.load_file(tmp_path / "pruned.safetensors"))
    with torch.no_grad():
        wanted = other.eval()(torch.from_numpy(inputs)).numpy()
    assert np.array_equal(np.concatenate(kept[len(kept) // 2 :]), wanted)


class Named(torch.nn.Module):
    """Gives a dict, as many models of language do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return {"logits": self.inner(x)}


def test_outputs_by_name_and_dtypes_that_are_not_the_inputs(inputs):
    one, other = (
        evaluate(ModuleTask(module, given), [Setting(rows=3)], resamples=2).points[1].scores["cosine"].value
        for module, given in ((network(), inputs), (Named(network()), inputs.tolist()))
    )
    assert one == other
    narrow = network().bfloat16()
    found = evaluate(ModuleTask(narrow, inputs, metrics="cosine"), [Setting(rows=3)], resamples=2)
    assert found.metrics == ("cosine",)
    assert 0.9 < found.points[1].scores["cosine"].value < 1


def test_what_is_no_sample_no_label_or_no_batch_is_told(inputs):
    module = network()
    with pytest.raises(BitxError, match="inputs are empty; give an array"):
        ModuleTask(module, {})
    with pytest.raises(BitxError, match="batch must be an integer from 1"):
        ModuleTask(module, inputs, batch=0)
    with pytest.raises(BitxError, match="labels must be class numbers, one per sample; got <U1"):
        evaluate(ModuleTask(module, inputs, ["a"] * 40), [], resamples=2)

    class Odd(torch.nn.Module):
        def forward(self, x):
            raise KeyError("mask")

    with pytest.raises(BitxError, match="the module does not take the samples: these are input float32"):
        evaluate(ModuleTask(Odd(), inputs), [], resamples=2)
    with pytest.raises(BitxError, match="include must be a pattern or some of them, got 3"):
        bx.torch.prune_(module, include=3)
    with pytest.raises(
        BitxError, match=r"criterion 'calibrated' needs norms by tensor; prune the module's file"
    ):
        bx.torch.prune_(module, criterion="calibrated")
