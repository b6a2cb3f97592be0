"""Replacement values on their way into a file: checked, block by block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Tensor
from bitxcore.dumps.trust import Place, Source, reading
from bitxcore.errors import DumpError, TensorError
from bitxcore.remote.remote_path import RemotePath

COPY_BYTES = 1 << 20
KEPT_BYTES = 1 << 28
"""Bytes of a file that are written before their pages are given back: of a file that outgrows memory, they
would push out of it what others need."""


def checked_blocks(
    tensor: Tensor, new: npt.NDArray[Any] | Iterable[npt.NDArray[Any]]
) -> Iterator[npt.NDArray[Any]]:
    """Yield the blocks of `new`, which must add up to the shape of `tensor` and have its dtype.

    Blocks are of whole rows, or 1-D, of values in C order. A tensor of raw bytes (NumPy's ``V2`` for
    bfloat16) takes any dtype of that size.

    Raises
    ------
    TensorError
        At the first block that does not fit.
    """
    if isinstance(new, (np.ndarray, np.generic)):  # operators turn 0-d arrays into scalars
        new = np.asarray(new)
        if new.shape != tensor.shape:
            raise TensorError(f"new values have shape {new.shape}, not {tensor.shape}", tensor=tensor.name)
        yield _of_dtype(tensor, new)
        return
    whole_rows = tensor.shape[0] if tensor.shape else 1
    rows = values = 0
    for block in new:
        if tensor.ndim > 1 and block.ndim == 1:
            values += block.size
        elif tensor.shape and (block.ndim != tensor.ndim or block.shape[1:] != tensor.shape[1:]):
            raise TensorError(f"new rows have shape {block.shape}, not {tensor.shape}", tensor=tensor.name)
        else:
            rows += block.shape[0] if tensor.shape else block.size
            values += block.size
        if values > tensor.size or rows > whole_rows:
            break
        yield _of_dtype(tensor, block)
    if values != tensor.size or (not values and rows != whole_rows):
        raise TensorError(f"new rows do not add up to shape {tensor.shape}", tensor=tensor.name)


def _of_dtype(tensor: Tensor, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
    dtype = block.dtype.newbyteorder("=")
    values = np.ascontiguousarray(block, dtype)
    if dtype == tensor.dtype:
        return values
    if tensor.dtype.type is np.void and not tensor.dtype.names and dtype.itemsize == tensor.dtype.itemsize:
        return values.view(tensor.dtype)
    raise TensorError(f"new values have dtype {block.dtype}, not {tensor.dtype}", tensor=tensor.name)


def whole(tensor: Tensor, new: npt.NDArray[Any] | Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Gather checked blocks into one array of the tensor's shape and dtype."""
    blocks = list(checked_blocks(tensor, new))
    values = (
        blocks[0] if len(blocks) == 1 else np.concatenate([np.empty(0, tensor.dtype), *map(np.ravel, blocks)])
    )
    return values.reshape(tensor.shape)


def write_blocks(
    file: IO[bytes],
    tensor: Tensor,
    new: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
    stored: np.dtype[Any],
    order: Literal["C", "F"] = "C",
) -> None:
    """Write checked blocks as raw bytes at the file's position.

    Parameters
    ----------
    stored : numpy.dtype
        The tensor's dtype in the file's byte order.
    order : {"C", "F"}
        ``"F"`` needs the whole tensor in memory.
    """
    blocks = checked_blocks(tensor, new) if order == "C" else [whole(tensor, new).T]
    pages = _Pages(file)
    for block in blocks:
        if block.size:
            values = np.ascontiguousarray(block, stored)
            file.write(values.reshape(-1).view(np.uint8).data)
            pages.written(values.nbytes)


class _Pages:
    """Memory that the system keeps of what is being written, as if it were soon read.

    Parameters
    ----------
    file : file object
        One without a descriptor, such as a member of an archive, is left alone.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._since = 0

    def written(self, nbytes: int) -> None:
        """Give the pages back after every `KEPT_BYTES`, when they are on the disk."""
        self._since += nbytes
        if self._since < KEPT_BYTES or not hasattr(os, "posix_fadvise"):
            return
        self._since = 0
        try:
            number = self._file.fileno()
        except (AttributeError, OSError):
            return
        self._file.flush()
        os.fdatasync(number)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)


def copy_bytes(where: Place | Path, source: IO[bytes], target: IO[bytes], nbytes: int) -> None:
    """Copy `nbytes` bytes from position to position; `where` is what the error names if reading fails."""
    pages = _Pages(target)
    while nbytes:
        with reading(where):
            chunk = source.read(min(COPY_BYTES, nbytes))
            if not chunk:
                raise DumpError(f"ended {nbytes} bytes early")
        target.write(chunk)
        pages.written(len(chunk))
        nbytes -= len(chunk)


def copy_into(folder: Path, name: str, path: Path) -> None:
    """Copy a file into a folder under a relative name, unless there is such a file."""
    target = folder / name
    if target.exists():
        return
    source = Source.of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open() as original, target.open("wb") as file:
        copy_bytes(path, original, file, source.size)
    if not isinstance(path, RemotePath):
        with reading(path):
            shutil.copymode(path, target)
