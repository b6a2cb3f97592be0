"""What is told of a pruned tensor: a row, added up from the pieces in which it was pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.euclidean import ErrorSums, relative_norms, weight_blocks
from bitxcore.batch.selection import shape_text, share_of
from bitxcore.dumps import Tensor
from bitxcore.engine import Cut
from bitxcore.formats import NumberFormat
from bitxcore.groups import MAX_GROUP
from bitxcore.pruned import Pruned
from bitxcore.weight_ones import ones_histogram

Array = npt.NDArray[Any]

PRUNE_UNITS: dict[str, str] = {
    "tensor": "",
    "shape": "",
    "dtype": "",
    "format": "",
    "values": "1",
    "groups": "1",
    "nonfinite_groups": "1",
    "window_limited_groups": "1",
    "kept_rows_mean": "1",
    "kept_rows_max": "1",
    "relative_error": "1",
    "changed_values": "1",
    "zeros_before": "1",
    "zeros_after": "1",
    "packed_bits": "bit",
    "packed_bits_per_weight": "bit",
    "norm": "1",
    "window_rows": "1",
    "scale": "1",
}
"""Unit of each column of `PrunedTensor.columns`; ``""`` for text."""


@dataclass(frozen=True)
class PrunedTensor:
    """One tensor's row of `prune_dump`.

    Attributes
    ----------
    tensor : str
    shape : tuple of int
        As stored.
    dtype : numpy.dtype
    format : NumberFormat
    values, groups, nonfinite_groups, window_limited_groups : int
        The last two as in `Pruned`.
    stored_bits : int
        Bits that the unpruned values take in the dump.
    kept_rows_histogram : tuple of int
        Entry r: the groups with r kept rows.
    norm : float
        Euclidean norm of the tensor before pruning; at most the largest number of float64. Where integers
        represent weights, it and all that follows is of these: zero points subtracted, scales applied.
    relative_error : float
        Euclidean norm of the difference over `norm`; with ``fixed<N>`` the rounding to N bits
        is a part of it.
    changed_values, zeros_before, zeros_after : int
    packed_bits : int or None
        Bits of the packed form; None if a group was left untouched for a NaN or Inf, or has more than 64
        weights.
    window : int
    scale : float or None
        ``fixed<N>`` only.
    ones_histogram, pruned_ones_histogram : tuple of int, optional
        Entry n: the weights with n ones in their significand, before pruning and after. None if a group was
        left untouched for a NaN or Inf, which have no ones to count.
    note : str
        Why it took more memory than it was given; empty if it did not.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    format: NumberFormat
    values: int
    stored_bits: int
    groups: int
    nonfinite_groups: int
    window_limited_groups: int
    kept_rows_histogram: tuple[int, ...] = field(repr=False)
    norm: float
    relative_error: float
    changed_values: int
    zeros_before: int
    zeros_after: int
    packed_bits: int | None
    window: int
    scale: float | None
    ones_histogram: tuple[int, ...] | None = field(default=None, repr=False, kw_only=True)
    pruned_ones_histogram: tuple[int, ...] | None = field(default=None, repr=False, kw_only=True)
    note: str = field(default="", repr=False, kw_only=True)

    @property
    def kept_rows_mean(self) -> float:
        """Mean number of kept rows of a group."""
        return sum(r * n for r, n in enumerate(self.kept_rows_histogram)) / self.groups

    @property
    def kept_rows_max(self) -> int:
        """Most rows that a group keeps."""
        return max(r for r, n in enumerate(self.kept_rows_histogram) if n)

    @property
    def packed_bits_per_weight(self) -> float | None:
        """Bits of the packed form a weight."""
        return None if self.packed_bits is None else self.packed_bits / self.values

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `PRUNE_UNITS`."""
        row = {name: getattr(self, name, None) for name in PRUNE_UNITS}
        return row | {
            "shape": shape_text(self.shape),
            "dtype": str(self.dtype),
            "format": self.format.name,
            "window_rows": self.window,
        }


class PruningSums:
    """What the pieces of a tensor add to its row.

    Parameters
    ----------
    tensor : Tensor
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._compared = ErrorSums(tensor.shape)
        self._cut: Pruned | None = None
        self._groups = self._bad = self._limited = 0
        self._kept: Array | int = 0
        self._ones: list[Array | int] = [0, 0]

    def add(self, before: Array, after: Array, p: Pruned) -> None:
        """Add the piece that comes next.

        Parameters
        ----------
        before, after : ndarray
            Of the tensor, as stored; the whole tensor, where integers represent weights.
        p : Pruned
            With the kept rows.
        """
        if self._tensor.encoding:
            self._compared.add_blocks(weight_blocks(before, after, self._tensor.encoding.weights))
        else:
            self._compared.add(before.reshape(-1), after.reshape(-1), not p.nonfinite_groups)
        self._cut = p
        self._groups += p.kept_rows.size
        self._bad += p.nonfinite_groups
        self._limited += p.window_limited_groups
        self._kept = self._kept + p.kept_rows_histogram()

    def count_ones(self, before: Array, after: Array) -> None:
        """Count the ones of the numbers of the last piece, before it was pruned and after."""
        if self._cut is not None and not self._bad:
            for at, numbers in enumerate((before, after)):
                self._ones[at] = self._ones[at] + ones_histogram(numbers, self._cut.format)

    def row(self, scale: float | None = None, note: str = "") -> PrunedTensor:
        """Return the row of the tensor, all of whose pieces were added."""
        tensor, p, compared, kept = self._tensor, self._cut, self._compared, np.asarray(self._kept)
        assert p is not None
        norm, relative_error = compared.norms()
        counted = not self._bad and not isinstance(self._ones[0], int)
        ones = [tuple(np.asarray(found).tolist()) if counted else None for found in self._ones]
        return PrunedTensor(
            tensor=tensor.name,
            shape=tensor.shape,
            dtype=tensor.dtype,
            format=p.format,
            values=tensor.encoding.size if tensor.encoding else tensor.size,
            stored_bits=tensor.size
            * (tensor.encoding.bits if tensor.encoding else tensor.dtype.itemsize * 8),
            groups=self._groups,
            nonfinite_groups=self._bad,
            window_limited_groups=self._limited,
            kept_rows_histogram=tuple(kept.tolist()),
            norm=norm,
            relative_error=relative_error,
            changed_values=compared.changed,
            zeros_before=compared.zeros_before,
            zeros_after=compared.zeros_after,
            packed_bits=None if self._bad or p.group > MAX_GROUP else packed_bits(p, kept),
            window=p.window,
            scale=p.scale if scale is None else scale,
            ones_histogram=ones[0],
            pruned_ones_histogram=ones[1],
            note=note,
        )


