"""Pruning: check, choose, allocate, call the kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.calibration import squared_norms
from bitxcore.checks import check_one_of, on_device, shown, values_of
from bitxcore.criteria import ROUNDINGS, Criterion
from bitxcore.criteria import criterion as checked_criterion
from bitxcore.engine import (
    Array,
    Cut,
    Engine,
    buffer,
    check_nonfinite,
    codes_of,
    locate_nonfinite,
    mask_dtype,
)
from bitxcore.errors import OptionError, TensorError
from bitxcore.formats import NumberFormat, fixed_width
from bitxcore.groups import MAX_GROUP, MAX_WIDE_GROUP, Grouping
from bitxcore.quantization import quantize
from bitxcore.showing import record_repr
from bitxcore.summary import Statistics, Sums, add_up_vectors, assemble
from bitxcore.tables import data_frame, data_set, facts_html
from bitxcore.wide_groups import prune_wide

Nonfinite = Literal["raise", "keep"]


@dataclass(frozen=True)
class Pruned(Cut):
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
    format, group, window, grouping
        As in `Cut`; for ``fixed<N>`` the format of `codes`.
    nonfinite_groups : int
        Groups left untouched for a NaN or Inf (``nonfinite="keep"``); their masks are full.
    window_limited_groups : int
        Groups that kept fewer than `rows` rows (without a cap: the rows of the window) although a one of a
        member fell out of the alignment window. A wider window could change them. 0 for integers, which are
        not aligned.
    codes : ndarray of int, optional
        ``fixed<N>`` only: the pruned integers. `values` are their products with `scale`.
    scale : float, optional
        ``fixed<N>`` only.
    statistics : Statistics, optional
        Of the tensor before pruning, if requested.

    Examples
    --------
    >>> p = prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4)
    >>> p.values.tolist(), p.kept_rows.tolist(), p.format.name
    ([0, 8, -8, 0], [[1]], 'int8')
    >>> p.kept_rows_histogram().tolist()
    [0, 1, 0, 0, 0, 0, 0, 0]
    """

    values: npt.NDArray[Any]
    row_masks: npt.NDArray[Any]
    exponents: npt.NDArray[np.int16]
    kept_rows: npt.NDArray[np.uint8]
    nonfinite_groups: int = 0
    window_limited_groups: int = 0
    codes: npt.NDArray[Any] | None = field(default=None, repr=False)
    scale: float | None = None
    statistics: Statistics | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return record_repr(self, format=self.format.name, kept_rows_mean=float(self.kept_rows.mean()))

    def _repr_html_(self) -> str:
        return facts_html(
            "Pruned",
            self.cut_facts()
            | {
                "shape": ("x".join(map(str, self.values.shape)), ""),
                "dtype": (str(self.values.dtype), ""),
                "groups": (self.kept_rows.size, ""),
                "kept rows per group, mean": (float(self.kept_rows.mean()), ""),
                "kept rows per group, most": (int(self.kept_rows.max()), ""),
                "groups with a NaN or Inf": (self.nonfinite_groups or None, ""),
                "window-limited groups": (self.window_limited_groups, ""),
                "scale": (self.scale, ""),
            },
        )

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a row per group.

        Columns are ``filter``, ``group``, ``kept_rows``, ``exponent`` and ``row_mask``.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> frame = prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=2).to_pandas()
        >>> frame.group.tolist(), frame.row_mask.tolist(), frame.attrs["units"]["kept_rows"]
        ([0, 1], [8, 8], '1')
        """
        filters, groups = self.kept_rows.shape
        columns = {
            "filter": np.repeat(np.arange(filters), groups),
            "group": np.tile(np.arange(groups), filters),
            "kept_rows": self.kept_rows.reshape(-1),
            "exponent": self.exponents.reshape(-1),
            "row_mask": self.row_masks.reshape(-1),
        }
        return data_frame(columns, dict.fromkeys(columns, "1") | {"row_mask": ""})

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset`.

        ``row_masks``, ``exponents`` and ``kept_rows`` have the dimensions ``filter`` and ``group``;
        ``values`` and, where there are any, ``codes`` have ``filter``, ``axis_1``, ``axis_2``, …. Those of a
        1-D tensor, which is one filter, have ``weight``.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> found = prune(np.array([[3, 8, -9, 0]], np.int8), rows=1, group=2).to_xarray()
        >>> dict(found.sizes), found.kept_rows.attrs["units"], found.attrs["window"]
        ({'filter': 1, 'axis_1': 4, 'group': 2}, '1', 7)
        """
        axes = ["filter", *(f"axis_{i}" for i in range(1, self.values.ndim))]
        axes = ["weight"] if self.values.ndim == 1 else axes
        variables: dict[str, Any] = {"values": (axes, self.values, "1")}
        if self.codes is not None:
            variables["codes"] = (axes, self.codes, "1")
        for name, unit in (("row_masks", ""), ("exponents", "1"), ("kept_rows", "1")):
            variables[name] = (["filter", "group"], getattr(self, name), unit)
        more = {
            "nonfinite_groups": self.nonfinite_groups,
            "window_limited_groups": self.window_limited_groups,
            "scale": self.scale,
        }
        # "group" is a dimension here.
        attrs = {("group_weights" if name == "group" else name): v for name, v in self.cut_attrs().items()}
        return data_set(variables, attrs | more)

    def kept_rows_histogram(self) -> npt.NDArray[np.int64]:
        """Count groups by their number of kept rows; shape (window + 1,)."""
        return np.bincount(self.kept_rows.reshape(-1), minlength=self.window + 1)


