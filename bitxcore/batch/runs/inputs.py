"""Which dumps a batch is of: files, folders that are searched, patterns, and the lines of a manifest."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bitxcore.batch.runs.remote_inputs import refuse_secrets, remote_inputs
from bitxcore.dumps import _suffix
from bitxcore.dumps.directory import find_dumps
from bitxcore.dumps.shards import INDEX_SUFFIX
from bitxcore.errors import BitxError, DumpError
from bitxcore.remote.remote_path import RemotePath, as_path
from bitxcore.remote.urls import is_url

COLUMNS = ("path", "dump")
"""Columns of a manifest, or keys of its rows, that name a dump; the first one that is there."""

_STORES = (".h5", ".hdf5")
_SEAL = b"\nbitx-store sha256 "
_SEAL_LENGTH = 84


def find_inputs(
    given: Iterable[str | os.PathLike[str]],
    manifest: str | os.PathLike[str] | None = None,
    *,
    without: Iterable[Path] = (),
) -> list[Path]:
    """List the dumps of a batch, each once.

    Parameters
    ----------
    given : iterable of path-like
        Files; folders, of which all dumps below are taken, but for stores of results; and patterns of
        either, as of `glob.glob`, with ``**`` for any depth. URLs of objects, folders and patterns, too.
    manifest : path-like, optional
        A file that names a dump per line, or per row with a column or key of `COLUMNS` (``.csv``,
        ``.json``). What it names need not exist, and a folder that it names is one dump. Relative paths are
        those from its own folder.
    without : iterable of pathlib.Path
        Files and folders that are not searched, unless what is given lies within one.

    Returns
    -------
    list of pathlib.Path
        In the order given; those of a folder or a pattern are sorted.

    Raises
    ------
    BitxError
        If a file or folder that is given does not exist, a pattern fits no dump, a folder holds none, or the
        manifest can't be read.

    Examples
    --------
    >>> from bitxcore.data import data_folder
    >>> [path.name for path in find_inputs([data_folder("samples") / "digits_*.onnx"])]
    ['digits_resnet.onnx']
    """
    away = {os.path.realpath(path) for path in without}
    found: dict[str, Path] = {}
    paths = (path for each in given for path in _of_one(as_path(each), away))
    for path in (*paths, *(() if manifest is None else _of_manifest(Path(manifest)))):
        refuse_secrets(path)
        found.setdefault(os.path.realpath(path), path)
    if not found:
        raise BitxError("no dump is given")
    return list(found.values())


def _of_one(given: Path, away: set[str]) -> Iterator[Path]:
    if isinstance(given, RemotePath):
        found = remote_inputs(given, is_dump_name)
        yield from found if found == [given] else _whole([path for path in found if _is_wanted(path, away)])
    elif given.is_dir():
        found = _below(given, away)
        if not found:
            raise DumpError("holds no dump", path=given)
        yield from found
    elif given.exists():
        yield given
    elif glob.has_magic(str(given)):
        fits = [Path(name) for name in sorted(glob.glob(str(given), recursive=True))]
        files = [path for path in fits if path.is_file() and is_dump_name(path) and _is_wanted(path, away)]
        dumps = _whole(files + [path for folder in fits if folder.is_dir() for path in _below(folder, away)])
        if not dumps:
            raise DumpError("no dump fits the pattern", path=given)
        yield from dumps
    else:
        raise DumpError("does not exist", path=given)


def _below(folder: Path, away: set[str]) -> list[Path]:
    searched = os.path.realpath(folder)
    away = {place for place in away if not f"{searched}{os.sep}".startswith(place + os.sep)}
    return _whole([path for path in find_dumps(folder, is_dump_name) if _is_wanted(path, away)])


def is_dump_name(path: Path) -> bool:
    """Whether a file has the suffix of a container that can be read."""
    return _suffix(path) is not None


def _is_wanted(path: Path, away: set[str]) -> bool:
    """Whether a file that was found is to be taken: neither an output nor a store of results."""
    real = os.path.realpath(path)
    if real in away or any(real.startswith(place + os.sep) for place in away):
        return False
    if path.suffix.lower() not in _STORES:
        return True
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _SEAL_LENGTH))
            return not file.read(len(_SEAL)).startswith(_SEAL)
    except OSError:
        return True  # which its own reader will say


def _whole(paths: list[Path]) -> list[Path]:
    """Leave out shards that are read through an index among the paths."""
    shards: set[str] = set()
    for path in paths:
        if path.name.lower().endswith(INDEX_SUFFIX):
            try:
                names = json.loads(path.read_bytes())["weight_map"].values()
                shards |= {os.path.realpath(path.parent / str(name)) for name in names}
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # which its own reader will say
    return [path for path in paths if os.path.realpath(path) not in shards]


def _of_manifest(manifest: Path) -> list[Path]:
    try:
        text = manifest.read_text("utf-8-sig")
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror}", path=manifest) from error
    except UnicodeDecodeError as error:
        raise DumpError("is not text in UTF-8", path=manifest) from error
    suffix = manifest.suffix.lower()
    if suffix == ".json":
        names = _of_json(text, manifest)
    elif suffix == ".csv":
        names = _of_csv(text, manifest)
    else:
        lines = map(str.strip, text.splitlines())
        names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise DumpError("names no dump", path=manifest)
    return [as_path(name) if is_url(name) else manifest.parent / name for name in names]


def _of_json(text: str, manifest: Path) -> list[str]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DumpError("is not JSON", path=manifest) from error
    if not isinstance(rows, list):
        raise DumpError("must be a list, of paths or of rows", path=manifest)
    return [_path_of(row, f"row {number}", manifest) for number, row in enumerate(rows, 1)]


def _of_csv(text: str, manifest: Path) -> list[str]:
    rows = csv.DictReader(io.StringIO(text))
    if not set(COLUMNS) & set(rows.fieldnames or ()):
        raise DumpError(f"has no column {' or '.join(COLUMNS)}", path=manifest)
    return [_path_of(row, f"row {number}", manifest) for number, row in enumerate(rows, 1)]


def _path_of(row: object, where: str, manifest: Path) -> str:
    if isinstance(row, dict):
        row = next((row[name] for name in COLUMNS if row.get(name)), None)
    if not isinstance(row, str) or not row or "\0" in row:
        raise DumpError(f"{where} names no dump", path=manifest)
    return row
