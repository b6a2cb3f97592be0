"""How much memory a unit of a batch takes, by how much it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bitxcore.batch.pieces import AHEAD, PIECE_BYTES
from bitxcore.batch.piecewise import DEFAULT_GROUP, Piecewise
from bitxcore.dumps import Dump, Tensor
from bitxcore.errors import BitxError

_SMALLEST = 1 << 10
"""No tensor is taken to be cut into more pieces than this: smaller ones need less memory than a process."""


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes that the work on a tensor takes, besides what the process takes anyway.

    Attributes
    ----------
    whole : int
        If it is worked on at once.
    pieces, least : int
        In pieces of the usual size, and in the smallest ones.
    beside : int
        In addition, however it is cut.

    Examples
    --------
    >>> need = MemoryNeed(whole=1000, pieces=100, least=10, beside=5)
    >>> need.within(2000), need.within(500), need.within(50), need.within(1)
    (1005, 105, 55, 15)
    """

    whole: int
    pieces: int
    least: int
    beside: int = 0

    @classmethod
    def fixed(cls, nbytes: int) -> MemoryNeed:
        """Return that of work that follows no budget."""
        return cls(nbytes, nbytes, nbytes)

    def within(self, memory_bytes: int) -> int:
        """Return what the work takes where it is given so much."""
        cut = max(self.least, min(self.pieces, memory_bytes))
        return self.beside + (self.whole if self.whole <= memory_bytes else cut)


def most_of(needs: Iterable[MemoryNeed], memory_bytes: int) -> int:
    """Return what the work on one tensor after the other takes, where it is given so much."""
    return max((need.within(memory_bytes) for need in needs), default=0)


def need_of(
    dump: Dump,
    tensor: Tensor,
    *,
    layout: str | None,
    options: dict[str, Any],
    parts: bool = False,
    beside: int = 0,
) -> MemoryNeed:
    """Return what `inspect_dump` and `prune_dump` need for a tensor.

    Parameters
    ----------
    dump : Dump
    tensor : Tensor
    layout : str, optional
    options : dict
        Theirs.
    parts : bool
        Whether row masks are kept.
    beside : int
        Bytes that are needed besides.
    """
    if tensor.whole_because:
        beside += tensor.nbytes
    cut: dict[str, Any] = {"group": DEFAULT_GROUP, "grouping": "flat"}
    cut |= {name: options[name] for name in cut if name in options}
    try:
        work = Piecewise.of(
            dump, tensor, 1 << 62, layout=layout, format=options.get("format"), parts=parts, **cut
        )
    except BitxError:  # which its unit will tell, and stop before it reads anything
        return MemoryNeed(0, 0, 0, beside)

    ahead = 2 * AHEAD * tensor.dtype.itemsize  # of a value, unless it is all one piece

    def longest(most: int) -> int:
        pieces = replace(work.cutting, most=max(1, most)).pieces
        each = work.bytes_per_value - ahead * (len(pieces) == 1)
        return each * max(piece.stop - piece.start for piece in pieces)

    if tensor.encoding is not None:  # whose codes are copied instead
        at_once = work.bytes_per_value * tensor.size
        return MemoryNeed(at_once, at_once, at_once, beside)
    at_once = (work.bytes_per_value - ahead) * tensor.size
    usual = longest(PIECE_BYTES // tensor.dtype.itemsize)
    return MemoryNeed(at_once if parts else usual, usual, longest(tensor.size // _SMALLEST), beside)
