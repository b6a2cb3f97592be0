"""An object as a file that is read by ranges."""

from __future__ import annotations

import io
import os
from typing import Any

from bitxcore.remote.object_facts import ObjectFacts
from bitxcore.remote.remote_path import RemotePath
from bitxcore.remote.stores import store_of


class RemoteFile(io.RawIOBase):
    """A run of bytes of an object, all of which belong to the object as it was when it was opened.

    Parameters
    ----------
    path : RemotePath
    facts : ObjectFacts
    begin, end : int, optional
        The run; by default all of it.
    """

    def __init__(self, path: RemotePath, facts: ObjectFacts, begin: int = 0, end: int | None = None) -> None:
        self._path = path
        self._facts = facts
        self._begin = begin
        self._end = facts.size if end is None else min(end, facts.size)
        self._at = begin

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte of the run."""
        base = {os.SEEK_SET: self._begin, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        if base + offset < self._begin:
            raise OSError(22, os.strerror(22), str(self._path))
        self._at = base + offset
        return self._at - self._begin

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer by one request; return how many bytes there were."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._end - self._at))
        if count:
            store_of(self._path).read_into(self._path, self._at, target[:count], self._facts)
            self._at += count
        return count
