"""Rows chosen by the norms of what their members meet, against the definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore import reference
from bitxcore.calibration import squared_norms
from bitxcore.errors import OptionError
from bitxcore.formats import number_format

from .oracle import ALL_NAMES, all_codes, codes_of, members, sample

few = settings(max_examples=40, deadline=None, derandomize=True)
names = st.sampled_from(ALL_NAMES)
# Where others than the careful kernels are compiled, too.
plain_names = st.sampled_from(["float32", "bfloat16", "float8_e5m2", "int8", "int16-twos"])
seeds = st.integers(0, 2**32 - 1)
rows = st.integers(1, 10)
groups = st.sampled_from([5, 8])
groupings = st.sampled_from(["flat", "channel", "kernel"])
shapes = st.sampled_from([(64,), (3, 40), (2, 18, 3), (4, 16)])


def spread_norms(shape, rng):
    """Norms of very different sizes, some 0, some equal; for one filter."""
    size = int(np.prod(shape[1:] or shape))
    norms = np.exp(rng.normal(0, rng.choice([0.1, 1, 6]), size))
    norms[rng.random(size) < 0.2] = 0
    if rng.random() < 0.5:
        norms = np.round(norms)
    return norms


def check(x, name, norms, *, group=8, grouping="flat", window=None, rounding="truncate", n=3):
    """Assert that `prune` equals the definition; `norms` are of every value of x."""
    fmt = number_format(name)
    p = bx.prune(
        x, format=name, group=group, grouping=grouping, window=window, rounding=rounding, rows=n,
        criterion="calibrated", norms=norms,
    )  # fmt: skip
    size = x.size if x.ndim == 1 else x.size // len(x)
    squares = reference.squared_norms([float(v) for v in np.broadcast_to(norms, size)])
    deep = fmt.default_window if window is None else window
    before, after = codes_of(x, fmt), codes_of(p.values, fmt)
    limited = 0
    for f, g, at in members(x.shape, group, grouping):
        codes = [int(c) for c in before[at]]
        how = {"criterion": "calibrated", "rows": n, "squares": [squares[i % size] for i in at]}
        want = reference.prune_group(codes, fmt, deep, rounding=rounding, **how)
        got = [int(c) for c in after[at]], int(p.row_masks[f, g]), int(p.exponents[f, g])
        assert got == want, (name, f, g, [hex(c) for c in codes])
        assert int(p.kept_rows[f, g]) == want[1].bit_count()
        limited += reference.window_limited(codes, fmt, deep, **how)
    assert p.window_limited_groups == limited
    return p


def same(a, b):
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", ["int4", "int5-twos", "int8", "uint8", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize(
    "norms",
    [(2, 1), *(pytest.param(n, marks=pytest.mark.slow) for n in [(1, 1), (1, 4), (0, 1), (0.3, 0.7)])],
)
def test_every_pair_of_codes(name, norms):
    codes = all_codes(name)
    codes = codes[:: max(1, len(codes) // 48)]
    x = np.array(list(itertools.product(codes, codes)), codes.dtype).reshape(-1, 2)
    check(x, name, norms, group=2, n=1)
    check(x, name, norms, group=2, n=2)


@pytest.mark.parametrize("name", ["int8", "int8-twos", "float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_every_code_among_others(name):
    x = np.random.default_rng(3).permutation(all_codes(name))
    if x.size > 5000:
        x = x[:4096]
    check(x, name, spread_norms(x.shape, np.random.default_rng(4)))


@few
@given(names, shapes, seeds, groups, rows, groupings, st.sampled_from(["truncate", "nearest"]))
def test_definition(name, shape, seed, group, n, grouping, rounding):
    rng = np.random.default_rng(seed)
    x = sample(name, shape, rng, uniform=bool(seed % 2))
    norms = spread_norms(shape, rng)
    check(x, name, norms, group=group, grouping=grouping, rounding=rounding, n=n)


@few
@given(
    st.sampled_from(["float16", "float32", "bfloat16", "int8", "float64"]),
    seeds,
    st.sampled_from([3, 20, 64]),
)
def test_definition_in_other_windows(name, seed, window):
    rng = np.random.default_rng(seed)
    x = sample(name, (4, 16), rng, uniform=bool(seed % 2))
    check(x, name, spread_norms(x.shape, rng), window=window)


@few
@given(st.lists(st.floats(0, allow_infinity=False, allow_nan=False), min_size=1, max_size=20))
def test_squares_are_those_of_the_definition(norms):
    assert squared_norms(norms, (2, len(norms))).tolist() == reference.squared_norms(norms)


def test_squares_keep_zero_and_nothing_else_vanishes():
    assert squared_norms([1, 1e-300, 0], (1, 3)).tolist() == [1 << 24, 1, 0]
    assert squared_norms([0, 0], (1, 2)).tolist() == [1, 1]
    # Half a unit goes to the even 0, and from there to 1.
    assert squared_norms([1, 2.0**-12.5], (1, 2)).tolist() == [1 << 24, 1]


@few
@given(plain_names, shapes, seeds, groups, rows, groupings, st.sampled_from(["truncate", "nearest"]))
def test_equal_norms_are_no_norms(name, shape, seed, group, n, grouping, rounding):
    rng = np.random.default_rng(seed)
    x = sample(name, shape, rng, uniform=bool(seed % 2))
    cut = {"group": group, "grouping": grouping, "format": name, "rows": n, "rounding": rounding}
    plain = bx.prune(x, **cut)
    norm = float(rng.choice([0.0, 1.0, 3.7, 1e-308]))
    inputs = shape[1] if len(shape) > 1 else shape[0]
    weighted = bx.prune(x, criterion="calibrated", norms=np.full(inputs, norm), **cut)
    assert same(weighted.values, plain.values)
    assert same(weighted.row_masks, plain.row_masks)
    assert same(weighted.kept_rows, plain.kept_rows)
    assert same(weighted.exponents, plain.exponents)
    assert weighted.window_limited_groups == plain.window_limited_groups


@few
@given(plain_names, shapes, seeds, groups, rows, groupings, st.integers(-40, 40))
def test_idempotent_and_of_no_scale(name, shape, seed, group, n, grouping, exponent):
    rng = np.random.default_rng(seed)
    x, norms = sample(name, shape, rng), spread_norms(shape, rng)
    cut = {"group": group, "grouping": grouping, "format": name, "rows": n, "criterion": "calibrated"}
    once = bx.prune(x, norms=norms, **cut).values
    assert same(bx.prune(once, norms=norms, **cut).values, once)
    assert same(bx.prune(x, norms=np.ldexp(norms, exponent), **cut).values, once)
    # A machine that knows no norms keeps what is left: its cycles are those of the pruned file.
    assert same(bx.prune(once, **cut | {"criterion": "topn"}).values, once)


@few
@given(names, seeds, st.sampled_from([5, 8]), rows)
def test_members_move_with_their_norms(name, seed, group, n):
    rng = np.random.default_rng(seed)
    x, order = sample(name, (3, group), rng), rng.permutation(group)
    norms = spread_norms(x.shape, rng)
    cut = {"rows": n, "group": group, "format": name, "criterion": "calibrated"}
    moved = bx.prune(x[:, order].copy(), norms=norms[order], **cut).values
    assert same(moved, bx.prune(x, norms=norms, **cut).values[:, order].copy())


def test_a_member_that_meets_nothing_has_no_say():
    # Three small members against one large one, whose input is always 0.
    x = np.array([[8.0, 1.0, 1.0, 1.0]], np.float32)
    cut = {"rows": 1, "group": 4}
    assert bx.prune(x, **cut).values.tolist() == [[8, 0, 0, 0]]
    pruned = bx.prune(x, criterion="calibrated", norms=[0, 1, 1, 1], **cut)
    assert pruned.values.tolist() == [[0, 1, 1, 1]]
    # Its row is kept where rows are left.
    assert (
        bx.prune(x, criterion="calibrated", norms=[0, 1, 1, 1], rows=2, group=4).values.tolist() == x.tolist()
    )
    # A large norm lifts a row over those of larger weights.
    assert bx.prune(x, criterion="calibrated", norms=[1, 1, 1, 9], **cut).values.tolist() == [[0, 1, 1, 1]]


def test_shapes_of_norms():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 6, 3, 3)).astype(np.float32)
    channel = np.exp(rng.normal(0, 2, 6))
    cut = {"criterion": "calibrated", "rows": 3}
    want = bx.prune(x, norms=channel, **cut).values
    everywhere = np.broadcast_to(channel[:, None, None], (6, 3, 3))
    for norms in (everywhere, everywhere.reshape(-1), channel.reshape(1, 6, 1, 1), list(channel)):
        assert same(bx.prune(x, norms=norms, **cut).values, want)
    # Filters of two groups read different channels.
    grouped = np.stack([channel, channel, 1 / channel, 1 / channel])[:, :, None, None]
    found = bx.prune(x, norms=grouped, **cut).values
    assert same(found[:2], want[:2])
    assert not same(found[2:], want[2:])


def test_whole_kernels_and_fixed_point_and_out():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 6, 3, 3)).astype(np.float32)
    norms = np.exp(rng.normal(0, 2, (6, 3, 3)))
    check(x, "float32", norms.reshape(-1), group=9, grouping="kernel")
    how = {"criterion": "calibrated", "norms": norms, "rows": 3}
    p = bx.prune(x, format="fixed8", **how)
    assert same(p.codes, bx.prune(bx.quantize(x, 8).codes, format="int8", **how).values)
    plain = bx.prune(x, statistics=True, **how)
    assert plain.statistics.essential_bits == bx.statistics(x).essential_bits
    assert same(bx.prune(np.asfortranarray(x), **how).values, plain.values)
    target = x.copy()
    assert bx.prune(target, out=target, **how).values is target
    assert same(target, plain.values)
    assert same(bx.unpack(bx.pack(plain)), plain.values)


@pytest.mark.parametrize(
    ("criterion", "more"),
    [("calibrated", {"norms": np.ones(16)}), ("threshold", {"threshold": 0.5}), ("energy", {"budget": 0.1})],
)
@pytest.mark.parametrize("name", ["float32", "float16", "float8_e4m3fn", "int4", "int5-twos"])
@pytest.mark.parametrize("window", [None, 20, 40])
def test_groups_left_untouched_have_the_masks_of_topn(criterion, more, name, window):
    fmt = number_format(name)
    x = np.ones((2, 16), fmt.dtype)
    x[0, 3] = np.nan if fmt.is_float else 100
    cut = {"group": 8, "format": name, "nonfinite": "keep", "window": window}
    want = bx.prune(x, rows=1, **cut)
    found = bx.prune(x, rows=1, criterion=criterion, **more, **cut)
    assert found.nonfinite_groups == want.nonfinite_groups == 1
    assert found.row_masks.tolist() == want.row_masks.tolist()
    assert found.kept_rows.tolist() == want.kept_rows.tolist()
    assert found.values.tobytes() == want.values.tobytes()


@pytest.mark.parametrize(
    ("norms", "said"),
    [
        (np.ones(5), r"must have a shape of \(54,\), \(6, 3, 3\), \(6,\), or"),
        (np.ones((2, 6, 1, 1)), "4 axes of its sizes or 1, got"),
        (np.array(1.0), "got "),
        ([1, 1, -1, 1, 1, 1], "at least 0, got -1.0 at flat index 2"),
        ([1, 1, 1, np.nan, 1, 1], "finite and at least 0, got nan at flat index 3"),
        ([1, np.inf, 1, 1, 1, 1], "got inf at flat index 1"),
        ("text", "must be an array of numbers"),
        ([[1], [1, 2]], "must be an array of numbers"),
        ([1j] * 6, "must be an array of numbers"),
        ([True] * 6, "must be an array of numbers"),
    ],
)
def test_norms_that_are_none(norms, said):
    with pytest.raises(OptionError, match=said) as caught:
        bx.prune(np.ones((4, 6, 3, 3), np.float32), criterion="calibrated", norms=norms)
    assert "\n" not in str(caught.value)


def test_norms_belong_to_their_criterion():
    x = np.ones((2, 8), np.float32)
    with pytest.raises(OptionError, match="'calibrated' needs norms"):
        bx.prune(x, criterion="calibrated")
    with pytest.raises(OptionError, match="'topn' takes no norms"):
        bx.prune(x, norms=np.ones(8))
    with pytest.raises(OptionError, match="needs rows"):
        bx.prune(x, criterion="calibrated", norms=np.ones(8), rows=None)
    with pytest.raises(OptionError, match="more than 64 weights"):
        bx.prune(np.ones((2, 128), np.float32), criterion="calibrated", norms=np.ones(128), group=128)
