"""Random tensors against the definition: every format, criterion, rounding, grouping and cut."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import number_format

from .oracle import ALL_NAMES, CAMPAIGN, check_prune, codes_of, members, sample

SHAPES = ((777,), (5, 129), (4, 20, 3, 3), (6, 64), (3, 16, 7))
GROUPS = (1, 3, 4, 5, 8, 16, 17, 32, 33, 64)
FEW_GROUPS = (5, 8)
"""Sizes of the default run: each is a second of compiling for each format. The slow tests try all sizes."""


def options_of(rng):
    criterion = str(rng.choice(["topn", "topn", "msb", "threshold", "energy"]))
    options = {"criterion": criterion, "rows": int(rng.integers(1, 8))}
    if criterion in ("threshold", "energy"):
        options["threshold" if criterion == "threshold" else "budget"] = float(rng.random() ** 3)
    if rng.random() < 0.4:
        options["rounding"] = "nearest"
    return options


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("seed", range(12))
def test_prune(name, seed):
    check_drawn_prune(name, seed, FEW_GROUPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_NAMES)
def test_prune_groups_of_all_sizes(name):
    for seed in range(48 if CAMPAIGN else 6):
        check_drawn_prune(name, seed, GROUPS)


def check_drawn_prune(name, seed, groups):
    rng = np.random.default_rng([seed, ALL_NAMES.index(name)])
    x = sample(name, SHAPES[rng.integers(len(SHAPES))], rng, uniform=seed % 4 == 0)
    options = options_of(rng)
    options["group"] = int(rng.choice(groups))
    options["grouping"] = str(rng.choice(["flat", "channel", "kernel"]))
    if rng.random() < 0.4:
        options["window"] = int(rng.choice([1, 2, 5, 8, 13, 24, 31, 32, 33, 48, 64]))
    check_prune(x, name, **options)


def cases(names, groups):
    """All pairs; those that are not of `FEW_GROUPS` are slow."""
    return [
        pytest.param(
            name,
            group,
            marks=[pytest.mark.slow] * (group not in FEW_GROUPS),
        )
        for name in names
        for group in groups
    ]


@pytest.mark.parametrize(
    ("name", "group"), cases(ALL_NAMES, [1, 4, 5, 8, 16, 32, 64] if CAMPAIGN else [1, 5, 8, 16, 64])
)
@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
def test_statistics_and_packed_form(name, group, grouping):
    rng = np.random.default_rng([group, ALL_NAMES.index(name)])
    fmt, x = number_format(name), sample(name, SHAPES[group % 5], rng, zeros=0.5)
    window = None if group % 2 else int(rng.integers(2, 65))
    s = bx.statistics(x, format=name, group=group, grouping=grouping, window=window)
    rows = window or fmt.default_window
    codes = codes_of(x, fmt)
    ones, nonempty, zero_groups = np.zeros(rows, int), np.zeros(rows + 1, int), 0
    for _, _, at in members(x.shape, group, grouping):
        aligned = reference.align([int(c) for c in codes[at]], fmt, rows)
        counted = reference.row_ones(aligned)
        ones += counted
        nonempty[sum(n > 0 for n in counted)] += 1
        zero_groups += not any(v.significand for v in aligned.members)
    assert s.row_ones.tolist() == ones.tolist()
    assert s.nonempty_rows_histogram.tolist() == nonempty.tolist()
    assert s.zero_groups == zero_groups
    assert s.essential_bits == int(bx.essential_bits(x, name).sum())
    assert s.zeros == int((x == 0).sum())
    p = bx.prune(x, rows=5, format=name, group=group, grouping=grouping, window=window)
    assert bx.unpack(bx.pack(p)).tobytes() == p.values.tobytes()


# A row holding many ones can outrank rows up to two above it: groups made to contest the last place.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "group"),
    cases(["float32", "float64", "bfloat16", "int8", "int16", "int16-twos"], [5, 8, 16, 32, 64]),
)
def test_contested_rows(name, group):
    rng = np.random.default_rng(group)
    fmt = number_format(name)
    bits = min(fmt.significand_bits - 1, 10)
    share = rng.choice([0.02, 0.1, 0.5, 0.95, 1.0], size=(400, 1, bits))
    matrix = rng.random((400, group, bits)) < share
    magnitudes = (matrix * (1 << np.arange(bits))).sum(axis=2)
    x = magnitudes.astype(fmt.dtype)
    if fmt.is_float:
        x[:, 0] = 1 << bits  # the same exponent rules every group
    for rows in (1, 2, 3, 4, 6):
        check_prune(x, name, group=group, rows=rows)


def float32_groups(seed, groups):
    """Uniform bit patterns, subnormals, zeros and mixed exponents, in equal parts."""
    rng = np.random.default_rng(seed)
    n = -(-groups // 4) * 16
    uniform = sample("float32", (n,), rng, uniform=True, zeros=0)
    subnormal = rng.integers(0, 1 << 24, n, dtype=np.uint32)
    subnormal = (subnormal | rng.integers(0, 2, n, dtype=np.uint32) << np.uint32(31)).view(np.float32)
    with_zeros = sample("float32", (n,), rng, zeros=0.5)
    mixed = (rng.standard_normal(n) * 2.0 ** rng.integers(-40, 40, n)).astype(np.float32)
    return np.concatenate([uniform, subnormal, with_zeros, mixed])


def check_float32(seed, groups):
    options = {"criterion": "topn", "rows": 1 + seed % 8}
    check_prune(float32_groups(seed, groups), "float32", **options)


def test_float32_groups():
    for seed in range(4):
        check_float32(seed, 2_000)


@pytest.mark.slow
def test_many_float32_groups():
    """A million groups in a campaign."""
    seeds = range(100 if CAMPAIGN else 8)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(check_float32, seeds, [10_000] * len(seeds)))
