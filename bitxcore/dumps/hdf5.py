"""HDF5: every dataset of numbers is a tensor, named by its path.

The file is opened by another process (`hdf5_process`), which passes on what it finds as plain data; here
nothing of it is believed that was not checked. Values that lie in the file as they are in memory are mapped,
others are passed on in blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from bitxcore.dumps.base import BLOCK_BYTES, Dump, Tensor
from bitxcore.dumps.hdf5_process import Session
from bitxcore.dumps.keras import is_keras, keras_layout
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import (
    DEFLATE_RATIO,
    FREE_BYTES,
    Place,
    Source,
    UnsupportedError,
    declared_bytes,
    reading,
)
from bitxcore.errors import DumpError
from bitxcore.groups import Layout


class _Dataset(Tensor):
    """One dataset whose values the other process reads, in runs of rows."""

    def __init__(
        self,
        session: Session,
        place: Place,
        record: dict[str, Any],
        dtype: np.dtype[Any],
        layout: Layout | None,
        is_weight: bool | None,
    ) -> None:
        super().__init__(
            str(place.tensor), tuple(record["shape"]), dtype.newbyteorder("="), layout, is_weight
        )
        self._session = session
        self._place = place
        self._name = str(place.tensor)
        self._unpacked = int(record.get("unpacked", 0))
        self.row_step = max(1, int(record.get("rows", 1)))

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        if self.shape:
            return self.read_rows(0, self.shape[0])
        with reading(self._place):
            values = np.empty((), self.dtype)
            self._session.read(self._name, None, values, self._unpacked)
        return values

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; the chunks that hold them, if the dataset is chunked."""
        with reading(self._place):
            start, stop = self.row_range(start, stop)
            values = np.empty((stop - start, *self.shape[1:]), self.dtype)
            step = BLOCK_BYTES * self.shape[0] // max(1, self.nbytes)
            step = max(1, step // self.row_step) * self.row_step
            first = start
            while first < stop:
                last = min(stop, first - first % self.row_step + step)
                self._session.read(
                    self._name, (first, last), values[first - start : last - start], self._unpacked
                )
                first = last
        return values


class _Mapped(SpanTensor):
    """A dataset whose values lie in the file as they are in memory; read until the dump is closed."""

    session: Session

    def _read(self, start: int, stop: int) -> npt.NDArray[Any]:
        with reading(self.place):
            self.session.check_open()
        return super()._read(start, stop)

    def _filled(self, first: int, buffer: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        with reading(self.place):
            self.session.check_open()
        return super()._filled(first, buffer, shape)


def open_hdf5(path: Path) -> Hdf5Dump:
    """Open an HDF5 file.

    Soft links to a dataset list it under both names. Ignored are: links that lead nowhere or to another
    file, datasets whose values are in one, virtual datasets that miss values, text, references and other
    variable-length data, and what is larger than 64 MiB and than 1032 times its bytes in the file. In files
    of Keras, layouts and weights are known.

    Raises
    ------
    DumpError
        Also if the file makes the HDF5 library crash, hang or take more memory than twice the file's
        size and 256 MiB.
    """
    source = Source.of(path)
    session = Session(source)
    try:
        return Hdf5Dump(source, session)
    except BaseException:
        session.close()
        raise


def try_hdf5(path: Path) -> None:
    """Read all that is in an HDF5 file itself in another process, which may crash, and pass nothing on.

    Raises
    ------
    DumpError
        If that fails.
    """
    session = Session(Source.of(path))
    try:
        with reading(path):
            session.try_all()
    finally:
        session.close()


class Hdf5Dump(Dump):
    """One HDF5 file; a process is kept for it until closed."""

    def __init__(self, source: Source, session: Session) -> None:
        self._session = session
        path = source.path
        records: list[dict[str, Any]] = []
        attributes: list[str] = []
        with reading(path):
            for message in session.list():
                records += message.get("records", [])
                attributes = message.get("attributes", [])
        keras = is_keras(attributes, [record["name"] for record in records])
        tensors: dict[str, Tensor] = {}
        ignored: dict[str, str] = {}
        for record in records:
            name = str(record["name"])
            with reading(Place(path, name)):
                if "ignored" in record:
                    ignored[name] = str(record["ignored"])
                    continue
                try:
                    tensors[name] = _tensor(source, session, record, keras)
                except UnsupportedError as error:
                    ignored[name] = error.message
        source.check()
        super().__init__(path, "hdf5", tensors)
        self.ignored = ignored

    def close(self) -> None:
        """Close the file."""
        self._session.close()
        super().close()


def _tensor(source: Source, session: Session, record: dict[str, Any], keras: bool) -> Tensor:
    """Make the tensor of a record whose claims hold."""
    name, shape = str(record["name"]), tuple(record["shape"])
    dtype = npy_format.descr_to_dtype(_tuples(record["descr"]))
    stored = source.size if record["virtual"] else min(int(record["stored"]), source.size)
    nbytes = _checked_bytes(shape, dtype, stored)
    layout = keras_layout(name, shape) if keras else None
    is_weight = layout is not None if keras else None
    offset = record.get("offset")
    if isinstance(offset, int) and stored == nbytes:
        mapped = _Mapped(source, offset, name, shape, dtype, "C", layout, is_weight)
        mapped.session = session
        return mapped
    return _Dataset(session, Place(source.path, name), record, dtype, layout, is_weight)


def _checked_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], stored: int) -> int:
    """Return the bytes of a dataset; what was never written is filled by HDF5, so that a few may claim many.

    Raises
    ------
    UnsupportedError
        If NumPy can't hold them, or they are far more than can be packed into those stored.
    """
    try:
        nbytes = declared_bytes(shape, dtype)
    except DumpError as error:
        raise UnsupportedError(error.message) from error
    if nbytes > max(FREE_BYTES, DEFLATE_RATIO * stored):
        raise UnsupportedError(
            f"has {nbytes} bytes, of which {stored} are stored; the limit of bitx is the larger of "
            f"{FREE_BYTES >> 20} MiB and {DEFLATE_RATIO} times what is stored"
        )
    return nbytes


def _tuples(descr: Any) -> Any:
    """Return a description of a dtype with the tuples that JSON has made lists."""
    if isinstance(descr, str):
        return descr
    fields = []
    for name, kind, *shape in descr:
        named = tuple(name) if isinstance(name, list) else name
        fields.append((named, _tuples(kind), *map(tuple, shape)))
    return fields
