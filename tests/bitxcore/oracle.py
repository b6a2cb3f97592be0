"""Compare a whole tensor with the definition, group by group."""

import os
from collections.abc import Iterator

import numpy as np

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import FLOATS, number_format
from bitxcore.groups import MAX_WIDE_GROUP, grid

FLOAT_NAMES = tuple(FLOATS)
INTEGER_NAMES = ("int8", "int16", "int8-twos", "int16-twos", "uint8", "int4", "int5-twos", "int12")
ALL_NAMES = (*FLOAT_NAMES, *INTEGER_NAMES)
CAMPAIGN = "BITX_CAMPAIGN" in os.environ
"""Whether to draw far more cases than a change is checked by: `make campaign`."""


def codes_of(x, fmt):
    return np.ascontiguousarray(x).reshape(-1).view(fmt.storage_dtype)


def members(shape, group, grouping) -> Iterator[tuple[int, int, list[int]]]:
    """Filter, group and flat indices of the members of every group."""
    cut = grid(shape, group, grouping, most=MAX_WIDE_GROUP)
    for f in range(cut.filters):
        for g in range(cut.groups):
            part, within = divmod(g, cut.blocks * cut.stride)
            lane, block = divmod(within, cut.blocks)
            first = block * cut.group
            inside = range(first, min(first + cut.group, cut.length))
            start = f * cut.reduction + part * cut.length * cut.stride + lane
            yield f, g, [start + j * cut.stride for j in inside]


def check_prune(x, name, *, group=16, grouping="flat", window=None, prune=bx.prune, **options):
    """Assert that `prune` equals the definition: values, masks, exponents, row counts, limited groups."""
    fmt = number_format(name)
    rows = fmt.default_window if window is None else window
    p = prune(x, format=name, group=group, grouping=grouping, window=window, **options)
    before, after = codes_of(x, fmt), codes_of(p.values, fmt)
    assert p.values.shape == x.shape
    assert p.values.dtype == x.dtype
    rule = {key: value for key, value in options.items() if key != "rounding"}
    limited = 0
    for f, g, at in members(x.shape, group, grouping):
        codes = [int(c) for c in before[at]]
        want = reference.prune_group(codes, fmt, rows, **options)
        got = [int(c) for c in after[at]], int(p.row_masks[f, g]), int(p.exponents[f, g])
        assert got == want, (name, f, g, [hex(c) for c in codes])
        assert int(p.kept_rows[f, g]) == want[1].bit_count()
        limited += reference.window_limited(codes, fmt, rows, **rule)
    assert p.window_limited_groups == limited
    return p


def all_codes(name):
    """All finite codes of a format, in order."""
    fmt = number_format(name)
    codes = np.arange(1 << fmt.storage_bits, dtype=fmt.storage_dtype)
    good = [c for c in range(1 << fmt.storage_bits) if reference.finite(c, fmt)]
    return codes[good].view(fmt.dtype)


def sample(name, shape, rng, *, uniform=False, zeros=0.1):
    """Random finite values: uniform codes, or values of near exponents with some zeros."""
    fmt = number_format(name)
    n = int(np.prod(shape))
    if not fmt.is_float:
        p = fmt.significand_bits
        if fmt.encoding == "twos-complement":
            low, high = -(1 << (p - 1)), 1 << (p - 1)
        else:
            low, high = (0 if fmt.encoding == "unsigned" else -fmt.max_magnitude), 1 << p
        x = rng.integers(low, high, n).astype(fmt.dtype)
    elif uniform:
        codes = rng.integers(0, 1 << 63, n, dtype=np.uint64) << np.uint64(1)
        codes |= rng.integers(0, 2, n, dtype=np.uint64)
        x = codes.astype(fmt.storage_dtype).view(fmt.dtype).copy()
        magnitude = x.view(fmt.storage_dtype) & fmt.storage_dtype.type((1 << (fmt.storage_bits - 1)) - 1)
        x[magnitude > fmt.largest_magnitude_code] = 0
    else:
        scale = 2.0 ** rng.integers(-8, 2, n)
        x = (rng.standard_normal(n) * scale).astype(fmt.dtype)
    x[rng.random(n) < zeros] = 0
    return x.reshape(shape)
