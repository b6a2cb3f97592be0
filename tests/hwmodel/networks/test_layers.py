"""Layers: shapes against PyTorch's, counts by hand, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import BitxError, TensorError

CONVS = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
TRANSPOSED = {1: torch.nn.ConvTranspose1d, 2: torch.nn.ConvTranspose2d, 3: torch.nn.ConvTranspose3d}


@st.composite
def spatial(draw):
    ndim = draw(st.integers(1, 3))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * ndim))

    groups = draw(st.integers(1, 3))
    return {
        "in_channels": groups * draw(st.integers(1, 3)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "in_size": each(5, 9),
        "kernel": each(1, 3),
        "stride": each(1, 3),
        "padding": each(0, 2),
        "dilation": each(1, 2),
        "groups": groups,
        "batch": draw(st.integers(1, 2)),
    }


def torch_module(classes, p, **extra):
    return classes[len(p["in_size"])](
        p["in_channels"],
        p["out_channels"],
        p["kernel"],
        stride=p["stride"],
        padding=p["padding"],
        dilation=p["dilation"],
        groups=p["groups"],
        bias=False,
        device="meta",
        **extra,
    )


def output_of(module, p):
    return module(torch.empty(p["batch"], p["in_channels"], *p["in_size"], device="meta"))


@given(spatial())
def test_conv_has_the_shapes_of_torch(p):
    module = torch_module(CONVS, p)
    layer = hw.Conv("c", **p)
    y = output_of(module, p)
    assert (layer.filters, *layer.out_size) == tuple(y.shape[1:])
    assert layer.weight_shape == tuple(module.weight.shape)
    assert layer.parameters == module.weight.numel()
    assert layer.output_count == y.numel()
    assert layer.input_count == p["batch"] * p["in_channels"] * torch.Size(p["in_size"]).numel()
    assert layer.macs == y.numel() * layer.reduction


@given(spatial(), st.data())
def test_transposed_conv_has_the_shapes_of_torch(p, data):
    limits = [max(s, d) - 1 for s, d in zip(p["stride"], p["dilation"], strict=True)]
    extra = data.draw(st.tuples(*[st.integers(0, limit) for limit in limits]))
    module = torch_module(TRANSPOSED, p, output_padding=extra)
    size = [
        (i - 1) * s - 2 * q + d * (k - 1) + e + 1
        for i, s, q, d, k, e in zip(
            p["in_size"], p["stride"], p["padding"], p["dilation"], p["kernel"], extra, strict=True
        )
    ]
    if min(size) < 1:
        with pytest.raises(TensorError, match="output size"):
            hw.ConvTranspose("t", **p, output_padding=extra)
        return
    layer = hw.ConvTranspose("t", **p, output_padding=extra)
    y = output_of(module, p)
    assert (layer.filters, *layer.out_size) == tuple(y.shape[1:])
    assert layer.output_count == y.numel()
    shape = (p["out_channels"], p["in_channels"] // p["groups"], *p["kernel"])
    assert layer.weight_shape == shape
    assert layer.parameters == module.weight.numel()
    # Every input value meets every weight of its channel once.
    assert layer.macs == layer.input_count * p["out_channels"] // p["groups"] * layer.kernel_positions


def test_counts_of_known_layers():
    conv1 = hw.Conv(
        "conv1", in_channels=3, out_channels=64, in_size=(224, 224), kernel=7, stride=2, padding=3
    )
    assert conv1.out_size == (112, 112)
    assert conv1.macs == 118_013_952  # ResNet's first layer
    depthwise = hw.Conv(
        "d", in_channels=32, out_channels=32, in_size=(112, 112), kernel=3, padding=1, groups=32
    )
    assert (depthwise.reduction, depthwise.conv_groups, depthwise.macs) == (9, 32, 9 * 32 * 112 * 112)
    fc = hw.Linear("fc", in_features=512, out_features=1000, positions=7)
    assert (fc.weight_shape, fc.macs, fc.parameters) == ((1000, 512), 3_584_000, 512_000)
    scores = hw.MatMul("qk", rows=128, inner=32, columns=128, batch=12)
    assert (scores.macs, scores.parameters, scores.has_weights) == (12 * 128 * 128 * 32, 0, False)
    assert (scores.input_count, scores.output_count) == (12 * 32 * 256, 12 * 128 * 128)


def test_asymmetric_padding_and_integers_for_every_dimension():
    layer = hw.Conv(
        "c", in_channels=1, out_channels=1, in_size=(224, 225), kernel=3, stride=2, padding=((0, 1), (1, 1))
    )
    assert layer.out_size == (112, 113)
    assert layer.kernel == (3, 3)
    assert layer.padding == ((0, 1), (1, 1))
    one = hw.Conv("c", in_channels=1, out_channels=1, in_size=10, kernel=3)
    assert one.out_size == (8,)
    assert one == hw.Conv("c", in_channels=1, out_channels=1, in_size=(10,), kernel=(3,), padding=(0,))


def test_position_tiles_respect_dependent_steps():
    assert hw.Linear("l", 4, 4, positions=33).position_tiles(16) == 3
    assert hw.Linear("r", 4, 4, positions=32, steps=32).position_tiles(16) == 32
    assert hw.Linear("r", 4, 4, positions=64, steps=2).position_tiles(16) == 4


CONV = {"in_channels": 4, "out_channels": 4, "in_size": (8, 8), "kernel": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "in_channels 4 can't be split into 3 groups"),
        ({"kernel": (3,)}, "kernel must have 2 entries"),
        ({"kernel": 9}, r"output size \(0, 0\) is empty"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": ((1, 2, 3), 0)}, r"is \(before, after\)"),
        ({"in_size": (8, 8, 8, 8)}, "1 to 3 dimensions, got 4"),
        ({"in_channels": 4.0}, "in_channels must be an integer, got 4.0"),
        ({"batch": True}, "batch must be an integer, got True"),
    ],
)
def test_conv_refuses(change, message):
    with pytest.raises(TensorError, match=message):
        hw.Conv("c", **(CONV | change))


def test_other_layers_refuse():
    with pytest.raises(TensorError, match="in_features must be at least 1, got 0"):
        hw.Linear("l", in_features=0, out_features=1)
    with pytest.raises(TensorError, match="positions 5 can't be split into 2 steps"):
        hw.Linear("l", 1, 1, positions=5, steps=2)
    with pytest.raises(TensorError, match="inner must be at least 1"):
        hw.MatMul("m", rows=1, inner=-1, columns=1)
    with pytest.raises(TensorError, match="non-empty string"):
        hw.Linear("", 1, 1)


LARGE = 10**9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hw.Linear("l", LARGE, LARGE), "layer 'l': the layer has 1e+18 weights, at most 6.87e+10"),
        (lambda: hw.Conv("l", LARGE, LARGE, in_size=8, kernel=3), "the layer has 3e+18 weights"),
        (lambda: hw.ConvTranspose("l", LARGE, LARGE, in_size=8, kernel=3), "the layer has 3e+18 weights"),
        (lambda: hw.Conv("l", 1, 1, in_size=(LARGE, LARGE), kernel=3), "positions, at most 4.29e+09"),
        (lambda: hw.Conv("l", 1, 1, in_size=8, kernel=3, batch=10**12), "the layer has 6e+12 positions"),
        (
            lambda: hw.Conv("l", 1, 1, in_size=8, kernel=1, padding=10**12 - 9),
            "the layer has 2e+12 positions",
        ),
        (lambda: hw.Linear("l", 10**7, 10, positions=10**9), "the layer has 1e+16 inputs"),
        (lambda: hw.Linear("l", 10, 10**7, positions=10**9), "the layer has 1e+16 outputs"),
        (lambda: hw.MatMul("l", 10**5, 10**6, 10**4, 10**6), "the layer has 1e+16 weights"),
        (lambda: hw.MatMul("l", 10**9, 10**5, 10**5, 1), "multiply-accumulates, at most 2.31e+18"),
        (lambda: hw.Linear("l", 2**70, 1), f"in_features must be at most 1099511627775, got {2**70}"),
        (
            lambda: hw.Linear("l", 10**5000, 1),
            "in_features must be at most 1099511627775, got one of type int",
        ),
        (lambda: hw.Linear("l", -(10**5000), 1), "in_features must be at least 1, got one of type int"),
        (lambda: hw.Conv("l", 1, 1, in_size=8, kernel=3, padding=2**70), "padding must be at most"),
        (lambda: hw.Conv("l", 1, 1, in_size=2**70, kernel=3), "in_size must be at most"),
    ],
)
def test_layers_beyond_all_networks(make, message):
    with pytest.raises(TensorError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_large_layers_are_layers():
    assert hw.Linear("l", 12288, 12288, positions=10**9).macs == 12288**2 * 10**9
    assert hw.Linear("l", 2**18, 2**18).parameters == 2**36


@pytest.mark.parametrize("value", [
    "8", 8.0, None, True, [8.5], np.array([8, 8, 8]), np.array(8.0), object(), {}, float("nan"), b"88", "88",
    torch.ones(2),
])  # fmt: skip
def test_sizes_of_no_sensible_type(value):
    for field in ("in_channels", "in_size", "kernel", "stride", "padding", "dilation", "batch"):
        given = {"in_channels": 8, "out_channels": 8, "in_size": (8, 8), "kernel": 3, "groups": 1} | {
            field: value
        }
        if field == "in_size" and isinstance(value, np.ndarray) and value.shape:
            continue  # of three dimensions
        with pytest.raises(TensorError) as caught:
            hw.Conv("l", **given)
        assert "\n" not in str(caught.value)


def test_sizes_of_numpy_are_sizes():
    given = {
        "in_channels": np.int8(4),
        "out_channels": np.uint64(4),
        "in_size": np.array([8, 9]),
        "kernel": np.array(3),
    }
    layer = hw.Conv("l", **given, padding=np.array([[0, 1], [1, 1]]))
    assert layer == hw.Conv("l", 4, 4, in_size=(8, 9), kernel=3, padding=((0, 1), (1, 1)))
    assert {
        type(size) for size in (layer.in_channels, layer.out_channels, *layer.in_size, *layer.kernel)
    } == {int}


@pytest.mark.parametrize("size", [10**8, 10**9, 2**40, 2**70])
def test_sizes_of_a_models_inputs_are_bounded_alike(size):
    model = Path(__file__).parents[3] / "data" / "samples" / "digits_resnet.onnx"
    with pytest.raises(BitxError) as caught:
        hw.load_network(model, sizes={"N": size})
    assert "\n" not in str(caught.value)
