"""SCNN's Cartesian products and its accumulator banks. Importing this module imports Numba.

Rules as measured from the public simulator DNNsim (isakedo/DNNsim 4748a60). How full a bank gets depends
on an output only through five bits (two of each coordinate, three of the filter, two of them
combined), so activations fall into 8 classes at each kernel position and filters into 8 classes.
A block of weights at one kernel position then costs what a table says for two multisets of classes; blocks
that straddle kernel positions are counted bank by bank, all activation blocks at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel
from hwmodel.accelerators.engines.planes import Plane

Array = npt.NDArray[Any]
NOTHING = 8
"""Class of what meets no output, or is not there."""
LARGEST_TABLE = 1 << 20


def bank(activation: int, weight: int, banks: int) -> int:
    """Accumulator bank of an activation's class and a filter's class (its number modulo 8)."""
    high = (activation ^ weight) >> 2 & 1
    return ((high << 4) + ((activation & 3) << 2) + (weight & 3)) % banks


@cache
def _multisets(size: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Enumerate multisets of classes: their numbers by sequence of `size`, and how often each has a class."""
    sets = list(combinations_with_replacement(range(NOTHING + 1), size))
    number = np.zeros(9**size, np.uint16)
    counts = np.zeros((len(sets), 8), np.int64)
    for i, members in enumerate(sets):
        for order in set(permutations(members)):
            number[sum(c * 9**j for j, c in enumerate(reversed(order)))] = i
        for c in members:
            if c != NOTHING:
                counts[i, c] += 1
    return number, counts


@cache
def _table(activations: int, weights: int, banks: int) -> npt.NDArray[np.uint8]:
    """Cycles of two blocks by their multisets, shape (weights, activations): the fullest bank, at least 1."""
    a, w = _multisets(activations)[1], _multisets(weights)[1]
    cycles = np.ones((len(w), len(a)), np.uint8)
    for b in range(banks):
        meet = np.array([[bank(i, k, banks) == b for i in range(8)] for k in range(8)], np.int64)
        if meet.any():
            np.maximum(cycles, w @ meet @ a.T, out=cycles, casting="unsafe")
    return cycles


@dataclass(frozen=True)
class Multipliers:
    """A PE's multipliers and accumulator banks.

    Parameters
    ----------
    activations, weights, banks : int
    """

    activations: int
    weights: int
    banks: int

    def tables(self) -> tuple[bool, Array, Array, Array]:
        """Whether there is a table, the numbers of both kinds of blocks, and their cycles."""
        size = comb(self.activations + 8, 8) * comb(self.weights + 8, 8)
        if size > LARGEST_TABLE or max(self.activations, self.weights) > 5:
            none = np.zeros(1, np.uint16)
            return False, none, none, np.zeros((1, 1), np.uint8)
        numbers = _multisets(self.activations)[0], _multisets(self.weights)[0]
        return True, *numbers, _table(self.activations, self.weights, self.banks)

    def bank_table(self) -> npt.NDArray[np.int64]:
        """Bank of each class of weight and of activation, shape (8, 8)."""
        return np.array([[bank(a, w, self.banks) for a in range(8)] for w in range(8)], np.int64)


@kernel
def _count(taps, filters, size, members, blocks, bank_of, filled, fullest):
    """Fill the banks with the products of one weight block and every activation block; keep the fullest."""
    filled[:, :blocks] = 0
    for i in range(size):
        banks = bank_of[filters[i] & 7]
        for c in range(8):
            into, of = filled[banks[c]], members[taps[i], c]
            for b in range(blocks):
                into[b] += of[b]
    for b in range(blocks):
        fullest[b] = 1
    for n in range(filled.shape[0]):
        row = filled[n]
        for b in range(blocks):
            fullest[b] = max(fullest[b], row[b])


