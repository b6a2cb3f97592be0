"""Pruning block by block: what stops a block, where results go, and how tensors lie in memory."""

import copy
import ctypes
import itertools
import mmap
import pickle

import numpy as np
import pytest

import bitxcore as bx
from bitxcore import pruning, reference
from bitxcore.criteria import ROUNDINGS
from bitxcore.errors import BitxError, OptionError, TensorError
from bitxcore.formats import FLOATS, number_format
from bitxcore.pruned import PARTS

from .oracle import CAMPAIGN, check_prune, codes_of, members, sample

CHANNEL = {"grouping": "channel"}
LAYOUTS = {
    "whole": ((6, 64), {}),
    "rows": ((5, 129), {}),
    "tiles": ((4, 20, 3, 3), CHANNEL),
    "slabs": ((5, 24, 3, 3), CHANNEL),
}
"""A tensor of each layout that kernels tell apart, and how it is grouped."""

CASES = {
    **{f"float32 {layout}": ("float32", *case) for layout, case in LAYOUTS.items()},
    **{f"int8 {layout}": ("int8", *case) for layout, case in LAYOUTS.items()},
    "float32 energy": ("float32", (5, 129), {"criterion": "energy", "budget": 0.1, "rows": None}),
    "float32 nearest": ("float32", (6, 64), {"rounding": "nearest"}),
    "float32 calibrated": ("float32", (6, 64), {"criterion": "calibrated", "norms": np.arange(1.0, 65.0)}),
    "float32 deep": ("float32", (5, 129), {"window": 40}),
    "float32 wide groups": ("float32", (5, 129), {"group": 100}),
    "float16 rows": ("float16", (5, 129), {}),
    "bfloat16 deep": ("bfloat16", (6, 64), {"window": 20}),
    "int4 whole": ("int4", (6, 64), {}),
    "fixed8": ("fixed8", (5, 129), {}),
}
"""Format, shape and options: each way that a tensor can take."""


@pytest.fixture(params=CASES)
def case(request):
    """Weights, options, and the result that `prune` makes when it is asked for nothing special."""
    name, shape, options = CASES[request.param]
    rng = np.random.default_rng(len(request.param))
    stored = "float32" if name == "fixed8" else name
    x = sample(stored, shape, rng)
    options = {"rows": 2, "format": name} | options
    if name == "float32" and "group" not in options:
        x.reshape(-1)[100:103] = 1e-44, np.nan, 1e-40  # with the groups around, the careful way too
        options["nonfinite"] = "keep"
    return x, options, bx.prune(x, **options)


def check_same(p, want, parts=PARTS):
    """Assert that the arrays are equal, bit by bit, and the counts."""
    for part in parts:
        assert getattr(p, part).shape == getattr(want, part).shape
        assert getattr(p, part).dtype == getattr(want, part).dtype
        assert getattr(p, part).tobytes() == getattr(want, part).tobytes(), part
    assert p.nonfinite_groups == want.nonfinite_groups
    assert p.window_limited_groups == want.window_limited_groups


def subsets(names):
    return [some for count in range(1, 5) for some in itertools.combinations(names, count)]


def unaligned(x, offset=1):
    """Copy an array to memory that begins at an odd address."""
    memory = np.empty(x.nbytes + offset, np.uint8)
    found = memory[offset:].view(x.dtype).reshape(x.shape)
    found[...] = x
    return found


def garbage(x):
    """Make an array like another, with other contents."""
    found = np.empty_like(x)
    found.view(np.uint8)[...] = 0x77
    return found


# -- parts and out ---------------------------------------------------------------------------------


def test_parts_equal_those_of_the_whole_result(case):
    x, options, want = case
    for parts in subsets(PARTS):
        p = bx.prune(x, parts=parts, **options)
        check_same(p, want, parts)
        assert [part for part in PARTS if hasattr(p, part)] == list(parts)
        for part in set(PARTS) - set(parts):
            with pytest.raises(AttributeError, match=f"no {part}"):
                getattr(p, part)


@pytest.mark.parametrize("place", [garbage, lambda x: unaligned(garbage(x))], ids=["aligned", "unaligned"])
def test_results_are_written_where_they_are_wanted(case, place):
    x, options, want = case
    for parts in subsets(PARTS):
        given = {part: place(getattr(want, part)) for part in parts}
        p = bx.prune(x, out=given, **options)
        check_same(p, want)
        assert all(getattr(p, part) is given[part] for part in parts)
        given = {part: garbage(getattr(want, part)) for part in parts}
        check_same(bx.prune(x, out=given, parts=parts, **options), want, parts)


