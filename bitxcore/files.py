"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bitxcore.errors import BitxError

_OS_FIELDS = ("filename", "filename2", "strerror")

_unfinished: set[Path] = set()  # under their temporary names


def remove_unfinished() -> None:
    """Remove all that is being written; for a process that ends at once, without unwinding."""
    for path in tuple(_unfinished):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Write one file under a temporary name and rename it when the block ends well.

    Parameters
    ----------
    path : path-like
        Final name; an existing regular file is replaced.
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
    with atomic_files([Path(path)], inputs=inputs) as (temporary,):
        yield temporary


@contextmanager
def atomic_files(paths: Iterable[Path], *, inputs: Iterable[Path] = ()) -> Iterator[list[Path]]:
    """Write several files at once; like `atomic_file`, renamed in the order given."""
    finals = list(paths)
    sources = [os.path.realpath(source) for source in inputs]
    temporaries: list[Path] = []
    final = finals[-1]
    try:
        for final in finals:
            _check_target(final, sources)
            temporaries.append(_create(final))
        with _final_names(zip(temporaries, finals, strict=True)):
            yield temporaries
        for temporary in temporaries:
            _sync(temporary)
        for final, temporary in zip(finals, temporaries, strict=True):
            temporary.replace(final)
        for folder in {path.parent for path in finals}:
            _sync_folder(folder)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
            _unfinished.discard(temporary)


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
    final = Path(path)
    temporary = None
    try:
        if os.path.lexists(final) and not (final.is_dir() and not any(final.iterdir())):
            raise BitxError("exists; an output directory must be new or empty", path=final)
        _check_folder(final)
        temporary = final.parent / _temporary_name()
        _unfinished.add(temporary)
        temporary.mkdir()
        with _final_names([(temporary, final)]):
            yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        temporary.replace(final)
        _sync_folder(final.parent)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
            _unfinished.discard(temporary)


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
                    return type(text)(named.replace(temporary.name, final.name))
                return text

            error.args = tuple(renamed(value) for value in error.args)
            fields = ("path", "part", "hint", "value") if isinstance(error, BitxError) else _OS_FIELDS
            for field in fields:
                setattr(error, field, renamed(getattr(error, field)))
        raise


def _temporary_name() -> str:
    return f".bitx-{secrets.token_hex(8)}.tmp"


def _create(final: Path) -> Path:
    temporary = final.parent / _temporary_name()
    _unfinished.add(temporary)
    # Unlike tempfile's 0600, the mode a plain open() would give.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


def _check_folder(final: Path) -> None:
    if not final.parent.is_dir():
        raise BitxError(f"can't be written: {final.parent} is not an existing folder", path=final)


def _check_target(final: Path, sources: list[str]) -> None:
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


def _sync_folder(path: Path) -> None:
    # Some file systems can't, and the rename has been done by then.
    with suppress(OSError):
        _sync(path)


def _unwritable(path: Path, error: OSError) -> BitxError:
    reason = error.strerror or str(error).partition("\n")[0]
    return BitxError(f"can't be written: {reason}", path=path)
