"""Finished layers of a preparation on disk, so that one that was killed goes on with the next layer."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch import Selection
from bitxcore.dumps import Dump
from bitxcore.errors import BitxError
from bitxcore.journal import SUFFIX, Journal
from hwmodel.preparation.budget import Budget
from hwmodel.preparation.fitting import PreparedTensor

Array = npt.NDArray[Any]


class KeptLayers:
    """Layers that an earlier run has finished, and those that this one finishes.

    Parameters
    ----------
    journal : Journal, optional
        Open; None: nothing is kept.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._rows = {} if journal is None else {row.get("tensor"): row for row in journal.rows.values()}
        self._next = 0 if journal is None else max(journal.rows, default=-1) + 1

    def __len__(self) -> int:
        return self._next

    def get(self, name: str, dump: Dump) -> tuple[dict[str, Array], PreparedTensor] | None:
        """Give what took the place of a layer's tensors, and the report; None if it is not finished.

        Raises
        ------
        BitxError
            If the journal holds something else.
        """
        row = self._rows.get(name)
        if row is None or self._journal is None:
            return None
        try:
            changed = {tensor: _array(dump, tensor, text) for tensor, text in row["changed"].items()}
            return changed, PreparedTensor(**row["report"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BitxError(
                f"holds no layer {name!r} of this preparation; restart it, or choose another output",
                path=self._journal.path,
            ) from error

    def add(self, changed: Mapping[str, Array], report: PreparedTensor) -> None:
        """Keep a layer: it is on disk when this returns."""
        if self._journal is None:
            return
        texts = {name: b64encode(array.tobytes()).decode("ascii") for name, array in changed.items()}
        row = {"point": self._next, "tensor": report.tensor, "report": asdict(report), "changed": texts}
        self._journal.append([row])
        self._next += 1


@contextmanager
def kept_beside(out: Path, definition: Mapping[str, Any], *, restart: bool) -> Iterator[KeptLayers]:
    """Keep layers in a journal beside the output; it is removed at the end, and where nothing is finished.

    Parameters
    ----------
    out : pathlib.Path
    definition : mapping
        As of `definition_of`.
    restart : bool
        Forget what an earlier run has finished.

    Raises
    ------
    BitxError
        As of `bitxcore.journal.Journal`.
    """
    beside = out.with_name(out.name + SUFFIX)
    with Journal(beside, definition, restart=restart, of="preparation") as journal:
        kept = KeptLayers(journal)
        try:
            yield kept
        except BaseException:
            if not len(kept):
                journal.remove()
            raise
        journal.remove()


def definition_of(
    dump: Dump,
    batches: Sequence[Mapping[str, Array]],
    budget: Budget | Callable[[str], Budget | None],
    budgets: Mapping[str, Budget | None],
    selection: Selection,
    runs_by: Sequence[str],
) -> dict[str, Any]:
    """Say what prepared values depend on.

    Parameters
    ----------
    dump : Dump
    batches : sequence of dict of str to ndarray
    budget : Budget or callable
        As given.
    budgets : mapping of str to (Budget or None)
        Of each chosen tensor.
    selection : Selection
    runs_by : sequence of str
        Distributions whose releases count, by which the model is run.
    """
    samples = hashlib.sha256()
    for feeds in batches:
        for name, array in feeds.items():
            samples.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
            samples.update(np.ascontiguousarray(array).tobytes())
    own: dict[str, Any] = asdict(budget) if isinstance(budget, Budget) else {}
    if not own:
        each = {name: None if found is None else asdict(found) for name, found in budgets.items()}
        own = {"budgets": hashlib.sha256(repr(each).encode()).hexdigest()}
    return {
        "versions": {name: _version(name) for name in ("bitx", "numpy", *runs_by)},
        "model": dump.sha256(),
        "samples": samples.hexdigest(),
        **own,
        "selection": asdict(selection),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _array(dump: Dump, name: str, text: str) -> Array:
    tensor = dump[name]
    found: Array = np.frombuffer(b64decode(text, validate=True), tensor.dtype).reshape(tensor.shape).copy()
    return found
