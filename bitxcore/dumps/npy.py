"""NumPy's ``.npy``: one array, named after the file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ml_dtypes import float8_e5m2
from numpy.lib import format as npy_format

from bitxcore.dumps.base import Dump, Replace, TensorProgress
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import (
    COPIED_BYTES,
    Place,
    Source,
    UnsupportedError,
    declared_bytes,
    one_line,
    reading,
)
from bitxcore.dumps.writing import copy_bytes, write_blocks
from bitxcore.errors import DumpError
from bitxcore.files import atomic_file

HEADER_BYTES = 1 << 16  # six times the longest header that NumPy accepts


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What stands before the values.

    Parameters
    ----------
    shape : tuple of int
    stored : numpy.dtype
        With the byte order of the file.
    order : {"C", "F"}
    raw : bytes
        The header itself.
    nbytes : int
        Bytes of the values.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    order: Literal["C", "F"]
    raw: bytes
    nbytes: int


def parse_header(start: bytes, where: Place) -> NpyHeader:
    """Parse the first bytes (`HEADER_BYTES` are enough) of a ``.npy`` file; never unpickles.

    NumPy writes float8_e5m2, and no other dtype, as ``<f1``, and can't read that name.
    """
    with reading(where):
        start = _header_only(start)
        try:
            return _parse_plain(start)
        except ValueError as error:
            if not str(error).startswith("descr is not a valid dtype"):
                raise
            shape, order, dtype, length = _parse(start.replace(b"'<f1'", b"'|V1'", 1), unknown=error)
            dtype = np.dtype(float8_e5m2)
        return NpyHeader(shape, dtype, order, start[:length], declared_bytes(shape, dtype))


def _header_only(start: bytes) -> bytes:
    """Cut off the values, as far as the first bytes tell how long the header is."""
    if start[6:7] == b"\1":
        return start[: 10 + int.from_bytes(start[8:10], "little")]
    return start[: 12 + int.from_bytes(start[8:12], "little")]


@lru_cache(256)
def _parse_plain(start: bytes) -> NpyHeader:
    """Parse a header whose dtype NumPy knows; the members of an archive are often alike."""
    shape, order, dtype, length = _parse(start)
    return NpyHeader(shape, dtype, order, start[:length], declared_bytes(shape, dtype))


def _parse(
    start: bytes, unknown: ValueError | None = None
) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[Any], int]:
    """Return shape, order, dtype and the header's bytes; of a dtype that is `unknown`, if it is ``V1``."""
    stream = io.BytesIO(start)
    dtype: Any
    version = npy_format.read_magic(stream)
    try:
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
        elif version in {(2, 0), (3, 0)}:
            # Version 3 differs by UTF-8 in the names of structured fields only.
            shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
        else:
            raise DumpError(f".npy version {version} is not known")
    except ValueError:
        if unknown is None:
            raise
        dtype = None
    if unknown is not None and dtype != np.dtype("V1"):
        raise UnsupportedError(f"can't be read: {one_line(unknown)}") from unknown
    order: Literal["C", "F"] = "F" if fortran else "C"
    return shape, order, dtype, stream.tell()


def open_npy(path: Path) -> NpyDump:
    """Open a ``.npy`` file; the one tensor is named like the file, without its suffix."""
    source = Source.of(path)
    header = parse_header(source.start(HEADER_BYTES), Place(path, path.stem))
    offset = len(header.raw)
    if offset + header.nbytes < source.size:
        raise DumpError(f"{source.size - offset - header.nbytes} bytes follow the array", path=path)
    tensor = SpanTensor(source, offset, path.stem, header.shape, header.stored, header.order)
    return NpyDump(path, header, tensor)


class NpyDump(Dump):
    """One ``.npy`` file."""

    def __init__(self, path: Path, header: NpyHeader, tensor: SpanTensor) -> None:
        super().__init__(path, "npy", {tensor.name: tensor})
        self._header = header
        self._tensor = tensor

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the array again under the same header."""
        with atomic_file(out, inputs=self.files()) as temporary:
            new = replace(self._tensor)
            if new is None:
                source = self._tensor.source
                with source.stream(buffer=COPIED_BYTES) as original, temporary.open("wb") as file:
                    copy_bytes(self.path, original, file, source.size)
            else:
                with temporary.open("wb") as file:
                    file.write(self._header.raw)
                    write_blocks(file, self._tensor, new, self._header.stored, self._header.order)
        if progress:
            progress(self._tensor)
