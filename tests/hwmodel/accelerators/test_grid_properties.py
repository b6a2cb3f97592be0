"""What must hold of the machines that DNNsim has, whatever the operands, and their speed."""

import numpy as np
import pytest
from grid_cases import A_BITS, FC, GRID, LAYER, W_BITS, cycles, full, operands
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import TensorError

MACHINES = [
    ("stripes", {}),
    ("shapeshifter", {}),
    ("shapeshifter", {"column_registers": 2, "minor_bit": True}),
    ("loom", {}),
    ("loom", {"dynamic_weights": True, "serial_bits": 2}),
    ("pragmatic", {}),
    ("pragmatic", {"first_stage_bits": 0, "booth": False, "column_registers": 0}),
    ("laconic", {}),
    ("bit_tactical", {}),
    ("bit_tactical", {"back_end": "p", "pattern": "L"}),
    ("bit_tactical", {"back_end": None}),
]


@pytest.mark.parametrize("layer", [LAYER, FC], ids=["conv", "fc"])
def test_nothing_to_skip_is_the_dense_bound(layer):
    if layer is LAYER:  # padding has bits to skip
        layer = hw.Conv("c", in_channels=24, out_channels=20, in_size=(7, 5), kernel=(3, 2))
    dense = full(layer)
    steps = cycles("dadiannao", layer, dense)
    stripes = cycles("stripes", layer, dense)
    assert cycles("shapeshifter", layer, dense) == stripes
    for b in (0, 2, 4):
        assert (
            cycles("pragmatic", layer, dense, booth=False, first_stage_bits=b, column_registers=0) == stripes
        )
    if layer is not FC:
        assert stripes == steps * A_BITS
        assert cycles("loom", layer, dense) == steps * A_BITS * W_BITS
        assert cycles("loom", layer, dense, dynamic_weights=True) == steps * A_BITS * (W_BITS - 1)
        assert cycles("laconic", layer, dense, booth=False) == steps * A_BITS * (W_BITS - 1)
        assert cycles("bit_tactical", layer, dense, back_end=None) == steps
        assert cycles("bit_tactical", layer, dense, back_end="p") == stripes
        registers = {"booth": False, "column_registers": 1}
        assert cycles("bit_tactical", layer, dense, **registers) == cycles(
            "pragmatic", layer, dense, **registers
        )


@pytest.mark.parametrize(("name", "options"), MACHINES)
@pytest.mark.parametrize("layer", [LAYER, FC], ids=["conv", "fc"])
@pytest.mark.parametrize("zeros", [0, 0.6, 1])
def test_no_machine_is_faster_than_its_own_ideal(name, options, layer, zeros):
    machine = hw.accelerator(name, **GRID, **options)
    r = hw.simulate(machine, layer, operands(layer, 1, zeros))
    assert 0 <= r.utilisation <= 1


ACTIVATION_MACHINES = [m for m in MACHINES if m[0] in ("shapeshifter", "loom", "pragmatic", "laconic")]


@given(st.integers(0, 1000), st.sampled_from(ACTIVATION_MACHINES), st.sampled_from([LAYER, FC]))
@settings(max_examples=60)
def test_more_zeros_never_take_longer(seed, machine, layer):
    name, options = machine
    before = operands(layer, seed, 0.2)
    keep = np.random.default_rng(seed).random(before.activations.shape) < 0.7
    after = hw.Operands(before.weights, before.activations * keep, W_BITS, A_BITS)
    assert cycles(name, layer, after, **options) <= cycles(name, layer, before, **options)


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_options_help_or_cost_nothing(seed):
    o = operands(LAYER, seed, 0.4)
    lock = {"column_registers": 0}
    for name in ("pragmatic", "shapeshifter", "bit_tactical"):
        ahead = [cycles(name, LAYER, o, column_registers=r) for r in (0, 1, 2, 16)]
        assert ahead == sorted(ahead, reverse=True)
    assert cycles("shapeshifter", LAYER, o) <= cycles("stripes", LAYER, o)
    assert cycles("pragmatic", LAYER, o, booth=False, **lock) <= cycles("shapeshifter", LAYER, o)
    assert cycles("bit_tactical", LAYER, o, back_end=None) <= cycles("dadiannao", LAYER, o)


