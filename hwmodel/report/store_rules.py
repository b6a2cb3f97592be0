"""Rules of the tables that a report reads: columns that must be there, and what their values may be.

Stores are files that other programs write and people edit. They are checked once, when a report reads them,
so that no figure or sentence has to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from bitxcore.errors import DumpError
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_words import listed, named

LARGEST_COUNT = 2**53
"""Larger integers are not exact in the page's script."""

LARGEST_KEPT = 4096
"""No group has more rows, and no weight more ones: figures have as many columns."""

LARGEST_NUMBER = 1e300
"""A sum of larger numbers may overflow."""

_HISTOGRAMS = ("ones_per_row", "kept_rows_histogram", "pruned_ones_histogram")
_COUNTED_UNITS = frozenset({"cycles", "B"})


@dataclass(frozen=True)
class Kind:
    """What the values of a column may be.

    Parameters
    ----------
    words : str
        The rule, after "must be".
    holds : function of object
        Whether a value that is there keeps it.
    required : bool
        Whether a value must be there in every row.
    """

    words: str
    holds: Callable[[Any], bool]
    required: bool = False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _is_whole(value: Any, most: int) -> bool:
    return _is_number(value) and 0 <= value <= most and value == int(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_COUNT_WORDS = "a whole number from 0 to 2**53"
NAME = Kind("text", _is_text, required=True)
TEXT = Kind("text", _is_text)
NUMBER = Kind("a number of at most 1e300", _is_number)
AMOUNT = Kind("a number from 0 to 1e300", lambda value: _is_number(value) and value >= 0)
COUNT = Kind(_COUNT_WORDS, lambda value: _is_whole(value, LARGEST_COUNT))
GIVEN_COUNT = Kind(_COUNT_WORDS, COUNT.holds, required=True)
KEPT = Kind(
    f"a whole number from 0 to {LARGEST_KEPT}", lambda value: _is_whole(value, LARGEST_KEPT), required=True
)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), required=True)
_INTEGER = Kind("at most 2**53 in magnitude", lambda value: abs(value) <= LARGEST_COUNT)
_REAL = Kind("at most 1e300 in magnitude", lambda value: abs(value) <= LARGEST_NUMBER)


@dataclass(frozen=True)
class TableRule:
    """Columns of a table that a report reads.

    Parameters
    ----------
    must : mapping of str to Kind
        Columns that the layout of stores asks for: without one, the store is refused.
    needs : mapping of str to Kind
        Without one of these, the table is not shown.
    uses : mapping of str to Kind
        Without one of these, some figures or sentences are left out.
    may : mapping of str to Kind
        Others with a rule.
    """

    must: Mapping[str, Kind] = field(default_factory=dict)
    needs: Mapping[str, Kind] = field(default_factory=dict)
    uses: Mapping[str, Kind] = field(default_factory=dict)
    may: Mapping[str, Kind] = field(default_factory=dict)


_LAYER = {"layer": NAME, "accelerator": NAME}
_BITS = {
    "bit_sparsity": NUMBER,
    "value_sparsity": NUMBER,
    "essential_bits_per_nonzero": NUMBER,
    "nonempty_rows_mean": NUMBER,
    "nonempty_rows_max": COUNT,
    "groups": COUNT,
    "ones_largest_mean": NUMBER,
    "pruned_ones_largest_mean": NUMBER,
}
_MACHINE = {"macs": COUNT, "seconds": AMOUNT, "energy_j": AMOUNT, "area_mm2": AMOUNT, "bound_by": TEXT}

RULES: dict[str, TableRule] = {
    "statistics": TableRule({"tensor": NAME}, uses={"values": COUNT}, may=_BITS),
    "pruning": TableRule(
        {"tensor": NAME},
        uses={"values": COUNT, "groups": COUNT},
        may={"kept_rows_mean": NUMBER, "relative_error": NUMBER, "norm": NUMBER, "packed_bits": COUNT},
    ),
    "errors": TableRule(
        {"tensor": NAME, "rows": GIVEN_COUNT, "relative_error": NUMBER, "values_used": GIVEN_COUNT}
    ),
    "simulation": TableRule(
        _LAYER,
        uses={"cycles": COUNT, "macs": COUNT, "seconds": AMOUNT, "dram_bytes": COUNT}
        | {"peak_macs_per_cycle": AMOUNT},
        may=_MACHINE | {"reason": TEXT},
    ),
    "networks": TableRule(
        {"network": TEXT, "accelerator": NAME},
        uses={"cycles": COUNT},
        may=_MACHINE | {"layers": COUNT, "not_applicable": COUNT, "dram_peak_bytes_per_s": AMOUNT},
    ),
    "comparison": TableRule(
        needs={"accelerator": NAME, "label": NAME},
        uses={"cycles": COUNT, "speedup": AMOUNT},
        may={"reason": TEXT, "best_other": TEXT, "layers": COUNT, "not_applicable": COUNT}
        | {"common_layers": COUNT, "best_other_layers": COUNT}
        | dict.fromkeys(("speedup_mean", "speedup_on_chip", "speedup_over_best_other"), AMOUNT)
        | dict.fromkeys(("energy_j", "energy_ratio", "area_mm2", "speedup_per_area"), AMOUNT),
    ),
    "kept_rows": TableRule(_LAYER | {"kept_rows": KEPT, "groups": COUNT}),
    "kept_ones": TableRule(_LAYER | {"kept_ones": KEPT, "weights": COUNT}),
    "sweep": TableRule(
        {"point": GIVEN_COUNT, "reason": TEXT, "on_front": FLAG}, uses={"cycles": COUNT}, may=_MACHINE
    ),
    "evaluation": TableRule(
        {"rows": COUNT, "samples": COUNT, "reason": TEXT, "on_front": FLAG},
        may={"policy": TEXT, "cycles": COUNT, "speedup_over_unpruned": AMOUNT},
    ),
    "reproduction": TableRule(
        {"place": NAME, "quantity": TEXT, "published": NUMBER, "ours": NUMBER}, may={"ratio": NUMBER}
    ),
    "energy": TableRule(_LAYER | {"part": NAME, "energy_j": AMOUNT}),
    "area": TableRule({"accelerator": NAME, "part": NAME, "area_mm2": AMOUNT}),
}
"""By table. Tables of other names are not shown, and may hold anything."""