def test_an_array_for_the_values_may_be_the_weights(case):
    x, options, want = case
    for y in (x.copy(), unaligned(x)):
        for out in (y, {"values": y}):
            y[...] = x
            p = bx.prune(y, out=out, **options)
            check_same(p, want)
            assert p.values is y
        y[...] = x
        check_same(bx.prune(y, out=y, parts=["values"], **options), want, ["values"])


def test_the_arrays_of_an_earlier_result_are_used_again(case):
    x, options, want = case
    earlier = bx.prune(np.roll(x, 3), **options)
    arrays = [getattr(earlier, part) for part in PARTS]
    p = bx.prune(x, out=earlier, **options)
    check_same(p, want)
    assert all(getattr(p, part) is array for part, array in zip(PARTS, arrays, strict=True))
    few = bx.prune(np.roll(x, 3), parts=["row_masks"], **options)
    p = bx.prune(x, out=few, **options)
    check_same(p, want)
    assert p.row_masks is few.row_masks


@pytest.mark.parametrize("turn", [
    np.asfortranarray, lambda x: x.astype(x.dtype.newbyteorder()), lambda x: np.repeat(x, 2, axis=1)[:, ::2],
], ids=["fortran", "swapped", "strided"])  # fmt: skip
def test_an_earlier_result_has_the_layout_of_its_input(turn):
    x = sample("float32", (6, 64), np.random.default_rng(1))
    want, turned = bx.prune(x, rows=2), turn(x)
    earlier = bx.prune(turn(np.roll(x, 3)), rows=2)
    p = bx.prune(turned, rows=2, out=earlier)
    assert p.kept_rows is earlier.kept_rows
    assert p.values.tolist() == want.values.tolist()
    check_same(p, want, PARTS[1:])


def test_integers_have_exponents_of_zero():
    x = sample("int8", (4, 20, 3, 3), np.random.default_rng(2))
    for grouping, group in itertools.product(["flat", "channel"], [4, 5]):
        want = bx.prune(x, rows=2, group=group, grouping=grouping)
        given = np.full_like(want.exponents, 77)
        bx.prune(x, rows=2, group=group, grouping=grouping, out={"exponents": given})
        assert not given.any()


X = sample("float32", (6, 64), np.random.default_rng(3))
FULL = bx.prune(X, rows=2)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


