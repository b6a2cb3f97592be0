"""The folder of finished parts beside an output: locked by one run, each part whole or not there.

A part is written under a temporary name, synced and renamed, and its folder is synced. A part is named after
its key, which says all that it depends on.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from bitxcore.batch.runs import parts
from bitxcore.closing import Closing
from bitxcore.errors import BitxError
from bitxcore.files import atomic_file, sync_folder

try:
    import fcntl
except ImportError:  # not on this system: two runs on one output are the user's to avoid
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".parts"
"""What the folder's name has behind that of the output."""

SCRATCH = "work"
"""Folder, within, of what units that are not finished have written."""

_PART = re.compile(r"[0-9a-f]{64}\.part")
_CLAIM = re.compile(r"[0-9a-f]{64}\.claim")
_LOCK = "lock"


class Spool(Closing):
    """The parts of one output, locked until it is closed.

    Parameters
    ----------
    output : pathlib.Path
        The parts are beside it.
    wait : bool
        Whether to wait for another run on this output to end.

    Attributes
    ----------
    folder : pathlib.Path

    Raises
    ------
    BitxError
        If another run is at work on this output, or the folder can't be made.
    """

    def __init__(self, output: Path, *, wait: bool = False) -> None:
        self.folder = output.with_name(output.name + SUFFIX)
        self._output = output
        self._lock = -1
        if not output.parent.is_dir():
            raise BitxError(f"can't be written: {output.parent} is not an existing folder", path=output)
        try:
            while self._lock < 0:
                self._try(wait)
        except OSError as error:
            raise BitxError(f"can't be written: {error.strerror}", path=self.folder) from error

    def _try(self, wait: bool) -> None:
        """Lock the folder, unless the run that held it has removed it meanwhile."""
        self.folder.mkdir(exist_ok=True)
        sync_folder(self.folder.parent)
        try:
            lock = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
        except FileNotFoundError:
            return
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    raise BitxError(
                        "another run is at work on this output; --wait waits for it", path=self._output
                    ) from None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), (self.folder / _LOCK).stat()):
                    self._lock, lock = lock, -1
        finally:
            if lock >= 0:
                os.close(lock)
        if self._lock < 0:
            time.sleep(0.01)

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a part, or None if it is not there; a damaged one is removed.

        Parameters
        ----------
        key : str
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BitxError(f"can't be read: {error.strerror}", path=path) from error
        if parts.is_whole(data):
            return data
        self.drop(key)
        return None

    def load(self, key: str) -> parts.BatchPart:
        """Return a part that is there.

        Raises
        ------
        BitxError
            If it is not, or has been damaged meanwhile.
        """
        data = self.read(key)
        if data is None:
            raise BitxError("was there and is not now; give the command again", path=self._path(key))
        return parts.from_bytes(data)

    def write(self, key: str, data: bytes) -> None:
        """Keep a part; it is on the disk when this returns."""
        with atomic_file(self._path(key)) as temporary:
            temporary.write_bytes(data)

    def drop(self, key: str) -> None:
        """Remove a part, if it is there."""
        with suppress(FileNotFoundError):
            self._path(key).unlink()

    def claim(self, key: str, folder: Path) -> None:
        """Make room for a folder that the unit with this key is to write; one of anybody else stays.

        What a unit has written stands there without its part if the run was killed in between.
        """
        claim = self.folder / f"{key}.claim"
        if claim.exists():
            shutil.rmtree(folder, ignore_errors=True)
        elif not os.path.lexists(folder):
            with atomic_file(claim):
                pass

    def scratch(self, key: str) -> Path:
        """Return the folder of what the unit with this key writes while it is at work; it need not exist."""
        return self.folder / SCRATCH / key

    def clear_scratch(self, key: str) -> None:
        """Remove what a finished unit has left."""
        shutil.rmtree(self.scratch(key), ignore_errors=True)

    def remove(self) -> None:
        """Remove all parts, and the folder unless others have put files there."""
        shutil.rmtree(self.folder / SCRATCH, ignore_errors=True)
        for path in self.folder.iterdir():
            if _PART.fullmatch(path.name) or _CLAIM.fullmatch(path.name):
                path.unlink(missing_ok=True)
        (self.folder / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def __len__(self) -> int:
        return sum(1 for path in self.folder.iterdir() if _PART.fullmatch(path.name))

    def close(self) -> None:
        """Unlock the folder; one without parts, and without what units have begun, is removed."""
        if self._lock < 0:
            return
        if self.folder.is_dir() and {path.name for path in self.folder.iterdir()} <= {_LOCK}:
            self.remove()
        os.close(self._lock)
        self._lock = -1

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.part"
