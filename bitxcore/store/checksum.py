"""The checksum of an array or column: its values, dtype, shape and unit, in a form that any program can make.

SHA-256, as the seal: every language has it, and it is faster than deflate, through which all but the smallest
arrays go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from struct import pack
from typing import Any

import numpy as np
import numpy.typing as npt

ALGORITHM = "sha256"
BLOCK_BYTES = 16 << 20
"""Of values in memory, where a stored array is read for its checksum."""

_TEXT = "utf-8"


class Checksum:
    """A checksum that takes values block by block, in C order.

    Parameters
    ----------
    units : str
        As they are stored.

    Examples
    --------
    >>> checksum = Checksum("cycles")
    >>> checksum.add(np.array([1200, 5800]))
    >>> checksum.text("int64", (2,), has_missing=False) == checksum_of(np.array([1200, 5800]), "cycles")
    True
    """

    def __init__(self, units: str) -> None:
        self._units = units
        self._digest = hashlib.sha256()

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take a block: numbers, or strings as they are stored."""
        if values.dtype.kind == "O":
            for text in values:
                encoded = text.encode()
                self._digest.update(pack("<Q", len(encoded)) + encoded)
            return
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        self._digest.update(little.reshape(-1).view(np.uint8).data)

    def text(self, dtype: str, shape: tuple[int, ...], *, has_missing: bool) -> str:
        """Return the attribute's text.

        Parameters
        ----------
        dtype : str
            As `dtype_name` names it.
        shape : tuple of int
        has_missing : bool
            Whether the column has the attribute ``_FillValue``.
        """
        sizes = "x".join(map(str, shape)) or "scalar"
        missing = " missing" if has_missing else ""
        digest = self._digest.copy()
        digest.update(f"\n{dtype} {sizes}{missing}\n{self._units}".encode())
        return f"{ALGORITHM}:{digest.hexdigest()}"


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return ``"utf-8"`` for strings, else NumPy's name of the dtype, which has no byte order.

    Examples
    --------
    >>> dtype_name(np.dtype(">i4")), dtype_name(np.dtype(object))
    ('int32', 'utf-8')
    """
    return _TEXT if dtype.kind == "O" else dtype.name


def checksum_of(values: npt.NDArray[Any], units: str, *, has_missing: bool = False) -> str:
    """Return the checksum of an array that is in memory.

    Parameters
    ----------
    values : numpy.ndarray
        Numbers, or strings as they are stored (dtype object).
    units : str
    has_missing : bool
        Whether `values` hold what stands for a missing value, and the column says so.

    Examples
    --------
    >>> checksum_of(np.array([1, 2], "<i2"), "1") == checksum_of(np.array([1, 2], ">i2"), "1")
    True
    """
    checksum = Checksum(units)
    checksum.add(values)
    return checksum.text(dtype_name(values.dtype), values.shape, has_missing=has_missing)


def checksum_of_blocks(
    blocks: Iterable[npt.NDArray[Any]],
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    units: str,
    *,
    has_missing: bool,
) -> str:
    """Return the checksum of an array that is read block by block.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray
        Along axis 0, in order.
    dtype : numpy.dtype
    shape : tuple of int
        Of the whole.
    units : str
    has_missing : bool
        As `checksum_of`.

    Examples
    --------
    >>> whole = np.arange(6).reshape(3, 2)
    >>> found = checksum_of_blocks((whole[:1], whole[1:]), whole.dtype, (3, 2), "1", has_missing=False)
    >>> found == checksum_of(whole, "1")
    True
    """
    checksum = Checksum(units)
    for block in blocks:
        checksum.add(block)
    return checksum.text(dtype_name(dtype), shape, has_missing=has_missing)


def row_blocks(shape: tuple[int, ...], nbytes: int, chunk_rows: int) -> Iterator[slice]:
    """Cut axis 0 so that a block takes some `BLOCK_BYTES`, and no chunk is read twice.

    Parameters
    ----------
    shape : tuple of int
        Of at least one axis.
    nbytes : int
        Of the whole.
    chunk_rows : int

    Examples
    --------
    >>> [(rows.start, rows.stop) for rows in row_blocks((10,), 80, 4)]
    [(0, 10)]
    """
    rows = shape[0]
    step = max(1, BLOCK_BYTES * rows // max(1, nbytes))
    step = -(-step // chunk_rows) * chunk_rows
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
