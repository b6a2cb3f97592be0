"""Rules between the columns of a store's tables: sums, shares, limits, and totals of one table in another.

They are declared in `ROW_RULES`, `UNIQUE_RULES`, `KNOWN_RULES` and `CROSS_RULES`. Stores that lack a table or
column of a rule keep it, and so do rows without a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Block = Mapping[str, npt.NDArray[Any]]
"""Rows of a table, as `Store.blocks` gives them."""

TOLERANCE = 1e-9
"""Relative, where numbers are not whole: sums may be taken in another order."""

_CAUSES = ("fill", "compute", "lane_wait", "imbalance", "fifo_full", "weight_wait", "activation_wait")
CAUSES = tuple(f"{cause}_cycles" for cause in (*_CAUSES, "output_wait"))
"""Columns that add up to ``cycles``; a machine may have only some."""

DRAM_PARTS = tuple(f"dram_{part}_bytes" for part in ("weight", "activation", "output", "partial_sum"))
"""Columns that add up to ``dram_bytes``."""

_TIMED = ("simulation", "networks", "sweep")
_DRAWN = ("statistics", "pruning")


class NumericColumn(NamedTuple):
    """A column of numbers: int64 or float64, and where there is a value."""

    values: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]


def numbers(column: npt.NDArray[Any] | None) -> NumericColumn | None:
    """Return a column as numbers; None if it is not there, or holds none.

    Examples
    --------
    >>> numbers(np.array([1.5, np.nan])).present.tolist()
    [True, False]
    """
    if column is None or column.dtype.kind not in "iuf":
        return None
    present = ~np.ma.getmaskarray(column)
    values = np.ma.getdata(column)
    if values.dtype.kind == "f" or values.dtype == np.uint64:
        values = values.astype(np.float64)
        return NumericColumn(values, present & np.isfinite(values))
    return NumericColumn(values.astype(np.int64), present)


@dataclass(frozen=True)
class Sum:
    """A column is the sum of others; those that are missing count as 0.

    Parameters
    ----------
    tables : tuple of str
    column : str
    parts : tuple of str
    """

    tables: tuple[str, ...]
    column: str
    parts: tuple[str, ...]

    @property
    def words(self) -> str:
        """The rule, after "must be"."""
        return f"the sum of {_listed(self.parts)}"

    def expected(self, block: Block) -> NumericColumn | None:
        """Return what the column must be."""
        found = [part for part in (numbers(block.get(name)) for name in self.parts) if part is not None]
        if not found:
            return None
        total = sum(np.where(part.present, part.values, 0) for part in found)
        return NumericColumn(np.asarray(total), np.logical_or.reduce([part.present for part in found]))


@dataclass(frozen=True)
class Share:
    """A column is one column divided by another, less a third.

    Parameters
    ----------
    tables : tuple of str
    column, over, under : str
    less : str, optional
        What is subtracted from `under` first.
    """

    tables: tuple[str, ...]
    column: str
    over: str
    under: str
    less: str | None = None

    @property
    def words(self) -> str:
        """The rule, after "must be"."""
        under = f"({self.under} - {self.less})" if self.less else self.under
        return f"{self.over} / {under}"

    def expected(self, block: Block) -> NumericColumn | None:
        """Return what the column must be."""
        over, under = numbers(block.get(self.over)), numbers(block.get(self.under))
        if over is None or under is None:
            return None
        divisor, present = under.values.astype(np.float64), over.present & under.present
        if self.less is not None:
            less = numbers(block.get(self.less))
            if less is None:
                return None
            divisor, present = divisor - less.values, present & less.present
        present = present & (divisor != 0)
        return NumericColumn(over.values / np.where(divisor == 0, 1, divisor), present)


@dataclass(frozen=True)
class AtMost:
    """A column is never larger than another.

    Parameters
    ----------
    tables : tuple of str
    column, limit : str
    """

    tables: tuple[str, ...]
    column: str
    limit: str

    @property
    def words(self) -> str:
        """The rule, after "must be"."""
        return f"at most {self.limit}"

    def expected(self, block: Block) -> NumericColumn | None:
        """Return what the column may be."""
        return numbers(block.get(self.limit))


RowRule = Sum | Share | AtMost


@dataclass(frozen=True)
class Unique:
    """No two rows of a table have the same keys.

    Parameters
    ----------
    table : str
    keys : tuple of str
        Columns that tell rows apart; those that a table lacks do not count.
    """

    table: str
    keys: tuple[str, ...]

    @property
    def words(self) -> str:
        """The rule, after "must have"."""
        return f"one row per {_listed(self.keys)}"


@dataclass(frozen=True)
class Known:
    """The keys of every row are those of a row of another table.

    Parameters
    ----------
    table : str
    keys : tuple of str
    target : str
    """

    table: str
    keys: tuple[str, ...]
    target: str

    @property
    def words(self) -> str:
        """The rule, after "must have"."""
        return f"the {_listed(self.keys)} of a row of /{self.target}"


@dataclass(frozen=True)
class Total:
    """A column is the sum of a column of another table, over the rows about the same.

    Parameters
    ----------
    source, column : str
        What is added up.
    keys : tuple of str
    target : str
        Table that has the sums.
    into : str
        Its column.
    weight : str, optional
        The sum is the mean of `column` with the weights of this column.
    unless : str, optional
        Column of `source`; rows with a value there do not count.
    where : str, optional
        Column of `target`; rows without a value there keep the rule.
    """

    source: str
    column: str
    keys: tuple[str, ...]
    target: str
    into: str
    weight: str | None = None
    unless: str | None = None
    where: str | None = None

    @property
    def words(self) -> str:
        """The rule, after "must be"."""
        rows = f", rows without a {self.unless}," if self.unless else ""
        of = f"of {self.column} in /{self.source}{rows} per {_listed(self.keys)}"
        return f"the sum {of}" if self.weight is None else f"the mean {of}, weighted by {self.weight}"


@dataclass(frozen=True)
class Rows:
    """A column counts rows of another table.

    Parameters
    ----------
    source : str
    keys : tuple of str
    target, into : str
        As in `Total`.
    given : str
        Column of `source`.
    has : bool
        Whether rows with a value there are counted, or those without.
    """

    source: str
    keys: tuple[str, ...]
    target: str
    into: str
    given: str
    has: bool

    @property
    def words(self) -> str:
        """The rule, after "must be"."""
        which = "with" if self.has else "without"
        return f"the number of rows of /{self.source} {which} a {self.given} per {_listed(self.keys)}"


CrossRule = Total | Rows

_LAYER = ("layer", "accelerator")
_MACHINE = ("accelerator",)
_UNPRUNED = (
    "unpruned",
    "every_bit",
    "on_chip_unpruned_fixed16",
    "unpruned_all_rows",
    "unpruned_nonempty_rows",
)
ADDED_UP = (
    *("macs", "parameters", *CAUSES, "cycles", "on_chip_cycles", "energy_j", "dram_bytes", *DRAM_PARTS),
    *("dram_weight_bytes_plain", "dram_seconds", "work_cycles", "unpruned_work_cycles"),
    *("unpruned_cycles", "every_bit_cycles", "on_chip_unpruned_fixed16_cycles"),
    *("unpruned_all_rows_cycles", "unpruned_nonempty_rows_cycles", "window_limited_groups"),
)
"""Columns of a network that are sums over its layers."""

ROW_RULES: tuple[RowRule, ...] = (
    Sum(_TIMED, "cycles", CAUSES),
    Sum(_TIMED, "dram_bytes", DRAM_PARTS),
    AtMost(_TIMED, "on_chip_cycles", "cycles"),
    Share((*_TIMED, "evaluation"), "speedup_over_unpruned", "unpruned_cycles", "cycles"),
    Share((*_TIMED, "evaluation"), "work_speedup", "unpruned_work_cycles", "work_cycles"),
    Share(_TIMED, "speedup_over_every_bit", "every_bit_cycles", "cycles"),
    Share(_TIMED, "speedup_over_all_rows", "unpruned_all_rows_cycles", "cycles"),
    Share(_TIMED, "speedup_over_nonempty_rows", "unpruned_nonempty_rows_cycles", "cycles"),
    Share(_TIMED, "power_w", "energy_j", "seconds"),
    AtMost(_DRAWN, "nonfinite_groups", "groups"),
    AtMost(_DRAWN, "window_limited_groups", "groups"),
    AtMost(("statistics",), "zero_groups", "groups"),
    AtMost(("statistics",), "zeros", "values"),
    AtMost(("statistics",), "nonempty_rows_max", "window_rows"),
    Share(("statistics",), "value_sparsity", "zeros", "values"),
    Share(("statistics",), "essential_bits_per_nonzero", "essential_bits", "values", less="zeros"),
    AtMost(("pruning",), "kept_rows_max", "window_rows"),
    AtMost(("pruning",), "changed_values", "values"),
    AtMost(("pruning",), "zeros_before", "values"),
    AtMost(("pruning",), "zeros_after", "values"),
    Share(("pruning",), "packed_bits_per_weight", "packed_bits", "values"),
    Share(("reproduction",), "ratio", "ours", "published"),
)
"""Within a row."""

UNIQUE_RULES: tuple[Unique, ...] = (
    Unique("statistics", ("dump", "tensor")),
    Unique("pruning", ("dump", "tensor")),
    Unique("errors", ("tensor", "rows")),
    Unique("simulation", _LAYER),
    Unique("networks", ("network", "accelerator")),
    Unique("kept_rows", (*_LAYER, "kept_rows")),
    Unique("kept_ones", (*_LAYER, "kept_ones")),
    Unique("energy", (*_LAYER, "part")),
    Unique("area", ("accelerator", "part")),
    Unique("sweep", ("point",)),
    Unique("comparison", ("label",)),
)
"""Between the rows of a table."""

KNOWN_RULES: tuple[Known, ...] = (
    *(Known(table, _LAYER, "simulation") for table in ("kept_rows", "kept_ones", "energy")),
    *(Known(table, _MACHINE, "networks") for table in ("simulation", "area", "costs")),
)
"""Between the rows of two tables."""

CROSS_RULES: tuple[CrossRule, ...] = (
    *(Total("simulation", column, _MACHINE, "networks", column, unless="reason") for column in ADDED_UP),
    Rows("simulation", _MACHINE, "networks", "layers", "reason", has=False),
    Rows("simulation", _MACHINE, "networks", "not_applicable", "reason", has=True),
    Total("kept_rows", "groups", _LAYER, "simulation", "groups", where="kept_rows_mean"),
    Total("kept_rows", "kept_rows", _LAYER, "simulation", "kept_rows_mean", weight="groups"),
    Total("kept_ones", "kept_ones", _LAYER, "simulation", "kept_ones_mean", weight="weights"),
    Total("energy", "energy_j", _LAYER, "simulation", "energy_j"),
    Total("area", "area_mm2", _MACHINE, "networks", "area_mm2"),
)
"""Totals of one table in another; not where two rows of the latter are about the same."""


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
