"""Bytes of a file that may change while they are read.

What another process cuts off a file ends this one (SIGBUS) where it is mapped. So nothing is mapped but
under a lease, by which Linux holds up whoever wants to open the file for writing or to truncate it, for the
few milliseconds of a copy. Where there is no lease to be had (a file that is open for writing or belongs to
somebody else, other file systems and systems) the bytes are read by a system call, at about half the speed.
"""

from __future__ import annotations

import mmap
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.trust import Source, one_line
from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import RemotePath

try:
    from fcntl import F_RDLCK, F_SETLEASE, F_UNLCK, fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

_F_SETSIG = 10
MAP_BYTES = 8 << 20
"""Fewest bytes that are mapped. Fewer are read as fast by a system call, into memory that is reused
faster."""
LEASE_BYTES = 64 << 20
"""What is copied under one lease: Linux takes a lease away after 45 s."""


def read_into(source: Source, offset: int, target: npt.NDArray[np.uint8]) -> None:
    """Fill `target` with the bytes from `offset` on; called where `reading` names the place.

    Parameters
    ----------
    source : Source
    offset : int
    target : ndarray of uint8
        One-dimensional, C order.

    Raises
    ------
    DumpError
        If the file is no longer the one whose header was read, be it before or during the copy.
    """
    with source.open() as file:
        done = 0
        if isinstance(source.path, RemotePath):  # in one request
            file.seek(offset)
            done = file.readinto(target.data)
        while done < target.size:
            part = target[done : done + LEASE_BYTES]
            if part.size >= MAP_BYTES and _copied(source, file, offset + done, part):
                done += part.size
                continue
            file.seek(offset + done)
            count = file.readinto(part.data)
            if not count:
                raise DumpError(f"ended {target.size - done} bytes early; was it truncated?")
            done += count


def _copied(source: Source, file: Any, offset: int, target: npt.NDArray[np.uint8]) -> bool:
    """Copy from a mapping under a lease; return False if there is none."""
    with _lease(file) as held:
        if not held or offset + target.size > source.size:
            return False
        source.check_open(file)
        skipped = offset % mmap.ALLOCATIONGRANULARITY
        whole = mmap.mmap(
            file.fileno(), target.size + skipped, access=mmap.ACCESS_READ, offset=offset - skipped
        )
        with whole:
            values = np.frombuffer(whole, np.uint8, target.size, skipped)
            target[:] = values
            del values  # a mapping that is looked at can't be closed
    return True


@contextmanager
def _lease(file: Any) -> Iterator[bool]:
    """Hold a read lease of an open file, if that is possible."""
    if fcntl is None:
        yield False
        return
    try:
        # In place of SIGIO, which would end the process: a signal that nobody minds.
        fcntl(file, _F_SETSIG, signal.SIGURG)
        fcntl(file, F_SETLEASE, F_RDLCK)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        try:
            fcntl(file, F_SETLEASE, F_UNLCK)
        except OSError as error:
            raise DumpError(f"can't be read: {one_line(error)}") from error


class Mappings:
    """Where in memory this process has mapped a file, as far as the system tells.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._found: list[tuple[range, int]] = []
        try:
            lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
        except OSError:
            return
        for line in lines:
            addresses, _, offset, _, inode, *_ = line.split(maxsplit=5)
            if int(inode) == source.stamp[1]:
                first, end = (int(address, 16) for address in addresses.split("-"))
                self._found.append((range(first, end), int(offset, 16)))

    def offset(self, address: int) -> int | None:
        """Which byte of the file is at an address; None if it is none of the file's, or unknown."""
        return next(
            (address - where.start + offset for where, offset in self._found if address in where), None
        )
