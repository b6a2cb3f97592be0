"""Where figures take their tables from: a store, its path, or a result in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from bitxcore.errors import OptionError
from bitxcore.plot.chart import Chart
from bitxcore.tables import Tables


@runtime_checkable
class HasTables(Protocol):
    """A result: `tables` gives what a store of it would hold."""

    def tables(self) -> Tables:
        """Give the tables."""


Source: TypeAlias = "Tables | HasTables | str | os.PathLike[str] | Any"


def tables_of(source: Source) -> Tables:
    """Give the tables of a store, of the path of one, or of a result.

    Parameters
    ----------
    source : Tables, Store, str, path-like, or a result with a method `tables`

    Raises
    ------
    DumpError
        If the store can't be read.
    OptionError
        If the source is something else.
    """
    from bitxcore.store import Store

    if isinstance(source, Tables):
        return source
    if isinstance(source, Store):
        return source.read_tables()
    if isinstance(source, str | os.PathLike):
        with Store.open(source) as store:
            tables = store.read_tables()
            return Tables(tables.values(), {name: store.tensors[name] for name in store.tensors})
    if isinstance(source, HasTables):
        return source.tables()
    raise OptionError(f"source must be a store, its path, or a result, got {type(source).__name__}")


class LenientRow(dict[str, Any]):
    """A row of a table, in which a column that the table does not have is None.

    Layouts of stores ask for few columns, and other programs write stores too.

    Examples
    --------
    >>> LenientRow(layer="a")["cycles"] is None
    True
    """

    def __missing__(self, name: str) -> None:
        """Give None for a column that is not there."""


def rows_of(tables: Tables, name: str) -> list[LenientRow]:
    """Give the rows of a table; none if it is not there.

    Parameters
    ----------
    tables : Tables
    name : str

    Examples
    --------
    >>> rows_of(Tables(), "simulation")
    []
    """
    return [LenientRow(row) for row in tables[name].rows()] if name in tables else []


def by_accelerator(tables: Tables, name: str = "simulation") -> dict[str, list[dict[str, Any]]]:
    """Group the rows of a table by accelerator, in the order of the store; nothing if it is not there.

    Parameters
    ----------
    tables : Tables
    name : str
        Of a table with a column ``accelerator``.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(tables, name):
        found.setdefault(row["accelerator"], []).append(row)
    return found


_WRITERS = {
    **dict.fromkeys(("simulation", "networks", "energy", "area"), "bitx simulate -o"),
    **dict.fromkeys(("kept_rows", "kept_ones"), "bitx simulate -a bitx -o"),
    "comparison": "bitx simulate -a all -o",
    "sweep": "bitx sweep -o",
    "evaluation": "bitx evaluate -o",
    "reproduction": "bitx reproduce -o",
    "statistics": "bitx inspect -o",
    "errors": "bitx inspect -o",
}
"""Command that writes each table."""


def chosen(charts: Sequence[Chart], column: str, value: str | None, table: str = "") -> Chart:
    """Choose the chart whose data has `value` in `column`; by default the first.

    Parameters
    ----------
    charts : sequence of Chart
    column : str
    value : str or None
    table : str
        The table that they are made from, for the error.

    Raises
    ------
    OptionError
        If there is none.
    """
    if not charts:
        if table not in _WRITERS:
            raise OptionError("source has no table that this figure is made from")
        raise OptionError(
            f"source has no table {table!r} with data for this figure; {_WRITERS[table]} writes it"
        )
    if value is None:
        return charts[0]
    for chart in charts:
        if value in chart.data.columns.get(column, ()):
            return chart
    have = ", ".join(dict.fromkeys(str(value) for c in charts for value in c.data.columns.get(column, ())))
    raise OptionError(f"{column} must be one of {have}, got {value!r}", value=value)