WRONG = {
    "dtype": lambda x: x.astype(np.float64),
    "swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "shape": lambda x: x.reshape(-1),
    "transposed": lambda x: x.T.copy(),
    "fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "read-only": read_only,
    "list": lambda x: x.tolist(),
    "masked": lambda x: np.ma.masked_array(x.copy(), mask=True),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("part", PARTS)
def test_arrays_that_cannot_take_a_result_are_refused(part, wrong):
    bad = WRONG[wrong](getattr(FULL, part))
    if wrong == "swapped" and part == "kept_rows":
        return  # bytes have no order
    with pytest.raises(TensorError, match=f"^out: {part} must be"):
        bx.prune(X, rows=2, out={part: bad})
    if part == "values":
        with pytest.raises(TensorError, match=r"^out must be"):
            bx.prune(X, rows=2, out=bad)


@pytest.mark.parametrize("other", [
    {"rows": 2, "group": 4}, {"rows": 2, "window": 16}, {"rows": 2, "grouping": "kernel"},
], ids=str)  # fmt: skip
def test_a_result_for_other_options_is_refused(other):
    with pytest.raises(TensorError, match=r"^out: row_masks must be"):
        bx.prune(X, out=FULL, **other)
    with pytest.raises(TensorError, match=r"^out: values must be"):
        bx.prune(X[1:], rows=2, out=FULL)


@pytest.mark.parametrize("parts", [
    "values", (), None, 5, ["value"], [5], [["values"]], iter(()), np.array(["masks", "values"]),
], ids=["name", "none", "None", "number", "unknown", "numbers", "nested", "iterator", "array"])  # fmt: skip
def test_parts_are_names_of_parts(parts):
    with pytest.raises(OptionError):
        bx.prune(X, rows=2, parts=parts)


def test_parts_may_be_any_names_that_can_be_counted():
    for parts in (["values", "values"], {"values"}, {"values": 1}, np.array(["values"])):
        check_same(bx.prune(X, rows=2, parts=parts), FULL, ["values"])
    try:
        p = bx.prune(X, rows=2, parts=iter(["values", "row_masks"]))
    except OptionError:
        return
    check_same(p, FULL, ["values", "row_masks"])


def test_out_has_no_part_that_is_not_wanted():
    with pytest.raises(OptionError, match="out has kept_rows, which parts leaves out"):
        bx.prune(X, rows=2, parts=["values"], out={"kept_rows": garbage(FULL.kept_rows)})
    for out in ({"masks": X}, {5: X}):
        with pytest.raises(OptionError, match="a part must be one of"):
            bx.prune(X, rows=2, out=out)


def overlaps():
    """Arrays for results that share memory with the weights or with one another, but are not the weights."""
    x = np.tile(X, (20, 10))
    want = bx.prune(x, rows=2)
    masks, groups = want.row_masks, want.kept_rows.size

    def place(memory, like):
        return memory.reshape(-1).view(np.uint8)[: like.nbytes].view(like.dtype).reshape(like.shape)

    memory, values = np.zeros(4 * groups, np.uint8), np.empty_like(x)
    shifted = np.append(x, x[:1])
    yield "values, shifted", shifted[:-640].reshape(x.shape), {"values": shifted[640:].reshape(x.shape)}
    yield "masks and weights", x.copy(), None
    yield "masks and values", x, {"values": values, "row_masks": place(values, masks)}
    counts = {part: place(memory, getattr(want, part)) for part in ("exponents", "kept_rows")}
    yield "exponents and rows", x, counts


@pytest.mark.parametrize(
    ("x", "out"), [pytest.param(x, out, id=label) for label, x, out in overlaps()]
)  # fmt: skip
def test_results_that_overlap_are_refused(x, out):
    if out is None:
        groups = bx.prune(x, rows=2).row_masks.shape
        masks = x.reshape(-1)[: groups[0] * groups[1]].view(np.uint32).reshape(groups)
        out = {"row_masks": masks}
    with pytest.raises(TensorError, match="overlap"):
        bx.prune(x, rows=2, out=out)


def test_weights_may_be_another_view_of_the_memory_of_their_values():
    square = sample("float32", (64, 64), np.random.default_rng(5))
    want = bx.prune(square.T.copy(), rows=2)
    check_same(bx.prune(square.T, rows=2, out=square), want)


def test_results_without_some_arrays_can_be_shown_and_stored():
    for parts in subsets(PARTS):
        p = bx.prune(X, rows=2, parts=parts)
        assert "float32" in repr(p)
        assert "float32" in p._repr_html_()
        for again in (pickle.loads(pickle.dumps(p)), copy.deepcopy(p)):
            check_same(again, p, parts)


def test_fixed_widths_take_no_array_for_granted():
    p = bx.prune(X, rows=2, format="fixed8", parts=["kept_rows"])
    want = bx.prune(X, rows=2, format="fixed8")
    check_same(p, want, ["kept_rows"])
    assert p.codes.tobytes() == want.codes.tobytes()
    try:
        check_same(bx.prune(X, rows=2, format="fixed8", out={"values": None}), want)
    except BitxError:
        with pytest.raises(BitxError):
            bx.prune(X, rows=2, out={"values": None})


# -- how tensors lie in memory ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["float32", "int8", *(pytest.param(n, marks=pytest.mark.slow) for n in ("float16", "int16", "float64"))],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_may_lie_anyhow(name, layout, tmp_path):
    shape, options = LAYOUTS[layout]
    x = sample(name, shape, np.random.default_rng(6))
    options = {"rows": 2} | options
    want = bx.prune(x, **options)
    stored = tmp_path / "weights"
    stored.write_bytes(b"\0" * 5 + x.tobytes() + b"\0" * 3)
    doubled = np.repeat(np.repeat(x, 2, axis=0), 3, axis=-1)
    for y in (
        np.asfortranarray(x),
        doubled[::2, ..., ::3],
        x[::-1, ..., ::-1].copy()[::-1, ..., ::-1],
        x.astype(x.dtype.newbyteorder("S")),
        unaligned(x),
        unaligned(x, 3).astype(x.dtype.newbyteorder("S"), order="F"),
        read_only(x),
        np.memmap(stored, x.dtype, "r", 5, x.shape),
    ):
        before = y.tobytes()
        p = bx.prune(y, **options)
        assert y.tobytes() == before
        assert p.values.dtype == y.dtype
        assert np.array_equal(p.values, want.values)
        check_same(p, want, PARTS[1:])
        if y.dtype.isnative:
            p = bx.prune(y, out=unaligned(garbage(x), 7), **options)
            check_same(p, want)
    one = np.broadcast_to(x[:1], x.shape)
    check_same(bx.prune(one, **options), bx.prune(one.copy(), **options))


# Results of 16 MiB and more are written past the caches; pieces are not.
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("name", "size"), [("float32", 1 << 22), ("int8", 1 << 24)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_tensors_equal_their_pieces(name, size, layout, threads, monkeypatch):
    monkeypatch.setenv("BITX_THREADS", threads)
    rest, options = {
        "whole": ((64 * 1031,), {}),
        "rows": ((64 * 1031 + 3,), {}),
        "tiles": ((77, 5, 179), CHANNEL),
        "slabs": ((72, 5, 11), CHANNEL),
    }[layout]
    filters = -(-size // int(np.prod(rest))) + 1
    few = sample(name, (3, *rest), np.random.default_rng(7))
    memory = np.empty(filters * few[0].size + 3, few.dtype)
    for offset in (0, 1, 3):
        x = memory[offset : offset + filters * few[0].size].reshape(filters, *rest)
        for f in range(filters):
            x[f] = few[(f * 7) % 3]
        if name == "float32":
            x[filters // 2].reshape(-1)[7] = np.nan
        want = [bx.prune(y, rows=2, nonfinite="keep", **options) for y in np.array_split(x, 3)]
        results = [bx.prune(x, rows=2, nonfinite="keep", **options)]
        if offset:
            out = unaligned(garbage(x), offset)
            results.append(bx.prune(x, rows=2, nonfinite="keep", out=out, **options))
            results.append(bx.prune(x, rows=2, nonfinite="keep", out=x, **options))
        for p in results:
            for part in PARTS:
                pieces = b"".join(getattr(w, part).tobytes() for w in want)
                assert getattr(p, part).tobytes() == pieces, part
            assert p.nonfinite_groups == sum(w.nonfinite_groups for w in want)
            assert p.window_limited_groups == sum(w.window_limited_groups for w in want)


@pytest.mark.parametrize("group", [9, 25, 49, 63])
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_last_groups_after_longer_results_past_the_caches(name, group, monkeypatch):
    for extra, rest in itertools.product((1, 5, 17, 40, 63), (0, 3)):
        x = sample(name, (1, group * (256 * 3 + extra) + rest), np.random.default_rng(extra))
        want = bx.prune(x, rows=2, group=group)
        with monkeypatch.context() as patched:
            patched.setattr("bitxcore.block_pruning.STREAMING_BYTES", 0)
            check_same(bx.prune(x, rows=2, group=group, out=garbage(x)), want)


SLABS = [
    *[(1, 8, 2), (1, 8, 64), (19, 8, 9), (3, 16, 8), (7, 24, 25), (5, 80, 4), (2, 136, 9)],
    *[(1, 128, 3), (9, 64, 64)],
]
"""Filters, channels, kernel positions: of a filter fewer slabs than a register has lanes, as many, more."""


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("options", [
    {"rows": 6}, {"rows": 3, "window": 20}, {"rows": 1, "criterion": "msb", "parts": ("row_masks",)},
    {"criterion": "threshold", "threshold": 0.1}, {"criterion": "energy", "budget": 0.05},
], ids=str)  # fmt: skip
def test_channels_are_groups_of_turned_kernels(name, options):
    rng = np.random.default_rng(23)
    options = {"nonfinite": "keep"} | options
    for shape in SLABS:
        x = sample(name, shape, rng)
        x[rng.random(shape) < 0.3] = 0
        if shape[0] > 4:
            x.reshape(-1)[rng.integers(0, x.size, 3)] = np.array([np.nan, 0, 1e-40]).astype(x.dtype)
        turned = np.ascontiguousarray(x.transpose(0, 2, 1))
        want = bx.prune(turned.reshape(len(x), -1), **options)
        p = bx.prune(x, grouping="channel", **options)
        for part in options.get("parts", PARTS):
            found = getattr(p, part)
            if part == "values":
                found = np.ascontiguousarray(found.transpose(0, 2, 1))
            assert found.tobytes() == getattr(want, part).tobytes(), (shape, part)
        assert p.nonfinite_groups == want.nonfinite_groups
        assert p.window_limited_groups == want.window_limited_groups


def between_pages(x, at_end):
    """Copy an array to memory that ends (or begins) where a page ends (begins) that nobody may touch."""
    page = mmap.PAGESIZE
    pages = -(-x.nbytes // page)
    memory = np.frombuffer(mmap.mmap(-1, (pages + 2) * page), np.uint8)
    for first in (0, pages + 1):
        where = ctypes.c_void_p(memory.ctypes.data + first * page)
        assert ctypes.CDLL(None).mprotect(where, ctypes.c_size_t(page), 0) == 0
    start = (pages + 1) * page - x.nbytes if at_end else page
    found = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    found[...] = x
    return found


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="memory is protected in another way here")
@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=[pytest.mark.slow] * (group != 8)) for group in (4, 5, 8, 16)]
)
@pytest.mark.parametrize("name", ["float32", "int8"])
@pytest.mark.parametrize("grouping", ["flat", "channel"])
def test_no_memory_around_a_tensor_is_touched(name, grouping, group):
    rng = np.random.default_rng(15)
    shapes = (1,), (9,), (4096,), (4099,), (3, 67), (2, 9, 9), (2, 8, 16), (3, 5, 17), (1, 13, 65), (1, 64, 3)
    for shape, nonfinite in itertools.product(shapes, [False, name == "float32"]):
        x = sample(name, shape, rng)
        if nonfinite:
            x.reshape(-1)[-1] = np.nan
        options = {"rows": 2, "group": group, "grouping": grouping, "nonfinite": "keep"}
        want = bx.prune(x, **options)
        for at_end in (True, False):
            y = between_pages(x, at_end)
            out = {part: between_pages(getattr(want, part), at_end) for part in PARTS}
            check_same(bx.prune(y, out=out, **options), want)
            check_same(bx.prune(y, out=y, **options), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_threads_change_nothing(layout, monkeypatch):
    _, options = LAYOUTS[layout]
    shape = {
        "whole": (64, 4096),
        "rows": (63, 4099),
        "tiles": (32, 83, 5, 20),
        "slabs": (55, 88, 9, 5),
    }[layout]
    x = sample("float32", shape, np.random.default_rng(8))
    x.reshape(-1)[[5, 70_001, 199_999]] = 1e-41, np.nan, 1e-37
    results = []
    for threads in ("1", "2", "3", "7"):
        monkeypatch.setenv("BITX_THREADS", threads)
        y = x.copy()
        results += [bx.prune(x, nonfinite="keep", **options), bx.prune(y, nonfinite="keep", out=y, **options)]
    for p in results[1:]:
        check_same(p, results[0])


# -- what stops a block ----------------------------------------------------------------------------

RARE = {
    "nan": (np.nan, False),
    "inf": (-np.inf, False),
    "subnormal": (1e-41, True),
    "tiny": (3e-38, True),
}
"""Weights that a block stops for, and whether they are finite."""

RARE_SHAPES = {"whole": (9, 512), "rows": (7, 259), "tiles": (3, 21, 25), "slabs": (3, 40, 25)}


@pytest.mark.parametrize("rare", RARE)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_one_rare_group_anywhere(name, layout, rare):
    value, is_finite = RARE[rare]
    shape, (_, options) = RARE_SHAPES[layout], LAYOUTS[layout]
    fmt = number_format(name)
    rng = np.random.default_rng(9)
    x = sample(name, shape, rng)
    clean = bx.prune(x, rows=3, **options)
    groups = list(members(shape, 8, options.get("grouping", "flat")))
    some = {0, 1, 63, 64, 127, 128, len(groups) - 1, *rng.integers(0, len(groups), 9).tolist()}
    for number in some & set(range(len(groups))):
        f, g, at = groups[number]
        y = x.copy()
        flat = y.reshape(-1)
        if is_finite:
            flat[at] = np.array([value / (1 + k) * (-1) ** k for k in range(len(at))]).astype(fmt.dtype)
        else:
            flat[at[g % len(at)]] = value
        codes = codes_of(y, fmt)[at].tolist()
        for out in (None, y.copy()):
            p = bx.prune(y if out is None else out, rows=3, nonfinite="keep", out=out, **options)
            found = codes_of(p.values, fmt)[at].tolist(), int(p.row_masks[f, g]), int(p.exponents[f, g])
            if is_finite:
                assert found == reference.prune_group(codes, fmt, fmt.default_window, rows=3)
                assert int(p.kept_rows[f, g]) == found[1].bit_count()
            else:
                assert found[:2] == (codes, (1 << fmt.default_window) - 1)
                assert int(p.kept_rows[f, g]) == fmt.default_window
            assert p.nonfinite_groups == (not is_finite)
            # All others are as they were.
            codes_of(p.values, fmt)[at] = codes_of(clean.values, fmt)[at]
            for part in PARTS[1:]:
                getattr(p, part)[f, g] = getattr(clean, part)[f, g]
            for part in PARTS:
                assert getattr(p, part).tobytes() == getattr(clean, part).tobytes()
        if is_finite:
            continue
        for out in (None, y.copy()):
            with pytest.raises(TensorError, match=f"at flat index {at[g % len(at)]}:") as caught:
                bx.prune(y if out is None else out, rows=3, out=out, **options)
            assert caught.value.index == at[g % len(at)]


@pytest.mark.parametrize("name", ["int8", "int4", pytest.param("int12-twos", marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_code_outside_the_format_anywhere(name, layout):
    shape, (_, options) = RARE_SHAPES[layout], LAYOUTS[layout]
    x = sample(name, shape, np.random.default_rng(10))
    options = {"rows": 2, "format": name} | options
    clean = bx.prune(x, **options)
    bad = {"int8": -128, "int4": 8, "int12-twos": -2049}[name]
    where = {at[0]: (f, g, at) for f, g, at in members(shape, 8, options.get("grouping", "flat"))}
    for index in (0, *sorted(where)[17 :: len(where) // 7], max(where)):
        f, g, at = where[index]
        y = x.copy()
        y.reshape(-1)[index] = bad
        with pytest.raises(TensorError, match=f"value {bad} at flat index {index}:"):
            bx.prune(y, **options)
        for out in (None, y.copy()):
            p = bx.prune(y if out is None else out, nonfinite="keep", out=out, **options)
            assert p.nonfinite_groups == 1
            assert np.array_equal(p.values.reshape(-1)[at], y.reshape(-1)[at])
            p.values.reshape(-1)[at] = clean.values.reshape(-1)[at]
            p.row_masks[f, g], p.kept_rows[f, g] = clean.row_masks[f, g], clean.kept_rows[f, g]
            for part in PARTS:
                assert getattr(p, part).tobytes() == getattr(clean, part).tobytes()


def test_tensors_of_rare_groups_alone():
    rng = np.random.default_rng(11)
    for name, size in itertools.product(["float32", "bfloat16"], [1, 8, 700]):
        codes = rng.integers(0, 40 << (number_format(name).significand_bits - 1), size)
        x = codes.astype(number_format(name).storage_dtype).view(number_format(name).dtype)
        check_prune(x, name, group=8, rows=3)
    assert bx.prune(np.full((3, 40), np.inf, np.float32), nonfinite="keep").nonfinite_groups == 15


# -- windows, rows, budgets ------------------------------------------------------------------------


def windows(name, usual, every):
    return [pytest.param(name, w, marks=[pytest.mark.slow] * (w not in usual)) for w in every]


@pytest.mark.parametrize(("name", "window"), [
    *windows("float16", (17, 19, 24, 32), range(1, 65)),
    *windows("bfloat16", (15, 16, 17, 24, 32), (*range(1, 37), 64)),
    *windows("float32", (31, 32, 24), (1, 5, 8, 9, 16, 17, 24, 31, 32, 33, 64)),
    *windows("float64", (), (1, 8, 9, 16, 31, 32, 33, 53, 61, 64)),
    *windows("float8_e4m3fn", (), (1, 4, 8, 9, 12, 16, 17, 32, 33)),
    *windows("int8", (1, 7, 8), (1, 3, 6, 7, 8, 9, 16, 17, 32, 33, 64)),
    *windows("int16", (), (1, 8, 14, 15, 16, 17, 33)),
    *windows("int4", (1, 3), (1, 3, 4, 8, 64)),
    *windows("uint8", (), (1, 7, 8, 9, 17, 64)),
    *windows("int5-twos", (), (1, 4, 5, 6, 33)),
])  # fmt: skip
def test_windows_and_rows(name, window):
    rng = np.random.default_rng([window, 12])
    fmt = number_format(name)
    x = np.concatenate([sample(name, (200,), rng, uniform=True, zeros=0.3), sample(name, (203,), rng)])
    if fmt.is_float:
        # Exponents from the group's own down to the last row of the window, and further.
        apart = 2.0 ** -rng.integers(0, window + 3, 160).astype(float)
        x = np.append(x, (rng.choice([1, 1.5, 1.99, 0], 160) * apart).astype(fmt.dtype))
    for rows in sorted({1, 2, 6, *rng.integers(10, 20, 2).tolist(), window, 64}):
        check_prune(x, name, group=8, window=window, rows=rows)


GROUPS = (4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=[pytest.mark.slow] * (group != 8)) for group in GROUPS]
)
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_sums_too_close_to_call(name, group):
    rng = np.random.default_rng(group)
    # Small integers: what is pruned is often exactly what may be pruned.
    x = rng.integers(0, 8, (60, group)).astype(number_format(name).dtype)
    x[0], x[1] = 0, 1
    x[2, : min(group, 7)] = (2, 2, 2, 1, 1, 1, 1)[:group]
    x[2, 7:] = 0
    for budget in (0, 1, 0.5, 0.25, 0.75, 1e-9, 1e-300, np.nextafter(0.5, 0), np.nextafter(0.5, 1)):
        for rows in (None, 1, 2, 64):
            check_prune(x, name, group=group, criterion="energy", budget=float(budget), rows=rows)
    if group > 4:
        x = x[2:3]
        assert bx.prune(x, group=group, criterion="energy", budget=0.5).kept_rows.item() == 1
        just_below = np.nextafter(0.5, 0)
        assert bx.prune(x, group=group, criterion="energy", budget=just_below).kept_rows.item() == 2


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=[pytest.mark.slow] * (group != 8)) for group in GROUPS]
)
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_thresholds(name, group):
    rng = np.random.default_rng(group)
    x = rng.integers(0, 100, (60, group)).astype(number_format(name).dtype)
    for threshold in (0, 1, 0.5, 0.25, 2**-0.5, 1e-9, 1e-300, np.nextafter(0.5, 0), np.nextafter(0.5, 1)):
        for rows in (None, 1, 3, 64):
            check_prune(x, name, group=group, criterion="threshold", threshold=float(threshold), rows=rows)


# -- float8 ----------------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch):
    """Call that prunes without the tables that some processors have, or without blocks at all."""

    def prune(what, x, **options):
        with monkeypatch.context() as context:
            context.setattr(what, lambda *_: None)
            pruning._plan.cache_clear()
            try:
                return bx.prune(x, **options)
            finally:
                pruning._plan.cache_clear()

    return prune


WAYS = ("bitxcore.kernels.lanes.has_byte_tables", "bitxcore.pruning.block_pruning")
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")


def groups_of_codes(name, count, rng):
    """Draw groups of all codes, NaN and Inf too, of weights of very different sizes, and of zeros."""
    codes = rng.integers(0, 256, (count, 8), np.uint8)
    codes[: count // 2] &= rng.choice([0x9F, 0xBF, 0xFF], (count // 2, 1)).astype(np.uint8)
    codes[rng.random((count, 8)) < 0.3] &= 0x87
    codes[rng.random((count, 8)) < 0.2] &= 0x80
    codes[rng.random(count) < 0.05] &= 0x80
    return codes.view(number_format(name).dtype)


@pytest.mark.parametrize("criterion", [
    {"rows": 6}, {"rows": 1}, {"rows": 2, "criterion": "msb"},
    {"criterion": "threshold", "threshold": 0.3}, {"criterion": "energy", "budget": 0.05},
], ids=lambda o: "-".join(map(str, o.values())))  # fmt: skip
@pytest.mark.parametrize("name", FLOAT8)
def test_float8_groups_of_all_codes(name, criterion, without):
    x = groups_of_codes(name, 3000, np.random.default_rng(16))
    options = {"group": 8, "nonfinite": "keep"} | criterion
    want = without(WAYS[1], x, **options)
    assert 0 < want.nonfinite_groups < 3000
    assert want.window_limited_groups > 0 or criterion != {"rows": 6}
    check_same(without(WAYS[0], x, **options), want)
    check_same(bx.prune(x, **options), want)


@pytest.mark.parametrize(
    "window",
    [pytest.param(w, marks=[pytest.mark.slow] * (w not in (2, 15, 16))) for w in range(1, 41)],
)
@pytest.mark.parametrize("name", FLOAT8)
def test_float8_windows(name, window, without):
    x = groups_of_codes(name, 700, np.random.default_rng([window, 17]))
    for rows in (1, 3, 6, 12, 40):
        options = {"group": 8, "nonfinite": "keep", "window": window, "rows": rows}
        check_same(bx.prune(x, **options), without(WAYS[1], x, **options))
    finite = x[np.isfinite(x.astype(np.float32)).all(axis=1)]
    for rows in (1, 6):
        check_prune(finite, name, group=8, window=window, rows=rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOAT8)
def test_float8_pairs_of_all_codes(name, without):
    a, b = np.divmod(np.arange(1 << 16), 256)
    codes = np.zeros((1 << 16, 8), np.uint8)
    codes[:, 2], codes[:, 5] = a, b
    x = codes.view(number_format(name).dtype)
    for rows in (1, 2, 3, 6):
        options = {"group": 8, "nonfinite": "keep", "rows": rows}
        check_same(bx.prune(x, **options), without(WAYS[1], x, **options))


# -- cuts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 9, 16, 17, 25, 64, 65])
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_kernel_positions_of_all_numbers(name, stride):
    rng = np.random.default_rng(stride)
    for channels in (1, 7, 8, 19):
        x = sample(name, (2, channels, stride), rng)
        check_prune(x, name, group=8, rows=2, grouping="channel")
        check_prune(x, name, group=8, rows=2, grouping="kernel")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["float32", "int8", *(["float16", "float64"] if CAMPAIGN else [])])
@pytest.mark.parametrize("group", range(1, 65))
def test_groups_of_all_sizes(name, group):
    rng = np.random.default_rng(group)
    for shape in ((3, 2 * group + 1), (331,), (2, group + 3, 17), (1, 2 * group, 64), (2, 3, 65)):
        x = sample(name, shape, rng)
        for grouping in ("flat", "channel", "kernel"):
            check_prune(x, name, group=group, rows=int(rng.integers(1, 9)), grouping=grouping)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "int8"])