@kernel
def _channel(
    activations,
    weights,
    grid,
    stride,
    tap_phase,
    x_class,
    y_class,
    first_filter,
    filters_at_once,
    block_sizes,
    bank_of,
    tabled,
    a_number,
    w_number,
    table,
    cycles,
):
    """Add one channel's cycles of every PE to `cycles`, (filter blocks, PEs); return its useful products.

    `activations`: not 0, (x, y). `weights`: not 0, (taps, filters). `x_class`, `y_class`: class bits of
    the output coordinate at (tap, x) and (tap, y), 8 if there is none.
    """
    pe_rows, pe_columns, tw, th = grid
    width, block = block_sizes
    most = pe_rows * pe_columns * ((tw * th + width - 1) // width)
    taps = len(tap_phase)
    xs, ys = np.empty((most, width), np.int64), np.empty((most, width), np.int64)
    size, owner = np.empty(most, np.int64), np.empty(most, np.int64)
    number = np.empty((taps, most), np.int64)
    members = np.empty((taps, 8, most), np.uint8)
    meets = np.empty(taps, np.int64)
    by_number = np.zeros((taps, table.shape[1]), np.uint32)
    filled, fullest = np.empty((bank_of.max() + 1, most), np.uint8), np.empty(most, np.uint8)
    direct = np.empty(most, np.int64)
    at_tap, at_filter = np.empty(block, np.int64), np.empty(block, np.int64)
    useful = np.int64(0)
    for phase in range(stride[0] * stride[1]):
        px, py = phase // stride[1], phase % stride[1]
        blocks = 0
        for pe in range(pe_rows * pe_columns):
            x0, y0 = pe // pe_columns * tw, pe % pe_columns * th
            held = 0
            for x in range(x0 + (px - x0) % stride[0], x0 + tw, stride[0]):
                for y in range(y0 + (py - y0) % stride[1], y0 + th, stride[1]):
                    if activations[x, y]:
                        if held % width == 0:
                            owner[blocks], size[blocks] = pe, 0
                            blocks += 1
                        xs[blocks - 1, held % width], ys[blocks - 1, held % width] = x, y
                        size[blocks - 1] += 1
                        held += 1
        if blocks == 0:
            continue
        for tap in range(taps):
            if tap_phase[tap] != phase:
                continue
            members[tap, :, :blocks] = 0
            meets[tap] = 0
            for b in range(blocks):
                code = 0
                for i in range(width):
                    c = 8
                    if i < size[b]:
                        c = x_class[tap, xs[b, i]] ^ y_class[tap, ys[b, i]]
                        if x_class[tap, xs[b, i]] | y_class[tap, ys[b, i]] >= 8:
                            c = 8
                    if c < 8:
                        members[tap, c, b] += 1
                        meets[tap] += 1
                    code = code * 9 + c
                if tabled:
                    number[tap, b] = a_number[code]
        for q in range(cycles.shape[0]):
            first = q * filters_at_once
            last = min(first + filters_at_once, weights.shape[1])
            direct[:blocks] = 0
            by_number[:] = 0
            held, code, total = 0, 0, 0
            for tap in range(taps):
                if tap_phase[tap] != phase:
                    continue
                before = total
                for k in range(first, last):
                    if weights[tap, k]:
                        at_tap[held], at_filter[held] = tap, first_filter + k
                        held += 1
                        total += 1
                        if held == block:
                            if tabled and at_tap[0] == tap:
                                code = 0
                                for i in range(block):
                                    code = code * 9 + (at_filter[i] & 7)
                                costs = table[w_number[code]]
                                sums = by_number[tap]
                                for n in range(len(sums)):
                                    sums[n] += costs[n]
                            else:
                                _count(at_tap, at_filter, held, members, blocks, bank_of, filled, fullest)
                                for b in range(blocks):
                                    direct[b] += fullest[b]
                            held = 0
                useful += (total - before) * meets[tap]
            if held:
                _count(at_tap, at_filter, held, members, blocks, bank_of, filled, fullest)
                for b in range(blocks):
                    direct[b] += fullest[b]
            if tabled:
                for tap in range(taps):
                    if tap_phase[tap] == phase:
                        for b in range(blocks):
                            direct[b] += by_number[tap, number[tap, b]]
            for b in range(blocks):
                cycles[q, owner[b]] += direct[b]
    return useful


def _axis_classes(
    taps: npt.NDArray[np.int64], size: int, stride: int, outputs: int, high: int, low: int
) -> npt.NDArray[np.int64]:
    """Class bits of the output coordinate that each (tap, input coordinate) meets, `NOTHING` if none."""
    apart = np.arange(size) - taps[:, None]
    out = np.where(apart < 0, -(-apart // stride), apart // stride)  # towards zero
    bits = (out >> 1 & 1) << high | (out & 1) << low
    found: npt.NDArray[np.int64] = np.where((out >= 0) & (out < outputs), bits, NOTHING)
    return found


def plane_cycles(
    plane: Plane,
    activations: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.bool_],
    first_filter: int,
    filters_at_once: int,
    multipliers: Multipliers,
) -> tuple[int, int]:
    """Cycles of one group of filters, halos left out, and the products that met an output.

    Parameters
    ----------
    plane : Plane
    activations : array of bool, shape (channels, x, y)
        Not 0; padding included.
    weights : array of bool, shape (filters, channels, r, s)
        Not 0.
    first_filter : int
        Number of the group's first filter.
    filters_at_once : int
        Filters whose outputs the accumulators hold.
    multipliers : Multipliers
    """
    channels, *size = activations.shape
    patch = [-(-n // pes) for n, pes in zip(size, plane.pes, strict=True)]
    fill = [(0, p * pes - n) for n, p, pes in zip(size, patch, plane.pes, strict=True)]
    padded = np.pad(activations, ((0, 0), *fill))
    tap = np.indices(plane.kernel).reshape(2, -1) * np.array(plane.dilation)[:, None]
    shift = np.array(plane.padding if plane.phase_shift else (0, 0))[:, None]
    phase = (tap + shift) % np.array(plane.stride)[:, None]
    # A coordinate gives its second bit, which both share, and its first.
    classes = [
        _axis_classes(tap[d], padded.shape[1 + d], plane.stride[d], plane.outputs[d], 2, 1 - d)
        for d in (0, 1)
    ]
    by_channel = np.ascontiguousarray(weights.reshape(*weights.shape[:2], -1).transpose(1, 2, 0))
    tables = multipliers.tables()
    total = useful = 0
    for c in range(channels):
        cycles = np.zeros((-(-len(weights) // filters_at_once), plane.pes[0] * plane.pes[1]), np.int64)
        useful += _channel(
            padded[c],
            by_channel[c],
            (*plane.pes, *patch),
            plane.stride,
            phase[0] * plane.stride[1] + phase[1],
            *classes,
            first_filter,
            filters_at_once,
            (multipliers.activations, multipliers.weights),
            multipliers.bank_table(),
            *tables,
            cycles,
        )
        total += int(cycles.max(axis=1).sum())
    return total, useful
