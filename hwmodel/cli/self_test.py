"""Tiny tests of an installation: that kernels compile and equal the definition, and that data can be kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

_FORMATS = ("float32", "int8")  # kernels of floats and of integers
_GROUP, _ROWS = 8, 3


@dataclass(frozen=True)
class Check:
    """One test and how it ended.

    Parameters
    ----------
    what : str
        What holds if it passed.
    seconds : float
    error : str
        Empty if it passed.
    advice : str
        What to do if it failed.
    """

    what: str
    seconds: float
    error: str
    advice: str


def _expect(what: str, found: object, wanted: object) -> None:
    """Raise where a value is not the wanted one; an assert statement would vanish under ``python -O``."""
    if found != wanted:
        raise ValueError(f"{what}: got {found}, must be {wanted}")


def compiles() -> None:
    """Compile a loop that no cache holds, and run it."""
    import numba

    def ones(value: int) -> int:
        count = 0
        while value:
            value &= value - 1
            count += 1
        return count

    compiled: Any = numba.njit(ones)
    _expect("ones in 0b1011, by a compiled loop", compiled(0b1011), 3)


def prunes() -> None:
    """Prune small tensors by the kernels and by the definition on Python integers."""
    import numpy as np

    import bitxcore as bx
    from bitxcore import reference
    from bitxcore.formats import number_format

    rng = np.random.default_rng(2021)
    for name in _FORMATS:
        form = number_format(name)
        scale = 1.0 if form.is_float else 30.0
        x = (scale * rng.normal(size=(4, 3 * _GROUP))).astype(form.dtype)
        pruned = bx.prune(x, rows=_ROWS, group=_GROUP).values
        before, after = (a.view(form.storage_dtype).reshape(-1, _GROUP).tolist() for a in (x, pruned))
        for codes, found in zip(before, after, strict=True):
            wanted, _, _ = reference.prune_group(codes, form, form.default_window, rows=_ROWS)
            _expect(f"{name}: {codes} pruned", found, wanted)


def keeps_results() -> None:
    """Write a store to the temporary folder, and read it."""
    from bitxcore.store import Store

    with tempfile.TemporaryDirectory(prefix="bitx-doctor-") as folder:
        path = Path(folder, "store.h5")
        with Store.create(path) as store:
            store.write_table("table", {"values": [1, 2]}, units={"values": "1"})
        with Store.open(path) as store:
            _expect("values of a store", store.table("table")["values"].tolist(), [1, 2])


def finds_data() -> None:
    """Load a network table and find the samples."""
    from bitxcore.data import data_folder
    from hwmodel import load_network

    _expect("layers of resnet50", len(load_network("resnet50")), 54)
    _expect("samples", any(data_folder("samples").glob("*.onnx")), True)


CHECKS: dict[Callable[[], None], tuple[str, str]] = {
    compiles: (
        "Numba compiles",
        "install versions of Numba and llvmlite that fit: pip install --upgrade numba llvmlite",
    ),
    prunes: (
        "kernels equal the definition",
        "repair what else is broken, then delete the cache folder; if that changes nothing, report it",
    ),
    keeps_results: (
        "HDF5 keeps results",
        "set TMPDIR to a folder that can be written; else reinstall h5py",
    ),
    finds_data: (
        "tables and samples are there",
        "install the package again: pip install --force-reinstall --no-deps bitx",
    ),
}
"""Tests in order: what holds if one passes, and what to do if not."""


def run_checks(checks: Iterable[Callable[[], None]] = CHECKS) -> list[Check]:
    """Run tests; one that raises has failed, and the others go on.

    Parameters
    ----------
    checks : iterable of functions
        Of `CHECKS`.

    Examples
    --------
    >>> check, = run_checks([finds_data])
    >>> check.what, check.error
    ('tables and samples are there', '')
    """
    found = []
    for check in checks:
        what, advice = CHECKS[check]
        start, error = perf_counter(), ""
        try:
            check()
        except Exception as raised:  # anything, for it is told
            error = f"{type(raised).__name__}: {raised}"
        found.append(Check(what, perf_counter() - start, error, advice))
    return found
