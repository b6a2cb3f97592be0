"""Whole dumps, one tensor in memory at a time: which tensors are weights, their statistics, their pruning."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps import Dump, Tensor, TensorProgress, save
from bitxcore.engine import locate_nonfinite
from bitxcore.errors import BitxError, TensorError
from bitxcore.formats import NumberFormat, fixed_width, format_of, number_format
from bitxcore.groups import Layout
from bitxcore.packed import pack
from bitxcore.pruning import Pruned, prune
from bitxcore.summary import Statistics, statistics

_BLOCK_VALUES = 1 << 16


@dataclass(frozen=True)
class Selection:
    """Which tensors of a dump are worked on.

    Parameters
    ----------
    include, exclude : tuple of str
        Patterns as in `fnmatch`, compared with whole names. Given `include`, those and no others;
        `exclude` always wins.
    min_dims : int
        Dimensions of a tensor that counts as weights, where the container can't tell.

    Notes
    -----
    Without `include`: what the container knows to be weights; where it does not know, every
    tensor of at least `min_dims` dimensions; and the tensor of a dump that has no other.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_dims: int = 2

    def choose(self, dump: Dump, format: str | None = None) -> Chosen:  # noqa: A002
        """Split the tensors of a dump.

        Parameters
        ----------
        dump : Dump
        format : str, optional
            Number format the tensors are to be read in; those it does not fit are left out.

        Raises
        ------
        TensorError
            If no tensor is left, a pattern of `include` matches none, or a tensor that can't be
            worked on (empty, 0-d, of another dtype) is included by its whole name or is the only one.
        """
        if format is not None:
            number_format(format)
        for pattern in self.include:
            if not any(fnmatchcase(name, pattern) for name in dump):
                raise TensorError(f"no tensor is named like {pattern!r}", path=dump.path)
        alone = len(dump) == 1
        tensors, left_out = [], dict(dump.ignored)
        for name, tensor in dump.items():
            reason = self._unwanted(tensor, alone) or unusable(tensor, format)
            if reason is None:
                tensors.append(tensor)
            elif name in self.include or (alone and name not in self.exclude):
                raise TensorError(f"{reason}", path=dump.path, tensor=name)
            else:
                left_out[name] = reason
        if not tensors:
            reasons = "; ".join(f"{len(names)} x {why}" for why, names in grouped(left_out).items())
            raise TensorError(f"has no tensor to work on ({reasons or 'it is empty'})", path=dump.path)
        return Chosen(tuple(tensors), left_out)

    def _unwanted(self, tensor: Tensor, alone: bool) -> str | None:
        if any(fnmatchcase(tensor.name, pattern) for pattern in self.exclude):
            return "excluded"
        if self.include:
            included = any(fnmatchcase(tensor.name, pattern) for pattern in self.include)
            return None if included else "not included"
        if alone or tensor.is_weight:
            return None
        if tensor.is_weight is False:
            return "no layer multiplies by it"
        return None if tensor.ndim >= self.min_dims else f"fewer than {self.min_dims} dimensions"


@dataclass(frozen=True)
class Chosen:
    """Tensors to work on, in order, and why each of the others is not among them."""

    tensors: tuple[Tensor, ...]
    left_out: dict[str, str]


def unusable(tensor: Tensor, format: str | None = None) -> str | None:  # noqa: A002
    """Say why a tensor can't be cut into groups of `format`, or return None if it can."""
    if not tensor.shape:
        return "a 0-d tensor has no filters"
    if not tensor.size:
        return f"the tensor is empty: shape {tensor.shape}"
    try:
        if fixed_width(format):
            if not format_of(tensor.dtype).is_float:
                return f"{format} is made from floats, but the array is {tensor.dtype}"
        else:
            format_of(tensor.dtype, format)
    except TensorError as error:
        return str(error).partition(";")[0]  # without the list of all formats
    return None


