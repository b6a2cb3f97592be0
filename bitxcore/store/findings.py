"""What `verify` finds in a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitxcore.showing import brief, record_repr


@dataclass(frozen=True)
class Finding:
    """One rule that a store breaks, at one place.

    Parameters
    ----------
    rule : str
        Its kind: ``"seal"``, ``"file"``, ``"layout"``, ``"checksum"``, ``"values"``, ``"counts"`` or
        ``"arrays"``.
    place : str
        The HDF5 object: ``"/simulation/cycles"``; empty for the file.
    message : str
        The rule, and what breaks it.
    index : int, optional
        The first row, or flat index, that breaks it.
    count : int
        How many rows or values break it.
    expected, found : object, optional
        What must be there, and what is.

    Examples
    --------
    >>> rule = "must be the sum of fill_cycles and compute_cycles"
    >>> print(Finding("counts", "/simulation/cycles", rule, 3, 2, 120, 121))
    /simulation/cycles: row 3 and 1 more: must be the sum of fill_cycles and compute_cycles: expected 120, \
found 121
    """

    rule: str
    place: str
    message: str
    index: int | None = None
    count: int = 1
    expected: Any = None
    found: Any = None

    def __str__(self) -> str:
        parts = [self.place] if self.place else []
        if self.index is not None:
            kind = "value" if self.place.startswith("/tensors/") else "row"
            parts.append(f"{kind} {self.index}" + (f" and {self.count - 1} more" if self.count > 1 else ""))
        parts.append(self.message)
        if self.expected is not None:
            parts.append(f"expected {_shown(self.expected)}, found {_shown(self.found)}")
        elif self.found is not None:
            parts.append(f"found {_shown(self.found)}")
        return ": ".join(parts)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and value else brief(value)


@dataclass(frozen=True)
class Verification:
    """What `verify` tells of a store.

    Parameters
    ----------
    path : pathlib.Path
    findings : tuple of Finding
        Empty if all is well.
    is_sealed : bool
        Whether the file has a seal, right or wrong.
    version : str or None
        Of the layout, where it could be read.
    tables, tensors, arrays : int
        How many of them were looked at.
    checksums : int
        Of the arrays, columns included, those whose checksum was there and right. Stores of layout 1.0 have
        none.

    Examples
    --------
    >>> Verification(Path("run.h5"), (), True, "1.1", 1, 0, 4, 4).is_sound
    True
    """

    path: Path
    findings: tuple[Finding, ...]
    is_sealed: bool
    version: str | None
    tables: int = 0
    tensors: int = 0
    arrays: int = 0
    checksums: int = 0

    def __repr__(self) -> str:
        return record_repr(self)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings
