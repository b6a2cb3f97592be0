"""What must hold of the machines whatever the operands; options, refusals, and speed."""

from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError, TensorError
from hwmodel.accelerators.engines.booth_terms import booth_table, width_table

GRID = {"lanes": 8, "columns": 4, "rows": 4, "tiles": 2}
LAYER = hw.Conv("c", in_channels=24, out_channels=20, in_size=(7, 5), kernel=(3, 2), padding=1)
FC = hw.Linear("fc", 100, 30)
A_BITS, W_BITS = 9, 7
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


def operands(layer, seed=0, zeros=0.5):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 1 << A_BITS, layer.input_count) >> rng.integers(0, A_BITS, layer.input_count)
    w = rng.integers(1 - (1 << W_BITS - 1), 1 << W_BITS - 1, layer.weight_shape)
    a[rng.random(a.shape) < zeros] = 0
    w[rng.random(w.shape) < zeros] = 0
    return hw.Operands(w, a, W_BITS, A_BITS)


def cycles(name, layer, given_operands, **options):
    grid = {} if name == "scnn" else GRID
    return hw.simulate(hw.accelerator(name, **(grid | options)), layer, given_operands).on_chip_cycles


def full(layer, w=(1 << W_BITS - 1) - 1):
    """Operands of nothing but ones: no bit to skip."""
    a = np.full(layer.input_count, (1 << A_BITS) - 1)
    return hw.Operands(np.full(layer.weight_shape, w), a, W_BITS, A_BITS)


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
    if machine[0] == "laconic":
        fewer = np.where(np.random.default_rng(seed).random(before.weights.shape) < 0.7, before.weights, 0)
        fewer = hw.Operands(fewer, before.activations, W_BITS, A_BITS)
        assert cycles(name, layer, fewer, **options) <= cycles(name, layer, before, **options)


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_options_help_or_cost_nothing(seed):
    o = operands(LAYER, seed, 0.4)
    lock = {"column_registers": 0}
    stages = [cycles("pragmatic", LAYER, o, first_stage_bits=b, **lock) for b in range(6)]
    assert stages == sorted(stages, reverse=True)
    for name in ("pragmatic", "shapeshifter", "bit_tactical"):
        ahead = [cycles(name, LAYER, o, column_registers=r) for r in (0, 1, 2, 16)]
        assert ahead == sorted(ahead, reverse=True)
    groups = [cycles("shapeshifter", LAYER, o, group_columns=g) for g in (1, 2, 4)]
    assert len(set(groups)) == 1  # all columns wait for the widest
    assert cycles("shapeshifter", LAYER, o, minor_bit=True) <= cycles("shapeshifter", LAYER, o)
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


def test_scnn_multiplies_only_what_is_not_zero():
    layer = hw.Conv("c", in_channels=4, out_channels=16, in_size=(32, 32), kernel=1)
    a, w = np.ones(layer.input_count, np.int8), np.ones(layer.weight_shape, np.int8)
    machine = {"pe_rows": 4, "pe_columns": 4}
    # 64 activations a PE in blocks of 4, four filters at once: all in different banks or two in one.
    dense = cycles("scnn", layer, hw.Operands(w, a), **machine)
    assert dense >= layer.macs / (16 * 16)
    w[:, 1] = 0
    a[2 * 1024 : 3 * 1024] = 0
    assert cycles("scnn", layer, hw.Operands(w, a), **machine) * 2 == dense
    assert cycles("scnn", layer, hw.Operands(w * 0, a), **machine) == 0


