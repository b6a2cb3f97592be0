"""Pruning of arrays on a device, in Numba's simulator: ``NUMBA_ENABLE_CUDASIM=1 pytest`` this file."""

import sys
from types import ModuleType, SimpleNamespace

import ml_dtypes
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

import bitxcore as bx
from bitxcore.cuda import DevicePruned, device_pruning
from bitxcore.cuda.device_kernel import THREADS
from bitxcore.formats import number_format
from tests.bitxcore.oracle import ALL_NAMES, check_prune, sample
from tests.test_docs import ROOT, blocks

ARRAYS = ("values", "row_masks", "exponents", "kept_rows")


def to_device(x):
    """Copy to the device; what it has no dtype for as codes."""
    return cuda.to_device(x if x.dtype.isbuiltin else x.view(f"u{x.dtype.itemsize}"))


def prune_there(x, **options):
    p = bx.prune(to_device(x), **options)
    assert isinstance(p, DevicePruned)
    return p.copy_to_host()


@settings(deadline=None, max_examples=250, derandomize=True)
@given(
    name=st.sampled_from(ALL_NAMES),
    shape=st.sampled_from([(7,), (3, 10), (2, 5, 3), (2, 3, 3, 3)]),
    seed=st.integers(0, 2**32 - 1),
    group=st.integers(1, 4) | st.integers(5, 64),
    window=st.none() | st.integers(1, 64),
    rows=st.integers(1, 8),
    grouping=st.sampled_from(["flat", "channel", "kernel"]),
    rounding=st.sampled_from(["truncate", "nearest"]),
    rule=st.sampled_from([{}, {"criterion": "msb"}, {"criterion": "threshold", "threshold": 0.4}]),
)
def test_results_equal_the_definition(name, shape, seed, rule, **options):
    x = sample(name, shape, np.random.default_rng(seed), uniform=bool(seed % 2))
    check_prune(x, name, prune=prune_there, **rule, **options)


def test_more_groups_than_a_block_has_threads():
    x = sample("float32", (3, THREADS), np.random.default_rng(0))
    check_prune(x, "float32", prune=prune_there, group=2, rows=2)


def test_whole_kernels():
    x = sample("int8", (2, 4, 3, 3), np.random.default_rng(0))
    check_prune(x, "int8", prune=prune_there, group=None, grouping="kernel", rows=2)


