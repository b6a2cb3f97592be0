"""Values of a table as columns: types, missing values, and rows cut into blocks; no HDF5 here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from bitxcore.store.text import MISSING, escape_text, unescape_text

ROWS = 4096
"""Rows of one HDF5 chunk, and of the blocks that single rows are gathered into."""

STRING = np.dtype(object)
"""The dtype that represents strings."""

NUMBERS = frozenset(np.dtype(code) for code in "?bhiqBHIQefd")

Column = npt.ArrayLike | Sequence[Any]
Rows = Mapping[str, Column] | Iterable[Mapping[str, Any]]


def column_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype that a column asked for as `dtype` is kept in.

    Raises
    ------
    TensorError
        If it is neither ``str`` nor a bool, integer or float of at most 64 bits.
    """
    if dtype is str:
        return STRING
    found = np.dtype(dtype).newbyteorder("=")
    if found not in NUMBERS:
        raise TensorError(
            f"dtype {found} can't be stored; supported: str, bool, integers and floats of at most 64 bits"
        )
    return found


def missing_value(dtype: np.dtype[Any]) -> Any:
    """Return what represents a missing value: NaN, the smallest signed or largest unsigned integer, DLE.

    Raises
    ------
    TensorError
        For bool, which has no value to spare.
    """
    if dtype == STRING:
        return MISSING
    if dtype.kind == "f":
        return np.array(np.nan, dtype)[()]
    if dtype.kind == "b":
        raise TensorError("a bool can't be missing: use an integer or a string column")
    info = np.iinfo(dtype)
    return np.array(info.min if dtype.kind == "i" else info.max, dtype)[()]


def _from_objects(values: list[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    missing = np.array([v is None for v in values], bool)
    present = [v for v in values if v is not None]
    if present and all(isinstance(v, str) for v in present):
        out = np.empty(len(values), STRING)
        out[:] = [MISSING if v is None else escape_text(v) for v in values]
        return out, missing
    if not present:
        return np.full(len(values), np.nan), missing
    if all(isinstance(v, (bool, np.bool_)) for v in present):
        kept = np.array(present, bool)
    elif all(isinstance(v, (int, np.integer)) for v in present):
        low, high = min(present), max(present)
        wide = np.dtype(np.uint64 if low >= 0 and high > np.iinfo(np.int64).max else np.int64)
        if low < np.iinfo(wide).min or high > np.iinfo(wide).max:
            raise TensorError(f"an integer from {low} to {high} does not fit 64 bits")
        kept = np.array(present, wide)
    elif all(isinstance(v, (int, np.integer, float, np.floating)) for v in present):
        kept = np.array(present, np.float64)
        lossy = next((v for v, k in zip(present, kept.tolist(), strict=True) if v != k and v == v), None)
        if lossy is not None:
            raise TensorError(
                f"{lossy!r} is not exact as float64, which the column's other values need",
                index=values.index(lossy),
                value=lossy,
            )
    else:
        types = ", ".join(sorted({type(v).__name__ for v in present}))
        raise TensorError(f"values must be all numbers or all strings, got {types}")
    out = np.zeros(len(values), kept.dtype)
    out[~missing] = kept
    return out, missing


def to_array(values: Column) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read one column's values.

    Parameters
    ----------
    values : array_like
        1-D; ``None`` and the masked elements of a masked array are missing.

    Returns
    -------
    array : numpy.ndarray
        Bool, integers, floats, or escaped strings of dtype object; anything where missing.
    missing : numpy.ndarray of bool

    Raises
    ------
    TensorError
        If the values are not 1-D, or of mixed or unsupported types.
    """
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    array = np.ma.getdata(values) if mask is not None else values
    if isinstance(array, np.ndarray) and array.dtype.kind not in "OUT":
        if array.ndim != 1:
            raise TensorError(f"a column must be 1-D, got shape {array.shape}")
        array = array.astype(column_dtype(array.dtype), copy=False)
        return array, np.zeros(len(array), bool) if mask is None else mask
    if isinstance(array, np.ndarray) and array.dtype.kind != "O" and not len(array):
        return np.empty(0, STRING), np.empty(0, bool)
    objects = array.tolist() if isinstance(array, np.ndarray) else list(array)  # type: ignore[arg-type]
    if mask is not None:
        objects = [None if gone else v for v, gone in zip(objects, mask, strict=True)]
    return _from_objects(objects)


def cast_exactly(
    array: npt.NDArray[Any], missing: npt.NDArray[np.bool_], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Return `array` as `dtype`, each missing element as its `missing_value`.

    Raises
    ------
    TensorError
        At the first value that `dtype` can't hold exactly.
    """
    if (array.dtype == STRING) != (dtype == STRING) and not missing.all():
        raise TensorError(f"the column holds {_kind(dtype)}, not {_kind(array.dtype)}")
    if array.dtype != dtype:
        with np.errstate(all="ignore"):
            cast = np.full(len(array), 0, dtype) if missing.all() else array.astype(dtype)
        pairs = zip(array.tolist(), cast.tolist(), missing.tolist(), strict=True)
        for i, (value, kept, gone) in enumerate(pairs):
            if not gone and value != kept and (value == value or kept == kept):
                raise TensorError(
                    f"row {i} of the block holds {value!r}, which is not exact as {dtype}",
                    index=i,
                    value=value,
                )
        array = cast
    if missing.any():
        array = array.copy()
        array[missing] = missing_value(dtype)
    return array


def _kind(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype == STRING else str(dtype)


def from_stored(array: npt.NDArray[Any], fill: Any | None) -> npt.NDArray[Any]:
    """Undo `cast_exactly` on what was read back.

    Returns
    -------
    numpy.ndarray
        Strings as dtype object with ``None`` for missing; integers as a masked array if `fill`
        says that some are missing; all else as stored.
    """
    if array.dtype == STRING:
        out = np.empty(len(array), STRING)
        out[:] = [None if text == MISSING else unescape_text(text) for text in array]
        return out
    if fill is None or array.dtype.kind not in "iu":
        return array
    return np.ma.masked_array(array, array == fill, fill_value=fill)


def blocks(rows: Rows) -> Iterator[dict[str, Column]]:
    """Cut `rows` into blocks of columns.

    Parameters
    ----------
    rows : mapping, or iterable of mappings
        Whole columns; or any mixture of rows (name to scalar) and of blocks of columns (name to
        list, tuple or array).

    Raises
    ------
    TensorError
        If the rows that are gathered into one block do not have the same columns.
    """
    if isinstance(rows, Mapping):
        yield dict(rows)
        return
    gathered: list[Mapping[str, Any]] = []
    for item in rows:
        is_block = all(isinstance(v, (np.ndarray, list, tuple)) for v in item.values())
        if not is_block:
            gathered.append(item)
        if gathered and (is_block or len(gathered) == ROWS):
            yield _transpose(gathered)
            gathered = []
        if is_block:
            yield dict(item)
    if gathered:
        yield _transpose(gathered)


def _transpose(rows: list[Mapping[str, Any]]) -> dict[str, Column]:
    names = rows[0].keys()
    for row in rows:
        if row.keys() != names:
            raise TensorError(f"a row has the columns {sorted(row)}, another one {sorted(names)}")
    return {name: [row[name] for row in rows] for name in names}
