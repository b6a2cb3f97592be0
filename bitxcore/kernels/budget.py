"""Weights within a budget of ones, by group: the nearest values, one weight after the other.

A magnitude is an integer of the group's *places*, a bit each, the lowest at bit 0; what is rounded has a
fraction besides. A value is within the budget if its ones stand in allowed places and are at most so many.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from bitxcore.jit import kernel

PLACES = 52
"""Most places: magnitudes, and their distances, are exact in float64."""


@njit(inline="always")
def _bit(place: int) -> Any:
    return np.uint64(1) << np.uint64(place)


@njit(inline="always")
def nearest_within(magnitude: float, allowed: Any, ones: int, top: int) -> Any:
    """Nearest value with at most `ones` ones, all in places `allowed`, the highest of them `top`.

    On a tie the smaller one; what is larger than all of them becomes the largest.

    Parameters
    ----------
    magnitude : float
        In units of place 0, below ``2**(top + 1)``.
    allowed : uint64
    ones, top : int
    """
    whole = np.uint64(magnitude)
    lower = np.uint64(0)
    above = np.uint64(0)  # the smallest value above, found so far; none: 0
    left = ones
    exact = True
    for place in range(top, -1, -1):
        bit = _bit(place)
        if whole & bit:
            if allowed & bit and left > 0:
                lower |= bit
                left -= 1
                continue
            # This one can't be had: all that fits below is the largest value that is not above.
            for rest in range(place - 1, -1, -1):
                if left > 0 and allowed & _bit(rest):
                    lower |= _bit(rest)
                    left -= 1
            exact = False
            break
        if left > 0 and allowed & bit:
            above = lower | bit  # the later, the smaller
    if exact and float(whole) == magnitude:
        return lower
    if above == 0:
        return lower
    return above if float(above) - magnitude < magnitude - float(lower) else lower


@njit(inline="always")
def keep_rows(counts: Any, rows: int, top: int) -> Any:
    """Places of the `rows` most significant rows, by ``ones * 4**place``; on a tie the upper one.

    Where fewer have ones, the highest of the others come next, for what weights become meanwhile.

    Parameters
    ----------
    counts : int64 array
        Ones in each place.
    """
    kept = np.uint64(0)
    for _ in range(rows):
        best, score = -1, -1.0
        for place in range(top, -1, -1):
            if kept & _bit(place):
                continue
            found = counts[place] * 4.0**place  # exact: 7 bits times a power of two
            if found > score:
                best, score = place, found
        kept |= _bit(best)
    return kept


@njit(inline="always")
def _fitted(value: float, kept: Any, ones: int, low: int, top: int, significand_bits: int) -> Any:
    """Nearest magnitude in units of place `low`; a float has `significand_bits` places from its own on."""
    scaled = min(np.ldexp(abs(value), -low), np.ldexp(1.0, top + 1) - 0.5)
    own = kept
    if significand_bits > 0 and scaled >= 1.0:
        shift = math.frexp(scaled)[1] - significand_bits
        if shift > 0:
            own = (kept >> np.uint64(shift)) << np.uint64(shift)
    return nearest_within(scaled, own, ones, top)


@njit(inline="always")
def _on_rows(value: float, kept: Any, ones: int, low: int, top: int, significand_bits: int) -> Any:
    """Nearest value, with the sign of what it represents."""
    return math.copysign(np.ldexp(float(_fitted(value, kept, ones, low, top, significand_bits)), low), value)


@njit(inline="always")
def _add(slope: Any, factor: float, hessian: Any) -> None:
    """Add a row of the Hessian to the slopes, `factor` times."""
    if factor != 0.0:
        for k in range(slope.shape[0]):
            slope[k] += factor * hessian[k]


@kernel
def fit_filters(
    weights: Any,
    lengths: Any,
    factors: Any,
    hessians: Any,
    first: int,
    shared: int,
    sweeps: int,
    ones: int,
    rows: int,
    window: int,
    significand_bits: int,
    least_place: int,
    normal_place: int,
    most_place: int,
) -> None:
    """Bring filters within the budget in place, group after group.

    The rows of a group are chosen when it is reached: of the nearest values with at most `ones` ones, those
    rows that are most significant. Then each weight goes to the nearest value on them. With `factors` its
    error is made up for by all weights that follow (GPTQ: Frantar et al., ICLR 2023). Each sweep then moves
    one weight after the other, on the rows of its group, to where it makes up best for the errors of all
    others (QuantEase: Behdin et al., 2023).

    Parameters
    ----------
    weights : float64 array, shape (filters, reduction)
        Members of a group one behind the other; overwritten.
    lengths : int64 array
        Members of each group.
    factors : float64 array, shape (parts, reduction, reduction)
        Upper Cholesky factor of the inverse Hessian, in the order of the weights; with no parts, errors stay
        where they are.
    hessians : float64 array, shape (parts, reduction, reduction)
        In the same order, damped; read by sweeps only.
    first, shared : int
        Number of the first filter; filters that share a part of the factors.
    sweeps : int
        At most; none after one that changes nothing.
    ones, rows : int
    window : int
        Places of a group, from one above the exponent of its largest weight down; of integers all.
    significand_bits : int
        Of a float: places from its own leading one down. 0: integers, whose groups have the same places.
    least_place, normal_place, most_place : int
        Exponents of the lowest place that the format has, of its smallest normal number, to which those below
        are aligned, and of the highest place.
    """
    counts = np.zeros(PLACES + 1, np.int64)
    groups = lengths.shape[0]
    kept, low, top = np.zeros(groups, np.uint64), np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    for f in range(weights.shape[0]):
        row = weights[f]
        wanted = row.copy()
        at = 0
        for g in range(groups):
            end = at + lengths[g]
            largest = 0.0
            for j in range(at, end):
                largest = max(largest, abs(row[j]))
            high = most_place
            if significand_bits > 0 and largest > 0.0:
                high = max(min(math.frexp(largest)[1], most_place), normal_place)
            low[g] = max(high - window + 1, least_place)
            top[g] = high - low[g]
            kept[g] = (_bit(top[g]) - np.uint64(1)) | _bit(top[g])
            if rows < top[g] + 1:
                counts[:] = 0
                for j in range(at, end):
                    code = _fitted(row[j], kept[g], ones, low[g], top[g], significand_bits)
                    for place in range(top[g] + 1):
                        counts[place] += np.int64(code >> np.uint64(place)) & 1
                kept[g] = keep_rows(counts, rows, top[g])
            for j in range(at, end):
                value = row[j]
                row[j] = _on_rows(value, kept[g], ones, low[g], top[g], significand_bits)
                error = value - row[j]
                if factors.shape[0] > 0 and error != 0.0:
                    factor = factors[(first + f) // shared, j]
                    error /= factor[j]
                    for later in range(j + 1, row.shape[0]):
                        row[later] -= error * factor[later]
            at = end
        if sweeps > 0:
            hessian = hessians[(first + f) // shared]
            slope = np.zeros(row.shape[0])
            for j in range(row.shape[0]):
                _add(slope, row[j] - wanted[j], hessian[j])
            for _ in range(sweeps):
                changed = False
                at = 0
                for g in range(groups):
                    end = at + lengths[g]
                    for j in range(at, end):
                        value = row[j] - slope[j] / hessian[j, j]
                        code = _on_rows(value, kept[g], ones, low[g], top[g], significand_bits)
                        if code != row[j]:
                            _add(slope, code - row[j], hessian[j])
                            row[j] = code
                            changed = True
                    at = end
                if not changed:
                    break
