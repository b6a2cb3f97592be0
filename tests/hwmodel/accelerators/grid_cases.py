"""Cases of the machines that walk as DaDianNao does."""

import numpy as np
import stepped_machines as stepped
from hypothesis import strategies as st
from layer_cases import integers, layers

import hwmodel as hw

DRAWN_GRIDS = st.fixed_dictionaries(
    {
        "lanes": st.sampled_from([2, 4, 7, 16]),
        "columns": st.sampled_from([2, 4, 6]),
        "rows": st.sampled_from([2, 4]),
        "tiles": st.sampled_from([1, 2, 3]),
    }
)


@st.composite
def stepped_cases(draw, name, options):
    """Draw a machine, a layer, activations, weights, and the bits of both; `options`: a strategy."""
    layer = draw(layers())
    grid, chosen = draw(DRAWN_GRIDS), draw(options)
    word_bits = draw(st.sampled_from([16, 16, 8]))
    a_bits, w_bits = draw(st.integers(2, 16)), draw(st.integers(2, 16))
    a = draw(integers(layer.input_count, a_bits, draw(st.booleans())))
    w = draw(integers(layer.parameters, w_bits, True)).reshape(layer.weight_shape)
    machine = hw.accelerator(name, **grid, **chosen, word_bits=word_bits, dram=None)
    return machine, layer, a, w, a_bits, w_bits


def check_equals_stepped(case):
    """Compare a machine with the naive one of its name in `stepped_machines`."""
    machine, layer, a, w, a_bits, w_bits = case
    expected = getattr(stepped, machine.name)(machine, layer, a, w, a_bits, w_bits)
    result = hw.simulate(machine, layer, hw.Operands(w, a, w_bits, a_bits))
    assert result.cycles == expected
    assert result.utilisation <= 1


GRID = {"lanes": 8, "columns": 4, "rows": 4, "tiles": 2}
LAYER = hw.Conv("c", in_channels=24, out_channels=20, in_size=(7, 5), kernel=(3, 2), padding=1)
FC = hw.Linear("fc", 100, 30)
A_BITS, W_BITS = 9, 7


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
