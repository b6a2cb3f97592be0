"""A tensor whose values lie in a file as they are in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import prod
from sys import getrefcount
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import BLOCK_BYTES, Tensor
from bitxcore.dumps.mapped import read_into
from bitxcore.dumps.trust import Place, Source, declared_bytes, reading
from bitxcore.errors import DumpError
from bitxcore.groups import Layout

VIEW_BYTES = 4 << 20  # what stays in a processor's cache until it is used
FORTRAN = "its values are in Fortran order"
_REFERENCES = 3  # of the list, of the loop variable, of getrefcount


class SpanTensor(Tensor):
    """A run of bytes of an uncompressed file; reading touches only the rows asked for.

    Parameters
    ----------
    source : Source
    offset : int
        First byte.
    stored : numpy.dtype
        With the byte order of the file.
    order : {"C", "F"}

    Raises
    ------
    DumpError
        If the run reaches beyond the file.

    Notes
    -----
    Bytes are copied, so that arrays are writable, aligned and outlive the file, that a dump of thousands
    of files holds none open, and that a file which is truncated meanwhile is an error (`read_into`).
    """

    def __init__(
        self,
        source: Source,
        offset: int,
        name: str,
        shape: tuple[int, ...],
        stored: np.dtype[Any],
        order: Literal["C", "F"] = "C",
        layout: Layout | None = None,
        is_weight: bool | None = None,
    ) -> None:
        super().__init__(name, shape, stored.newbyteorder("="), layout, is_weight)
        self.source = source
        self.offset = offset
        self.stored = stored
        self.order = order
        self.whole_because = FORTRAN if order == "F" and self.ndim > 1 else ""
        with reading(self.place):
            end = offset + declared_bytes(shape, stored)
            if end > source.size:
                raise DumpError(f"ends at byte {end}, the file at {source.size}; is it truncated?")

    @property
    def place(self) -> Place:
        """What errors name."""
        return Place(self.source.path, self.name)

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        return self._read(0, self.shape[0]) if self.shape else self._read(0, 1)

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0."""
        with reading(self.place):
            start, stop = self.row_range(start, stop)
        return self._read(start, stop)

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of whole rows.

        A later block overwrites views as soon as they are no longer referenced.
        """
        if not views or not self.shape or self.order == "F":
            yield from super().blocks(nbytes)
            return
        rows = max(1, min(nbytes, VIEW_BYTES) * self.shape[0] // max(1, self.nbytes))
        buffers: list[npt.NDArray[np.uint8]] = []
        for start in range(0, self.shape[0], rows):
            stop = min(start + rows, self.shape[0])
            shape = (stop - start, *self.shape[1:])
            # Free is what nobody but this refers to; the loop of a caller still holds the block before.
            free = (i for i, buffer in enumerate(buffers) if getrefcount(buffer) <= _REFERENCES)
            place = next(free, None)
            if place is None:
                buffers = [*buffers[-1:], np.empty(rows * (self.nbytes // self.shape[0]), np.uint8)]
                place = len(buffers) - 1
            yield self._filled(start * (self.nbytes // self.shape[0]), buffers[place], shape)

    def runs(self, ends: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of any length."""
        if self.whole_because:
            yield from super().runs(ends)
            return
        for start, end in pairwise((0, *ends)):
            with reading(self.place):
                values = np.empty(end - start, self.stored)
                buffer = values.view(np.uint8)
            yield self._filled(start * self.stored.itemsize, buffer, values.shape)

    def _read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read rows; of a 0-d tensor, which is one row as the file has it, all."""
        self.source.check()
        shape = (stop - start, *self.shape[1:]) if self.shape else ()
        with reading(self.place):
            values = np.empty(shape, self.stored)
            if not values.size:
                return values.astype(self.dtype, copy=False)
            if not self.whole_because:
                row = self.nbytes // self.shape[0] if self.shape else 0
                return self._filled(start * row, values.reshape(-1).view(np.uint8), shape)
            # Values of the last axis lie together; each is a slice that holds all rows.
            plane = self.nbytes // self.shape[-1]
            step = max(1, BLOCK_BYTES // plane)
            for first in range(0, self.shape[-1], step):
                last = min(first + step, self.shape[-1])
                part = np.empty((last - first) * plane, np.uint8)
                read_into(self.source, self.offset + first * plane, part)
                stored = part.view(self.stored).reshape((last - first, *self.shape[-2::-1]))
                values[..., first:last] = stored.T[start:stop]
            return self._native(values)

    def _filled(self, first: int, buffer: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Read the tensor's bytes from `first` on into a buffer; return its beginning in `shape`."""
        with reading(self.place):
            used = buffer[: prod(shape) * self.stored.itemsize]
            read_into(self.source, self.offset + first, used)
            return self._native(used.view(self.stored).reshape(shape))

    def _native(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn the bytes where they lie, if the file has another order."""
        if self.stored == self.dtype:
            return values
        if self.dtype.names or self.dtype.subdtype:  # of several byte orders, maybe
            return values.astype(self.dtype)
        return values.byteswap(inplace=True).view(self.dtype)
