"""The kernel of a CUDA device: a thread per group."""

# mypy: disable-error-code="attr-defined"
from __future__ import annotations

import numpy as np
from numba import cuda

from bitxcore.cuda.group_functions import group_pruner
from bitxcore.groups import MAX_GROUP

THREADS = 128
"""Threads of a block."""

prune_group = group_pruner(cuda.jit(device=True))


@cuda.jit
def prune_groups(x, out, masks, exponents, kept, tallies, cut, number, view, rule, least):
    """Prune the groups of the codes `x` into `out`.

    Parameters
    ----------
    masks, exponents, kept : arrays, (all groups,)
        Of `bitxcore.cuda.DevicePruned`.
    tallies : array of int64, (2,)
        To which groups without a finite value, and window-limited ones, are added.
    cut : (filters, group, length, stride, parts)
        As in `bitxcore.groups.GroupGrid`.
    number, rule, least
        See `bitxcore.cuda.group_functions`.
    view : (window, its rows, exponent)
        Mask of the window, and what groups without a finite value have: number of rows, and exponent.
    """
    filters, group, length, stride, parts = cut
    window, window_rows, nonfinite_exponent = view
    blocks = (length + group - 1) // group
    at = np.int64(cuda.grid(1))
    if at >= filters * parts * stride * blocks:
        return
    block = at % blocks
    lane = at // blocks % stride
    part = at // (blocks * stride)  # parts of all filters lie one behind the other
    first = (part * length + block * group) * stride + lane
    left = length - block * group
    place = (first, stride, group if group < left else left)
    aligned = cuda.local.array(MAX_GROUP, np.uint64)
    finite, mask, exponent, limited = prune_group(x, out, place, aligned, number, window, rule, least)
    masks[at] = mask >> np.uint64(64 - window_rows)
    rows = np.int64(0)
    for row in range(64):
        rows += np.int64((mask >> np.uint64(row)) & np.uint64(1))
    kept[at] = rows
    exponents[at] = exponent if finite else nonfinite_exponent
    if not finite:
        cuda.atomic.add(tallies, 0, 1)
    if limited:
        cuda.atomic.add(tallies, 1, 1)
