"""What holds of UNPU, BitWave and BitVert alike: costs, comparisons, refusals."""

import numpy as np
import pytest
from bit_column_cases import FC, LAYER, weights_of

import hwmodel as hw
from bitxcore.errors import BitxError
from hwmodel.costs.figures import costs

NAMES = ["unpu", "bitwave", "bitvert"]


@pytest.mark.parametrize("name", NAMES)
def test_costs_and_comparison(name):
    machine = hw.accelerator(name)
    equal = hw.accelerator(name, **machine.comparison)
    assert equal.peak_macs_per_cycle == 4096
    assert equal.clock_hz == 1e9
    assert any(a.startswith("Guessed: ") for a in machine.assumptions)
    o = hw.Operands(weights_of(LAYER, 1), weight_bits=8, activation_bits=8)
    r = hw.simulate(machine, LAYER, o)
    assert r.energy_j > 0
    assert set(machine.parts(costs("aladdin"))) < set(r.energy_parts_j)
    assert all(r.energy_parts_j[part] > 0 for part in machine.parts(costs("aladdin")))
    assert sum(machine.area_parts_mm2.values()) < sum(equal.area_parts_mm2.values())
    stored = machine.stored_bits(LAYER, o, r)
    assert stored.weights == 8 * LAYER.parameters if name == "unpu" else stored.weights < 8 * LAYER.parameters


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_too_wide_are_refused(name):
    with pytest.raises(BitxError, match=r"layer 'fc': accelerator .* 16"):
        hw.simulate(hw.accelerator(name), FC, hw.Operands(np.full((30, 100), 1 << 20)))
