"""Which objects a batch is of: single ones, those below a folder of a store, those that fit a pattern."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path

from bitxcore.dumps.directory import find_dumps
from bitxcore.dumps.trust import reading
from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import RemotePath
from bitxcore.remote.stores import store_of
from bitxcore.remote.urls import has_secret


def remote_inputs(given: RemotePath, is_dump: Callable[[Path], bool]) -> list[Path]:
    """List the objects that a URL stands for.

    Parameters
    ----------
    given : RemotePath
        An object; a folder of which all dumps below are taken; or a pattern.
    is_dump : callable
        Whether a name is that of a dump.

    Raises
    ------
    DumpError
        If there is none, or the store does not say.
    """
    with reading(given):
        if glob.has_magic(str(given)):
            found = [path for path in store_of(given).fitting(given) if is_dump(path)]
            if not found:
                raise DumpError("no dump fits the pattern")
            return [*found]
        if is_dump(given) or given.is_file():
            return [given]
        below = find_dumps(given, is_dump)
        if not below:
            raise DumpError("holds no dump" if given.is_dir() else "does not exist")
        return below


def refuse_secrets(path: Path) -> None:
    """Refuse a URL with credentials or a query: a batch writes down what it is of, and has other processes.

    Raises
    ------
    DumpError
    """
    if isinstance(path, RemotePath) and has_secret(str(path)):
        raise DumpError(
            "a batch takes no URL with credentials or a query; set credentials in the environment", path=path
        )