def test_scnn_maps_linear_layers():
    rng = np.random.default_rng(4)
    w = (rng.random((40, 300)) < 0.5).astype(np.int8)
    token = (rng.random((1, 300)) < 0.5).astype(np.int8)
    fc = hw.simulate(hw.accelerator("scnn"), hw.Linear("fc", 300, 40), hw.Operands(w, token))
    assert fc.notes == ("40 cycles exchange halos",)
    assert 0 < fc.utilisation < 1
    tokens = hw.Linear("tokens", 300, 40, positions=64)
    many = hw.simulate(hw.accelerator("scnn"), tokens, hw.Operands(w, np.repeat(token, 64, axis=0)))
    plane = hw.Conv("plane", in_channels=300, out_channels=40, in_size=(8, 8), kernel=1)
    same = hw.Operands(w[:, :, None, None], np.repeat(token.reshape(300, 1), 64, axis=1))
    assert many.on_chip_cycles == hw.simulate(hw.accelerator("scnn"), plane, same).on_chip_cycles


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
    scheduled = hw.accelerator("bit_tactical", back_end=None)
    assert hw.simulate(scheduled, FC, hw.Operands(np.ones((30, 100), np.int8))).applicable


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stripes", {"word_bits": 17}, "word_bits must be at most 16, got 17"),
        ("pragmatic", {"first_stage_bits": -1}, "first_stage_bits must be an integer of at least 0"),
        ("shapeshifter", {"group_columns": 3}, "group_columns must divide columns 16, got 3"),
        ("loom", {"rows": 3, "group_columns": 2}, "group_columns must divide rows 3, got 2"),
        ("bit_tactical", {"back_end": "x"}, "back_end must be one of p, e, None, got 'x'"),
        ("bit_tactical", {"order": "first"}, "order must be one of most, fewest"),
        ("bit_tactical", {"lookahead": 1}, "pattern 'T' needs lookahead=2 and lookaside=5"),
        ("bit_tactical", {"lanes": 65}, "lanes must be at most 64"),
        ("bit_tactical", {"back_end": "p", "group_columns": 5}, "group_columns must divide columns 16"),
        ("scnn", {"banks": 33}, "banks must be at most 32"),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator(name, **options)


def test_scnn_refuses_what_it_has_no_plane_for():
    scnn = hw.accelerator("scnn", accumulator_entries=10)
    wide = hw.Conv("wide", in_channels=1, out_channels=1, in_size=(64, 64), kernel=1)
    deep = hw.Conv("deep", in_channels=1, out_channels=1, in_size=(4, 4, 4), kernel=1)
    assert "64 sums, the accumulators hold 10" in hw.simulate(scnn, wide).reason
    assert "three dimensions" in hw.simulate(scnn, deep).reason


@pytest.mark.parametrize(
    "name", ["dadiannao", "stripes", "shapeshifter", "loom", "pragmatic", "laconic", "bit_tactical", "scnn"]
)
def test_all_enter_comparisons_at_equal_peak(name):
    machine = hw.accelerator(name, **hw.accelerator(name).comparison)
    assert machine.peak_macs_per_cycle == 4096
    assert machine.assumptions


def test_booth_terms_keep_the_value_and_are_never_more():
    v = np.arange(1 << 16, dtype=np.uint32)
    terms = booth_table()
    assert (np.bitwise_count(terms) <= np.bitwise_count(v)).all()
    assert terms[[0, 1, 3, 7, 27, 0b1110111]].tolist() == [0, 1, 3, 9, 27, 0b10001001]
    assert terms[0xFFFF] == 0x10001


def test_widths_by_definition():
    for signed in (False, True):
        whole, cut = width_table(signed, False), width_table(signed, True)
        for mask in (0, 1, 2, 6, 8, 0x8000, 0xFFFF, 0x0120):
            low = (mask & -mask).bit_length() - 1 if mask else 0
            assert whole[mask] == max(mask.bit_length(), 1) + signed
            assert cut[mask] == max(mask.bit_length() - low, 1) + signed


# Seconds that DNNsim takes on one core of a like machine.
PUBLIC_SIMULATOR_S = [
    ("dadiannao", {}, 9),
    ("pragmatic", {}, 11),
    ("bit_tactical", {"back_end": "p"}, 17),
    ("laconic", {}, 22),
    ("bit_tactical", {}, 65),
    ("scnn", {}, 7),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "seconds"), PUBLIC_SIMULATOR_S)
def test_fifty_times_faster_than_the_public_simulator(name, options, seconds):
    layer = hw.Conv("c", in_channels=256, out_channels=256, in_size=(56, 56), kernel=3, padding=1)
    rng = np.random.default_rng(8)
    a = np.abs(rng.laplace(0, 60, layer.input_count)).round().astype(np.int16)
    a[rng.random(a.shape) < 0.5] = 0
    w = rng.normal(0, 80, layer.weight_shape).round().astype(np.int16)
    w[rng.random(w.shape) < 0.4] = 0
    o, machine = hw.Operands(w, a), hw.accelerator(name, **options)
    hw.simulate(machine, layer, o)
    start = process_time()
    hw.simulate(machine, layer, o)
    assert process_time() - start < seconds / 50
