"""Criteria that look at every row of a group: the non-empty ones in order of their significance.

Row counts come as `count_kernel` writes them: byte q of ``counts[s, g]`` counts bit ``8 * q + s``.
"""

from __future__ import annotations

import numpy as np

from bitxcore.jit import kernel

LIMBS = 9  # of 16 bits: enough for 64 * 4**63 and its sums


@kernel
def rank_rows(counts, g, bits, ranked, squares):
    """Sort the non-empty rows of group `g` by significance; return how many there are.

    A row can only overtake rows less than four above it, so insertion moves little.
    """
    # ranked[:n] are row numbers, the most significant first, and squares[:n] their ones: the square of a
    # row's significance is its ones times 4**(bits - 1 - row).
    n = 0
    for row in range(bits):
        bit = bits - 1 - row
        ones = np.int64(counts[bit & 7, g, bit >> 3])
        if ones == 0:
            continue
        at = n
        while at > 0:
            # The new row is the lowest so far: it needs more than 4**distance times the other's ones.
            distance = row - ranked[at - 1]
            if distance > 3 or ones <= squares[at - 1] << (2 * distance):
                break
            ranked[at] = ranked[at - 1]
            squares[at] = squares[at - 1]
            at -= 1
        ranked[at] = row
        squares[at] = ones
        n += 1
    return n


@kernel
def keep_threshold(counts, masks, kept, groups, bits, rows, least):
    """Keep rows whose ones reach ``least[d + 3, n]``.

    n are the ones of the most significant row, which stands d rows above (at most 3 below).
    """
    ranked = np.empty(64, np.int64)
    ones = np.empty(64, np.int64)
    top = masks.itemsize * 8 - 1
    for g in range(groups):
        n = rank_rows(counts, g, bits, ranked, ones)
        mask = np.uint64(0)
        taken = 0
        # `least` is a table, so that a threshold's square is never rounded on the way.
        for i in range(n):
            enough = ones[i] >= least[ranked[i] - ranked[0] + 3, ones[0]]
            if enough and taken < rows:
                mask |= np.uint64(1) << np.uint64(top - ranked[i])
                taken += 1
        masks[g] = mask
        kept[g] = taken


@kernel
def keep_energy(counts, masks, kept, groups, bits, rows, share):
    """Keep the fewest rows whose pruned energy is at most ``share / 2**38`` of the group's.

    Energies are exact integers in limbs of 16 bits.
    """
    ranked = np.empty(64, np.int64)
    ones = np.empty(64, np.int64)
    top = masks.itemsize * 8 - 1
    over = np.empty(LIMBS, np.int64)
    for g in range(groups):
        n = rank_rows(counts, g, bits, ranked, ones)
        over[:] = 0  # 2**38 * pruned - share * all, limb by limb, not carried
        # A row's energy is ones * 2**power: its limb is power >> 4, its place in there power & 15.
        for i in range(n):
            power = 2 * (bits - 1 - ranked[i])
            over[power >> 4] -= (ones[i] << (power & 15)) * share
        # Prune from the least significant row on, until `over` would be positive.
        while n > 0:
            power = 2 * (bits - 1 - ranked[n - 1])
            over[power >> 4] += (ones[n - 1] << (power & 15)) << 38
            # The sign of the whole number: of the last carry, or, if that is 0, whether a limb is not.
            carry = np.int64(0)
            exact = True
            for k in range(LIMBS):
                value = over[k] + carry
                carry = value >> 16
                exact = exact and (value & 0xFFFF) == 0
            if carry > 0 or (carry == 0 and not exact):
                break
            n -= 1
        mask = np.uint64(0)
        n = min(n, rows)
        for i in range(n):
            mask |= np.uint64(1) << np.uint64(top - ranked[i])
        masks[g] = mask
        kept[g] = n