@pytest.mark.parametrize(
    "name", ["float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "int8", "int16"]
)
@pytest.mark.parametrize("window", [None, 20, 40])
def test_groups_without_a_finite_value_are_those_of_the_processor(name, window):
    fmt = number_format(name)
    if window == 40 and not fmt.is_float:
        window = 32  # beyond that, the processor's masks of such groups are not full
    x = sample(name, (4, 16), np.random.default_rng(1))
    bad = np.nan if fmt.is_float else np.iinfo(fmt.dtype).min
    x[1, 3], x[3, 15] = bad, bad
    options = {"group": 8, "rows": 2, "format": name, "window": window}
    here, there = bx.prune(x, nonfinite="keep", **options), prune_there(x, nonfinite="keep", **options)
    for part in ARRAYS:
        assert getattr(here, part).tobytes() == getattr(there, part).tobytes(), part
    assert here.nonfinite_groups == there.nonfinite_groups == 2
    assert here.window_limited_groups == there.window_limited_groups
    with pytest.raises(bx.TensorError) as expected:
        bx.prune(x, **options)
    device = to_device(x)
    for out in (None, device):
        with pytest.raises(bx.TensorError) as raised:
            bx.prune(device, out=out, **options)
        assert str(raised.value) == str(expected.value)
        assert raised.value.index == 19


def test_the_packed_form_is_of_arrays_of_the_processor():
    x = sample("float32", (2, 24), np.random.default_rng(2))
    p = bx.prune(to_device(x))
    with pytest.raises(bx.TensorError, match=r"on a device have no packed form; give p\.copy_to_host"):
        bx.pack(p)
    assert bx.unpack(bx.pack(p.copy_to_host())).tobytes() == bx.prune(x).values.tobytes()


def test_many_are_pruned_by_the_calling_thread():
    """Whose device is the current one; another thread's is the first."""
    x = sample("float32", (2, 24), np.random.default_rng(2))
    for p in bx.prune_many([to_device(x), to_device(x), x]):
        here = p.copy_to_host() if isinstance(p, DevicePruned) else p
        assert here.values.tobytes() == bx.prune(x).values.tobytes()


def test_result_goes_into_out():
    x = sample("float32", (2, 24), np.random.default_rng(2))
    want = bx.prune(x).values
    device, other = cuda.to_device(x), cuda.device_array(x.shape, x.dtype)
    assert bx.prune(device, out=other).values is other
    np.testing.assert_array_equal(other.copy_to_host(), want)
    np.testing.assert_array_equal(device.copy_to_host(), x)
    assert bx.prune(device, out=device, parts=reversed(ARRAYS)).values is device
    np.testing.assert_array_equal(device.copy_to_host(), want)


def test_out_that_overlaps_the_input():
    x = sample("float32", (55, 8), np.random.default_rng(2))
    big = cuda.to_device(x)
    for source, out in ((big[:54], big[1:55]), (big[1:55], big[:54]), (big[:30], big[25:55])):
        with pytest.raises(bx.TensorError, match="out overlaps x but is not x"):
            bx.prune(source, out=out)
    np.testing.assert_array_equal(big.copy_to_host(), x)
    bx.prune(big[:27], out=big[27:54])
    np.testing.assert_array_equal(big.copy_to_host()[27:54], bx.prune(x[:27]).values)
    bx.prune(big[:27], out=big[:27])
    np.testing.assert_array_equal(big.copy_to_host()[:27], bx.prune(x[:27]).values)


def test_many_whose_results_overlap():
    x = sample("float32", (4, 24), np.random.default_rng(2))
    one, two, out = cuda.to_device(x), cuda.to_device(x), cuda.device_array((8, 24), np.float32)
    for given_out in ([out[:4], out[:4]], [out[:4], out[3:7]], [two, out[:4]], [two, one]):
        with pytest.raises(bx.TensorError, match=r"out for '[01]' overlaps what '[01]' has"):
            bx.prune_many([one, two], out=given_out)
    with pytest.raises(bx.TensorError, match=r"tensor 'b': out must be C-contiguous on a device"):
        bx.prune_many({"a": x, "b": one}, out={"a": x.copy(), "b": cuda.device_array((24, 4), "f4").T})
    for given_out in ([out[:4], out[4:]], [one, two]):
        for pruned in bx.prune_many([one, two], out=given_out):
            assert pruned.copy_to_host().values.tobytes() == bx.prune(x).values.tobytes()


class Interface:
    """A device array of Numba outside the simulator, as far as its place is looked at."""

    size, dtype = 12, np.dtype(np.float32)

    @property
    def __cuda_array_interface__(self):
        return {"data": (1 << 40, False)}


def test_place_of_an_array_outside_the_simulator():
    assert device_pruning._addresses(Interface()) == (1 << 40, (1 << 40) + 48)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"criterion": "energy", "budget": 0.1}, "criterion 'energy' is not for arrays on a device"),
        ({"criterion": "calibrated", "norms": np.ones(8)}, "criterion 'calibrated' is not for arrays"),
        ({"format": "fixed8"}, "format 'fixed8' is not for arrays on a device"),
        ({"statistics": True}, "statistics True is not for arrays on a device"),
        ({"parts": ("values",)}, r"parts \('values',\) is not for arrays on a device"),
        ({"parts": 3}, "parts must be names of parts, got 3"),
        ({"out": {}}, "out {} is not for arrays on a device, which take an array for the values"),
        ({"group": 65}, "group must be an integer from 1 to 64, got 65"),
        ({"window": 65}, "window must be an integer from 1 to 64, got 65"),
        ({"rows": 0}, "rows must be a positive integer, got 0"),
        ({"criterion": "most"}, "criterion must be one of topn, msb, threshold, energy, calibrated"),
        ({"rounding": "up"}, "rounding must be one of truncate, nearest, got 'up'"),
        ({"nonfinite": "drop"}, "nonfinite must be 'raise' or 'keep', got 'drop'"),
        ({"threshold": 0.5}, "criterion 'topn' takes no threshold"),
    ],
)
def test_options_that_are_refused_are_named(options, said):
    with pytest.raises(bx.OptionError, match=said):
        bx.prune(cuda.to_device(np.ones((2, 8), np.float32)), **options)


