"""The paper's worked example (BitX, ICPP 2021, Fig. 2): six weights, of whose rows three stay.

The bits of Fig. 2(b) differ from the mantissas of Fig. 2(a) in three places, where (b) has a 1 and (a) gives
a 0: row -6 of W1, rows -7 and -9 of W6. Both readings are here; they keep the same rows.
"""

import numpy as np
import pytest

import bitxcore as bx
from bitxcore import reference
from bitxcore.formats import number_format

FLOAT32 = number_format("float32")
MANTISSAS = ("1101100", "1001111", "1101000", "1010100", "1110100", "1111000")
EXPONENTS = (0, -3, -1, -2, -2, -3)
SLIPS = {0: 2.0**-6, 5: 2.0**-7 + 2.0**-9}
"""What (b) has and (a) has not, by weight."""
MATRIX_B = (
    "100000", "101000", "001110", "110011", "101111", "000001", "110111", "010001", "010000", "010001",
)  # fmt: skip
"""Rows 0 to -9 as drawn in (b), W1 first."""
ONES_A = [1, 2, 3, 4, 5, 1, 4, 1, 1, 1]
ONES_B = [1, 2, 3, 4, 5, 1, 5, 2, 1, 2]

A = np.array([int(m, 2) * 2.0 ** (e - 6) for m, e in zip(MANTISSAS, EXPONENTS, strict=True)], np.float32)
B = A.copy()
for _member, _bits in SLIPS.items():
    B[_member] += np.float32(_bits)

both = pytest.mark.parametrize("weights", [A, B], ids=["a", "b"])


def matrix(weights):
    """Rows 0 to -9, a character a weight, and the ones of each."""
    group = reference.align(weights.view(np.uint32).tolist(), FLOAT32, 32)
    rows = ["".join(str(a >> (31 - row) & 1) for a in group.aligned) for row in range(10)]
    assert not any(a & (1 << 22) - 1 for a in group.aligned)  # nothing below row -9
    return rows, reference.row_ones(group)[:10]


def test_the_weights_are_those_of_a():
    assert A.tolist() == [1.6875, 0.154296875, 0.8125, 0.328125, 0.453125, 0.234375]
    assert bx.decompose(A).exponent.tolist() == [127 + e for e in EXPONENTS]


def test_the_matrix_and_where_the_drawing_slips():
    rows_a, ones_a = matrix(A)
    rows_b, ones_b = matrix(B)
    assert rows_b == list(MATRIX_B)
    assert (ones_a, ones_b) == (ONES_A, ONES_B)
    differ = [
        (-row, member + 1, b)
        for row in range(10)
        for member, (a, b) in enumerate(zip(rows_a[row], rows_b[row], strict=True))
        if a != b
    ]
    assert differ == [(-6, 1, "1"), (-7, 6, "1"), (-9, 6, "1")]
    for weights, ones in ((A, ONES_A), (B, ONES_B)):
        s = bx.statistics(weights, group=6)
        assert s.row_ones[:10].tolist() == ones
        assert s.row_ones[10:].sum() == 0


def test_rows_5_and_6_tie_in_a_and_change_places_in_b():
    def worth(ones):
        return [reference.significance(ones[row], row, 10) for row in (5, 6)]

    above, below = worth(ONES_A)
    assert above == below  # 1 * 4**-5 = 4 * 4**-6: of equal rows the upper one is first
    above, below = worth(ONES_B)
    assert above < below
    assert reference.ranking(ONES_A) == list(range(10))
    assert reference.ranking(ONES_B) == [0, 1, 2, 3, 4, 6, 5, 7, 8, 9]
    # The kernels agree on both: six rows take in one of the two.
    assert bx.prune(A, rows=6, group=6).row_masks.item() >> 22 == 0b1111110000
    assert bx.prune(B, rows=6, group=6).row_masks.item() >> 22 == 0b1111101000


@both
def test_three_rows_stay(weights):
    p = bx.prune(weights, rows=3, group=6)
    assert p.values.tolist() == [1.5, 0.0, 0.75, 0.25, 0.25, 0.0]
    assert (p.kept_rows.item(), p.exponents.item()) == (3, 127)
    assert p.row_masks.item() == 0b111 << 29  # rows 0, -1 and -2
    codes, mask, emax = reference.prune_group(weights.view(np.uint32).tolist(), FLOAT32, 32, rows=3)
    assert (codes, mask, emax) == (p.values.view(np.uint32).tolist(), 0b111 << 29, 127)
    assert p.window_limited_groups == 0


@pytest.mark.parametrize(("weights", "unpruned"), [(A, 5), (B, 6)], ids=["a", "b"])
def test_two_cycles_are_the_most_ones_of_a_pruned_weight(weights, unpruned):
    """In Fig. 2(c) each weight hands over one of its own ones per cycle."""
    assert bx.essential_bits(bx.prune(weights, rows=3, group=6).values).tolist() == [2, 0, 2, 1, 1, 0]
    found = bx.weight_ones(weights, rows=3, group=6)
    assert (found.before.largest, found.after.largest) == (unpruned, 2)
    assert found.after.mean == 6 / 6
    assert found.barrier_gain == unpruned / 2