def test_signs_cost_nothing_where_they_should_not():
    o = operands(LAYER, 3)
    signs = np.random.default_rng(3).choice([-1, 1], o.activations.shape)
    negative = hw.Operands(-o.weights, o.activations * signs, W_BITS, A_BITS + 1)
    for name in ("pragmatic", "laconic", "bit_tactical"):
        assert cycles(name, LAYER, negative) == cycles(name, LAYER, o)
    assert cycles("shapeshifter", LAYER, negative) > cycles("shapeshifter", LAYER, o)


def test_products_of_activations():
    layer = hw.MatMul("qk", rows=5, inner=20, columns=6, batch=3)
    a = np.random.default_rng(5).integers(0, 100, (3, 5, 20))
    w = np.ones((6, 20), np.int16)
    o = hw.Operands(activations=a, activation_bits=7)
    for name in ("stripes", "shapeshifter", "loom"):
        alone = [cycles(name, hw.Linear("l", 20, 6, positions=5), hw.Operands(w, x, 16, 7)) for x in a]
        assert cycles(name, layer, o) == sum(alone)
    lock_step = cycles("pragmatic", layer, o, column_registers=0)
    assert 0 < cycles("pragmatic", layer, o) <= lock_step
    for name, options in (
        ("laconic", {}),
        ("bit_tactical", {}),
        ("scnn", {}),
        ("loom", {"dynamic_weights": True}),
    ):
        assert not hw.simulate(hw.accelerator(name, **options), layer).applicable
    with pytest.raises(TensorError, match=r"layer 'qk': activations must have 300 values, got 20"):
        hw.simulate(hw.accelerator("pragmatic"), layer, hw.Operands(activations=a[0, :1]))


def test_transposed_convolution_scatters():
    layer = hw.ConvTranspose("up", in_channels=10, out_channels=6, in_size=(4, 3), kernel=2, stride=2)
    a = np.random.default_rng(6).integers(0, 100, (10, 12))
    o = hw.Operands(np.ones(layer.weight_shape, np.int16), a, 16, 7)
    # The same steps as a linear layer at every input position, for each of 4 kernel positions.
    order = a.reshape(10, 4, 3).transpose(2, 1, 0).reshape(12, 10)
    linear = hw.Operands(np.ones((6, 10), np.int16), order, 16, 7)
    for name in ("shapeshifter", "loom"):
        expected = cycles(name, hw.Linear("l", 10, 6, positions=12), linear)
        assert cycles(name, layer, o) == 4 * expected


def test_floats_are_quantised():
    rng = np.random.default_rng(7)
    a = rng.random((24, 7, 5), np.float32)
    w = rng.standard_normal(LAYER.weight_shape, np.float32)
    floats = hw.Operands(w, a, activation_bits=8)
    assert (floats.activation_precision, floats.weight_precision) == (8, 16)
    assert floats.integer_activations.max() < 128
    same = hw.Operands(floats.integer_weights, floats.integer_activations, 16, 8)
    for name in ("stripes", "pragmatic", "laconic", "bit_tactical", "scnn"):
        assert cycles(name, LAYER, floats) == cycles(name, LAYER, same)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (np.zeros(3, np.int8), 8),
        (np.zeros(3, np.uint16), 16),
        (np.array([0, 5]), 3),
        (np.array([-4, 3]), 3),
        (np.array([-5, 3]), 4),
        (np.array([0, 1 << 20]), 21),
        (np.zeros(3), 16),
    ],
)
def test_precision_of_operands_without_one(values, bits):
    assert hw.Operands(values).weight_precision == bits


def test_missing_activations_are_named():
    for name in ("pragmatic", "laconic", "scnn"):
        with pytest.raises(TensorError, match=f"layer 'fc': {name} needs activations"):
            hw.simulate(hw.accelerator(name), FC, hw.Operands(np.ones((30, 100), np.int8)))


@pytest.mark.parametrize(
    "name", ["dadiannao", "stripes", "shapeshifter", "loom", "pragmatic", "laconic", "bit_tactical", "scnn"]
)
def test_all_enter_comparisons_at_equal_peak(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    assert machine.assumptions
