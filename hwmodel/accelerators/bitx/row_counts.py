"""Rows that pruning keeps of each group, and zeros left out, without copies of a whole large tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError
from bitxcore.formats import NumberFormat, fixed_width
from hwmodel.accelerators.memo import once

BLOCK = 1 << 22
"""Values that are worked on at once."""


class RowCounts(NamedTuple):
    """What cycles need of a pruned tensor; as in `bitxcore.Pruned`.

    Attributes
    ----------
    kept_rows : ndarray of uint8, shape (filters, groups)
    format : NumberFormat
    window : int
    """

    kept_rows: npt.NDArray[np.uint8]
    format: NumberFormat
    window: int


def count_rows(x: npt.NDArray[Any], **options: Any) -> RowCounts:
    """Count the rows that `bitxcore.prune` keeps; of more than `BLOCK` values without the pruned ones.

    Parameters
    ----------
    x : ndarray, shape (filters, ...)
    **options
        As in `bitxcore.prune`.

    Raises
    ------
    BitxError
        As `bitxcore.prune` does.
    """
    import bitxcore as bx

    if x.size > BLOCK:
        return once(_count_by_blocks, x, **options)
    pruned = once(bx.prune, x, **options)
    return RowCounts(pruned.kept_rows, pruned.format, pruned.window)


def _count_by_blocks(x: npt.NDArray[Any], **options: Any) -> RowCounts:
    """Prune filter by filter: no group knows of others, but for the scale of fixed point."""
    import bitxcore as bx

    codes, own = x, options
    if isinstance(form := options["format"], str) and (width := fixed_width(form)):
        codes, own = bx.quantize(x, width).codes, options | {"format": f"int{width}"}
    spare = np.empty((0, *codes.shape[1:]), codes.dtype.newbyteorder("="))
    found = []
    try:
        for here in _blocks(codes):
            block = np.ascontiguousarray(codes[here], spare.dtype)
            if len(spare) < len(block):
                spare = np.empty_like(block)
            found.append(bx.prune(block, out=spare[: len(block)], **own))
    except BitxError:
        bx.prune(x, **options)  # names the place in the whole tensor
        raise
    kept = np.concatenate([part.kept_rows for part in found])
    return RowCounts(kept, found[0].format, found[0].window)


def leave_out_zeros(x: npt.NDArray[Any], grouping: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Move each filter's non-zero values to its front, in the order that groups are gathered.

    Returns the values, shape (filters, most non-zeros of a filter, at least 1), and each filter's number of
    them.
    """
    if grouping == "channel" and x.ndim > 2:
        x = np.moveaxis(x, 1, -1)
    flat = x.reshape(x.shape[0], -1)
    counts = np.concatenate([np.count_nonzero(flat[here], axis=1) for here in _blocks(flat)])
    packed = np.zeros((flat.shape[0], max(1, int(counts.max()))), flat.dtype)
    for here in _blocks(flat):
        block = flat[here]
        packed[here][np.arange(packed.shape[1]) < counts[here, None]] = block[block != 0]
    return packed, counts


def _blocks(x: npt.NDArray[Any]) -> Iterator[slice]:
    """Cut axis 0 into parts of up to `BLOCK` values, or of one filter."""
    step = max(1, BLOCK * len(x) // max(1, x.size))
    return (slice(first, first + step) for first in range(0, len(x), step))
