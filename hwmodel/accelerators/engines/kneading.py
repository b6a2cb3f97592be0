"""What weights cost once their essential bits are kneaded. Importing this module imports Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel


@kernel
def _fullest(ones):
    most = np.int64(0)
    for b in range(len(ones)):
        most = max(most, ones[b])
    return most


@kernel
def _knead(streams, stride, leave_out_zeros, costs, lengths):
    # Essential bits at each bit position of the group so far, which has `held` members.
    ones = np.empty(16, np.int64)
    for s in range(streams.shape[0]):
        group = held = 0
        ones[:] = 0
        for t in range(streams.shape[1]):
            weight = streams[s, t]
            # Without a place in a group, a weight of 0 makes room for the next one.
            if leave_out_zeros and weight == 0:
                continue
            for b in range(16):
                ones[b] += (weight >> b) & 1
            held += 1
            if held == stride:
                # Bits close up by position, so the fullest position says how many kneaded weights there are.
                costs[s, group] = _fullest(ones)
                group += 1
                held = 0
                ones[:] = 0
        # The last group of a lane.
        if held:
            costs[s, group] = _fullest(ones)
            group += 1
        lengths[s] = group


def kneaded_costs(
    streams: npt.NDArray[np.uint16], stride: int, leave_out_zeros: bool
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Knead the weights that pass each lane, `stride` at a time.

    At each bit position the essential bits of a group close up, so that the group leaves behind as many
    kneaded weights as its fullest position has ones.

    Parameters
    ----------
    streams : array of uint16, shape (lanes, steps)
        Magnitudes, in the order in which they pass.
    stride : int
        Weights kneaded together; the last group of a lane may have fewer.
    leave_out_zeros : bool
        Whether weights of 0 take no place in a group.

    Returns
    -------
    costs : array of int32, shape (lanes, groups)
        Kneaded weights of each group; 0 for a group of zeros, and behind a lane's last group.
    lengths : array of int64, shape (lanes,)
        Groups of each lane.
    """
    lanes, steps = streams.shape
    costs = np.zeros((lanes, -(-steps // stride)), np.int32)
    lengths = np.empty(lanes, np.int64)
    flat: Any = np.ascontiguousarray(streams)
    _knead(flat, stride, leave_out_zeros, costs, lengths)
    return costs, lengths
