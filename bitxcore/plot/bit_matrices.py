"""Aligned bits of single groups of a tensor, for pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.bits import decompose
from bitxcore.checks import shown, values_of
from bitxcore.errors import OptionError
from bitxcore.groups import GroupGrid, grid
from bitxcore.pruned import Pruned
from bitxcore.pruning import prune

__all__ = ["GroupMatrix", "group_matrices"]


@dataclass(frozen=True)
class GroupMatrix:
    """One group.

    Attributes
    ----------
    group : int
        Counted through all filters.
    values : ndarray, (members,)
    bits : ndarray of bool, (members, window)
        Row 0, the most significant, first.
    kept : ndarray of bool, (window,)
        Which rows are kept.
    top : int
        Row 0 weighs ``2**top``.
    """

    group: int
    values: npt.NDArray[Any]
    bits: npt.NDArray[np.bool_]
    kept: npt.NDArray[np.bool_]
    top: int

    def row_name(self, row: int, several: bool) -> str:
        """Name a row: by its weight, or by its number where several groups stand side by side."""
        return str(row) if several else f"2^{self.top - row}"


def group_matrices(x: Any, groups: Sequence[int], options: Mapping[str, Any]) -> list[GroupMatrix]:
    """Align groups of weights, which are pruned for it, or of a pruned tensor.

    Parameters
    ----------
    x : array_like or Pruned
    groups : sequence of int
        Counted through all filters.
    options : mapping
        Of `prune`, for weights; its ``group`` as ``prune_group``.

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value that is none of its format.
    OptionError
        If there is no such group, or an option is out of range.
    """
    if isinstance(x, Pruned):
        if options:
            raise OptionError(f"a pruned tensor takes no options of prune, got {sorted(options)[0]}")
        pruned, source = x, x.values if x.codes is None else x.codes
    else:
        own = {("group" if name == "prune_group" else name): value for name, value in options.items()}
        values = values_of(x)
        pruned = prune(values, **own)
        if pruned.codes is not None:
            from bitxcore.quantization import quantize

            source = quantize(values, pruned.format.significand_bits + 1).codes
        else:
            source = values
    cut = grid(source.shape, pruned.group, pruned.grouping, most=4096)
    if not groups:
        raise OptionError("group must name at least one group")
    filters = np.ascontiguousarray(source, dtype=pruned.format.dtype).reshape(cut.filters, cut.reduction)
    return [_matrix(filters, cut, pruned, index) for index in groups]


def _matrix(filters: npt.NDArray[Any], cut: GroupGrid, pruned: Pruned, index: int) -> GroupMatrix:
    count = cut.filters * cut.groups
    if not isinstance(index, int | np.integer) or not 0 <= index < count:
        raise OptionError(f"group must be from 0 to {count - 1}, got {shown(index)}", value=index)
    which, group = divmod(int(index), cut.groups)
    values = filters[which, _members(cut, group)]
    fmt, window = pruned.format, pruned.window
    parts = decompose(values, fmt)
    emax = int(pruned.exponents[which, group])
    bits = np.zeros((values.size, window), bool)
    for row in range(window):
        # The significand's top bit lies `emax - exponent` rows below row 0.
        place = fmt.significand_bits - 1 - row + (emax - parts.exponent.astype(np.int64))
        inside = (place >= 0) & (place < fmt.significand_bits) & (parts.significand != 0)
        at = np.where(inside, place, 0).astype(np.uint64)
        bits[:, row] = inside & (parts.significand.astype(np.uint64) >> at & np.uint64(1)).astype(bool)
    mask = int(pruned.row_masks[which, group])
    kept = np.array([mask >> (window - 1 - row) & 1 for row in range(window)], bool)
    top = emax - fmt.bias if fmt.is_float else fmt.significand_bits - 1
    return GroupMatrix(int(index), values, bits, kept, top)


def _members(cut: GroupGrid, group: int) -> npt.NDArray[np.int64]:
    """Elements of a filter that one of its groups holds; see `GroupGrid`."""
    part, within = divmod(group, cut.stride * cut.blocks)
    lane, block = divmod(within, cut.blocks)
    first = block * cut.group
    members = np.arange(first, min(first + cut.group, cut.length))
    return np.asarray(part * cut.length * cut.stride + lane + members * cut.stride)
