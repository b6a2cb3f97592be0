"""EIE: equal to its stepped model; queues, entries and storage."""

from dataclasses import replace

import numpy as np
import pytest
import stepped_zero_skipping as stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from zero_skipping_cases import (
    FC,
    NO_CONV,
    NO_PRODUCT,
    NO_TRANSPOSED,
    check_codes_are_storage_only,
    check_equals_stepped,
    draw_operands,
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
from hwmodel.accelerators.eie import EIE
from hwmodel.accelerators.engines.interleaved_csc import count_entries

OPTIONS = st.fixed_dictionaries(
    {
        "pes": st.sampled_from([1, 2, 3, 8]),
        "fifo_depth": st.sampled_from([1, 2, 3, 8]),
        "index_bits": st.sampled_from([1, 2, 4]),
        "output_registers": st.sampled_from([2, 5, 64]),
    }
)


@given(st.data())
@settings(max_examples=150)
def test_equals_its_stepped_model(data):
    check_equals_stepped("eie", matrices, OPTIONS, data)


@given(st.data())
@settings(max_examples=30)
def test_full_queues_cost_what_queues_without_bound_would_save(data):
    layer = data.draw(matrices)
    machine = hw.accelerator("eie", **data.draw(OPTIONS))
    w, a = draw_operands(data, layer)
    r = run(machine, layer, w, a)
    assert r.cycles - r.fifo_full_cycles == stepped.eie(machine, layer, a, w, depth=10**9)


def test_entries_by_hand():
    """The column that the paper shows: a run of 18 zeros takes an entry of value zero."""
    column = [0, 0, 1, 2, *[0] * 18, 3]
    assert stepped.stored_column(column, 0, 1, 4) == [(1, 2), (2, 0), (0, 15), (3, 2)]
    held = np.array(column, bool)[:, None]
    assert count_entries(held, 1, 4).tolist() == [[4]]
    assert count_entries(held, 1, 5).tolist() == [[3]]
    assert count_entries(held, 2, 4).tolist() == [[2, 1]]
    assert count_entries(np.repeat(held, 300, axis=1), 64, 40).sum() == 900


def test_nothing_but_zeros_takes_nothing():
    assert nothing_but_zeros("eie", FC).cycles == 0


def test_deeper_queues_are_never_slower():
    w, a = random(FC, 0.7)
    last = None
    for depth in (1, 2, 3, 4, 8, 64):
        r = run(hw.accelerator("eie", pes=8, fifo_depth=depth), FC, w, a)
        assert last is None or r.cycles <= last.cycles
        last = r
    assert last.fifo_full_cycles == 0


def test_rows_of_a_pe_trade_places_freely():
    """PEs wait for each other by column only, so which PE has which rows is all the same."""
    w, a = random(FC, 0.6)
    machine = hw.accelerator("eie", pes=8, index_bits=8)
    rows = np.arange(64).reshape(-1, 8)
    rng = np.random.default_rng(1)
    turned = rng.permuted(rows[:, rng.permutation(8)], axis=0).reshape(-1)
    assert run(machine, FC, w[turned], a).cycles == run(machine, FC, w, a).cycles


def test_codes_change_storage_and_energy_but_no_cycle():
    check_codes_are_storage_only("eie", "code_bits")


def test_stored_bits_by_hand():
    w, a = random(FC, 0.9)
    entries = stored_entries(w)
    eie = stored(small("eie"), FC, w, a)
    assert eie.weights == entries * (4 + 4) + 97 * 8 * 16 + 16 * 16
    assert (eie.activations, eie.outputs) == (2 * 96 * 16, 2 * 64 * 16)
    plain = replace(small("eie"), code_bits=None)
    assert stored(plain, FC, w, a).weights == entries * (16 + 4) + 97 * 8 * 16


def test_what_it_does_not_run():
    found = reasons("eie", NO_CONV, NO_TRANSPOSED, NO_PRODUCT)
    assert set(found) == {"runs fully connected layers only"}


def test_paper_configuration():
    assert EIE().peak_macs_per_cycle == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fifo_depth": 0}, "fifo_depth must be an integer of at least 1, got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        hw.accelerator("eie", **options)
