"""Ones per bit position over many vectors, by carry-save addition.

Eight registers' worth of lanes go through a tree of full adders that hold, for each bit position
of a lane, the ones seen so far in binary: `ones`, `twos` and `fours`. One register worth eight
leaves the tree per vector. More full adders make one worth 32 of four, and only that is taken apart
by position.
"""

from __future__ import annotations

from typing import Any

from numba import njit
from numba.core import types

from bitxcore.kernels.expressions import intrinsic, loop
from bitxcore.kernels.vectors import (
    Vec,
    add_to,
    emit_full_add,
    like,
    load,
    parts_of,
    splat,
    store,
    total,
    where,
)

PARTS = 8
EVERY_BYTE = 0x0101010101010101
BYTES = 64  # lanes of a register of bytes
FULL = 255  # the most a byte counts
FLUSH = 4 * FULL  # vectors until a byte of the counters, which count words worth four of them, may be full


@intrinsic
def carry_save(typing: Any, x: Any, ones: Any, twos: Any, fours: Any) -> Any:
    """Add the eight parts of `x` to the counters; return them and the carries, worth eight each."""
    part = x.lanes // PARTS

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = parts_of(builder, args[0], PARTS)
        # Eight words and three counters in: seven full adders (Harley and Seal's tree) leave the counters
        # and one word worth eight.
        one, two, four = args[1:]
        carries = []
        for k in range(0, PARTS, 2):
            one, carry = emit_full_add(context, builder, one, words[k], words[k + 1])
            carries.append(carry)
        two, low = emit_full_add(context, builder, two, carries[0], carries[1])
        two, high = emit_full_add(context, builder, two, carries[2], carries[3])
        four, eight = emit_full_add(context, builder, four, low, high)
        return context.make_tuple(builder, signature.return_type, [one, two, four, eight])

    vec = Vec(x.bits, part)
    return types.UniTuple(vec, 4)(x, ones, twos, fours), codegen


def add_word(word: Any, counters: Any, bits: int, part: int) -> None:
    """Take a register apart by position: byte q of counter s counts bit ``8 * q + s``.

    A counter is `part` lanes at an address, behind the one before.
    """
    for s in range(8):
        at = s * part
        store(counters, at, load(counters, at, part) + ((word >> s) & EVERY_BYTE))


def add_counters(counters: Any, weight: int, rows: Any, bits: int, part: int) -> None:
    """Add the counters, worth `weight` each, to the sums by row, and clear them; row 0 is the top bit."""

    def one(s: Any) -> None:
        # Each lane has counted other weights, at the same positions; a byte holds one position's count.
        word = load(counters, s * part, part)
        loop(
            bits >> 3,
            lambda q: add_to(rows, (bits - 1) - q * 8 - s, weight * total((word >> (q * 8)) & 255)),
        )
        store(counters, s * part, splat(0, bits, part))

    loop(8, one)


def add_rest(words: list[tuple[int, Any]], rows: Any, bits: int, part: int) -> None:
    """Add to the sums by row the words, each with its weight, that are still in the tree."""
    for weight, word in words:
        # Few and wide: a bit of all lanes at a time.
        loop(
            bits,
            lambda b, weight=weight, word=word: add_to(rows, (bits - 1) - b, weight * total((word >> b) & 1)),
        )


@njit(inline="always")
def add_histogram(counts: Any, groups: int, histogram: Any) -> None:
    """Add bytes, which are below the histogram's size, to it."""
    # A bin at a time, many groups at once: one at a time, most groups wait for the bin of the one before.
    whole = groups // BYTES * BYTES
    for first in range(0, whole, FULL * BYTES):
        last = min(first + FULL * BYTES, whole)
        k, left = histogram.size, last - first
        # From the top: most groups of floats fill most rows.
        while left:
            k -= 1
            equal = splat(0, 8, BYTES)
            for g in range(first, last, BYTES):
                equal = equal + where(load(counts, g, BYTES) == k, like(equal, 1), 0)
            here = total(equal)
            histogram[k] += here
            left -= here
    for g in range(whole, groups):
        histogram[counts[g]] += 1
