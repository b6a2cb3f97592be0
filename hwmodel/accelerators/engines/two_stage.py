"""Cycles of Bit-Pragmatic's two-stage shift. Importing this module imports Numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.jit import kernel


@kernel
def _two_stage(terms, first_stage_bits, cycles):
    # Terms of a lane that are not applied yet are set bits of `left`; the union says which positions any lane
    # still needs.
    reach = np.uint32(1) << np.uint32(first_stage_bits)
    lanes = terms.shape[1]
    left = np.empty(lanes, np.uint32)
    for n in range(terms.shape[0]):
        union = np.uint32(0)
        for i in range(lanes):
            left[i] = terms[n, i]
            union |= left[i]
        count = 0
        while union != 0:
            # The second stage shifts all lanes to the lowest position; the first stage reaches a little
            # above.
            lowest = union & np.uint32(~union + np.uint32(1))
            # Positions from the lowest term up to `reach` - 1 above it.
            window = np.uint32((np.uint64(lowest) << np.uint64(reach)) - np.uint64(1))
            union = np.uint32(0)
            for i in range(lanes):
                # A lane applies its own lowest term, if it is in reach; others wait.
                v = left[i]
                v ^= v & np.uint32(~v + np.uint32(1)) & window
                left[i] = v
                union |= v
            count += 1
        # A brick of zeros passes through in a cycle.
        cycles[n] = max(count, 1)


def two_stage_cycles(terms: npt.NDArray[np.uint32], first_stage_bits: int) -> npt.NDArray[np.uint8]:
    """Cycles in which lanes that share a second-stage shifter drain their terms.

    Each cycle, the lowest term of any lane sets the shift that all lanes share; every lane whose lowest
    term is less than ``2**first_stage_bits`` above it applies that term.

    Parameters
    ----------
    terms : array of uint32, shape (..., lanes)
        Terms as set bits, at most 17.
    first_stage_bits : int
        L of the paper. 0: one position per cycle; 5 or more: lanes never wait for the shift.

    Returns
    -------
    array of uint8, shape (...)
        At least 1.
    """
    flat: Any = np.ascontiguousarray(terms.reshape(-1, terms.shape[-1]))
    cycles = np.empty(len(flat), np.uint8)
    _two_stage(flat, min(first_stage_bits, 5), cycles)
    return cycles.reshape(terms.shape[:-1])
