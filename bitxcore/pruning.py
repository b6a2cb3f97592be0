"""Pruning: check, choose, allocate, call the kernels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.criteria import ROUNDINGS, Criterion
from bitxcore.criteria import criterion as checked_criterion
from bitxcore.engine import Engine, buffer, check_window, codes_of, locate_nonfinite, mask_dtype
from bitxcore.errors import BitxError
from bitxcore.formats import NumberFormat, fixed_width, format_of
from bitxcore.groups import Grouping, grid
from bitxcore.quantization import quantize
from bitxcore.summary import Statistics, Sums, add_up_vectors, assemble

Nonfinite = Literal["raise", "keep"]


@dataclass(frozen=True)
class Pruned:
    """A pruned tensor and what was kept of it.

    Attributes
    ----------
    values : ndarray
        The pruned tensor: shape, dtype and layout of the input.
    row_masks : ndarray of unsigned int, (filters, groups)
        Bit ``W - 1 - l`` set: row l kept.
    exponents : ndarray of int16, (filters, groups)
        Largest biased exponent of a non-zero member; 0 if there is none, and for integers.
    kept_rows : ndarray of uint8, (filters, groups)
        Number of kept rows.
    format : NumberFormat
        What the bits mean; for ``fixed<N>`` the format of `codes`.
    group, window : int
        Weights a group, rows of the window.
    grouping : {"flat", "channel"}
    nonfinite_groups : int
        Groups left untouched for a NaN or Inf (``nonfinite="keep"``); their masks are full.
    codes : ndarray of int, optional
        ``fixed<N>`` only: the pruned integers, of which `values` are the products with `scale`.
    scale : float, optional
        ``fixed<N>`` only.
    statistics : Statistics, optional
        Of the tensor as it was, where asked for.
    """

    values: npt.NDArray[Any]
    row_masks: npt.NDArray[Any]
    exponents: npt.NDArray[np.int16]
    kept_rows: npt.NDArray[np.uint8]
    format: NumberFormat
    group: int
    window: int
    grouping: Grouping
    nonfinite_groups: int = 0
    codes: npt.NDArray[Any] | None = field(default=None, repr=False)
    scale: float | None = None
    statistics: Statistics | None = field(default=None, repr=False)

    def kept_rows_histogram(self) -> npt.NDArray[np.int64]:
        """Count groups by their number of kept rows; shape (window + 1,)."""
        return np.bincount(self.kept_rows.reshape(-1), minlength=self.window + 1)


def prune(
    x: npt.ArrayLike,
    *,
    rows: int | None = None,
    group: int = 16,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    criterion: str = "topn",
    rounding: str = "truncate",
    grouping: Grouping = "flat",
    threshold: float | None = None,
    budget: float | None = None,
    nonfinite: Nonfinite = "raise",
    statistics: bool = False,
    out: npt.NDArray[Any] | None = None,
) -> Pruned:
    """Keep the significant bit rows of every weight group and clear the others.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0; a 1-D array is one filter.
    rows : int, optional
        Rows to keep a group. ``topn`` and ``msb`` need it; it caps the others.
    group : int
        Weights a group, 1 to 64.
    window : int, optional
        Rows of the alignment window, 1 to 64 (default: 32 for float32, p + 8 for the other
        floats, p for integers).
    format : str or NumberFormat, optional
        Default: the dtype's own. ``"fixed<N>"`` first quantises a float array to N-bit integers with
        one power-of-two scale (`quantize`); `values` are then the pruned integers times the scale.
    criterion : {"topn", "msb", "threshold", "energy"}
        The most significant rows (the method), the highest non-empty rows (a control), rows of
        at least `threshold` times the greatest significance, the fewest rows within `budget`.
    rounding : {"truncate", "nearest"}
        What the hardware does at run time, or an offline preparation: each weight goes to the nearest
        value on the kept rows.
    grouping : {"flat", "channel"}
        Consecutive weights of a filter, or input channels at one kernel position.
    threshold, budget : float, optional
        Parameters of the criteria of that name, 0 to 1.
    nonfinite : {"raise", "keep"}
        What to do with a group that holds a NaN, an Inf or an integer outside the format.
    statistics : bool
        Whether to collect the statistics of `x` on the way, while it is in the cache.
    out : ndarray, optional
        C-contiguous array of x's shape and dtype for the result; may be `x` itself. If an error
        is raised its contents are partly pruned.

    Returns
    -------
    Pruned

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value that is none of its format.
    BitxError
        If a parameter is out of range.

    Notes
    -----
    Row l of a group weighs ``2**(E_l)``; its significance is the product of Euclidean norms
    ``2**(E_l) * sqrt(BitCnt_l)`` (BitX, ICPP 2021).
    """
    source = np.asarray(x)
    if rounding not in ROUNDINGS:
        raise BitxError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {rounding!r}")
    if nonfinite not in ("raise", "keep"):
        raise BitxError(f"nonfinite must be 'raise' or 'keep', got {nonfinite!r}")
    if out is not None:
        check_out(out, source.shape, source.dtype)
        if np.may_share_memory(out, source) and out.ctypes.data != source.ctypes.data:
            raise BitxError("out overlaps x but is not x")
    options: dict[str, Any] = {"rows": rows, "group": group, "window": window, "grouping": grouping}
    options |= {"criterion": criterion, "rounding": rounding, "threshold": threshold, "budget": budget}
    options |= {"nonfinite": nonfinite, "statistics": statistics}
    if isinstance(format, str) and (width := fixed_width(format)):
        return _prune_fixed(source, width, out, options)
    fmt = format_of(source.dtype, format)
    engine = Engine(fmt, check_window(window, fmt), grid(source.shape, group, grouping))
    rule = checked_criterion(criterion, rows, threshold, budget, engine.window)
    native = np.ascontiguousarray(source, dtype=fmt.dtype)
    values = np.empty_like(native) if out is None else out
    nearest = rounding == "nearest"
    run = _run(engine, codes_of(native, fmt), codes_of(values, fmt), rule, nearest, statistics)
    masks, exponents, kept, bad, sums = run
    if bad and nonfinite == "raise":
        raise locate_nonfinite(native, fmt)
    if (out is None and not source.flags.c_contiguous) or source.dtype != fmt.dtype:
        laid_out = np.empty_like(source)
        laid_out[...] = values
        values = laid_out
    counted = assemble(engine, native.size, sums, grouping) if statistics else None
    cut = (fmt, engine.grid.group, engine.window, grouping)
    return Pruned(values, masks, exponents, kept, *cut, nonfinite_groups=bad, statistics=counted)


def check_out(out: npt.NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless `out` can take a result of that shape and dtype."""
    if out.shape != shape or out.dtype != dtype or not out.dtype.isnative:
        raise BitxError(f"out must be {shape} {dtype} in native byte order, got {out.shape} {out.dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise BitxError("out must be C-contiguous and writeable")


def _prune_fixed(
    x: npt.NDArray[Any], width: int, out: npt.NDArray[Any] | None, options: dict[str, Any]
) -> Pruned:
    fixed = quantize(x, width)
    p = prune(fixed.codes, format=f"int{width}", out=fixed.codes, **options)
    values = np.empty_like(x) if out is None else out
    fixed.dequantize_into(values)
    return replace(p, values=values, codes=fixed.codes, scale=float(fixed.scale))


def _run(
    engine: Engine,
    x: npt.NDArray[Any],
    out: npt.NDArray[Any],
    rule: Criterion,
    nearest: bool,
    count: bool,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], int, list[Sums]]:
    """Prune all groups of the codes `x` into `out`.

    Returns
    -------
    masks, exponents, kept : ndarray, (filters, groups)
    bad : int
        Groups without a finite value.
    sums : list of Sums
        What to make the statistics of, if they are to be counted.
    """
    shape = (engine.grid.filters, engine.grid.groups)
    dtype = mask_dtype(engine.window)
    masks, exponents = np.empty(engine.count, dtype), np.empty(engine.count, np.int16)
    kept = np.empty(engine.count, np.uint8)
    shift = engine.row_bits - engine.window
    row_dtype = np.dtype(f"u{engine.row_bits // 8}")

    def work(first: int, last: int) -> tuple[int, list[Sums]]:
        n = last - first
        padded = engine.whole_vectors(n)
        here = slice(first, last)
        in_place = engine.contiguous and n == padded
        if in_place:
            codes = x[first * engine.padded : last * engine.padded]
            target = out[first * engine.padded : last * engine.padded]
        else:
            codes = target = buffer("codes", padded * engine.padded, engine.code_dtype)
            engine.gather(x, first, last, codes)
        direct = n == padded
        final = direct and shift == 0 and dtype == row_dtype
        m = masks[here] if final else buffer("masks", padded, row_dtype)
        e = exponents[here] if direct else buffer("exponents", padded, np.int16)
        k = kept[here] if direct else buffer("kept", padded, np.uint8)
        counted = [add_up_vectors(engine, codes, padded)] if count else []
        if rule.counts_every_row:
            bad = engine.select(codes, m, e, k, padded, rule)
            engine.apply_vectors(codes, target, m, padded, nearest)
        elif nearest:
            bad = engine.prune_vectors(codes, buffer("spare", codes.size, codes.dtype), m, e, k, padded, rule)
            engine.apply_vectors(codes, target, m, padded, nearest)
        else:
            bad = engine.prune_vectors(codes, target, m, e, k, padded, rule)
        if not in_place:
            engine.scatter(target, first, last, out, x)
        if not direct:
            exponents[here], kept[here] = e[:n], k[:n]
        if not final:
            masks[here] = m[:n] >> shift if shift >= 0 else m[:n].astype(dtype) << -shift
        return bad, counted

    results = engine.each_chunk(work)
    bad = sum(n for n, _ in results)
    sums = [part for _, parts in results for part in parts]
    return masks.reshape(shape), exponents.reshape(shape), kept.reshape(shape), bad, sums
