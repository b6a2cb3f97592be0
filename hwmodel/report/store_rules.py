"""The tables that a report reads, checked by the rules of `bitxcore.store.table_rules`.

Stores are files that other programs write and people edit. They are checked once, when a report reads them,
so that no figure or sentence has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from bitxcore.errors import DumpError
from bitxcore.store.table_rules import COUNT, INTEGER, LARGEST_KEPT, REAL, RULES, TableRule, kind_of
from bitxcore.tables import Table, Tables
from hwmodel.report.figure_words import listed, named

_HISTOGRAMS = ("ones_per_row", "kept_rows_histogram", "pruned_ones_histogram")


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
    for column, values in table.columns.items():
        kind = kind_of(rule, column, table.units.get(column, ""))
        for row, value in enumerate(values):
            if value is None:
                if kind is not None and kind.required:
                    _refuse(table.name, column, row, f"must be {kind.words}, and is missing", value, path)
                continue
            bound = INTEGER if isinstance(value, int) else REAL
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
