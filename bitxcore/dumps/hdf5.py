"""HDF5: every dataset of numbers is a tensor, named by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Dump, Tensor
from bitxcore.dumps.hdf5_virtual import VirtualSources
from bitxcore.dumps.keras import is_keras, keras_layout
from bitxcore.dumps.trust import Place, Source, check_expansion, declared_bytes, one_line, reading
from bitxcore.errors import DumpError
from bitxcore.groups import Layout


class _Dataset(Tensor):
    """One dataset; rows are read as slices."""

    def __init__(self, dataset: Any, place: Place, layout: Layout | None, is_weight: bool | None) -> None:
        dtype = dataset.dtype.newbyteorder("=")
        super().__init__(str(place.tensor), dataset.shape, dtype, layout, is_weight)
        self._dataset = dataset
        self._place = place
        self.row_step = dataset.chunks[0] if dataset.chunks else 1

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        return self._copy(())

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; the chunks that hold them, if the dataset is chunked."""
        with reading(self._place):
            rows = slice(*self.row_range(start, stop))
        return self._copy(rows)

    def _copy(self, index: Any) -> npt.NDArray[Any]:
        with reading(self._place):
            values = self._dataset[index]
        # The order of a copy, and so of the blocks that are written, must not depend on the file.
        return np.array(values, dtype=self.dtype, order="C")


def open_hdf5(path: Path) -> Hdf5Dump:
    """Open an HDF5 file.

    Links, virtual datasets and raw storage that lead to another file are refused, and virtual datasets
    that miss values. Soft links to a dataset list it under both names. Text, references and other
    variable-length data are ignored. In files of Keras, layouts and weights are known.
    """
    Source.of(path)
    with reading(path):
        file = h5py.File(path, "r")
    try:
        return Hdf5Dump(path, file)
    except BaseException:
        file.close()
        raise


class Hdf5Dump(Dump):
    """One HDF5 file, open until closed."""

    def __init__(self, path: Path, file: Any) -> None:
        self._file = file
        found: dict[str, Any] = {}
        with reading(path):
            for name, kind in _walk(path, file):
                if kind is h5py.SoftLink and file.get(name) is None:
                    raise DumpError(f"soft link {name!r} leads nowhere", path=path)
                if isinstance(file[name], h5py.Dataset):
                    with reading(Place(path, name)):
                        found[name] = file[name]
        keras = is_keras(file, found)
        sources = VirtualSources()
        tensors: dict[str, Tensor] = {}
        ignored: dict[str, str] = {}
        for name, dataset in found.items():
            with reading(place := Place(path, name)):
                if reason := _unread(dataset):
                    ignored[name] = reason
                else:
                    _check(dataset, sources)
                    layout = keras_layout(name, dataset.shape) if keras else None
                    tensors[name] = _Dataset(dataset, place, layout, layout is not None if keras else None)
        super().__init__(path, "hdf5", tensors)
        self.ignored = ignored

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _walk(path: Path, file: Any) -> list[tuple[str, type]]:
    """Name and kind of every link below the root, each group entered once and by hard links only.

    No link is followed before all are seen: a soft link may lead through an external one.
    """
    links: list[tuple[str, type]] = []
    groups = [("", file)]
    entered = {h5py.h5o.get_info(file.id).addr}
    while groups:
        prefix, group = groups.pop()
        for key in group:
            name = f"{prefix}{key}"
            kind = group.get(key, getlink=True, getclass=True)
            if kind is h5py.ExternalLink:
                raise DumpError(f"link {name!r} leads to another file", path=path)
            links.append((name, kind))
            if kind is not h5py.HardLink or group.get(key, getclass=True) is not h5py.Group:
                continue
            child = group[key]
            address = h5py.h5o.get_info(child.id).addr
            if address not in entered:
                entered.add(address)
                groups.append((f"{name}/", child))
    return sorted(links, key=lambda link: link[0])


def _unread(dataset: Any) -> str | None:
    """Say why a dataset is no tensor of numbers, or return None if it is one."""
    if dataset.shape is None:
        return "empty dataspace"
    try:
        objects = dataset.dtype.hasobject
    except TypeError as error:
        return one_line(error)
    return "text or variable-length data" if objects else None


def _check(dataset: Any, sources: VirtualSources) -> None:
    if dataset.external:
        raise DumpError(f"its values are in another file, {dataset.external[0][0]!r}")
    if dataset.chunks is not None and (len(dataset.chunks) != dataset.ndim or 0 in dataset.chunks):
        # libhdf5 2.0 does not check this, and a read never ends.
        raise DumpError(f"chunks {dataset.chunks} do not fit shape {dataset.shape}")
    stored = dataset.id.get_storage_size()
    nbytes = declared_bytes(dataset.shape, dataset.dtype)
    if dataset.is_virtual:
        sources.check(dataset)
        stored = Path(dataset.file.filename).stat().st_size
    check_expansion(nbytes, stored)
