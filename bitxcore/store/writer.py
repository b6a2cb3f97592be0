"""Write a store: to a temporary name, sealed and renamed when all of it is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy.typing as npt

from bitxcore.errors import OptionError, TensorError
from bitxcore.files import atomic_file
from bitxcore.remote.remote_path import as_path
from bitxcore.store import elements, provenance
from bitxcore.store.columns import Rows
from bitxcore.store.disk import Disk
from bitxcore.store.elements import Attribute
from bitxcore.store.seal import seal
from bitxcore.store.table_rules import RULES
from bitxcore.store.text import escape_name

KEYS = {name: tuple(RULES[name].must) for name in ("statistics", "pruning", "simulation", "networks")}
"""Columns that tell the rows of the well-known tables apart."""

_RESERVED = ("tensors", "provenance")

SUFFIXES = (".h5", ".hdf5")


class StoreWriter:
    """A store that is being written; `Store.create` makes one."""

    def __init__(self, file: Any, disk: Disk, path: Path) -> None:
        self._file = file
        self._disk = disk
        self._path = path

    def write_table(
        self,
        name: str,
        columns: Rows,
        *,
        units: Mapping[str, str],
        dtypes: Mapping[str, npt.DTypeLike] | None = None,
        attrs: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Write one table.

        Parameters
        ----------
        name : str
            An identifier. ``statistics`` and ``pruning`` must have the column ``tensor``;
            ``simulation`` ``layer`` and ``accelerator``; ``networks`` ``network`` and ``accelerator``.
        columns : mapping of str to array_like, or iterable of mappings
            Whole columns; or an iterator of rows (name to scalar) and blocks of columns (name to
            1-D array, list or tuple), of which a block is in memory at a time. ``None`` and
            masked elements are missing values.
        units : mapping of str to str
            The unit of every column, which also names the columns and their order: ``"cycles"``,
            ``"J"``, ``"B"``, ``"1"`` for bare numbers, ``""`` for text and flags.
        dtypes : mapping of str to dtype, optional
            For columns whose dtype the first block does not tell: ``str``, bool, integers, floats.
        attrs : mapping of str to str, bool, int or float, optional

        Raises
        ------
        TensorError
            For values that break a rule; nothing of the table remains.
        OptionError
            For names, units or attributes that break one.
        DumpError
            If the file can't be written.
        """
        elements.check_identifier("table", name)
        if name in _RESERVED or name in self._file:
            raise OptionError(f"there is a {name!r} already", path=self._path)
        absent = [key for key in KEYS.get(name, ()) if key not in units]
        if absent:
            raise TensorError(f"table {name!r} must have the column {absent[0]!r}", path=self._path)
        with self._group(name) as table:
            elements.write_table(table, self._checked(columns), units, dtypes)
            elements.write_attributes(table, attrs)

    def write_tensor_arrays(
        self,
        name: str,
        arrays: Mapping[str, npt.ArrayLike],
        units: Mapping[str, str],
        attrs: Mapping[str, Attribute] | None = None,
    ) -> None:
        """Write arrays that belong to one tensor, all at once.

        Parameters
        ----------
        name : str
            The tensor's; any string.
        arrays : mapping of str to array_like
            Numbers or bools of any shape, e.g. ones per row, or the row masks of a pruning.
        units : mapping of str to str
            Of every array.
        attrs : mapping of str to str, bool, int or float, optional

        Raises
        ------
        TensorError
            For an array that holds no numbers, or arrays and units of other names.
        OptionError
            For a second call with the same name, and names, units or attributes that break a rule.
        DumpError
            If the file can't be written.
        """
        if arrays.keys() != units.keys():
            raise TensorError(
                f"the arrays are {sorted(arrays)}, but units names {sorted(units)}", tensor=name
            )
        link = f"tensors/{escape_name(name)}"
        if link in self._file:
            raise OptionError(f"the arrays of tensor {name!r} are there already", path=self._path)
        with self._group(link) as group:
            elements.stamp(group, "tensor")
            for key, values in arrays.items():
                elements.write_array(group, key, values, units[key])
            elements.write_attributes(group, attrs)

    @contextmanager
    def _group(self, name: str) -> Iterator[Any]:
        """Make a group that is taken back if its contents can't be completed."""
        group = self._file.create_group(name)
        try:
            yield group
            self._disk.check()
        except BaseException:
            del self._file[name]
            raise

    def _checked(self, rows: Rows) -> Rows:
        """Stop a long stream of rows when the disk is full, not at its end."""
        if isinstance(rows, Mapping):
            return rows

        def stream() -> Iterator[Mapping[str, Any]]:
            for row in rows:
                self._disk.check()
                yield row

        return stream()


def check_name(path: Path) -> None:
    """Raise unless a store may be called so: another container's suffix would mislead whoever opens it."""
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"a store is an HDF5 file, its name must end in {' or '.join(SUFFIXES)}", path=path)


@contextmanager
def create(
    path: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    inputs: Iterable[provenance.InputSource] = (),
) -> Iterator[StoreWriter]:
    """Write a new store; see `Store.create`."""
    path = as_path(path)
    record = provenance.collect(parameters, inputs)
    with atomic_file(path, inputs=[as_path(item.path) for item in record.inputs]) as temporary:
        check_name(path)
        with Disk(temporary, path) as disk:
            with h5py.File(disk, "w", libver=("v108", "v110")) as file:
                elements.stamp(file, "bitx-store")
                file.attrs["creator"] = "bitx"
                file.attrs["creator-version"] = record.versions["bitx"]
                file.attrs["created"] = record.created.isoformat()
                provenance.write(file, record)
                elements.stamp(file.create_group("tensors", track_order=True), "tensors")
                yield StoreWriter(file, disk, path)
            disk.check()
        seal(temporary)
