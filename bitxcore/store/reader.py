"""Read a store: checked, lazy, a table or a tensor's arrays at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from bitxcore.closing import Closing
from bitxcore.dumps.downloads import local_copy
from bitxcore.dumps.hdf5 import try_hdf5
from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import as_path
from bitxcore.store import elements, provenance, writer
from bitxcore.store.disk import Opened
from bitxcore.store.elements import reading
from bitxcore.store.seal import SIGNATURE, check_seal
from bitxcore.store.text import escape_name, unescape_name
from bitxcore.tables import Table, Tables, column_kinds, plain_columns

BLOCK_ROWS = 1 << 16


class Store(Closing):
    """A store that is open for reading; a context manager that closes its file.

    Every method raises `DumpError`, with one line, for what is damaged, missing or newer than
    this release reads.

    Attributes
    ----------
    path : pathlib.Path
    tensors : mapping of str to dict of str to numpy.ndarray
        The arrays of each tensor, read when asked for; in the order they were written.
    sealed : bool
        Whether the file's SHA-256 was there and right.
    """

    def __init__(self, file: Any, path: Path, sealed: bool) -> None:
        self._file = file
        self._handle = ExitStack()
        self.path = path
        self.sealed = sealed
        self.tensors: Mapping[str, dict[str, npt.NDArray[Any]]] = _Tensors(file, path)

    @staticmethod
    def create(
        path: str | os.PathLike[str],
        *,
        parameters: Mapping[str, Any] | None = None,
        inputs: Iterable[provenance.InputSource] = (),
    ) -> AbstractContextManager[writer.StoreWriter]:
        """Write a new store; it appears under its name when the ``with`` block ends well.

        Parameters
        ----------
        path : str or path-like
            A file that is there already is replaced at the end, and kept if the block fails.
        parameters : mapping, optional
            Of the run: JSON's types, NumPy scalars, paths, dataclasses.
        inputs : iterable of Dump, str or path-like
            Every file the results depend on; each is read once for its SHA-256.

        Returns
        -------
        context manager of StoreWriter

        Raises
        ------
        DumpError
            If an input can't be read or the store can't be written.
        OptionError
            If a parameter can't be recorded.
        """
        return writer.create(path, parameters=parameters, inputs=inputs)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = True) -> Self:
        """Open a store.

        Parameters
        ----------
        path : str or path-like
        verify : bool
            Whether to compare the file with its SHA-256 first, which reads all of it. A file without one
            is first read by a process of its own, which the HDF5 library may crash. Without either, a
            damaged file may give wrong values or end this process.

        Raises
        ------
        DumpError
            If the file is not a store, is damaged, or is of a newer major version.
        """
        path = as_path(path)
        if not path.is_file():
            raise DumpError("there is no such file", path=path)
        with ExitStack() as opened:
            path = opened.enter_context(local_copy(path))
            with reading(path):
                # What is checked and what is read is one file, also where a run replaces it meanwhile.
                handle = opened.enter_context(Opened(path))
                sealed = check_seal(path, handle) if verify else False
                handle.seek(0)
                if handle.read(len(SIGNATURE)) != SIGNATURE:
                    raise DumpError("not an HDF5 file", path=path)
                if verify and not sealed:
                    try_hdf5(path)
                file = opened.enter_context(h5py.File(handle, "r"))
                elements.check_stamp(file, "bitx-store", path)
            store = cls(file, path, sealed)
            store._handle = opened.pop_all()
        return store

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        with reading(self.path):
            return tuple(
                name
                for name in self._file
                if elements.child(self._file, name, self.path).attrs.get(elements.TYPE) == "table"
            )

    @property
    def provenance(self) -> provenance.Provenance:
        """Where the results come from."""
        with reading(self.path, "/provenance"):
            return provenance.read(self._file, self.path)

    def table(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Read a whole table.

        Parameters
        ----------
        name : str

        Returns
        -------
        dict of str to numpy.ndarray
            One 1-D array per column, in column order. Missing values: NaN in floats, a masked array for
            integers, ``None`` in strings (dtype object).
        """
        with reading(self.path, f"/{name}"):
            return {k: elements.read_column(d, self.path) for k, d in self._columns(name).items()}

    def blocks(self, name: str, rows: int = BLOCK_ROWS) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Read a table `rows` rows at a time; what `StoreWriter.write_table` takes."""
        with reading(self.path, f"/{name}"):
            columns = self._columns(name)
            total = len(next(iter(columns.values())))
        for start in range(0, total, rows):
            with reading(self.path, f"/{name}"):
                part = slice(start, min(start + rows, total))
                block = {k: elements.read_column(d, self.path, part) for k, d in columns.items()}
            yield block

    def read_tables(self) -> Tables:
        """Read all tables into memory, with their units and attributes; arrays of tensors stay in the file.

        Returns
        -------
        bitxcore.tables.Tables
            Its `tensors` are read when asked for, while the store is open.
        """
        return Tables(map(self._whole_table, self.tables), self.tensors)

    def _whole_table(self, name: str) -> Table:
        arrays = self.table(name)
        kinds = column_kinds({key: array.dtype for key, array in arrays.items()})
        return Table(name, plain_columns(arrays), self.units(name), self.attrs(name), kinds)

    def units(self, name: str) -> dict[str, str]:
        """Units of a table's columns."""
        with reading(self.path, f"/{name}"):
            return {k: elements.read_units(d, self.path) for k, d in self._columns(name).items()}

    def tensor_units(self, name: str) -> dict[str, str]:
        """Units of the arrays of the tensor `name`."""
        with reading(self.path, f"/tensors: {name!r}"):
            datasets = _datasets(self._file, self.path, name)
            return {k: elements.read_units(d, self.path) for k, d in datasets.items()}

    def attrs(self, name: str) -> dict[str, Any]:
        """Attributes that were given with the table `name`."""
        with reading(self.path, f"/{name}"):
            self._columns(name)
            return elements.read_attributes(self._file[name])

    def tensor_attrs(self, name: str) -> dict[str, Any]:
        """Attributes that were given with the arrays of the tensor `name`."""
        with reading(self.path, f"/tensors: {name!r}"):
            return elements.read_attributes(_tensor(self._file, self.path, name))

    def _columns(self, name: str) -> dict[str, Any]:
        if name not in self.tables:
            raise DumpError(
                f"no table {name!r}; there are: {', '.join(self.tables) or 'none'}", path=self.path
            )
        return elements.table_columns(self._file[name], self.path)

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._handle.close()

    def __repr__(self) -> str:
        return f"<Store {self.path}>"


