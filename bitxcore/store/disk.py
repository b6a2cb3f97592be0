"""Files for HDF5 to write to and to read from.

The HDF5 library can neither close a file on a full disk nor keep it open: the process crashes at its end.
So HDF5 is told that all went well, and `Disk.check` says what really happened. Of a file that ends early it
reads zeros; `Opened` makes that an error.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from bitxcore.errors import DumpError


class Disk(io.FileIO):
    """A file opened for reading and writing that remembers its first failure.

    Parameters
    ----------
    temporary : pathlib.Path
        What is opened; it must exist.
    path : pathlib.Path
        What the error names.
    """

    def __init__(self, temporary: Path, path: Path) -> None:
        super().__init__(temporary, "r+")
        self._path = path
        self._failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, unless an earlier write failed."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self._failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Change the length, unless an earlier write failed."""
        if self._failure is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self._failure = error
        return size or 0

    def check(self) -> None:
        """Raise `DumpError` if anything was not written."""
        if self._failure is not None:
            reason = self._failure.strerror
            raise DumpError(f"can't be written: {reason}", path=self._path) from self._failure


class Opened(io.FileIO):
    """A file opened for reading, of which every read gives all that is asked for.

    It stays the same file when another one gets its name.
    """

    def readinto(self, target: Any) -> int:
        """Fill `target`; an error at the end of the file."""
        rest = memoryview(target).cast("B")
        size = len(rest)
        while len(rest):
            count = super().readinto(rest)
            if not count:
                raise DumpError(f"ended {len(rest)} bytes early; was it truncated?", path=self.name)
            rest = rest[count:]
        return size

    def __del__(self) -> None:
        # Stores may be left open; HDF5 holds on to this for as long as it needs it.
        self.close()
