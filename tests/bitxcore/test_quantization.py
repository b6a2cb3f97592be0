"""Scales at the ends of a dtype's range: no value becomes Inf, NaN or, without need, 0."""

import math

import ml_dtypes
import numpy as np
import pytest

import bitxcore as bx
from bitxcore.batch import prune_dump, prune_totals
from bitxcore.dumps import open_dump
from bitxcore.errors import TensorError
from bitxcore.quantization import SCALES, fixed_scale, quantize

DTYPES = [
    np.float16,
    ml_dtypes.bfloat16,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
    np.float32,
    np.float64,
]


def by_definition(largest, bits, dtype):
    """Return the exponent of the scale, on Python's integers and fractions."""
    from fractions import Fraction

    top, exponent, value = 2 ** (bits - 1) - 1, -1074, Fraction(largest)
    while top * Fraction(2) ** exponent < value:
        exponent += 1
    code = round(value / Fraction(2) ** exponent)
    try:
        with np.errstate(over="ignore"):
            held = math.isfinite(np.float64(code * Fraction(2) ** exponent).astype(dtype))
    except OverflowError:
        held = False
    return exponent if held else exponent - 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "bits", [2, 8, 16, *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 16) if n != 8)]
)
def test_the_scale_is_that_of_the_definition(dtype, bits):
    info = ml_dtypes.finfo(dtype)
    rng = np.random.default_rng(bits)
    ends = [info.max, info.max * 0.75, info.max * 0.9, info.smallest_normal, info.smallest_subnormal, 1, 0.3]
    drawn = 2.0 ** rng.uniform(math.log2(float(info.smallest_normal)), math.log2(float(info.max)), 20)
    for largest in np.array([*map(float, ends), *drawn]).astype(dtype).astype(np.float64):
        x = np.array([largest, -largest, 0], dtype)
        exponent = math.frexp(float(fixed_scale(x, bits)))[1] - 1
        assert exponent == by_definition(float(largest), bits, dtype), largest


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("scale", SCALES)
def test_values_come_back_finite(dtype, bits, scale):
    info = ml_dtypes.finfo(dtype)
    for end in (info.max, info.smallest_normal, info.smallest_subnormal):
        x = np.array([end, -end, end / 3, 0], dtype)
        fixed = quantize(x, bits, scale=scale)
        back = fixed.dequantize(dtype)
        assert np.isfinite(back.astype(np.float64)).all()
        if scale != "unit":
            assert fixed.codes[0] > 0
            assert abs(float(back[0]) / float(x[0]) - 1) <= 0.5


def test_60000_in_float16():
    x = np.array([60000, -60000, 100, 8192], np.float16)
    p = bx.prune(x, format="fixed4", group=4, rows=3)
    assert p.scale == 8192
    assert p.values.tolist() == [57344, -57344, 0, 8192]
    assert p.codes.tolist() == [7, -7, 0, 1]


@pytest.mark.parametrize("rounding", ["truncate", "nearest"])
@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_pruned_values_are_finite(dtype, bits, rounding):
    top = float(ml_dtypes.finfo(dtype).max)
    rng = np.random.default_rng(1)
    x = (rng.uniform(-1, 1, (8, 64)) * top).astype(dtype)
    x[0, 0] = top
    for rows in (1, 3):
        p = bx.prune(x, format=f"fixed{bits}", rows=rows, rounding=rounding)
        assert np.isfinite(p.values.astype(np.float64)).all()


def test_channels_have_scales_of_their_own():
    x = np.array([[60000, 1], [1, 0.5], [0, 0]], np.float16)
    assert fixed_scale(x, 4, per_channel=True).ravel().tolist() == [8192, 0.25, 1]
    assert quantize(x, 4, per_channel=True).dequantize(np.float16).tolist() == [[57344, 0], [1, 0.5], [0, 0]]


def test_a_dtype_that_can_not_hold_the_values_is_refused():
    fixed = quantize(np.array([[1e6, 1], [2, 1]], np.float32), 8, per_channel=True)
    with pytest.raises(TensorError, match=r"values of up to 999424 are beyond float16"):
        fixed.dequantize(np.float16)
    assert np.isfinite(quantize(np.array([6e4], np.float32), 8).dequantize(np.float16)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("form", [None, "fixed2", "fixed4", "fixed8", "fixed16"])
def test_errors_of_dumps_are_numbers(tmp_path, dtype, form):
    top = np.finfo(dtype).max
    rng = np.random.default_rng(0)
    weights = (rng.uniform(-1, 1, (16, 64)) * float(top)).astype(dtype)
    weights[0, 0] = top
    np.savez(tmp_path / "x.npz", a=weights, b=weights[:4] / 2, c=np.ones((2, 2), dtype))
    with open_dump(tmp_path / "x.npz") as dump:
        rows = prune_dump(dump, tmp_path / "y.npz", format=form)
    small = (weights.astype(np.float64) / float(top)).ravel()
    after = np.load(tmp_path / "y.npz")["a"].astype(np.float64).ravel() / float(top)
    expected = np.linalg.norm(small - after) / np.linalg.norm(small)
    assert rows[0].relative_error == pytest.approx(expected, rel=1e-12)
    total = prune_totals(rows)["relative_error"]
    assert math.isfinite(rows[0].norm)
    assert min(r.relative_error for r in rows) <= total <= max(r.relative_error for r in rows)