def _tensor(file: Any, path: Path, name: str) -> Any:
    group = elements.child(elements.child(file, "tensors", path), escape_name(name), path)
    elements.check_stamp(group, "tensor", path)
    return group


def _datasets(file: Any, path: Path, name: str) -> dict[str, Any]:
    group = _tensor(file, path, name)
    return {key: elements.child(group, key, path) for key in group}


class _Tensors(Mapping[str, dict[str, npt.NDArray[Any]]]):
    """The arrays of each tensor."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file = file
        self._path = path

    def _links(self) -> Any:
        group = elements.child(self._file, "tensors", self._path)
        elements.check_stamp(group, "tensors", self._path)
        return group

    def __getitem__(self, name: str) -> dict[str, npt.NDArray[Any]]:
        if name not in self:
            raise KeyError(name)
        with reading(self._path, f"/tensors: {name!r}"):
            datasets = _datasets(self._file, self._path, name)
            return {k: np.asarray(elements.read_dataset(d, self._path)) for k, d in datasets.items()}

    def __contains__(self, name: object) -> bool:
        with reading(self._path, "/tensors"):
            return isinstance(name, str) and escape_name(name) in self._links()

    def __iter__(self) -> Iterator[str]:
        with reading(self._path, "/tensors"):
            names = [unescape_name(link) for link in self._links()]
        return iter(names)

    def __len__(self) -> int:
        with reading(self._path, "/tensors"):
            return len(self._links())
