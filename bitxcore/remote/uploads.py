"""Outputs on their way into a store: written here, sent when all of them is there."""

from __future__ import annotations

from pathlib import Path

from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import RemotePath
from bitxcore.remote.stores import store_of


def check_upload(final: RemotePath) -> None:
    """Raise if an object can't be written there, as far as the store tells before.

    Raises
    ------
    DumpError
    """
    if len(final.parts) < 3 and final.protocol != "memory":
        raise DumpError("can't be written: names a bucket, not an object in it", path=final)
    store_of(final).check_writable(final)


def upload(file: Path, final: RemotePath) -> None:
    """Send a file, and remove it; the object appears whole, or is what it was before."""
    store_of(final).upload(file, final)
    file.unlink()


def take_back(final: RemotePath) -> None:
    """Remove an object that was sent with others that could not be."""
    store_of(final).remove(final)
