"""Cycles of SAC units that wait for each other at pass marks only: once an output sum, not step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pass_mark_cycles(sums: npt.NDArray[Any], *, rows: int, tiles: int, share: bool) -> tuple[int, int]:
    """Count the cycles in which SAC units work off their output sums, one after another.

    The lanes of a unit run on by themselves to the end of a sum, so a sum takes as long as its slowest lane.
    Units take filters in turns, ``rows`` per PE, and go on to their next filter on their own, or with their
    PE.

    Parameters
    ----------
    sums : array of int, shape (groups, filters, lanes)
        Cycles of each lane for one output sum of each filter; groups run one after another.
    rows, tiles : int
        Units of a PE, and PEs.
    share : bool
        Whether the units of a PE begin a sum together.

    Returns
    -------
    even, cycles : int
        Cycles of one sum of every filter if all lanes shared the work evenly, and on this machine.

    Examples
    --------
    >>> two_filters = np.array([[[5, 7], [6, 2], [1, 1], [9, 3]]])
    >>> pass_mark_cycles(two_filters, rows=2, tiles=1, share=True)
    (9, 16)
    >>> pass_mark_cycles(two_filters, rows=2, tiles=1, share=False)
    (9, 15)
    """
    lanes = sums.shape[2]
    even = -(-int(sums.sum(dtype=np.int64)) // (lanes * rows * tiles))
    slowest = sums.max(axis=2, initial=0).astype(np.int64)
    # Where the last round of a group has fewer filters, units have nothing to do.
    slowest = np.pad(slowest, ((0, 0), (0, -slowest.shape[1] % (rows * tiles))))
    rounds = slowest.reshape(-1, tiles, rows)
    if share:
        rounds = rounds.max(axis=2, keepdims=True)
    return even, int(rounds.sum(axis=0).max())
