"""The packed form and the statistics against the definition, on tensors long enough for whole vectors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore import reference
from bitxcore.errors import TensorError
from bitxcore.formats import number_format

from .oracle import ALL_NAMES, FLOAT_NAMES, codes_of, members, sample

# A size of groups and a format is seconds of compiling: by default those of the default, and with tails.
GROUPS = [pytest.param(g, marks=[pytest.mark.slow] * (g not in (5, 8))) for g in (1, 2, 4, 5, 8, 16, 33, 64)]
WINDOWS = (None, 3, 31, 33, 64)


def check_packed(p, name):
    """Compare signs and rows with the definition's, group by group; unpack."""
    fmt = number_format(name)
    packed, codes = bx.pack(p), codes_of(p.values, fmt)
    signs, rows = [], []
    for f, g, at in members(p.values.shape, p.group, p.grouping):
        aligned = reference.align([int(c) for c in codes[at]], fmt, p.window).aligned
        if int(p.exponents[f, g]):
            # Pruning may have cleared the row that the largest exponent is of.
            whole = reference.align([int(c) for c in codes[at]], fmt, p.window)
            aligned = [a >> (int(p.exponents[f, g]) - whole.emax) for a in aligned]
        signs.append(sum((int(c) >> (fmt.storage_bits - 1)) << j for j, c in enumerate(codes[at])))
        for row in range(p.window - 1, -1, -1):
            if int(p.row_masks[f, g]) >> row & 1:
                rows.append(sum((a >> row & 1) << j for j, a in enumerate(aligned)))
    assert packed.rows.tolist() == rows
    if packed.signs.size:
        assert packed.signs.reshape(-1).tolist() == signs
    assert bx.unpack(packed).tobytes() == p.values.tobytes()
    out = np.ones_like(p.values)
    assert bx.unpack(packed, out) is out
    assert out.tobytes() == p.values.tobytes()


def mixed(name, size, seed):
    """Draw values of all codes, of near exponents, zeros, and subnormals with tiny numbers, in stretches."""
    rng = np.random.default_rng(seed)
    fmt = number_format(name)
    kinds = [sample(name, (size,), rng, uniform=k == 0, zeros=(0, 0.1, 0.6)[k]) for k in range(3)]
    if fmt.is_float:
        small = rng.integers(0, 1 << (fmt.significand_bits + 2), size).astype(fmt.storage_dtype)
        signs = rng.integers(0, 2, size).astype(fmt.storage_dtype) << (fmt.storage_bits - 1)
        kinds.append((np.minimum(small, fmt.largest_magnitude_code) | signs).view(fmt.dtype))
    kinds.append(np.zeros(size, fmt.dtype))
    stretch = np.repeat(rng.integers(0, len(kinds), size), rng.integers(1, 400, size))[:size]
    return np.choose(stretch, [k.view(fmt.storage_dtype) for k in kinds]).view(fmt.dtype)


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("group", GROUPS)
def test_packed_form(name, group):
    for seed, window in enumerate(WINDOWS):
        x = mixed(name, 256 * group + 77, [seed, group])
        check_packed(bx.prune(x, rows=(6, 2, 12, 8, 40)[seed], group=group, window=window, format=name), name)


@pytest.mark.parametrize("name", ALL_NAMES)
@pytest.mark.parametrize("group", GROUPS)
def test_statistics(name, group):
    fmt = number_format(name)
    for seed, window in enumerate(WINDOWS):
        x = mixed(name, 3000 + seed, [seed, group])
        if fmt.is_float and seed % 2:
            x[1700 : 1700 + 50 * seed : 25] = np.nan  # of 4 formats with one kind of it
        s = bx.statistics(x, format=name, group=group, window=window, nonfinite="keep")
        codes, width = codes_of(x, fmt), window or fmt.default_window
        ones, nonempty, bad = np.zeros(width, int), np.zeros(width + 1, int), 0
        for _, _, at in members(x.shape, group, "flat"):
            if not all(reference.finite(int(c), fmt) for c in codes[at]):
                bad += 1
                continue
            counted = reference.row_ones(reference.align([int(c) for c in codes[at]], fmt, width))
            ones += counted
            nonempty[sum(n > 0 for n in counted)] += 1
        assert s.row_ones.tolist() == ones.tolist()
        assert s.nonempty_rows_histogram.tolist() == nonempty.tolist()
        assert s.nonfinite_groups == bad
        assert s.zeros == int((x == 0).sum())
        if not bad:
            assert s.essential_bits == int(bx.essential_bits(x, name).sum())


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.sampled_from(ALL_NAMES), st.integers(1, 3000), st.integers(5, 8), st.integers(1, 64),
    st.integers(1, 20), st.integers(0, 2**32),
)  # fmt: skip
def test_any_packed_form(name, size, group, window, rows, seed):
    check_packed(bx.prune(mixed(name, size, seed), rows=rows, group=group, window=window, format=name), name)


