"""Pruning of one tensor of a dump: whole, or in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.ahead import one_ahead
from bitxcore.batch.pieces import Piece
from bitxcore.batch.piecewise import Piecewise, quantised
from bitxcore.batch.pruned_rows import PrunedTensor, PruningSums
from bitxcore.batch.selection import channel_first, on_turned, read_numbers
from bitxcore.calibration import SquaredNorms, spread_squares
from bitxcore.errors import error_context
from bitxcore.formats import fixed_width
from bitxcore.pruned import PARTS, Pruned
from bitxcore.pruning import prune
from bitxcore.quantization import FixedPoint, quantize
from bitxcore.summary import Statistics, joined

Array = npt.NDArray[Any]
Done = Callable[[PrunedTensor, Pruned | None], None]


def prune_whole(work: Piecewise, options: dict[str, Any], layout: str | None, done: Done) -> Array:
    """Prune a tensor at once; return its new values.

    Parameters
    ----------
    work : Piecewise
    options : dict
        Of `prune`.
    layout : str, optional
        As of `channel_first`.
    done : callable
        Called with the row and the result.
    """
    dump, tensor = work.dump, work.tensor
    with error_context(path=dump.path, tensor=tensor.name):
        stored, numbers, form = read_numbers(tensor, work.format)
        how = options | {"format": form}
        pruned = on_turned(dump, tensor, numbers, partial(prune, **how), form, layout)
    values = channel_first(tensor, layout).restore(pruned.values)
    if tensor.encoding is not None and numbers is not stored:
        values = tensor.encoding.stored(values, stored)
    sums = PruningSums(tensor)
    sums.add(stored, values, pruned)
    if not pruned.nonfinite_groups:
        before, after = numbers, pruned.values if pruned.codes is None else pruned.codes
        if pruned.codes is not None:
            before = quantize(numbers, pruned.format.significand_bits + 1).codes
        sums.count_ones(before, after)
    done(sums.row(note=work.note), pruned)
    return values


def prune_in_pieces(work: Piecewise, options: dict[str, Any], done: Done, *, parts: bool) -> Iterator[Array]:
    """Yield the new values of a tensor piece by piece; the next is pruned while one is written.

    Parameters
    ----------
    work : Piecewise
    options : dict
        Of `prune`.
    done : callable
        Called at the end with the row and, if they are wanted, the parts of the result but values and codes.
    parts : bool
        Whether they are.
    """
    pieces = _Pieces(work, options, parts)
    with closing(one_ahead(pieces.prune())) as runs:
        yield from runs
    done(*pieces.result())


class _Pieces:
    """The pieces of a tensor, and what they add up to."""

    def __init__(self, work: Piecewise, options: dict[str, Any], parts: bool) -> None:
        self._work = work
        self._options = options | {"group": work.cutting.grid.group}
        self._sums = PruningSums(work.tensor)
        self._wanted = PARTS[1:] if parts else ("kept_rows",)
        self._whole: dict[str, Array] = {}
        self._cut: dict[str, Any] = {}
        self._statistics: list[Statistics] = []
        self._scale: npt.NDArray[np.float64] | None = None

    def prune(self) -> Iterator[Array]:
        """Yield the new values of every piece, flat."""
        work, cutting = self._work, self._work.cutting
        with error_context(path=work.dump.path, tensor=work.tensor.name):
            squares = self._squares()
            if bits := fixed_width(work.format):
                self._scale = work.scale(bits)
        for piece, run in work.read():
            with work.located(piece, run):
                how = self._options | {"format": f"int{bits}" if bits else work.format}
                if squares is not None:
                    how["norms"] = SquaredNorms(cutting.part_of(squares, piece))
                numbers = run
                if bits and self._scale is not None:
                    numbers = quantised(run, self._scale, bits).codes
                pruned = prune(cutting.turned(piece, numbers), parts=("values", *self._wanted), **how)
            after = values = cutting.restored(piece, pruned.values)
            if bits and self._scale is not None:
                values = np.empty(run.shape, run.dtype)
                FixedPoint(after, self._scale, bits).dequantize_into(values)
            self._add(piece, run, values, pruned)
            self._sums.count_ones(numbers, after)
            yield values

    def _squares(self) -> Array | None:
        norms = self._options.get("norms")
        return None if norms is None else spread_squares(norms, self._work.cutting.turned_shape)

    def _add(self, piece: Piece, before: Array, after: Array, pruned: Pruned) -> None:
        self._sums.add(before, after, pruned)
        self._cut = pruned.cut
        if pruned.statistics is not None:
            self._statistics.append(pruned.statistics)
        if self._wanted != PARTS[1:]:
            return
        cutting = self._work.cutting
        for name in self._wanted:
            if name not in self._whole:
                shape = cutting.grid.filters, cutting.grid.groups
                self._whole[name] = np.zeros(shape, vars(pruned)[name].dtype)
            target = cutting.groups_in(self._whole[name], piece)
            target[...] = vars(pruned)[name].reshape(target.shape)

    def result(self) -> tuple[PrunedTensor, Pruned | None]:
        """Return the row, and the parts that were wanted."""
        scale = None if self._scale is None else float(self._scale)
        row = self._sums.row(scale, self._work.note)
        if not self._whole:
            return row, None
        return row, Pruned(
            None,  # type: ignore[arg-type]
            **self._whole,  # type: ignore[arg-type]
            nonfinite_groups=row.nonfinite_groups,
            window_limited_groups=row.window_limited_groups,
            scale=scale,
            statistics=joined(self._statistics) if self._statistics else None,
            **self._cut,
        )
