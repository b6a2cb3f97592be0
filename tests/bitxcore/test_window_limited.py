"""Groups of which a narrow window may have cost a row, against the definition, and what follows from it."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import number_format

from .oracle import FLOAT_NAMES, INTEGER_NAMES, all_codes, check_prune, sample

RULES = [
    {"rows": 2}, {"rows": 12}, {"rows": 64}, {"rows": 12, "rounding": "nearest"},
    {"criterion": "msb", "rows": 7}, {"criterion": "energy", "budget": 0.1, "rows": 9},
    {"criterion": "threshold", "threshold": 0.3, "rows": 2},
    {"criterion": "threshold", "threshold": 0.3, "rows": None},
]  # fmt: skip


def test_a_group_by_hand():
    # 1 at row 0 and 2**-33 * 3 at rows 32 and 33, of which a window of 32 rows has none.
    x = np.array([1.0, 3 * 2.0**-33, 0.0, 0.0], np.float32)
    p = bx.prune(x, group=4)
    assert (p.kept_rows.item(), p.window_limited_groups) == (1, 1)
    # One row was asked for, one was kept: a wider window would change nothing.
    assert bx.prune(x, group=4, rows=1).window_limited_groups == 0
    wide = bx.prune(x, group=4, window=64)
    assert (wide.kept_rows.item(), wide.window_limited_groups) == (3, 0)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("window", [1, 3, 5, 9])
def test_every_pair_of_small_floats(name, window):
    """All pairs of a few codes of each exponent; subnormals are among them."""
    codes = all_codes(name)
    few = np.concatenate([codes[:12], codes[12 : len(codes) // 2 : 5]])
    x = np.array(list(product(few.tolist(), repeat=2)), number_format(name).dtype)
    for rows in (1, 2, 4, 12):
        check_prune(x, name, group=2, window=window, rows=rows)


@pytest.mark.parametrize("name", FLOAT_NAMES)
@pytest.mark.parametrize("window", [2, None, 40])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_equals_the_definition(name, window, rule):
    rng = np.random.default_rng([window or 0, FLOAT_NAMES.index(name)])
    x = sample(name, (6, 43), rng, zeros=0.3)
    x[3] *= number_format(name).dtype.type(2.0**-6)
    check_prune(x, name, group=8, window=window, **rule)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.sampled_from(FLOAT_NAMES), st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 40))
def test_where_it_is_0_a_wider_window_changes_nothing(name, seed, rows, window):
    fmt = number_format(name)
    x = sample(name, (40, 8), np.random.default_rng(seed), uniform=bool(seed % 2), zeros=0.4)
    limited = [
        reference.window_limited([int(c) for c in codes], fmt, window, rows=rows)
        for codes in x.view(fmt.storage_dtype)
    ]
    p = bx.prune(x, rows=rows, window=window)
    assert p.window_limited_groups == sum(limited)
    # In groups of 4 no row outranks one above it, so only the number of rows can change.
    small = bx.prune(x.reshape(-1, 4), rows=rows, window=window, group=4)
    wide = bx.prune(x.reshape(-1, 4), rows=rows, window=64, group=4)
    same = (small.values.view(fmt.storage_dtype) == wide.values.view(fmt.storage_dtype)).all()
    assert same or small.window_limited_groups


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_in_place_it_is_the_same(rule):
    x = sample("float32", (64, 128), np.random.default_rng(0), zeros=0.6)
    want = bx.prune(x, window=20, **rule).window_limited_groups
    assert bx.prune(x, window=20, out=x, **rule).window_limited_groups == want
    assert want or rule.get("rows") == 2


@pytest.mark.parametrize("name", INTEGER_NAMES)
def test_integers_are_not_aligned(name):
    x = sample(name, (5, 40), np.random.default_rng(1), zeros=0.3)
    for window in (None, 3):
        check_prune(x, name, group=8, window=window, rows=8)
        assert bx.prune(x, rows=8, format=name, window=window).window_limited_groups == 0


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_groups_left_untouched_do_not_count(rule):
    x = np.full((3, 8), 1.75, np.float32)
    x[:, 1] = 2.0**-40
    x[1, 5] = np.nan
    want = bx.prune(x[::2], **rule).window_limited_groups
    assert bx.prune(x, nonfinite="keep", **rule).window_limited_groups == want


def test_chunks_of_a_large_tensor_are_added_up():
    x = np.zeros((1000, 4096), np.float32)
    x[:, ::8] = 1.0
    x[::10, 1] = 2.0**-40
    assert bx.prune(x).window_limited_groups == 100
    assert bx.prune(x, criterion="threshold", threshold=0.5).window_limited_groups == 100
    assert bx.weight_ones(x).window_limited_groups == 100
