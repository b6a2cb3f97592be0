"""Which bits of a tensor matter: ones per row, value and bit sparsity, rows a group needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.checks import values_of
from bitxcore.engine import Cut, Engine, check_nonfinite, codes_of, locate_nonfinite
from bitxcore.formats import NumberFormat, fixed_width
from bitxcore.groups import Grouping
from bitxcore.quantization import quantize
from bitxcore.showing import record_repr
from bitxcore.tables import data_frame, data_set, facts_html

if TYPE_CHECKING:
    from bitxcore.weight_ones import WeightOnes


@dataclass(frozen=True)
class Statistics(Cut):
    """Statistics of one tensor.

    Attributes
    ----------
    values, zeros : int
        All values, and those that are zero.
    essential_bits : int
        Ones in the whole significands, whatever the window.
    groups, zero_groups : int
        All groups, and those of zeros only.
    nonfinite_groups : int
        Groups with a NaN or Inf (``nonfinite="keep"``). They are left out of the counts per row; the counts
        above include their values, by their codes.
    row_ones : ndarray of int64, (window,)
        Ones in each row of the aligned groups, row 0 (the most significant) first; without those that fall
        out of the window.
    nonempty_rows_histogram : ndarray of int64, (window + 1,)
        Groups by their number of non-empty rows.
    format, group, window, grouping
        As in `Cut`.
    ones : WeightOnes, optional
        Ones of each weight before and after pruning, where a number of rows was given.

    Examples
    --------
    >>> s = statistics(np.array([3, 8, -9, 0], np.int8), group=4)
    >>> s.row_ones.tolist()  # of 64, 32, 16, 8, 4, 2 and 1
    [0, 0, 0, 2, 0, 1, 2]
    >>> s.essential_bits, s.value_sparsity, s.mean_nonempty_rows
    (5, 0.25, 3.0)
    """

    values: int
    zeros: int
    essential_bits: int
    groups: int
    zero_groups: int
    nonfinite_groups: int
    row_ones: npt.NDArray[np.int64]
    nonempty_rows_histogram: npt.NDArray[np.int64]
    ones: WeightOnes | None = None

    def __repr__(self) -> str:
        shares = {n: getattr(self, n) for n in ("value_sparsity", "bit_sparsity", "mean_nonempty_rows")}
        return record_repr(self, format=self.format.name, **shares)

    def _repr_html_(self) -> str:
        return facts_html(
            "Statistics",
            self.cut_facts()
            | {
                "values": (self.values, ""),
                "value sparsity": (self.value_sparsity, ""),
                "bit sparsity": (self.bit_sparsity, ""),
                "groups": (self.groups, ""),
                "groups with a NaN or Inf": (self.nonfinite_groups or None, ""),
                "non-empty rows per group, mean": (self.mean_nonempty_rows, ""),
                "ones per weight before pruning, mean": (self.ones and self.ones.before.mean, ""),
                "ones per weight after pruning, mean": (self.ones and self.ones.after.mean, ""),
            },
        )

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` with a row per bit row: ``row``, ``ones`` and ``share`` of the values.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> statistics(np.array([3, 8, -9, 0], np.int8), group=4).to_pandas().share.tolist()
        [0.0, 0.0, 0.0, 0.5, 0.0, 0.25, 0.5]
        """
        columns = {"row": np.arange(self.window), "ones": self.row_ones, "share": self.row_ones / self.values}
        return data_frame(columns, {"row": "1", "ones": "bit", "share": "1"})

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset`: ``row_ones`` along ``row``, groups along ``nonempty_rows``, and counts.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> found = statistics(np.array([3, 8, -9, 0], np.int8), group=4).to_xarray()
        >>> int(found.row_ones.sel(row=6)), found.row_ones.attrs["units"], found.attrs["format"]
        (2, 'bit', 'int8')
        """
        counts = ("values", "zeros", "essential_bits", "groups", "zero_groups", "nonfinite_groups")
        variables: dict[str, Any] = {
            "row": (["row"], np.arange(self.window), "1"),
            "nonempty_rows": (["nonempty_rows"], np.arange(self.window + 1), "1"),
            "row_ones": (["row"], self.row_ones, "bit"),
            "nonempty_rows_histogram": (["nonempty_rows"], self.nonempty_rows_histogram, "1"),
        }
        variables |= {n: ([], getattr(self, n), "bit" if n == "essential_bits" else "1") for n in counts}
        return data_set(variables, self.cut_attrs())

    @property
    def value_sparsity(self) -> float:
        """Share of values that are zero."""
        return self.zeros / self.values

    @property
    def bit_sparsity(self) -> float:
        """Share of 0 bits in the significands of the non-zero values; NaN if there are none."""
        bits = (self.values - self.zeros) * self.format.significand_bits
        return 1 - self.essential_bits / bits if bits else float("nan")

    @property
    def mean_nonempty_rows(self) -> float:
        """Mean number of non-empty rows of a group."""
        histogram = self.nonempty_rows_histogram
        groups = int(histogram.sum())
        return float(histogram @ np.arange(histogram.size)) / groups if groups else float("nan")


def statistics(
    x: npt.ArrayLike,
    *,
    group: int | None = 8,
    window: int | None = None,
    format: str | NumberFormat | None = None,  # noqa: A002
    grouping: Grouping = "flat",
    nonfinite: Literal["raise", "keep"] = "raise",
    rows: int | None = None,
) -> Statistics:
    """Count the bits of a tensor, per value and per row of its groups.

    Parameters
    ----------
    x, group, window, format, grouping, nonfinite
        As for `prune`.
    rows : int, optional
        Also prune to this number of rows, and count the ones of each weight before and after
        (`weight_ones`). A NaN or Inf is then always an error, because it has no ones to count.

    Returns
    -------
    Statistics

    Raises
    ------
    TensorError
        If the tensor can't be grouped, or holds a value outside its format.
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> s = statistics(np.array([1.5, 0.0, -0.75, 2.0], np.float32), group=4)
    >>> s.values, s.zeros, s.essential_bits
    (4, 1, 5)
    """
    check_nonfinite(nonfinite)
    source = values_of(x)
    if width := fixed_width(format):
        source, format = quantize(source, width).codes, f"int{width}"  # noqa: A001
    cut = Cut.of(source.dtype, group, window, format, grouping, source.shape)
    engine = cut.engine(source.shape)
    native = np.ascontiguousarray(source, dtype=cut.format.dtype)
    codes = codes_of(native, cut.format)

    sums = engine.each_chunk(lambda first, last: add_up(engine, codes, first, last))
    result = assemble(engine, native.size, sums, cut)
    if result.nonfinite_groups and nonfinite == "raise":
        raise locate_nonfinite(native, cut.format)
    if rows is None:
        return result
    from bitxcore.weight_ones import weight_ones

    cut_alike: dict[str, Any] = {"group": group, "window": window, "format": format, "grouping": grouping}
    return replace(result, ones=weight_ones(source, rows=rows, **cut_alike))


class Sums(NamedTuple):
    """What a chunk adds to the statistics."""

    groups: int
    nonfinite_groups: int
    zero_groups: int
    row_ones: npt.NDArray[np.int64]
    nonempty: npt.NDArray[np.int64]
    essential_bits: int
    zeros: int


def add_up(engine: Engine, x: npt.NDArray[Any], first: int, last: int) -> Sums:
    """Add up the groups ``first..last`` of the codes `x` of a tensor."""
    groups = engine.whole_vectors(last - first)
    codes = engine.take(x, first, last, groups)
    bad, row_ones, nonempty, sums = engine.summarize_vectors(codes, groups)
    zero_groups = int(nonempty[0]) - bad
    if zero_groups and engine.window < engine.fmt.significand_bits:
        # A narrow window can cut all the bits of a group that is not zero.
        magnitude = ~codes.dtype.type(0) >> codes.dtype.type(engine.fmt.is_float)
        zero_groups = int((~(codes.reshape(groups, -1) & magnitude).any(axis=1)).sum())
    return Sums(groups, bad, zero_groups, row_ones, nonempty, int(sums[0]), int(sums[1]))


def assemble(engine: Engine, values: int, parts: Sequence[Sums], cut: Cut) -> Statistics:
    """Make the statistics of a tensor of so many values from those of its chunks."""
    groups, bad, zero_groups, row_ones, nonempty, essential_bits, zeros = (
        sum(part) for part in zip(*parts, strict=True)
    )
    # Whole vectors hold groups of zeros at the end, and groups are filled up with zeros.
    filled = groups - engine.count
    nonempty[0] -= bad + filled
    return Statistics(
        values=values,
        zeros=zeros - (groups * engine.padded - values),
        essential_bits=essential_bits,
        groups=engine.count,
        zero_groups=zero_groups - filled,
        nonfinite_groups=bad,
        row_ones=_resized(row_ones, engine.window),
        nonempty_rows_histogram=_resized(nonempty, engine.window + 1),
        **cut.cut,
    )


def joined(parts: Sequence[Statistics]) -> Statistics:
    """Add up the statistics of the pieces of a tensor, all of whole groups.

    Examples
    --------
    >>> x = np.array([3, 8, -9, 0, 1, 1, 1, 1], np.int8)
    >>> found = joined([statistics(part, group=4) for part in (x[:4], x[4:])])
    >>> found.row_ones.tolist(), found.essential_bits
    ([0, 0, 0, 2, 0, 1, 6], 9)
    """
    added = ("values", "zeros", "essential_bits", "groups", "zero_groups", "nonfinite_groups")
    sums: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in added}
    for name in ("row_ones", "nonempty_rows_histogram"):
        sums[name] = np.sum([getattr(part, name) for part in parts], axis=0)
    return replace(parts[0], **sums, ones=None)


def _resized(counts: Any, size: int) -> npt.NDArray[np.int64]:
    """Fill up counts to the rows of the window, or cut those of rows below it."""
    result = np.zeros(size, np.int64)
    n = min(size, counts.size)
    result[:n] = counts[:n]
    return result
