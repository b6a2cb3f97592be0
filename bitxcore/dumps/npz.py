"""NumPy's ``.npz``: a zip archive of ``.npy`` members, stored or deflated."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.npy import HEADER_BYTES
from bitxcore.dumps.npz_members import Member, MemberArray, member_array, member_place
from bitxcore.dumps.trust import Source, UnsupportedError, one_line, reading
from bitxcore.dumps.writing import copy_bytes, write_blocks
from bitxcore.errors import DumpError, error_context
from bitxcore.files import atomic_file

MEMBER_BYTES = HEADER_BYTES + (1 << 12)
"""What one request reads of a member: its own header, and the longest of its array."""

_MAX_NAME_BYTES = (1 << 16) - 1
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of zip: equal tensors give equal files


def open_npz(path: Path) -> NpzDump:
    """Open a ``.npz`` archive: the headers of its members are read, not their values.

    Members that are not arrays of numbers (Python objects, which would be unpickled) are ignored.
    """
    source = Source.of(path)
    with reading(path), source.stream() as file, zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
    if sum(info.compress_size for info in infos) > source.size:
        raise DumpError("the members claim more bytes than the file has", path=path)
    tensors: dict[str, MemberArray] = {}
    ignored: dict[str, str] = {}
    seen: set[str] = set()
    with source.stream(buffer=MEMBER_BYTES) as file:
        for info in infos:
            full = info.orig_filename  # zipfile cuts names at a NUL
            if full in seen:
                raise DumpError(f"two members are named {full!r}", path=path)
            seen.add(full)
            if not full.endswith(".npy"):
                ignored[full] = "not a .npy member"
                continue
            member = Member(source, info, file)
            name = full.removesuffix(".npy")
            try:
                header = member.header(file)
            except UnsupportedError as error:
                ignored[name] = error.message
                continue
            tensors[name] = member_array(member, header)
    return NpzDump(source, tensors, ignored)


class NpzDump(Dump):
    """One ``.npz`` archive."""

    def __init__(self, source: Source, tensors: dict[str, MemberArray], ignored: dict[str, str]) -> None:
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
            self._source.stream() as original,
            zipfile.ZipFile(original) as archive,
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
                        place = member_place(self.path, info)
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
