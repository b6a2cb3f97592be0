"""The checksums of PyTorch's zip files, which PyTorch itself does not test where it maps them."""

from __future__ import annotations

import zipfile
from threading import Lock

from bitxcore.dumps.trust import Place, Source, reading
from bitxcore.dumps.writing import COPY_BYTES
from bitxcore.errors import DumpError


class Checksums:
    """CRC-32 sums of one archive.

    Parameters
    ----------
    source : Source
        The file. Written by PyTorch without checksums (all are 0 then), it is taken as it is.

    Raises
    ------
    DumpError
        If a member is compressed, which PyTorch would map as it lies, or encrypted, or if two have one
        name.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = Lock()
        self._checked = False
        with reading(source.path), zipfile.ZipFile(source.path) as archive:
            self._members = archive.infolist()
        names = set()
        for member in self._members:
            with reading(_place(source, member)):
                if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
                    raise DumpError("is compressed or encrypted, which PyTorch does not write")
                if member.orig_filename in names:
                    raise DumpError("is there twice")
            names.add(member.orig_filename)
        if not any(member.CRC for member in self._members):
            self._members = []

    def check_descriptions(self) -> None:
        """Test all but the tensors' values.

        Raises
        ------
        DumpError
            If a checksum does not match.
        """
        self._check([member for member in self._members if not _is_values(member)])

    def check_values(self) -> None:
        """Test the tensors' values, once; and each time that the file is still the same.

        Raises
        ------
        DumpError
            If a checksum does not match, or the file has changed.
        """
        self._source.check()
        with self._lock:
            if not self._checked:
                self._check([member for member in self._members if _is_values(member)])
            self._checked = True

    def _check(self, members: list[zipfile.ZipInfo]) -> None:
        with reading(self._source.path), zipfile.ZipFile(self._source.path) as archive:
            for member in members:
                with reading(_place(self._source, member)), archive.open(member) as file:
                    # zipfile compares the sum at the end; no member is in memory as a whole.
                    while file.read(COPY_BYTES):
                        pass


def _is_values(member: zipfile.ZipInfo) -> bool:
    """Whether a member is ``<archive>/data/<number>``."""
    return "/data/" in member.orig_filename


def _place(source: Source, member: zipfile.ZipInfo) -> Place:
    return Place(source.path, part=f"member {member.orig_filename!r}")
