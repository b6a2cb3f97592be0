"""What one unit of a batch gave, and its bytes: the tables and arrays of an action, and what failed.

A part begins with a line that carries the SHA-256 of the rest: a JSON document, its length before it, and the
arrays behind it. Nothing in it is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bitxcore.errors import BitxError
from bitxcore.tables import Table, TableCollector, column_kinds

_MAGIC = b"bitx-part 1 "
_HEAD = len(_MAGIC) + 64 + 1
_LENGTH = 8  # bytes


class BatchFailure(NamedTuple):
    """What could not be done.

    Parameters
    ----------
    tensor : str or None
        None: the whole dump.
    reason : str
        One line, without the dump's path.
    """

    tensor: str | None
    reason: str


@dataclass(frozen=True)
class Arrays:
    """Arrays of one tensor, as `bitxcore.store.StoreWriter.write_tensor_arrays` takes them."""

    arrays: Mapping[str, npt.NDArray[Any]]
    units: Mapping[str, str]
    attrs: Mapping[str, Any]


@dataclass
class BatchPart:
    """What a unit gave.

    Attributes
    ----------
    tables : list of Table
    tensors : dict of str to Arrays
    failures : list of BatchFailure
    values, nbytes : int
        What was worked on.
    written : dict of str to str
        SHA-256 of each file that was written beside, by its name in the folder of results.
    written_bytes : int
        Their size.
    seconds : dict of str to float
        Time of each stage; no result.
    """

    tables: list[Table] = field(default_factory=list)
    tensors: dict[str, Arrays] = field(default_factory=dict)
    failures: list[BatchFailure] = field(default_factory=list)
    values: int = 0
    nbytes: int = 0
    written: dict[str, str] = field(default_factory=dict)
    written_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class PartWriter(TableCollector):
    """Takes tables and arrays as a `bitxcore.store.StoreWriter` does, for a `BatchPart`."""

    def __init__(self, part: BatchPart) -> None:
        super().__init__()
        self._part = part

    def write_table(
        self,
        name: str,
        columns: Any,
        *,
        units: Mapping[str, str],
        dtypes: Mapping[str, Any] | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a table."""
        super().write_table(name, columns, units=units, dtypes=dtypes, attrs=attrs)
        table = self._tables.pop()
        self._part.tables.append(with_kinds(table))

    def write_tensor_arrays(
        self,
        name: str,
        arrays: Mapping[str, Any],
        units: Mapping[str, str],
        attrs: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the arrays of one tensor."""
        own = {key: np.array(values, order="C") for key, values in arrays.items()}
        self._part.tensors[name] = Arrays(own, dict(units), dict(attrs or {}))


def with_kinds(table: Table) -> Table:
    """Add the kinds of columns that only their values tell."""
    found = {
        name: kind
        for name, values in table.columns.items()
        if name not in table.kinds and (kind := _kind_of(values)) is not None
    }
    return Table(table.name, table.columns, table.units, table.attrs, {**table.kinds, **found})


def _kind_of(values: Any) -> str | None:
    present = {type(value) for value in values if value is not None}
    if not present:
        return None
    if present == {bool}:
        return "b"
    if present <= {int, bool}:
        return "i"
    return "O" if str in present else "f"


def to_bytes(part: BatchPart) -> bytes:
    """Write a part.

    Examples
    --------
    >>> from_bytes(to_bytes(BatchPart(values=3))).values
    3
    """
    body: list[bytes] = []
    at = 0
    tensors = {}
    for name, own in part.tensors.items():
        placed = {}
        for key, array in own.arrays.items():
            body.append(array.tobytes())
            placed[key] = [array.dtype.str, list(array.shape), at]
            at += len(body[-1])
        tensors[name] = {"arrays": placed, "units": own.units, "attrs": own.attrs}
    document = {
        "tables": [
            {
                "name": table.name,
                "columns": table.columns,
                "units": table.units,
                "attrs": table.attrs,
                "kinds": table.kinds,
            }
            for table in part.tables
        ],
        "tensors": tensors,
        "failures": part.failures,
        "values": part.values,
        "nbytes": part.nbytes,
        "written": part.written,
        "written_bytes": part.written_bytes,
        "seconds": part.seconds,
    }
    text = json.dumps(document, default=_plain).encode()
    rest = b"".join([len(text).to_bytes(_LENGTH, "little"), text, *body])
    return _MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def from_bytes(data: bytes) -> BatchPart:
    """Read a part.

    Raises
    ------
    BitxError
        If these are not the bytes that were written.
    """
    if not is_whole(data):
        raise BitxError("is no part of a batch, or damaged")
    size = int.from_bytes(data[_HEAD : _HEAD + _LENGTH], "little")
    document = json.loads(data[_HEAD + _LENGTH : _HEAD + _LENGTH + size])
    body = memoryview(data)[_HEAD + _LENGTH + size :]
    tensors = {}
    for name, own in document["tensors"].items():
        arrays = {}
        for key, (dtype, shape, at) in own["arrays"].items():
            kind = np.dtype(dtype)
            count = int(np.prod(shape, dtype=np.int64))
            arrays[key] = np.frombuffer(body, kind, count, at).reshape(shape)
        tensors[name] = Arrays(arrays, own["units"], own["attrs"])
    return BatchPart(
        tables=[Table(**table) for table in document["tables"]],
        tensors=tensors,
        failures=[BatchFailure(*each) for each in document["failures"]],
        values=document["values"],
        nbytes=document["nbytes"],
        written=document["written"],
        written_bytes=document["written_bytes"],
        seconds=document["seconds"],
    )


def is_whole(data: bytes) -> bool:
    """Whether these bytes are those of a part, as it was written."""
    head, rest = data[:_HEAD], memoryview(data)[_HEAD:]
    return head == _MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n"


def tables_of(part: BatchPart, tables: Mapping[str, Table]) -> None:
    """Take the tables of a store or a result.

    Parameters
    ----------
    part : BatchPart
    tables : mapping of str to Table
    """
    part.tables += [with_kinds(table) for table in tables.values()]


def dtype_of_kind(kind: str) -> Any:
    """Return the dtype of a column's kind.

    Examples
    --------
    >>> dtype_of_kind("i"), dtype_of_kind("O")
    ('i8', <class 'str'>)
    """
    return {"i": "i8", "u": "u8", "f": "f8", "b": bool, "O": str}[kind]


def kinds_of_dtypes(dtypes: Mapping[str, Any]) -> dict[str, str]:
    """Return kinds of columns by their dtypes."""
    return column_kinds(dtypes)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
