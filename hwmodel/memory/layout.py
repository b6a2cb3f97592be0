"""Boxes of tensors in DRAM: how many runs of neighbours they are, and how far apart these lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

CountArray = npt.NDArray[np.int64]
"""Counts of values, tiles or bits."""


class Extent(NamedTuple):
    """A box along one dimension of a tensor; integers or arrays.

    Attributes
    ----------
    part : int or array
        Places in the box.
    span : int or array
        From its first to its last place; more than `part` if some between are left out.
    whole : int
        Places of the tensor.
    """

    part: Any
    span: Any
    whole: int


class Runs(NamedTuple):
    """Runs of neighbouring values; integers or arrays.

    Attributes
    ----------
    count : int or array
    values : int or array
        Of a run.
    stride : int or array
        Values from the start of one to the next, where they are nearest.
    """

    count: Any
    values: Any
    stride: Any

    def bits(self, width: int, burst: int) -> Any:
        """Bits that are moved: each run begins on a burst and ends with one."""
        return self.count * (-(-self.values * width // burst) * burst)


def runs(box: Sequence[Extent]) -> Runs:
    """Find the runs of a box; `box`: its extents, the innermost first."""
    count: Any = 1
    values: Any = 1
    stride: Any = 1
    joined: Any = True
    inner = 1
    # `values` of one run so far, `count` runs so far, `inner` values of the tensor per place of this
    # dimension. A run goes on through a dimension if the box is whole in all inner ones and has no gap in
    # this one.
    for part, span, whole in box:
        longer = np.logical_and(joined, np.equal(part, span))
        first = np.logical_and(np.equal(count, 1), np.logical_not(longer))
        # The innermost dimension that cuts runs has the nearest ones; its gaps are taken to be even.
        stride = np.where(first, inner * (np.maximum(span - 1, 1) // np.maximum(part - 1, 1)), stride)
        values, count = values * np.where(longer, part, 1), count * np.where(longer, 1, part)
        joined = np.logical_and(joined, np.equal(part, whole))
        inner *= whole
    return Runs(count, values, stride)
