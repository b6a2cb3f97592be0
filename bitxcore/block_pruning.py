"""From options to the kernel that prunes block by block, where one can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from bitxcore.careful import CarefulPruning, KeptRows
from bitxcore.criteria import Criterion, least_ones
from bitxcore.engine import MAX_WINDOW, Array, Engine, mask_dtype
from bitxcore.groups import GroupGrid

BLOCK_GROUPS = 512
"""Groups of the largest blocks."""

STREAMING_BYTES = 1 << 24
"""Results of this size and more leave the caches anyway: they are written past them, unless in place."""

CAREFUL_GROUPS = 1 << 10
"""Groups that are taken with care where the kernel has stopped; with every stop twice as many."""


@dataclass(frozen=True)
class BlockPruning:
    """A kernel of `kernels.blocks`, and its arguments that do not change.

    Parameters
    ----------
    kernel : callable
    settings : tuple
        From `rows` to `padding`.
    criterion : tuple
        What the criterion needs: a table and an integer.
    cut : tuple of int
        As `Engine.cut` has it.
    wide : int
        Lanes of a tile; 1 if there are none.
    careful : CarefulPruning
        Takes the groups before which the kernel stops.
    """

    kernel: Callable[..., tuple[int, int]]
    settings: tuple[int, ...]
    criterion: tuple[Array, int]
    cut: tuple[int, int, int, int]
    wide: int
    careful: CarefulPruning

    def __call__(self, x: Array, out: Array, choice: KeptRows, first: int, last: int) -> tuple[int, int]:
        """Prune the groups ``first..last``, or columns of tiles; else as `CarefulPruning` does."""
        # As bytes, arrays of any alignment are of one type to the compiler.
        codes, target = x.view(np.uint8), out.view(np.uint8)
        kept = [part.view(np.uint8) for part in choice]
        streaming = out.nbytes >= STREAMING_BYTES and not np.may_share_memory(out, x)
        bad = limited = 0
        careful_groups = CAREFUL_GROUPS
        while True:
            done, found = self.kernel(
                codes, target, *kept, first, last, *self.settings, streaming, *self.criterion, *self.cut
            )
            limited += found
            if done == last:
                return bad, limited
            first = min(last, done + max(1, careful_groups // self.wide))
            careful_groups *= 2
            for added in self._take_care(x, out, choice, done, first):
                bad, limited = bad + added[0], limited + added[1]

    def _take_care(
        self, x: Array, out: Array, choice: KeptRows, first: int, last: int
    ) -> Iterator[tuple[int, int]]:
        """Prune groups (or columns) with care; whole parts of columns as the groups that they are."""
        grid = self.careful.engine.grid
        if grid.stride == 1:
            yield self.careful(x, out, choice, first, last)
            return
        columns, groups = grid.blocks * -(-grid.stride // self.wide), grid.blocks * grid.stride
        start, stop = -(-first // columns), last // columns
        if start >= stop:
            yield self._careful_columns(x, out, choice, first, last)
            return
        for ends in ((first, start * columns), (stop * columns, last)):
            if ends[0] < ends[1]:
                yield self._careful_columns(x, out, choice, *ends)
        yield self.careful(x, out, choice, start * groups, stop * groups)

    def _careful_columns(
        self, x: Array, out: Array, choice: KeptRows, first: int, last: int
    ) -> tuple[int, int]:
        """Take the columns ``first..last`` with care: copied together, and back."""
        engine = self.careful.engine
        grid, group = engine.grid, engine.grid.group
        shape = grid.filters * grid.parts, grid.length, grid.stride
        old, new = x.reshape(shape), out.reshape(shape) if out.size else None
        tiles, tile = -(-grid.stride // self.wide), self.wide
        places, numbers = [], []
        for column in range(first, last):
            rest, number = divmod(column, tiles)
            part, block = divmod(rest, grid.blocks)
            lanes = slice(number * tile, min((number + 1) * tile, grid.stride))
            places.append((part, slice(block * group, (block + 1) * group), lanes))
            numbers.append((part * grid.stride + np.arange(grid.stride)[lanes]) * grid.blocks + block)
        at = np.cumsum([0, *map(len, numbers)])
        together = np.zeros((at[-1], engine.padded), x.dtype)
        for place, start, stop in zip(places, at[:-1], at[1:], strict=True):
            members = old[place].T
            together[start:stop, : members.shape[1]] = members
        rows = GroupGrid(1, engine.padded, together.size, 1)
        careful = replace(self.careful, engine=Engine(engine.fmt, engine.window, rows))
        flat = together.reshape(-1)
        found = KeptRows(*(np.empty(at[-1] if part.size else 0, part.dtype) for part in choice))
        bad, limited = careful(flat, flat if out.size else flat[:0], found, 0, int(at[-1]))
        if new is not None:
            for place, start, stop in zip(places, at[:-1], at[1:], strict=True):
                new[place] = together[start:stop, : old[place].shape[0]].T
        where = np.concatenate(numbers)
        for array, values in zip(choice, found, strict=True):
            if array.size:
                array[where] = values
        return bad, limited

    @property
    def engine(self) -> Engine:
        """What cuts the tensor into groups."""
        return self.careful.engine

    @property
    def count(self) -> int:
        """Groups of the tensor, or its columns of tiles."""
        grid = self.careful.engine.grid
        if grid.stride == 1:
            return self.careful.engine.count
        return grid.filters * grid.parts * -(-grid.stride // self.wide) * grid.blocks

    @property
    def unit(self) -> int:
        """Groups (or columns) that are best worked on together: a few blocks."""
        return max(1, BLOCK_GROUPS // self.wide)


def block_pruning(engine: Engine, rule: Criterion, nearest: bool) -> BlockPruning | None:
    """Find the kernel for these options; None where there is none, and all groups need care."""
    from bitxcore.kernels import blocks, gathering, lanes, slabs

    fmt, window = engine.fmt, engine.window
    if engine.through_float64 or rule.name == "calibrated":
        return None
    kind, (*_, width, limit) = engine.settings
    if not fmt.is_float:
        kind = {
            "unsigned": lanes.UNSIGNED,
            "sign-magnitude": lanes.SIGN_MAGNITUDE,
            "twos-complement": lanes.TWOS_COMPLEMENT,
        }[fmt.encoding]
    by_rows = rule.name in ("topn", "msb")
    code_bits = engine.code_dtype.itemsize * 8
    bits, masks = lanes.lane_of(kind, code_bits).bits, mask_dtype(window)
    deep = masks.itemsize * 8 > bits and (nearest or not by_rows)
    if not nearest and lanes.takes_bytes(kind, engine.padded, window):
        kind += lanes.BYTES
    elif fmt.is_float and bits < 32 and deep:
        # The window has rows that the lanes lack. (By their number, rows are found in those above, or not.)
        kind += lanes.DEEP
        bits = lanes.lane_of(kind, code_bits).bits
    strided = engine.grid.stride > 1
    layout = gathering.WHOLE if engine.contiguous else gathering.TILES if strided else gathering.ROWS
    wide = gathering.tile_lanes(engine.padded) if strided else 1
    way = "rows" if by_rows else rule.name
    settings = kind, code_bits, engine.padded, fmt.is_float and masks.itemsize * 8 > bits, way, nearest
    if kind < lanes.BYTES and not engine.contiguous and slabs.takes(engine.grid):
        wide = engine.grid.stride
        kernel = slabs.slab_kernel(*settings, not strided)
    else:
        kernel = blocks.prune_kernel(*settings, layout)
    rows = bits if fmt.is_float else width
    low = max(0, rows - window)
    mask = ((1 << rows) - 1) >> low << low
    arguments = (
        rule.rows,
        int(rule.name == "topn"),
        mask - (1 << 64) if mask >> 63 else mask,
        min(rule.wanted, MAX_WINDOW + 1),
        max(1, bits - fmt.significand_bits + 2) if fmt.is_float else 0,
        masks.itemsize,
        rows - window,
        width,
        limit,
        bits - 1 - lanes.lane_of(kind, code_bits).fraction if fmt.is_float else 0,
    )
    table, extent = np.zeros(1, np.uint8), rule.energy_share if rule.name == "energy" else 0
    if rule.name == "threshold":
        least = least_ones(rule.threshold or 0.0)
        # Rows from two above on; below the last of these even one needs more ones than a group has members.
        table, extent = least.reshape(-1), int(np.count_nonzero(least[1:67, 1] <= engine.padded))
    careful = CarefulPruning(engine, rule, nearest)
    return BlockPruning(kernel, arguments, (table, extent), engine.cut, wide, careful)