def grouped(left_out: dict[str, str]) -> dict[str, list[str]]:
    """Gather names by reason, the most frequent reason first."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return dict(sorted(reasons.items(), key=lambda item: -len(item[1])))


# -- inspect -----------------------------------------------------------------------------------

INSPECT_UNITS: dict[str, str] = {
    "tensor": "",
    "shape": "",
    "dtype": "",
    "format": "",
    "values": "1",
    "zeros": "1",
    "value_sparsity": "1",
    "essential_bits": "bit",
    "essential_bits_per_nonzero": "bit",
    "bit_sparsity": "1",
    "groups": "1",
    "zero_groups": "1",
    "nonfinite_groups": "1",
    "nonempty_rows_mean": "1",
    "nonempty_rows_max": "1",
    "window_rows": "1",
}
"""Unit of each column of `Inspected.columns`; ``""`` for text."""


@dataclass(frozen=True)
class Inspected:
    """One tensor's row of `inspect_dump`.

    Attributes
    ----------
    tensor : str
    shape : tuple of int
        As stored.
    dtype : numpy.dtype
    statistics : Statistics
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    statistics: Statistics

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `INSPECT_UNITS`."""
        s = self.statistics
        filled = np.flatnonzero(s.nonempty_rows_histogram)
        row = {name: getattr(s, name, None) for name in INSPECT_UNITS}
        return row | {
            "tensor": self.tensor,
            "shape": shape_text(self.shape),
            "dtype": str(self.dtype),
            "format": s.format.name,
            "window_rows": s.window,
            "essential_bits_per_nonzero": _share(s.essential_bits, s.values - s.zeros),
            "bit_sparsity": s.bit_sparsity if s.values > s.zeros else None,
            "nonempty_rows_mean": s.mean_nonempty_rows if filled.size else None,
            "nonempty_rows_max": int(filled[-1]) if filled.size else None,
        }


def inspect_dump(
    dump: Dump,
    tensors: tuple[Tensor, ...] | None = None,
    *,
    progress: TensorProgress | None = None,
    **options: Any,
) -> Iterator[Inspected]:
    """Count the bits of a dump's weights, tensor by tensor.

    Parameters
    ----------
    dump : Dump
    tensors : tuple of Tensor, optional
        Those to inspect; by default `Selection` chooses.
    progress : callable, optional
        Called with each tensor after it.
    **options
        ``group``, ``window``, ``format``, ``grouping``, ``nonfinite`` of `statistics`.

    Yields
    ------
    Inspected
        In the order of the dump; the output channel has been turned to axis 0.

    Raises
    ------
    TensorError
        Naming file, tensor, flat index and value.
    """
    if tensors is None:
        tensors = Selection().choose(dump, options.get("format")).tensors
    for tensor in tensors:
        found = _on_turned(dump, tensor, tensor.read(), lambda x: statistics(x, **options), options)
        if progress:
            progress(tensor)
        yield Inspected(tensor.name, tensor.shape, tensor.dtype, found)


# -- prune -------------------------------------------------------------------------------------

PRUNE_UNITS: dict[str, str] = {
    "tensor": "",
    "shape": "",
    "dtype": "",
    "format": "",
    "values": "1",
    "groups": "1",
    "nonfinite_groups": "1",
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
    values, groups, nonfinite_groups : int
    kept_rows_histogram : tuple of int
        Entry r: the groups with r kept rows.
    norm : float
        Euclidean norm of the tensor before pruning.
    relative_error : float
        Euclidean norm of the difference over `norm`; with ``fixed<N>`` the rounding to N bits
        is a part of it.
    changed_values, zeros_before, zeros_after : int
    packed_bits : int or None
        Bits of the packed form; None if a group was left untouched for a NaN or Inf.
    window : int
    scale : float or None
        ``fixed<N>`` only.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    format: NumberFormat
    values: int
    groups: int
    nonfinite_groups: int
    kept_rows_histogram: tuple[int, ...] = field(repr=False)
    norm: float
    relative_error: float
    changed_values: int
    zeros_before: int
    zeros_after: int
    packed_bits: int | None
    window: int
    scale: float | None

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


Each = Callable[[PrunedTensor, Pruned], None]


def prune_dump(
    dump: Dump,
    out: str | os.PathLike[str],
    tensors: tuple[Tensor, ...] | None = None,
    *,
    each: Each | None = None,
    progress: TensorProgress | None = None,
    **options: Any,
) -> list[PrunedTensor]:
    """Prune a dump's weights and write the dump again, all else in it unchanged.

    Each tensor is read once, pruned and written before the next one is read.

    Parameters
    ----------
    dump : Dump
    out : path-like
        As in `bitxcore.dumps.save`: the dump's own container, or ``.npz`` or ``.safetensors``. Appears
        whole or not at all.
    tensors : tuple of Tensor, optional
        Those to prune; by default `Selection` chooses.
    each : callable, optional
        Called with the row and the `Pruned` of each tensor; the latter has the output channel first.
    progress : callable, optional
        Called with each tensor after it was written or copied.
    **options
        All parameters of `prune` but ``out``.

    Returns
    -------
    list of PrunedTensor
        In the order of the dump.

    Raises
    ------
    TensorError
        Naming file, tensor, flat index and value.
    BitxError
        If a parameter is out of range, or `out` can't be written.
    """
    if tensors is None:
        tensors = Selection().choose(dump, options.get("format")).tensors
    chosen = {tensor.name for tensor in tensors}
    rows: list[PrunedTensor] = []

    def replace(tensor: Tensor) -> npt.NDArray[Any] | None:
        if tensor.name not in chosen:
            return None
        stored = tensor.read()
        pruned = _on_turned(dump, tensor, stored, lambda x: prune(x, **options), options)
        values = _layout(tensor).restore(pruned.values)
        rows.append(_row(tensor, stored, values, pruned))
        if each:
            each(rows[-1], pruned)
        return values

    save(dump, out, replace, progress=progress)
    return rows


def _row(tensor: Tensor, before: npt.NDArray[Any], after: npt.NDArray[Any], p: Pruned) -> PrunedTensor:
    norms, errors = [], []
    changed = zeros_before = zeros_after = 0
    for old, new in _blocks(before, after):
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        changed += same.size - int(np.count_nonzero(same))
        zeros_before += old.size - int(np.count_nonzero(old))
        zeros_after += new.size - int(np.count_nonzero(new))
        finite = np.isfinite(old)
        norms.append(_norm(old[finite]))
        errors.append(_norm(np.where(same, 0.0, old - np.where(same, 0.0, new))[finite]))
    norm, error = math.hypot(*norms), math.hypot(*errors)
    return PrunedTensor(
        tensor=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        format=p.format,
        values=tensor.size,
        groups=p.kept_rows.size,
        nonfinite_groups=p.nonfinite_groups,
        kept_rows_histogram=tuple(p.kept_rows_histogram().tolist()),
        norm=norm,
        relative_error=error / norm if norm else 0.0,
        changed_values=changed,
        zeros_before=zeros_before,
        zeros_after=zeros_after,
        packed_bits=None if p.nonfinite_groups else pack(p).bits,
        window=p.window,
        scale=p.scale,
    )


def _blocks(
    x: npt.NDArray[Any], y: npt.NDArray[Any]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield matching pieces of two arrays in float64, which holds every format exactly."""
    step = max(1, _BLOCK_VALUES // max(1, x[0].size))
    with np.errstate(invalid="ignore"):
        for start in range(0, x.shape[0], step):
            part = slice(start, start + step)
            yield x[part].astype(np.float64), y[part].astype(np.float64)


def _norm(x: npt.NDArray[np.float64]) -> float:
    """Euclidean norm that neither overflows nor underflows on the way."""
    top = float(np.abs(x).max(initial=0.0))
    return top * float(np.linalg.norm(x / top)) if top else 0.0


# -- both --------------------------------------------------------------------------------------


def _layout(tensor: Tensor) -> Layout:
    return tensor.layout if tensor.ndim > 1 else Layout()


def _on_turned(
    dump: Dump,
    tensor: Tensor,
    stored: npt.NDArray[Any],
    work: Callable[[npt.NDArray[Any]], Any],
    options: dict[str, Any],
) -> Any:
    """Call `work` with the output channel on axis 0; errors name file, tensor and index as stored."""
    layout = _layout(tensor)
    where = f"{dump.path}: tensor {tensor.name!r}"
    try:
        return work(layout.turn(stored))
    except TensorError as error:
        raise TensorError(f"{where}: {_as_stored(error, stored, layout, options)}") from error


def _as_stored(
    error: TensorError, stored: npt.NDArray[Any], layout: Layout, options: dict[str, Any]
) -> BitxError:
    """Point to the value where it is in the file, not where turning the tensor had put it."""
    if layout == Layout() or "flat index" not in str(error):
        return error
    name = options.get("format")
    fmt = format_of(stored.dtype, None if fixed_width(name) else name)
    return locate_nonfinite(np.ascontiguousarray(stored), fmt)


def shape_text(shape: tuple[int, ...]) -> str:
    """Write a shape as ``64x3x7x7``."""
    return "x".join(map(str, shape))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def inspect_totals(rows: list[Inspected]) -> dict[str, Any]:
    """Sum a dump's rows; shares are formed anew from the sums.

    Returns
    -------
    dict
        ``tensors``, and columns of `INSPECT_UNITS`; None where a share has no whole.
    """
    found = [row.statistics for row in rows]
    values, zeros = sum(s.values for s in found), sum(s.zeros for s in found)
    ones = sum(s.essential_bits for s in found)
    bits = sum((s.values - s.zeros) * s.format.significand_bits for s in found)
    histograms = [s.nonempty_rows_histogram for s in found]
    nonempty = sum(int(h @ np.arange(h.size)) for h in histograms)
    return {
        "tensors": len(rows),
        "values": values,
        "zeros": zeros,
        "value_sparsity": _share(zeros, values),
        "essential_bits": ones,
        "essential_bits_per_nonzero": _share(ones, values - zeros),
        "bit_sparsity": _share(bits - ones, bits),
        "groups": sum(s.groups for s in found),
        "zero_groups": sum(s.zero_groups for s in found),
        "nonfinite_groups": sum(s.nonfinite_groups for s in found),
        "nonempty_rows_mean": _share(nonempty, sum(int(h.sum()) for h in histograms)),
        "nonempty_rows_max": max((int(h.nonzero()[0][-1]) for h in histograms if h.any()), default=None),
    }


def prune_totals(rows: list[PrunedTensor]) -> dict[str, Any]:
    """Sum a dump's rows; shares are formed anew from the sums.

    Returns
    -------
    dict
        ``tensors``, ``stored_bits`` of the unpacked values, and columns of `PRUNE_UNITS`.
    """
    groups, values = sum(row.groups for row in rows), sum(row.values for row in rows)
    kept = sum(r * n for row in rows for r, n in enumerate(row.kept_rows_histogram))
    norm = math.hypot(*(row.norm for row in rows))
    error = math.hypot(*(row.relative_error * row.norm for row in rows))
    packed = [row.packed_bits for row in rows if row.packed_bits is not None]
    packed_bits = sum(packed) if len(packed) == len(rows) else None
    return {
        "tensors": len(rows),
        "values": values,
        "groups": groups,
        "nonfinite_groups": sum(row.nonfinite_groups for row in rows),
        "kept_rows_mean": _share(kept, groups),
        "kept_rows_max": max((row.kept_rows_max for row in rows), default=None),
        "relative_error": error / norm if norm else 0.0,
        "changed_values": sum(row.changed_values for row in rows),
        "zeros_before": sum(row.zeros_before for row in rows),
        "zeros_after": sum(row.zeros_after for row in rows),
        "packed_bits": packed_bits,
        "packed_bits_per_weight": None if packed_bits is None else _share(packed_bits, values),
        "stored_bits": sum(row.values * row.dtype.itemsize * 8 for row in rows),
    }
