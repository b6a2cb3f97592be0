"""Pruning in blocks with shared indices, and the neurons that selectors pick. Imports Numba.

Outputs that work together share one index: it says which inputs any of them needs. The inputs of a window are
looked at `neuron_window` at a time, those of them that the index names at most `synapse_window` at a time;
out of such a segment the neurons that are not zero leave, as many per cycle as a PE has multipliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

Array = npt.NDArray[Any]
WORD = 64
BITS_AT_ONCE = 1 << 24
"""Neurons gathered at once."""


def reduce_blocks(held: Array, axis: int, size: int) -> npt.NDArray[np.bool_]:
    """Say of each run of `size` entries along an axis whether any is set; the last run may be shorter."""
    if size == 1:
        return held
    found: npt.NDArray[np.bool_] = np.logical_or.reduceat(held, np.arange(0, held.shape[axis], size), axis)
    return found


def kept_blocks(held: Array, sizes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Set every entry whose block has any entry set: what coarse-grained pruning has to keep.

    Parameters
    ----------
    held : array of bool
    sizes : tuple of int
        Of a block along each axis; blocks at the end of an axis may be shorter.
    """
    # Reduce to one entry per block along each axis, then spread it over the block again.
    kept = held
    for axis, size in enumerate(sizes):
        kept = reduce_blocks(kept, axis, size)
    for axis, size in enumerate(sizes):
        if size > 1:
            kept = np.repeat(kept, size, axis).take(np.arange(held.shape[axis]), axis)
    return kept


@kernel
def _cut(index, neuron_window, synapse_window, words, masks, ends, bounds):
    """Cut each row of `index` into pieces of segments, none of which straddles a word; `bounds`: of rows."""
    # A piece n is a part of a segment: `masks` names its inputs in word `words` of a window, `ends` says
    # whether the segment ends with it. `held` counts the inputs of the segment so far.
    n, one = 0, np.uint64(1)
    for t in range(index.shape[0]):
        bounds[t] = n
        for first in range(0, index.shape[1], neuron_window):
            # The neuron selector's window begins: both selectors are empty. Without any input in it, one
            # piece with an empty mask remains, which still takes a cycle.
            words[n], masks[n], held = first // WORD, np.uint64(0), 0
            for i in range(first, min(first + neuron_window, index.shape[1])):
                if not index[t, i]:
                    continue
                # Close the piece if the synapse selector is full, which ends the segment, or if the input
                # lies in another word, which does not.
                full = held == synapse_window
                if masks[n] != 0 and (full or i // WORD != words[n]):
                    ends[n] = full
                    n += 1
                    masks[n] = np.uint64(0)
                    if full:
                        held = 0
                words[n] = i // WORD
                masks[n] |= one << np.uint64(i % WORD)
                held += 1
            # The end of a neuron window ends the segment.
            ends[n] = True
            n += 1
    bounds[index.shape[0]] = n


@kernel
def _ones(x):
    # As in `bit_rows`: a kernel calls functions of its own file only.
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def _select(neurons, words, masks, ends, bounds, multipliers, cycles, selected):
    for w in range(neurons.shape[0]):
        # Bits of the window's neurons that are not 0.
        row = neurons[w]
        for t in range(len(bounds) - 1):
            # Cycles and neurons of this tile of outputs; `count`: needed neurons of the segment so far.
            spent, picked, count = 0, 0, 0
            for i in range(bounds[t], bounds[t + 1]):
                count += _ones(row[words[i]] & masks[i])
                if ends[i]:
                    # A segment without a neuron still takes the cycle in which it is looked at.
                    spent += max(1, (count + multipliers - 1) // multipliers)
                    picked += count
                    count = 0
            cycles[w, t] = spent
            selected[t] += picked


@dataclass(frozen=True)
class Selectors:
    """Widths of a neuron selector, a synapse selector and a PE.

    Parameters
    ----------
    neuron_window, synapse_window, multipliers : int
    """

    neuron_window: int
    synapse_window: int
    multipliers: int

    def select(self, index: Array, neurons: Array, at: Array) -> tuple[Array, Array]:
        """Run all windows of a convolution group.

        Parameters
        ----------
        index : array of bool, shape (tiles, reduction)
            Inputs that each tile of outputs needs.
        neurons : array of bool, shape (positions, channels)
            Which inputs are not zero.
        at : array of int, shape (windows, kernel positions)
            What each window reads, in the order of `reduction`: channels innermost.

        Returns
        -------
        cycles : array of int64, shape (windows, tiles)
        selected : array of int64, shape (tiles,)
            Neurons that each tile received, over all windows.
        """
        index = np.ascontiguousarray(index, np.bool_)
        tiles, reduction = index.shape
        # Room for the pieces: each ends at a word, a full segment, or a window of the neuron selector.
        chunks = -(-reduction // self.neuron_window)
        most = tiles * (-(-reduction // WORD) + -(-reduction // self.synapse_window) + 2 * chunks) + 1
        words, masks = np.zeros(most, np.int64), np.zeros(most, np.uint64)
        ends, bounds = np.zeros(most, np.bool_), np.zeros(tiles + 1, np.int64)
        _cut(index, self.neuron_window, self.synapse_window, words, masks, ends, bounds)
        cycles, selected = np.empty((len(at), tiles), np.int64), np.zeros(tiles, np.int64)
        step = max(1, BITS_AT_ONCE // reduction)
        # Windows are gathered some at a time, which bounds memory.
        for first in range(0, len(at), step):
            part = slice(first, first + step)
            _select(
                _packed(neurons[at[part]]),
                words,
                masks,
                ends,
                bounds,
                self.multipliers,
                cycles[part],
                selected,
            )
        return cycles, selected


def _packed(neurons: Array) -> npt.NDArray[np.uint64]:
    """Bits of (windows, kernel positions, channels) in words, the first in the lowest bit."""
    flat = neurons.reshape(len(neurons), -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % WORD)))
    return np.packbits(flat, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)
