"""Many tensors in one call equal one call each; and nothing is read or written beyond an array."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.errors import OptionError, TensorError


def tensors():
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (3, 16, 3, 3), (1000,), (8, 27), (256, 512), (2, 8), (16, 1200, 8)]
    found = {f"layer{n}": rng.standard_normal(s).astype(np.float32) for n, s in enumerate(shapes * 3)}
    found["half"] = rng.standard_normal((40, 80)).astype(np.float16)
    found["codes"] = rng.integers(-127, 128, (40, 80)).astype(np.int8)
    found["turned"] = np.asfortranarray(rng.standard_normal((40, 80)))
    found["zeros"] = np.zeros((8, 64), np.float32)
    return found


def assert_equal(found, want):
    for part in ("values", "row_masks", "exponents", "kept_rows"):
        assert np.array_equal(getattr(found, part), getattr(want, part))
    assert found.window_limited_groups == want.window_limited_groups
    assert found.cut == want.cut


@pytest.mark.parametrize("options", [
    {}, {"rows": 12}, {"criterion": "energy", "budget": 0.1}, {"grouping": "channel"}, {"statistics": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("threads", ["1", "2"])
def test_equals_one_by_one(options, threads, monkeypatch):
    monkeypatch.setenv("BITX_THREADS", threads)
    given = tensors()
    found = bx.prune_many(given, **options)
    assert list(found) == list(given)
    for name, x in given.items():
        want = bx.prune(x, **options)
        assert_equal(found[name], want)
        assert (found[name].statistics is None) == (want.statistics is None)
    for p, x in zip(bx.prune_many(list(given.values()), **options), given.values(), strict=True):
        assert_equal(p, bx.prune(x, **options))


def test_results_in_given_arrays():
    given = tensors()
    del given["turned"]
    out = {name: np.empty_like(x) for name, x in given.items()}
    found = bx.prune_many(given, out=out)
    assert all(found[name].values is out[name] for name in given)
    bx.prune_many(given, out=found, rows=3)
    assert all(np.array_equal(out[name], bx.prune(x, rows=3).values) for name, x in given.items())
    with pytest.raises(TensorError, match="same 24 tensors, got 1"):
        bx.prune_many(given, out={"layer0": out["layer0"]})


def test_results_of_two_tensors_share_no_memory():
    memory = np.empty((2, 8, 8), np.float32)
    given = [np.ones((8, 8), np.float32)] * 2
    assert bx.prune_many(given, out=list(memory))[1].values.base is memory
    for out in ([memory[0]] * 2, [{"values": memory[1]}] * 2, [bx.prune(given[0])] * 2):
        with pytest.raises(TensorError, match="out for '1' overlaps what '0' has"):
            bx.prune_many(given, out=out)
    a, b = given = np.ones((2, 8, 8), np.float32)
    assert bx.prune_many(list(given), out=[a, b])[0].values is a
    for out in ([b, a], [None, a], [b, None]):
        with pytest.raises(TensorError, match=r"overlaps what '[01]' has"):
            bx.prune_many([a, b], out=out)


@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
@pytest.mark.parametrize("group", [8, 16])
def test_filters_with_fewer_weights_than_a_group(group, grouping):
    rng = np.random.default_rng(group)
    shapes = [(1,), (64, 64), (64, 4), (64, 1, 2, 2), (64, 8), (8, 16, 1, 1), (5, 2), (3, 16), (64, 1)]
    given = [rng.standard_normal(shape).astype(np.float32) for shape in shapes * 3]
    for order in (given, given[::-1], given[1:]):
        found = bx.prune_many(order, rows=2, group=group, grouping=grouping)
        for p, x in zip(found, order, strict=True):
            assert_equal(p, bx.prune(x, rows=2, group=group, grouping=grouping))


@pytest.mark.models
def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    given = {n: torch.randn(64, 64).to(d) for n, d in (("a", torch.float32), ("b", torch.bfloat16))}
    found = bx.prune_many(given)
    assert all(np.array_equal(found[n].values, bx.prune(x).values) for n, x in given.items())
    given["batches"] = torch.tensor(7)
    with pytest.raises(TensorError, match="tensor 'batches': dtype int64 has no number format"):
        bx.prune_many(given)


def test_parts_that_are_wanted():
    found = bx.prune_many([np.ones((4, 8), np.float32)] * 3, parts=("kept_rows",))
    assert [p.kept_rows.tolist() for p in found] == [[[1]] * 4] * 3
    assert not hasattr(found[0], "values")


def test_what_is_wrong_is_named():
    given = tensors()
    given["bad"] = np.array([[1.0, np.nan] * 8], np.float32)
    with pytest.raises(TensorError, match=r"tensor 'bad': value nan at flat index 1"):
        bx.prune_many(given)
    kept = bx.prune_many(given, nonfinite="keep")
    assert kept["bad"].nonfinite_groups == 2
    with pytest.raises(OptionError, match="prune has no option 'row'"):
        bx.prune_many(given, row=3)
    with pytest.raises(OptionError, match="rows must be a positive integer"):
        bx.prune_many(given, rows=0)
    for option in ({"rounding": "up"}, {"nonfinite": "drop"}, {"parts": ()}, {"parts": ("rows",)}):
        with pytest.raises(OptionError):
            bx.prune_many([np.ones((64, 64), np.float32)], **option)
    with pytest.raises(TensorError, match="a mapping or a sequence"):
        bx.prune_many(x for x in [])
    assert bx.prune_many({}) == {}
    assert bx.prune_many([]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="protects a page by a call of Linux")
@pytest.mark.parametrize("options", [
    {}, {"group": 9}, {"group": 16}, {"group": 33}, {"grouping": "channel"},
    {"grouping": "channel", "group": 16},
    {"rounding": "nearest"}, {"criterion": "energy", "budget": 0.1}, {"format": "fixed16"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("shape", [(7, 39), (4, 20, 3, 3), (3, 16, 70), (5, 64)], ids=str)
def test_the_page_behind_an_array_is_not_touched(shape, options):
    page = mmap.PAGESIZE
    size = int(np.prod(shape))
    pages = -(-size * 4 // page)
    spaces = [mmap.mmap(-1, (pages + 1) * page) for _ in range(2)]
    arrays = []
    for space in spaces:
        whole = np.frombuffer(space, np.uint8)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        assert protect(ctypes.c_void_p(whole.ctypes.data + pages * page), page, 0) == 0
        arrays.append(whole[pages * page - size * 4 : pages * page].view(np.float32).reshape(shape))
    x, out = arrays
    x[...] = np.random.default_rng(0).standard_normal(shape)
    p = bx.prune(x, out=out, **options)
    assert np.array_equal(out, bx.prune(x.copy(), **options).values)
    if "format" not in options:
        assert bx.statistics(x, group=options.get("group", 8)).values == size
        assert np.array_equal(bx.unpack(bx.pack(p), x), out)
