"""How a tensor is cut into pieces that are pruned one after the other, as if it were whole.

A piece is a run of values as they are stored, so that it is read and written front to back, and consists of
whole groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.groups import MAX_GROUP, MAX_WIDE_GROUP, GroupGrid, Grouping, Layout, grid
from bitxcore.lazy_property import lazy_property

PIECE_BYTES = 1 << 25
"""Stored bytes of a piece, where memory allows more: longer ones are no faster."""
AHEAD = 2  # pieces that are read or written while one is pruned
_WIDE_BYTES = 64  # of a weight of a group that no kernel takes: fields of 8 bytes

Array = npt.NDArray[Any]


class Piece(NamedTuple):
    """A run of stored values.

    Parameters
    ----------
    start, stop : int
        Of the stored tensor in C order.
    shape : tuple of int
        In which the values are seen.
    filter : int or None
        Whose weights it has a part of; None if it has whole rows of the stored tensor's first axis.
    first, last : int
        The range of that filter's weights, or of that axis.
    """

    start: int
    stop: int
    shape: tuple[int, ...]
    filter: int | None
    first: int
    last: int


@dataclass(frozen=True)
class Cutting:
    """How one tensor is cut.

    Parameters
    ----------
    shape : tuple of int
        Of the stored tensor.
    layout : Layout
        That turns its output channel to the front.
    grid : GroupGrid
        Of the whole tensor, turned.
    grouping : {"flat", "channel", "kernel"}
    most : int
        Values of a piece, if groups allow it.
    """

    shape: tuple[int, ...]
    layout: Layout
    grid: GroupGrid
    grouping: Grouping
    most: int

    @classmethod
    def of(
        cls, shape: tuple[int, ...], layout: Layout, group: int | None, grouping: Grouping, most: int
    ) -> Cutting:
        """Cut a tensor as `prune` does with these parameters.

        Raises
        ------
        TensorError, OptionError
            As `bitxcore.groups.grid`.
        """
        turned = layout.turn(np.broadcast_to(np.int8(0), shape)).shape
        return cls(shape, layout, grid(turned, group, grouping, most=MAX_WIDE_GROUP), grouping, max(1, most))

    @lazy_property
    def turned_shape(self) -> tuple[int, ...]:
        """Shape with the output channel first."""
        return self.layout.turn(np.broadcast_to(np.int8(0), self.shape)).shape

    @lazy_property
    def _order(self) -> tuple[int, ...]:
        """Stored axes in the order of the turned tensor."""
        marks = np.broadcast_to(np.int8(0), tuple(range(1, len(self.shape) + 1)))
        return tuple(size - 1 for size in self.layout.turn(marks).shape)

    @property
    def axis(self) -> int:
        """Axis of the turned tensor that is the stored one's first."""
        return self._order.index(0)

    @lazy_property
    def rows(self) -> int:
        """Fewest rows of the stored tensor's first axis that hold whole groups; 0 if only all of them do."""
        if self.layout.conv_groups > 1:
            return 0
        if self.axis == 0:
            return 1
        if self.axis == 1:
            units = {"flat": prod(self.turned_shape[2:]), "channel": 1, "kernel": self.grid.group}
            return self.grid.group // gcd(self.grid.group, units[self.grouping])
        return 1 if self.grouping == "channel" else 0

    @lazy_property
    def pieces(self) -> list[Piece]:
        """The pieces, in the order in which they are stored."""
        size = prod(self.shape)
        if size <= self.most or not self.rows:
            return [Piece(0, size, self.shape, None, 0, self.shape[0])]
        row = size // self.shape[0]
        count = self.most // row
        if len(self.shape) == 1 or (count < 1 and self._order == tuple(range(len(self.shape)))):
            filters = 1 if len(self.shape) == 1 else self.shape[0]
            return [piece for number in range(filters) for piece in self._of_filter(number)]
        step = max(self.rows, count - count % self.rows)
        return [
            Piece(first * row, last * row, (last - first, *self.shape[1:]), None, first, last)
            for first in range(0, self.shape[0], step)
            for last in (min(first + step, self.shape[0]),)
        ]

    def _of_filter(self, number: int) -> Iterator[Piece]:
        """Cut one filter of a tensor that is stored with the output channel first."""
        size, before = self.grid.reduction, number * self.grid.reduction
        rest = self.shape[1:] or self.shape
        plane = prod(rest[1:])
        if self.grouping == "flat" or plane == 1:
            yield from self._runs(number, before, 0, size, self.grid.group, None)
        elif self.grouping == "channel" or plane <= self.most:
            unit = self.grid.group * plane if self.grouping == "channel" else plane
            yield from self._runs(number, before, 0, size, unit, rest[1:])
        else:
            for first in range(0, size, plane):
                yield from self._runs(number, before, first, first + plane, self.grid.group, None)

    def _runs(
        self, number: int, before: int, first: int, last: int, unit: int, kernel: tuple[int, ...] | None
    ) -> Iterator[Piece]:
        step = max(unit, self.most - self.most % unit)
        for start in range(first, last, step):
            stop = min(start + step, last)
            seen: tuple[int, ...]
            if len(self.shape) == 1:
                seen = (stop - start,)
            elif kernel is not None:
                seen = (1, (stop - start) // prod(kernel), *kernel)
            else:  # for kernels, a part of one
                seen = (
                    (1, 1, stop - start)
                    if self.grouping == "kernel" and len(self.shape) > 2
                    else (1, stop - start)
                )
            yield Piece(before + start, before + stop, seen, number, start, stop)

    def whole_because(self, most: int) -> str:
        """Why its pieces have more values than `most`; empty if they have not."""
        if max(piece.stop - piece.start for piece in self.pieces) <= most:
            return ""
        if len(self.pieces) == 1:
            return "groups of its layout do not lie together, and it is worked on whole"
        return "smaller pieces hold no whole groups"

    def turned(self, piece: Piece, run: Array) -> Array:
        """View the values of a piece with the output channel first."""
        values = run.reshape(piece.shape)
        return self.layout.turn(values) if piece.filter is None else values

    def restored(self, piece: Piece, values: Array) -> Array:
        """Return turned values of a piece as they are stored."""
        return (self.layout.restore(values) if piece.filter is None else values).reshape(-1)

    def groups_in(self, whole: Array, piece: Piece) -> Array:
        """View those of one value per group, ``(filters, groups)`` of the whole tensor, that a piece has."""
        if piece.filter is None and self.axis == 0:
            return whole[piece.first : piece.last] if len(self.shape) > 1 else whole
        grid, members, blocks = self.grid, self.grid.group, self.grid.blocks
        # Groups of a filter count by kernel positions, then by blocks of channels; or by channels first.
        positions = self.turned_shape[2:] if self.grouping == "channel" else ()
        parts = (grid.parts,) if self.grouping == "kernel" else positions
        index: list[Any] = [slice(None) if piece.filter is None else piece.filter]
        if self.grouping == "kernel":
            if piece.filter is None:
                index += [slice(piece.first, piece.last), slice(None)]
            elif (piece.last - piece.first) % grid.length == 0:
                index += [slice(piece.first // grid.length, piece.last // grid.length), slice(None)]
            else:
                first = piece.first % grid.length
                last = first + piece.last - piece.first
                index += [piece.first // grid.length, slice(first // members, -(-last // members))]
        elif piece.filter is None and self.axis > 1:
            index += [slice(None)] * len(parts) + [slice(None)]
            index[self.axis - 1] = slice(piece.first, piece.last)
        else:
            first, last = piece.first, piece.last
            if piece.filter is None:  # channels
                lane = 1 if self.grouping == "channel" else prod(self.turned_shape[2:])
                first, last = first * lane, last * lane
            else:
                first, last = first // prod(positions), last // prod(positions)
            index += [slice(None)] * len(parts) + [slice(first // members, -(-last // members))]
        view: Array = whole.reshape(grid.filters, *parts, blocks)[tuple(index)]
        return view

    def part_of(self, spread: Array, piece: Piece) -> Array:
        """View what a piece has of an array in the turned shape; one of a single filter is of all filters."""
        part: Array
        if piece.filter is not None:
            part = spread[piece.filter if len(spread) > 1 else 0].flat[piece.first : piece.last]
        elif self.axis == 0:
            part = spread[piece.first : piece.last] if len(spread) > 1 else spread
        else:
            part = spread[tuple([slice(None)] * self.axis + [slice(piece.first, piece.last)])]
        return part


def bytes_per_value(itemsize: int, group: int, *, turned: bool, codes: int, parts: bool) -> int:
    """Return how many bytes the work on one value of a piece takes.

    Parameters
    ----------
    itemsize : int
        Bytes of a value.
    group : int
    turned : bool
        Whether values are copied into another order.
    codes : int
        Bytes of a code that a value is quantised to; 0 if it is not.
    parts : bool
        Whether row masks and exponents are kept.

    Examples
    --------
    >>> bytes_per_value(4, 8, turned=False, codes=0, parts=False)
    27
    """
    copies = 2 + 2 * turned + 2 * AHEAD
    each = copies * itemsize + 2 + -(-(11 if parts else 1) // group)
    if codes:
        each += 4 * codes + 8  # the last are quotients
    if group > MAX_GROUP:
        each += _WIDE_BYTES
    return each
