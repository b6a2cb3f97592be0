"""What a file claims, checked before it is believed."""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from bitxcore.errors import BitxError, DumpError, error_context
from bitxcore.remote.object_facts import ObjectFacts
from bitxcore.remote.remote_path import BUFFER_BYTES, RemotePath
from bitxcore.remote.urls import WEB

COPIED_BYTES = 16 << 20
"""Of an object, what one request reads where much of it is read front to back."""

MAX_DIMENSIONS = 64  # NumPy's
DEFLATE_RATIO = 1032  # one length-258 match in two bits: no deflate stream expands more
FREE_BYTES = 64 << 20  # a claim this small needs no proof
FREE_NAME_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a dump something stands: the fields that errors about it get.

    Parameters
    ----------
    path : pathlib.Path
    tensor : str, optional
        As the file names it, whatever a directory of dumps calls it.
    part : str, optional
        What the text names instead, e.g. ``"member 'w.npy'"``.
    """

    path: Path
    tensor: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file, or an object of a store, as it was when its header was read.

    Parameters
    ----------
    path : pathlib.Path
    size : int
        Bytes.
    stamp : tuple of int
        Device, inode and time of modification; of an object 0, the number of its ETag, and 0.
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
        return cls(path, *_size_and_stamp(status))

    def check(self) -> None:
        """Raise if the file is no longer the one whose header was read; each range of an object tells."""
        if not isinstance(self.path, RemotePath) and Source.of(self.path) != self:
            raise DumpError("has changed since it was opened", path=self.path)

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file, unbuffered; an error if it has changed, be it before or until the block ends."""
        if isinstance(self.path, RemotePath):
            with self._ranges(0, self.size) as ranges:
                yield ranges
            return
        with reading(self.path):
            file = io.FileIO(self.path)
        with file:
            self.check_open(file)
            yield file
            self.check_open(file)

    def check_open(self, file: io.FileIO) -> None:
        """Raise if what is open is no longer the file whose header was read."""
        if _size_and_stamp(os.fstat(file.fileno())) != (self.size, self.stamp):
            raise DumpError("has changed since it was opened", path=self.path)

    def start(self, nbytes: int) -> bytes:
        """Return at most the first `nbytes` bytes."""
        with reading(self.path), self.stream(end=min(nbytes, self.size)) as file:
            return file.read(min(nbytes, self.size))

    def stream(self, begin: int = 0, end: int | None = None, buffer: int = BUFFER_BYTES) -> IO[bytes]:
        """Open the file at a byte, for reading piece by piece.

        Parameters
        ----------
        begin, end : int
            What is going to be read. Of an object, no byte beyond them is asked for, and the first has
            position 0; a file is opened whole, at `begin`.
        buffer : int
            Of an object, what one request reads at least.
        """
        if isinstance(self.path, RemotePath):
            return io.BufferedReader(self._ranges(begin, end), buffer)
        file = self.path.open("rb")
        if begin:
            file.seek(begin)
        return file

    def _ranges(self, begin: int, end: int | None) -> io.RawIOBase:
        from bitxcore.remote.remote_file import RemoteFile

        assert isinstance(self.path, RemotePath)
        return RemoteFile(self.path, ObjectFacts(self.size, self.stamp[1]), begin, end)


def _size_and_stamp(status: os.stat_result) -> tuple[int, tuple[int, int, int]]:
    return status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns)


class UnsupportedError(DumpError):
    """A tensor that is whole, but of a kind that is not read."""


@contextmanager
def reading(where: Place | Path) -> Iterator[None]:
    """Turn whatever a parser raises on damaged bytes into a one-line `DumpError`, and tell where it was.

    Errors that name a file already, maybe another one, stay as they are.
    """
    place = where if isinstance(where, Place) else Place(where)
    try:
        try:
            yield
        except BitxError:
            raise
        except FileNotFoundError as error:
            raise DumpError("does not exist") from error
        except (Exception, SystemError) as error:
            raise DumpError(f"can't be read: {one_line(error)}") from error
    except BitxError as error:
        if error.path is not None:
            raise
        with error_context(path=place.path, tensor=place.tensor, part=place.part):
            raise


def read_small(path: Path, what: str, most: int) -> bytes:
    """Read a whole file that holds text, which is taken into memory many times its size.

    Parameters
    ----------
    path : pathlib.Path
    what : str
        In words, e.g. ``"a network's table"``.
    most : int
        Bytes.

    Raises
    ------
    DumpError
        If it is not a regular file, has more bytes or can't be read.
    """
    source = Source.of(path)
    if source.size > most:
        raise DumpError(f"{what} has at most {most} bytes, got {source.size}", path=path, value=source.size)
    return source.start(source.size)


def parse_json(text: bytes | str, decode: Callable[[str], Any] = json.loads) -> Any:
    """Parse JSON with errors that are about the file, and not about Python.

    Parameters
    ----------
    text : bytes or str
    decode : callable, optional
        A stricter parser than `json.loads`; one that encodes texts refuses lone surrogates, which JSON has.

    Raises
    ------
    ValueError
        If it is not JSON, or not text, or has a number of more digits than Python takes.
    """
    try:
        return decode(text.decode(json.detect_encoding(text)) if isinstance(text, bytes) else text)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not {error.encoding.upper()}") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text has half of a pair of surrogates, which is no character") from error
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):
            raise ValueError("a number has too many digits") from error
        raise
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


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


