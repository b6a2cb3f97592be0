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
        If the file's bytes are not those that were sealed.
    """
    if file is None:
        with path.open("rb") as opened:
            return check_seal(path, opened)
    length = os.fstat(file.fileno()).st_size - _LENGTH
    if length < 0:
        return False
    file.seek(length)
    match = _SEAL.fullmatch(file.read(_LENGTH + 1))
    if not match:
        return False
    written, found = match[1].decode(), _sha256(file, length)
    if found != written:
        raise DumpError(
            f"damaged: the SHA-256 of its data is {found}, but was {written} when written", path=path
        )
    return True
