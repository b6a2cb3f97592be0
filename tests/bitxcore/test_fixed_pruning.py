"""Pruning of floats by way of their codes: as in three steps, quantised by the definition, bit for bit."""

import subprocess
import sys
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitxcore as bx
from bitxcore import block_pruning, fixed_pruning
from bitxcore.formats import number_format
from bitxcore.pruned import PARTS
from bitxcore.quantization import fixed_scale

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]

LAYOUTS = {
    "whole": ((6, 64), {}),
    "one filter": ((999,), {}),
    "short filters": ((40, 27), {}),
    "of less than a group": ((40, 5), {}),
    "group of 7": ((5, 63), {"group": 7}),
    "tiles": ((6, 20, 3, 3), {"grouping": "channel"}),
    "whole kernels": ((6, 20, 3, 3), {"grouping": "kernel", "group": None}),
    "nearest": ((6, 64), {"rounding": "nearest"}),
    "wide groups": ((3, 300), {"group": 100}),
    "energy": ((60, 64), {"criterion": "energy", "budget": 0.1, "rows": None}),
    "threshold": ((6, 64), {"criterion": "threshold", "threshold": 0.3, "rows": None}),
    "window": ((6, 64), {"window": 20}),
}


def codes_by_definition(x, bits):
    """Nearest codes, halves to the even ones, in float64: the scale is a power of two."""
    top = 2 ** (bits - 1) - 1
    with np.errstate(over="ignore"):
        codes = np.clip(np.rint(np.asarray(x, np.float64) / fixed_scale(x, bits)), -top, top)
    return codes.astype(number_format(f"int{bits}").dtype)


def values_by_definition(codes, scale, dtype):
    """Products of codes and scale; what is beyond the finite numbers of `dtype` becomes its largest."""
    top = float(ml_dtypes.finfo(dtype).max)
    return np.clip(codes.astype(np.float64) * scale, -top, top).astype(dtype)


def check(p, x, bits, parts=PARTS, **options):
    codes = codes_by_definition(x, bits)
    want = bx.prune(codes, format=f"int{bits}", parts=PARTS, **options)
    assert p.scale == fixed_scale(x, bits)
    assert (p.codes.dtype, p.codes.tobytes()) == (codes.dtype, want.values.tobytes())
    for part in set(parts) - {"values"}:
        assert getattr(p, part).dtype == getattr(want, part).dtype
        assert getattr(p, part).tobytes() == getattr(want, part).tobytes(), part
    if "values" in parts:
        assert p.values.dtype == x.dtype
        assert p.values.tobytes() == values_by_definition(want.values, p.scale, x.dtype).tobytes()
    assert (p.nonfinite_groups, p.window_limited_groups) == (0, 0)


def drawn(seed, shape, exponent, dtype=np.float32):
    """Values around a power of two, with zeros of both signs, halves of codes and subnormal numbers."""
    rng = np.random.default_rng(seed)
    info = ml_dtypes.finfo(dtype)
    x = np.ldexp(rng.standard_normal(shape), exponent)
    x = np.where(rng.random(shape) < 0.2, np.ldexp(np.rint(8 * rng.standard_normal(shape)) / 2, exponent), x)
    x = np.clip(x, -float(info.max), float(info.max)).astype(dtype)
    flat = x.reshape(-1)
    for value in (0.0, -0.0, info.smallest_subnormal, -info.smallest_subnormal, info.smallest_normal):
        flat[rng.random(x.size) < 0.05] = value
    return x


@pytest.mark.parametrize("bits", range(2, 17))
@settings(deadline=None, max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 3000),
    exponent=st.one_of(st.integers(-8, 8), st.integers(-149, 127)),
)
def test_every_width(bits, seed, size, exponent):
    x = drawn(seed, size, exponent)
    check(bx.prune(x, format=f"fixed{bits}", rows=2), x, bits, rows=2)


