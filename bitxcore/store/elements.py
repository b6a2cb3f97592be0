"""The encodings of docs/store.md: arrays, columns and tables as HDF5 elements, written and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError, DumpError, OptionError, TensorError, error_context
from bitxcore.store import columns as col
from bitxcore.store.checksum import Checksum, checksum_of, dtype_name
from bitxcore.store.text import escape_text, unescape_text

VERSIONS = {"bitx-store": "1.1", "array": "1.1", "string-array": "1.1"}
"""Of the layout, which is the root's, and of the encodings that changed since 1.0."""

UNCHANGED = "1.0"
"""Of all other encodings."""

TYPE, TYPE_VERSION, UNITS, FILL, ORDER, CHECKSUM = (
    "encoding-type",
    "encoding-version",
    "units",
    "_FillValue",
    "column-order",
    "checksum",
)
_OWN = {TYPE, TYPE_VERSION, UNITS, FILL, ORDER}
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEXT = h5py.string_dtype("utf-8")
_CONTIGUOUS_BYTES = 1024
# Deflate packs at most 1032 bytes into one: what claims more than that can't be in the file.
_MAX_RATIO = 1032

Attribute = str | bool | int | float


@contextmanager
def reading(path: Path, part: str | None = None) -> Iterator[None]:
    """Turn whatever HDF5 and h5py say about a file into one line."""
    try:
        yield
    except BitxError:
        raise
    except Exception as error:
        raise DumpError(f"can't be read: {_line(error)}", path=path, part=part) from error


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return " ".join(str(error).split()) or type(error).__name__


def check_identifier(kind: str, name: str) -> None:
    """Refuse a table, column or array name that is not a plain identifier."""
    if not _IDENTIFIER.fullmatch(name):
        raise OptionError(
            "a name must be letters, digits and _, not starting with a digit", part=f"{kind} {name!r}"
        )


def stamp(element: Any, kind: str) -> None:
    """Give an element its encoding."""
    element.attrs[TYPE] = kind
    element.attrs[TYPE_VERSION] = VERSIONS.get(kind, UNCHANGED)


def check_stamp(element: Any, kind: str, path: Path, *kinds: str) -> None:
    """Refuse an element of another encoding, or of a newer major version of it."""
    found, version = element.attrs.get(TYPE), element.attrs.get(TYPE_VERSION)
    if found not in {kind, *kinds}:
        raise DumpError(f"{TYPE} must be {kind!r}, found {found!r}", path=path, part=element.name)
    match = re.fullmatch(r"(\d+)\.\d+", version) if isinstance(version, str) else None
    if not match:
        raise DumpError(
            f"{TYPE_VERSION} must be 'major.minor', found {version!r}", path=path, part=element.name
        )
    known = VERSIONS.get(found, UNCHANGED)
    if int(match[1]) > int(known.split(".")[0]):
        raise DumpError(
            f"{found} {version} is newer than {known}, which this release reads",
            path=path,
            part=element.name,
        )


def write_attributes(element: Any, attributes: Mapping[str, Attribute] | None) -> None:
    """Write a user's attributes: strings, bools, integers and floats."""
    for name, value in (attributes or {}).items():
        if name in _OWN:
            raise OptionError(f"attribute {name!r} of {element.name} is the layout's own")
        if not isinstance(value, (str, bool, int, float, np.bool_, np.integer, np.floating)):
            raise OptionError(
                f"attribute {name!r} of {element.name} must be a str, bool, int or float,"
                f" not {type(value).__name__}"
            )
        element.attrs[escape_text(name)] = escape_text(value) if isinstance(value, str) else value


def read_attributes(element: Any) -> dict[str, Any]:
    """Read the attributes that are not the layout's own."""
    found = {k: v for k, v in element.attrs.items() if k not in _OWN}
    return {
        unescape_text(k): unescape_text(v) if isinstance(v, str) else getattr(v, "item", lambda v=v: v)()
        for k, v in found.items()
    }


