"""Paths in an HDF5 file, followed link by link: libhdf5 would follow a link to another file."""

from __future__ import annotations

from typing import Any

import h5py

from bitxcore.dumps.trust import UnsupportedError

MAX_LINKS = 16  # soft links on one path, as libhdf5 has it


def h5py_name(key: bytes) -> str:
    """Return a name as h5py gives it; `stored_name` turns it back."""
    return key.decode("utf-8", "surrogateescape")


def stored_name(name: str) -> bytes:
    """Return the bytes of a name, which need not be text."""
    return name.encode("utf-8", "surrogateescape")


def find(file: Any, name: str) -> Any:
    """Open what a path leads to, as a low-level object of h5py.

    Parameters
    ----------
    file : h5py.File
    name : str
        Path from the root, through groups, hard links and soft links.

    Raises
    ------
    UnsupportedError
        If the path leads nowhere, in a circle or to another file.
    """
    root = file["/"].id
    found, links = root, 0
    parts = _parts(stored_name(name))
    while parts:
        key = parts.pop()
        if not isinstance(found, h5py.h5g.GroupID) or not found.links.exists(key):
            raise UnsupportedError("is a soft link that leads nowhere")
        kind = found.links.get_info(key).type
        if kind == h5py.h5l.TYPE_HARD:
            found = h5py.h5o.open(found, key)
        elif kind == h5py.h5l.TYPE_SOFT:
            links += 1
            if links > MAX_LINKS:
                raise UnsupportedError(f"is a soft link in a circle, or through more than {MAX_LINKS} others")
            target = found.links.get_val(key)
            found = root if target.startswith(b"/") else found
            parts += _parts(target)
        else:
            raise UnsupportedError("is a link to another file")
    return found


def _parts(path: bytes) -> list[bytes]:
    """Return the names on a path, the last one first."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
