"""Files that appear whole or not at all.

What is being written has a temporary name beside its final one, and a lock for as long as its process
lives. A temporary file without a lock is that of a run that was killed; the next run that writes in the
folder removes it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitxcore.errors import BitxError
from bitxcore.remote.remote_path import RemotePath, as_path
from bitxcore.remote.uploads import check_upload, take_back, upload

try:
    import fcntl
except ImportError:  # not on this system: what killed runs leave is the user's to remove
    fcntl = None  # type: ignore[assignment]

_OS_FIELDS = ("filename", "filename2", "strerror")
_TEMPORARY = re.compile(r"\.bitx-[0-9a-f]{16}\.tmp")
_TRIES = 100

_unfinished: set[Path] = set()  # under their temporary names
_cleared: set[str] = set()  # folders, each of which is looked through once


@dataclass(frozen=True)
class _Written:
    """What is being written.

    Parameters
    ----------
    path : pathlib.Path
        Temporary name of a file or folder.
    final : pathlib.Path
    lock : int
        File descriptor that holds the lock.
    """

    path: Path
    final: Path
    lock: int


_waiting: ContextVar[list[_Written] | None] = ContextVar("waiting", default=None)


def remove_unfinished() -> None:
    """Remove all that is being written; for a process that ends at once, without unwinding."""
    for path in tuple(_unfinished):
        _remove(path)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for the block, which no signal that ends the process leaves behind.

    Yields
    ------
    pathlib.Path
    """
    path = Path(tempfile.mkdtemp(prefix="bitx-"))
    _unfinished.add(path)
    try:
        yield path
    finally:
        _remove(path)
        _unfinished.discard(path)


