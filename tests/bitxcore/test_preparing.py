"""Weights within a budget: the nearest, exactly; what the pruner leaves as it is; errors made up for."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore import reference
from bitxcore.errors import BitxError
from bitxcore.formats import number_format
from bitxcore.weight_ones import weight_ones

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def fractions(values):
    return [Fraction(float(value)) for value in values]


def definition(x, fmt, window, ones, rows, group):
    """Of a matrix in flat groups."""
    found = []
    for row in x:
        parts = [fractions(row[at : at + group]) for at in range(0, len(row), group)]
        found.append([v for p in parts for v in reference.fit_group(p, fmt, window, ones=ones, rows=rows)])
    return found


@st.composite
def drawn(draw):
    name = draw(st.sampled_from([*DTYPES, "int8", "uint8"]))
    fmt = number_format(name)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    shape = draw(st.sampled_from([(3, 8), (2, 11), (1, 5)]))
    if fmt.is_float:
        spread = draw(st.sampled_from([0, 1, 6, 40]))
        x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
        with np.errstate(over="ignore"):
            x = np.clip(x, -6e4, 6e4).astype(DTYPES[name])
        x[rng.random(shape) < 0.1] = 0
    else:
        x = rng.integers(-127 if name == "int8" else 0, 128 if name == "int8" else 256, shape).astype(name)
    window = draw(st.integers(3, 9)) if fmt.is_float else None
    places = window or fmt.significand_bits
    ones = draw(st.integers(1, min(4, fmt.significand_bits)))
    return fmt, x, window, ones, draw(st.integers(1, places)), draw(st.sampled_from([3, 4, 8]))


@given(drawn())
def test_equals_the_definition(case):
    fmt, x, window, ones, rows, group = case
    found = bx.prepare(x, ones=ones, rows=rows, group=group, window=window).values
    wanted = definition(x, fmt, window or fmt.significand_bits, ones, rows, group)
    assert [fractions(row) for row in found] == wanted
    assert bx.essential_bits(found).max() <= ones
    again = bx.prune(found, rows=rows, group=group, window=window)
    assert again.values.tobytes() == found.tobytes()
    assert again.kept_rows.max() <= rows


@pytest.mark.parametrize("name", [
    "int8", "uint8", "float16", pytest.param("bfloat16", marks=pytest.mark.slow),
])  # fmt: skip
@pytest.mark.parametrize("ones", [1, 2, 3])
def test_every_code_goes_to_the_nearest_value(name, ones):
    fmt = number_format(name)
    codes = np.arange(1 << fmt.storage_bits).astype(fmt.storage_dtype).view(fmt.dtype)
    with np.errstate(invalid="ignore"):  # NaN of bfloat16
        wide = codes.astype(np.float64)
    held = codes[np.isfinite(wide) & (abs(wide) <= (fmt.max_magnitude if not fmt.is_float else np.inf))]
    # One weight per group: no row is shared. What has so few ones is what stays.
    within = np.unique(held[bx.essential_bits(held) <= ones].astype(np.float64))
    found = bx.prepare(held[:, None], ones=ones, group=1).values[:, 0].astype(np.float64)
    places = np.searchsorted(within, held.astype(np.float64)).clip(1, len(within) - 1)
    below, above = within[places - 1], within[places]
    wide = held.astype(np.float64)
    assert (abs(found - wide) == np.minimum(abs(below - wide), abs(above - wide))).all()
    tied = abs(below - wide) == abs(above - wide)
    smaller = np.minimum(abs(below), abs(above))
    assert (abs(found[tied]) == smaller[tied]).all()


@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
@pytest.mark.parametrize("options", [{"ones": 2}, {"rows": 3}, {"ones": 3, "rows": 5}])
def test_groupings_and_fixed_point(grouping, options):
    x = np.random.default_rng(1).standard_normal((6, 10, 3, 3)).astype(np.float32)
    for form in (None, "fixed8", "fixed16"):
        found = bx.prepare(x, grouping=grouping, format=form, **options)
        rows = options.get("rows", 7 if form == "fixed8" else 15 if form else 32)
        again = bx.prune(found.values, rows=rows, grouping=grouping, format=form)
        assert again.values.tobytes() == found.values.tobytes()
        counted = weight_ones(found.values, rows=rows, grouping=grouping, format=form)
        assert counted.before.largest <= options.get("ones", 24)
        error = np.linalg.norm(found.values - x) / np.linalg.norm(x)
        truncated = bx.prune(x, rows=options.get("rows", 32), grouping=grouping, format=form)
        assert error < 0.15
        if "ones" not in options:
            assert error < np.linalg.norm(truncated.values - x) / np.linalg.norm(x)


def test_it_is_idempotent_and_keeps_signs():
    x = np.random.default_rng(2).standard_normal((8, 64)).astype(np.float32)
    x[0, :8] = [0.0, -0.0, 1, -1, 1e-30, -1e-30, 3, -3]
    once = bx.prepare(x, ones=2, rows=4).values
    assert bx.prepare(once, ones=2, rows=4).values.tobytes() == once.tobytes()
    assert bx.prepare(-x, ones=2, rows=4).values.tobytes() == (-once).tobytes()
    assert bx.prepare(x * 8, ones=2, rows=4).values.tobytes() == (once * 8).tobytes()
    assert np.signbit(once).tolist() == np.signbit(x).tolist()


# -- errors that are made up for ---------------------------------------------------------------


def plain(x, hessian, ones, rows, group, damping):
    """The method on whole filters, one column after the other, without a factor."""
    return stepped(x, hessian, ones, rows, group, damping)[0]


def chosen_rows(x, hessian, ones, rows, group, damping):
    """Of each filter and group: all places, and those of its rows."""
    return list(zip(*stepped(x, hessian, ones, rows, group, damping)[1], strict=True))


def stepped(x, hessian, ones, rows, group, damping):
    w = x.astype(np.float64).copy()
    size = w.shape[1]
    left = hessian + np.eye(size) * damping * np.diagonal(hessian).mean()
    places = []
    for start in range(0, size, group):
        some = slice(start, min(start + group, size))
        chosen = [rows_of(row[some], ones, rows) for row in w]
        places.append(chosen)
        for column in range(some.start, some.stop):
            inverse = np.linalg.inv(left[column:, column:])
            fitted = np.array(
                [nearest(row[column], *places, ones) for row, places in zip(w, chosen, strict=True)]
            )
            error = (w[:, column] - fitted) / inverse[0, 0]
            w[:, column + 1 :] -= error[:, None] * inverse[0, 1:]
            w[:, column] = fitted
    return w, places


def rows_of(values, ones, rows):
    """Places of a group of float32, and those that are kept."""
    high = max(int(np.frexp(abs(value))[1]) for value in values)
    places = [high - place for place in range(32)]
    counts = [0] * 32
    for value in values:
        code = nearest(value, places, places, ones)
        exponent = places[-1]
        bits = int(Fraction(abs(code)) / Fraction(2) ** exponent)
        for at in range(32):
            counts[at] += bits >> (31 - at) & 1
    mask = reference.keep(counts, "topn", rows)
    kept = [at for at in range(32) if mask >> (31 - at) & 1]
    kept += [at for at in range(32) if at not in kept][: rows - len(kept)]
    return places, [places[at] for at in kept]


def nearest(value, places, kept, ones):
    low = places[-1]
    mask = sum(1 << (place - low) for place in kept)
    scaled = Fraction(float(abs(value))) / Fraction(2) ** low
    best = min(reference.values_within(mask, ones), key=lambda v: (abs(v - scaled), v))
    return float(np.copysign(float(best * Fraction(2) ** low), value))


@pytest.mark.parametrize("rows", [4, 32])
def test_later_weights_take_over_the_error(rows):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, 19)).astype(np.float32)
    inputs = rng.standard_normal((60, 19)) @ (np.eye(19) + 0.3 * rng.standard_normal((19, 19)))
    hessian = inputs.T @ inputs
    found = bx.prepare(x, ones=2, rows=rows, hessian=hessian).values
    assert found.tolist() == plain(x, hessian, 2, rows, 8, 0.01).tolist()

    def error(w):
        return np.linalg.norm(inputs @ (w - x).T)

    assert error(found) < error(bx.prepare(x, ones=2, rows=rows).values)


def swept(x, w, hessian, ones, rows, sweeps, damping):
    """One weight after the other at the minimum of the damped error, all others where they are."""
    w = w.astype(np.float64).copy()
    damped = hessian + np.eye(len(hessian)) * damping * np.diagonal(hessian).mean()
    for _ in range(sweeps):
        for f, column in np.ndindex(w.shape):
            slope = (w[f] - x[f]) @ damped[:, column]
            w[f, column] = nearest(w[f, column] - slope / damped[column, column], *rows[f][column // 8], ones)
    return w


@pytest.mark.parametrize("rows", [4, 32])
def test_sweeps_move_one_weight_after_the_other(rows):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((3, 19)).astype(np.float32)
    inputs = rng.standard_normal((60, 19)) @ (np.eye(19) + 0.3 * rng.standard_normal((19, 19)))
    hessian = inputs.T @ inputs
    once, places = plain(x, hessian, 2, rows, 8, 0.01), chosen_rows(x, hessian, 2, rows, 8, 0.01)
    for sweeps in (1, 2):
        found = bx.prepare(x, ones=2, rows=rows, hessian=hessian, sweeps=sweeps).values
        assert found.tolist() == swept(x, once, hessian, 2, places, sweeps, 0.01).tolist()
    still = [bx.prepare(x, ones=2, rows=rows, hessian=hessian, sweeps=n).values for n in (500, 1000)]
    assert still[0].tobytes() == still[1].tobytes()  # it ends
    assert (bx.prune(still[0], rows=rows).values == still[0]).all()

    def error(w):
        return np.linalg.norm(inputs @ (w - x).T)

    assert error(still[0]) <= error(found) < error(once)


def test_inputs_that_are_independent_need_no_compensation():
    x = np.random.default_rng(4).standard_normal((5, 24)).astype(np.float32)
    assert (bx.prepare(x, ones=2, hessian=np.eye(24)).values == bx.prepare(x, ones=2).values).all()
    assert (bx.prepare(x, ones=2, hessian=np.zeros((24, 24))).values == bx.prepare(x, ones=2).values).all()


def test_parts_of_the_filters_have_hessians_of_their_own():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((6, 2, 3, 3)).astype(np.float32)
    inputs = rng.standard_normal((3, 40, 18)) @ (np.eye(18) + 0.3 * rng.standard_normal((3, 18, 18)))
    hessians = inputs.transpose(0, 2, 1) @ inputs
    whole = bx.prepare(x, ones=2, hessian=hessians, grouping="channel").values
    for part in range(3):
        some = slice(2 * part, 2 * part + 2)
        alone = bx.prepare(x[some], ones=2, hessian=hessians[part], grouping="channel").values
        assert (whole[some] == alone).all()


def test_threads_change_nothing(monkeypatch):
    x = np.random.default_rng(6).standard_normal((300, 40)).astype(np.float32)
    hessian = np.cov(np.random.default_rng(7).standard_normal((40, 200)))
    found = []
    for count in ("1", "3"):
        monkeypatch.setenv("BITX_THREADS", count)
        found.append(bx.prepare(x, ones=2, rows=6, hessian=hessian).values.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize(("options", "text"), [
    ({}, "needs a budget: ones of a weight, rows of a group, or both"),
    ({"ones": 0}, "ones must be an integer from 1 to 24, got 0"),
    ({"ones": 3, "rows": 33}, "rows must be an integer from 1 to 32, got 33"),
    ({"ones": 3, "format": "int8-twos"}, "int8-twos"),
    ({"ones": 3, "group": 65}, "group must be an integer from 1 to 64, got 65"),
    ({"ones": 3, "hessian": np.eye(3)}, r"must have the shape \(8, 8\)"),
    ({"ones": 3, "hessian": np.full((8, 8), np.nan)}, "a Hessian must be finite"),
    ({"ones": 3, "hessian": -np.eye(8)}, "symmetric, and positive"),
    ({"ones": 3, "hessian": np.eye(8), "damping": 0}, "damping must be a finite number above 0, got 0"),
    ({"ones": 3, "hessian": np.eye(8), "damping": "x"}, "damping must be a finite number above 0, got 'x'"),
    ({"ones": 3, "sweeps": 2}, "sweeps need a Hessian"),
    ({"ones": 3, "sweeps": -1, "hessian": np.eye(8)}, "sweeps must be an integer from 0 to 1000, got -1"),
    ({"ones": 3, "hessian": [["a"]]}, "a Hessian must be an array of numbers"),
])  # fmt: skip
def test_what_is_refused(options, text):
    with pytest.raises(BitxError, match=text):
        bx.prepare(np.ones((4, 8), np.float32), **options)


def test_values_that_are_none():
    x = np.ones((2, 8), np.float32)
    x[1, 3] = np.inf
    with pytest.raises(BitxError, match="11"):
        bx.prepare(x, ones=2)
    with pytest.raises(BitxError, match="float64 can't be prepared"):
        bx.prepare(np.ones((2, 8)), ones=2)
