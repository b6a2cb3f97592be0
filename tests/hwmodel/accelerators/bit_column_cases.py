"""Cases of UNPU, BitWave and BitVert."""

import numpy as np
from hypothesis import strategies as st
from layer_cases import layers

import hwmodel as hw

LAYER = hw.Conv("c", in_channels=40, out_channels=36, in_size=(5, 7), kernel=3, padding=1)
FIRST = hw.Conv("first", in_channels=3, out_channels=20, in_size=9, kernel=5)
FC = hw.Linear("fc", 100, 30, positions=3)
DEPTHWISE = hw.Conv("dw", in_channels=6, out_channels=6, in_size=(5, 5), kernel=3, groups=6)
LAYERS = [LAYER, FIRST, FC, DEPTHWISE]


def weights_of(layer, seed, bits=8, spread=20.0, signed=True):
    rng = np.random.default_rng(seed)
    low = -(1 << bits - 1) if signed else 0
    high = (1 << bits - signed) - 1
    w = np.clip(np.rint(rng.laplace(0, spread, layer.weight_shape)), low, high)
    return w.astype(np.int64)


def cycles(name, layer, w, bits=8, **options):
    o = hw.Operands(w, weight_bits=bits)
    return hw.simulate(hw.accelerator(name, **options), layer, o).compute_cycles


@st.composite
def cases(draw):
    """A layer, its weights as the machines see them, and the operands."""
    transposed = hw.ConvTranspose("up", in_channels=9, out_channels=6, in_size=(3, 4), kernel=2, stride=2)
    layer = draw(st.one_of(layers(), st.just(transposed)))
    bits = draw(st.sampled_from([3, 5, 8, 8, 8, 11, 16]))
    signed = draw(st.booleans())
    spread = draw(st.sampled_from([0.0, 0.3, 0.1, 1.0])) * 2 ** (bits - 2)
    w = weights_of(layer, draw(st.integers(0, 2**32 - 1)), bits, spread, signed)
    activation_bits = draw(st.sampled_from([4, 8, 12, 16, 20]))
    flat = w.reshape(layer.filters, layer.channels, layer.kernel_positions)
    o = hw.Operands(w, weight_bits=bits, activation_bits=activation_bits)
    return layer, flat, bits, activation_bits, o


def check_floats_have_eight_bits(name):
    """Unless told otherwise, floats are quantised to 8 bits."""
    w = np.random.default_rng(0).standard_normal(LAYER.weight_shape, np.float32)
    codes = hw.Operands(w, weight_bits=8).integer_weights
    eight = hw.Operands(codes, weight_bits=8, activation_bits=8)
    same = hw.simulate(hw.accelerator(name), LAYER, eight).compute_cycles
    assert hw.simulate(hw.accelerator(name), LAYER, hw.Operands(w)).compute_cycles == same
    wide = hw.simulate(hw.accelerator(name, precision=None), LAYER, hw.Operands(w)).compute_cycles
    assert wide > 2 * same


def check_floats_keep_their_scale(name, **options):
    """Floats that are used differ from those that were given by less than a step of 8 bits."""
    w = np.random.default_rng(0).standard_normal(LAYER.weight_shape, np.float32)
    before, after = hw.accelerator(name, **options).weights_used(LAYER, hw.Operands(w))
    assert before is w
    assert 0 < np.abs(after - w).max() <= np.abs(w).max() / 127


def weights_used(name, layer, **options):
    """Weights in fixed point and what a machine makes of them, both (filters, channels, positions)."""
    w = weights_of(layer, 4)
    w.flat[0] = -128
    before, after = hw.accelerator(name, **options).weights_used(layer, hw.Operands(w, weight_bits=8))
    assert before is w
    flat = w.reshape(layer.filters, layer.channels, -1)
    return flat, after.reshape(flat.shape)
