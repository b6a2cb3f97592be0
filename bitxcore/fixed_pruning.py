"""Pruning of floats by way of their codes: quantised, pruned and written back a block at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitxcore.block_pruning import BlockPruning
from bitxcore.careful import CarefulPruning, KeptRows
from bitxcore.engine import Array
from bitxcore.formats import number_format
from bitxcore.pruned import Pruned
from bitxcore.quantization import BLOCK, FixedPoint, fixed_scale


def unfilled(x: Array, bits: int, out: Any, given: Mapping[str, Array]) -> FixedPoint:
    """Find the scale of `x`, and memory for its codes: that of the earlier result `out` where it fits."""
    scale, dtype = fixed_scale(x, bits), number_format(f"int{bits}").dtype
    codes = out.codes if isinstance(out, Pruned) else None
    fits = codes is not None and codes.shape == x.shape and codes.dtype == dtype and codes.flags.carray
    if codes is None or not fits or any(np.may_share_memory(codes, other) for other in (x, *given.values())):
        codes = np.empty(x.shape, dtype)
    return FixedPoint(codes, scale, bits)


@dataclass(frozen=True)
class FixedPruning:
    """What quantises, prunes and writes back units: whole groups, or filters where groups need not be whole.

    Parameters
    ----------
    fixed : FixedPoint
        Whose codes are overwritten.
    prune_codes : BlockPruning or CarefulPruning
    size, columns : int
        As `units` has them.
    """

    fixed: FixedPoint
    prune_codes: BlockPruning | CarefulPruning
    size: int
    columns: int

    def __call__(self, x: Array, out: Array, choice: KeptRows, first: int, last: int) -> tuple[int, int]:
        """Fill the codes of units ``first..last`` of `x`, pruned, and `out`, if it has elements."""
        fixed, size, columns = self.fixed, self.size, self.columns
        codes = fixed.codes.reshape(-1)
        stored = codes.view(f"u{codes.itemsize}")
        quantise, write_back = fixed.to_codes(x.dtype), fixed.to_values(x.dtype)
        step = max(1, BLOCK // size)
        for start in range(first, last, step):
            stop = min(start + step, last)
            part = slice(start * size, stop * size)
            quantise(x[part], codes[part], fixed.scale)
            self.prune_codes(stored, stored, choice, start * columns, stop * columns)
            if out.size:
                write_back(codes[part], out[part], fixed.scale)
        return 0, 0  # codes are finite, and integers are not aligned

    @property
    def count(self) -> int:
        """Units of the tensor."""
        return self.prune_codes.count // self.columns

    @property
    def unit(self) -> int:
        """Units that are best worked on together."""
        return max(1, self.prune_codes.unit // self.columns)


def units(prune_codes: BlockPruning | CarefulPruning) -> tuple[int, int]:
    """Values of a unit, and its groups (or columns of tiles), as `prune_codes` counts them."""
    grid = prune_codes.engine.grid
    if grid.stride == 1 and (grid.length % grid.group == 0 or grid.filters * grid.parts == 1):
        return grid.group, 1
    return grid.length * grid.stride, prune_codes.count // (grid.filters * grid.parts)