@contextmanager
def together() -> Iterator[None]:
    """Let all files and directories that are written in the block appear at its end: all, or none.

    Raises
    ------
    BitxError
        If one of them can't get its name; the others then have what they had before.
    """
    if _waiting.get() is not None:
        yield
        return
    waiting: list[_Written] = []
    token = _waiting.set(waiting)
    try:
        yield
        _rename(waiting)
    finally:
        _waiting.reset(token)
        _discard(waiting)


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Write one file under a temporary name and rename it when the block ends well.

    Parameters
    ----------
    path : path-like
        Final name; an existing regular file is replaced. The URL of an object (`bitxcore.remote`): what is
        written in a temporary folder is sent to its store.
    inputs : iterable of pathlib.Path
        Files being read, which `path` must not be.

    Yields
    ------
    pathlib.Path
        The temporary file, empty, in the same folder. It is synced and renamed on success and
        removed on any failure.

    Raises
    ------
    BitxError
        If the folder does not exist or can't be written, if `path` is not a regular file or is an
        input, or if writing fails (no space left, ...).
    """
    with atomic_files([as_path(path)], inputs=inputs) as (temporary,):
        yield temporary


@contextmanager
def atomic_files(paths: Iterable[Path], *, inputs: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write several files at once; like `atomic_file`, renamed in the order given."""
    finals = list(paths)
    sources = [os.path.realpath(source) for source in inputs]
    written: list[_Written] = []
    final = finals[-1]
    try:
        for final in finals:
            check_target(final, sources)
            written.append(_create(final, os.O_CREAT | os.O_EXCL | os.O_RDWR))
        with _final_names((each.path, each.final) for each in tuple(written)):
            yield [each.path for each in written]
        for each in written:
            _sync(each.path)
        written = _appear(written)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        _discard(written)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a new directory under a temporary name and rename it when the block ends well.

    Parameters
    ----------
    path : path-like
        Final name; must not exist, unless as an empty directory.

    Yields
    ------
    pathlib.Path
        The temporary directory, in the same folder; removed on any failure.

    Raises
    ------
    BitxError
        If `path` exists, its folder does not, or writing fails.
    """
    final = as_path(path)
    if isinstance(final, RemotePath):
        raise BitxError("can't be written: a folder is written on this machine only", path=final)
    written: list[_Written] = []
    try:
        if os.path.lexists(final) and not (final.is_dir() and not any(final.iterdir())):
            raise BitxError("exists; an output directory must be new or empty", path=final)
        _check_folder(final)
        written.append(_create(final, os.O_DIRECTORY))
        temporary = written[0].path
        token = _waiting.set(None)  # what is within appears with the directory
        try:
            with _final_names([(temporary, final)]):
                yield temporary
        finally:
            _waiting.reset(token)
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        written = _appear(written)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        _discard(written)


@contextmanager
def _final_names(names: Iterable[tuple[Path, Path]]) -> Iterator[None]:
    """Tell errors from within the name that a file is to get, in place of its temporary one.

    Parameters
    ----------
    names : iterable of (pathlib.Path, pathlib.Path)
        Temporary and final path of a file, or of a folder, below which names are changed as well.
    """
    try:
        yield
    except (BitxError, OSError) as error:
        for temporary, final in names:

            def renamed(text: Any, temporary: Path = temporary, final: Path = final) -> Any:
                if isinstance(text, (str, Path)) and temporary.name in os.fspath(text):
                    named = os.fspath(text).replace(os.fspath(temporary), os.fspath(final))
                    named = named.replace(temporary.name, final.name)
                    return named if isinstance(text, str) else as_path(named)
                return text

            error.args = tuple(renamed(value) for value in error.args)
            fields = ("path", "part", "hint", "value") if isinstance(error, BitxError) else _OS_FIELDS
            for field in fields:
                setattr(error, field, renamed(getattr(error, field)))
        raise


def is_temporary(name: str) -> bool:
    """Whether a file is named as those are that are being written."""
    return _TEMPORARY.fullmatch(name) is not None


# -- temporary names ---------------------------------------------------------------------------


def _temporary_path(folder: Path) -> Path:
    return folder / f".bitx-{secrets.token_hex(8)}.tmp"


def _create(final: Path, flags: int) -> _Written:
    """Make a temporary file or, if `flags` say so, directory that this process holds the lock of."""
    folder = Path(tempfile.gettempdir()) if isinstance(final, RemotePath) else final.parent
    _clear(folder)
    for _ in range(_TRIES):
        path = _temporary_path(folder)
        _unfinished.add(path)
        if flags & os.O_DIRECTORY:
            path.mkdir()
        lock = None
        with suppress(FileNotFoundError):
            # Unlike tempfile's 0600, the mode a plain open() would give.
            lock = os.open(path, flags, 0o666)
        if lock is not None:
            if _hold(lock, path):
                return _Written(path, final, lock)
            os.close(lock)
        _unfinished.discard(path)  # another run took it for a dead one's before it had a lock
    raise BitxError(f"can't be written: nothing can be made in {folder}", path=final)


def _hold(lock: int, path: Path) -> bool:
    """Lock what has just been made; return whether it is still there."""
    if fcntl is not None:
        # A lock that readers share: HDF5 opens a store that has got its name with one of its own. A file
        # system without locks refuses those that remove, too.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
    return os.fstat(lock).st_nlink > 0 and os.path.lexists(path)


def _clear(folder: Path) -> None:
    """Remove what dead runs have left in a folder."""
    place = os.path.realpath(folder)
    if fcntl is None or place in _cleared or _TEMPORARY.search(place):
        return
    _cleared.add(place)
    with suppress(OSError), os.scandir(place) as entries:
        dead = [Path(entry.path) for entry in entries if _TEMPORARY.fullmatch(entry.name)]
        for path in dead:
            with suppress(OSError):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        flags = os.O_DIRECTORY
    elif stat.S_ISREG(mode):
        flags = os.O_RDWR
    else:
        return
    lock = os.open(path, flags | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(path)
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _discard(written: Iterable[_Written]) -> None:
    for each in written:
        if each.path in _unfinished:
            _remove(each.path)
            _unfinished.discard(each.path)
        os.close(each.lock)


# -- final names -------------------------------------------------------------------------------


def _appear(written: list[_Written]) -> list[_Written]:
    """Rename, or leave that to `together`; return what remains to be discarded."""
    waiting = _waiting.get()
    if waiting is None:
        _rename(written)
        return written
    waiting += written
    return []


def _rename(written: list[_Written]) -> None:
    """Give all of them their names, or none."""
    done: list[tuple[_Written, Path | None]] = []
    sent: list[tuple[RemotePath, bool]] = []
    written = sorted(written, key=lambda each: not isinstance(each.final, RemotePath))  # may well fail
    try:
        for each in written:
            if isinstance(each.final, RemotePath):
                try:
                    is_new = len(written) > 1 and not each.final.exists()
                    upload(each.path, each.final)
                    sent.append((each.final, is_new))
                except OSError as error:
                    raise _unwritable(each.final, error) from error
                continue
            before = _kept(each.final) if len(written) > 1 else None
            done.append((each, before))
            try:
                each.path.replace(each.final)
            except OSError as error:
                raise _unwritable(each.final, error) from error
    except BaseException:
        for final in [final for final, is_new in sent if is_new]:
            with suppress(OSError, BitxError):
                take_back(final)
        for each, before in reversed(done):
            with suppress(OSError):
                if not os.path.lexists(each.path):
                    each.final.replace(each.path)
                    if before is not None:
                        before.replace(each.final)
        raise
    finally:
        for _, before in done:
            if before is not None:
                _remove(before)
                _unfinished.discard(before)
    _unfinished.difference_update(each.path for each in written)
    for folder in {each.final.parent for each in written if not isinstance(each.final, RemotePath)}:
        sync_folder(folder)


def _kept(final: Path) -> Path | None:
    """Keep what is about to be replaced under another name; None if there is nothing to keep."""
    before = _temporary_path(final.parent)
    _unfinished.add(before)
    try:
        if final.is_dir():
            before.mkdir()  # only an empty one is replaced
        else:
            os.link(final, before)
        return before
    except OSError:  # not there, or a file system without links
        _unfinished.discard(before)
        return None


def _check_folder(final: Path) -> None:
    if not final.parent.is_dir():
        raise BitxError(f"can't be written: {final.parent} is not an existing folder", path=final)


def check_target(final: Path, sources: list[str]) -> None:
    """Raise if a file can't be written there.

    Parameters
    ----------
    final : pathlib.Path
    sources : list of str
        Resolved paths of what is read, none of which may be replaced.

    Raises
    ------
    BitxError
        If it is one of these, no regular file, or in no folder.
    """
    if isinstance(final, RemotePath):
        if os.path.realpath(final) in sources:
            raise BitxError("is the input; choose another output", path=final)
        check_upload(final)
        return
    _check_folder(final)
    if os.path.realpath(final) in sources or any(
        os.path.exists(source) and final.exists() and os.path.samefile(source, final) for source in sources
    ):
        raise BitxError("is the input; choose another output", path=final)
    # A rename would silently replace a device such as /dev/full by a file.
    if os.path.lexists(final) and not final.is_file():
        raise BitxError("can't be written: exists and is not a regular file", path=final)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Let names in a folder be on the disk, where its file system can do so."""
    with suppress(OSError):
        _sync(path)


def _unwritable(path: Path, error: OSError) -> BitxError:
    reason = error.strerror or str(error).partition("\n")[0]
    return BitxError(f"can't be written: {reason}", path=path)
