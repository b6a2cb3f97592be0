"""Check a store: its seal, its layout, its checksums, and whether what it tells agrees with itself."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bitxcore.dumps.downloads import local_copy
from bitxcore.dumps.hdf5 import try_hdf5
from bitxcore.errors import BitxError
from bitxcore.remote.remote_path import RemotePath, as_path
from bitxcore.store import elements
from bitxcore.store.array_checks import check_rows, check_tensors
from bitxcore.store.count_checks import check_tables
from bitxcore.store.elements import reading
from bitxcore.store.findings import Finding, Verification
from bitxcore.store.layout_checks import LayoutCheck
from bitxcore.store.reader import Store
from bitxcore.store.seal import SIGNATURE, check_seal
from bitxcore.store.small_tables import SmallTables

__all__ = ["verify"]


def verify(path: str | os.PathLike[str]) -> Verification:
    """Check all that can be checked of a store.

    A store is read three times: by a process of its own, which the HDF5 library may crash; for the layout and
    the checksums; and for the rules of counts. Memory is that of one tensor's arrays.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Verification
        What is wrong where: an unreadable file is a finding, too.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with Store.create(f"{folder.name}/run.h5") as store:
    ...     units = {"layer": "", "accelerator": "", "cycles": "cycles", "fill_cycles": "cycles"}
    ...     row = {"layer": "conv1", "accelerator": "bitx", "cycles": 12, "fill_cycles": 5}
    ...     store.write_table("simulation", [row], units=units)
    >>> for finding in verify(f"{folder.name}/run.h5"):
    ...     print(finding.place, finding.index, finding.expected, finding.found)
    /simulation/cycles 0 5 12
    >>> folder.cleanup()
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        try:
            with local_copy(path) as copy:
                return verify(copy)
        except BitxError as error:
            return Verification(path, (Finding("file", "", error.message),), False, None)
    findings: list[Finding] = []
    sealed = False
    if not path.is_file():
        return Verification(path, (Finding("file", "", "there is no such file"),), False, None)
    try:
        sealed = check_seal(path)
    except OSError as error:
        return Verification(path, (Finding("file", "", f"can't be read: {error.strerror}"),), False, None)
    except BitxError as error:
        sealed = True
        findings.append(Finding("seal", "", error.message))
    version = None
    layout = None
    try:
        if _first_bytes(path) == SIGNATURE:  # Store.open says so of others
            try_hdf5(path)
        with ExitStack() as opened:
            store = opened.enter_context(Store.open(path, verify=False))
            layout = LayoutCheck(store._file, path)
            found = store._file.attrs.get(elements.TYPE_VERSION)
            version = found if isinstance(found, str) else None
            layout.check()
            findings += layout.findings
            names, tensors = tuple(layout.tables), tuple(layout.tensors)
            tables = SmallTables(store)
            with np.errstate(all="ignore"):  # values may be anything
                findings += check_tables(tables, names)
                findings += check_tensors(store, tensors)
                findings += check_rows(store, tables, names, tensors)
    except BitxError as error:
        findings.append(Finding("file", error.part or "", error.message))
    told = {} if layout is None else _counts(layout)
    return Verification(path, tuple(findings), sealed, version, **told)


def _first_bytes(path: Path) -> bytes:
    with reading(path), path.open("rb") as file:
        return file.read(len(SIGNATURE))


def _counts(layout: LayoutCheck) -> dict[str, int]:
    return {
        "tables": len(layout.tables),
        "tensors": len(layout.tensors),
        "arrays": layout.arrays,
        "checksums": layout.checksums,
    }