def child(group: Any, name: str, path: Path) -> Any:
    """Return a member of a group that is really inside this file."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise DumpError(f"{name!r} is missing, or is a link to elsewhere", path=path, part=group.name)
    return group[name]


def read_dataset(dataset: Any, path: Path, rows: slice | None = None) -> npt.NDArray[Any]:
    """Read a dataset's values (or some rows), after a check that the file can hold them.

    Strings are returned as they are stored, still escaped.
    """
    is_text = check_dataset(dataset, path)
    source = dataset.asstr() if is_text else dataset
    return np.asarray(source[() if rows is None else rows])


def check_dataset(dataset: Any, path: Path) -> bool:
    """Refuse a dataset that is not an element of the layout, or larger than the file; whether it is text."""
    check_stamp(dataset, "array", path, "string-array")
    if dataset.is_virtual or dataset.external:
        raise DumpError("its values are kept in another file", path=path, part=dataset.name)
    size = path.stat().st_size
    if dataset.nbytes > _MAX_RATIO * size:
        raise DumpError(f"claims {dataset.nbytes} bytes, in a file of {size}", path=path, part=dataset.name)
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    if is_text != (dataset.attrs[TYPE] == "string-array") or not (is_text or dataset.dtype in col.NUMBERS):
        raise DumpError(f"a {dataset.attrs[TYPE]} of dtype {dataset.dtype}", path=path, part=dataset.name)
    return is_text


def read_units(dataset: Any, path: Path) -> str:
    """Read the unit that every array and column has."""
    units = dataset.attrs.get(UNITS)
    if not isinstance(units, str):
        raise DumpError(f"the attribute {UNITS!r} is missing", path=path, part=dataset.name)
    return unescape_text(units)


def write_array(group: Any, name: str, values: npt.ArrayLike, units: str) -> None:
    """Write one array of numbers, of any shape."""
    check_identifier("array", name)
    check_units(name, units)
    if name in group:
        raise OptionError(f"array {name!r} is there already", part=group.name)
    array = np.asarray(values)
    if col.column_dtype(array.dtype) == col.STRING:
        raise TensorError(f"array {name!r} must hold numbers", part=group.name)
    packed = {"compression": "gzip", "shuffle": True} if array.nbytes > _CONTIGUOUS_BYTES else {}
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    dataset = group.create_dataset(name, data=array, **packed)
    stamp(dataset, "array")
    dataset.attrs[UNITS] = escape_text(units)
    dataset.attrs[CHECKSUM] = checksum_of(array, escape_text(units))


def check_units(name: str, units: object) -> None:
    """Refuse a unit that is not a string; ``"1"`` is a bare number, ``""`` is no quantity at all."""
    if not isinstance(units, str):
        raise OptionError(f"units must be a string, got {units!r}", part=name)


class _ColumnWriter:
    """One column that grows block by block; its dtype is the first block's with a value in it."""

    def __init__(self, table: Any, name: str, units: str, dtype: np.dtype[Any] | None) -> None:
        self.name = name
        self._table = table
        self._units = escape_text(units)
        self._checksum = Checksum(self._units)
        self._dtype = dtype
        self._dataset: Any = None
        self._rows = 0
        self._any_missing = False
        self._holds_fill = False

    def append(self, values: col.Column) -> int:
        """Write a block; return its rows."""
        array, missing = col.to_array(values)
        rows = len(array)
        untyped = not hasattr(values, "dtype") or values.dtype == col.STRING
        self._any_missing |= bool(missing.any())
        if self._dtype is None and not (untyped and missing.all()):
            self._dtype = array.dtype
        if self._dtype is not None:
            array = col.cast_exactly(array, missing, self._dtype)
            if self._dtype.kind in "iu":
                self._holds_fill |= bool((array[~missing] == col.missing_value(self._dtype)).any())
            self._write(array)
        self._rows += rows
        return rows

    def _write(self, array: npt.NDArray[Any]) -> None:
        if self._dataset is None:
            self._create(array.dtype)
        self._dataset.resize((self._rows + len(array),))
        self._dataset[self._rows :] = array
        self._checksum.add(array)

    def _create(self, dtype: np.dtype[Any]) -> None:
        is_text = dtype == col.STRING
        self._dataset = self._table.create_dataset(
            self.name,
            shape=(self._rows,),
            maxshape=(None,),
            chunks=(col.ROWS,),
            dtype=_TEXT if is_text else dtype,
            compression="gzip",
            shuffle=True,
        )
        stamp(self._dataset, "string-array" if is_text else "array")
        self._dataset.attrs[UNITS] = self._units
        if self._rows:
            missing = np.full(self._rows, col.missing_value(dtype), dtype)
            self._dataset[:] = missing
            self._checksum.add(missing)

    def close(self) -> None:
        """Give an empty column its dtype, say what represents a missing value, and write the checksum."""
        if self._dataset is None:
            self._create(self._dtype or np.dtype(np.float64))
        dtype = self._dtype or np.dtype(np.float64)
        marked = self._any_missing and dtype.kind != "f"
        if marked:
            fill = col.missing_value(dtype)
            if self._holds_fill:
                raise TensorError(f"it has missing values, and also holds {fill}, which stands for them")
            self._dataset.attrs[FILL] = fill
        text = self._checksum.text(dtype_name(dtype), (self._rows,), has_missing=marked)
        self._dataset.attrs[CHECKSUM] = text


