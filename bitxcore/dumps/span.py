"""A tensor whose values lie in a file as they are in memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Tensor
from bitxcore.dumps.trust import Place, Source, declared_bytes, reading
from bitxcore.errors import DumpError
from bitxcore.groups import Layout


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
    The file is mapped for the time of one read and copied from, so that arrays are writable, aligned
    and outlive the file, and a dump of thousands of files holds none open.
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
        return self._copy(...)

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0."""
        with reading(self.place):
            rows = slice(*self.row_range(start, stop))
        return self._copy(rows)

    def view_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Map ``[start:stop]`` of axis 0, where the file has it as memory would."""
        if (
            not self.size
            or self.order == "F"
            or self.stored != self.dtype
            or self.offset % self.dtype.itemsize
        ):
            return self.read_rows(start, stop)
        self.source.check()
        with reading(self.place):
            mapped = np.memmap(self.source.path, self.stored, "c", self.offset, self.shape)
            view: npt.NDArray[Any] = np.asarray(mapped[start:stop])
            return view

    def _copy(self, index: Any) -> npt.NDArray[Any]:
        self.source.check()
        if not self.size:
            none: npt.NDArray[Any] = np.empty(self.shape, self.dtype)[index]
            return none
        with reading(self.place):
            values = np.memmap(self.source.path, self.stored, "r", self.offset, self.shape, self.order)
            copy: npt.NDArray[Any] = np.array(values[index], dtype=self.dtype, order="C")
            return copy
