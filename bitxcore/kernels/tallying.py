"""Ones of weights, added up: how many weights have how many, and the most of each group."""

from __future__ import annotations

from functools import cache
from typing import Any

from bitxcore.jit import kernel
from bitxcore.kernels.vectors import fold_umax, load, splat, total, where

LANES = 512
ROUNDS = 8  # vectors that stay in the first-level cache while every number is counted in them


@cache
def tally_kernel(group: int) -> Any:
    """Build the kernel that adds weights to a histogram by their ones, and groups up by the most of theirs.

    The kernel's arguments: `ones` (uint8), whole parts of `length` members of `stride` lanes each;
    `histogram` (int64), as long as there are numbers of ones; the members of a group, `length` and `stride`.
    It returns the sum over groups of the most ones of a weight.

    Parameters
    ----------
    group : int
        Power of two whose groups lie one behind the other; 1: any others, value by value.
    """

    @kernel(variant=(group,))
    def tally(ones, histogram, members, length, stride):
        whole = ones.size - ones.size % (ROUNDS * LANES)
        for first in range(0, whole, ROUNDS * LANES):
            for number in range(histogram.size):
                found = splat(0, 8, LANES)
                for i in range(first, first + ROUNDS * LANES, LANES):
                    found = where(load(ones, i, LANES) == number, found + 1, found)
                histogram[number] += total(found)
        for i in range(whole, ones.size):
            histogram[ones[i]] += 1
        most = 0
        done = 0
        if group > 1:
            done = ones.size - ones.size % LANES
            for i in range(0, done, LANES):
                most += total(fold_umax(load(ones, i, LANES), group))
            for i in range(done, ones.size, members):
                largest = 0
                for j in range(i, i + members):
                    largest = max(largest, ones[j])
                most += largest
            return most
        for start in range(0, ones.size, length * stride):
            for first in range(0, length, members):
                last = min(first + members, length)
                for lane in range(start, start + stride):
                    largest = 0
                    for j in range(first, last):
                        largest = max(largest, ones[lane + j * stride])
                    most += largest
        return most

    return tally