def prune(
    x: npt.ArrayLike,
    *,
    rows: int | None = 6,
    group: int | None = 8,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    criterion: str = "topn",
    rounding: str = "truncate",
    grouping: Grouping = "flat",
    threshold: float | None = None,
    budget: float | None = None,
    norms: npt.ArrayLike | None = None,
    nonfinite: Nonfinite = "raise",
    statistics: bool = False,
    out: npt.NDArray[Any] | None = None,
) -> Pruned:
    """Keep the significant bit rows of every weight group and clear the others.

    Parameters
    ----------
    x : array_like
        Weights, output channel on axis 0; a 1-D array is one filter. Those on a CUDA device stay there, as
        does the result, a `bitxcore.cuda.DevicePruned`.
    rows : int or None
        Rows to keep per group. With a criterion that chooses their number, the maximum; None is then no
        maximum. The default is the paper's BitX-wild (`PRESETS`).
    group : int or None
        Weights per group, 1 to 64. With a fixed number of rows up to 4096; groups above 64 are slower, and
        no machine takes them. None: whole kernels, with ``grouping="kernel"``.
    window : int, optional
        Rows of the alignment window, 1 to 64 (default: 32 for float32, p + 8 for the other
        floats, p for integers).
    format : str or NumberFormat, optional
        Default: the dtype's own. ``"fixed<N>"`` first quantises a float array to N-bit integers with
        one power-of-two scale (`quantize`); `values` are then the pruned integers times the scale.
    criterion : {"topn", "msb", "threshold", "energy", "calibrated"}
        The most significant rows (the method), the highest non-empty rows (a control), rows of
        at least `threshold` times the greatest significance, the fewest rows within `budget`; or the most
        significant rows for inputs of the given `norms`.
    rounding : {"truncate", "nearest"}
        ``"truncate"`` is what the hardware does at run time. ``"nearest"`` is an offline preparation: each
        weight is rounded to the nearest value on the kept rows.
    grouping : {"flat", "channel", "kernel"}
        Consecutive weights of a filter; input channels at one kernel position; or the weights of one filter
        and input channel. The last, with ``group=None``, is how BitX's accuracy was measured.
    threshold, budget : float, optional
        Parameters of the criteria of that name, 0 to 1.
    norms : array_like, optional
        Of ``calibrated``: norms of the activations that the weights meet, of shape ``(reduction,)``,
        ``x.shape[1:]`` or ``(in_channels,)``, or of x's axes, each its size or 1. Only their ratios matter.
    nonfinite : {"raise", "keep"}
        How to treat a group that holds a NaN, an Inf or an integer outside the format: raise an error, or
        leave the group unchanged.
    statistics : bool
        Whether to collect the statistics of `x` in the same pass.
    out : ndarray, optional
        C-contiguous array of x's shape and dtype for the result; may be `x` itself. After an error its
        contents are partly pruned.

    Returns
    -------
    Pruned

    Raises
    ------
    TensorError
        If the tensor can't be grouped, holds a value outside its format, or does not fit `out`.
    OptionError
        If a parameter is out of range.

    Notes
    -----
    Row l of a group has the weight ``2**(E_l)``; its significance is the product of Euclidean norms
    ``2**(E_l) * sqrt(BitCnt_l)`` (BitX, ICPP 2021). ``calibrated`` (beyond the paper) replaces the number
    of members with a one by the sum of their squared norms. Rows of significance 0 come last, the upper
    ones first.

    Examples
    --------
    >>> x = np.array([[1.75, 0.25, -0.5, 0.0078125]], np.float32)
    >>> p = prune(x, rows=2, group=4)
    >>> p.values.tolist()
    [[1.5, 0.0, -0.5, 0.0]]
    >>> f"{p.row_masks.item():032b}"  # rows that weigh 1 and 1/2
    '11000000000000000000000000000000'
    """
    if type(x) is not np.ndarray and on_device(x):
        given = dict(locals())
        from bitxcore.cuda.device_pruning import prune_on_device

        return prune_on_device(**given)
    source = values_of(x)
    check_one_of(ROUNDINGS, "rounding", rounding)
    check_nonfinite(nonfinite)
    if out is not None:
        check_out(out, source.shape, source.dtype)
        if np.may_share_memory(out, source) and out.ctypes.data != source.ctypes.data:
            raise TensorError("out overlaps x but is not x")
    fixed = quantize(source, width) if (width := fixed_width(format)) else None
    numbers = source if fixed is None else fixed.codes
    form = format if fixed is None else f"int{width}"
    cut = Cut.of(numbers.dtype, group, window, form, grouping, numbers.shape, MAX_WIDE_GROUP)
    rule = checked_criterion(criterion, rows, threshold, budget, cut.window, norms)
    squares = None if norms is None else squared_norms(norms, numbers.shape)
    native = np.ascontiguousarray(numbers, dtype=cut.format.dtype)
    target = out if fixed is None else native
    values = np.empty_like(native) if target is None else target
    sums: list[Sums] = []
    if cut.group > MAX_GROUP:
        if statistics:
            raise OptionError(f"statistics are of groups of {MAX_GROUP} weights at most, got {cut.group}")
        wide = prune_wide(
            native, cut, rule, nearest=rounding == "nearest", keep_nonfinite=nonfinite == "keep"
        )
        values[...] = wide.values
        chosen, bad, limited = wide[1:4], 0, wide.window_limited_groups
        shape = wide.row_masks.shape
    else:
        engine = cut.engine(numbers.shape)
        codes = codes_of(native, cut.format), codes_of(values, cut.format)
        how = _How(rule, rounding == "nearest", statistics, squares)
        chosen, bad, limited, sums = _prune_groups(engine, *codes, how)
        shape = (engine.grid.filters, engine.grid.groups)
    if bad and nonfinite == "raise":
        raise locate_nonfinite(native, cut.format)
    if fixed is not None:
        fixed.dequantize_into(values := np.empty_like(source) if out is None else out)
    elif (out is None and not source.flags.c_contiguous) or source.dtype != cut.format.dtype:
        laid_out = np.empty_like(source)
        laid_out[...] = values
        values = laid_out
    masks, exponents, kept = (found.reshape(shape) for found in chosen)
    return Pruned(
        values,
        masks,
        exponents,
        kept,
        nonfinite_groups=bad,
        window_limited_groups=limited,
        codes=None if fixed is None else fixed.codes,
        scale=None if fixed is None else float(fixed.scale),
        statistics=assemble(engine, native.size, sums, cut) if statistics else None,
        **cut.cut,
    )


