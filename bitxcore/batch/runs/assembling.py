"""Finished parts into stores: in the order of the dumps, one part in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitxcore.batch.runs.parts import BatchFailure, BatchPart, dtype_of_kind
from bitxcore.batch.runs.spool import Spool
from bitxcore.dumps import Dump
from bitxcore.remote.remote_path import as_path
from bitxcore.tables import Table

DUMP_UNITS = {
    "path": "",
    "sha256": "",
    "status": "",
    "error": "",
    "tensors": "1",
    "values": "1",
    "bytes": "B",
    "store": "",
    "out": "",
    "out_sha256": "",
    "out_bytes": "B",
}
"""Unit of each column of the table ``dumps``."""

_OF_FOLDERS = ("store", "out", "out_sha256", "out_bytes")
_ATTRIBUTES = "attributes"
_FAILURES = "failures"


@dataclass(frozen=True)
class DumpParts:
    """A dump and the parts that hold its results.

    Attributes
    ----------
    path : str
        As given or found.
    files : tuple of pathlib.Path
    sha256 : str or None
        None: it could not be read.
    keys : tuple of str
        Of its parts, in order.
    failures : tuple of BatchFailure
    tensors, values, nbytes : int
    store, out : str or None
        Names of what it has in the folder of results.
    out_sha256 : str or None
    out_bytes : int or None
        Of the dump that was made.
    """

    path: str
    files: tuple[Path, ...]
    sha256: str | None
    keys: tuple[str, ...]
    failures: tuple[BatchFailure, ...]
    tensors: int
    values: int
    nbytes: int
    store: str | None
    out: str | None
    out_sha256: str | None
    out_bytes: int | None

    def columns(self) -> dict[str, Any]:
        """Return its row of the table ``dumps``."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "status": "failed" if self.failures else "done",
            "error": error_text(self.failures),
            "tensors": self.tensors,
            "values": self.values,
            "bytes": self.nbytes,
            "store": self.store,
            "out": None if self.failures else self.out,
            "out_sha256": self.out_sha256,
            "out_bytes": self.out_bytes,
        }


def error_text(failures: Sequence[BatchFailure]) -> str | None:
    """Tell the first failure, and how many more there are; None if there is none."""
    if not failures:
        return None
    first = failures[0]
    text = first.reason if first.tensor is None else f"tensor {first.tensor!r}: {first.reason}"
    return text if len(failures) == 1 else f"{text} (and {len(failures) - 1} more)"


class HashedDump(Dump):
    """A dump whose content was hashed before; it has no tensors."""

    def __init__(self, found: DumpParts) -> None:
        super().__init__(as_path(found.path), "", {})
        self._found = found

    def files(self) -> list[Path]:
        """Return every file of the dump."""
        return list(self._found.files)

    def sha256(self) -> str:
        """Return what was found."""
        return self._found.sha256 or hashlib.sha256().hexdigest()


def write_store(
    output: Path,
    dumps: Sequence[DumpParts],
    spool: Spool,
    parameters: Mapping[str, Any],
    files: Iterable[Path],
    *,
    results: bool = True,
) -> None:
    """Write the store of a batch: tables and arrays of all parts, and the table ``dumps``.

    Parameters
    ----------
    output : pathlib.Path
    dumps : sequence of DumpParts
    spool : Spool
    parameters : mapping
        For the provenance.
    files : iterable of pathlib.Path
        That were read besides the dumps.
    results : bool
        Whether tables and arrays go in, and not only ``dumps``.
    """
    from bitxcore.store import Store  # which loads HDF5

    inputs: list[Any] = [HashedDump(dump) for dump in dumps if dump.sha256 is not None]
    with Store.create(output, parameters=parameters, inputs=[*inputs, *files]) as writer:
        rows = [dump.columns() for dump in dumps]
        kept = {name: unit for name, unit in DUMP_UNITS.items() if _is_used(name, rows)}
        texts = [name for name, unit in kept.items() if not unit]
        writer.write_table(
            "dumps",
            [{name: row[name] for name in kept} for row in rows],
            units=kept,
            dtypes={**dict.fromkeys(kept, "i8"), **dict.fromkeys(texts, str)},
        )
        _write_failures(writer, dumps)
        if results:
            _write_results(writer, dumps, spool, with_dump=True)


def write_own_store(
    output: Path, dump: DumpParts, spool: Spool, parameters: Mapping[str, Any], files: Iterable[Path]
) -> None:
    """Write the store of one dump of a batch: the tables that the action's own command writes."""
    from bitxcore.store import Store

    output.parent.mkdir(parents=True, exist_ok=True)
    with Store.create(output, parameters=parameters, inputs=[HashedDump(dump), *files]) as writer:
        _write_failures(writer, [dump])
        _write_results(writer, [dump], spool, with_dump=False)


