"""Tables in memory: columns with units, as a store has them. Stores and results both give them.

Data frames, notebooks and figures are made from these, so none of them cares where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, ClassVar

from bitxcore.errors import MissingExtraError, OptionError
from bitxcore.showing import cell_text, printable

__all__ = [
    "Table",
    "TableCollector",
    "Tables",
    "TabularResult",
    "column_kinds",
    "data_frame",
    "data_set",
    "facts_html",
    "plain_columns",
]

_MOST_HTML_ROWS = 60


@dataclass(frozen=True)
class Table:
    """Columns of one length, each with a unit.

    Parameters
    ----------
    name : str
    columns : mapping of str to list
        Plain Python values; None where there is no value.
    units : mapping of str to str
        ``"cycles"``, ``"J"``, ``"B"``, ``"1"`` for plain numbers, ``""`` for text and flags.
    attrs : mapping of str to str, bool, int or float
    kinds : mapping of str to str, optional
        Kinds of the columns' dtypes, where known: ``"i"`` or ``"u"`` for integers, ``"f"`` for floats. They
        decide the dtype that a column without any value has in data frames.

    Examples
    --------
    >>> units = {"layer": "", "cycles": "cycles"}
    >>> table = Table("simulation", {"layer": ["a", "b"], "cycles": [1200, None]}, units)
    >>> len(table), list(table.rows())[1]
    (2, {'layer': 'b', 'cycles': None})
    """

    name: str
    columns: Mapping[str, Sequence[Any]]
    units: Mapping[str, str]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give the rows, each a dict from column to value."""
        for values in zip(*self.columns.values(), strict=True):
            yield dict(zip(self.columns, values, strict=True))

    def where(self, keep: Callable[[dict[str, Any]], bool]) -> Table:
        """Return the table of the rows for which `keep` is true.

        Parameters
        ----------
        keep : function of dict
            Of a row.

        Examples
        --------
        >>> table = Table("t", {"cycles": [3, 5]}, {"cycles": "cycles"})
        >>> table.where(lambda row: row["cycles"] > 3).columns
        {'cycles': [5]}
        """
        kept = [row for row in self.rows() if keep(row)]
        columns = {name: [row[name] for row in kept] for name in self.columns}
        return Table(self.name, columns, self.units, self.attrs, self.kinds)

    def with_columns(self, names: Iterable[str]) -> Table:
        """Return the table of some of its columns: those of `names` in which there is a value.

        Parameters
        ----------
        names : iterable of str
            Names that the table does not have are left out.

        Examples
        --------
        >>> table = Table("t", {"a": [1], "b": [None], "c": [3]}, {"a": "1", "b": "1", "c": "1"})
        >>> table.with_columns(["c", "b"]).columns
        {'c': [3]}
        """
        kept = [n for n in names if any(value is not None for value in self.columns.get(n, ()))]
        return Table(
            self.name,
            {name: self.columns[name] for name in kept},
            {name: self.units[name] for name in kept},
            self.attrs,
            self.kinds,
        )

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`; its ``attrs["units"]`` has the unit of every column.

        A column of a quantity without any value has the dtype ``Int64`` if the table is known to have
        integers there, else ``float64``. One without a unit (text, flags) has the dtype ``object``.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> frame = Table("t", {"cycles": [3, 5]}, {"cycles": "cycles"}).to_pandas()
        >>> int(frame.cycles.sum()), frame.attrs["units"]
        (8, {'cycles': 'cycles'})
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("pandas", "tables") from error
        frame = pd.DataFrame(
            {
                name: pd.Series(values, dtype=self._empty_dtype(name, values))
                for name, values in ((name, list(values)) for name, values in self.columns.items())
            }
        )
        frame.attrs["units"] = dict(self.units)
        return frame

    def _empty_dtype(self, name: str, values: Sequence[Any]) -> str | None:
        """Return the dtype of a column without any value; None where its values decide."""
        if any(value is not None for value in values):
            return None
        if self.units.get(name, "") == "":
            return "object"
        return "Int64" if self.kinds.get(name) in ("i", "u") else "float64"

    def to_xarray(self) -> Any:
        """Return an `xarray.Dataset` with the dimension ``row``; every variable has ``attrs["units"]``.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.

        Examples
        --------
        >>> Table("t", {"cycles": [3, 5]}, {"cycles": "cycles"}).to_xarray().cycles.attrs["units"]
        'cycles'
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise MissingExtraError("xarray", "tables") from error
        frame = self.to_pandas()
        return xr.Dataset(
            {name: ("row", _plain_array(frame[name]), {"units": self.units[name]}) for name in frame.columns},
            attrs=dict(self.attrs),
        )

    def _repr_html_(self) -> str:
        """Show the table in a notebook: units below the headings, and the first rows."""
        heads = "".join(f"<th>{_heading(name, self.units.get(name, ''))}</th>" for name in self.columns)
        shown = [row for row, _ in zip(self.rows(), range(_MOST_HTML_ROWS), strict=False)]
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell_text(value))}</td>" for value in row.values()) + "</tr>"
            for row in shown
        )
        more = len(self) - len(shown)
        rest = f"<p>… {more:,} more rows</p>" if more else ""
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{rest}"


class Tables(Mapping[str, Table]):
    """Tables by name, and the arrays of single tensors.

    Parameters
    ----------
    tables : iterable of Table
    tensors : mapping of str to mapping of str to numpy.ndarray, optional
        The arrays of each tensor, by the tensor's name.
    """

    def __init__(
        self, tables: Iterable[Table] = (), tensors: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._tables = {table.name: table for table in tables}
        self.tensors: Mapping[str, Mapping[str, Any]] = tensors or {}

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"Tables({', '.join(f'{name}: {len(table):,} rows' for name, table in self.items())})"


class TableCollector:
    """Takes tables as a `bitxcore.store.StoreWriter` does, and keeps them in memory.

    Examples
    --------
    >>> collector = TableCollector()
    >>> collector.write_table("t", [{"cycles": 3}, {"cycles": None}], units={"cycles": "cycles"})
    >>> collector.tables()["t"].columns
    {'cycles': [3, None]}
    """

    def __init__(self) -> None:
        self._tables: list[Table] = []
        self._tensors: dict[str, dict[str, Any]] = {}

    def write_table(
        self,
        name: str,
        columns: Any,
        *,
        units: Mapping[str, str],
        dtypes: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a table: whole columns, or an iterable of rows. `dtypes` tells the kinds of columns."""
        if isinstance(columns, Mapping):
            found = plain_columns({key: columns[key] for key in units})
        else:
            rows = list(columns)
            found = plain_columns({key: [row.get(key) for row in rows] for key in units})
        self._tables.append(Table(name, found, dict(units), dict(attrs or {}), column_kinds(dtypes or {})))

    def write_tensor_arrays(
        self,
        name: str,
        arrays: Mapping[str, Any],
        units: Mapping[str, str],
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the arrays of one tensor."""
        self._tensors.setdefault(name, {}).update(arrays)

    def tables(self) -> Tables:
        """Return what was taken."""
        return Tables(self._tables, self._tensors)


class TabularResult:
    """A result that gives its tables as its store would hold them.

    A class that derives from this one has a method `tables`, the name of its main table, and what notebooks
    show: a table, and columns of it.
    """

    _main_table: ClassVar[str]

    def _shown(self) -> tuple[str, Iterable[str]]:
        raise NotImplementedError

    def tables(self) -> Tables:
        """Return the tables that a store of this result holds."""
        raise NotImplementedError

    def to_pandas(self, table: str | None = None) -> Any:
        """Return a table as a `pandas.DataFrame`, with the units of its columns in ``attrs["units"]``.

        Parameters
        ----------
        table : str, optional
            A name of `tables`; by default the main one.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        OptionError
            If there is no table of that name.

        Examples
        --------
        >>> class Found(TabularResult):
        ...     _main_table = "energy"
        ...
        ...     def tables(self):
        ...         return Tables([Table("energy", {"energy_j": [0.5, 0.7]}, {"energy_j": "J"})])
        >>> frame = Found().to_pandas()
        >>> len(frame), frame.attrs["units"]
        (2, {'energy_j': 'J'})
        """
        return self._table(table).to_pandas()

    def to_xarray(self, table: str | None = None) -> Any:
        """Return a table as an `xarray.Dataset`: the dimension is ``row``, units are in ``attrs["units"]``.

        Parameters
        ----------
        table : str, optional
            A name of `tables`; by default the main one.

        Raises
        ------
        MissingExtraError
            If xarray is not installed.
        OptionError
            If there is no table of that name.

        Examples
        --------
        >>> class Found(TabularResult):
        ...     _main_table = "energy"
        ...
        ...     def tables(self):
        ...         return Tables([Table("energy", {"energy_j": [0.5, 0.7]}, {"energy_j": "J"})])
        >>> Found().to_xarray().energy_j.attrs["units"]
        'J'
        """
        return self._table(table).to_xarray()

    def _table(self, name: str | None) -> Table:
        tables = self.tables()
        name = self._main_table if name is None else name
        if name not in tables:
            raise OptionError(f"table must be one of {', '.join(tables)}, got {name!r}", value=name)
        return tables[name]

    def _repr_html_(self) -> str:
        """Show the result in a notebook: its first line, and the columns that tell most."""
        head = escape(repr(self).partition("\n")[0])
        table, columns = self._shown()
        return f"<p>{head}</p>{self.tables()[table].with_columns(columns)._repr_html_()}"


def data_frame(columns: Mapping[str, Any], units: Mapping[str, str]) -> Any:
    """Return a `pandas.DataFrame` of arrays, with the unit of every column in ``attrs["units"]``.

    Parameters
    ----------
    columns : mapping of str to array_like
        1-D, of one length.
    units : mapping of str to str

    Raises
    ------
    MissingExtraError
        If pandas is not installed.

    Examples
    --------
    >>> data_frame({"row": [0, 1], "ones": [5, 3]}, {"row": "1", "ones": "bit"}).attrs["units"]["ones"]
    'bit'
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("pandas", "tables") from error
    frame = pd.DataFrame(dict(columns))
    frame.attrs["units"] = {name: units[name] for name in columns}
    return frame


def data_set(variables: Mapping[str, tuple[Sequence[str], Any, str]], attrs: Mapping[str, Any]) -> Any:
    """Return an `xarray.Dataset`; every variable has ``attrs["units"]``.

    Parameters
    ----------
    variables : mapping of str to (dimensions, array_like, unit)
    attrs : mapping of str to str, int or float
        Of the whole; those that are None are left out.

    Raises
    ------
    MissingExtraError
        If xarray is not installed.

    Examples
    --------
    >>> data_set({"ones": (["row"], [5, 3], "bit")}, {"format": "int8"}).ones.attrs["units"]
    'bit'
    """
    try:
        import xarray as xr
    except ImportError as error:
        raise MissingExtraError("xarray", "tables") from error
    return xr.Dataset(
        {name: (tuple(dims), values, {"units": unit}) for name, (dims, values, unit) in variables.items()},
        attrs={name: value for name, value in attrs.items() if value is not None},
    )


def facts_html(title: str, facts: Mapping[str, tuple[Any, str]]) -> str:
    """Return a small HTML table of values with units, for notebooks.

    Parameters
    ----------
    title : str
    facts : mapping of str to (value, unit)
        Those whose value is None are left out.

    Examples
    --------
    >>> facts_html("Found", {"ones": (5, "bit")})
    '<table><caption>Found</caption><tbody><tr><th>ones</th><td>5 bit</td></tr></tbody></table>'
    """
    rows = "".join(
        f"<tr><th>{escape(printable(name))}</th><td>{escape(_with_unit(value, unit))}</td></tr>"
        for name, (value, unit) in facts.items()
        if value is not None
    )
    return f"<table><caption>{escape(printable(title))}</caption><tbody>{rows}</tbody></table>"


def _with_unit(value: Any, unit: str) -> str:
    text = cell_text(value)
    return text if unit in ("", "1") else f"{text} {printable(unit)}"


def plain_columns(columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return columns as lists of plain Python values: None for masked values and NaN.

    Parameters
    ----------
    columns : mapping of str to array_like

    Examples
    --------
    >>> plain_columns({"energy_j": [1.0, float("nan")]})
    {'energy_j': [1.0, None]}
    """
    return {name: [_plain(value) for value in _listed(values)] for name, values in columns.items()}


def _plain_array(series: Any) -> Any:
    # xarray knows missing integers as NaN only.
    return series.to_numpy("float64", na_value=float("nan")) if series.dtype == "Int64" else series.to_numpy()


def column_kinds(dtypes: Mapping[str, Any]) -> dict[str, str]:
    """Return the kind of each dtype of columns: ``"i"``, ``"u"``, ``"f"``, ``"b"``; ``"O"`` for texts.

    Parameters
    ----------
    dtypes : mapping of str to dtype-like

    Examples
    --------
    >>> column_kinds({"layer": str, "cycles": "int64"})
    {'layer': 'O', 'cycles': 'i'}
    """
    import numpy as np

    kinds = {name: np.dtype(dtype).kind for name, dtype in dtypes.items()}
    return {name: "O" if kind in "OSUT" else kind for name, kind in kinds.items()}


def _listed(values: Any) -> list[Any]:
    return list(values.tolist()) if hasattr(values, "tolist") else list(values)


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and value != value else value


def _heading(name: str, unit: str) -> str:
    text = escape(printable(name))
    return text if unit in ("", "1") else f"{text}<br><small>{escape(printable(unit))}</small>"
