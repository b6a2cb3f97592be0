"""What `prune`, `statistics`, `decompose` and `pack` accept, refuse and say."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import bitxcore as bx
from bitxcore.errors import OptionError, TensorError


def test_a_group_by_hand():
    """Four float32 weights: rows at 2**0, 2**-1 and so on.

    1.5 = 1.1, 0.75 = 0.11, 0.875 = 0.111, 0.375 = 0.011 in binary. Ones per row: 1, 3, 3, 2;
    significance 1, 0.87, 0.43, 0.18.
    """
    x = np.array([1.5, -0.75, 0.875, 0.375], np.float32)
    p = bx.prune(x, rows=2, group=4)
    assert p.values.tolist() == [1.5, -0.5, 0.5, 0.0]
    assert p.row_masks.tolist() == [[0b11 << 30]]
    assert p.exponents.tolist() == [[127]]
    assert p.kept_rows.tolist() == [[2]]
    s = bx.statistics(x, group=4)
    assert s.row_ones[:5].tolist() == [1, 3, 3, 2, 0]
    assert s.essential_bits == 9
    assert s.bit_sparsity == 1 - 9 / (4 * 24)


def test_a_lower_row_with_more_than_four_times_the_ones_is_kept_instead():
    x = np.array([2.0] + [1.0] * 5, np.float32)
    p = bx.prune(x, rows=1, group=8)
    assert p.values.tolist() == [0.0] + [1.0] * 5
    tie = np.array([2.0] + [1.0] * 4, np.float32)
    assert bx.prune(tie, rows=1, group=8).values.tolist() == [2.0, 0, 0, 0, 0]
    assert bx.prune(x, rows=1, group=8, criterion="msb").values.tolist() == [2.0, 0, 0, 0, 0, 0]


def test_a_weight_that_loses_all_bits_keeps_its_sign():
    p = bx.prune(np.array([1.0, -0.25], np.float32), rows=1, group=2)
    assert np.signbit(p.values).tolist() == [False, True]


@pytest.mark.parametrize("options", [
    {"rows": 0}, {"rows": 2.5}, {"rows": True}, {"rows": 3, "group": 0}, {"rows": 3, "group": 4097},
    {"rows": None}, {"rows": None, "criterion": "msb"},
    {"rows": 3, "window": 0}, {"rows": 3, "window": 65}, {"rows": 3, "criterion": "best"},
    {"rows": 3, "rounding": "up"}, {"rows": 3, "grouping": "rows"}, {"rows": 3, "format": "float31"},
    {"rows": 3, "format": "int8"}, {"criterion": "threshold"}, {"criterion": "energy", "budget": 2.0},
    {"rows": 3, "threshold": 0.5}, {"rows": 3, "nonfinite": "drop"}, {"rows": 3, "format": "fixed1"},
    {"rows": 3, "out": np.zeros(3, np.float32)},
], ids=str)  # fmt: skip
def test_bad_options_are_one_line(options):
    # An array that does not fit an option is a tensor's error, all else is the option's.
    kind = TensorError if "out" in options or options.get("format") == "int8" else OptionError
    with pytest.raises(kind) as caught:
        bx.prune(np.ones((4, 16), np.float32), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("x", [
    np.float32(3), np.empty((0, 3), np.float32), np.array([None]), np.ones(3, np.complex64),
    np.ones(3, np.int64), np.ones(3, bool), np.array(["a"]),
], ids=lambda x: f"{x.dtype}-{x.shape}")  # fmt: skip
@pytest.mark.parametrize("call", [
    lambda x: bx.prune(x, rows=2), bx.statistics, lambda x: bx.prune(x, rows=2, format="fixed8"),
], ids=["prune", "statistics", "fixed"])  # fmt: skip
def test_tensors_that_have_no_groups(call, x):
    with pytest.raises(TensorError) as caught:
        call(x)
    assert "\n" not in str(caught.value)


FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


@pytest.mark.parametrize("call", [
    lambda x, w: bx.prune(x, rows=2, window=w), lambda x, w: bx.statistics(x, window=w),
    lambda x, w: bx.prune(x, criterion="energy", budget=0.1, window=w), lambda x, w: bx.decompose(x),
    lambda x, w: bx.essential_bits(x), lambda x, w: bx.quantize(x, 8),
], ids=["prune", "statistics", "energy", "decompose", "essential_bits", "quantize"])  # fmt: skip
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("window", [None, 40])
def test_nonfinite_values_are_named(call, name, bad, window):
    if name == "float8_e4m3fn":
        bad = np.nan  # it has no infinities
    x = np.ones((3, 50), bx.number_format(name).dtype)
    x[2, 17] = bad
    with pytest.raises(TensorError, match=f"{x[2, 17]} at flat index 117") as caught:
        call(x, window)
    assert caught.value.index == 117
    assert np.array_equal(caught.value.value, float(bad), equal_nan=True)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("options", [
    {"rows": 1}, {"rows": 1, "rounding": "nearest"}, {"criterion": "threshold", "threshold": 1.0},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("window", [None, 40])
def test_nonfinite_groups_can_be_kept(name, options, window):
    dtype = bx.number_format(name).dtype
    x = np.full((2, 40), 1.75, dtype)
    x[1, 20] = np.nan
    p = bx.prune(x, nonfinite="keep", window=window, **options)
    assert p.nonfinite_groups == 1
    assert p.values[1, 16:24].tobytes() == x[1, 16:24].tobytes()
    clean = bx.prune(np.full((2, 40), 1.75, dtype), window=window, **options).values
    assert p.values[0].tobytes() == clean[0].tobytes()
    assert p.values[1, 24:].tobytes() == clean[1, 24:].tobytes()
    s = bx.statistics(x, nonfinite="keep", window=window)
    assert s.nonfinite_groups == 1
    assert s.nonempty_rows_histogram.sum() == 9
    with pytest.raises(TensorError, match="no packed form"):
        bx.pack(p)


@pytest.mark.parametrize("options", [{"rows": 1}, {"criterion": "energy", "budget": 0.9}], ids=str)
@pytest.mark.parametrize(("name", "value"), [("int8", -128), ("int16", -32768), ("int4", 8)])
@pytest.mark.parametrize("window", [1, 7, 32, 33, 64])
def test_masks_of_untouched_groups_are_full(name, value, window, options):
    x = np.full((2, 40), 3, bx.number_format(name).dtype)
    x[1, 20] = value
    p = bx.prune(x, format=name, window=window, nonfinite="keep", **options)
    assert p.nonfinite_groups == 1
    assert np.array_equal(p.values[1, 16:24], x[1, 16:24])
    assert p.row_masks[1, 2] == (1 << window) - 1
    assert p.kept_rows[1, 2] == window
    assert (p.kept_rows.reshape(-1)[:7] <= 1).all()


@pytest.mark.parametrize(("name", "value"), [
    ("int8", -128), ("int16", -32768), ("int4", 8), ("int5-twos", 16), ("int5-twos", -17), ("int12", -2048),
])  # fmt: skip
def test_codes_outside_the_format_are_named(name, value):
    fmt = bx.number_format(name)
    x = np.ones((3, 50), fmt.dtype)
    x[1, 3] = value
    for call in (
        lambda: bx.prune(x, rows=1, format=name),
        lambda: bx.statistics(x, format=name),
        lambda: bx.decompose(x, name),
        lambda: bx.essential_bits(x, name),
    ):
        with pytest.raises(TensorError, match=f"value {value} at flat index 53") as caught:
            call()
        assert (caught.value.index, caught.value.value) == (53, value)
    p = bx.prune(x, rows=1, format=name, nonfinite="keep")
    assert (p.nonfinite_groups, p.values[1, 3]) == (1, value)


def test_the_most_negative_code_is_told_where_it_fits():
    with pytest.raises(TensorError, match="format 'int8-twos' has it"):
        bx.prune(np.array([-128], np.int8), rows=1)
    assert bx.prune(np.array([-128], np.int8), rows=1, format="int8-twos").values.tolist() == [-128]


def test_other_byte_orders_and_strides():
    x = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    want = bx.prune(x, rows=3).values
    swapped = bx.prune(x.astype(">f4"), rows=3).values
    assert swapped.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(swapped, want)
    np.testing.assert_array_equal(
        bx.prune(x[:, ::2], rows=3).values, bx.prune(x[:, ::2].copy(), rows=3).values
    )
    assert bx.decompose(x.astype(">f4")).significand.tolist() == bx.decompose(x).significand.tolist()


@pytest.mark.parametrize("options", [
    {}, {"window": 40}, {"grouping": "channel"}, {"format": "fixed8"}, {"group": 100}, {"statistics": True},
], ids=str)  # fmt: skip
def test_out_of_another_byte_order(options):
    x = np.random.default_rng(0).standard_normal((6, 40)).astype(np.float32)
    want, swapped = bx.prune(x, rows=3, **options).values, x.astype(">f4")
    out = np.empty_like(x)
    for given in (out, {"values": out}, swapped.view(np.float32)):
        p = bx.prune(swapped, rows=3, out=given, **options)
        assert p.values is (given["values"] if isinstance(given, dict) else given)
        assert p.values.tobytes() == want.tobytes()
    swapped = x.astype(">f4")
    assert bx.prune_many([swapped], rows=3, out=[out], **options)[0].values is out
    for source in (x, swapped):
        words = r"out must be \(6, 40\) float32 in native byte order, got \(6, 40\) >f4"
        with pytest.raises(TensorError, match=words):
            bx.prune(source, rows=3, out=swapped, **options)
    np.testing.assert_array_equal(swapped, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("group", [None, 8, 5])
def test_gathered_groups_keep_to_their_chunk(monkeypatch, dtype, group):
    """Whole rows are copied over the ends of groups, but not of what another thread works on."""
    monkeypatch.setenv("BITX_THREADS", "4")
    x = np.clip(np.random.default_rng(0).standard_normal((300, 257, 3, 3)) * 30, -99, 99).astype(dtype)
    cut = {"rows": 3, "group": group, "grouping": "kernel"}
    # The same groups, filled up with zeros, lie one behind the other.
    size = group or 9
    starts = range(0, 9, size)
    filled = np.zeros((x[:, :, 0, 0].size * len(starts), 16 if size > 8 else 8), dtype)
    kernels = x.reshape(-1, 9)
    for i, start in enumerate(starts):
        part = kernels[:, start : start + size]
        filled[i :: len(starts), : part.shape[1]] = part
    alike = bx.prune(filled, rows=3, group=filled.shape[1])
    p = bx.prune(x, **cut)
    np.testing.assert_array_equal(p.row_masks.reshape(-1), alike.row_masks.reshape(-1))
    for i, start in enumerate(starts):
        want = alike.values[i :: len(starts), : min(size, 9 - start)]
        got = p.values.reshape(-1, 9)[:, start : start + size]
        assert got.tobytes() == want.tobytes()
    in_place = x.copy()
    assert bx.prune(in_place, out=in_place, **cut).values.tobytes() == p.values.tobytes()


def test_unaligned_and_read_only_input():
    raw = np.zeros(4 * 64 + 1, np.uint8)
    x = raw[1:].view(np.float32)
    x[:] = np.random.default_rng(0).standard_normal(64)
    want = bx.prune(x.copy(), rows=3).values
    x.flags.writeable = False
    np.testing.assert_array_equal(bx.prune(x, rows=3).values, want)


def test_out_must_not_overlap_otherwise():
    x = np.ones(100, np.float32)
    with pytest.raises(TensorError, match="overlaps"):
        bx.prune(x[:-1], rows=1, out=x[1:])


def test_threshold_and_energy_keep_what_they_say():
    x = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    free = {"rows": None, "group": 16}
    every_row = bx.prune(x, rows=32, group=16).values
    assert (bx.prune(x, criterion="threshold", threshold=0.0, **free).values == every_row).all()
    # At 1 only rows as significant as the greatest stay: one more where four times the ones tie.
    best = bx.prune(x, criterion="threshold", threshold=1.0, **free)
    assert set(np.unique(best.kept_rows)) == {1, 2}
    assert ((best.row_masks & bx.prune(x, rows=1, group=16).row_masks) > 0).all()
    assert (bx.prune(x, criterion="energy", budget=0.0, **free).values == every_row).all()
    assert (bx.prune(x, criterion="energy", budget=1.0).kept_rows == 0).all()
    capped = bx.prune(x, criterion="energy", budget=0.001, rows=3)
    assert capped.kept_rows.max() == 3
    # The default is a cap as well.
    assert bx.prune(x, criterion="threshold", threshold=0.0).kept_rows.max() == 6


@pytest.mark.parametrize("options", [
    {}, {"window": 3}, {"group": 9}, {"grouping": "channel"}, {"rounding": "nearest"}, {"format": "fixed8"},
    {"criterion": "energy", "budget": 0.1}, {"window": 40},
], ids=str)  # fmt: skip
def test_statistics_on_the_way(options):
    x = np.random.default_rng(1).standard_normal((7, 30, 3)).astype(np.float32)
    x[2] *= 1e-30
    x[3, :20] = 0
    cut = {k: v for k, v in options.items() if k in ("window", "group", "grouping", "format")}
    want = bx.statistics(x, **cut)
    got = bx.prune(x, rows=2, statistics=True, out=x, **options).statistics
    for name, value in vars(want).items():
        np.testing.assert_array_equal(getattr(got, name), value, err_msg=name)
    assert bx.prune(x, rows=2, **options).statistics is None


def test_fixed_point():
    x = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    p = bx.prune(x, rows=3, format="fixed16")
    assert (p.format.name, p.window) == ("int16", 15)
    fixed = bx.quantize(x, 16)
    want = bx.prune(fixed.codes, rows=3).values
    np.testing.assert_array_equal(p.codes, want)
    np.testing.assert_array_equal(p.values, want * np.float32(p.scale))
    np.testing.assert_array_equal(bx.unpack(bx.pack(p)), p.values)
    assert bx.statistics(x, format="fixed16").row_ones.shape == (15,)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("scale", ["power-of-two", "free"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantize(bits, scale, per_channel):
    rng = np.random.default_rng(bits)
    x = (rng.standard_normal((6, 50)) * 10.0 ** rng.integers(-3, 3, (6, 1))).astype(np.float32)
    x[3] = 0
    q = bx.quantize(x, bits, scale=scale, per_channel=per_channel)
    top = 2 ** (bits - 1) - 1
    assert np.abs(q.codes).max() <= top
    np.testing.assert_array_equal(q.codes, np.rint(x.astype(np.float64) / q.scale))
    if scale == "power-of-two":
        assert (np.frexp(q.scale)[0] == 0.5).all()
        # No smaller power of two would do.
        largest = np.abs(x).max(axis=1, keepdims=True) if per_channel else np.abs(x).max()
        half = np.where(largest > 0, q.scale / 2, 0)
        assert ((largest > top * half) | (largest == 0)).all()
    assert np.abs(q.dequantize(np.float64) - x).max() <= (q.scale.max() / 2) * (1 + 1e-9)


def test_quantize_at_a_scale_that_does_not_depend_on_the_values():
    x = np.array([0.25, -0.75, 1.0, -3.0, 2.0**-9], np.float32)
    unit = bx.quantize(x, 8, scale="unit")
    assert (float(unit.scale), unit.codes.tolist()) == (2.0**-7, [32, -96, 127, -127, 0])
    given = bx.quantize(x, 8, scale=0.25)
    assert (float(given.scale), given.codes.tolist()) == (0.25, [1, -3, 4, -12, 0])
    # A scale that was found for the whole serves its parts.
    whole = bx.quantize(x, 8)
    parts = [bx.quantize(part, 8, scale=float(whole.scale)).codes for part in (x[:2], x[2:])]
    assert np.concatenate(parts).tolist() == whole.codes.tolist()
    for bad in (0.0, -1, float("inf"), float("nan")):
        with pytest.raises(OptionError, match="a scale that is given must be a positive number"):
            bx.quantize(x, 8, scale=bad)
    with pytest.raises(OptionError, match="must be of all channels alike"):
        bx.quantize(np.ones((2, 3), np.float32), 8, scale="unit", per_channel=True)


def test_quantize_rounds_ties_to_even():
    x = np.array([7.0, 0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert bx.quantize(x, 4).codes.tolist() == [7, 0, 2, 2, 0, -2]


def test_packed_sizes():
    x = np.random.default_rng(1).standard_normal((8, 64)).astype(np.float32)
    k = bx.pack(bx.prune(x, rows=5, group=16))
    assert k.bits == 32 * (8 + 32 + 16 + 5 * 16)
    assert k.nbytes == 32 * (2 + 4 + 2 + 5 * 2)
    with pytest.raises(TensorError, match="rows where the masks"):
        bx.unpack(type(k)(**{**vars(k), "rows": k.rows[:-1]}))


@pytest.mark.slow
@pytest.mark.models
def test_a_thread_that_flushes_subnormals_is_refused():
    """Only where its results could be others: subnormal weights, but none that are far from them."""
    code = (
        "import numpy as np, torch, bitxcore as bx\n"
        "x = np.random.default_rng(1).standard_normal(4096).astype(np.float32)\n"
        "rules = [{'rows': 1}, {'criterion': 'threshold', 'threshold': 0.1}]\n"
        "expected = [bx.prune(x, **rule).values for rule in rules]\n"
        "tiny = np.full(16, 1e-40, np.float32)\n"
        "torch.set_flush_denormal(True)\n"
        "for rule, values in zip(rules, expected):\n"
        "    print((bx.prune(x, **rule).values == values).all())\n"
        "    try: bx.prune(tiny, **rule)\n"
        "    except bx.BitxError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("True\nthis thread flushes subnormal numbers") == 2


def test_bfloat16_dtype_is_ml_dtypes():
    p = bx.prune(np.ones(16, ml_dtypes.bfloat16), rows=1)
    assert p.values.dtype == ml_dtypes.bfloat16
    assert p.window == 16


def test_threads_setting_is_checked(monkeypatch):
    monkeypatch.setenv("BITX_THREADS", "none")
    with pytest.raises(OptionError, match="BITX_THREADS must be a positive integer, got 'none'"):
        bx.prune(np.ones(1 << 19, np.float32), rows=1)


def test_works_without_a_place_for_the_cache():
    code = "import numpy as np, bitxcore as bx; print(bx.prune(np.ones(8, np.float32), rows=1).kept_rows)"
    environment = {"BITX_CACHE_DIR": "/dev/null/bitx", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "[[1]]"
