"""Where results come from: inputs and their digests, parameters, versions, machine, time."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bitxcore.dumps.base import Dump
from bitxcore.errors import DumpError, OptionError
from bitxcore.remote.remote_path import as_path, full_name
from bitxcore.remote.urls import public
from bitxcore.store.elements import (
    check_stamp,
    child,
    read_column,
    stamp,
    table_columns,
    write_table,
)
from bitxcore.store.text import escape_text, unescape_text

InputSource = Dump | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Input:
    """One input of a run.

    Parameters
    ----------
    path : str
        Absolute, at the time of the run; of an object its URL, without credentials and query.
    sha256 : str
        Of the file's bytes, or of all files of a dump in order; hexadecimal.
    size_bytes : int
    """

    path: str
    sha256: str
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Provenance:
    """Where a store's results come from.

    Parameters
    ----------
    created : datetime.datetime
        UTC.
    command_line : tuple of str
    parameters : dict
        As given to `Store.create`, in JSON's types; non-finite floats as ``"inf"``, ``"-inf"``, ``"nan"``.
    versions : dict of str to str
        Of ``bitx``, ``python``, ``numpy``, ``numba``, ``h5py`` and ``hdf5``.
    platform : str
    inputs : tuple of Input
    """

    created: datetime
    command_line: tuple[str, ...]
    parameters: dict[str, Any]
    versions: dict[str, str]
    platform: str
    inputs: tuple[Input, ...]


def _version(distribution: str) -> str:
    try:
        return distribution_version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any, where: str) -> Any:
    """Reduce a parameter to JSON's types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return public(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, os.PathLike):
        return public(str(value) if isinstance(value, Path) else os.fspath(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {
            str(key): _plain(item, f"{where}.{key}" if where else str(key)) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise OptionError(
        f"a {type(value).__name__} can't be recorded", part=f"parameter {where}", hint="use JSON's types"
    )


def _input(source: InputSource) -> Input:
    path = source.path if isinstance(source, Dump) else as_path(source)
    try:
        if isinstance(source, Dump):
            size, digest = sum(part.stat().st_size for part in source.files()), source.sha256()
        elif path.is_file():
            with path.open("rb") as file:
                size, digest = path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        else:
            raise DumpError("an input must be a file, or an open dump", path=path)
    except OSError as error:
        raise DumpError(f"can't be read: {error.strerror}", path=path) from error
    return Input(full_name(path), digest, size)


def collect(parameters: Mapping[str, Any] | None, inputs: Iterable[InputSource]) -> Provenance:
    """Describe the present run; reads every input once, for its digest.

    Raises
    ------
    DumpError
        If an input is not a file, or can't be read.
    OptionError
        If a parameter is of a type that JSON can't express.
    """
    return Provenance(
        created=datetime.now(UTC).replace(microsecond=0),
        command_line=tuple(map(public, sys.argv)),
        parameters=_plain(parameters or {}, ""),
        versions={
            **{name: _version(name) for name in ("bitx", "numpy", "numba", "h5py")},
            "python": platform.python_version(),
            "hdf5": h5py.version.hdf5_version,
        },
        platform=platform.platform(),
        inputs=tuple(_input(source) for source in inputs),
    )


def write(file: Any, provenance: Provenance) -> None:
    """Write the group ``/provenance``."""
    group = file.create_group("provenance")
    stamp(group, "provenance")
    group.attrs["created"] = provenance.created.isoformat()
    group.attrs["platform"] = escape_text(provenance.platform)
    for name in ("command_line", "parameters", "versions"):
        group.attrs[name.replace("_", "-")] = json.dumps(getattr(provenance, name))
    write_table(
        group.create_group("inputs"),
        [dataclasses.asdict(item) for item in provenance.inputs],
        units={"path": "", "sha256": "", "size_bytes": "B"},
        dtypes={"path": str, "sha256": str, "size_bytes": np.int64},
    )


def read(file: Any, path: Path) -> Provenance:
    """Read the group ``/provenance``."""
    group = child(file, "provenance", path)
    check_stamp(group, "provenance", path)
    columns = table_columns(child(group, "inputs", path), path)
    inputs = zip(*(read_column(columns[f.name], path) for f in dataclasses.fields(Input)), strict=True)
    return Provenance(
        created=datetime.fromisoformat(group.attrs["created"]),
        command_line=tuple(json.loads(group.attrs["command-line"])),
        parameters=json.loads(group.attrs["parameters"]),
        versions=json.loads(group.attrs["versions"]),
        platform=unescape_text(group.attrs["platform"]),
        inputs=tuple(Input(name, digest, int(size)) for name, digest, size in inputs),
    )
