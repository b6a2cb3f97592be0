"""Cases of the machines that work on essential bits of weights."""

import numpy as np
import stepped_essential_bits as stepped
from hypothesis import strategies as st
from layer_cases import integers, layers

import hwmodel as hw

DEPTHS = st.sampled_from([0, 1, 2, 5, None])


SAC_OPTIONS = {
    "lanes": st.sampled_from([2, 4, 7, 16]),
    "columns": st.sampled_from([1, 1, 3]),
    "rows": st.sampled_from([1, 2, 4]),
    "tiles": st.sampled_from([1, 2, 3]),
    "barrier": st.sampled_from(["sac", "pe", "round"]),
    "fifo_depth": DEPTHS,
    "dual_issue": st.booleans(),
}
"""Options of all machines that split and accumulate."""
LAYER = hw.Conv("c", in_channels=24, out_channels=20, in_size=(7, 5), kernel=(3, 2), padding=1)


def simulate(machine, layer, w, a=None, bits=None):
    return hw.simulate(machine, layer, hw.Operands(w, a, bits))


def cycles(name, layer, w, **options):
    return simulate(hw.accelerator(name, dram=None, **options), layer, w).cycles


def weights(layer, seed=0, zeros=0.3, bits=16):
    rng = np.random.default_rng(seed)
    w = rng.integers(1 - (1 << bits - 1), 1 << bits - 1, layer.weight_shape) >> rng.integers(
        0, bits, layer.weight_shape
    )
    w[rng.random(w.shape) < zeros] = 0
    return w


def check_split_accumulate(name, own_options, data):
    """Compare a machine of SAC units with its naive model on a drawn layer."""
    options = data.draw(st.fixed_dictionaries(SAC_OPTIONS | own_options))
    layer = data.draw(layers())
    bits = data.draw(st.integers(2, 16))
    w = data.draw(integers(layer.parameters, bits, True)).reshape(layer.weight_shape)
    a = np.random.default_rng(1).integers(-9, 10, layer.input_count)
    machine = hw.accelerator(name, dram=None, **options)
    result = simulate(machine, layer, w, bits=bits)
    assert result.cycles == stepped.split_accumulate(machine, layer, a, w, bits)
    assert 0 <= result.utilisation <= 1


def bitlet_operands(data, layer, numbers):
    """Draw integers of 12 bits; or floats over many binades with zeros and subnormals, and activations."""
    if numbers == "fixed":
        return data.draw(integers(layer.parameters, 12, True)).reshape(layer.weight_shape), None
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    w, a = (
        (rng.standard_normal(n) * 2.0 ** rng.integers(-20, 4, n)).astype(np.float32)
        for n in (layer.parameters, layer.input_count)
    )
    w[rng.random(w.shape) < 0.2] = 0
    a[rng.random(a.shape) < 0.3] = 0
    w[:1], a[-1:] = 1e-40, 1e-41
    return w.reshape(layer.weight_shape), a
