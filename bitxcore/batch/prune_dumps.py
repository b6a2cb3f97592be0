"""Pruning of whole dumps, one tensor in memory at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.batch.euclidean import euclidean_norm, relative_norms, value_blocks
from bitxcore.batch.selection import (
    LEFT_OUT_BY_NAME,
    Chosen,
    Selection,
    channel_first,
    on_turned,
    read_numbers,
    shape_text,
    share_of,
)
from bitxcore.bits import essential_bits
from bitxcore.dumps import Dump, Tensor, TensorProgress, save
from bitxcore.engine import MAX_WINDOW
from bitxcore.errors import OptionError, TensorError, error_context
from bitxcore.formats import NumberFormat, fixed_width
from bitxcore.groups import MAX_GROUP
from bitxcore.packed import pack
from bitxcore.policy import Policy, as_policy
from bitxcore.pruned import Pruned
from bitxcore.pruning import prune
from bitxcore.quantization import quantize

POLICY_OPTIONS = {"rows", "group", "grouping", "window", "rounding", "criterion", "threshold", "budget"}
"""Parameters of `prune` that a policy sets."""

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
    policy: Policy | str | os.PathLike[str] | None = None,
    layout: str | None = None,
    each: Each | None = None,
    progress: TensorProgress | None = None,
    norms: Mapping[str, npt.ArrayLike] | None = None,
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
    policy : Policy or path, optional
        How each of them is pruned. One that it does not prune stays as it is, bit for bit, and has no row;
        with ``fixed<N>`` it is rounded to N bits, and keeps all rows.
    layout : {"oihw", "ohwi", "hwio"}, optional
        Where output and input channel sit in tensors of two or more dimensions, in place of what the
        container tells.
    each : callable, optional
        Called with the row and the `Pruned` of each tensor; the latter has the output channel first.
    progress : callable, optional
        Called with each tensor after it was written or copied.
    norms : mapping of str to array_like, optional
        Of ``criterion="calibrated"``: for each tensor by its name, as `prune` takes them, of the tensor with
        its output channel first. There may be others.
    **options
        All other parameters of `prune` but ``out``; with a policy those that it does not set: ``format``,
        ``nonfinite`` and ``statistics``.

    Returns
    -------
    list of PrunedTensor
        In the order of the dump.

    Raises
    ------
    TensorError
        With the fields path, tensor, index and value.
    OptionError
        If a parameter is out of range or set by the policy, if the policy names a tensor that the dump
        lacks, or if a tensor has no norms.
    BitxError
        If `out` can't be written.

    Examples
    --------
    >>> import tempfile
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> folder = tempfile.TemporaryDirectory()
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     rows = prune_dump(dump, f"{folder.name}/pruned.onnx", rows=6)
    >>> rows[0].tensor, rows[0].kept_rows_max
    ('stem.weight', 6)
    >>> folder.cleanup()
    """
    policy = None if policy is None else as_policy(policy)
    if policy is not None and (clash := POLICY_OPTIONS & options.keys()):
        name = sorted(clash)[0]
        raise OptionError(f"the policy sets {name} for each tensor: {name} can't be given besides")
    if tensors is None:
        found = Selection().choose(dump, options.get("format"))
        tensors = found.tensors
        if policy is not None:
            check_policy(policy, dump, found)
    elif policy is not None:
        policy.check_names({*dump, *dump.ignored}, dump.path)
    chosen = {tensor.name for tensor in tensors}
    if norms is not None:
        check_norms(dump, tensors, norms)
    rows: list[PrunedTensor] = []

    def pruned_values(tensor: Tensor) -> npt.NDArray[Any] | None:
        if tensor.name not in chosen:
            return None
        own = options if policy is None else _by_policy(policy, tensor.name, options)
        if own is None:
            return None
        with error_context(path=dump.path, tensor=tensor.name):
            stored, numbers, form = read_numbers(tensor, options.get("format"))
        how = own | {"format": form, "norms": None if norms is None else norms[tensor.name]}
        with error_context(path=dump.path, tensor=tensor.name):
            pruned = on_turned(dump, tensor, numbers, partial(prune, **how), form, layout)
        values = channel_first(tensor, layout).restore(pruned.values)
        if tensor.encoding is not None and numbers is not stored:
            values = tensor.encoding.stored(values, stored)
        ones = _ones_histograms(numbers, pruned)
        rows.append(replace(pruned_row(tensor, stored, values, pruned), **ones))
        if each:
            each(rows[-1], pruned)
        return values

    save(dump, out, pruned_values, progress=progress)
    return rows


