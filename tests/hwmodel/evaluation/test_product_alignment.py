"""Rows chosen by products, against the definition step by step on Python integers."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import bitxcore as bx
from bitxcore.errors import BitxError, OptionError, TensorError
from hwmodel.evaluation import Setting, evaluate
from hwmodel.evaluation.runners import StagedRunner
from hwmodel.evaluation.runners.product_alignment import ProductAlignment
from hwmodel.evaluation.tasks.labelled import Labelled

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
make, numpy_helper = onnx.helper, onnx.numpy_helper


# -- the definition ----------------------------------------------------------------------------


def parts(value, p):
    """Sign, p-bit significand and exponent: value = sign * significand * 2**(exponent - p + 1)."""
    fraction, exponent = math.frexp(abs(value))
    return (-1 if value < 0 else 1), int(fraction * 2**p), exponent - 1


def kept_of_group(weights, activations, rows, window, p=24):
    """Weights that a group keeps, aligned by products; a weight that meets a zero takes no part."""
    members = [
        (j, *parts(w, p), math.frexp(a)[1] - 1)
        for j, (w, a) in enumerate(zip(weights, activations, strict=True))
        if w and a
    ]
    kept = [Fraction(0)] * len(weights)
    if not members:
        return kept
    top = max(ew + ea for *_, ew, ea in members)
    # Row 0 weighs 2**top; a significand's highest bit is p - 1.
    aligned = [(j, sign, (m << window) >> (p + top - ew - ea), ea) for j, sign, m, ew, ea in members]
    counts = [sum(m >> (window - 1 - row) & 1 for *_, m, _ in aligned) for row in range(window)]
    ranked = sorted(
        (row for row in range(window) if counts[row]),
        key=lambda row: (-counts[row] * 4 ** (window - 1 - row), row),
    )
    mask = sum(1 << (window - 1 - row) for row in ranked[:rows])
    for j, sign, m, ea in aligned:
        kept[j] = sign * (m & mask) * Fraction(2) ** (top - window + 1 - ea)
    return kept


def output(weights, activations, rows, group, window, p=24):
    """Give one output and the kept weights: groups of consecutive weights of the reduction."""
    kept = []
    for start in range(0, len(weights), group):
        part = slice(start, start + group)
        kept += kept_of_group(weights[part], activations[part], rows, window, p)
    return sum((k * Fraction(a) for k, a in zip(kept, activations, strict=True)), Fraction(0)), kept


def drawn(rng, *shape, zeros=0.0, spread=6):
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return np.where(rng.random(shape) < zeros, 0, x).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 40])
@pytest.mark.parametrize("window", [None, 12, 64])
def test_kept_weights_are_those_of_the_definition(rows, window):
    rng = np.random.default_rng(rows)
    weights, activations = drawn(rng, 3, 19, zeros=0.1), drawn(rng, 7, 19, zeros=0.4)
    found = ProductAlignment(rows, 8, window=window).kept(weights, activations)
    for position, filter_ in np.ndindex(7, 3):
        w, a = weights[filter_].tolist(), activations[position].tolist()
        _, kept = output(w, a, rows, 8, window or 32)
        assert [Fraction(float(x)) for x in found[position, filter_]] == kept


def test_ranges_that_float32_has_no_room_for():
    """Products beyond float32: exponents are added, whatever comes of the products."""
    weights = np.array([[2.0**-140, 1.5 * 2.0**-126, 2.0**100, -(2.0**127)]], np.float32)
    activations = np.array(
        [[2.0**120, -(2.0**126), 2.0**-110, 2.0**-149], [0, 0, 0, 0], [2.0**127, 0, 2.0**-120, 1]], np.float32
    )
    found = ProductAlignment(2, 4, window=64).kept(weights, activations)
    for position in range(3):
        _, kept = output(weights[0].tolist(), activations[position].tolist(), 2, 4, 64)
        assert [Fraction(float(x)) for x in found[position, 0]] == kept
    wide = weights.astype(np.float64) * 2.0**-900
    with pytest.raises(TensorError, match="leave the range"):
        ProductAlignment(2, 4).kept(wide, np.array([[1e300, 1e-300, 1, 1]]))


def test_other_formats_have_their_own_window():
    rng = np.random.default_rng(5)
    weights = drawn(rng, 2, 8).astype(bx.number_format("bfloat16").dtype).astype(np.float32)
    activations = drawn(rng, 4, 8)
    found = ProductAlignment(3, 8, format="bfloat16").kept(weights, activations)
    for position, filter_ in np.ndindex(4, 2):
        _, kept = output(weights[filter_].tolist(), activations[position].tolist(), 3, 8, 16, p=8)
        assert [Fraction(float(x)) for x in found[position, filter_]] == kept


def test_equal_activations_prune_as_weights_alone():
    weights = drawn(np.random.default_rng(1), 5, 24)
    found = ProductAlignment(4).kept(weights, np.full((1, 24), 0.375, np.float32))[0]
    np.testing.assert_array_equal(found, bx.prune(weights, rows=4).values)


# -- layers ------------------------------------------------------------------------------------


def small(rng, *shape, zeros=0.0):
    """Values of five bits: all sums are exact in float32."""
    x = rng.integers(-31, 32, shape) * 2.0 ** rng.integers(-2, 3, shape)
    return np.where(rng.random(shape) < zeros, 0, x).astype(np.float32)


def of_one_layer(path, op, w, ndim, bias=None, weight_first=False, **attributes):
    tensors = {"w": w} if bias is None else {"w": w, "b": bias}
    inputs = ["w", "x"] if weight_first else ["x", "w"]
    node = make.make_node(op, [*inputs, *(["b"] if bias is not None else [])], ["y"], **attributes)
    graph = make.make_graph(
        [node],
        "g",
        [make.make_tensor_value_info("x", 1, [None] * ndim)],
        [make.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_convolution_is_that_of_the_definition(tmp_path):
    rng = np.random.default_rng(2)
    w, bias = small(rng, 4, 3, 2, 2), small(rng, 4)
    x = small(rng, 2, 6, 5, 4, zeros=0.3)
    path = of_one_layer(
        tmp_path / "m.onnx", "Conv", w, 4, bias, group=2, pads=[1, 0, 0, 1], strides=[2, 1], dilations=[1, 2]
    )
    compute = ProductAlignment(2, 8)
    (y,) = StagedRunner(path, compute=compute)({"x": x})
    padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 1)))
    assert y.shape == (2, 4, 3, 3)
    ones = live = 0
    for n, f, i, j in np.ndindex(*y.shape):
        half = slice(0, 3) if f < 2 else slice(3, 6)
        seen = padded[n, half, 2 * i : 2 * i + 2, j : j + 3 : 2]
        total, kept = output(w[f].ravel().tolist(), seen.ravel().tolist(), 2, 8, 32)
        assert Fraction(float(y[n, f, i, j])) == total + Fraction(float(bias[f]))
        ones += int(bx.essential_bits(np.array([float(k) for k in kept], np.float32)).sum())
        live += int(np.count_nonzero(seen))
    counts = compute.counts
    assert (counts.ones, counts.live, counts.products) == (ones, live, y.size * 12)
    assert counts.groups == y.size * 2
    plain = bx.essential_bits(bx.prune(w, rows=2).values).sum()
    assert counts.plain_ones == plain * 2 * 9
    largest = np.maximum.reduceat(
        bx.essential_bits(bx.prune(w, rows=2).values).reshape(4, 12), [0, 8], axis=1
    )
    assert counts.plain_group_cycles == int(largest.clip(1).sum()) * 2 * 9
    assert counts.groups <= counts.group_cycles <= 2 * counts.groups


@pytest.mark.parametrize("grouping", ["channel", "kernel"])
def test_groups_may_run_along_channels_or_kernels(tmp_path, grouping):
    rng = np.random.default_rng(3)
    w, x = small(rng, 2, 5, 2, 2), small(rng, 1, 5, 2, 2, zeros=0.2)
    path = of_one_layer(tmp_path / "m.onnx", "Conv", w, 4)
    (y,) = StagedRunner(path, compute=ProductAlignment(2, 4, grouping=grouping))({"x": x})
    for f in range(2):
        axis = 0 if grouping == "channel" else -1
        lanes = [np.moveaxis(array.reshape(5, 4), axis, -1) for array in (w[f], x[0])]
        totals = [output(a.tolist(), b.tolist(), 2, 4, 32)[0] for a, b in zip(*lanes, strict=True)]
        assert Fraction(float(y[0, f, 0, 0])) == sum(totals)


@pytest.mark.parametrize(
    ("op", "attributes", "weight_first"),
    [
        ("Gemm", {"transB": 1}, False),
        ("Gemm", {"transA": 1, "alpha": 2.0, "beta": 0.5}, False),
        ("Gemm", {"transA": 1, "transB": 1}, True),
        ("Gemm", {}, True),
        ("MatMul", {}, False),
        ("MatMul", {}, True),
    ],
)
def test_products_are_those_of_the_definition(tmp_path, op, attributes, weight_first):
    rng = np.random.default_rng(4)
    w, x = small(rng, 3, 11), small(rng, 2, 11, zeros=0.3)  # filters, positions: as the definition has them
    flips = attributes.get("transA" if weight_first else "transB", 0)
    x_flips = attributes.get("transB" if weight_first else "transA", 0)
    bias = small(rng, 1, 1) if op == "Gemm" else None
    stored = w if bool(flips) != weight_first else w.T
    given = x if bool(x_flips) == weight_first else x.T
    path = of_one_layer(tmp_path / "m.onnx", op, stored, 2, bias, weight_first, **attributes)
    (y,) = StagedRunner(path, compute=ProductAlignment(2, 4))({"x": np.ascontiguousarray(given)})
    y = y.T if weight_first else y
    assert y.shape == (2, 3)
    for p, f in np.ndindex(2, 3):
        total, _ = output(w[f].tolist(), x[p].tolist(), 2, 4, 32)
        if bias is not None:
            total = total * Fraction(attributes.get("alpha", 1)) + Fraction(float(bias[0, 0])) * Fraction(
                attributes.get("beta", 1)
            )
        assert Fraction(float(y[p, f])) == total


def test_layers_that_are_not_computed_say_so(tmp_path):
    rng = np.random.default_rng(6)
    path = of_one_layer(tmp_path / "m.onnx", "ConvTranspose", small(rng, 2, 3, 2, 2), 4)
    with pytest.raises(TensorError, match=r"layer 'y': products are aligned of Conv, Gemm and MatMul only"):
        StagedRunner(path, compute=ProductAlignment(2))({"x": small(rng, 1, 2, 3, 3)})


# -- as a setting ------------------------------------------------------------------------------


def test_evaluation_by_products(model, data, tmp_path):
    own = Labelled(model, data["arrays"])
    settings = [Setting(rows=rows, criterion="products") for rows in (40, 2)]
    settings += [Setting(rows=2), Setting(rows=2, criterion="products", format="bfloat16")]
    found = evaluate(own, settings, resamples=20, store=tmp_path / "e.h5")
    before, same, by_products, plain, narrow = found.points
    assert same.scores["cosine"].value == pytest.approx(1, abs=1e-6)
    assert by_products.scores["cosine"].value > plain.scores["cosine"].value
    assert same.kept_ones_mean > by_products.kept_ones_mean > 0
    assert by_products.plain_kept_ones_mean > 0
    assert before.kept_ones_mean is plain.kept_ones_mean is None
    assert by_products.relative_error is narrow.relative_error is None
    assert "once for 16 positions" in by_products.machine.reason
    assert narrow.scores["cosine"].value < 1


def test_settings_by_products_that_can_not_be(model, data):
    own = Labelled(model, data["arrays"])
    setting = Setting(rows=2, criterion="products")
    for changes, match in (({"format": "fixed8"}, "float format"), ({"rounding": "nearest"}, "truncate")):
        with pytest.raises(OptionError, match=match):
            evaluate(own, [replace(setting, **changes)], resamples=20)
    with pytest.raises(BitxError):
        evaluate(own, [replace(setting, rows=0)], resamples=20)
