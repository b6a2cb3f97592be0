"""What a store says of an object."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object as its store describes it.

    Parameters
    ----------
    size : int
        Bytes.
    number : int
        Changes with the content, as `number_of` makes it of an ETag, a generation or a time of modification;
        0 if the store tells none.
    folder : bool
        Whether it is no object, but a prefix of some.
    ranged : bool
        Whether parts of it can be read.
    """

    size: int
    number: int = 0
    folder: bool = False
    ranged: bool = True

    def stat_result(self) -> os.stat_result:
        """Return the facts as those of a file, with the number as its inode."""
        mode = (stat.S_IFDIR if self.folder else stat.S_IFREG) | 0o444
        return os.stat_result((mode, self.number, 0, 1, 0, 0, self.size, 0, 0, 0), {"st_mtime_ns": 0})


def number_of(mark: str | None) -> int:
    """Return a number that stands for a text; 0 for none."""
    return int.from_bytes(hashlib.sha256(mark.encode()).digest()[:7], "big") if mark else 0
