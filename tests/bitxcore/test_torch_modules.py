import copy
import json
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore.batch import Selection, prune_dump
from bitxcore.dumps import save
from bitxcore.errors import BitxError, MissingExtraError, OptionError, TensorError

torch = pytest.importorskip("torch")
nn = torch.nn

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits(tensor):
    """The codes of a tensor, which compare also where values are NaN."""
    return tensor.detach().clone().view(INTEGERS[tensor.element_size()])


def state(module):
    return {name: bits(value) for name, value in module.state_dict().items()}


def same(some, others):
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


def pruned_file(module, folder, include=(), exclude=(), **options):
    """What `bitx prune` makes of the file of a module's state dict."""
    torch.save(module.state_dict(), folder / "module.pt")
    with bx.open_dump(folder / "module.pt") as dump:
        chosen = Selection(include, exclude).choose(dump, options.get("format"))
        rows = prune_dump(dump, folder / "pruned.pt", chosen.tensors, **options)
    loaded = torch.load(folder / "pruned.pt", weights_only=True)
    return {name: bits(value) for name, value in loaded.items()}, rows, chosen.left_out


class Tied(nn.Module):
    """An embedding whose weights are the last layer's, as in language models; and a float buffer."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(20, 12)
        self.body = nn.TransformerEncoderLayer(12, 2, 16)
        self.head = nn.Linear(12, 20, bias=False)
        self.head.weight = self.tokens.weight
        self.register_buffer("positions", torch.randn(1, 7, 12))
        self.register_buffer("order", torch.arange(12).reshape(3, 4))
        self.register_buffer("unsaved", torch.randn(3, 3), persistent=False)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv1d(8, 4, 5),
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.ConvTranspose1d(4, 5, 2),
        nn.LayerNorm((4, 6)),
    )


def mixed():
    module = nn.ModuleDict(
        {
            "narrow": nn.Linear(9, 5).half(),
            "brain": nn.Linear(9, 5).bfloat16(),
            "wide": nn.Bilinear(3, 4, 5).double(),
        }
    )
    module.register_buffer("codes", torch.randint(-127, 128, (6, 10), dtype=torch.int8))
    module.register_buffer("tiny", torch.randn(4, 9).to(torch.float8_e4m3fn))
    return module


MODULES = {
    "lone": lambda: nn.Linear(13, 7, bias=False),
    "convolutions": convolutions,
    "recurrent": lambda: nn.ModuleList([nn.LSTM(5, 6, 2, proj_size=3), nn.GRU(4, 3), nn.RNNCell(3, 4)]),
    "attention": lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, kdim=6, vdim=4),
    "tied": Tied,
    "mixed": mixed,
    "parallel": lambda: nn.DataParallel(nn.Linear(8, 8)),
    "compiled": lambda: torch.compile(nn.Linear(8, 8), backend="eager"),
}


EACH = [pytest.param(name, marks=pytest.mark.slow if name == "compiled" else ()) for name in MODULES]
"""Compiled ones take seconds to import what compiles."""


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(
    "options",
    [{}, {"rows": 2, "group": 5, "grouping": "channel", "rounding": "nearest"}, {"format": "fixed8"}],
    ids=["default", "channel", "fixed8"],
)
def test_as_the_file_is_pruned(tmp_path, name, options):
    torch.manual_seed(1)
    module = MODULES[name]()
    expected, rows, left_out = pruned_file(module, tmp_path, **options)
    report = bx.torch.prune_(module, **options)
    assert same(state(module), expected)
    told = {row.tensor: row for row in rows}
    names = [name for weight in report for name in weight.names]
    assert sorted(names) == sorted(told)
    assert report.left_alone == left_out
    for weight in report:
        row = told[weight.tensor]
        shared = {key: value for key, value in weight.columns().items() if key in row.columns()}
        assert shared == row.columns()


def test_transposed_convolutions_by_type(tmp_path):
    """A file does not tell which they are: their groups run along the outputs, unless the types are asked."""
    one, two = nn.ConvTranspose2d(6, 4, 3, groups=2), nn.ConvTranspose1d(16, 3, 1)
    expected = [
        # Of each group of convolutions: inputs x outputs, turned.
        torch.cat([torch.from_numpy(bx.prune(half.detach().transpose(0, 1).numpy()).values).transpose(0, 1)
                   for half in one.weight.chunk(2)]),
        torch.from_numpy(bx.prune(two.weight.detach().transpose(0, 1).numpy()).values).transpose(0, 1),
    ]  # fmt: skip
    module = nn.Sequential(one, two)
    with bx.torch.pruned(module):
        by_file = state(module)
    assert same(pruned_file(module, tmp_path)[0], by_file)
    bx.torch.prune_(module, layout="module")
    assert torch.equal(one.weight, expected[0])
    assert torch.equal(two.weight, expected[1])
    assert not same(state(module), by_file)
    matrix = nn.Linear(16, 4)
    turned = bx.prune(matrix.weight.detach().T.numpy()).values.T
    bx.torch.prune_(matrix, layout="hwio")
    assert np.array_equal(matrix.weight.detach().numpy(), turned)


def test_types_know_a_layer_whose_name_looks_like_an_optimiser():
    module = nn.ModuleDict({"opt": nn.Linear(4, 4)})
    assert len(bx.torch.prune_(module)) == 1
    module.opt.register_buffer("exp_avg", torch.ones(4, 4))
    assert bx.torch.prune_(module).left_alone["opt.exp_avg"] == "state of an optimiser"


@pytest.mark.parametrize("name", EACH)
def test_put_back_bit_for_bit(name):
    module = MODULES[name]()
    before = state(module)
    with bx.torch.pruned(module, rows=1) as report:
        assert not same(state(module), before)
        module.train()
    assert same(state(module), before)
    assert report.relative_error > 0
    assert report.kept_rows_mean <= 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_put_back_after_an_exception(error):
    module = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 2))
    before = state(module)

    def fail():
        with torch.no_grad():
            module[0].weight.zero_()
        with pytest.raises(error), bx.torch.pruned(module, rows=1, format="bfloat16"):
            raise error
        assert module[0].weight.count_nonzero() == 0
        raise error

    with pytest.raises(error), bx.torch.pruned(module, rows=1):
        fail()
    assert same(state(module), before)


def test_nested_blocks():
    module = nn.Linear(64, 4)
    before = state(module)
    with bx.torch.pruned(module, rows=8):
        outer = state(module)
        with bx.torch.pruned(module, rows=2):
            assert not same(state(module), outer)
        assert same(state(module), outer)
    assert same(state(module), before)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_nan_payloads_and_negative_zeros(dtype):
    module = nn.Linear(16, 4).to(getattr(torch, dtype))
    with torch.no_grad():
        codes = module.weight.detach().view(INTEGERS[module.weight.element_size()])
        top = torch.iinfo(codes.dtype)
        codes[0, :3] = torch.tensor([top.max, -3, top.max - 5], dtype=codes.dtype)  # NaN, some signalling
        codes[1, 0] = top.max ^ ((top.max >> 1) & ~(top.max >> 12))
        codes[2, :4] = top.min  # -0.0
    before = state(module)
    with pytest.raises(TensorError, match="must be finite") as caught:
        bx.torch.prune_(module)
    assert (caught.value.tensor, caught.value.path) == ("weight", None)
    assert same(state(module), before)
    with bx.torch.pruned(module, rows=1, nonfinite="keep") as report:
        assert report["weight"].nonfinite_groups >= 1
        assert report["weight"].ones_before is None
        assert torch.equal(state(module)["weight"][0, :3], before["weight"][0, :3])
    assert same(state(module), before)
    if dtype == "float32":
        with bx.torch.pruned(module, rows=1, nonfinite="keep", format="bfloat16"):
            assert torch.equal(state(module)["weight"][0, :3], before["weight"][0, :3])
        assert same(state(module), before)


@pytest.mark.parametrize("form", [None, "bfloat16"])
def test_groups_that_are_wider_than_a_machine_s(form):
    module = nn.Linear(200, 4)
    before = state(module)
    with bx.torch.pruned(module, rows=3, group=100, format=form) as report:
        assert report["weight"].ones_after < report["weight"].ones_before
    assert same(state(module), before)


def test_after_an_error_nothing_is_pruned():
    module = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 2))
    module[1].weight.data[1, 3] = float("inf")
    before = state(module)
    with pytest.raises(TensorError, match=r"^tensor '1\.weight': value inf at flat index 11: ") as caught:
        bx.torch.prune_(module)
    assert (caught.value.index, caught.value.value) == (11, float("inf"))
    assert same(state(module), before)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_modules_are_put_back(data):
    layers = []
    for _ in range(data.draw(st.integers(1, 3))):
        rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20))
        layer = data.draw(
            st.sampled_from(
                [
                    lambda: nn.Linear(columns, rows),  # noqa: B023
                    lambda: nn.Conv1d(columns, rows, 2),  # noqa: B023
                    lambda: nn.ConvTranspose1d(columns, rows, 2),  # noqa: B023
                    lambda: nn.Embedding(rows, columns),  # noqa: B023
                ]
            )
        )()
        dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
        layer.to(dtype)
        if data.draw(st.booleans()):  # not contiguous
            axes = data.draw(st.permutations(range(layer.weight.ndim)))
            moved = layer.weight.detach().permute(*axes).contiguous()
            layer.weight = nn.Parameter(moved.permute(*np.argsort(axes).tolist()))
        if data.draw(st.booleans()):  # any bits at all
            codes = layer.weight.detach().view(INTEGERS[layer.weight.element_size()])
            seed = data.draw(st.integers(0, 2**32))
            codes.random_(generator=torch.Generator().manual_seed(seed))
        layers.append(layer)
    module = nn.Sequential(*layers)
    if len(layers) > 1 and data.draw(st.booleans()):
        layers[-1].weight = layers[0].weight
    options = {
        "rows": data.draw(st.integers(1, 12)),
        "group": data.draw(st.sampled_from([3, 8])),
        "grouping": data.draw(st.sampled_from(["flat", "channel", "kernel"])),
        "layout": data.draw(st.sampled_from([None, "module"])),
        "nonfinite": "keep",
    }
    before, reference = state(module), copy.deepcopy(module)
    with bx.torch.pruned(module, **options):
        inside = state(module)
    assert same(state(module), before)
    bx.torch.prune_(reference, **options)
    assert same(state(reference), inside)


def test_tied_weights_are_pruned_and_told_once():
    module = Tied()
    report = bx.torch.prune_(module)
    assert report["head.weight"] is report["tokens.weight"]
    assert report["head.weight"].names == ("tokens.weight", "head.weight")
    assert module.head.weight is module.tokens.weight
    assert len(bx.torch.prune_(module, include="head.weight")) == 1
    report = bx.torch.prune_(module, exclude="head.weight")
    assert report.left_alone["tokens.weight"] == "shares memory with 'head.weight', which is excluded"
    with pytest.raises(OptionError, match="no tensor of that name was pruned: shares memory"):
        report["tokens.weight"]


def views():
    """Parameters of one memory: halves of a matrix, its columns, a transposed one, all of it."""
    module = nn.Module()
    flat = torch.randn(6, 16)
    parts = {
        "upper": flat[:3],
        "left": flat[3:, :8],
        "right": flat[3:, 8:],
        "turned": flat[:3].T,
        "whole": flat,
    }
    for name, part in parts.items():
        module.register_parameter(name, nn.Parameter(part))
    return module


def test_views_of_one_memory():
    module = views()
    before = state(module)
    wanted = {name: bx.prune(getattr(module, name)).values for name in ("upper", "left", "right")}
    with bx.torch.pruned(module) as report:
        assert [weight.names for weight in report] == [("upper",), ("left",), ("right",)]
        assert report.left_alone == {
            "turned": "shares memory with 'upper', in another shape",
            "whole": "shares memory with 'upper', in another shape",
        }
        for name, values in wanted.items():
            assert np.array_equal(getattr(module, name).detach().numpy(), values)
    assert same(state(module), before)
    with pytest.raises(TensorError, match=r"the module Module: has no tensor to work on \(.*excluded"):
        bx.torch.prune_(module, exclude="whole")


def test_expanded_weights_are_left_alone():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = nn.Parameter(torch.randn(1, 4).expand(4, 4))
    report = bx.torch.prune_(module)
    assert report.left_alone["1.weight"].startswith("its elements share memory")


def test_parametrised_weights_are_left_alone():
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Linear(6, 4))
    module = nn.ModuleDict(
        {
            "plain": nn.Linear(6, 4),
            "norm": nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
            "orthogonal": nn.utils.parametrizations.orthogonal(nn.Linear(6, 6)),
            "old": old,
        }
    )
    import torch.nn.utils.prune as sparse

    module["sparse"] = sparse.l1_unstructured(nn.Linear(6, 4), "weight", amount=0.5)
    before = state(module)
    report = bx.torch.prune_(module, rows=1)
    assert [weight.tensor for weight in report] == ["plain.weight"]
    assert {name.partition(".")[0] for name, why in report.left_alone.items() if "is made of it" in why} == {
        "norm", "orthogonal", "old", "sparse",
    }  # fmt: skip
    assert [name for name, value in state(module).items() if not torch.equal(value, before[name])] == [
        "plain.weight"
    ]
    sparse.remove(module["sparse"], "weight")
    assert "sparse.weight" in [weight.tensor for weight in bx.torch.prune_(module)]
    assert len(bx.torch.prune_(module, include="norm.parametrizations.weight.original1")) == 1


def test_what_has_no_values():
    module = nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2, device="meta"), nn.Linear(5, 4))
    module.register_buffer("sparse", torch.eye(3).to_sparse())
    module.register_buffer("complex", torch.ones(3, 3, dtype=torch.complex64))
    module.register_buffer("flags", torch.ones(3, 3, dtype=torch.bool))
    module.set_extra_state = lambda _: None
    report = bx.torch.prune_(module)
    assert [weight.tensor for weight in report] == ["2.weight"]
    assert report.left_alone == {
        "0.weight": "not initialised yet: run the module once",
        "0.bias": "not initialised yet: run the module once",
        "1.weight": "meta tensor, without values",
        "1.bias": "meta tensor, without values",
        "2.bias": "fewer than 2 dimensions",
        "sparse": "torch.sparse_coo torch.float32 tensor",
        "complex": "dtype complex64 has no number format",
        "flags": "dtype bool has no number format",
    }
    with pytest.raises(TensorError, match=r"the module Sequential: has no tensor to work on \(2 x not init"):
        bx.torch.prune_(module[:1])


class Computed(nn.Linear):
    """A layer whose state is made when it is asked for."""

    def get_extra_state(self):
        return {"table": torch.ones(4, 4)}

    def set_extra_state(self, state):
        pass


def test_state_that_is_no_parameter_is_left_alone():
    report = bx.torch.prune_(Computed(4, 4))
    assert report.left_alone["_extra_state.table"].startswith(
        "the module makes it when its state is asked for"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_modules():
    module = nn.Sequential(nn.Linear(4, 4), nn.Conv1d(4, 4, 1))
    quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear})
    report = bx.torch.prune_(quantised)
    assert [weight.tensor for weight in report] == ["1.weight"]
    assert "qint8" in report.left_alone["0._packed_params._packed_params.0"]


def test_modules_that_can_not_be_pruned():
    with pytest.raises(TensorError, match=r"the module ReLU: has no tensor to work on \(it is empty\)"):
        bx.torch.prune_(nn.ReLU())
    with pytest.raises(OptionError, match=r"module must be a torch\.nn\.Module, got .*bitxcore\.prune takes"):
        bx.torch.prune_(torch.ones(3, 3))
    module = nn.Linear(4, 4)
    with pytest.raises(OptionError, match="the module Linear: no tensor is named like 'wei'"):
        bx.torch.prune_(module, include="wei")
    with pytest.raises(OptionError, match="include must be a pattern or some of them, got 3"):
        bx.torch.prune_(module, include=[3])
    with pytest.raises(OptionError, match="layout must be one of module, oihw, ohwi, hwio, got 'types'"):
        bx.torch.prune_(module, layout="types")
    with pytest.raises(TypeError, match="unexpected keyword argument 'row'"), bx.torch.pruned(module, row=3):
        pass
    for options in (
        {"rows": 0},
        {"group": 65, "grouping": "x"},
        {"format": "float31"},
        {"criterion": "best"},
    ):
        with pytest.raises(OptionError):
            bx.torch.prune_(module, **options)


def test_float_formats_round_first():
    module = nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 8).bfloat16())
    weight = module[0].weight.detach().numpy().copy()
    narrow = weight.astype(ml_dtypes.bfloat16)
    pruned = bx.prune(narrow, rows=3)
    report = bx.torch.prune_(module, rows=3, format="bfloat16")
    assert np.array_equal(module[0].weight.detach().numpy(), pruned.values.astype(np.float32))
    error = np.linalg.norm(weight.astype("f8") - pruned.values.astype("f8")) / np.linalg.norm(
        weight.astype("f8")
    )
    assert report["0.weight"].relative_error == pytest.approx(error, rel=1e-12)
    assert report["0.weight"].format.name == "bfloat16"
    assert report["0.weight"].ones_before == bx.essential_bits(narrow).sum()
    assert report["0.weight"].ones_after == bx.essential_bits(pruned.values).sum()
    module[0].weight.data[2, 2] = 1e6
    before = state(module)
    with pytest.raises(OptionError, match=r"tensor '0\.weight': weights are beyond what float16 holds"):
        bx.torch.prune_(module, format="float16")
    assert same(state(module), before)
    module.register_buffer("codes", torch.ones(3, 3, dtype=torch.int8))
    with pytest.raises(TensorError, match="tensor 'codes': is int8: a float format is for floats"):
        bx.torch.prune_(module, format="bfloat16")
    assert same({n: v for n, v in state(module).items() if n != "codes"}, before)


@pytest.mark.parametrize("form", [None, "fixed16"])
def test_the_report(form):
    module = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    before = module[2].weight.detach().numpy().copy()
    report = bx.torch.prune_(module, rows=4, format=form)
    found = bx.prune(before, rows=4, format=form)
    weight = report["2.weight"]
    assert (
        weight.ones_after
        == bx.essential_bits(found.values if form is None else found.codes, found.format).sum()
    )
    assert weight.ones_before > weight.ones_after
    assert weight.kept_rows_mean == found.kept_rows.mean()
    parts = [(w.relative_error * w.norm, w.norm) for w in report]
    total = np.hypot(*(error for error, _ in parts)) / np.hypot(*(norm for _, norm in parts))
    assert report.relative_error == pytest.approx(total)
    assert report.totals()["ones_after"] == sum(w.ones_after for w in report)
    assert [row.keys() for row in report.rows()] == [bx.torch.MODULE_UNITS.keys()] * 2
    assert json.loads(json.dumps(report.to_dict()))["tensors"][1]["names"] == ["2.weight"]
    lines = repr(report).splitlines()
    assert lines[0].startswith("PrunedModule: Sequential, 2 tensors, relative error 0.0")
    assert lines[-1] == "left alone: 2 x fewer than 2 dimensions"
    assert repr(weight).startswith("PrunedWeight(tensor='2.weight', shape=(4, 8, 3, 3), relative_error=0.0")


def test_weights_share_memory_with_what_is_pruned():
    module = nn.Linear(16, 4)
    held = module.weight.detach()  # the same memory
    address = module.weight.data_ptr()
    bx.torch.prune_(module, rows=1)
    assert module.weight.data_ptr() == address
    assert torch.equal(held, module.weight)
    assert module.weight.requires_grad


def test_gradients_of_old_values_are_refused():
    module = nn.Linear(16, 4)
    loss = (module.weight**2).sum()
    with bx.torch.pruned(module):
        other = (module.weight**2).sum()
    for stale in (loss, other):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            stale.backward()


def test_in_inference_mode():
    with torch.inference_mode():
        module = nn.Linear(16, 4)
    before = state(module)
    with bx.torch.pruned(module, rows=1):
        assert not same(state(module), before)
    assert same(state(module), before)


def test_other_devices(monkeypatch):
    """Weights are copied to the processor's memory and back; here they are there already."""
    monkeypatch.setattr(bx.torch.module_dump, "in_processor_memory", lambda _: False)
    module = mixed()
    twin = copy.deepcopy(module)
    before = state(module)
    with bx.torch.pruned(module):
        inside = state(module)
    assert same(state(module), before)
    monkeypatch.undo()
    bx.torch.prune_(twin)
    assert same(state(twin), inside)


