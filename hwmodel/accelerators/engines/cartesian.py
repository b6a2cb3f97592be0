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
from hwmodel.accelerators.engines.planes import NOTHING, Plane

Array = npt.NDArray[Any]
LARGEST_TABLE = 1 << 20


def bank(activation: int, weight: int, banks: int) -> int:
    """Accumulator bank of an activation's class and a filter's class (its number modulo 8)."""
    high = (activation ^ weight) >> 2 & 1
    return ((high << 4) + ((activation & 3) << 2) + (weight & 3)) % banks


@cache
def _multisets(size: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Enumerate multisets of classes: their numbers by sequence of `size`, and how often each has a class."""
    sets = list(combinations_with_replacement(range(NOTHING + 1), size))
    # A sequence of classes is a number in base 9, first member in the highest digit; the order within a block
    # does not change what its banks get, so sequences of one multiset share its number.
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
        # Pairs of classes whose products go to bank b; weights x meet x activations is how many there are.
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
    # filled[bank, activation block]: products of one weight block that go to the bank. `members` says how
    # many activations of each class a block has at the weight's kernel position (tap). The innermost loops
    # run over all activation blocks, so that they vectorise.
    for i in range(size):
        banks = bank_of[filters[i] & 7]
        for c in range(8):
            into, of = filled[banks[c]], members[taps[i], c]
            for b in range(blocks):
                into[b] += of[b]
    # A bank takes one product per cycle, so a pair of blocks lasts as long as its fullest bank has work.
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
    # Blocks of activations there can be, if no activation is 0. A PE has a tile of tw x th inputs.
    most = pe_rows * pe_columns * ((tw * th + width - 1) // width)
    taps = len(tap_phase)
    # Of each activation block: where its members lie, how many there are, and which PE holds it.
    xs, ys = np.empty((most, width), np.int64), np.empty((most, width), np.int64)
    size, owner = np.empty(most, np.int64), np.empty(most, np.int64)
    # By tap, as the output coordinates that decide about banks depend on it: the block's multiset, its
    # members of each class, and how many activations of all blocks meet an output.
    number = np.empty((taps, most), np.int64)
    members = np.empty((taps, 8, most), np.uint8)
    meets = np.empty(taps, np.int64)
    # Cycles that an activation block of each multiset spends on the weight blocks at one tap, from the table.
    # Adding a row of the table takes as long however many activation blocks there are.
    by_number = np.zeros((taps, table.shape[1]), np.uint32)
    filled, fullest = np.empty((bank_of.max() + 1, most), np.uint8), np.empty(most, np.uint8)
    # Cycles of each activation block on weight blocks that straddle taps.
    direct = np.empty(most, np.int64)
    at_tap, at_filter = np.empty(block, np.int64), np.empty(block, np.int64)
    useful = np.int64(0)
    # With a stride only inputs and taps of one phase meet, so phase after phase is worked off.
    for phase in range(stride[0] * stride[1]):
        px, py = phase // stride[1], phase % stride[1]
        blocks = 0
        for pe in range(pe_rows * pe_columns):
            # First stage: a PE packs the activations of its tile that are not 0 into blocks of `width`.
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
        # Second stage: classes of all activations at every tap of this phase.
        for tap in range(taps):
            if tap_phase[tap] != phase:
                continue
            members[tap, :, :blocks] = 0
            meets[tap] = 0
            for b in range(blocks):
                code = 0
                for i in range(width):
                    # Places of a block that is cut short, and products that meet no output, have class 8.
                    # Both axes give the high bit of a class, which is why they are joined by an exclusive or.
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
        # Third stage: the weights of as many filters as the accumulators hold pass all activation blocks, tap
        # by tap, filters innermost, in blocks of those that are not 0.
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
                            # A full block at one tap is looked up, one that began at an earlier tap counted.
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
                # Each weight meets each activation of its tap.
                useful += (total - before) * meets[tap]
            # The last block is cut short; the table knows full ones only.
            if held:
                _count(at_tap, at_filter, held, members, blocks, bank_of, filled, fullest)
                for b in range(blocks):
                    direct[b] += fullest[b]
            if tabled:
                for tap in range(taps):
                    if tap_phase[tap] == phase:
                        for b in range(blocks):
                            direct[b] += by_number[tap, number[tap, b]]
            # PEs wait for each other at the end of a channel only, so their blocks and phases add up.
            for b in range(blocks):
                cycles[q, owner[b]] += direct[b]
    return useful


def _axis_classes(
    taps: npt.NDArray[np.int64], size: int, stride: int, outputs: int, high: int, low: int
) -> npt.NDArray[np.int64]:
    """Class bits of the output coordinate that each (tap, input coordinate) meets, `NOTHING` if none."""
    # Input minus tap is the output coordinate times the stride, where it exists.
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
    # Tiles of all PEs have one size; inputs that fill up the last ones are 0.
    channels, *size = activations.shape
    patch = [-(-n // pes) for n, pes in zip(size, plane.pes, strict=True)]
    fill = [(0, p * pes - n) for n, p, pes in zip(size, patch, plane.pes, strict=True)]
    padded = np.pad(activations, ((0, 0), *fill))
    # Coordinates of each tap, shape (2, taps), and the phase of the stride that it belongs to.
    tap = np.indices(plane.kernel).reshape(2, -1) * np.array(plane.dilation)[:, None]
    shift = np.array(plane.padding if plane.phase_shift else (0, 0))[:, None]
    phase = (tap + shift) % np.array(plane.stride)[:, None]
    # A coordinate gives its second bit, which both share, and its first.
    classes = [
        _axis_classes(tap[d], padded.shape[1 + d], plane.stride[d], plane.outputs[d], 2, 1 - d)
        for d in (0, 1)
    ]
    # (channels, taps, filters): filters are innermost in the walk.
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
        # The slowest PE decides about each channel and block of filters.
        total += int(cycles.max(axis=1).sum())
    return total, useful
