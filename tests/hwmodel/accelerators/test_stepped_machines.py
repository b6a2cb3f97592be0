"""Every machine equals its naive simulation on small layers of all kinds."""

import numpy as np
import pytest
import stepped_machines as stepped
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw

GRIDS = st.fixed_dictionaries(
    {
        "lanes": st.sampled_from([2, 4, 7, 16]),
        "columns": st.sampled_from([2, 4, 6]),
        "rows": st.sampled_from([2, 4]),
        "tiles": st.sampled_from([1, 2, 3]),
    }
)
OPTIONS = {
    "dadiannao": {},
    "stripes": {},
    "shapeshifter": {
        "group_columns": st.sampled_from([1, 2]),
        "column_registers": st.sampled_from([0, 0, 1, 3]),
        "minor_bit": st.booleans(),
        "fc_turns": st.booleans(),
    },
    "loom": {
        "serial_bits": st.sampled_from([1, 2, 4]),
        "dynamic_weights": st.booleans(),
        "group_columns": st.sampled_from([1, 2]),
        "minor_bit": st.booleans(),
    },
    "pragmatic": {
        "first_stage_bits": st.integers(0, 6),
        "booth": st.booleans(),
        "column_registers": st.sampled_from([0, 1, 2]),
    },
    "laconic": {"booth": st.booleans()},
    "bit_tactical": {
        "back_end": st.sampled_from(["p", "e", None]),
        "order": st.sampled_from(["most", "fewest"]),
        "first_stage_bits": st.integers(0, 5),
        "booth": st.booleans(),
        "group_columns": st.sampled_from([1, 2]),
        "minor_bit": st.booleans(),
        "column_registers": st.sampled_from([None, 0, 2]),
    },
}


@st.composite
def layers(draw):
    """Convolutions of one to three dimensions, grouped, depthwise and dilated, and linear layers."""
    kind = draw(
        st.sampled_from(["conv", "conv", "first", "depthwise", "grouped", "linear", "tokens", "recurrent"])
    )
    if kind in ("linear", "tokens", "recurrent"):
        positions = {"linear": 1, "tokens": draw(st.integers(2, 7)), "recurrent": 4}[kind]
        steps = draw(st.sampled_from([2, 4])) if kind == "recurrent" else 1
        return hw.Linear(
            kind, draw(st.integers(1, 40)), draw(st.integers(1, 14)), positions=positions, steps=steps
        )
    dims = draw(st.sampled_from([1, 2, 2, 2, 3]))
    groups = {
        "conv": 1,
        "first": 1,
        "depthwise": draw(st.integers(2, 9)),
        "grouped": draw(st.integers(2, 3)),
    }[kind]
    channels = {"first": 3, "depthwise": 1}.get(kind) or draw(st.integers(1, 9))
    filters = draw(st.integers(1, 9 // groups + 1)) * groups

    def sizes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    kernel, dilation = sizes(1, 3), sizes(1, 2) if draw(st.booleans()) else (1,) * dims
    stride = sizes(1, 3)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(dims))
    in_size = tuple(d * (k - 1) + draw(st.integers(1, 5)) for k, d in zip(kernel, dilation, strict=True))
    return hw.Conv(
        kind,
        in_channels=channels * groups,
        out_channels=filters,
        in_size=in_size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        batch=draw(st.sampled_from([1, 1, 2])),
    )


@st.composite
def integers(draw, count, bits, signed):
    """Random integers of a precision, many of them 0 or small."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    values = rng.integers(low, high, count) >> rng.integers(0, bits, count)
    values[rng.random(count) < draw(st.sampled_from([0, 0.5, 0.9, 1]))] = 0
    return values


@st.composite
def cases(draw, name, **fixed):
    layer = draw(layers())
    grid = draw(GRIDS)
    options = {k: draw(v) for k, v in OPTIONS[name].items()} | fixed
    if name == "bit_tactical":
        pattern = draw(st.sampled_from(["T", "L"]))
        options |= {"pattern": pattern}
        if pattern == "L":
            options |= {"lookahead": draw(st.integers(1, 3)), "lookaside": draw(st.integers(0, 6))}
    word_bits = draw(st.sampled_from([16, 16, 8]))
    a_bits, w_bits = draw(st.integers(2, 16)), draw(st.integers(2, 16))
    a = draw(integers(layer.input_count, a_bits, draw(st.booleans())))
    w = draw(integers(layer.parameters, w_bits, True)).reshape(layer.weight_shape)
    return (
        hw.accelerator(name, **grid, **options, word_bits=word_bits, dram=None),
        layer,
        a,
        w,
        a_bits,
        w_bits,
    )


@pytest.mark.parametrize("name", OPTIONS)
@given(st.data())
@settings(max_examples=60)
def test_machines_equal_their_stepped_models(name, data):
    machine, layer, a, w, a_bits, w_bits = data.draw(cases(name))
    expected = getattr(stepped, name)(machine, layer, a, w, a_bits, w_bits)
    result = hw.simulate(machine, layer, hw.Operands(w, a, w_bits, a_bits))
    assert result.cycles == expected
    assert result.utilisation <= 1


def test_words_of_an_activation_share_a_width_where_fully_connected_columns_take_turns():
    layer, w, a = hw.Linear("fc", 1, 1), np.ones((1, 1), np.int16), np.array([0x4001])
    cycles = {}
    for options in ({}, {"group_columns": 2}, {"group_columns": 2, "fc_turns": False}):
        machine = hw.accelerator("shapeshifter", word_bits=8, minor_bit=True, dram=None, **options)
        cycles[machine.label] = hw.simulate(machine, layer, hw.Operands(w, a, 16, 16)).compute_cycles
    assert list(cycles.values()) == [1, 7, 1]


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
def test_scnn_equals_its_stepped_model(layer, options, data):
    machine = hw.accelerator("scnn", **options, dram=None)
    a = data.draw(integers(layer.input_count, 8, False))
    w = data.draw(integers(layer.parameters, 8, True)).reshape(layer.weight_shape)
    result = hw.simulate(machine, layer, hw.Operands(w, a, 8, 8))
    assert result.cycles == stepped.scnn(machine, layer, a, w)
    assert result.utilisation <= 1