@pytest.mark.parametrize("change", ["half", "double", "moved"])
def test_put_back_also_where_the_block_casts_or_moves(change):
    module = nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 4))
    before = bits(module[0].weight)
    with bx.torch.pruned(module, rows=1):
        if change == "moved":
            module[0].weight.data = module[0].weight.data.clone()
        else:
            getattr(module, change)()
    assert torch.equal(bits(module[0].weight), before)
    assert module[0].weight.dtype is torch.float32


def test_scripted_modules():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        module = torch.jit.script(nn.Sequential(nn.Linear(16, 4)))
    before = state(module)
    with bx.torch.pruned(module, rows=1):
        assert not same(state(module), before)
    assert same(state(module), before)


def test_a_module_is_a_dump(tmp_path):
    module = Tied()
    before = state(module)
    dump = bx.torch.open_module(module)
    torch.save(module.state_dict(), tmp_path / "x.pt")
    with bx.open_dump(tmp_path / "x.pt") as file:
        assert list(dump) == list(file)
        assert all(np.array_equal(dump[name].read(), file[name].read()) for name in dump)
        chosen = Selection().choose(dump)
        assert [t.name for t in chosen.tensors] == [t.name for t in Selection().choose(file).tensors]
    save(dump, tmp_path / "x.npz")
    digest = dump.sha256()
    asked = []

    def replace(tensor):
        asked.append(tensor.name)
        return None if tensor.name == "positions" else np.zeros(tensor.shape, tensor.dtype)

    with dump.replaced(chosen.tensors, replace):
        assert module.head.weight.count_nonzero() == 0
        assert dump.sha256() != digest
    assert asked.count("tokens.weight") == 1
    assert "head.weight" not in asked
    assert dump.sha256() == digest
    assert same(state(module), before)
    with pytest.raises(BitxError, match="shape"), dump.replaced(chosen.tensors, lambda _: np.zeros(3)):
        pass
    assert same(state(module), before)
    with pytest.raises(OptionError, match="layout must be module or None"):
        bx.torch.open_module(module, layout="oihw")


@pytest.mark.parametrize("call", ["prune_", "open_module", "pruned"])
def test_without_torch(monkeypatch, call):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"torch is not installed: pip install 'bitx\[torch\]'"):
        getattr(bx.torch, call)(SimpleNamespace()).__enter__()