def test_small_and_empty_tensors(name):
    fmt = number_format(name)
    for shape in ((1,), (7,), (9,), (1, 1, 1), (3, 2, 2)):
        for grouping in ("flat", "channel", "kernel"):
            check_prune(np.zeros(shape, fmt.dtype), name, group=8, rows=2, grouping=grouping)
            check_prune(np.ones(shape, fmt.dtype), name, group=8, rows=2, grouping=grouping)
    rng = np.random.default_rng(13)
    x = sample(name, (5, 129), rng, zeros=0.97)
    if fmt.is_float:
        x[0, :40] = -x[0, :40] * 0  # of both signs
    check_prune(x, name, group=8, rows=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FLOATS, "int8", "int16", "int4", "uint8", "int8-twos", "int12-twos"])
@pytest.mark.parametrize("seed", range(16 if CAMPAIGN else 2))
def test_drawn_blocks(name, seed):
    """Whole blocks and more, with contested rows, weights far apart and weights near the smallest."""
    rng = np.random.default_rng([seed, 14])
    fmt = number_format(name)
    size = int(rng.integers(600, 3000))
    parts = [sample(name, (size,), rng, uniform=bool(seed % 2), zeros=float(rng.choice([0, 0.1, 0.9])))]
    bits = min(fmt.significand_bits - 1, 10)
    share = rng.choice([0.02, 0.1, 0.5, 0.95, 1.0], size=(size, 1))
    parts.append(((rng.random((size, bits)) < share) * (1 << np.arange(bits))).sum(axis=1).astype(fmt.dtype))
    if fmt.is_float:
        codes = rng.integers(0, 40 << (fmt.significand_bits - 1), 64) % fmt.largest_magnitude_code
        parts.append(codes.astype(fmt.storage_dtype).view(fmt.dtype))
    x = np.concatenate(parts)
    group = int(rng.choice([4, 8, 16, 32, 64, rng.integers(1, 65)]))
    criterion = {"topn": {}, "msb": {}, "threshold": {"threshold": 0.3}, "energy": {"budget": 0.07}}
    ways = list(itertools.product((1, 2, 5, 11), ROUNDINGS))
    for name_of, more in criterion.items():
        for rows, rounding in ways if CAMPAIGN else rng.permutation(ways)[:3].tolist():
            rows = int(rows)
            check_prune(x, name, group=group, criterion=name_of, rows=rows, rounding=rounding, **more)


@pytest.mark.parametrize("shape", [(3, 9 * 700 + 4), (5, 1_000_003), (1, 9 * 256 + 8), (40, 9 * 130 + 1)])
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_rows_whose_last_group_is_short(shape, name):
    """Most of their groups are read where they lie, and written past the caches if they are many."""
    fmt = bx.number_format(name)
    x = np.random.default_rng(0).normal(0, 20, shape).astype(fmt.dtype)
    found = bx.prune(x, group=9, rows=3)
    whole = shape[1] // 9 * 9
    for part, groups in (
        (slice(0, whole), slice(0, whole // 9)),
        (slice(whole, None), slice(whole // 9, None)),
    ):
        for row in range(shape[0]):
            expected = bx.prune(x[row : row + 1, part], group=9, rows=3)
            np.testing.assert_array_equal(found.values[row : row + 1, part], expected.values)
            np.testing.assert_array_equal(found.row_masks[row : row + 1, groups], expected.row_masks)
            np.testing.assert_array_equal(found.kept_rows[row : row + 1, groups], expected.kept_rows)
    work = x.copy()
    bx.prune(work, group=9, rows=3, out=work)
    np.testing.assert_array_equal(work, found.values)
