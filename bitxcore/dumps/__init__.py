"""Dumps of weights: one reader (and writer) a container, all lazy, none of which trusts its file.

A reader is one file here and one line in `READERS`; other distributions add theirs through the
entry-point group ``bitx.readers`` (name: the suffix, value: ``module:callable`` from path to `Dump`).
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from bitxcore.dumps.base import Dump, Replace, Tensor, TensorProgress
from bitxcore.dumps.downloads import open_downloaded, reads_ranges
from bitxcore.errors import DumpError
from bitxcore.remote.remote_path import RemotePath, as_path

__all__ = [
    "READERS",
    "WRITERS",
    "Dump",
    "Tensor",
    "TensorProgress",
    "convert",
    "open_dump",
    "save",
]

GROUP = "bitx.readers"

READERS = {
    ".npy": "bitxcore.dumps.npy:open_npy",
    ".npz": "bitxcore.dumps.npz:open_npz",
    ".safetensors": "bitxcore.dumps.safetensors:open_safetensors",
    ".safetensors.index.json": "bitxcore.dumps.shards:open_shards",
    ".h5": "bitxcore.dumps.hdf5:open_hdf5",
    ".hdf5": "bitxcore.dumps.hdf5:open_hdf5",
    ".onnx": "bitxcore.dumps.onnx:open_onnx",
    ".pt": "bitxcore.dumps.pytorch:open_torch",
    ".pth": "bitxcore.dumps.pytorch:open_torch",
}

BY_RANGES = (".npy", ".npz", ".safetensors", ".safetensors.index.json")
"""Containers of which parts are read where they lie in a store."""

WRITERS = {
    ".npz": "bitxcore.dumps.npz:write_npz",
    ".safetensors": "bitxcore.dumps.safetensors:write_safetensors",
}


def open_dump(path: str | os.PathLike[str]) -> Dump:
    """Open a dump of tensors; only headers are read.

    Parameters
    ----------
    path : path-like
        A file whose suffix is one of `READERS` (or of an installed reader), or a directory: one that
        holds the index of safetensors shards represents these shards; any other represents all dumps below
        it. Or the URL of an object (``s3://``, ``gs://``, ``https://``, ``memory://``): of containers in
        `BY_RANGES` only what is asked for is read; others are downloaded until the dump is closed.

    Returns
    -------
    Dump
        Mapping from tensor name to lazily read tensor; close it, or use it in a ``with`` block.

    Raises
    ------
    DumpError
        If the file does not exist, is of an unknown kind, damaged or unsafe.
    MissingExtraError
        If the container, or the protocol of a URL, needs a package that is not installed.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/model.npz", fc=np.ones((10, 64), np.float32))
    ...     with open_dump(f"{folder}/model.npz") as dump:
    ...         print(dump["fc"], dump["fc"].read().sum())
    <Tensor 'fc' (10, 64) float32> 640.0
    """
    path = as_path(path)
    reader = _reader(path)
    remote = isinstance(path, RemotePath)
    if not (remote and reader) and path.is_dir():
        return _open_folder(path)
    if reader is None:
        known = ", ".join(_readers())
        reason = f"suffix is none of {known}" if path.exists() else "does not exist"
        raise DumpError(reason, path=path)
    if isinstance(path, RemotePath) and not (_suffix(path) in BY_RANGES and reads_ranges(path)):
        return open_downloaded(path, _load(reader))
    opened: Dump = _load(reader)(path)
    return opened


def save(
    dump: Dump,
    out: str | os.PathLike[str],
    replace: Replace | None = None,
    *,
    progress: TensorProgress | None = None,
) -> None:
    """Write a dump, some of its tensors replaced, under a new name.

    In the dump's own container (`out` has its suffix, or is a new directory for shards and directories)
    what is not replaced stays as it is: bytes of safetensors and ``.npy``, members of ``.npz``, the graph of
    ONNX, whose external data become new files beside the model. Otherwise the tensors are converted; see
    `convert`.

    Parameters
    ----------
    dump : Dump
    out : path-like
        Appears whole or not at all; never one of the dump's files.
    replace : callable, optional
        From each tensor, in order, to its new values: an array of the same shape and dtype, an
        iterable of blocks of rows that add up to it (written one at a time where the container
        allows it), or None for no change.
    progress : callable, optional
        Called with each tensor after it.

    Raises
    ------
    BitxError
        If `out` can't be written or has a suffix without a writer, or new values do not fit.

    Examples
    --------
    >>> import tempfile
    >>> from bitxcore.data import data_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> with open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     save(dump, f"{folder.name}/negated.npz", lambda tensor: -tensor.read())
    >>> with open_dump(f"{folder.name}/negated.npz") as dump:
    ...     dump["head.weight"].shape
    (10, 64)
    >>> folder.cleanup()
    """
    out = as_path(out)
    suffix = _suffix(out)
    folders = dump.container in {"directory", "shards"}
    if (folders and suffix is None) or (not folders and _reader(out) == _reader(dump.path) is not None):
        dump.rewrite(out, replace or _keep, progress)
    else:
        convert(dump, out, replace, progress=progress)


def convert(
    dump: Dump,
    out: str | os.PathLike[str],
    replace: Replace | None = None,
    *,
    progress: TensorProgress | None = None,
) -> None:
    """Write the tensors of any dump as a new ``.npz`` or ``.safetensors``; parameters as in `save`.

    Examples
    --------
    >>> import tempfile
    >>> from bitxcore.data import data_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> with open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     convert(dump, f"{folder.name}/weights.safetensors")
    >>> folder.cleanup()
    """
    from bitxcore.files import atomic_file  # used by writers only

    out = as_path(out)
    writer = WRITERS.get(_suffix(out) or "")
    if writer is None:
        raise DumpError(f"{_a(dump)} dump can be written as {_kinds(dump)}", path=out)
    with atomic_file(out, inputs=dump.files()) as temporary:
        _load(writer)(dump, temporary, replace or _keep, progress)


def _a(dump: Dump) -> str:
    return f"{'an' if dump.container[0] in 'aeiou' or dump.container == 'npz' else 'a'} {dump.container}"


def _kinds(dump: Dump) -> str:
    """Name what a dump can be written as."""
    suffixes = list(WRITERS)
    own = _suffix(dump.path) if dump.path.is_file() and type(dump).rewrite is not Dump.rewrite else None
    return " or ".join(suffixes) + (f", or as {own} like itself" if own not in (None, *suffixes) else "")


def _keep(_: Tensor) -> None:
    return None


def _open_folder(folder: Path) -> Dump:
    from bitxcore.dumps.directory import find_beside, find_dumps, open_directory
    from bitxcore.dumps.shards import INDEX_SUFFIX

    paths = find_dumps(folder, lambda path: _suffix(path) is not None)
    indices = [path for path in paths if path.parent == folder and path.name.endswith(INDEX_SUFFIX)]
    if len(indices) == 1:
        shards = open_dump(indices[0])
        others = set(paths).difference(shards.files())
        shards.ignored |= {
            str(path.relative_to(folder)): f"not a part of {indices[0].name}" for path in sorted(others)
        }
        shards.beside = find_beside(folder, shards.files())
        return shards
    directory = open_directory(folder, paths, open_dump)
    directory.beside = find_beside(folder, directory.files())
    return directory


@cache
def _readers() -> dict[str, str]:
    from importlib.metadata import entry_points

    installed = {f".{point.name.removeprefix('.')}": point.value for point in entry_points(group=GROUP)}
    return installed | READERS


def _suffix(path: Path) -> str | None:
    """Longest known suffix that the name ends with."""
    name = path.name.lower()
    return max((suffix for suffix in _readers() if name.endswith(suffix)), key=len, default=None)


def _reader(path: Path) -> str | None:
    return _readers().get(_suffix(path) or "")


def _load(place: str) -> Any:
    from importlib.metadata import EntryPoint

    return EntryPoint("", place, GROUP).load()
