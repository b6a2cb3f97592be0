"""Rules of the arrays of tensors: what one tells must agree with the others, and with the tensor's table row.

They are declared in `DTYPE_KINDS`, `ARRAY_RULES`, `TENSOR_RULES` and `ALL_OR_NONE`. A rule holds where all
that it needs is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.engine import Cut
from bitxcore.formats import number_format
from bitxcore.packed import Packed, unpack
from bitxcore.store.table_rules import COUNT, LARGEST_KEPT

Arrays = Mapping[str, npt.NDArray[Any]]
Facts = Mapping[str, Any]
"""A row of a table, or the attributes of a tensor."""

HISTOGRAMS = (
    "ones_per_row",
    "kept_rows_histogram",
    "nonempty_rows_histogram",
    "ones_histogram",
    "pruned_ones_histogram",
)
"""Arrays that hold counts, from 0 on; ``ones_per_row`` from the most significant row on."""

COUNTS_WORDS = f"hold 1 to {LARGEST_KEPT + 1} counts from 0 to 2**53"

DTYPE_KINDS: dict[str, tuple[str, str]] = {
    "row_masks": ("u", "unsigned integers"),
    "signs": ("u", "unsigned integers"),
    "rows": ("u", "unsigned integers"),
    "kept_rows": ("iu", "integers"),
    "exponents": ("i", "signed integers"),
}
"""By array: kinds of dtype, and how they are called."""

CUT = ("format", "group", "window", "grouping")
"""Attributes of a tensor with which its packed form can be unpacked."""


def are_counts(values: npt.NDArray[Any]) -> bool:
    """Whether an array is a histogram that can be used.

    Examples
    --------
    >>> are_counts(np.array([3, 1])), are_counts(np.array([3, -1]))
    (True, False)
    """
    found = values.tolist() if values.ndim == 1 and values.size <= LARGEST_KEPT + 1 else []
    return bool(found) and all(COUNT.holds(value) for value in found)


@dataclass(frozen=True)
class ArrayRule:
    """An array agrees with other arrays of its tensor.

    Parameters
    ----------
    array : str
        The one that is told.
    words : str
        The rule, after "must".
    needs : tuple of str
        Other arrays.
    found, expected : function of mapping of str to ndarray, and of the tensor's attributes
        What is compared: arrays, or tuples.
    attrs : tuple of str
        Attributes of the tensor that are needed.
    """

    array: str
    words: str
    needs: tuple[str, ...]
    found: Callable[[Arrays, Facts], Any]
    expected: Callable[[Arrays, Facts], Any]
    attrs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorRule:
    """A table tells of a tensor what its arrays tell.

    Parameters
    ----------
    table, column : str
    array : str
    words : str
        The rule, after "must be".
    expected : function of ndarray and mapping of str to value
        What the column must hold: of the array, and of the row with the parameters of the run. None: nothing
        is known.
    """

    table: str
    column: str
    array: str
    words: str
    expected: Callable[[npt.NDArray[Any], Facts], Any]


def _total(histogram: npt.NDArray[Any], _: Facts) -> int:
    return int(histogram.sum())


def _mean(histogram: npt.NDArray[Any], _: Facts) -> float | None:
    total = int(histogram.sum())
    return int(histogram @ np.arange(histogram.size)) / total if total else None


def _most(histogram: npt.NDArray[Any], _: Facts) -> int | None:
    filled = np.flatnonzero(histogram)
    return int(filled[-1]) if filled.size else None


def _finite_groups(histogram: npt.NDArray[Any], row: Facts) -> int:
    return int(histogram.sum()) + (row.get("nonfinite_groups") or 0)


def _packed_bits(histogram: npt.NDArray[Any], row: Facts) -> int | None:
    """Bits of the packed form: exponent, mask and signs of every group, and its kept rows."""
    group = row.get("group")
    if not isinstance(group, int) or row.get("packed_bits") is None or row.get("window_rows") is None:
        return None
    fmt = number_format(row["format"])
    signs = group if fmt.is_float or fmt.encoding == "sign-magnitude" else 0
    kept = int(histogram @ np.arange(histogram.size))
    return int(histogram.sum()) * (fmt.exponent_bits + int(row["window_rows"]) + signs) + kept * group


def _axis(rows: int) -> Callable[[npt.NDArray[Any], Facts], int]:
    return lambda histogram, _: histogram.size - rows


def _shape_of(name: str) -> Callable[[Arrays, Facts], tuple[int, ...]]:
    return lambda arrays, _: arrays[name].shape


def _kept_histogram(arrays: Arrays, _: Facts) -> npt.NDArray[Any]:
    size = arrays["kept_rows_histogram"].size
    kept = arrays["kept_rows"].reshape(-1).astype(np.int64)
    return np.bincount(np.minimum(kept, size), minlength=size)  # longer if one is beyond its end


def _ones(arrays: Arrays) -> npt.NDArray[Any]:
    ones: npt.NDArray[Any] = np.bitwise_count(arrays["row_masks"])
    return ones


def _signs_shape(arrays: Arrays, _: Facts) -> tuple[int, ...]:
    """Signs are left out where values have none."""
    return arrays["signs"].shape if not arrays["signs"].size else arrays["row_masks"].shape


def _unpacked(arrays: Arrays, attrs: Facts) -> npt.NDArray[Any]:
    values, fmt = arrays["values"], number_format(attrs["format"])
    parts: dict[str, Any] = {name: arrays[name] for name in ("exponents", "row_masks", "signs", "rows")}
    cut = Cut.of(fmt.dtype, attrs["group"], attrs["window"], fmt, attrs["grouping"], values.shape)
    facts: dict[str, Any] = {name: getattr(cut, name) for name in CUT}
    packed = Packed(**parts, shape=values.shape, dtype=values.dtype, scale=attrs.get("scale"), **facts)
    return unpack(packed)


def _in_window(arrays: Arrays, attrs: Facts) -> npt.NDArray[Any]:
    masks = arrays["row_masks"]
    most = min((1 << attrs["window"]) - 1, int(np.iinfo(masks.dtype).max))
    found: npt.NDArray[Any] = masks & masks.dtype.type(most)
    return found


ARRAY_RULES: tuple[ArrayRule, ...] = (
    ArrayRule(
        "row_masks",
        "have no row outside the window",
        (),
        lambda arrays, _: arrays["row_masks"],
        _in_window,
        ("window",),
    ),
    ArrayRule(
        "exponents",
        "have the shape of row_masks",
        ("row_masks",),
        _shape_of("exponents"),
        _shape_of("row_masks"),
    ),
    ArrayRule(
        "signs", "have the shape of row_masks, or be empty", ("row_masks",), _shape_of("signs"), _signs_shape
    ),
    ArrayRule(
        "kept_rows",
        "be the ones of row_masks",
        ("row_masks",),
        lambda arrays, _: arrays["kept_rows"],
        lambda arrays, _: _ones(arrays),
    ),
    ArrayRule(
        "kept_rows_histogram",
        "count the groups of kept_rows",
        ("kept_rows",),
        lambda arrays, _: arrays["kept_rows_histogram"],
        _kept_histogram,
    ),
    ArrayRule(
        "rows",
        "have one element per one of row_masks",
        ("row_masks",),
        _shape_of("rows"),
        lambda arrays, _: (int(_ones(arrays).sum(dtype=np.int64)),),
    ),
    ArrayRule(
        "values",
        "be what the packed form holds",
        ("exponents", "row_masks", "signs", "rows"),
        lambda arrays, _: arrays["values"],
        _unpacked,
        CUT,
    ),
)
"""Between the arrays of a tensor, in this order; those that need a broken array are left out."""

_LAST = "the last entry of {array} that is not 0"
_KEPT = "kept_rows_histogram"
_NONEMPTY = "nonempty_rows_histogram"

TENSOR_RULES: tuple[TensorRule, ...] = (
    TensorRule("pruning", "groups", _KEPT, "the sum of {array}", _total),
    TensorRule("pruning", "kept_rows_mean", _KEPT, "the mean of {array}", _mean),
    TensorRule("pruning", "kept_rows_max", _KEPT, _LAST, _most),
    TensorRule("pruning", "window_rows", _KEPT, "the length of {array} less 1", _axis(1)),
    TensorRule("pruning", "packed_bits", _KEPT, "the bits of as many rows as {array} counts", _packed_bits),
    TensorRule("pruning", "values", "ones_histogram", "the sum of {array}", _total),
    TensorRule("pruning", "values", "pruned_ones_histogram", "the sum of {array}", _total),
    TensorRule("statistics", "groups", _NONEMPTY, "the sum of {array} and nonfinite_groups", _finite_groups),
    TensorRule(
        "statistics", "zero_groups", _NONEMPTY, "the first entry of {array}", lambda counts, _: int(counts[0])
    ),
    TensorRule("statistics", "nonempty_rows_mean", _NONEMPTY, "the mean of {array}", _mean),
    TensorRule("statistics", "nonempty_rows_max", _NONEMPTY, _LAST, _most),
    TensorRule("statistics", "window_rows", _NONEMPTY, "the length of {array} less 1", _axis(1)),
    TensorRule("statistics", "window_rows", "ones_per_row", "the length of {array}", _axis(0)),
    TensorRule("statistics", "values", "ones_histogram", "the sum of {array}", _total),
    TensorRule("statistics", "ones_mean", "ones_histogram", "the mean of {array}", _mean),
    TensorRule("statistics", "values", "pruned_ones_histogram", "the sum of {array}", _total),
    TensorRule("statistics", "pruned_ones_mean", "pruned_ones_histogram", "the mean of {array}", _mean),
)
"""Between a row of a table and the arrays of its tensor."""

ALL_OR_NONE = ("pruning",)
"""Tables whose writers give the arrays of every row's tensor, or of none."""

ALL_OR_NONE_WORDS = "have arrays of the tensor in every row or in none"