def declared_bytes(shape: Sequence[Any], dtype: np.dtype[Any]) -> int:
    """Bytes that a shape and dtype found in a file imply; called where `reading` names the place.

    Raises
    ------
    UnsupportedError
        If its elements have no size, are arrays, or are made by unpickling.
    DumpError
        If NumPy could not hold such an array.
    """
    if dtype.hasobject:
        raise UnsupportedError(f"holds Python objects (dtype {dtype}), which would be unpickled")
    if dtype.subdtype is not None:
        raise UnsupportedError(f"elements are arrays, of dtype {dtype}")
    if not dtype.itemsize:
        raise UnsupportedError(f"dtype {dtype} has no size")
    if len(shape) > MAX_DIMENSIONS:
        raise DumpError(f"has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    for length in shape:
        if type(length) is not int or length < 0:
            raise DumpError(f"shape {_short(shape)} must be of integers from 0")
    if prod(length for length in shape if length) * dtype.itemsize >= 1 << 63:
        raise DumpError(f"shape {_short(shape)} of {dtype} is more than 2**63 bytes")
    nbytes: int = prod(shape) * dtype.itemsize
    return nbytes


def _short(shape: Sequence[Any]) -> str:
    text = str(list(shape))
    return text if len(text) <= 100 else text[:97] + "..."


def check_expansion(nbytes: int, stored: int) -> None:
    """Refuse a tensor that claims far more bytes than compression can have made of those stored.

    Called where `reading` names the place.
    """
    if nbytes > max(FREE_BYTES, DEFLATE_RATIO * stored):
        raise DumpError(f"claims {nbytes} bytes, of which only {stored} are stored")


class NameBudget:
    """Bounds the names of one file, each of which repeats those of the groups that it is in.

    Parameters
    ----------
    most : int
        Characters of all names.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken = 0

    @classmethod
    def of(cls, size: int) -> NameBudget:
        """Return that of a file of `size` bytes."""
        return cls(FREE_NAME_BYTES + size)

    def take(self, length: int) -> None:
        """Count a name; called where `reading` names the place.

        Raises
        ------
        DumpError
            If all names are far larger than the file.
        """
        self._taken += length
        if self._taken > self.most:
            raise DumpError(f"nests so deeply that its names have more than {self.most} characters in all")


MAX_LINKS = 40  # from a file to the one that it leads to, as Linux has it


def inside(folder: Path, name: str, main: Path | None = None) -> Path:
    """Find the file that a name written in a dump refers to; called where `reading` names the place.

    Parameters
    ----------
    folder : pathlib.Path
        The dump's folder, which the name must not leave.
    name : str
    main : pathlib.Path, optional
        The file in which the name is written. Where it is a link, maybe to another link, what is not in
        `folder` is looked for beside every file that it leads to, step by step; and a link of a folder may
        lead to a file beside a later step.

    Raises
    ------
    DumpError
        If the name leads out of the folder, by ``..`` or by a symbolic link other than those, or if `main`
        is a link and no folder has the name.
    """
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or os.path.isabs(name) or ".." in parts:
        raise DumpError(f"path {name!r} leaves the dump's folder")
    if isinstance(folder, RemotePath):
        # A server may take %2e%2e for the folder above, and what follows ? or # for no part of the name.
        if folder.protocol in WEB and any(letter in name for letter in "%?#"):
            raise DumpError(f"path {name!r} is none that can be asked a web server for")
        return folder / name
    folders = [folder, *_led_to(main)] if main is not None else [folder]
    for number, home in enumerate(folders):
        if os.path.lexists(home / name):
            check_link(home, home / name, folders[number + 1 :])
            return home / name
    if len(folders) > 1:
        looked = ", ".join(str(home) for home in folders)
        raise DumpError(
            f"path {name!r} does not exist, be it in the dump's folder or where links lead: {looked}"
        )
    check_link(folder, folder / name)
    return folder / name


def _led_to(main: Path) -> list[Path]:
    """Return the folder of each file that a link leads to, in order; none if it is not a link."""
    found: list[Path] = []
    while main.is_symlink() and len(found) < MAX_LINKS:
        main = main.parent / os.readlink(main)
        found.append(Path(os.path.realpath(main.parent)))
    return found


def check_link(folder: Path, path: Path, homes: Sequence[Path] = ()) -> None:
    """Refuse a path below `folder` that links lead out of it; called where `reading` names the place.

    A link of the folder itself may lead to a file, not to a folder, that is kept apart for it: in the
    ``blobs`` of a cache of Hugging Face, ``<model>/snapshots/<revision>/...`` linking to ``<model>/blobs``,
    or directly in one of `homes`.

    Raises
    ------
    DumpError
        If the path leads elsewhere.
    """
    target, root = os.path.realpath(path), os.path.realpath(folder)
    if _below(target, root):
        return
    beside = Path(os.path.realpath(path.parent))
    if path.is_symlink() and _below(str(beside), root) and not os.path.isdir(target):
        kept_apart = [*homes, *(up.parent / "blobs" for up in beside.parents if up.name == "snapshots")]
        if any(Path(target).parent == kept and os.path.realpath(kept) == str(kept) for kept in kept_apart):
            return
    raise DumpError(f"path {str(path.relative_to(folder))!r} is a link out of the dump's folder")


def _below(path: str, root: str) -> bool:
    return os.path.commonpath([path, root]) == root
