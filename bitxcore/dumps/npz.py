"""NumPy's ``.npz``: a zip archive of ``.npy`` members, stored or deflated."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from bitxcore.closing import Closing
from bitxcore.dumps.base import BLOCK_BYTES, Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.npy import HEADER_BYTES, NpyHeader, parse_header
from bitxcore.dumps.span import SpanTensor
from bitxcore.dumps.trust import Place, Source, UnsupportedError, check_expansion, one_line, reading
from bitxcore.dumps.writing import COPY_BYTES, copy_bytes, write_blocks
from bitxcore.errors import DumpError, error_context
from bitxcore.files import atomic_file

_LOCAL_HEADER = struct.Struct("<4s22x2H")
_MAX_NAME_BYTES = (1 << 16) - 1
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of zip: equal tensors give equal files


class _Member:
    """One member of the archive, its claims checked.

    Attributes
    ----------
    data : int
        Offset of the (compressed) bytes in the file.
    """

    def __init__(self, source: Source, info: zipfile.ZipInfo) -> None:
        self.source = source
        self.info = info
        self.place = _place(source.path, info)
        with reading(self.place):
            self.data = self._check()

    def _check(self) -> int:
        """Compare the archive's directory with the member's own header; return where its bytes begin."""
        source, info = self.source, self.info
        if info.flag_bits & 1:
            raise DumpError("is encrypted")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise DumpError(f"compression {info.compress_type} is neither stored nor deflated")
        with source.path.open("rb") as file:
            file.seek(info.header_offset)
            signature, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            name = file.read(name_length)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        if signature != b"PK\x03\x04" or name != info.orig_filename.encode(encoding, "replace"):
            raise DumpError("the archive's directory points elsewhere")
        data: int = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if data + info.compress_size > source.size:
            raise DumpError("ends beyond the end of the file; is it truncated?")
        if self.stored and info.file_size != info.compress_size:
            raise DumpError(f"stored bytes {info.compress_size}, claimed {info.file_size}")
        check_expansion(info.file_size, info.compress_size)
        return data

    @property
    def stored(self) -> bool:
        return self.info.compress_type == zipfile.ZIP_STORED

    def header(self) -> NpyHeader:
        nbytes = min(HEADER_BYTES, self.info.file_size)
        start = bytearray(nbytes)
        with _Stream(self) as stream:
            stream.readinto(memoryview(start))
        header = parse_header(bytes(start), self.place)
        if len(header.raw) + header.nbytes != self.info.file_size:
            with reading(self.place):
                raise DumpError(
                    f"shape {header.shape} of {header.stored} needs {header.nbytes} bytes, "
                    f"the member holds {self.info.file_size - len(header.raw)}"
                )
        return header


def _place(path: Path, info: zipfile.ZipInfo) -> Place:
    name = info.orig_filename
    return Place(path, name.removesuffix(".npy"), f"member {name!r}")


class _Stream(Closing):
    """The uncompressed bytes of a member, front to back; the checksum is tested at the end."""

    def __init__(self, member: _Member) -> None:
        self._member = member
        self._file = member.source.path.open("rb")
        self._file.seek(member.data)
        self._packed = member.info.compress_size
        self._left = member.info.file_size
        self._inflate = None if member.stored else zlib.decompressobj(-15)
        self._crc = 0

    def close(self) -> None:
        self._file.close()

    def _some(self, most: int) -> bytes:
        if self._inflate is None:
            return self._file.read(most)
        raw = self._inflate.unconsumed_tail
        if not raw:
            raw = self._file.read(min(COPY_BYTES, self._packed))
            self._packed = self._packed - len(raw) if raw else 0
        return self._inflate.decompress(raw, most)

    def readinto(self, target: memoryview) -> None:
        """Fill `target`."""
        done = 0
        while done < len(target):
            with reading(self._member.place):
                chunk = self._some(min(COPY_BYTES, len(target) - done))
                if not chunk and (self._inflate is None or not self._packed):
                    raise DumpError("ends early; it holds less than it claims")
            target[done : done + len(chunk)] = chunk
            done += len(chunk)
            self._crc = zlib.crc32(chunk, self._crc)
        self._left -= done
        if not self._left and self._crc != self._member.info.CRC:
            with reading(self._member.place):
                raise DumpError("checksum (CRC-32) does not match; the data are damaged")

    def skip(self, nbytes: int) -> None:
        """Pass over the next `nbytes` bytes."""
        scrap = memoryview(bytearray(min(COPY_BYTES, nbytes)))
        while nbytes:
            self.readinto(scrap[:nbytes])
            nbytes -= min(len(scrap), nbytes)


class _Array(Tensor):
    """A member read as a stream from its start: deflated ones always, stored ones for their checksum."""

    def __init__(self, member: _Member, header: NpyHeader, name: str) -> None:
        super().__init__(name, header.shape, header.stored.newbyteorder("="))
        self.member = member
        self.header = header

    def read(self) -> npt.NDArray[Any]:
        """Read all values; an error if the member's checksum does not match."""
        with self._values() as stream:
            return self._take(stream, self.shape)

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; of a deflated member, all before them pass by in small pieces."""
        with reading(self.member.place):
            start, stop = self.row_range(start, stop)
        if self.header.order == "F":
            return self.read()[start:stop]
        with self._values() as stream:
            stream.skip(start * (self.nbytes // max(1, self.shape[0])))
            return self._take(stream, (stop - start, *self.shape[1:]))

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of whole rows; only stored members have views."""
        if not self.shape or self.header.order == "F":
            yield self.read()
            return
        step = max(1, nbytes * self.shape[0] // max(1, self.nbytes))
        with self._values() as stream:
            for start in range(0, self.shape[0], step):
                rows = min(step, self.shape[0] - start)
                yield self._take(stream, (rows, *self.shape[1:]))

    def _values(self) -> _Stream:
        self.member.source.check()
        stream = _Stream(self.member)
        stream.skip(len(self.header.raw))
        return stream

    def _take(self, stream: _Stream, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        with reading(self.member.place):
            values = np.empty(shape, self.header.stored, order=self.header.order)
        if values.size:
            stream.readinto(values.reshape(-1, order="A").view(np.uint8).data)
        return np.ascontiguousarray(values, dtype=self.dtype).reshape(shape)


class _StoredArray(_Array):
    """A stored member: rows are read directly."""

    def __init__(self, member: _Member, header: NpyHeader, name: str) -> None:
        super().__init__(member, header, name)
        self._span = SpanTensor(
            member.source, member.data + len(header.raw), name, header.shape, header.stored, header.order
        )

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0, touching those bytes only."""
        return self._span.read_rows(start, stop)

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back; views are not held against the member's checksum."""
        return self._span.blocks(nbytes, views=True) if views else super().blocks(nbytes)


def open_npz(path: Path) -> NpzDump:
    """Open a ``.npz`` archive: the headers of its members are read, not their values.

    Members that are no arrays of numbers (Python objects, which would be unpickled) are ignored.
    """
    source = Source.of(path)
    with reading(path), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    if sum(info.compress_size for info in infos) > source.size:
        raise DumpError("the members claim more bytes than the file has", path=path)
    tensors: dict[str, _Array] = {}
    ignored: dict[str, str] = {}
    seen: set[str] = set()
    for info in infos:
        full = info.orig_filename  # zipfile cuts names at a NUL
        if full in seen:
            raise DumpError(f"two members are named {full!r}", path=path)
        seen.add(full)
        if not full.endswith(".npy"):
            ignored[full] = "not a .npy member"
            continue
        member = _Member(source, info)
        name = full.removesuffix(".npy")
        try:
            header = member.header()
        except UnsupportedError as error:
            ignored[name] = error.message
            continue
        tensors[name] = (_StoredArray if member.stored else _Array)(member, header, name)
    return NpzDump(source, tensors, ignored)


class NpzDump(Dump):
    """One ``.npz`` archive."""

    def __init__(self, source: Source, tensors: dict[str, _Array], ignored: dict[str, str]) -> None:
        super().__init__(source.path, "npz", tensors)
        self._source = source
        self.ignored = ignored
        self._arrays = tensors

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the archive again: every member in its place, with its compression, name and date."""
        self._source.check()
        by_member = {array.member.info.orig_filename: array for array in self._arrays.values()}
        with (
            atomic_file(out, inputs=self.files()) as temporary,
            zipfile.ZipFile(self.path) as archive,
            zipfile.ZipFile(temporary, "w") as target,
        ):
            target.comment = archive.comment
            for info in archive.infolist():
                array = by_member.get(info.orig_filename)
                new = replace(array) if array else None
                with target.open(_like(info), "w", force_zip64=True) as file:
                    if array and new is not None:
                        file.write(array.header.raw)
                        write_blocks(file, array, new, array.header.stored, array.header.order)
                    else:
                        place = _place(self.path, info)
                        with reading(place):
                            member = archive.open(info)
                        with member:
                            copy_bytes(place, member, file, info.file_size)
                if array and progress:
                    progress(array)


def _header(tensor: Tensor) -> bytes:
    """Return what stands before the values of a tensor; an error if NumPy would not read it."""
    buffer = io.BytesIO()
    descr = npy_format.dtype_to_descr(tensor.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": tensor.shape}
    try:
        npy_format.write_array_header_1_0(buffer, header)
        npy_format.read_array_header_1_0(io.BytesIO(buffer.getvalue()[npy_format.MAGIC_LEN :]))
    except ValueError as error:
        raise DumpError(f".npz can't hold this dtype: {one_line(error)}") from error
    return buffer.getvalue()


def _can_name(dtype: np.dtype[Any]) -> bool:
    """Whether NumPy reads the name that it writes for `dtype` as that dtype."""
    try:
        return npy_format.descr_to_dtype(npy_format.dtype_to_descr(dtype)) == dtype
    except (TypeError, ValueError):
        return False


def _check_name(name: str) -> None:
    """Refuse a member's name that an archive would store otherwise, or not at all."""
    if "\0" in name or zipfile.ZipInfo(name, _EARLIEST).filename != name:
        raise DumpError(".npz can't hold this name, which zip would cut or change; use .safetensors")
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise DumpError(".npz can't hold this name; it is not Unicode text") from error
    if length > _MAX_NAME_BYTES:
        raise DumpError(f".npz can't hold this name of {length} bytes, more than {_MAX_NAME_BYTES}")


def _like(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    copy = zipfile.ZipInfo(info.filename, info.date_time)
    copy.filename = info.orig_filename  # zipfile cuts names at a NUL
    copy.compress_type = info.compress_type
    copy.comment = info.comment
    copy.create_system = info.create_system
    copy.external_attr = info.external_attr
    return copy


def write_npz(dump: Dump, out: Path, replace: Replace, progress: TensorProgress | None) -> None:
    """Write the tensors of a dump, one at a time, into a new stored (uncompressed) ``.npz`` at `out`.

    Raises
    ------
    DumpError
        If a dtype is not one that NumPy's format can name (bfloat16, float8).
    """
    for tensor in dump.values():
        if not _can_name(tensor.dtype):
            raise DumpError(f".npz can't hold {tensor.dtype}; use .safetensors", path=out, tensor=tensor.name)
        with error_context(path=out, tensor=tensor.name):
            _check_name(f"{tensor.name}.npy")
            _header(tensor)
    with zipfile.ZipFile(out, "w") as target:
        for tensor in dump.values():
            new = replace(tensor)
            info = zipfile.ZipInfo(f"{tensor.name}.npy", _EARLIEST)
            with target.open(info, "w", force_zip64=True) as file:
                file.write(_header(tensor))
                write_blocks(file, tensor, tensor.blocks() if new is None else new, tensor.dtype)
            if progress:
                progress(tensor)
