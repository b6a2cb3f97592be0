"""Say whether stores hold the same results: ``python -m tests.tools.compare_stores BEFORE AFTER``.

Two stores, or two folders of stores of equal names. Every group, dataset and attribute has to be there on
both sides with the same dtype, shape and value; only the provenance (who wrote it, when, with which command)
may differ. For moves that must not change a result: write stores before and after, then run this.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PROVENANCE = "provenance"
WRITTEN = {"created", "creator", "creator-version"}
"""Attributes of the file that say when and by what it was written."""


def differences(before: Path, after: Path) -> Iterator[str]:
    """List what two stores do not have in common."""
    with h5py.File(before, "r") as a, h5py.File(after, "r") as b:
        yield from _different_groups("", a, b)


def _different_groups(where: str, a: h5py.Group, b: h5py.Group) -> Iterator[str]:
    ignored = {PROVENANCE} if not where else set()
    yield from _different_attributes(where or "/", a, b, ignored=WRITTEN if not where else set())
    for name in sorted({*a, *b} - ignored):
        here = f"{where}/{name}"
        if name not in a or name not in b:
            yield f"{here}: only {'after' if name in b else 'before'}"
            continue
        x, y = a[name], b[name]
        if type(x) is not type(y):
            yield f"{here}: {type(x).__name__} before, {type(y).__name__} after"
        elif isinstance(x, h5py.Group):
            yield from _different_groups(here, x, y)
        else:
            yield from _different_attributes(here, x, y)
            yield from _different_values(here, x, y)


def _different_values(here: str, x: h5py.Dataset, y: h5py.Dataset) -> Iterator[str]:
    if x.dtype != y.dtype or x.shape != y.shape:
        yield f"{here}: {x.dtype} {x.shape} before, {y.dtype} {y.shape} after"
        return
    old, new = np.asarray(x[()]), np.asarray(y[()])
    same = old == new
    if old.dtype.kind == "f":
        same = same | (np.isnan(old) & np.isnan(new))
    if not np.all(same):
        index = int(np.argmin(np.reshape(same, -1)))
        yield (
            f"{here}: {np.size(same) - np.count_nonzero(same)} of {np.size(same)} values differ; [{index}] is"
            f" {old.reshape(-1)[index]!r} before, {new.reshape(-1)[index]!r} after"
        )


def _different_attributes(
    here: str, a: Any, b: Any, ignored: set[str] | frozenset[str] = frozenset()
) -> Iterator[str]:
    for name in sorted({*a.attrs, *b.attrs} - ignored):
        old, new = a.attrs.get(name), b.attrs.get(name)
        if not np.array_equal(old, new):
            yield f"{here}: attribute {name!r} is {str(old)[:60]!r} before, {str(new)[:60]!r} after"


def pairs(before: Path, after: Path) -> list[tuple[Path, Path]]:
    """Pair two stores, or those of two folders by name."""
    if before.is_file():
        return [(before, after)]
    names = sorted({p.name for folder in (before, after) for p in folder.glob("*.h5")})
    return [(before / name, after / name) for name in names]


def main(before: str, after: str) -> int:
    """Print all differences; return how many stores differ."""
    different = 0
    for a, b in pairs(Path(before), Path(after)):
        missing = [path for path in (a, b) if not path.exists()]
        found = [f"{path} is missing" for path in missing] or list(differences(a, b))
        print(f"{a.name}: {'equal' if not found else f'{len(found)} differences'}")
        for line in found[:20]:
            print(f"  {line}")
        different += bool(found)
    return different


if __name__ == "__main__":
    sys.exit(bool(main(*sys.argv[1:])))
