"""Groups of more weights than a lane of the kernels holds, in NumPy.

No machine takes them: they are for sizes that accuracy is measured at, such as the paper's M = 512.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.bits import Decomposed, decompose
from bitxcore.criteria import Criterion
from bitxcore.engine import Array, Cut, check_subnormals, mask_dtype
from bitxcore.errors import OptionError
from bitxcore.formats import NumberFormat
from bitxcore.groups import GroupGrid, grid

CHUNK_VALUES = 1 << 20
"""Weights that are worked on at once, in whole filters."""


class WidePruned(NamedTuple):
    """What is kept; shapes as of `bitxcore.Pruned`."""

    values: Array
    row_masks: Array
    exponents: Array
    kept_rows: Array
    window_limited_groups: int


def prune_wide(x: Array, cut: Cut, rule: Criterion, *, nearest: bool, keep_nonfinite: bool) -> WidePruned:
    """Prune groups of any size by number of rows, truncating.

    Parameters
    ----------
    x : ndarray
        Of the format's dtype, output channel first.
    cut : Cut
    rule : Criterion
        ``topn`` or ``msb``.
    nearest, keep_nonfinite : bool
        Must be False.

    Raises
    ------
    OptionError
        If something else is asked for.
    TensorError
        If a value is a NaN, an Inf or an integer outside the format.
    """
    if rule.name not in ("topn", "msb") or nearest or keep_nonfinite:
        raise OptionError(
            f"groups of more than 64 weights go with criterion topn or msb, rounding truncate and nonfinite"
            f" raise; group is {cut.group}",
            value=cut.group,
        )
    whole = grid(x.shape, cut.group, cut.grouping, most=cut.group)
    parts = decompose(x, cut.format)
    shape = (whole.filters, whole.reduction)
    step = max(1, CHUNK_VALUES // whole.reduction)
    found = []
    for start in range(0, whole.filters, step):
        some = slice(start, start + step)
        filters = Decomposed(
            parts.sign.reshape(shape)[some],
            parts.exponent.reshape(shape)[some],
            parts.significand.reshape(shape)[some],
        )
        found.append(_pruned(filters, whole, cut, rule))
    values, masks, emax, kept = (np.concatenate([part[at] for part in found]) for at in range(4))
    return WidePruned(values.reshape(x.shape), masks, emax, kept, sum(part[4] for part in found))


def _pruned(parts: Decomposed, whole: GroupGrid, cut: Cut, rule: Criterion) -> WidePruned:
    """Prune some filters; significands stand at the top of 64 bits, row l at bit 63 - l."""
    p, window = cut.format.significand_bits, cut.window
    exponents = _gathered(parts.exponent.astype(np.int64), whole)
    top = _gathered(parts.significand.astype(np.uint64), whole) << np.uint64(64 - p)
    emax = np.where(top > 0, exponents, 0).max(axis=-1)
    # Shifts of 64 are undefined; 63 and one more are not.
    shift = np.minimum(emax[..., None] - exponents, 64).clip(0).astype(np.uint64)
    first, rest = np.minimum(shift, np.uint64(63)), (shift > 63).astype(np.uint64)
    inside = (top >> first >> rest) & _ones(window)
    fell_out = ((inside << rest << first) != top).any(axis=-1)
    counts = np.stack(
        [((inside >> np.uint64(63 - row)) & np.uint64(1)).sum(axis=-1) for row in range(window)], axis=-1
    )
    chosen = _chosen(counts.astype(np.float64), rule)
    weights = np.uint64(1) << np.arange(63, 63 - window, -1).astype(np.uint64)
    masks = (chosen * weights).sum(axis=-1, dtype=np.uint64)
    kept = chosen.sum(axis=-1)
    codes = (inside & masks[..., None]) << rest << first
    significands = _scattered(codes >> np.uint64(64 - p), whole)
    return WidePruned(
        _values(parts, significands, cut.format),
        (masks >> np.uint64(64 - window)).astype(mask_dtype(window)),
        (emax if cut.format.is_float else np.zeros_like(emax)).astype(np.int16),
        kept.astype(np.uint8),
        int(np.count_nonzero(fell_out & (kept < rule.wanted))) if cut.format.is_float else 0,
    )


def _ones(window: int) -> np.uint64:
    """Mask of the window's rows."""
    return np.uint64(((1 << window) - 1) << (64 - window))


def _chosen(counts: npt.NDArray[np.float64], rule: Criterion) -> npt.NDArray[np.bool_]:
    """Choose rows; ``BitCnt * 4**-row`` is exact in float64, and of equal ones the higher row comes first."""
    if rule.name == "msb":
        order = np.where(counts > 0, -np.arange(counts.shape[-1], dtype=np.float64), -np.inf)
    else:
        order = counts * np.ldexp(1.0, -2 * np.arange(counts.shape[-1]))
    best = np.argsort(-order, axis=-1, kind="stable")[..., : rule.rows]
    chosen = np.zeros(counts.shape, np.bool_)
    np.put_along_axis(chosen, best, True, axis=-1)
    return chosen & (counts > 0)


def _values(parts: Decomposed, significands: Array, fmt: NumberFormat) -> Array:
    """Put the fields together again; what is left of a weight is exact in its format, and in float64."""
    signs = parts.sign.astype(np.bool_)
    if fmt.is_float:
        exponents = parts.exponent.astype(np.int32) - fmt.bias - (fmt.significand_bits - 1)
        magnitudes = np.ldexp(significands.astype(np.float64), exponents)
        values = np.copysign(magnitudes, np.where(signs, -1.0, 1.0)).astype(fmt.dtype)
        check_subnormals(np.count_nonzero(significands), values)
        return values
    numbers = significands.astype(np.int64)
    if fmt.encoding == "twos-complement":
        numbers -= (numbers >> (fmt.significand_bits - 1)) << fmt.significand_bits
    return np.where(signs, -numbers, numbers).astype(fmt.dtype)


def _gathered(x: Array, whole: GroupGrid) -> Array:
    """Copy ``(filters, reduction)`` to ``(filters, groups, group)``, short groups filled up with zeros."""
    planes = x.reshape(len(x), whole.parts, whole.length, whole.stride)
    short = whole.blocks * whole.group - whole.length
    planes = np.pad(planes, ((0, 0), (0, 0), (0, short), (0, 0)))
    lanes = np.moveaxis(planes, 3, 2)
    return np.ascontiguousarray(lanes).reshape(len(x), whole.groups, whole.group)


def _scattered(y: Array, whole: GroupGrid) -> Array:
    """Undo `_gathered`."""
    lanes = y.reshape(len(y), whole.parts, whole.stride, whole.blocks * whole.group)[..., : whole.length]
    return np.moveaxis(lanes, 2, 3).reshape(len(y), whole.reduction)
