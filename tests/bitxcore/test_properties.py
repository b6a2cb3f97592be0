"""The properties of pruning that its definition promises, under Hypothesis."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bitxcore as bx
from bitxcore.formats import number_format

from .oracle import ALL_NAMES, FLOAT_NAMES, codes_of, sample

settings.register_profile("bitx", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("bitx")

names = st.sampled_from(ALL_NAMES)
floats = st.sampled_from(FLOAT_NAMES)
# Each size of groups is a second of compiling for each format: by default those of the default.
LARGE = "BITX_TEST_LARGE_GROUPS"
groups = st.sampled_from([1, 4, 16, 32, 64] if LARGE in os.environ else [5, 8])
seeds = st.integers(0, 2**32 - 1)
rows = st.integers(1, 12)
groupings = st.sampled_from(["flat", "channel", "kernel"])
shapes = st.sampled_from([(64,), (3, 40), (2, 18, 3), (4, 16)])


def tensor(name, shape, seed):
    rng = np.random.default_rng(seed)
    return sample(name, shape, rng, uniform=bool(seed % 2), zeros=0.1)


def same(a, b):
    return a.tobytes() == b.tobytes()


@given(names, shapes, seeds, groups, rows, groupings)
def test_idempotent(name, shape, seed, group, n, grouping):
    cut = {"group": group, "grouping": grouping, "format": name, "rows": n}
    once = bx.prune(tensor(name, shape, seed), **cut).values
    assert same(bx.prune(once, **cut).values, once)


@given(names, shapes, seeds, groups, rows, groupings)
def test_rounded_weights_pass_the_run_time_pruner_unchanged(name, shape, seed, group, n, grouping):
    cut = {"group": group, "grouping": grouping, "format": name, "rows": n}
    rounded = bx.prune(tensor(name, shape, seed), rounding="nearest", **cut).values
    assert same(bx.prune(rounded, **cut).values, rounded)


@given(names, shapes, seeds, groups, groupings)
def test_error_never_grows_with_rows(name, shape, seed, group, grouping):
    if name.endswith("-twos"):
        return  # a cleared sign row adds to a value: only magnitudes shrink with every row
    x = tensor(name, shape, seed)
    cut = {"group": group, "grouping": grouping, "format": name}
    exact = np.abs(x.astype(np.longdouble))
    errors = [exact - np.abs(bx.prune(x, rows=n, **cut).values.astype(np.longdouble)) for n in range(1, 13)]
    assert (errors[0] >= 0).all()
    for more, fewer in zip(errors[1:], errors, strict=False):
        assert (more <= fewer).all()


@given(names, shapes, seeds, groups, rows)
def test_only_bits_of_the_weight_are_kept(name, shape, seed, group, n):
    x = tensor(name, shape, seed)
    fmt = number_format(name)
    p = bx.prune(x, rows=n, group=group, format=name)
    before, after = bx.decompose(x, name), bx.decompose(p.values, name)
    # At the place of the original's exponent the pruned significand is a subset of its bits.
    shift = (before.exponent - after.exponent).astype(int)
    for m, k, s in zip(before.significand.flat, after.significand.flat, shift.flat, strict=True):
        kept = int(k) >> s
        assert kept << s == int(k)
        assert kept & ~int(m) == 0
    if fmt.is_float:
        np.testing.assert_array_equal(np.signbit(p.values), np.signbit(x))


@given(floats, shapes, seeds, groups, rows, st.integers(-3, 3))
def test_commutes_with_powers_of_two(name, shape, seed, group, n, exponent):
    fmt = number_format(name)
    rng = np.random.default_rng(seed)
    # Away from overflow and underflow: significands of a few values at middle exponents.
    codes = rng.integers(0, 1 << (fmt.significand_bits - 1), shape).astype(fmt.storage_dtype)
    middle = fmt.bias + rng.integers(-1, 2, shape)
    if name.startswith("float8"):
        exponent = int(np.sign(exponent))
    x = (codes | (middle << (fmt.significand_bits - 1)).astype(fmt.storage_dtype)).view(fmt.dtype)
    factor = fmt.dtype.type(2.0**exponent)
    cut = {"rows": n, "group": group, "format": name}
    if name.startswith("float8"):
        smallest = np.abs(bx.prune(x, **cut).values.astype(float))
        if (smallest[smallest > 0] < 2.0 ** (4 - fmt.bias)).any():
            return  # a pruned value would meet the subnormals
    assert same(bx.prune(x * factor, **cut).values, bx.prune(x, **cut).values * factor)


@given(names, shapes, seeds, groups, rows)
def test_commutes_with_sign_flips(name, shape, seed, group, n):
    if name.endswith("-twos") or name == "uint8":
        return
    x = tensor(name, shape, seed)
    flips = np.random.default_rng(seed).choice([-1, 1], shape).astype(x.dtype)
    cut = {"rows": n, "group": group, "format": name}
    assert same(bx.prune(x * flips, **cut).values, bx.prune(x, **cut).values * flips)


@given(names, seeds, st.sampled_from([4, 8, 16, 32]), rows)
def test_commutes_with_permutations_of_a_group(name, seed, group, n):
    x = tensor(name, (3, group), seed)
    order = np.random.default_rng(seed).permutation(group)
    cut = {"rows": n, "group": group, "format": name}
    assert same(bx.prune(x[:, order].copy(), **cut).values, bx.prune(x, **cut).values[:, order].copy())


@given(names, shapes, seeds, groups)
def test_all_rows_change_nothing_but_the_window(name, shape, seed, group):
    fmt = number_format(name)
    x = tensor(name, shape, seed)
    kept = bx.prune(x, rows=64, group=group, format=name)
    if not fmt.is_float:
        assert same(kept.values, x)
        return
    # What is lost lies below the window's last row.
    last = np.longdouble(2) ** (kept.exponents.astype(int) - fmt.bias - (fmt.default_window - 1))
    lost = np.abs(x.astype(np.longdouble) - kept.values.astype(np.longdouble))
    per_group = lost.reshape(kept.exponents.shape[0], -1)
    for f, values in enumerate(per_group):
        for at, value in enumerate(values):
            assert value < last[f, at // group]


@given(names, shapes, seeds, groups, rows, groupings)
def test_unpack_gives_the_pruned_values(name, shape, seed, group, n, grouping):
    p = bx.prune(tensor(name, shape, seed), rows=n, group=group, grouping=grouping, format=name)
    assert same(bx.unpack(bx.pack(p)), p.values)


@given(names, shapes, seeds, groups, rows)
def test_layouts_and_threads_do_not_matter(name, shape, seed, group, n):
    x = tensor(name, shape, seed)
    cut = {"rows": n, "group": group, "format": name}
    want = bx.prune(x, **cut).values
    fortran = bx.prune(np.asfortranarray(x), **cut).values
    assert fortran.flags.f_contiguous
    assert same(np.ascontiguousarray(fortran), want)
    twice = np.repeat(x, 2, axis=-1)[..., ::2]
    assert same(np.ascontiguousarray(bx.prune(twice, **cut).values), want)
    in_place = x.copy()
    assert bx.prune(in_place, out=in_place, **cut).values is in_place
    assert same(in_place, want)


@given(hnp.arrays(np.float32, 64, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_any_floats(x):
    p = bx.prune(x, rows=5)
    assert (np.abs(p.values) <= np.abs(x)).all()
    assert (p.kept_rows <= 5).all()
    assert same(
        codes_of(p.values, number_format("float32")) >> 31, codes_of(x, number_format("float32")) >> 31
    )


@pytest.mark.parametrize("shape", [(1000, 1003), (1030, 1040), (5, 1 << 20)], ids=str)
@pytest.mark.parametrize("name", ["float32", "bfloat16", "int8"])
def test_threads_give_the_same(name, shape, monkeypatch):
    """Shapes whose groups are gathered, that every thread gets a share of, and of several chunks."""
    x = sample(name, shape, np.random.default_rng(3))
    results = []
    for n in (1, 2, 5):
        monkeypatch.setenv("BITX_THREADS", str(n))
        p = bx.prune(x, rows=4, format=name)
        packed = bx.pack(p)
        assert same(bx.unpack(packed), p.values)
        parts = bx.decompose(x, name)
        results.append(
            [a.tobytes() for a in (p.values, p.row_masks, packed.rows, parts.exponent, parts.significand)]
            + [bx.statistics(x, format=name).row_ones.tobytes(), bx.essential_bits(x, name).tobytes()]
        )
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
def test_all_of_this_holds_for_large_groups():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
    done = subprocess.run(command, env=os.environ | {LARGE: "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