def packed_bits(cut: Cut, kept_rows: Array) -> int:
    """Return `Packed.bits` of a tensor from its groups by their number of kept rows.

    Examples
    --------
    >>> from bitxcore import pack, prune
    >>> p = prune(np.array([3, 8, -9, 0], np.int8), rows=1, group=4)
    >>> packed_bits(p, p.kept_rows_histogram()), pack(p).bits
    (15, 15)
    """
    form = cut.format
    signs = cut.group if form.is_float or form.encoding == "sign-magnitude" else 0
    each = form.exponent_bits + cut.window + signs
    return int(kept_rows.sum()) * each + int(kept_rows @ np.arange(kept_rows.size)) * cut.group


def pruned_row(tensor: Tensor, before: Array, after: Array, p: Pruned) -> PrunedTensor:
    """Compare the values of a tensor, as stored, before and after it was pruned."""
    sums = PruningSums(tensor)
    sums.add(before, after, p)
    return sums.row()


def prune_totals(rows: list[PrunedTensor]) -> dict[str, Any]:
    """Sum a dump's rows; shares are formed anew from the sums.

    Returns
    -------
    dict
        ``tensors``, ``stored_bits`` of the unpacked values, and columns of `PRUNE_UNITS`.

    Examples
    --------
    >>> import tempfile
    >>> import bitxcore as bx
    >>> from bitxcore.batch import prune_dump
    >>> from bitxcore.data import data_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     totals = prune_totals(prune_dump(dump, f"{folder.name}/pruned.onnx", rows=6))
    >>> totals["tensors"], round(totals["packed_bits_per_weight"], 2)
    (13, 12.08)
    >>> folder.cleanup()
    """
    groups, values = sum(row.groups for row in rows), sum(row.values for row in rows)
    kept = sum(r * n for row in rows for r, n in enumerate(row.kept_rows_histogram))
    parts = [(math.frexp(row.norm), row.relative_error) for row in rows]
    _, relative_error = relative_norms([part for part, _ in parts], [(m * r, e) for (m, e), r in parts])
    packed = [row.packed_bits for row in rows if row.packed_bits is not None]
    packed_bits = sum(packed) if len(packed) == len(rows) else None
    return {
        "tensors": len(rows),
        "values": values,
        "groups": groups,
        "nonfinite_groups": sum(row.nonfinite_groups for row in rows),
        "window_limited_groups": sum(row.window_limited_groups for row in rows),
        "kept_rows_mean": share_of(kept, groups),
        "kept_rows_max": max((row.kept_rows_max for row in rows), default=None),
        "relative_error": relative_error,
        "changed_values": sum(row.changed_values for row in rows),
        "zeros_before": sum(row.zeros_before for row in rows),
        "zeros_after": sum(row.zeros_after for row in rows),
        "packed_bits": packed_bits,
        "packed_bits_per_weight": None if packed_bits is None else share_of(packed_bits, values),
        "stored_bits": sum(row.stored_bits for row in rows),
    }
