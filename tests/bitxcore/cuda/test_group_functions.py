"""What a thread of a device does to its group, compiled for the processor, equals the definition."""

import numpy as np
import pytest
from numba import njit

from bitxcore import reference
from bitxcore.criteria import criterion, least_ones
from bitxcore.cuda.device_pruning import number_of
from bitxcore.cuda.group_functions import group_pruner
from bitxcore.formats import number_format
from tests.bitxcore.oracle import ALL_NAMES, codes_of, sample

RULES = (("topn", None), ("msb", None), ("threshold", 0.4), ("threshold", 0.02))


@pytest.fixture(scope="module")
def prune_group():
    return group_pruner(njit)


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("rounding", ["truncate", "nearest"])
def test_groups_equal_the_definition(prune_group, name, rounding):
    fmt, rng = number_format(name), np.random.default_rng(7)
    scratch = np.empty(64, np.uint64)
    for i in range(160):
        group, window, rows = int(rng.integers(1, 65)), int(rng.integers(1, 65)), int(rng.integers(1, 9))
        chosen, threshold = RULES[i % len(RULES)]
        codes = codes_of(sample(name, group, rng, uniform=i % 3 == 0), fmt).astype(np.uint64)
        if i % 8 < 4:  # three weights, most of all the last: rows with far more ones than those above
            codes = codes[rng.choice([0, 1, 2], group, p=[0.05, 0.05, 0.9]) % group]
        rule = criterion(chosen, rows, threshold, None, window)
        mask = np.uint64(((1 << window) - 1) << (64 - window))
        numbers = tuple(map(np.int64, (rule.rows, rule.wanted, chosen == "msb", rounding == "nearest")))
        place = tuple(map(np.int64, (0, 1, group)))
        out, least = np.empty_like(codes), least_ones(threshold or 0.0)
        finite, kept, exponent, limited = prune_group(
            codes, out, place, scratch, number_of(fmt), mask, numbers, least
        )
        before = [int(code) for code in codes]
        options = {"criterion": chosen, "rows": rows, "threshold": threshold}
        want = reference.prune_group(before, fmt, window, rounding=rounding, **options)
        assert finite
        assert (out.tolist(), int(kept) >> (64 - window), exponent) == want, (window, options, before)
        assert limited == reference.window_limited(before, fmt, window, **options)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "int8", "int5-twos"])
def test_every_code_that_is_not_finite_is_seen(prune_group, name):
    fmt = number_format(name)
    mask, rule = np.uint64((1 << 64) - 1), tuple(map(np.int64, (1, 1, 0, 0)))
    scratch, least = np.empty(64, np.uint64), least_ones(0.0)
    for code in range(1 << fmt.storage_bits):
        x, out = np.array([1, code], np.uint64), np.zeros(2, np.uint64)
        place = tuple(map(np.int64, (0, 1, 2)))
        finite, *_ = prune_group(x, out, place, scratch, number_of(fmt), mask, rule, least)
        assert finite == reference.finite(code, fmt)
        assert finite or (out == x).all()
