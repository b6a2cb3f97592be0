"""Matrices whose rows are dealt to PEs, stored by columns, and the queues in front of the PEs.

Importing this module imports Numba. Row i belongs to PE ``i % pes``. A PE stores a column as the weights
that are not zero, each with the number of zeros before it in `index_bits`; where there are more zeros, an
entry of value zero stands in between. Activations are broadcast, one per cycle, into a queue before each PE::

    broadcast(n) = max(broadcast(n - 1) + 1, max over PEs p of finish(p, n - depth))
    start(p, n)  = max(finish(p, n - 1), broadcast(n) + 1)
    finish(p, n) = start(p, n) + max(1, entries(p, n))

An activation stays in the queue while the PE works on it; a queue that is full at the start of a cycle takes
nothing in that cycle; what is broadcast in one cycle is worked on from the next. As every activation
occupies every PE for a cycle at least, the limit of one broadcast per cycle never holds anything up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel

Array = npt.NDArray[Any]
COLUMNS_AT_ONCE = 256


@kernel
def _count_entries(held, pes, index_bits, columns_at_once, entries):
    columns = held.shape[1]
    # Row of a PE's last entry in each column. Some columns at a time, all rows: `held` is read row by row,
    # and what is remembered of the columns stays in the cache.
    previous = np.empty((columns_at_once, pes), np.int32)
    for first in range(0, columns, columns_at_once):
        last = min(first + columns_at_once, columns)
        previous[:] = -1
        for i in range(held.shape[0]):
            pe, row = i % pes, np.int32(i // pes)
            for j in range(first, last):
                if held[i, j]:
                    # An entry of value zero covers 2**index_bits rows: the zeros that its count tells, and
                    # itself.
                    zeros = row - previous[j - first, pe] - 1
                    entries[j, pe] += 1 + (zeros >> index_bits)
                    previous[j - first, pe] = row


@kernel
def _feed(entries, columns, depth, finish, busy):
    """Broadcast some columns to empty queues; return when the last PE has finished."""
    # ring[n % depth]: when the last PE finished activation n - depth, which makes room in the fullest queue;
    # `finish`: when each PE is done with what it has got.
    ring = np.zeros(depth, np.int64)
    finish[:] = 0
    latest = np.int64(0)
    for n in range(len(columns)):
        work = entries[columns[n]]
        # Broadcast in the cycle in which the room is there, worked on from the next.
        earliest = ring[n % depth] + 1
        latest = 0
        for p in range(len(finish)):
            # A column without an entry still takes a PE a cycle.
            cycles = max(np.int64(work[p]), 1)
            finish[p] = max(finish[p], earliest) + cycles
            busy[p] += cycles
            latest = max(latest, finish[p])
        ring[n % depth] = latest
    return latest


@kernel
def _feed_all(entries, held, pes, depth, sums):
    """Run one position after another; add to `sums` the fields of `Fed`."""
    # PEs without a row never hold anything up and are left out.
    used = entries.shape[1]
    finish, busy = np.empty(used, np.int64), np.empty(used, np.int64)
    columns = np.empty(held.shape[1], np.int64)
    for k in range(held.shape[0]):
        # Columns whose activation is not 0: only those are broadcast.
        count = 0
        for j in range(held.shape[1]):
            if held[k, j]:
                columns[count] = j
                count += 1
        if count == 0:
            continue
        busy[:] = 0
        latest = _feed(entries, columns[:count], depth, finish, busy)
        work = longest = np.int64(0)
        for p in range(used):
            work += busy[p]
            longest = max(longest, busy[p])
        shared = (work + pes - 1) // pes
        # A ladder, each rung held up by one thing more: the first cycle, in which the first activation is
        # broadcast; all PEs sharing the work; the PE with most; full queues. Then what energy follows from.
        sums[0] += 1
        sums[1] += shared
        sums[2] += longest - shared
        sums[3] += latest - 1 - longest
        sums[4] += count
        for n in range(count):
            for p in range(used):
                sums[5] += entries[columns[n], p]


@dataclass(frozen=True)
class Fed:
    """What one matrix makes of some activation vectors, one after another.

    Attributes
    ----------
    fill_cycles : int
        Until the first activation is there, once a vector.
    compute_cycles : int
        If all PEs shared the work evenly.
    imbalance_cycles : int
        That the PE with most work takes longer, were its queue without bound.
    fifo_full_cycles : int
        In which a full queue held up the broadcast, and with it the end.
    broadcasts : int
        Activations broadcast.
    entries : int
        Stored entries worked on, those of value zero included.
    """

    fill_cycles: int = 0
    compute_cycles: int = 0
    imbalance_cycles: int = 0
    fifo_full_cycles: int = 0
    broadcasts: int = 0
    entries: int = 0

    def __add__(self, other: Fed) -> Fed:
        return Fed(*(a + b for a, b in zip(self.fields, other.fields, strict=True)))

    def __rmul__(self, count: int) -> Fed:
        return Fed(*(count * a for a in self.fields))

    @property
    def fields(self) -> tuple[int, int, int, int, int, int]:
        """All fields in order."""
        return (
            self.fill_cycles,
            self.compute_cycles,
            self.imbalance_cycles,
            self.fifo_full_cycles,
            self.broadcasts,
            self.entries,
        )

    @property
    def cycles(self) -> int:
        """All cycles."""
        return sum(self.fields[:4])


def count_entries(held: Array, pes: int, index_bits: int) -> Array:
    """Count the entries that each PE stores of each column.

    Parameters
    ----------
    held : array of bool, shape (rows, columns)
        Which weights are not zero.
    pes : int
    index_bits : int
        Width of a zero count.

    Returns
    -------
    array of uint16, shape (columns, PEs that have a row)
        Of uint32 if a PE has more rows than uint16 can count.
    """
    most_rows = -(-len(held) // pes)
    dtype = np.uint16 if most_rows < 1 << 16 else np.uint32
    entries = np.zeros((held.shape[1], min(pes, len(held))), dtype)
    # More bits than a row number has make no difference, but Numba's shift would wrap.
    bits = np.int32(min(index_bits, 30))
    _count_entries(np.ascontiguousarray(held, np.bool_), pes, bits, COLUMNS_AT_ONCE, entries)
    return entries


def feed(entries: Array, held: Array, pes: int, depth: int) -> Fed:
    """Run activation vectors through the queues, one after another.

    Parameters
    ----------
    entries : array of unsigned int, shape (columns, PEs that have a row)
        From `count_entries`.
    held : array of bool, shape (vectors, columns)
        Which activations are broadcast.
    pes : int
        All PEs, with or without a row.
    depth : int
        Of the queues, at least 1.
    """
    sums = np.zeros(6, np.int64)
    _feed_all(entries, np.ascontiguousarray(held, np.bool_), pes, depth, sums)
    return Fed(*sums.tolist())
