"""Members of a ``.npz`` archive, read as streams or mapped; their claims are checked first."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bitxcore.closing import Closing
from bitxcore.dumps.base import BLOCK_BYTES, Tensor
from bitxcore.dumps.npy import HEADER_BYTES, NpyHeader, parse_header
from bitxcore.dumps.span import FORTRAN, SpanTensor
from bitxcore.dumps.trust import COPIED_BYTES, FREE_BYTES, Place, Source, check_expansion, reading
from bitxcore.dumps.writing import COPY_BYTES
from bitxcore.errors import DumpError

_LOCAL_HEADER = struct.Struct("<4s22x2H")


class Member:
    """One member of the archive, its claims checked.

    Attributes
    ----------
    data : int
        Offset of the (compressed) bytes in the file.
    """

    def __init__(self, source: Source, info: zipfile.ZipInfo, file: IO[bytes]) -> None:
        self.source = source
        self.info = info
        with reading(self.place):
            self.data = self._check(file)

    def _check(self, file: IO[bytes]) -> int:
        """Compare the archive's directory with the member's own header; return where its bytes begin."""
        source, info = self.source, self.info
        if info.flag_bits & 1:
            raise DumpError("is encrypted")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise DumpError(f"compression {info.compress_type} is neither stored nor deflated")
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
    def place(self) -> Place:
        """What errors name."""
        return member_place(self.source.path, self.info)

    @property
    def stored(self) -> bool:
        """Whether the bytes are as they are, not deflated."""
        return self.info.compress_type == zipfile.ZIP_STORED

    def header(self, file: IO[bytes]) -> NpyHeader:
        """Read the array's header from the open archive; an error if it does not fit the member."""
        start = bytearray(min(HEADER_BYTES, self.info.file_size))
        _Stream(self, file).readinto(memoryview(start))
        header = parse_header(bytes(start), self.place)
        if len(header.raw) + header.nbytes != self.info.file_size:
            with reading(self.place):
                raise DumpError(
                    f"shape {header.shape} of {header.stored} needs {header.nbytes} bytes, "
                    f"the member holds {self.info.file_size - len(header.raw)}"
                )
        return header


def member_place(path: Path, info: zipfile.ZipInfo) -> Place:
    """Return what errors about a member name."""
    name = info.orig_filename
    return Place(path, name.removesuffix(".npy"), f"member {name!r}")


class _Stream(Closing):
    """The uncompressed bytes of a member, front to back; the checksum is tested at the end."""

    def __init__(self, member: Member, file: IO[bytes] | None = None) -> None:
        self._member = member
        if file is not None:
            self._file = file
            self._file.seek(member.data)
        else:
            end = member.data + member.info.compress_size
            self._file = member.source.stream(member.data, end, COPIED_BYTES)
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


