"""UNPU: equal to its naive simulation, with the published peaks."""

import numpy as np
import pytest
import stepped_bit_columns as stepped
from bit_column_cases import LAYER, LAYERS, cases, cycles
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodel as hw
from bitxcore.errors import OptionError


@given(
    cases(),
    st.fixed_dictionaries(
        {
            "cores": st.integers(1, 3),
            "pes": st.integers(1, 3),
            "tables": st.integers(1, 3),
            "table_inputs": st.integers(1, 4),
            "outputs": st.integers(1, 5),
        }
    ),
    st.sampled_from([None, 1, 2, 16]),
)
@settings(max_examples=80)
def test_equals_its_naive_simulation(case, options, weight_bits):
    layer, _, bits, activation_bits, o = case
    machine = hw.accelerator("unpu", weight_bits=weight_bits, **options)
    r = hw.simulate(machine, layer, o)
    assert r.compute_cycles == stepped.unpu(layer, weight_bits or bits, activation_bits, **options)
    assert 0 < r.utilisation <= 1


def test_has_the_published_peaks():
    """GOPS at 200 MHz; 345.6 and 7,372 are published, the others follow from the same array."""
    machine = hw.accelerator("unpu")
    gops = {b: 2 * machine.macs_per_cycle(b) * machine.clock_hz / 1e9 for b in (16, 8, 4, 1)}
    assert machine.peak_macs_per_cycle == 13824 / 16
    assert gops[16] == pytest.approx(345.6)
    assert [gops[8], gops[4]] == pytest.approx([691.2, 1382.4])
    # 16 x 345.6 are 5,530; the published figure is 4/3 of it, which four inputs a table explain.
    assert gops[1] == pytest.approx(7372.8)
    # And a layer that fills the array gets there.
    layer = hw.Conv("c", in_channels=192, out_channels=24, in_size=(12, 12), kernel=1)
    for bits, peak in gops.items():
        r = hw.simulate(hw.accelerator("unpu", weight_bits=bits), layer)
        assert 2 * r.macs / (r.compute_cycles / machine.clock_hz) / 1e9 == pytest.approx(peak)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_values_do_not_matter(layer):
    full = np.full(layer.weight_shape, 127)
    assert cycles("unpu", layer, full) == cycles("unpu", layer, full * 0)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_cycles_are_proportional_to_precision(layer):
    precisions = [cycles("unpu", layer, None, weight_bits=b) for b in range(1, 17)]
    assert precisions == sorted(precisions)
    assert precisions[1:] == [b * precisions[1] // 2 for b in range(2, 17)]


def test_floats_have_sixteen_bits():
    w = np.random.default_rng(0).standard_normal(LAYER.weight_shape, np.float32)
    codes = hw.Operands(w, weight_bits=8).integer_weights
    int8 = hw.Operands(codes.astype(np.int8))
    assert (
        cycles("unpu", LAYER, w, bits=None)
        == 2 * hw.simulate(hw.accelerator("unpu"), LAYER, int8).compute_cycles
    )


def test_products_of_activations():
    layer = hw.MatMul("qk", rows=5, inner=20, columns=6, batch=3)
    unpu = hw.accelerator("unpu", weight_bits=4)
    assert hw.simulate(unpu, layer).compute_cycles == 3 * 16  # one turn of one slice for each product
    eight = hw.Operands(activation_bits=8)
    assert hw.simulate(hw.accelerator("unpu"), layer, eight).compute_cycles == 3 * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 17}, "weight_bits must be at most 16, got 17"),
        ({"weight_bits": 0}, "weight_bits must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("unpu", **options)
