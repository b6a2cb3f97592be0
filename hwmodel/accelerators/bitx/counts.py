"""What cycles depend on: ones that lanes take, rows that are kept; without copies of a whole large tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError
from bitxcore.formats import NumberFormat, fixed_width, format_of, number_format
from bitxcore.groups import GroupGrid, Grouping, grid
from bitxcore.quantization import fixed_scale

if TYPE_CHECKING:
    from hwmodel.accelerators.engines.lane_costs import Steps

BLOCK = 1 << 22
"""Values that are worked on at once."""

Values = npt.NDArray[Any]


class Lanes(NamedTuple):
    """Ones of a tensor as lanes take them.

    Attributes
    ----------
    costs : ndarray of uint8, shape (vectors, steps, lanes)
        Cycles of each lane; of the slowest one alone where lanes don't run ahead.
    sums : ndarray of int64, shape (vectors,)
        Ones of each vector.
    histogram : ndarray of int64
        Entry k: lanes with k ones, lanes without a weight included.
    """

    costs: npt.NDArray[np.uint8]
    sums: npt.NDArray[np.int64]
    histogram: npt.NDArray[np.int64]


class Kept(NamedTuple):
    """What pruning leaves of a tensor.

    Attributes
    ----------
    lanes : Lanes
    rows : ndarray of uint8, shape (vectors, groups)
        Kept rows of each group.
    window_limited_groups : int
        Groups that kept fewer rows than they might while a one fell out of the window.
    """

    lanes: Lanes
    rows: npt.NDArray[np.uint8]
    window_limited_groups: int


def whole(x: Values, *, format: str | None, group: int, grouping: Grouping, steps: Steps) -> Lanes:  # noqa: A002
    """Count the ones of whole significands: of what an alignment window would leave out, too.

    Parameters
    ----------
    x : ndarray, shape (vectors, ...)
    format, group, grouping
        As in `bitxcore.prune`.
    steps : Steps

    Raises
    ------
    TensorError
        If a value is none of its format; it names the place.
    """
    import bitxcore as bx

    cut = grid(x.shape, group, grouping)
    numbers, own = reader(x, format)
    tally = _Tally(cut, steps)
    try:
        for here in blocks(x):
            tally.add(here, bx.essential_bits(numbers(x[here]), own))
    except BitxError:
        bx.essential_bits(numbers(x), own)  # names the place in the whole tensor
        raise
    return tally.lanes


def kept(x: Values, *, format: str | None, steps: Steps, **options: Any) -> Kept:  # noqa: A002
    """Prune values and count what is kept; a bounded number of pruned values is in memory at once.

    Parameters
    ----------
    x : ndarray, shape (vectors, ...)
    format, **options
        As in `bitxcore.prune`.
    steps : Steps

    Raises
    ------
    BitxError
        As `bitxcore.prune` does.
    """
    import bitxcore as bx

    cut = grid(x.shape, options["group"], options["grouping"])
    numbers, own = reader(x, format)
    tally, limited = _Tally(cut, steps), 0
    rows = np.empty((cut.filters, cut.groups), np.uint8)
    spare: Values | None = None
    try:
        for here in blocks(x):
            block = np.ascontiguousarray(numbers(x[here]))
            if not block.dtype.isnative:
                block = block.astype(block.dtype.newbyteorder("="))
            if spare is None or len(spare) < len(block):
                spare = np.empty_like(block)
            pruned = bx.prune(block, out=spare[: len(block)], format=own, **options)
            tally.add(here, bx.essential_bits(pruned.values, own))
            rows[here] = pruned.kept_rows
            limited += pruned.window_limited_groups
    except BitxError:
        bx.prune(x, format=format, **options)  # names the place in the whole tensor
        raise
    return Kept(tally.lanes, rows, limited)


class _Tally:
    """What is counted of a tensor, block by block."""

    def __init__(self, cut: GroupGrid, steps: Steps) -> None:
        from hwmodel.accelerators.engines.lane_costs import MOST_ONES

        self._cut, self._steps = cut, steps
        shape = steps.shape(cut.groups, cut.group)
        self.lanes = Lanes(
            np.empty((cut.filters, *shape), np.uint8),
            np.empty(cut.filters, np.int64),
            np.zeros(MOST_ONES + 1, np.int64),
        )

    def add(self, here: slice, ones: npt.NDArray[np.uint8]) -> None:
        """Take in the ones of each weight of some vectors."""
        from hwmodel.accelerators.engines.lane_costs import count_ones

        placed = in_lanes(ones, self._cut)
        self._steps.costs(placed, self.lanes.costs[here])
        self.lanes.sums[here], histogram = count_ones(placed)
        np.add(self.lanes.histogram, histogram, out=self.lanes.histogram)


def reader(x: Values, form: str | None) -> tuple[Callable[[Values], Values], str | None]:
    """Say how a part of a tensor is read, and in which format: ``fixed<N>`` has one scale for all of it."""
    import bitxcore as bx

    if (width := fixed_width(form)) is None:
        return lambda part: part, form
    scale = float(fixed_scale(x, width))
    return lambda part: bx.quantize(part, width, scale=scale).codes, f"int{width}"


def numbers_of(x: Values, *, format: str | None) -> tuple[Values, str | None]:  # noqa: A002
    """Quantise a whole tensor whose format is ``fixed<N>``; others are what they are."""
    numbers, own = reader(x, format)
    return numbers(x), own


def format_read(x: Values, form: str | None) -> NumberFormat:
    """Give the format that the lanes see: of ``fixed<N>`` the integers'."""
    width = fixed_width(form)
    if width is not None:
        return number_format(f"int{width}")
    return format_of(x.dtype) if form is None else number_format(form)


def in_lanes(ones: npt.NDArray[np.uint8], cut: GroupGrid) -> npt.NDArray[np.uint8]:
    """Arrange what is known of each weight by vectors, groups and lanes; a view where none need to move.

    Returns
    -------
    ndarray of uint8, shape (vectors, groups, group)
        0 in the lanes that a short group has no weight for.
    """
    # (parts of all vectors, members along a lane of the cut, lanes of the cut)
    parts = ones.reshape(-1, cut.length, cut.stride).swapaxes(1, 2)
    missing = cut.blocks * cut.group - cut.length
    if missing:
        parts = np.pad(parts, ((0, 0), (0, 0), (0, missing)))
    return np.ascontiguousarray(parts).reshape(-1, cut.groups, cut.group)


def leave_out_zeros(x: Values, grouping: str) -> tuple[Values, npt.NDArray[np.int64]]:
    """Move each filter's non-zero values to its front, in the order that groups are gathered.

    Returns the values, shape (filters, most non-zeros of a filter, at least 1), and each filter's number of
    them.
    """
    if grouping == "channel" and x.ndim > 2:
        x = np.moveaxis(x, 1, -1)
    flat = x.reshape(x.shape[0], -1)
    counts = np.concatenate([np.count_nonzero(flat[here], axis=1) for here in blocks(flat)])
    packed = np.zeros((flat.shape[0], max(1, int(counts.max()))), flat.dtype)
    for here in blocks(flat):
        block = flat[here]
        packed[here][np.arange(packed.shape[1]) < counts[here, None]] = block[block != 0]
    return packed, counts


def blocks(x: Values) -> Iterator[slice]:
    """Cut axis 0 into parts of up to `BLOCK` values, or of one filter."""
    step = max(1, BLOCK * len(x) // max(1, x.size))
    return (slice(first, first + step) for first in range(0, len(x), step))
