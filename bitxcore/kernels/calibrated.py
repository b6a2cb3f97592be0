"""Rows of the highest calibrated significance: a row's ones weigh the squared norms of their members.

A plain loop over bits, for all formats: this criterion is an offline preparation, no machine runs it.
"""

from __future__ import annotations

import numpy as np

from bitxcore.jit import kernel
from bitxcore.kernels.gathering import place

FAR = 15
"""Rows that a row can be overtaken across: a sum of 64 squares of 24 bits is at most 4**15."""


@kernel
def keep_calibrated(x, squares, masks, exponents, kept, groups, first, rows, window, padded, cut, number):
    """Choose the rows of `groups` groups, from group `first` of the tensor on.

    Parameters
    ----------
    x : ndarray of unsigned int
        Codes, `padded` per group.
    squares : ndarray of uint32
        Squared norms of one filter, or of all, in the order of the tensor.
    masks, kept : ndarray
        To write, as `keep_threshold` does.
    exponents : ndarray of int16
        As `count_kernel` wrote them.
    groups, first, rows, window, padded : int
    cut : tuple of int
        `group`, `length`, `stride` and `blocks` of the tensor.
    number : tuple of int
        1 for floats; bits of a code; significand bits; what makes an exponent the codes' own, added; 1 where
        the sign stands apart from a magnitude (integers).
    """
    group, length, stride, blocks = cut
    is_float, bits, width, offset, signed = number
    top = masks.itemsize * 8 - 1
    low = np.uint64((1 << (bits - 1)) - 1)
    negative = np.uint64(1) << np.uint64(bits - 1)
    significand_mask = np.int64((1 << width) - 1)
    sums = np.empty(64, np.int64)
    some = np.empty(64, np.bool_)
    ranked = np.empty(64, np.int64)
    for g in range(groups):
        sums[:] = 0
        some[:] = False
        start, _, block = place(first + g, length, stride, blocks)
        start += block * group * stride
        emax = np.int64(exponents[g]) + offset
        for j in range(padded):
            code = np.uint64(x[g * padded + j])
            # distance: rows from row 0 down to where the member's leading bit would stand.
            distance = np.int64(0)
            if is_float:
                magnitude = np.int64(code & low)
                exponent = magnitude >> (width - 1)
                significand = magnitude & (significand_mask >> 1)
                if exponent:
                    significand |= np.int64(1) << (width - 1)
                distance = emax - max(exponent, 1)
            elif signed and code & negative:
                significand = (np.int64(1) << bits) - np.int64(code)
            else:
                significand = np.int64(code) & significand_mask
            if significand == 0:
                continue
            square = np.int64(squares[(start + j * stride) % squares.size])
            for bit in range(width):
                row = distance + width - 1 - bit
                if (significand >> bit) & 1 and 0 <= row < window:
                    sums[row] += square
                    some[row] = True
        # ranked[:n]: the rows with a one, the most significant first. Rows come from above, so that on a tie
        # the upper one is there already; a row whose members all have the norm 0 overtakes none.
        n = 0
        for row in range(window):
            if not some[row]:
                continue
            at = n
            while at > 0 and sums[row] > 0:
                above = ranked[at - 1]
                distance = row - above
                if sums[above] > 0 and (distance > FAR or sums[row] <= sums[above] << (2 * distance)):
                    break
                ranked[at] = above
                at -= 1
            ranked[at] = row
            n += 1
        mask = np.uint64(0)
        n = min(n, rows)
        for i in range(n):
            mask |= np.uint64(1) << np.uint64(top - ranked[i])
        masks[g] = mask
        kept[g] = n
