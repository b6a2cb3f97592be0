"""Paths of objects: they read as `pathlib.Path`, and show as URLs."""

from __future__ import annotations

import io
import os
from pathlib import Path, PosixPath
from typing import IO, TYPE_CHECKING, Any

from bitxcore.errors import DumpError
from bitxcore.remote.urls import is_url, local_path, split_url

if TYPE_CHECKING:
    from bitxcore.remote.object_facts import ObjectFacts

BUFFER_BYTES = 1 << 16
"""What one request reads at least, where a file is read piece by piece."""


class RemotePath(PosixPath):
    """An object or a folder (prefix) of a store; `as_path` makes one of a URL.

    Its parts are the protocol, the bucket or host, and what stands between slashes. Nothing of this machine
    has such a path: what does not know of objects finds that it does not exist.
    """

    __slots__ = ()

    def __str__(self) -> str:
        first, *others = self.parts or ("",)
        if first.endswith(":") and others:
            return f"{first}//{'/'.join(others)}"
        return "/".join(self.parts) or "."

    def __fspath__(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    @property
    def protocol(self) -> str:
        """E.g. ``"s3"``."""
        return self.parts[0].removesuffix(":")

    def is_absolute(self) -> bool:
        """Whether it does not depend on the folder of the process: it never does."""
        return True

    def absolute(self) -> RemotePath:
        """Return the path itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Return the path itself: there are no links."""
        return self

    def facts(self) -> ObjectFacts:
        """Ask the store about the object.

        Raises
        ------
        FileNotFoundError
            If there is none.
        DumpError
            If the store does not say.
        """
        from bitxcore.remote.stores import store_of

        return store_of(self).facts(self)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the object's size and, as its inode, a number that changes with its content."""
        return self.facts().stat_result()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is such an object or folder."""
        try:
            self.facts()
        except FileNotFoundError:
            return False
        return True

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is such an object."""
        try:
            return not self.facts().folder
        except FileNotFoundError:
            return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there are objects below."""
        try:
            return self.facts().folder
        except FileNotFoundError:
            return False

    def is_symlink(self) -> bool:
        """Whether it is a link: it is not."""
        return False

    def open(  # type: ignore[override]
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open the object for reading by ranges."""
        from bitxcore.remote.remote_file import RemoteFile

        if mode not in ("r", "rb", "rt"):
            raise DumpError("can't be opened for writing; it is written whole, at the end", path=self)
        size = BUFFER_BYTES if buffering < 2 else buffering
        file = io.BufferedReader(RemoteFile(self, self.facts()), size)
        return file if "b" in mode else io.TextIOWrapper(file, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """Read the object whole."""
        with self.open("rb") as file:
            return bytes(file.read())


class LocalCopy(PosixPath):
    """A copy of an object on this machine, which shows the object's URL.

    Attributes
    ----------
    origin : RemotePath or None
        None of paths that were derived from it.
    """

    origin: RemotePath | None = None

    @classmethod
    def of(cls, path: Path, origin: RemotePath) -> LocalCopy:
        """Return the path of a file that is a copy of an object."""
        copy = cls(path)
        copy.origin = origin
        return copy

    def __str__(self) -> str:
        return super().__str__() if self.origin is None else str(self.origin)

    def __fspath__(self) -> str:
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            return Path, (os.fspath(self),)
        return type(self).of, (Path(os.fspath(self)), self.origin)


def as_path(given: str | os.PathLike[str]) -> Path:
    """Return the path that a text names: of an object if it is a URL, of this machine if not.

    Raises
    ------
    DumpError
        If it is a URL that is not opened.

    Examples
    --------
    >>> as_path("s3://bucket/models/a.npz").name, as_path("models/a.npz").name
    ('a.npz', 'a.npz')
    """
    if isinstance(given, (RemotePath, LocalCopy)):
        return given
    text = given if isinstance(given, str) else os.fspath(given)
    if not isinstance(text, str) or "://" not in text or not is_url(text):
        return Path(given)
    local = local_path(text)
    return RemotePath(*split_url(text)) if local is None else Path(local)


def origin_of(path: Path) -> Path:
    """Return the object of which a path is a copy; any other path as it is."""
    return path.origin if isinstance(path, LocalCopy) and path.origin is not None else path


def full_name(path: str | os.PathLike[str]) -> str:
    """Return a path's name from anywhere: a URL, or an absolute path."""
    found = origin_of(as_path(path))
    return str(found) if isinstance(found, RemotePath) else os.path.abspath(found)
