"""Tables of Booth terms and of widths, by their definitions."""

import numpy as np

from hwmodel.accelerators.engines.booth_terms import booth_table, width_table


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
