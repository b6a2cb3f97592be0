"""One tensor of a dump, read piece by piece as it is pruned or counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.ahead import one_ahead
from bitxcore.batch.pieces import PIECE_BYTES, Cutting, Piece, bytes_per_value
from bitxcore.batch.selection import channel_first, read_dtype
from bitxcore.dumps import Dump, Tensor
from bitxcore.engine import locate_nonfinite
from bitxcore.errors import TensorError, error_context
from bitxcore.formats import NumberFormat, fixed_width, format_of, number_format
from bitxcore.groups import Grouping, Layout
from bitxcore.quantization import FixedPoint, fixed_scale, largest_magnitude

Array = npt.NDArray[Any]
DEFAULT_GROUP = 8


@dataclass(frozen=True)
class Piecewise:
    """A tensor that is worked on in pieces.

    Parameters
    ----------
    dump : Dump
    tensor : Tensor
    format : str, NumberFormat or None
        As of `prune`.
    cutting : Cutting
    note : str
        Why the work takes more memory than it was given; empty if it does not.
    bytes_per_value : int
        Memory that the work takes for a value of a piece.
    """

    dump: Dump
    tensor: Tensor
    format: str | NumberFormat | None
    cutting: Cutting
    note: str
    bytes_per_value: int

    @classmethod
    def of(
        cls,
        dump: Dump,
        tensor: Tensor,
        memory_bytes: int,
        *,
        layout: str | None,
        format: str | NumberFormat | None,  # noqa: A002
        group: int | None,
        grouping: Grouping,
        parts: bool = False,
    ) -> Piecewise:
        """Cut a tensor such that the work on a piece takes at most so much memory.

        Parameters
        ----------
        parts : bool
            Whether all parts of the result are wanted: a tensor that fits is then one piece.
        """
        first = channel_first(tensor, layout)
        width = fixed_width(format)
        codes = number_format(f"int{width}").dtype.itemsize if width else 0
        members = Cutting.of(tensor.shape, first, group, grouping, 1).grid.group
        itemsize = tensor.dtype.itemsize
        turned = first != Layout()
        each = bytes_per_value(itemsize, members, turned=turned, codes=codes, parts=parts)
        most = max(1, memory_bytes // each)
        if tensor.encoding is not None:
            note = "integers that represent weights are worked on whole" if tensor.size > most else ""
            at_once = Cutting.of(tensor.shape, first, group, grouping, tensor.size)
            return cls(dump, tensor, format, at_once, note, each)
        whole = parts and tensor.size <= most
        short = most if whole else min(most, max(1, PIECE_BYTES // itemsize))
        cutting = Cutting.of(tensor.shape, first, group, grouping, short)
        note = cutting.whole_because(most)
        if not note and tensor.size > most and tensor.whole_because:
            note = f"it is read whole: {tensor.whole_because}"
        return cls(dump, tensor, format, cutting, note, each)

    @property
    def whole(self) -> bool:
        """Whether it is one piece."""
        return len(self.cutting.pieces) == 1

    def read(self) -> Iterator[tuple[Piece, Array]]:
        """Yield the pieces and their values, flat; the next is read while one is used."""
        pieces = self.cutting.pieces
        dtype = read_dtype(self.tensor, self.format)
        with closing(one_ahead(self.tensor.runs([piece.stop for piece in pieces]))) as runs:
            for piece, run in zip(pieces, runs, strict=True):
                yield piece, run if run.dtype == dtype else run.view(dtype)

    def scale(self, bits: int) -> npt.NDArray[np.float64]:
        """Read all of it; return what `fixed_scale` finds for the whole."""
        dtype = read_dtype(self.tensor, self.format)
        fixed_scale(np.zeros(1, dtype), bits)  # raises if they are no floats
        tops = []
        for piece, run in self.read():
            tops.append(float(largest_magnitude(run)))
            if not np.isfinite(tops[-1]):
                raise locate_nonfinite(run, format_of(dtype), piece.start)
        return fixed_scale(np.array([max(tops)]).astype(dtype), bits)

    @contextmanager
    def located(self, piece: Piece, run: Array) -> Iterator[None]:
        """Tell errors about a piece where in the whole tensor they are, and in which file."""
        with error_context(path=self.dump.path, tensor=self.tensor.name):
            try:
                yield
            except TensorError as error:
                if error.index is None:
                    raise
                form = None if fixed_width(self.format) else self.format
                raise locate_nonfinite(run, format_of(run.dtype, form), piece.start) from error


def quantised(run: Array, scale: npt.NDArray[np.float64], bits: int) -> FixedPoint:
    """Round values to codes by a given scale."""
    fixed = FixedPoint(np.empty(run.shape, number_format(f"int{bits}").dtype), scale, bits)
    fixed.quantize_from(run)
    return fixed
