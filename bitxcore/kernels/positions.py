"""Ones per bit position over many vectors, by carry-save addition.

Eight registers' worth of lanes go through a tree of full adders that hold, for each bit position
of a lane, the ones seen so far in binary: `ones`, `twos` and `fours`. One register of `eights`
leaves the tree a vector, and only that is taken apart by position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from bitxcore.kernels.vectors import Vec, load, popcount, shuffle, splat, store, total

PARTS = 8
EVERY_BYTE = 0x0101010101010101
FLUSH = 255  # vectors until a byte of the counters may be full


@intrinsic
def carry_save(typing: Any, x: Any, ones: Any, twos: Any, fours: Any) -> Any:
    """Add the eight parts of `x` to the counters; return them and the carries, worth eight each."""
    part = x.lanes // PARTS

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Adds three bits at every position at once: sum, and carry worth twice as much.
        def full_add(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
            half = builder.xor(a, b)
            return builder.xor(half, c), builder.or_(builder.and_(a, b), builder.and_(half, c))

        words = [shuffle(builder, args[0], list(range(k * part, (k + 1) * part))) for k in range(PARTS)]
        # Eight words and three counters in: seven full adders (Harley and Seal's tree) leave the counters
        # and one word worth eight.
        one, two, four = args[1:]
        carries = []
        for k in range(0, PARTS, 2):
            one, carry = full_add(one, words[k], words[k + 1])
            carries.append(carry)
        two, low = full_add(two, carries[0], carries[1])
        two, high = full_add(two, carries[2], carries[3])
        four, eight = full_add(four, low, high)
        return context.make_tuple(builder, signature.return_type, [one, two, four, eight])

    vec = Vec(x.bits, part)
    return types.UniTuple(vec, 4)(x, ones, twos, fours), codegen


@njit(inline="always")
def clear_counters(counters: Any, bits: int, part: int) -> None:
    """Set all counters to 0."""
    for s in range(8):
        store(counters[s], 0, splat(0, bits, part))


@njit(inline="always")
def add_eights(word: Any, counters: Any, bits: int, part: int) -> None:
    """Take a register apart by position: byte q of ``counters[s]`` counts bit ``8 * q + s``."""
    for s in range(8):
        store(counters[s], 0, load(counters[s], 0, part) + ((word >> s) & EVERY_BYTE))


@njit(inline="always")
def add_counters(counters: Any, weight: int, rows: Any, bits: int, part: int) -> None:
    """Add the counters, worth `weight` each, to the sums by row; row 0 is the top bit."""
    for s in range(8):
        # Each lane has counted other weights, at the same positions; a byte holds one position's count.
        for lane in range(part):
            word = np.uint64(counters[s, lane])
            for q in range(bits >> 3):
                rows[bits - 1 - 8 * q - s] += weight * np.int64((word >> np.uint64(8 * q)) & np.uint64(255))


@njit(inline="always")
def add_rest(ones: Any, twos: Any, fours: Any, counters: Any, rows: Any, bits: int, part: int) -> None:
    """Add to the sums by row what is still in the tree."""
    for weight, word in ((1, ones), (2, twos), (4, fours)):
        clear_counters(counters, bits, part)
        add_eights(word, counters, bits, part)
        add_counters(counters, weight, rows, bits, part)


@njit(inline="always")
def count_rest(ones: Any, twos: Any, fours: Any) -> int:
    """Count what is still in the tree, of all rows."""
    return total(popcount(ones)) + 2 * total(popcount(twos)) + 4 * total(popcount(fours))


@njit(inline="always")
def add_histogram(counts: Any, groups: int, histogram: Any) -> None:
    """Add bytes to a histogram of 64 bins and one."""
    for g in range(groups):
        histogram[counts[g]] += 1
