"""NumPy's ``.npy``: one array, named after the file."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy_format

from bitxcore.dumps.base import Dump, Replace, TensorProgress
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Place, Source, declared_bytes, reading
from bitxcore.dumps.writing import write_blocks
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
    """Parse the first bytes (`HEADER_BYTES` are enough) of a ``.npy`` file; never unpickles."""
    stream = io.BytesIO(start)
    with reading(where):
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(stream)
        elif version in {(2, 0), (3, 0)}:
            # Version 3 differs by UTF-8 in the names of structured fields only.
            shape, fortran, dtype = npy_format.read_array_header_2_0(stream)
        else:
            raise DumpError(f".npy version {version} is not known")
        nbytes = declared_bytes(shape, dtype)
        return NpyHeader(shape, dtype, "F" if fortran else "C", start[: stream.tell()], nbytes)


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
                shutil.copyfile(self.path, temporary)
            else:
                with temporary.open("wb") as file:
                    file.write(self._header.raw)
                    write_blocks(file, self._tensor, new, self._header.stored, self._header.order)
        if progress:
            progress(self._tensor)