def _is_used(name: str, rows: list[dict[str, Any]]) -> bool:
    return name not in _OF_FOLDERS or any(row[name] is not None for row in rows)


def _write_failures(writer: Any, dumps: Sequence[DumpParts]) -> None:
    """Write what failed, a row per tensor or dump, if anything did."""
    rows = [
        {"dump": dump.path, "tensor": failure.tensor, "error": failure.reason}
        for dump in dumps
        for failure in dump.failures
    ]
    if rows:
        units = dict.fromkeys(("dump", "tensor", "error"), "")
        writer.write_table(_FAILURES, rows, units=units, dtypes=dict.fromkeys(units, str))


def _write_results(writer: Any, dumps: Sequence[DumpParts], spool: Spool, *, with_dump: bool) -> None:
    shapes = _Shapes()
    for dump, part in _parts(dumps, spool):
        for table in part.tables:
            shapes.add(table, dump.path)
        for name, own in part.tensors.items():
            full = f"{dump.path}/{name}" if with_dump else name
            writer.write_tensor_arrays(full, own.arrays, own.units, own.attrs)
    front = {"dump": ""} if with_dump else {}
    for name, units in shapes.units.items():
        writer.write_table(
            name,
            _blocks(name, dumps, spool, units, with_dump=with_dump),
            units={**front, **units},
            dtypes={**dict.fromkeys(front, str), **shapes.dtypes(name)},
            attrs=shapes.common_attrs(name),
        )
    if rows := shapes.own_attrs():
        columns = dict.fromkeys(("dump", "table", "name", "value"), "")
        writer.write_table(_ATTRIBUTES, rows, units=columns, dtypes=dict.fromkeys(columns, str))


def _parts(dumps: Sequence[DumpParts], spool: Spool) -> Iterator[tuple[DumpParts, BatchPart]]:
    for dump in dumps:
        for key in dump.keys:
            yield dump, spool.load(key)


def _blocks(
    name: str, dumps: Sequence[DumpParts], spool: Spool, units: Mapping[str, str], *, with_dump: bool
) -> Iterator[dict[str, list[Any]]]:
    for dump, part in _parts(dumps, spool):
        for table in part.tables:
            count = len(table)
            if table.name != name or not count:
                continue
            block = {column: list(table.columns.get(column, [None] * count)) for column in units}
            if with_dump:
                if "tensor" in block:
                    block["tensor"] = [f"{dump.path}/{tensor}" for tensor in block["tensor"]]
                block = {"dump": [dump.path] * count, **block}
            yield block


class _Shapes:
    """Columns, kinds and attributes of tables that several parts have."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self._kinds: dict[str, dict[str, str]] = {}
        self._complete: dict[str, set[str]] = {}  # columns that every part has, with all values
        self._attrs: dict[str, dict[str, dict[str, Any]]] = {}

    def add(self, table: Table, dump: str) -> None:
        """Take a table of a part."""
        units = self.units.setdefault(table.name, {})
        for name, unit in table.units.items():
            units.setdefault(name, unit)
        kinds = self._kinds.setdefault(table.name, {})
        for name, kind in table.kinds.items():
            kinds[name] = _joined(kinds.get(name), kind)
        whole = {name for name, values in table.columns.items() if None not in values}
        self._complete[table.name] = self._complete.get(table.name, whole) & whole
        self._attrs.setdefault(table.name, {}).setdefault(dump, {}).update(table.attrs)

    def dtypes(self, name: str) -> dict[str, Any]:
        """Return dtypes of a table's columns; flags of which some are missing become integers."""
        kinds = {column: self._kinds[name].get(column, "f") for column in self.units[name]}
        complete = self._complete[name]
        return {
            column: dtype_of_kind("i" if kind == "b" and column not in complete else kind)
            for column, kind in kinds.items()
        }

    def common_attrs(self, name: str) -> dict[str, Any]:
        """Attributes of a table that are the same for all dumps."""
        first, *others = self._attrs[name].values()
        return {key: value for key, value in first.items() if all(_has(o, key, value) for o in others)}

    def own_attrs(self) -> list[dict[str, str]]:
        """Return a row per attribute that is not the same for all dumps."""
        common = {name: self.common_attrs(name) for name in self._attrs}
        return [
            {"dump": dump, "table": name, "name": key, "value": str(value)}
            for name, by_dump in self._attrs.items()
            for dump, attrs in by_dump.items()
            for key, value in attrs.items()
            if key not in common[name]
        ]


def _has(attrs: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in attrs and attrs[key] == value


def _joined(one: str | None, other: str) -> str:
    """Return the kind of a column that holds values of two kinds."""
    if one is None or one == other:
        return other
    kinds = {one, other}
    if "O" in kinds:
        return "O"
    return "f" if "f" in kinds else "i"