def test_tensors_that_are_refused():
    x = np.ones((4, 8), np.float32)
    device = cuda.to_device(x)
    with pytest.raises(bx.TensorError, match="x must be C-contiguous on a device"):
        bx.prune(device.T)
    with pytest.raises(bx.TensorError, match="out must be C-contiguous on a device"):
        bx.prune(cuda.to_device(np.ones((8, 4), np.float32)), out=device.T)
    for out in (np.ones((8, 4), np.float32), np.ones((4, 8))):
        with pytest.raises(bx.TensorError, match=r"out must be \(4, 8\) float32"):
            bx.prune(device, out=cuda.to_device(out))
    with pytest.raises(bx.TensorError, match="dtype uint16 has no number format"):
        bx.prune(cuda.to_device(np.ones(8, np.uint16)))
    with pytest.raises(bx.TensorError, match="format bfloat16 is stored as bfloat16"):
        bx.prune(device, format="bfloat16")
    with pytest.raises(bx.TensorError, match="the tensor is empty"):
        bx.prune(cuda.to_device(np.ones((0, 8), np.float32)))


def test_record_is_that_of_the_processor():
    x = sample("float32", (2, 24), np.random.default_rng(3))
    here, there = bx.prune(x), bx.prune(cuda.to_device(x))
    assert here.kept_rows_histogram().tolist() == there.kept_rows_histogram().tolist()
    assert here._repr_html_() == there._repr_html_()
    assert here.to_pandas().equals(there.to_pandas())
    assert here.to_xarray().equals(there.to_xarray())
    assert repr(there).startswith("DevicePruned(group=8, window=32")


class Foreign:
    """An array of another library: memory on the device, and its description."""

    def __init__(self, x):
        self.memory = to_device(x)

    @property
    def __cuda_array_interface__(self):
        return {"shape": tuple(self.memory.shape), "version": 3}


def empty_like(x):
    """Of this module, which is the library of `Foreign`."""
    return Foreign(np.empty(tuple(x.memory.shape), x.memory.dtype))


def test_values_are_of_the_library_of_the_input(monkeypatch):
    monkeypatch.setattr(cuda, "as_cuda_array", lambda x: x.memory, raising=False)
    library = ModuleType("library")
    library.empty_like = empty_like
    monkeypatch.setitem(sys.modules, "library", library)
    monkeypatch.setattr(Foreign, "__module__", "library.arrays")
    x = sample("float32", (2, 24), np.random.default_rng(4))
    p = bx.prune(Foreign(x))
    assert isinstance(p.values, Foreign)
    np.testing.assert_array_equal(p.copy_to_host().values, bx.prune(x).values)
    del library.empty_like
    assert bx.prune(Foreign(x)).values.copy_to_host().tobytes() == bx.prune(x).values.tobytes()
    with pytest.raises(bx.TensorError, match="out can't be viewed on the device"):
        bx.prune(Foreign(x), out=np.empty_like(x))


class Tensor:
    """A tensor of PyTorch on the device, as far as it is looked at; it needs gradients."""

    def __init__(self, x, dtype, is_cuda=True):
        self.memory, self.dtype, self.is_cuda = x, f"torch.{dtype}", is_cuda

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("requires grad")

    def detach(self):
        return self

    def view(self, dtype):
        return SimpleNamespace(memory=self.memory.view(dtype))


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_tensors_of_pytorch_have_dtypes_that_numba_has_not(monkeypatch, name):
    torch = ModuleType("torch")
    torch.int8, torch.int16 = np.int8, np.int16
    torch.empty_like = lambda x: Tensor(cuda.device_array(tuple(x.memory.shape), x.memory.dtype), name)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(Tensor, "__module__", "torch")
    monkeypatch.setattr(cuda, "as_cuda_array", lambda x: x.memory, raising=False)
    x = sample(name, (2, 24), np.random.default_rng(5))
    p = bx.prune(Tensor(to_device(x), name))
    assert isinstance(p.values, Tensor)
    assert p.format.name == name
    there = p.copy_to_host().values
    assert there.dtype == getattr(ml_dtypes, name)
    assert there.tobytes() == bx.prune(x).values.tobytes()


def test_page_does_what_it_says():
    for _, line, code in blocks(ROOT / "docs/gpu.md"):
        exec(compile("\n" * line + code, "gpu.md", "exec"), {})


def test_without_a_device_the_error_says_so(monkeypatch):
    x = cuda.to_device(np.ones(8, np.float32))
    monkeypatch.setattr(cuda, "is_available", lambda: False)
    for error, said in ((RuntimeError("no driver\nat all"), "no driver"), (None, r"the CUDA toolkit .*")):
        monkeypatch.setattr(cuda, "cuda_error", lambda error=error: error)
        with pytest.raises(bx.BitxError, match=f"^Numba can't use CUDA: {said}$"):
            bx.prune(x)
    monkeypatch.delattr(numba, "cuda")
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    with pytest.raises(bx.MissingExtraError, match=r"pip install 'bitx\[cuda\]'"):
        bx.prune(x)
