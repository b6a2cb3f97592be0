"""Cases of Cnvlutin, EIE, ESE and Cambricon-S."""

from dataclasses import replace

import numpy as np
import stepped_zero_skipping as stepped
from hypothesis import strategies as st
from layer_cases import integers

import hwmodel as hw
from hwmodel.costs.figures import costs

CAUSES = ("fill_cycles", "compute_cycles", "imbalance_cycles", "fifo_full_cycles")
matrices = st.builds(
    hw.Linear, st.just("m"), st.integers(1, 40), st.integers(1, 70), positions=st.integers(1, 4)
) | st.builds(
    hw.Linear, st.just("m"), st.integers(1, 20), st.integers(1, 70), positions=st.just(4), steps=st.just(2)
)


CONV = hw.Conv("c", in_channels=48, out_channels=24, in_size=(6, 5), kernel=(3, 2))
FC = hw.Linear("fc", 96, 64, positions=2)
SMALL = {
    "cnvlutin": {"lanes": 4, "rows": 4, "tiles": 2, "brick": 4},
    "eie": {"pes": 8},
    "ese": {"pes": 8, "channels": 2},
    "cambricon_s": {
        "pes": 4,
        "multipliers": 4,
        "neuron_window": 32,
        "synapse_window": 16,
        "narrow_fc_block": (4, 8),
    },
}


def small(name):
    return hw.accelerator(name, **SMALL[name])


def random(layer, zeros, seed=0):
    rng = np.random.default_rng(seed)
    a, w = rng.integers(1, 100, layer.input_count), rng.integers(1, 100, layer.weight_shape)
    a[rng.random(a.shape) < zeros] = 0
    w[rng.random(w.shape) < zeros] = 0
    return w, a


def run(machine, layer, w, a):
    """Count the cycles without memory."""
    assert machine.not_applicable(layer) is None
    result = machine.run(layer, hw.Operands(w, a, 8, 8))
    assert 0 <= result.utilisation <= 1
    assert sum(getattr(result, c) or 0 for c in CAUSES) == result.cycles
    assert all(e >= 0 for e in result.energy.events_j.values())
    return result


def draw_operands(data, layer):
    a = data.draw(integers(layer.input_count, 7, data.draw(st.booleans())))
    w = data.draw(integers(layer.parameters, 7, True)).reshape(layer.weight_shape)
    return w, a


def check_equals_stepped(name, layers, options, data):
    """Compare a machine with the naive one of its name; `layers`, `options`: strategies."""
    layer = data.draw(layers)
    machine = hw.accelerator(name, **data.draw(options))
    w, a = draw_operands(data, layer)
    result = run(machine, layer, w, a)
    assert result.cycles == getattr(stepped, name)(machine, layer, a, w)


def nothing_but_zeros(name, layer):
    """Run a layer whose operands are all 0."""
    w, a = np.zeros(layer.weight_shape, np.int8), np.zeros(layer.input_count, np.int8)
    r = run(small(name), layer, w, a)
    assert r.utilisation == 0
    return r


def check_codes_are_storage_only(name, *options):
    """Codes of weights change storage and energy but no cycle."""
    w, a = random(FC, 0.5)
    assert set(options) <= set(small(name).comparison)  # others store weights at their precision, too
    plain = replace(small(name), **dict.fromkeys(options))
    r, p = run(small(name), FC, w, a), run(plain, FC, w, a)
    assert r.cycles == p.cycles
    assert r.energy.events_j["weight_buffer"] != p.energy.events_j["weight_buffer"]
    assert ("decoders" in plain.parts(costs("aladdin"))) is False


def stored(machine, layer, w, a):
    o = hw.Operands(w, a, 8, 8)
    return machine.stored_bits(layer, o, machine.run(layer, o))


def stored_entries(w):
    """Entries of a matrix on 8 PEs, with 4 bits of zeros before each."""
    return sum(len(stepped.stored_column(column, pe, 8, 4)) for column in w.T.tolist() for pe in range(8))


def reasons(name, *layers):
    """Why a machine does not run layers."""
    return [hw.simulate(hw.accelerator(name), layer).reason for layer in layers]


NO_CONV = hw.Conv("c", in_channels=4, out_channels=4, in_size=4, kernel=1)
NO_TRANSPOSED = hw.ConvTranspose("u", in_channels=4, out_channels=4, in_size=4, kernel=1)
NO_PRODUCT = hw.MatMul("m", rows=2, inner=3, columns=4)
