"""The seal: a last line after the HDF5 data that carries their SHA-256.

HDF5 ignores what follows its data, and drops it when a file is changed in place. The seal is
checked first, because the HDF5 library is not safe with hostile or damaged files.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from bitxcore.errors import DumpError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""

_SUPERBLOCK = 128
"""Bytes from the start of a file that hold the address of its end, in every version."""

_SEAL = re.compile(rb"\nbitx-store sha256 ([0-9a-f]{64})\n")
_LENGTH = 84
_CHUNK = 1 << 22


def _sha256(file: BinaryIO, length: int) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while length and (chunk := file.read(min(length, _CHUNK))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.hexdigest()


def seal(path: Path) -> None:
    """Append the seal to a closed HDF5 file."""
    with path.open("r+b") as file:
        length = file.seek(0, os.SEEK_END)
        line = f"\nbitx-store sha256 {_sha256(file, length)}\n".encode()
        file.seek(length)
        file.write(line)


def check_seal(path: Path, file: BinaryIO | None = None) -> bool:
    """Check the seal, if there is one.

    Parameters
    ----------
    path : pathlib.Path
    file : binary file, optional
        That file, open; what has the name meanwhile may be another one.

    Returns
    -------
    bool
        False if the file has no seal.

    Raises
    ------
    DumpError
        If the file's bytes are not those that were sealed, or something other than a seal follows its HDF5
        data.
    """
    if file is None:
        with path.open("rb") as opened:
            return check_seal(path, opened)
    size = os.fstat(file.fileno()).st_size
    length = max(0, size - _LENGTH)
    file.seek(length)
    match = _SEAL.fullmatch(file.read(_LENGTH + 1))
    if not match:
        end = _end_of_data(file)
        # Fewer bytes than the data have are for the HDF5 library to refuse.
        if end is not None and size > end:
            raise DumpError(
                f"damaged or cut seal: the HDF5 data end at byte {end}, and what follows is no seal",
                path=path,
            )
        return False
    written, found = match[1].decode(), _sha256(file, length)
    if found != written:
        raise DumpError(
            f"damaged: the SHA-256 of its data is {found}, but was {written} when written", path=path
        )
    return True


def _end_of_data(file: BinaryIO) -> int | None:
    """Return the address where the HDF5 data end, as the superblock claims; None if it has none.

    Superblocks of versions 0 and 1 hold four addresses after 24 and 28 bytes, those of versions 2 and 3 after
    12: base, free space or extension, end of the file, and another. The size of an address is a byte before.
    """
    file.seek(0)
    start = file.read(_SUPERBLOCK)
    if len(start) < _SUPERBLOCK or not start.startswith(SIGNATURE) or start[8] > 3:
        return None
    width = start[9] if start[8] >= 2 else start[13]
    if not 1 <= width <= 32:
        return None
    first = (24, 28, 12, 12)[start[8]]
    return int.from_bytes(start[first + 2 * width : first + 3 * width], "little")