def kept_tables(tables: Mapping[str, Table], path: Path) -> tuple[dict[str, Table], tuple[str, ...]]:
    """Check tables, and keep those that can be shown; floats that are not finite become missing.

    Parameters
    ----------
    tables : mapping of str to Table
    path : pathlib.Path
        Of the store, for errors.

    Returns
    -------
    kept : dict of str to Table
    remarks : tuple of str
        What is left out, and why: one line each.

    Raises
    ------
    DumpError
        If a table lacks a column that the layout of stores asks for, or holds a value of a wrong kind.

    Examples
    --------
    >>> columns = {"network": ["a"], "accelerator": ["b"]}
    >>> table = Table("networks", columns, dict.fromkeys(columns, ""))
    >>> kept_tables({"networks": table}, Path("run.h5"))[1]
    ('table networks lacks cycles: figures and sentences that need it are not shown',)
    """
    kept, remarks = {}, []
    for name, table in tables.items():
        rule = RULES.get(name)
        if rule is None:
            kept[name] = _finite(table)
            continue
        if absent := [column for column in rule.must if column not in table.columns]:
            raise DumpError(
                f"lacks the column {absent[0]!r}, which it must have", path=path, part=_part(name)
            )
        lacking = [column for column in rule.needs if column not in table.columns]
        if lacking:
            remarks.append(f"table {name} lacks {listed(lacking)}: not shown")
            continue
        if unused := [column for column in rule.uses if column not in table.columns]:
            it = "it" if len(unused) == 1 else "them"
            remarks.append(
                f"table {name} lacks {listed(unused)}: figures and sentences that need {it} are not shown"
            )
        kept[name] = _finite(table)
        _check(kept[name], rule, path)
    return kept, tuple(remarks)


def checked_arrays(name: str, arrays: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """Check the histograms among the arrays of one tensor.

    Parameters
    ----------
    name : str
        Of the tensor.
    arrays : mapping of str to numpy.ndarray
    path : pathlib.Path
        Of the store, for errors.

    Raises
    ------
    DumpError
        If one is not a sequence of counts, or too long.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(checked_arrays("fc", {"ones_per_row": np.array([3, 1])}, Path("run.h5")))
    ['ones_per_row']
    """
    for key in _HISTOGRAMS:
        if key not in arrays:
            continue
        values = arrays[key].tolist()
        if (
            not isinstance(values, list)
            or not 0 < len(values) <= LARGEST_KEPT + 1
            or not all(COUNT.holds(value) for value in values)
        ):
            rule = f"must hold 1 to {LARGEST_KEPT + 1} counts from 0 to 2**53"
            raise DumpError(rule, path=path, part=f"tensor {name!r}, array {key!r}", tensor=name)
    return arrays


def _part(table: str) -> str:
    return f"table {table}"


def _finite(table: Table) -> Table:
    columns = {
        name: [None if isinstance(value, float) and not isfinite(value) else value for value in values]
        for name, values in table.columns.items()
    }
    return Table(table.name, columns, table.units, table.attrs, table.kinds)


def _check(table: Table, rule: TableRule, path: Path) -> None:
    declared = {**rule.may, **rule.uses, **rule.needs, **rule.must}
    for column, values in table.columns.items():
        kind = declared.get(column)
        if kind is None and table.units.get(column) in _COUNTED_UNITS:
            kind = AMOUNT
        for row, value in enumerate(values):
            if value is None:
                if kind is not None and kind.required:
                    _refuse(table.name, column, row, f"must be {kind.words}, and is missing", value, path)
                continue
            bound = _INTEGER if isinstance(value, int) else _REAL
            for each in (kind, bound if isinstance(value, int | float) else None):
                if each is not None and not each.holds(value):
                    shown = named(repr(value))
                    _refuse(table.name, column, row, f"must be {each.words}, got {shown}", value, path)


def _refuse(table: str, column: str, row: int, rule: str, value: Any, path: Path) -> None:
    text = f"column {column!r}, row {row}: {rule}"
    raise DumpError(text, path=path, part=_part(table), index=row, value=value)


def missing_histograms(kind: str, tables: Tables) -> tuple[str, ...]:
    """Say that no tensor of a dump has the array that its figure shows.

    Parameters
    ----------
    kind : str
        Of the run: ``"pruning"`` or ``"statistics"``; nothing is said of others.
    tables : Tables

    Examples
    --------
    >>> missing_histograms("pruning", Tables([Table("pruning", {"tensor": ["fc"]}, {"tensor": ""})]))
    ('no tensor of table pruning has the array kept_rows_histogram: no figure of it is shown',)
    """
    array = {"pruning": "kept_rows_histogram", "statistics": "ones_per_row"}.get(kind)
    if array is None or kind not in tables or not len(tables[kind]):
        return ()
    names = tables[kind].columns["tensor"]
    if any(array in tables.tensors.get(name, {}) for name in names):
        return ()
    return (f"no tensor of table {kind} has the array {array}: no figure of it is shown",)
