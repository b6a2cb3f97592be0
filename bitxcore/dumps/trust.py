"""What a file claims, checked before it is believed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bitxcore.errors import BitxError, DumpError, error_context

MAX_DIMENSIONS = 64  # NumPy's
DEFLATE_RATIO = 1032  # one length-258 match in two bits: no deflate stream expands more
FREE_BYTES = 64 << 20  # a claim this small needs no proof


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file as it was when its header was read.

    Parameters
    ----------
    path : pathlib.Path
    size : int
        Bytes.
    stamp : tuple of int
        Device, inode and time of modification.
    """

    path: Path
    size: int
    stamp: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path) -> Source:
        """Look at `path`; an error if it is not a regular file."""
        with reading(path):
            status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DumpError("is not a regular file", path=path)
        return cls(path, status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns))

    def check(self) -> None:
        """Raise if the file is no longer the one whose header was read."""
        if Source.of(self.path) != self:
            raise DumpError("has changed since it was opened", path=self.path)

    def start(self, nbytes: int) -> bytes:
        """Return at most the first `nbytes` bytes."""
        with reading(self.path), self.path.open("rb") as file:
            return file.read(min(nbytes, self.size))


@contextmanager
def reading(where: object) -> Iterator[None]:
    """Turn whatever a parser raises on damaged bytes into a one-line `DumpError` that begins with `where`."""
    try:
        yield
    except BitxError:
        raise
    except FileNotFoundError as error:
        raise DumpError(f"{where}: does not exist") from error
    except (Exception, SystemError) as error:
        raise DumpError(f"{where}: can't be read: {one_line(error)}") from error


@contextmanager
def parsing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name a file in the errors of reading it, and in whatever a damaged file makes a parser raise."""
    with error_context(path=path):
        try:
            yield
        except (BitxError, MemoryError, OSError):
            raise
        except Exception as error:
            raise DumpError(f"can't be read: {one_line(error)}", path=path) from error


def one_line(error: BaseException) -> str:
    """First line of an error's text, or its kind where it has none."""
    text = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(c for c in line[:300] if c.isprintable()) or type(error).__name__


def declared_bytes(where: str, shape: Sequence[Any], dtype: np.dtype[Any]) -> int:
    """Bytes that a shape and dtype found in a file stand for.

    Raises
    ------
    DumpError
        If NumPy could not hold such an array, or only by unpickling.
    """
    if dtype.hasobject:
        raise DumpError(f"{where}: holds Python objects (dtype {dtype}), which would be unpickled")
    if not dtype.itemsize:
        raise DumpError(f"{where}: dtype {dtype} has no size")
    if len(shape) > MAX_DIMENSIONS:
        raise DumpError(f"{where}: has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    for length in shape:
        if type(length) is not int or length < 0:
            raise DumpError(f"{where}: shape {_short(shape)} must be of integers from 0")
    if prod(length for length in shape if length) * dtype.itemsize >= 1 << 63:
        raise DumpError(f"{where}: shape {_short(shape)} of {dtype} is more than 2**63 bytes")
    nbytes: int = prod(shape) * dtype.itemsize
    return nbytes


def _short(shape: Sequence[Any]) -> str:
    text = str(list(shape))
    return text if len(text) <= 100 else text[:97] + "..."


def check_expansion(where: str, nbytes: int, stored: int) -> None:
    """Refuse a tensor that claims far more bytes than compression can have made of those stored."""
    if nbytes > max(FREE_BYTES, DEFLATE_RATIO * stored):
        raise DumpError(f"{where}: claims {nbytes} bytes, of which only {stored} are stored")


def inside(folder: Path, name: str, where: str) -> Path:
    """Resolve a relative file name found in a dump.

    Parameters
    ----------
    folder : pathlib.Path
        The dump's folder, which the name must not leave, neither by ``..`` nor by a symbolic link.
    name : str
    where : str
        Start of the error message.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or os.path.isabs(name) or ".." in parts:
        raise DumpError(f"{where}: path {name!r} leaves the dump's folder")
    path = folder / name
    with reading(where):
        target, root = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([target, root]) != root:
        raise DumpError(f"{where}: path {name!r} is a link out of the dump's folder")
    return path
