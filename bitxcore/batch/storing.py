"""What `inspect_dump` and `prune_dump` found, into a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from bitxcore.batch.inspect_dumps import INSPECT_UNITS, Inspected
from bitxcore.batch.prune_dumps import Each
from bitxcore.batch.pruned_rows import PRUNE_UNITS, PrunedTensor
from bitxcore.batch.row_errors import ERROR_UNITS

_SHARES = ("nonempty_rows_mean", "bit_sparsity", "essential_bits_per_nonzero", "sparsity_increment")
_ONES = tuple(f"{of}ones_{which}mean" for of in ("", "pruned_") for which in ("", "largest_"))
_COUNTS = ("nonempty_rows_max", "window_limited_groups")


def write_inspected(writer: Any, found: Iterable[tuple[dict[str, str], str, Inspected]]) -> None:
    """Write the tables ``statistics`` and ``errors``, and the arrays of each tensor.

    Parameters
    ----------
    writer : StoreWriter or alike
    found : iterable of (dict, str, Inspected)
        Columns of text in front, the same in all rows; the name of the tensor; what was found.
    """
    rows, errors = [], []
    front: dict[str, str] = {}
    for columns, name, i in found:
        front = dict.fromkeys(columns, "")
        arrays: dict[str, Any] = {
            "ones_per_row": i.statistics.row_ones,
            "nonempty_rows_histogram": i.statistics.nonempty_rows_histogram,
        }
        if i.statistics.ones is not None:
            arrays["ones_histogram"] = i.statistics.ones.before_histogram
            arrays["pruned_ones_histogram"] = i.statistics.ones.after_histogram
        writer.write_tensor_arrays(name, arrays, dict.fromkeys(arrays, "1"))
        rows.append({**columns, **i.columns(), "tensor": name})
        errors += [{"tensor": name, **asdict(error)} for error in i.errors]
    dtypes = dict.fromkeys(_COUNTS, "i8") | dict.fromkeys((*_SHARES, *_ONES), "f8")
    writer.write_table("statistics", rows, units={**front, **INSPECT_UNITS}, dtypes=dtypes)
    writer.write_table("errors", errors, units=ERROR_UNITS)


def pruned_arrays(writer: Any) -> Each:
    """Return what writes the arrays of a tensor, masks included, as soon as it is pruned, for `prune_dump`.

    Parameters
    ----------
    writer : StoreWriter or alike
    """

    def write(row: PrunedTensor, pruned: Any) -> None:
        names = ("row_masks", "exponents", "kept_rows")
        _write_arrays(writer, row, {name: getattr(pruned, name) for name in names})

    return write


def write_pruned(writer: Any, pruned: Iterable[PrunedTensor], *, histograms: bool = True) -> None:
    """Write the table ``pruning``, and the histograms of each tensor unless `pruned_arrays` has done it."""
    pruned = list(pruned)
    for row in pruned if histograms else ():
        _write_arrays(writer, row, {})
    dtypes = {"packed_bits": "i8", "packed_bits_per_weight": "f8", "scale": "f8"}
    writer.write_table("pruning", [row.columns() for row in pruned], units=PRUNE_UNITS, dtypes=dtypes)


def _write_arrays(writer: Any, row: PrunedTensor, masks: dict[str, Any]) -> None:
    arrays: dict[str, Any] = {"kept_rows_histogram": row.kept_rows_histogram}
    units = {"kept_rows_histogram": "1"}
    for name in ("ones_histogram", "pruned_ones_histogram"):
        if getattr(row, name) is not None:
            arrays[name], units[name] = getattr(row, name), "1"
    if masks:
        arrays |= masks
        units |= {"row_masks": "", "exponents": "1", "kept_rows": "1"}
    writer.write_tensor_arrays(row.tensor, arrays, units)
