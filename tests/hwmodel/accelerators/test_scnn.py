"""SCNN by the public simulator's rules: equal to its stepped model; what it multiplies, maps and refuses."""

import numpy as np
import pytest
import stepped_machines as stepped
from grid_cases import cycles
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import integers

import hwmodel as hw
from bitxcore.errors import OptionError


@st.composite
def planes(draw):
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    depthwise = groups == 4
    channels = 1 if depthwise else draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1)]))
    return hw.Conv(
        "plane",
        in_channels=channels * groups,
        out_channels=groups * draw(st.integers(1, 2 if depthwise else 7)),
        in_size=tuple(d * (k - 1) + draw(st.integers(1, 9)) for k, d in zip(kernel, dilation, strict=True)),
        kernel=kernel,
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        padding=draw(st.sampled_from([0, 1, 2, ((0, 1), (1, 0))])),
        dilation=dilation,
        groups=groups,
        batch=draw(st.sampled_from([1, 2])),
    )


@given(
    planes(),
    st.fixed_dictionaries(
        {
            "pe_rows": st.integers(1, 4),
            "pe_columns": st.integers(1, 3),
            "weight_width": st.integers(1, 6),
            "activation_width": st.integers(1, 6),
            "accumulator_entries": st.sampled_from([200, 500, 6144]),
            "banks": st.sampled_from([1, 5, 8, 16, 24, 32]),
            "phase_shift": st.booleans(),
        }
    ),
    st.data(),
)
@settings(max_examples=100)
def test_equals_its_stepped_model(layer, options, data):
    machine = hw.accelerator("scnn", rules="dnnsim", **options, dram=None)
    a = data.draw(integers(layer.input_count, 8, False))
    w = data.draw(integers(layer.parameters, 8, True)).reshape(layer.weight_shape)
    result = hw.simulate(machine, layer, hw.Operands(w, a, 8, 8))
    assert result.cycles == stepped.scnn(machine, layer, a, w)
    assert result.utilisation <= 1


def test_multiplies_only_what_is_not_zero():
    layer = hw.Conv("c", in_channels=4, out_channels=16, in_size=(32, 32), kernel=1)
    a, w = np.ones(layer.input_count, np.int8), np.ones(layer.weight_shape, np.int8)
    machine = {"pe_rows": 4, "pe_columns": 4, "rules": "dnnsim"}
    # 64 activations a PE in blocks of 4, four filters at once: all in different banks or two in one.
    dense = cycles("scnn", layer, hw.Operands(w, a), **machine)
    assert dense >= layer.macs / (16 * 16)
    w[:, 1] = 0
    a[2 * 1024 : 3 * 1024] = 0
    assert cycles("scnn", layer, hw.Operands(w, a), **machine) * 2 == dense
    assert cycles("scnn", layer, hw.Operands(w * 0, a), **machine) == 0


def test_maps_linear_layers():
    rng = np.random.default_rng(4)
    w = (rng.random((40, 300)) < 0.5).astype(np.int8)
    token = (rng.random((1, 300)) < 0.5).astype(np.int8)
    scnn = hw.accelerator("scnn", rules="dnnsim")
    fc = hw.simulate(scnn, hw.Linear("fc", 300, 40), hw.Operands(w, token))
    assert fc.notes == ("40 cycles exchange halos",)
    assert 0 < fc.utilisation < 1
    tokens = hw.Linear("tokens", 300, 40, positions=64)
    many = hw.simulate(scnn, tokens, hw.Operands(w, np.repeat(token, 64, axis=0)))
    plane = hw.Conv("plane", in_channels=300, out_channels=40, in_size=(8, 8), kernel=1)
    same = hw.Operands(w[:, :, None, None], np.repeat(token.reshape(300, 1), 64, axis=1))
    assert many.on_chip_cycles == hw.simulate(scnn, plane, same).on_chip_cycles


def test_refuses_what_it_has_no_plane_for():
    scnn = hw.accelerator("scnn", rules="dnnsim", accumulator_entries=10)
    wide = hw.Conv("wide", in_channels=1, out_channels=1, in_size=(64, 64), kernel=1)
    deep = hw.Conv("deep", in_channels=1, out_channels=1, in_size=(4, 4, 4), kernel=1)
    assert "64 sums, the accumulators hold 10" in hw.simulate(scnn, wide).reason
    assert "three dimensions" in hw.simulate(scnn, deep).reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"banks": 33}, "banks must be at most 32"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("scnn", **options)
