"""`bitxcore.prune` of float32 by N rows, in plain NumPy: exact, for finite values and whole groups."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WINDOW = 32
CHUNK = 1 << 15  # values; their 32 rows of counts and significances fit a second-level cache


class Result(NamedTuple):
    """Pruned values; row masks, largest exponents and numbers of kept rows, one per group."""

    values: np.ndarray
    masks: np.ndarray
    exponents: np.ndarray
    kept: np.ndarray


def prune(x: np.ndarray, rows: int, group: int = 16) -> Result:
    codes = x.view(np.uint32).reshape(-1, group)
    field = codes >> 23 & 0xFF
    if (field == 0xFF).any():
        raise ValueError("values must be finite")
    significand = codes & 0x7FFFFF | (field > 0).astype(np.uint32) << 23
    exponent = np.maximum(field, 1)
    emax = np.where(significand > 0, exponent, 0).max(axis=1)
    distance = emax[:, None] - exponent  # in a group of zeros it wraps; shifts beyond 31 give 0
    aligned = significand << 8 >> distance

    significance = np.empty((len(codes), WINDOW))
    for row in range(WINDOW):
        ones = (aligned >> (WINDOW - 1 - row) & 1).sum(axis=1, dtype=np.uint8)
        significance[:, row] = ones * 4.0 ** (WINDOW - 1 - row)  # exact: a power of two
    masks = np.zeros(len(codes), np.uint32)
    kept = np.zeros(len(codes), np.uint8)
    groups = np.arange(len(codes))
    for _ in range(min(rows, WINDOW)):
        best = significance.argmax(axis=1)  # the first of equals: the upper row
        some = significance[groups, best] > 0
        masks |= some.astype(np.uint32) << (WINDOW - 1 - best).astype(np.uint32)
        kept += some
        significance[groups, best] = 0

    stays = significand & (masks[:, None] << distance >> 8)
    magnitudes = np.ldexp(stays.astype(np.float32), exponent.astype(np.int32) - 150)
    values = np.copysign(magnitudes, x.reshape(-1, group)).reshape(x.shape)
    return Result(values, masks, emax.astype(np.int16), kept)
