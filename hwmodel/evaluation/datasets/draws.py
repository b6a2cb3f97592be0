"""Draws that are the same on every machine and with every NumPy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Draws:
    """Whole numbers from a stream of PCG64's words, which NumPy promises never to change.

    Parameters
    ----------
    *seeds : int
    """

    def __init__(self, *seeds: int) -> None:
        self._words = np.random.PCG64(seeds)

    def array(self, low: int, high: int, size: int) -> npt.NDArray[np.int64]:
        """Draw `size` numbers from `low` to `high`, both included."""
        words = self._words.random_raw(size) >> np.uint64(32)
        return (words * np.uint64(high - low + 1) >> np.uint64(32)).astype(np.int64) + low

    def one(self, low: int, high: int) -> int:
        """Draw one number from `low` to `high`, both included."""
        return int(self.array(low, high, 1)[0])
