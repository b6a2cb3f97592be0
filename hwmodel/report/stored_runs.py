"""What a report is made of: the stores of one or several runs, read whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitxcore.errors import OptionError
from bitxcore.remote.remote_path import as_path
from bitxcore.tables import Tables
from hwmodel.report.store_rules import checked_arrays, kept_tables, missing_histograms

KINDS: dict[str, tuple[str, str]] = {
    "comparison": ("comparison", "Comparison of machines"),
    "simulation": ("simulation", "Simulation"),
    "sweep": ("sweep", "Sweep"),
    "evaluation": ("evaluation", "Evaluation"),
    "reproduction": ("reproduction", "The paper's numbers"),
    "pruning": ("pruning", "Pruning"),
    "statistics": ("statistics", "Bits of the weights"),
}
"""Kind of run: the table that marks it, and a title. The first that fits is taken."""


OF_TENSORS = ("pruning", "statistics")
"""Kinds whose rows are tensors, of one dump or of several."""

OWN_STORES = "bitx batch --each writes a store per dump"


@dataclass(frozen=True)
class StoredRun:
    """A store that was read.

    Parameters
    ----------
    path : pathlib.Path
    kind : str
        One of `KINDS`.
    tables : Tables
    provenance : bitxcore.store.provenance.Provenance
    name : str
        Unique in a report: the file's name, with folders where names are equal.
    remarks : tuple of str
        What of the store is not shown, and why.
    """

    path: Path
    kind: str
    tables: Tables
    provenance: Any
    name: str
    remarks: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What kind of run it is."""
        return KINDS[self.kind][1]


def read_runs(paths: Sequence[str | os.PathLike[str]]) -> list[StoredRun]:
    """Read stores.

    Parameters
    ----------
    paths : sequence of str or path-like

    Raises
    ------
    DumpError
        If one can't be read, breaks a rule of `hwmodel.report.store_rules`, or holds no table that a report
        shows.
    OptionError
        If there are none, or one is given twice.
    """
    if not paths:
        raise OptionError("a report needs one store at least")
    found = [as_path(path) for path in paths]
    real = [os.path.realpath(path) for path in found]
    for i, path in enumerate(real):
        if path in real[:i]:
            raise OptionError("is given twice", path=found[i])
    return [_read(path, name) for path, name in zip(found, _names(found), strict=True)]


def _read(path: Path, name: str) -> StoredRun:
    from bitxcore.errors import DumpError
    from bitxcore.store import Store

    with Store.open(path) as store:
        found = store.read_tables()
        kept, remarks = kept_tables(found, path)
        kind = next((kind for kind, (table, _) in KINDS.items() if table in kept), None)
        dumps = len(found["dumps"]) if "dumps" in found else 1
        if dumps > 1 and kind not in (None, *OF_TENSORS):
            raise DumpError(f"holds {dumps} dumps, of which a report shows one", path=path, hint=OWN_STORES)
        if kind is None:
            have = "; ".join([f"it has: {', '.join(found) or 'none'}", *remarks])
            raise DumpError(f"has no table that a report shows ({have})", path=path)
        tensors = {tensor: checked_arrays(tensor, store.tensors[tensor], path) for tensor in store.tensors}
        tables = Tables(kept.values(), tensors)
        remarks += missing_histograms(kind, tables)
        return StoredRun(path, kind, tables, store.provenance, name, remarks)


def _names(paths: Sequence[Path]) -> list[str]:
    """Name files by as few folders as tell them apart."""
    parts = [path.resolve().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return names