@pytest.mark.slow
@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    st.sampled_from(ALL_NAMES), st.integers(1, 9000), st.integers(1, 64), st.integers(1, 64),
    st.integers(1, 64), st.integers(0, 2**32),
)  # fmt: skip
def test_any_packed_form_of_any_group(name, size, group, window, rows, seed):
    check_packed(bx.prune(mixed(name, size, seed), rows=rows, group=group, window=window, format=name), name)


@pytest.mark.parametrize("name", FLOAT_NAMES)
def test_long_statistics(name):
    """More vectors than the counters hold between two flushes, and the greatest counts."""
    fmt = number_format(name)
    x = np.full(1 << 18, 1, fmt.storage_dtype)
    x[:] = fmt.largest_magnitude_code
    s = bx.statistics(x.view(fmt.dtype), format=name)
    bits = int(fmt.largest_magnitude_code & ((1 << (fmt.significand_bits - 1)) - 1)).bit_count() + 1
    assert s.essential_bits == int(s.row_ones.sum()) == x.size * bits
    assert s.nonempty_rows_histogram[bits] == x.size // 8


def test_what_is_of_another_kind_or_in_the_way_is_refused():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    p = bx.prune(x)
    packed = bx.pack(p)
    with pytest.raises(TensorError, match="what prune returns can be packed, got array"):
        bx.pack(x)
    with pytest.raises(TensorError, match="what pack returns can be unpacked, got array"):
        bx.unpack(x)
    with pytest.raises(TensorError, match="out must be an earlier Packed, got array"):
        bx.pack(p, out=x)
    x.view(packed.rows.dtype)[: packed.rows.size] = packed.rows
    there = replace(packed, rows=x.view(packed.rows.dtype)[: packed.rows.size])
    assert bx.unpack(there).tobytes() == p.values.tobytes()
    with pytest.raises(TensorError, match="out overlaps the rows of the packed form"):
        bx.unpack(there, out=x)


@pytest.mark.parametrize("form", [None, "fixed8"])
def test_values_of_another_byte_order(form):
    x = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)
    out = np.empty_like(x)
    packed = bx.pack(bx.prune(x.astype(">f4"), format=form))
    assert bx.unpack(packed, out=out) is out
    np.testing.assert_array_equal(out, bx.prune(x, format=form).values)
    np.testing.assert_array_equal(bx.unpack(packed), out)
    with pytest.raises(TensorError, match=r"out must be \(4, 64\) float32 in native byte order, got .* >f4"):
        bx.unpack(packed, out=x.astype(">f4"))


def test_pack_again():
    rng = np.random.default_rng(0)
    many, few, zeros = (rng.standard_normal((5, 1000)).astype(np.float32) for _ in range(3))
    zeros[:] = 0
    old = bx.pack(bx.prune(many, rows=6))
    for x, rows, same in ((many, 6, True), (few, 3, True), (many, 6, False), (zeros, 6, True)):
        p = bx.prune(x, rows=rows)
        want, got = bx.pack(p), bx.pack(p, out=old)
        for part in ("exponents", "row_masks", "signs", "rows"):
            assert getattr(got, part).tobytes() == getattr(want, part).tobytes()
        assert np.shares_memory(got.signs, old.signs)
        assert np.shares_memory(got.rows, old.rows) is (same and want.rows.size > 0)
        old = got
    with pytest.raises(TensorError, match="out must be a form of shape"):
        bx.pack(bx.prune(many, group=4), out=old)
    with pytest.raises(TensorError, match="out must be a form of shape"):
        bx.pack(bx.prune(many[:4]), out=old)
    for part in ("signs", "rows"):
        bad = replace(old, **{part: getattr(old, part).astype(np.uint16)})
        with pytest.raises(TensorError, match=f"^out: {part} must be"):
            bx.pack(bx.prune(many), out=bad)


def test_pack_again_without_signs():
    p = bx.prune(np.arange(256, dtype=np.uint8), format="uint8")
    old = bx.pack(p)
    again = bx.pack(p, out=old)
    assert again.signs.size == 0
    assert np.shares_memory(again.rows, old.rows)
    assert bx.unpack(again).tobytes() == p.values.tobytes()
