"""Pruning of one group by plain integers, for a compiler to be chosen.

A significand stands on top of 64 bits and is shifted down by its distance to the group's largest exponent:
row l of the group is bit 63 - l of every member. Codes, significands, masks and numbers of places are
uint64; exponents, rows and numbers of weights are int64. Nothing is shifted by 64 places or more. Of
Python's functions only `range` is called: the CUDA that comes with Numba has not all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

FLOAT, SIGN_MAGNITUDE, UNSIGNED, TWOS_COMPLEMENT = range(4)

ZERO, ONE, TOP = np.uint64(0), np.uint64(1), np.uint64(63)
PLACES = np.uint64(64)
ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def group_pruner(jit: Callable[[Any], Any]) -> Any:
    """Compile the function that prunes one group.

    Parameters
    ----------
    jit : callable
        Numba's decorator: of a device's functions, or of the processor's.

    Returns
    -------
    callable
        See `prune_group`.
    """

    @jit
    def decode(code, number):
        """Give sign, biased exponent, significand, and what must be `largest` at most to be finite."""
        encoding, storage, p, _ = number
        sign = code >> (storage - ONE)
        if encoding == FLOAT:
            magnitude = code & (ALL >> (PLACES + ONE - storage))
            field = magnitude >> (p - ONE)
            fraction = magnitude & ((ONE << (p - ONE)) - ONE)
            if field == ZERO:
                return sign, np.int64(1), fraction, magnitude
            return sign, np.int64(field), fraction | (ONE << (p - ONE)), magnitude
        if encoding == UNSIGNED or sign == ZERO:
            return ZERO, np.int64(0), code, code
        stored = ALL >> (PLACES - storage)
        if encoding == SIGN_MAGNITUDE:
            magnitude = (code ^ stored) + ONE
            return sign, np.int64(0), magnitude, magnitude
        return ZERO, np.int64(0), code & ((ONE << p) - ONE), code ^ stored

    @jit
    def encode(sign, value, exponent, number):
        """Give the code of `value` in a group of that largest exponent; it must be exact."""
        encoding, storage, p, _ = number
        if encoding == FLOAT:
            code = sign << (storage - ONE)
            if value == ZERO:
                return code
            while exponent > 1 and value >> TOP == ZERO:
                value = value << ONE
                exponent -= 1
            significand = value >> (PLACES - p)
            hidden = ONE << (p - ONE)
            if significand & hidden:
                return code | (np.uint64(exponent) << (p - ONE)) | (significand ^ hidden)
            return code | significand  # subnormal
        stored = ALL >> (PLACES - storage)
        significand = value >> (PLACES - p)
        if encoding == TWOS_COMPLEMENT and significand >> (p - ONE):
            return (significand | (ALL << p)) & stored
        if sign and significand:
            return (significand ^ stored) + ONE
        return significand

    @jit
    def ones_of(aligned, members, row):
        """Count the ones of a row."""
        place = TOP - np.uint64(row)
        ones = np.int64(0)
        for j in range(members):
            ones += np.int64((aligned[j] >> place) & ONE)
        return ones

    @jit
    def choose(aligned, members, present, rows, msb, least):
        """Keep `rows` non-empty rows at most, the most significant first; return their mask.

        A row outranks one k above it if it has more than 4**k times as many ones. No row has more than 64:
        only the two rows below the highest one that is left can outrank that.
        """
        kept, left = ZERO, present
        first, first_ones = np.int64(-1), np.int64(0)
        top = np.int64(0)
        for _ in range(rows):
            if left == ZERO:
                break
            while (left >> (TOP - np.uint64(top))) & ONE == ZERO:
                top += 1
            best = top
            if not msb:
                ones = ones_of(aligned, members, top)
                for row in (top + 1, top + 2):
                    if row < 64 and (left >> (TOP - np.uint64(row))) & ONE:
                        more = ones_of(aligned, members, row)
                        if more > ones << (2 * (row - best)):
                            best, ones = row, more
                if first < 0:
                    first, first_ones = best, ones
                if ones < least[best - first + 3, first_ones]:
                    break
            chosen = ONE << (TOP - np.uint64(best))
            kept |= chosen
            left &= ~chosen
        return kept

    @jit
    def rounded(value, rows, ties_up):
        """Give the value on `rows` that is nearest; of two the lower one, or with `ties_up` the upper one."""
        outside = value & ~rows
        if outside == ZERO:
            return value
        highest = ONE << TOP
        while outside & highest == ZERO:
            highest >>= ONE
        # The largest value not above has all rows below the highest bit that is not kept.
        lower = (value & rows & ~(highest | (highest - ONE))) | (rows & (highest - ONE))
        if lower == rows:
            return lower
        # Ones in the places that are not kept let the carry pass.
        upper = ((lower | ~rows) + ONE) & rows
        above, below = upper - value, value - lower
        return upper if above < below or (ties_up and above == below) else lower

    @jit
    def rounded_twos_complement(value, rows):
        """Give the nearest value on `rows`, of which the top one weighs negative; ties go towards zero."""
        sign = ONE << TOP
        negative = value & sign != ZERO
        if not rows & sign:
            return ZERO if negative else rounded(value, rows, False)
        # The sign flipped, codes are in the order of their values.
        return rounded(value ^ sign, rows, negative) ^ sign

    @jit
    def prune_group(x, out, place, aligned, number, window, rule, least):
        """Prune one group of the codes `x` into `out`, which may be `x`.

        Parameters
        ----------
        x, out : arrays of unsigned int
        place : (first, stride, members)
            Where the members are.
        aligned : array of uint64, (64,)
            Scratch.
        number : (encoding, storage bits, significand bits, largest)
            `largest`: code of the largest finite magnitude.
        window : uint64
            Mask of its rows.
        rule : (rows, wanted, msb, nearest)
            As in `bitxcore.criteria.Criterion`; the latter two are 0 or 1.
        least : array of uint8, (68, 65)
            `bitxcore.criteria.least_ones`; of threshold 0 it lets every row through.

        Returns
        -------
        finite : bool
            Otherwise the group is copied as it is, and the rest is of no use.
        kept : uint64
            Mask of the kept rows.
        exponent : int64
            Largest one of a non-zero member; 0 if there is none.
        limited : bool
            Whether fewer rows than wanted are kept though ones fell out of the window.
        """
        first, stride, members = place
        encoding, _, p, largest = number
        rows, wanted, msb, nearest = rule
        finite, emax = True, np.int64(0)
        for j in range(members):
            code = np.uint64(x[first + j * stride])
            _, exponent, significand, magnitude = decode(code, number)
            finite = finite and magnitude <= largest
            if significand != ZERO and exponent > emax:
                emax = exponent
        if not finite:
            for j in range(members):
                out[first + j * stride] = x[first + j * stride]
            return False, window, emax, False
        present, fell = ZERO, False
        for j in range(members):
            _, exponent, significand, _ = decode(np.uint64(x[first + j * stride]), number)
            whole = significand << (PLACES - p)
            distance = emax - exponent
            value = ZERO
            if significand != ZERO and distance < 64:
                value = (whole >> np.uint64(distance)) & window
                fell = fell or value << np.uint64(distance) != whole
            elif significand != ZERO:
                fell = True
            aligned[j] = value
            present |= value
        kept = choose(aligned, members, present, rows, msb != 0, least)
        count = np.int64(0)
        for row in range(64):
            count += np.int64((kept >> np.uint64(row)) & ONE)
        for j in range(members):
            sign, exponent, _, _ = decode(np.uint64(x[first + j * stride]), number)
            if nearest == 0:
                value = aligned[j] & kept
            elif encoding == TWOS_COMPLEMENT:
                value = rounded_twos_complement(aligned[j], kept)
            else:
                # Rows below the weight's own last place are left out.
                last = 64 - np.int64(p) - (emax - exponent)
                fine = np.uint64(last) if encoding == FLOAT and last > 0 else ZERO
                value = rounded(aligned[j], (kept >> fine) << fine, False)
            out[first + j * stride] = encode(sign, value, emax, number)
        return True, kept, emax, encoding == FLOAT and fell and count < wanted

    return prune_group
