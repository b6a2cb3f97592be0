"""Groups of more weights than the kernels hold equal the definition."""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.criteria import criterion
from bitxcore.engine import Cut
from bitxcore.errors import BitxError
from bitxcore.wide_groups import prune_wide
from tests.bitxcore.oracle import ALL_NAMES, check_prune, sample


@pytest.fixture
def rng():
    return np.random.default_rng(12)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_equal_to_the_definition(name, rng):
    x = sample(name, (2, 150), rng)
    for rows in (1, 3, 6):
        check_prune(x, name, group=100, rows=rows)
    check_prune(x, name, group=65, rows=3, window=min(5, bx.number_format(name).default_window))
    check_prune(x, name, group=4096, rows=2, criterion="msb")


@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
def test_every_grouping(grouping, rng):
    x = sample("float32", (2, 130, 9, 8), rng)[:, :, :, :8]
    check_prune(x, "float32", group=70, grouping=grouping, rows=4)
    if grouping == "kernel":
        check_prune(x, "float32", group=72, grouping=grouping, rows=4, window=64)
        whole = bx.prune(x, group=None, grouping="kernel", rows=4)
        assert whole.group == 72


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize(("rule", "window"), [("topn", None), ("msb", 3), ("topn", 64)])
def test_equal_to_the_kernels_where_both_go(name, rule, window, rng):
    x = sample(name, (3, 50, 3), rng)
    options = {"group": 16, "grouping": "channel", "window": window, "rows": 4, "criterion": rule}
    if window == 64 and not bx.number_format(name).is_float:
        options["window"] = None
    want = bx.prune(x, format=name, **options)
    cut = Cut.of(x.dtype, 16, options["window"], name, "channel", x.shape)
    got = prune_wide(x, cut, criterion(rule, 4, None, None, cut.window), nearest=False, keep_nonfinite=False)
    for part in ("values", "row_masks", "exponents", "kept_rows"):
        assert np.array_equal(getattr(got, part).view("u1"), getattr(want, part).view("u1")), part
    assert got.window_limited_groups == want.window_limited_groups


def test_fixed_point_and_a_given_array(rng):
    x = rng.standard_normal((4, 512)).astype("f4")
    out = np.empty_like(x)
    p = bx.prune(x, group=512, rows=6, format="fixed16", out=out)
    assert p.values is out
    codes = bx.prune(bx.quantize(x, 16).codes, group=512, rows=6, format="int16")
    assert np.array_equal(p.codes, codes.values)
    assert p.kept_rows.shape == (4, 1)
    transposed = np.asfortranarray(x)
    assert np.array_equal(bx.prune(transposed, group=512).values, bx.prune(x, group=512).values)


def test_what_does_not_go(rng):
    x = rng.standard_normal((2, 512)).astype("f4")
    for options in (
        {"criterion": "threshold", "threshold": 0.5},
        {"rounding": "nearest"},
        {"nonfinite": "keep"},
    ):
        with pytest.raises(BitxError, match="more than 64 weights go with criterion topn or msb"):
            bx.prune(x, group=100, **options)
    with pytest.raises(BitxError, match="statistics are of groups of 64"):
        bx.prune(x, group=100, statistics=True)
    with pytest.raises(BitxError, match="group must be an integer from 1 to 4096, got 4097"):
        bx.prune(x, group=4097)
    with pytest.raises(BitxError, match="groups of 100 weights have no packed form"):
        bx.pack(bx.prune(x, group=100))
    with pytest.raises(BitxError, match="from 1 to 64"):
        bx.statistics(x, group=100)
    x[1, 7] = np.nan
    with pytest.raises(BitxError, match="519"):
        bx.prune(x, group=512)
