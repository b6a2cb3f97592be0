"""ESE: equal to its stepped model; channels, balanced pruning and storage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zero_skipping_cases import (
    FC,
    NO_CONV,
    NO_PRODUCT,
    NO_TRANSPOSED,
    SMALL,
    check_codes_are_storage_only,
    check_equals_stepped,
    matrices,
    nothing_but_zeros,
    random,
    reasons,
    run,
    small,
    stored,
    stored_entries,
)

import hwmodel as hw
from bitxcore.errors import OptionError

OPTIONS = st.fixed_dictionaries(
    {
        "pes": st.sampled_from([1, 2, 3, 8]),
        "channels": st.sampled_from([1, 2, 4]),
        "fifo_depth": st.sampled_from([1, 2, 3, 8]),
        "index_bits": st.sampled_from([1, 2, 4]),
        "load_balanced": st.booleans(),
    }
)


@given(st.data())
@settings(max_examples=150)
def test_equals_its_stepped_model(data):
    check_equals_stepped("ese", matrices, OPTIONS, data)


def test_nothing_but_zeros_takes_a_cycle_a_column():
    assert nothing_but_zeros("ese", FC).cycles == 1 + FC.in_features


def test_fills_its_channels_with_independent_positions():
    w = random(FC, 0.8)[0]
    machine = hw.accelerator("ese", pes=8, channels=4)
    one = run(machine, hw.Linear("l", 96, 64), w, np.ones(96)).cycles
    for positions, steps, turns in ((4, 1, 1), (5, 1, 2), (8, 2, 2), (8, 8, 8)):
        layer = hw.Linear("l", 96, 64, positions=positions, steps=steps)
        assert run(machine, layer, w, np.ones(96 * positions)).cycles == turns * one


def test_balanced_pruning_is_a_bound():
    w, a = random(FC, 0.8)
    measured = run(small("ese"), FC, w, a)
    bound = run(hw.accelerator("ese", load_balanced=True, **SMALL["ese"]), FC, w, a)
    assert bound.cycles == measured.fill_cycles + measured.compute_cycles < measured.cycles


def test_codes_change_storage_and_energy_but_no_cycle():
    check_codes_are_storage_only("ese", "weight_bits")


def test_stored_bits_by_hand():
    w, a = random(FC, 0.9)
    entries = stored_entries(w)
    assert stored(small("ese"), FC, w, a).weights == entries * (12 + 4) + 97 * 8 * 16
    plain = replace(small("ese"), weight_bits=None)
    assert stored(plain, FC, w, a).weights == entries * (16 + 4) + 97 * 8 * 16


def test_what_it_does_not_run():
    found = reasons("ese", NO_CONV, NO_TRANSPOSED, NO_PRODUCT)
    assert set(found) == {"runs fully connected and recurrent layers only"}


def test_paper_configuration():
    assert hw.accelerator("ese").peak_macs_per_cycle == 1024


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load_balanced": 1}, "load_balanced must be True or False, got 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("ese", **options)
