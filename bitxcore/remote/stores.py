"""Stores of objects, by protocol, behind fsspec."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bitxcore.errors import DumpError, MissingExtraError, OptionError
from bitxcore.remote.object_facts import ObjectFacts, number_of
from bitxcore.remote.remote_path import RemotePath, as_path
from bitxcore.remote.store_errors import asking, changed, short_answer
from bitxcore.remote.urls import PACKAGES, WEB

MARKS = (
    "ETag",
    "etag",
    "generation",
    "md5Hash",
    "LastModified",
    "last_modified",
    "mtime",
    "modified",
    "created",
)
"""What a store may tell of an object that changes with its content, the surest first."""


class ObjectStore:
    """A store as fsspec knows it; ranges are read by its `cat_file`, and the object looked at again.

    Parameters
    ----------
    files : fsspec.AbstractFileSystem
    """

    def __init__(self, files: Any) -> None:
        self.files = files

    def facts(self, path: RemotePath) -> ObjectFacts:
        """Look at an object; see `RemotePath.facts`."""
        with asking(path):
            self.files.invalidate_cache()
            found: Mapping[str, Any] = self.files.info(str(path))
        folder = found.get("type") == "directory"
        if not folder and not isinstance(found.get("size"), int):
            raise DumpError("can't be read: the store does not tell its size", path=path)
        mark = next((str(found[name]) for name in MARKS if found.get(name)), None)
        return ObjectFacts(0 if folder else found["size"], number_of(mark), folder)

    def read_into(self, path: RemotePath, offset: int, target: memoryview, facts: ObjectFacts) -> None:
        """Fill `target` with the bytes from `offset` on of the object that `facts` are of.

        Raises
        ------
        DumpError
            If it has changed, or the store gives other bytes than it is asked for.
        """
        with asking(path):
            data = self.files.cat_file(str(path), start=offset, end=offset + len(target))
        now = self.facts(path)
        if (now.size, now.number) != (facts.size, facts.number):
            raise changed(path)
        if len(data) != len(target):
            raise short_answer(path, offset, len(data), len(target))
        target[:] = data

    def download(self, path: RemotePath, facts: ObjectFacts, copy: Path) -> None:
        """Write the whole object into a new file of this machine."""
        from bitxcore.remote.remote_file import RemoteFile

        with asking(path), RemoteFile(path, facts) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)

    def check_writable(self, path: RemotePath) -> None:
        """Raise unless an object may be written there, as far as can be told before."""
        if not self.facts_of_bucket(path):
            raise DumpError("can't be written: its bucket does not exist", path=path)

    def facts_of_bucket(self, path: RemotePath) -> bool:
        """Whether the bucket of an object is there; a store without buckets has any."""
        if path.protocol == "memory":
            return True
        with asking(path, "written"):
            return bool(self.files.exists(f"{path.protocol}://{path.parts[1]}"))

    def upload(self, file: Path, path: RemotePath) -> None:
        """Write an object: it appears whole, in the place of one that was there, or not at all."""
        with asking(path, "written"):
            self.files.put_file(str(file), str(path))

    def remove(self, path: RemotePath) -> None:
        """Remove an object."""
        with asking(path, "removed"):
            self.files.rm_file(str(path))

    def below(self, folder: RemotePath) -> list[RemotePath]:
        """List all objects below a folder, sorted."""
        with asking(folder):
            self.files.invalidate_cache()
            names = self.files.find(str(folder))
        return _paths(folder, names)

    def fitting(self, pattern: RemotePath) -> list[RemotePath]:
        """List the objects and folders that fit a pattern, sorted."""
        with asking(pattern):
            self.files.invalidate_cache()
            names = self.files.glob(str(pattern))
        return _paths(pattern, names)


COPY_BYTES = 1 << 24
"""What one request of a download reads."""


def _paths(like: RemotePath, names: list[str]) -> list[RemotePath]:
    """Return the paths of names that a store lists; what only marks a folder is left out."""
    found = []
    for name in sorted(names):
        if not name.endswith("/"):
            path = as_path(f"{like.protocol}://{name.lstrip('/')}")
            assert isinstance(path, RemotePath)
            found.append(path)
    return found


def store_of(path: RemotePath) -> ObjectStore:
    """Return the store that an object is in.

    Raises
    ------
    MissingExtraError
        If the package of its protocol is not installed.
    """
    return _store(path.protocol, os.getpid())


@lru_cache(16)
def _store(protocol: str, process: int) -> ObjectStore:
    """Make the store of a protocol; a process that was forked has its own."""
    package = PACKAGES[protocol]
    try:
        import fsspec

        if protocol in WEB:
            import aiohttp

            from bitxcore.remote.web import WebStore

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
            kwargs = {"timeout": timeout, "trust_env": True}
            return WebStore(fsspec.filesystem(protocol, skip_instance_cache=True, client_kwargs=kwargs))
        files = fsspec.filesystem(protocol, skip_instance_cache=True)
        if protocol == "s3":
            from bitxcore.remote.s3 import S3Store

            return S3Store(files)
        return ObjectStore(files)
    except ImportError as error:
        if package in ("gcsfs", "adlfs"):
            reason = f"{protocol}:// needs {package}, which is not installed: pip install {package}"
            raise OptionError(reason) from error
        raise MissingExtraError(package, "remote") from error


CONNECT_SECONDS, READ_SECONDS = 10, 60
"""How long a web server may take to answer, and between two pieces of an answer."""


def forget_stores() -> None:
    """Connect anew, with the settings of the environment as they are now."""
    _store.cache_clear()