def _by_policy(policy: Policy, name: str, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return how a tensor is pruned, or None where it stays as it is."""
    own = policy.of(name)
    if own.rows is not None:
        return options | own.as_dict()
    return options | {"rows": MAX_WINDOW} if fixed_width(options.get("format")) else None


def check_policy(policy: Policy, dump: Dump, chosen: Chosen) -> None:
    """Refuse a policy that prunes what is not there, or what can't be pruned.

    Parameters
    ----------
    policy : Policy
    dump : Dump
    chosen : Chosen
        Tensors that are pruned. Tensors that a pattern leaves out are not reported as errors.

    Raises
    ------
    OptionError, TensorError
        With the field `tensor`.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.batch import Selection
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     check_policy(bx.Policy({"head.weight": {"rows": 6}}), dump, Selection().choose(dump))
    """
    policy.check_names({*dump, *dump.ignored}, dump.path)
    for name, options in policy.tensors.items():
        reason = chosen.left_out.get(name)
        if options.rows is not None and reason not in (None, *LEFT_OUT_BY_NAME):
            raise TensorError(f"the policy prunes it, but it can't be: {reason}", path=dump.path, tensor=name)


def check_norms(dump: Dump, tensors: tuple[Tensor, ...], norms: Mapping[str, npt.ArrayLike]) -> None:
    """Raise `OptionError`, before anything is written, if a tensor has no norms.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     check_norms(dump, (dump["head.weight"],), {"head.weight": [1.0] * 64})
    """
    lacking = [tensor.name for tensor in tensors if tensor.name not in norms]
    if lacking:
        more = f", nor {len(lacking) - 1} more: {', '.join(lacking[1:])}" if len(lacking) > 1 else ""
        raise OptionError(
            f"has no norms{more}",
            path=dump.path,
            tensor=lacking[0],
            hint="exclude what no layer of the calibrated model multiplies by",
        )


def pruned_row(tensor: Tensor, before: npt.NDArray[Any], after: npt.NDArray[Any], p: Pruned) -> PrunedTensor:
    """Compare the values of a tensor, as stored, before and after it was pruned."""
    norms, errors = [], []
    changed = zeros_before = zeros_after = 0
    see = tensor.encoding.weights if tensor.encoding else None
    finite = not p.nonfinite_groups and see is None  # then no block needs a look for NaN
    for old, new in value_blocks(before, after, see):
        zeros_before += old.size - int(np.count_nonzero(old))
        zeros_after += new.size - int(np.count_nonzero(new))
        if finite:
            difference = old - new
            changed += int(np.count_nonzero(difference))
            norms.append(euclidean_norm(old))
            errors.append(euclidean_norm(difference))
            continue
        same = (old == new) | (np.isnan(old) & np.isnan(new))
        changed += same.size - int(np.count_nonzero(same))
        held = np.isfinite(old)
        norms.append(euclidean_norm(old[held]))
        errors.append(euclidean_norm(np.where(same, 0.0, old - np.where(same, 0.0, new))[held]))
    norm, relative_error = relative_norms(norms, errors)
    return PrunedTensor(
        tensor=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        format=p.format,
        values=tensor.encoding.size if tensor.encoding else tensor.size,
        stored_bits=tensor.size * (tensor.encoding.bits if tensor.encoding else tensor.dtype.itemsize * 8),
        groups=p.kept_rows.size,
        nonfinite_groups=p.nonfinite_groups,
        window_limited_groups=p.window_limited_groups,
        kept_rows_histogram=tuple(p.kept_rows_histogram().tolist()),
        norm=norm,
        relative_error=relative_error,
        changed_values=changed,
        zeros_before=zeros_before,
        zeros_after=zeros_after,
        packed_bits=None if p.nonfinite_groups or p.group > MAX_GROUP else pack(p).bits,
        window=p.window,
        scale=p.scale,
    )


def _ones_histograms(numbers: npt.NDArray[Any], p: Pruned) -> dict[str, Any]:
    """Count weights by their ones before pruning and after."""
    if p.nonfinite_groups:
        return {}
    before, after = numbers, p.values if p.codes is None else p.codes
    if p.codes is not None:
        before = quantize(numbers, p.format.significand_bits + 1).codes
    size = p.format.significand_bits + 1
    counts = [
        np.bincount(essential_bits(values, p.format).reshape(-1), minlength=size)
        for values in (before, after)
    ]
    names = ("ones_histogram", "pruned_ones_histogram")
    return {name: tuple(count.tolist()) for name, count in zip(names, counts, strict=True)}


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