def check_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless `out` can take a result of that shape and dtype."""
    if not isinstance(out, np.ndarray):
        raise TensorError(f"out must be an ndarray, got {shown(out)}")
    if out.shape != shape or out.dtype != dtype or not out.dtype.isnative:
        raise TensorError(f"out must be {shape} {dtype} in native byte order, got {out.shape} {out.dtype}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise TensorError("out must be C-contiguous and writeable")


@dataclass(frozen=True, slots=True)
class _How:
    """What is done to every group.

    Parameters
    ----------
    rule : Criterion
    nearest : bool
        Whether weights go to the nearest value on the kept rows.
    count : bool
        Whether the statistics of the tensor are wanted.
    squares : ndarray, optional
        Of ``calibrated``: those of one filter, or of all.
    """

    rule: Criterion
    nearest: bool
    count: bool
    squares: Array | None


class _Choice(NamedTuple):
    """What is kept of groups: row masks, exponents, numbers of rows."""

    masks: Array
    exponents: Array
    kept: Array

    def lend(self, engine: Engine, first: int, last: int, groups: int) -> _Choice:
        """Return where kernels may write `groups` groups from `first` on: here if they fit, else scratch."""

        def place(name: str, result: Array, dtype: npt.DTypeLike) -> Array:
            here = result[first:last]
            fits = here.size == groups and here.dtype == dtype
            return here if fits else buffer(name, groups, dtype)

        lanes = np.dtype(f"u{engine.row_bits // 8}")
        return _Choice(
            place("masks", self.masks, lanes),
            place("exponents", self.exponents, np.int16),
            place("kept", self.kept, np.uint8),
        )

    def settle(self, engine: Engine, first: int, last: int, lent: _Choice) -> None:
        """Take over what kernels have written to what was lent, which may be here already."""
        n = last - first
        # The kernels' masks have row 0 on top of a lane, the result's have the last row at bit 0.
        shift = engine.row_bits - engine.window
        if shift > 0:
            self.masks[first:last] = lent.masks[:n] >> shift
        elif shift < 0 or lent.masks.base is not self.masks:
            self.masks[first:last] = lent.masks[:n].astype(self.masks.dtype) << -shift
        if lent.kept.size > n:
            self.exponents[first:last], self.kept[first:last] = lent.exponents[:n], lent.kept[:n]


def _prune_groups(engine: Engine, x: Array, out: Array, how: _How) -> tuple[_Choice, int, int, list[Sums]]:
    """Prune all groups of the codes `x` into `out`.

    Returns
    -------
    chosen : _Choice
        One value per group.
    bad : int
        Groups without a finite value.
    limited : int
        Groups that could keep more rows in a wider window.
    sums : list of Sums
        What to make the statistics of, if they are to be counted.
    """
    count = engine.count
    chosen = _Choice(
        np.empty(count, mask_dtype(engine.window)), np.empty(count, np.int16), np.empty(count, np.uint8)
    )

    def work(first: int, last: int) -> tuple[int, int, list[Sums]]:
        groups = engine.whole_vectors(last - first)
        codes = engine.take(x, first, last, groups)
        view = engine.view(out, first, last, groups)
        target = codes if view is None else view
        lent = chosen.lend(engine, first, last, groups)
        counted = [add_up_vectors(engine, codes, groups)] if how.count else []
        if how.rule.counts_every_row:
            bad = engine.select(codes, *lent, groups, how.rule, how.squares, first)
            limited = engine.count_limited(codes, lent.kept, groups, how.rule)
        else:
            pruned = buffer("spare", codes.size, codes.dtype) if how.nearest else target
            bad, limited = engine.prune_vectors(codes, pruned, *lent, groups, how.rule)
        if how.nearest or how.rule.counts_every_row:
            engine.apply_vectors(codes, target, lent.masks, groups, how.nearest)
        if view is None:
            engine.scatter(target, first, last, out, x)
        chosen.settle(engine, first, last, lent)
        return bad, limited, counted

    results = engine.each_chunk(work)
    bad, limited = sum(found[0] for found in results), sum(found[1] for found in results)
    return chosen, bad, limited, [part for *_, parts in results for part in parts]
