"""Statistics of one tensor of a dump, added up from those of its pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.pieces import Piece
from bitxcore.batch.piecewise import Piecewise, quantised
from bitxcore.batch.row_errors import MOST_VALUES, RowError, errors_of_interest, errors_of_sample, sample_of
from bitxcore.engine import locate_nonfinite
from bitxcore.errors import error_context
from bitxcore.formats import fixed_width, format_of
from bitxcore.summary import Statistics, joined, statistics
from bitxcore.weight_ones import joined_ones

Array = npt.NDArray[Any]


def errors_wanted(window: int, options: dict[str, Any]) -> tuple[list[int], dict[str, Any]]:
    """Return the numbers of rows whose errors are computed, and the parameters of `row_errors` for it."""
    rows = errors_of_interest(window, options.get("rows"))
    return rows, {name: value for name, value in options.items() if name != "rows"}


def count_in_pieces(
    work: Piecewise, options: dict[str, Any], *, errors: bool
) -> tuple[Statistics, tuple[RowError, ...]]:
    """Count the bits of a tensor piece by piece.

    Parameters
    ----------
    work : Piecewise
    options : dict
        Of `statistics`.
    errors : bool
        Whether to compute the errors of `row_errors`, too.
    """
    cutting, bits = work.cutting, fixed_width(work.format)
    how = options | {"group": cutting.grid.group, "format": f"int{bits}" if bits else work.format}
    raises = options.get("nonfinite", "raise") == "raise"
    scale = None
    with error_context(path=work.dump.path, tensor=work.tensor.name):
        if bits:
            scale = work.scale(bits)
    found = []
    sample = _Sample(work) if errors else None
    for piece, run in work.read():
        with work.located(piece, run):
            numbers = run if scale is None or not bits else quantised(run, scale, bits).codes
            counted = statistics(cutting.turned(piece, numbers), **how)
            if raises and counted.nonfinite_groups:
                raise locate_nonfinite(run, format_of(run.dtype, work.format), piece.start)
        found.append(counted)
        if sample:
            sample.add(piece, run)
    whole = joined(found)
    ones = [part.ones for part in found if part.ones is not None]
    whole = replace(whole, ones=joined_ones(ones) if ones else None)
    if not sample:
        return whole, ()
    rows, own = errors_wanted(whole.window, how)
    numbers = sample.values if scale is None or not bits else quantised(sample.values, scale, bits).codes
    with error_context(path=work.dump.path, tensor=work.tensor.name):
        at = errors_of_sample(sample.values, numbers, None if scale is None else float(scale), rows, own)
    return whole, tuple(at)


class _Sample:
    """The filters that stand for all of a tensor, gathered as its pieces come."""

    def __init__(self, work: Piecewise) -> None:
        self._cutting = work.cutting
        shape = work.cutting.turned_shape
        self._part = sample_of(shape, MOST_VALUES, work.cutting.grid.group)
        chosen = range(shape[0])[self._part]
        self.values = np.empty((len(chosen), *shape[1:]), format_dtype(work))

    def add(self, piece: Piece, run: Array) -> None:
        """Take what is wanted of a piece."""
        step = self._part.step or 1
        if piece.filter is None and self._cutting.axis == 0:
            filters = range(piece.first, piece.last)
            first = -piece.first % step
            part = self._cutting.turned(piece, run)[first::step]
            if len(part):
                at = filters[first] // step
                self.values[at : at + len(part)] = part
        elif piece.filter is None:
            part = self._cutting.turned(piece, run)[self._part]
            self._cutting.part_of(self.values, piece)[...] = part
        elif len(self._cutting.shape) == 1:
            self.values[piece.first : piece.last] = run[: max(0, self.values.size - piece.first)]
        elif piece.filter % step == 0:
            self.values[piece.filter // step].reshape(-1)[piece.first : piece.last] = run


def format_dtype(work: Piecewise) -> np.dtype[Any]:
    """Return the dtype in which the values of a tensor come."""
    from bitxcore.batch.selection import read_dtype

    return read_dtype(work.tensor, work.format)