class MemberArray(Tensor):
    """A member read as a stream from its start: deflated ones always, stored ones for their checksum."""

    def __init__(self, member: Member, header: NpyHeader, name: str) -> None:
        super().__init__(name, header.shape, header.stored.newbyteorder("="))
        self.member = member
        self.header = header
        self.whole_because = FORTRAN if header.order == "F" and self.ndim > 1 else ""

    def read(self) -> npt.NDArray[Any]:
        """Read all values; an error if the member's checksum does not match."""
        with self._values() as stream:
            return self._take(stream, self.shape)

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; of a deflated member, all before them pass by in small pieces."""
        with reading(self.member.place):
            start, stop = self.row_range(start, stop)
        with self._values() as stream:
            stream.skip(start * (self.nbytes // max(1, self.shape[0])))
            return self._take(stream, (stop - start, *self.shape[1:]))

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of whole rows; only stored members have views."""
        if not self.shape:
            yield self.read()
            return
        step = max(1, nbytes * self.shape[0] // max(1, self.nbytes))
        with self._values() as stream:
            for start in range(0, self.shape[0], step):
                rows = min(step, self.shape[0] - start)
                yield self._take(stream, (rows, *self.shape[1:]))

    def runs(self, ends: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs; then test the checksum."""
        with self._values() as stream:
            for start, end in pairwise((0, *ends)):
                yield self._take(stream, (end - start,))

    def _values(self) -> _Stream:
        """Return the stream of values, at their start."""
        self.member.source.check()
        stream = _Stream(self.member)
        stream.skip(len(self.header.raw))
        return stream

    def _take(self, stream: _Stream, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the next values of the stream, C order."""
        with reading(self.member.place):
            values = np.empty(shape, self.header.stored)
        if values.size:
            stream.readinto(values.reshape(-1).view(np.uint8).data)
        return np.ascontiguousarray(values, dtype=self.dtype).reshape(shape)


class _FortranArray(MemberArray):
    """A member with the elements of one column after the other, `shape[0]` of them in each.

    It is read a few columns at a time, a tile.
    """

    runs = Tensor.runs

    def read(self) -> npt.NDArray[Any]:
        """Read all values; an error if the member's checksum does not match."""
        return self.read_rows(0, self.shape[0])

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; the whole member passes by in small pieces."""
        with reading(self.member.place):
            start, stop = self.row_range(start, stop)
            rows = np.empty((stop - start, self._columns), self.dtype)
        for column, first, tile in self._tiles():
            low, high = max(start, first), min(stop, first + len(tile))
            if low < high:
                rows[low - start : high - start, column : column + tile.shape[1]] = tile[
                    low - first : high - first
                ]
        return self._of_rows(rows)

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of whole rows.

        What is larger than some blocks is unpacked into a temporary file, a tile after the other, each with
        its rows together.
        """
        step = max(1, nbytes * self.shape[0] // max(1, self.nbytes))
        if self.nbytes <= FREE_BYTES:
            values = self.read()
            yield from (values[start : start + step] for start in range(0, self.shape[0], step))
            return
        with reading(self.member.place):
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if self.nbytes > free // 2:
                raise DumpError(
                    f"in Fortran order, {self.nbytes} bytes are to be unpacked into {tempfile.gettempdir()}, "
                    f"where half of {free} is to spare"
                )
        with tempfile.TemporaryFile() as file:
            tiles: list[tuple[int, int, tuple[int, int], int]] = []
            for column, first, tile in self._tiles():
                tiles.append((column, first, tile.shape, file.tell()))
                with reading(self.member.place):
                    file.write(np.ascontiguousarray(tile).reshape(-1).view(np.uint8).data)
            for start in range(0, self.shape[0], step):
                stop = min(start + step, self.shape[0])
                rows = np.empty((stop - start, self._columns), self.dtype)
                for column, first, (height, width), offset in tiles:
                    low, high = max(start, first), min(stop, first + height)
                    if low < high:
                        part = np.empty((high - low, width), self.dtype)
                        file.seek(offset + (low - first) * width * self.dtype.itemsize)
                        with reading(self.member.place):
                            file.readinto(part.reshape(-1).view(np.uint8).data)
                        rows[low - start : high - start, column : column + width] = part
                yield self._of_rows(rows)

    @property
    def _columns(self) -> int:
        return prod(self.shape[1:])

    def _tiles(self) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
        """Yield (first column, first row, values of rows x columns), in the order of the member."""
        height = self.shape[0]
        if not self.size:
            return
        width = max(1, BLOCK_BYTES // (height * self.dtype.itemsize))
        piece = min(height, max(1, BLOCK_BYTES // self.dtype.itemsize))
        with self._values() as stream:
            for column in range(0, self._columns, width):
                for row in range(0, height, piece):
                    shape = (min(width, self._columns - column), min(piece, height - row))
                    yield column, row, self._take(stream, shape).T

    def _of_rows(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return rows, whose elements are in Fortran order, in C order and of their shape."""
        shaped = rows.reshape(len(rows), *self.shape[:0:-1])
        return np.ascontiguousarray(shaped.transpose(0, *range(self.ndim - 1, 0, -1)))


class _StoredArray(MemberArray):
    """A stored member: rows are read directly."""

    @property
    def _streamed(self) -> MemberArray:
        return _streamed(self.member, self.header)

    @property
    def _span(self) -> SpanTensor:
        start = self.member.data + len(self.header.raw)
        header = self.header
        return SpanTensor(
            self.member.source,
            start,
            str(self.member.place.tensor),
            header.shape,
            header.stored,
            header.order,
        )

    def runs(self, ends: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs; then test the checksum."""
        return self._streamed.runs(ends)

    def read(self) -> npt.NDArray[Any]:
        """Read all values; an error if the member's checksum does not match."""
        return self._streamed.read()

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0, touching those bytes only."""
        return self._span.read_rows(start, stop)

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back; views are not held against the member's checksum."""
        if views:
            return self._span.blocks(nbytes, views=True)
        if self.header.order == "F":
            with self._values() as stream:
                stream.skip(self.nbytes)  # for the checksum
            return Tensor.blocks(self, nbytes)
        return self._streamed.blocks(nbytes)


def member_array(member: Member, header: NpyHeader) -> MemberArray:
    """Return the tensor of a member whose header was read."""
    if member.stored:
        return _StoredArray(member, header, member.place.tensor or "")
    return _streamed(member, header)


def _streamed(member: Member, header: NpyHeader) -> MemberArray:
    fortran = header.order == "F" and len(header.shape) > 1
    return (_FortranArray if fortran else MemberArray)(member, header, member.place.tensor or "")
