"""What pruning did to a module, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from bitxcore.batch import PRUNE_UNITS, PrunedTensor, grouped, prune_totals
from bitxcore.errors import OptionError
from bitxcore.showing import record_repr, table_repr

MODULE_UNITS: dict[str, str] = {**PRUNE_UNITS, "names": "", "ones_before": "bit", "ones_after": "bit"}
"""Unit of each column of `PrunedWeight.columns`; ``""`` for text."""


@dataclass(frozen=True)
class PrunedWeight(PrunedTensor):
    """One tensor of a module that was pruned.

    Attributes
    ----------
    tensor : str
        Its first name in the state dict.
    names : tuple of str
        All its names; more than one for tied weights.
    ones_before, ones_after : int or None
        Ones of the significands, in the format that was pruned in: after rounding to it, where it is another
        one than the weights'. None if a group was left untouched for a NaN or Inf.
    relative_error : float
        As in `PrunedTensor`; rounding to another float format is a part of it.
    """

    names: tuple[str, ...]
    ones_before: int | None
    ones_after: int | None

    def __repr__(self) -> str:
        names = "tensor", "shape", "relative_error", "kept_rows_mean", "ones_before", "ones_after"
        return record_repr(self, *names, format=self.format.name)

    @staticmethod
    def of(row: PrunedTensor, names: tuple[str, ...], before: int | None, after: int | None) -> PrunedWeight:
        """Add names and ones to a row."""
        own = {part.name: getattr(row, part.name) for part in fields(row)}
        return PrunedWeight(**own, names=names, ones_before=before, ones_after=after)

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `MODULE_UNITS`."""
        ones = {"ones_before": self.ones_before, "ones_after": self.ones_after}
        return super().columns() | {"names": ", ".join(self.names)} | ones


@dataclass(frozen=True)
class PrunedModule:
    """What `prune_` and `pruned` did to a module.

    Attributes
    ----------
    module : str
        Name of its type.
    tensors : tuple of PrunedWeight
        In the order of the state dict, tied weights once.
    left_alone : dict of str to str
        Every other entry of the state dict, and why it was not pruned.
    options : dict
        As given.

    Examples
    --------
    ``len`` is the number of pruned tensors, iteration gives them, and ``report["fc.weight"]`` is one of
    them, by any of its names.
    """

    module: str
    tensors: tuple[PrunedWeight, ...]
    left_alone: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tensors)

    def __iter__(self) -> Iterator[PrunedWeight]:
        return iter(self.tensors)

    def __getitem__(self, name: str) -> PrunedWeight:
        for weight in self.tensors:
            if name in weight.names:
                return weight
        reason = self.left_alone.get(name)
        raise OptionError(
            f"no tensor of that name was pruned{f': {reason}' if reason else ''}", tensor=name, value=name
        )

    def __repr__(self) -> str:
        shown = ("tensor", "shape", "format", "relative_error", "kept_rows_mean", "ones_before", "ones_after")
        rows = ({name: row[name] for name in shown} for row in self.rows())
        total = self.totals()
        head = (
            f"PrunedModule: {self.module}, {len(self):,} tensor{'' if len(self) == 1 else 's'}, "
            f"relative error {total['relative_error']:.4g}, {total['kept_rows_mean']:.4g} rows per group"
        )
        reasons = (f"{len(names)} x {why}" for why, names in grouped(self.left_alone).items())
        tail = [f"left alone: {'; '.join(reasons)}"] if self.left_alone else []
        return table_repr(head, rows, *tail)

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: per tensor a value, or None, for each name in `MODULE_UNITS`."""
        return [weight.columns() for weight in self.tensors]

    def totals(self) -> dict[str, Any]:
        """Sum the tensors; shares are formed anew from the sums.

        Returns
        -------
        dict
            As `bitxcore.batch.prune_totals`, with ``ones_before`` and ``ones_after``.
        """
        sums: dict[str, int | None] = {}
        for name in ("ones_before", "ones_after"):
            parts = [getattr(weight, name) for weight in self.tensors]
            sums[name] = None if None in parts else sum(parts)
        return prune_totals([*self.tensors]) | sums

    @property
    def relative_error(self) -> float:
        """Euclidean norm of all differences over that of all pruned weights, each memory counted once."""
        return float(self.totals()["relative_error"])

    @property
    def kept_rows_mean(self) -> float:
        """Mean number of kept rows of a group."""
        return float(self.totals()["kept_rows_mean"])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in plain types, for JSON."""
        return {
            "module": self.module,
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in self.options.items()},
            "tensors": [row | {"names": list(w.names)} for row, w in zip(self.rows(), self, strict=True)],
            "totals": self.totals(),
            "left_alone": dict(self.left_alone),
            "units": dict(MODULE_UNITS),
        }