def write_table(
    table: Any,
    rows: col.Rows,
    units: Mapping[str, str],
    dtypes: Mapping[str, npt.DTypeLike] | None = None,
) -> None:
    """Write a table into an empty group, a block of rows at a time.

    Raises
    ------
    TensorError, OptionError
        Naming table, column and rule.
    """
    if not units:
        raise OptionError("units must name at least one column", part=f"table {table.name}")
    unknown = [name for name in dtypes or {} if name not in units]
    if unknown:
        raise OptionError(f"dtypes names {unknown[0]!r}, which is no column", part=f"table {table.name}")
    writers = []
    for name, unit in units.items():
        check_identifier(f"table {table.name}: column", name)
        check_units(f"table {table.name}: column {name!r}", unit)
        dtype = None if dtypes is None or name not in dtypes else col.column_dtype(dtypes[name])
        writers.append(_ColumnWriter(table, name, unit, dtype))
    for block in col.blocks(rows):
        if block.keys() != units.keys():
            raise TensorError(
                f"the columns are {sorted(block)}, but units names {sorted(units)}",
                part=f"table {table.name}",
            )
        lengths = {}
        for writer in writers:
            with error_context(part=f"table {table.name}: column {writer.name!r}"):
                lengths[writer.name] = writer.append(block[writer.name])
        if len(set(lengths.values())) > 1:
            raise TensorError(f"columns of different lengths: {lengths}", part=f"table {table.name}")
    for writer in writers:
        with error_context(part=f"table {table.name}: column {writer.name!r}"):
            writer.close()
    stamp(table, "table")
    table.attrs.create(ORDER, list(units), dtype=_TEXT)


def table_columns(table: Any, path: Path) -> dict[str, Any]:
    """Return a table's datasets in column order, checked to be 1-D and of one length."""
    check_stamp(table, "table", path)
    order = table.attrs.get(ORDER)
    if not isinstance(order, np.ndarray) or not all(isinstance(name, str) for name in order):
        raise DumpError(f"the attribute {ORDER!r} is missing", path=path, part=table.name)
    found = {name: child(table, name, path) for name in order}
    shapes = {dataset.shape for dataset in found.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise DumpError(f"columns must be 1-D and of one length, found {shapes}", path=path, part=table.name)
    return found


def read_column(dataset: Any, path: Path, rows: slice | None = None) -> npt.NDArray[Any]:
    """Read one column (or some rows of it) with its missing values."""
    return col.from_stored(read_dataset(dataset, path, rows), dataset.attrs.get(FILL))