@pytest.mark.parametrize("bits", [8, 13])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_layout(layout, bits, dtype):
    shape, options = LAYOUTS[layout]
    options = {"rows": 2} | options
    x = drawn(bits, shape, -3, dtype)
    check(bx.prune(x, format=f"fixed{bits}", **options), x, bits, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_blocks_past_the_caches(layout, dtype, monkeypatch):
    monkeypatch.setattr(fixed_pruning, "BLOCK", 256)
    monkeypatch.setattr(block_pruning, "STREAMING_BYTES", 0)
    shape, options = LAYOUTS[layout]
    options = {"rows": 2} | options
    x = drawn(3, shape, 2, dtype)
    room = np.zeros(x.size + 1, dtype)[1:].reshape(shape)  # in the middle of a cache line
    p = bx.prune(x, format="fixed16", out=room, **options)
    assert p.values is room
    check(p, x, 16, **options)


@pytest.mark.parametrize("bits", [2, 8, 9, 16])
def test_sizes_around_blocks_and_threads(bits, monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "3")
    block = fixed_pruning.BLOCK
    for size in (block - 1, block, block + 1, 5_000_003):
        x = drawn(bits, size, 0)
        check(bx.prune(x, format=f"fixed{bits}"), x, bits, rows=6)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1.1754944e-38, 1.0, 3.4028235e38])
@pytest.mark.parametrize("bits", [2, 7, 16])
def test_equal_values(value, bits):
    x = np.full(77, value, np.float32)
    check(bx.prune(x, format=f"fixed{bits}"), x, bits, rows=6)


@pytest.mark.parametrize("place", [0, 131, 199_999])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_not_finite_is_found(place, value, dtype):
    x = np.ones(200_000, dtype)
    with np.errstate(invalid="ignore"):
        x[place] = value
    for call in (lambda: bx.prune(x, format="fixed16"), lambda: bx.quantize(x, 16)):
        with pytest.raises(
            bx.TensorError, match=f"flat index {place}: {np.dtype(dtype).name} must be finite"
        ):
            call()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", FLOATS)
def test_signalling_nan(dtype):
    x = np.ones(100, dtype)
    one_above_infinity = int(np.array(np.inf, dtype).view(f"u{x.itemsize}")) + 1
    x.view(f"u{x.itemsize}")[70] = one_above_infinity
    with pytest.raises(bx.TensorError, match="flat index 70"):
        bx.prune(x, format="fixed16")


