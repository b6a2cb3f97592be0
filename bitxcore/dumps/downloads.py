"""Objects of which no parts can be read: copies of them, for as long as a dump is open."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bitxcore.dumps.base import Dump
from bitxcore.dumps.trust import reading
from bitxcore.errors import DumpError
from bitxcore.files import scratch_folder
from bitxcore.remote.notices import notify
from bitxcore.remote.object_facts import ObjectFacts
from bitxcore.remote.remote_path import LocalCopy, RemotePath, as_path
from bitxcore.remote.stores import store_of


def reads_ranges(path: RemotePath) -> bool:
    """Whether parts of an object can be read: some web servers give whole objects only.

    Raises
    ------
    DumpError
        If there is no such object.
    """
    return path.protocol not in ("http", "https") or _facts(path).ranged


def open_downloaded(path: RemotePath, reader: Callable[[Path], Dump]) -> Dump:
    """Open a copy of an object, which is removed when the dump is closed; errors name the object."""
    with ExitStack() as stack:
        copy = stack.enter_context(local_copy(path))
        try:
            dump = reader(copy)
        except DumpError as error:
            if error.path is not None and Path(os.fspath(copy)).parent in Path(str(error.path)).parents:
                reason = f"needs {Path(str(error.path)).name} beside it, which is not downloaded with it"
                raise DumpError(reason, path=path) from error
            raise
        kept = stack.pop_all()
    dump.release = weakref.finalize(dump, kept.close)  # at the end of the process, if never closed
    return dump


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Give the path of a file of this machine: a copy of an object, for the block; or the path itself.

    Raises
    ------
    DumpError
        If the object can't be read, or is larger than half of what is free for temporary files.
    """
    path = as_path(path)
    if not isinstance(path, RemotePath):
        yield path
        return
    facts = _facts(path)
    with scratch_folder() as folder:
        free = shutil.disk_usage(folder).free
        if facts.size > free // 2:
            raise DumpError(
                f"{facts.size} bytes are to be downloaded into {folder.parent}, where half of {free} is to"
                " spare",
                path=path,
            )
        notify(f"downloading {path} ({facts.size / 1e6:,.1f} MB)")
        copy = folder / path.name
        with reading(path):
            store_of(path).download(path, facts, copy)
        if copy.stat().st_size != facts.size:
            raise DumpError(f"{copy.stat().st_size} bytes came of {facts.size}", path=path)
        yield LocalCopy.of(copy, path)


def _facts(path: RemotePath) -> ObjectFacts:
    with reading(path):
        facts = path.facts()
        if facts.folder:
            raise DumpError("is a folder")
    return facts
