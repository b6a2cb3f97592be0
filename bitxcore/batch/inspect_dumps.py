"""Statistics of the weights of whole dumps, one tensor at a time, and of large ones one piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bitxcore.batch.count_tensors import count_in_pieces, errors_wanted
from bitxcore.batch.memory import memory_budget
from bitxcore.batch.piecewise import DEFAULT_GROUP, Piecewise
from bitxcore.batch.row_errors import RowError, row_errors
from bitxcore.batch.selection import Selection, on_turned, read_numbers, shape_text, share_of
from bitxcore.dumps import Dump, Tensor, TensorProgress
from bitxcore.engine import Array
from bitxcore.errors import error_context
from bitxcore.summary import Statistics, statistics
from bitxcore.weight_ones import WeightOnes

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
    "ones_mean": "bit",
    "ones_largest_mean": "bit",
    "pruned_ones_mean": "bit",
    "pruned_ones_largest_mean": "bit",
    "sparsity_increment": "1",
    "window_limited_groups": "1",
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
    errors : tuple of RowError
        Where they were asked for.
    note : str
        Why it took more memory than it was given; empty if it did not.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    statistics: Statistics
    errors: tuple[RowError, ...] = field(default=(), repr=False)
    note: str = field(default="", repr=False)

    def columns(self) -> dict[str, Any]:
        """Return one table row: a value, or None, for each name in `INSPECT_UNITS`."""
        s = self.statistics
        filled = np.flatnonzero(s.nonempty_rows_histogram)
        row = {name: getattr(s, name, None) for name in INSPECT_UNITS}
        return (
            row
            | _of_ones([] if s.ones is None else [s.ones])
            | {
                "tensor": self.tensor,
                "shape": shape_text(self.shape),
                "dtype": str(self.dtype),
                "format": s.format.name,
                "window_rows": s.window,
                "essential_bits_per_nonzero": share_of(s.essential_bits, s.values - s.zeros),
                "bit_sparsity": s.bit_sparsity if s.values > s.zeros else None,
                "nonempty_rows_mean": s.mean_nonempty_rows if filled.size else None,
                "nonempty_rows_max": int(filled[-1]) if filled.size else None,
            }
        )


def inspect_dump(
    dump: Dump,
    tensors: tuple[Tensor, ...] | None = None,
    *,
    layout: str | None = None,
    progress: TensorProgress | None = None,
    errors: bool = False,
    memory_bytes: int | None = None,
    **options: Any,
) -> Iterator[Inspected]:
    """Count the bits of a dump's weights, tensor by tensor.

    Parameters
    ----------
    dump : Dump
    tensors : tuple of Tensor, optional
        Those to inspect; by default `Selection` chooses.
    layout : {"oihw", "ohwi", "hwio"}, optional
        Where output and input channel sit in tensors of two or more dimensions, in place of what the
        container tells.
    progress : callable, optional
        Called with each tensor after it.
    errors : bool
        Whether to compute the error of pruning at 1 to 12 rows per group and at ``rows``, of a sample of
        large tensors (`row_errors`). Where integers stand for weights, of these less their zero point.
    memory_bytes : int, optional
        As of `prune_dump`; the sample of the errors comes on top.
    **options
        ``group``, ``window``, ``format``, ``grouping``, ``nonfinite``, ``rows`` of `statistics`.

    Yields
    ------
    Inspected
        In the order of the dump; the output channel has been turned to axis 0.

    Raises
    ------
    TensorError
        With the fields path, tensor, index and value.
    OptionError
        If a parameter is out of range.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     row = next(inspect_dump(dump))
    >>> row.tensor, row.statistics.values
    ('stem.weight', 144)
    """
    if tensors is None:
        tensors = Selection().choose(dump, options.get("format")).tensors
    form = options.get("format")
    memory = memory_budget(memory_bytes)
    cut: dict[str, Any] = {"group": DEFAULT_GROUP, "grouping": "flat"}
    cut |= {name: options[name] for name in cut if name in options}
    for tensor in tensors:
        with error_context(path=dump.path, tensor=tensor.name):
            work = Piecewise.of(dump, tensor, memory, layout=layout, format=form, **cut)
        if work.whole:
            with error_context(path=dump.path, tensor=tensor.name):
                _, numbers, own = read_numbers(tensor, form)
            how = options | {"format": own}
            count = partial(_counted, errors=errors, options=how)
            found, at = on_turned(dump, tensor, numbers, count, own, layout)
        else:
            found, at = count_in_pieces(work, options, errors=errors)
        if progress:
            progress(tensor)
        yield Inspected(tensor.name, tensor.shape, tensor.dtype, found, at, work.note)


def _counted(x: Array, *, errors: bool, options: dict[str, Any]) -> tuple[Statistics, tuple[RowError, ...]]:
    found = statistics(x, **options)
    if not errors:
        return found, ()
    rows, own = errors_wanted(found.window, options)
    return found, tuple(row_errors(x, rows, **own))


def _of_ones(found: list[WeightOnes]) -> dict[str, Any]:
    """Columns on the ones of a weight before and after pruning; None where no number of rows was given."""
    weights, groups = sum(ones.weights for ones in found), sum(ones.groups for ones in found)
    bits = sum(ones.weights * ones.significand_bits for ones in found)
    columns: dict[str, Any] = {}
    totals = {}
    for prefix, part in (("", "before"), ("pruned_", "after")):
        parts = [(getattr(ones, part), ones) for ones in found]
        totals[part] = sum(of.mean * ones.weights for of, ones in parts)
        columns[f"{prefix}ones_mean"] = share_of(totals[part], weights)
        largest = sum(of.largest * ones.groups for of, ones in parts)
        columns[f"{prefix}ones_largest_mean"] = share_of(largest, groups)
    columns["sparsity_increment"] = share_of(bits - totals["after"], bits - totals["before"])
    limited = sum(ones.window_limited_groups for ones in found)
    return columns | {"window_limited_groups": limited if found else None}


def inspect_totals(rows: list[Inspected]) -> dict[str, Any]:
    """Sum a dump's rows; shares are formed anew from the sums.

    Returns
    -------
    dict
        ``tensors``, and columns of `INSPECT_UNITS`; None where a share has no whole.

    Examples
    --------
    >>> import bitxcore as bx
    >>> from bitxcore.data import data_folder
    >>> with bx.open_dump(data_folder("samples") / "digits_resnet.onnx") as dump:
    ...     totals = inspect_totals(list(inspect_dump(dump)))
    >>> totals["tensors"], totals["values"]
    (13, 81744)
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
        "value_sparsity": share_of(zeros, values),
        "essential_bits": ones,
        "essential_bits_per_nonzero": share_of(ones, values - zeros),
        "bit_sparsity": share_of(bits - ones, bits),
        "groups": sum(s.groups for s in found),
        "zero_groups": sum(s.zero_groups for s in found),
        "nonfinite_groups": sum(s.nonfinite_groups for s in found),
        "nonempty_rows_mean": share_of(nonempty, sum(int(h.sum()) for h in histograms)),
        "nonempty_rows_max": max((int(h.nonzero()[0][-1]) for h in histograms if h.any()), default=None),
        **_of_ones([s.ones for s in found if s.ones is not None]),
    }
