"""Keys of units: what their results depend on, as one SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import IO, Any

from bitxcore.dumps.downloads import local_copy, reads_ranges
from bitxcore.dumps.trust import reading
from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import RemotePath, as_path, full_name
from bitxcore.remote.stores import store_of

Stamp = tuple[str, int, int, int]
"""A file's path, size, time of modification in ns and inode: while these stay, so does its content.

Of an object: its URL, its size, 0 and the number that stands for its ETag.
"""

_CHUNK = 1 << 22


@cache
def code_hash(packages: tuple[str, ...]) -> str:
    """Digest of the source of packages, kernels included, and of the release.

    Parameters
    ----------
    packages : tuple of str
    """
    try:
        release = distribution_version("bitx")
    except PackageNotFoundError:
        release = "not installed"
    digest = hashlib.sha256(release.encode())
    for name in packages:
        folder = Path(str(import_module(name).__file__)).parent
        for source in sorted(folder.rglob("*.py")):
            digest.update(source.relative_to(folder).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def key_of(document: Mapping[str, Any]) -> str:
    """Digest of a document in JSON's types, whatever the order of its names.

    Examples
    --------
    >>> key_of({"a": 1, "b": None}) == key_of({"b": None, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def stamps(files: Iterable[Path]) -> tuple[Stamp, ...]:
    """Stamps of files, in order.

    Raises
    ------
    DumpError
        If one is not there.
    """
    found = []
    for path in files:
        with reading(path):
            facts = path.stat()
        found.append((full_name(path), facts.st_size, facts.st_mtime_ns, facts.st_ino))
    return tuple(found)


class Digests:
    """SHA-256 of files, each of which is read once in a run, as long as its `Stamp` stays."""

    def __init__(self) -> None:
        self._known: dict[tuple[Stamp, ...], str] = {}

    def of(self, files: Iterable[Path]) -> tuple[str, tuple[Stamp, ...]]:
        """Return the SHA-256 over files in order, as of `bitxcore.dumps.Dump.sha256`, and their stamps.

        Raises
        ------
        DumpError
            If a file can't be read, or changes meanwhile.
        """
        paths = list(files)
        before = stamps(paths)
        if before not in self._known:
            digest = hashlib.sha256()
            for path in paths:
                with reading(path), _whole(path) as file:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
            check_unchanged(before)
            self._known[before] = digest.hexdigest()
        return self._known[before], before

    def of_path(self, path: Path) -> str:
        """Return the SHA-256 of a file; of a folder that of the names and contents of all files below."""
        if not path.is_dir():
            return self.of([path])[0]
        files: list[Path]
        if isinstance(path, RemotePath):
            with reading(path):
                files = [*store_of(path).below(path)]
        else:
            files = sorted(file for file in path.rglob("*") if file.is_file())
        names = "\0".join(file.relative_to(path).as_posix() for file in files)
        return hashlib.sha256(f"{names}\0{self.of(files)[0]}".encode()).hexdigest()


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, or a copy of an object of which no parts can be read."""
    if isinstance(path, RemotePath) and not reads_ranges(path):
        with local_copy(path) as copy, copy.open("rb") as file:
            yield file
    else:
        with path.open("rb") as file:
            yield file


def nbytes_of(path: Path) -> int:
    """Return the size of a file, or that of all files below a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def check_unchanged(before: tuple[Stamp, ...]) -> None:
    """Raise `DumpError` if a file is no longer as its stamp says."""
    for stamp in before:
        path = as_path(stamp[0])
        if stamps([path]) != (stamp,):
            raise DumpError("changed while the batch ran; give the command again", path=path)