@pytest.mark.parametrize("dtype", [*FLOATS, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_the_largest_magnitude_decides_on_the_scale(dtype):
    rng = np.random.default_rng(1)
    for size in (1, 7, 65, 4000, 300_001):
        x = drawn(size, size, -2, dtype)
        largest = np.array(rng.choice([-6.0, 6.0])).astype(dtype)
        x[rng.integers(size)] = largest
        assert fixed_scale(x, 8) == fixed_scale(largest[None], 8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_place(layout):
    shape, options = LAYOUTS[layout]
    options = {"rows": 2} | options
    x = drawn(5, shape, 1)
    work = x.copy()
    p = bx.prune(work, format="fixed12", out=work, **options)
    assert p.values is work
    check(p, x, 12, **options)


@pytest.mark.parametrize("parts", [("values",), ("row_masks",), ("kept_rows", "exponents"), PARTS])
def test_parts(parts):
    x = drawn(6, (6, 64), 1)
    check(bx.prune(x, format="fixed16", parts=parts), x, 16, parts, rows=6)


def test_an_earlier_result_is_used_again():
    x, y = drawn(7, (6, 64), 1), drawn(8, (6, 64), 5)
    first = bx.prune(x, format="fixed16")
    p = bx.prune(y, format="fixed16", out=first)
    assert all(getattr(p, name) is getattr(first, name) for name in (*PARTS, "codes"))
    check(p, y, 16, rows=6)


def test_codes_that_do_not_fit_are_new():
    x = drawn(9, (6, 64), 1)
    plain = bx.prune(x, format="fixed9")
    p = bx.prune(x, format="fixed16", out={"values": plain.values})
    check(p, x, 16, rows=6)
    assert p.codes is not plain.codes
    narrow = bx.prune(x, format="fixed8", parts=("values",), rows=2)
    p = bx.prune(x, format="fixed16", parts=("values",), rows=2, out=narrow)
    check(p, x, 16, ("values",), rows=2)


def test_memory_of_any_kind():
    x = drawn(10, (8, 66), 1)
    whole = bx.prune(x, format="fixed16")
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    for y in (read_only, unaligned, x.astype(">f4"), np.asfortranarray(x)):
        p = bx.prune(y, format="fixed16")
        assert p.codes.tobytes() == whole.codes.tobytes()
        assert p.row_masks.tobytes() == whole.row_masks.tobytes()
        np.testing.assert_array_equal(p.values, whole.values)


def test_statistics_are_those_of_the_codes():
    x = drawn(11, (6, 64), 1)
    p = bx.prune(x, format="fixed16", statistics=True)
    check(p, x, 16, rows=6)
    want = bx.statistics(codes_by_definition(x, 16), format="int16")
    np.testing.assert_array_equal(p.statistics.row_ones, want.row_ones)


def test_codes_that_overlap_other_arrays_are_not_used():
    memory = np.zeros(6 * 64 * 4, np.uint8)
    x = memory.view(np.float32).reshape(6, 64)
    x[...] = drawn(12, (6, 64), 1)
    want, earlier = bx.prune(x, format="fixed16"), bx.prune(x, format="fixed16")
    inside = replace(earlier, codes=memory[: x.size * 2].view(np.int16).reshape(6, 64))
    p = bx.prune(x, format="fixed16", out=inside)
    assert not np.may_share_memory(p.codes, x)
    assert p.codes.tobytes() == want.codes.tobytes()
    assert p.values.tobytes() == want.values.tobytes()


@pytest.mark.parametrize("scale", ["power-of-two", "free"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_channels_are_as_tensors_of_their_own(dtype, scale):
    x = drawn(13, (40, 5, 3), 1, dtype) * np.ldexp(1.0, -np.arange(40) // 4).astype(dtype)[:, None, None]
    for y in (x, np.asfortranarray(x), x[:, ::-1]):
        fixed = bx.quantize(y, 9, scale=scale, per_channel=True)
        back = fixed.dequantize(dtype)
        for n, channel in enumerate(y):
            alone = bx.quantize(channel, 9, scale=scale)
            assert fixed.scale[n] == alone.scale
            assert fixed.codes[n].tobytes() == alone.codes.tobytes()
            assert back[n].tobytes() == alone.dequantize(dtype).tobytes()


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_thread_that_flushes_subnormals_is_refused(dtype):
    """Only where results could be others: zeros, and subnormal weights beside large ones, are right."""
    code = (
        "import numpy as np, torch, ml_dtypes, bitxcore as bx\n"
        f"dtype = np.dtype(getattr(ml_dtypes, '{dtype}', '{dtype}'))\n"
        "tiny = np.linspace(-1, 1, 256) * float(ml_dtypes.finfo(dtype).smallest_normal) / 2\n"
        "tiny = tiny.astype(dtype)\n"
        "mixed = np.where(np.arange(256) % 2, tiny, np.ones(1, dtype)).astype(dtype)\n"
        "calls = [lambda x: bx.prune(x, format='fixed8').values, lambda x: bx.quantize(x, 8).codes,\n"
        "    lambda x: bx.quantize(x, 8, scale='free').codes, lambda x: bx.quantize(x, 8, scale=0.5).codes]\n"
        "right = [[f(x).tobytes() for f in calls] for x in (mixed, np.zeros(256, dtype))]\n"
        "fixed = bx.quantize(tiny, 8)\n"
        "calls += [lambda x: bx.prune(x, group=100), lambda x: fixed.dequantize(dtype),\n"
        "    lambda x: bx.prepare(x, ones=1, format=None if dtype != float else 'fixed8'),\n"
        "    lambda x: bx.statistics(x, window=40, format=None if dtype != float else 'fixed8')]\n"
        "torch.set_flush_denormal(True)\n"
        "for x, want in zip((mixed, np.zeros(256, dtype)), right):\n"
        "    print([f(x).tobytes() for f in calls[:4]] == want)\n"
        "print(calls[3](tiny).any())\n"
        "for f in calls[:3] + calls[4:]:\n"
        "    try: f(tiny)\n"
        "    except bx.BitxError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True\nTrue\nFalse\n")
    assert done.stdout.count("this thread flushes subnormal numbers") == 7


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("dtype", FLOATS)
def test_quantize_and_back(bits, dtype):
    for exponent in (-12, 0, 9):
        x = drawn(bits, 5001, exponent, dtype)
        fixed = bx.quantize(x, bits)
        assert fixed.codes.tobytes() == codes_by_definition(x, bits).tobytes()
        out = np.empty_like(x)
        fixed.dequantize_into(out)
        assert out.tobytes() == values_by_definition(fixed.codes, float(fixed.scale), dtype).tobytes()
