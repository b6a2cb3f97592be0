"""What every reader gives: a read-only mapping from tensor name to a lazily read tensor."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bitxcore.closing import Closing
from bitxcore.dumps.trust import reading
from bitxcore.errors import DumpError, TensorError
from bitxcore.groups import Layout

if TYPE_CHECKING:
    from bitxcore.dumps.onnx_weights import Encoding

BLOCK_BYTES = 1 << 24


class Tensor(ABC):
    """One tensor of a dump; its values are read when asked for.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        Native byte order; bfloat16 and float8 are ``ml_dtypes``.
    layout : Layout
        Where the output channel sits, as far as the container tells (ONNX graphs do).
    is_weight : bool or None
        Whether a layer multiplies by it; None where the container can't tell.
    encoding : Encoding or None
        How integers represent weights, as far as the container tells (ONNX graphs do).
    left_alone : str
        Why it is not worked on by default, though a layer multiplies by it, or by what is made of it.
    whole_because : str
        Why all of it is in memory when any of it is read; empty if `runs` reads no more than it yields.
    """

    row_step = 1  # rows that are stored, and so best read, together
    encoding: Encoding | None = None
    left_alone: str = ""
    whole_because: str = "its reader hands out whole tensors"

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        layout: Layout | None = None,
        is_weight: bool | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.layout = layout or Layout()
        self.is_weight = is_weight

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @abstractmethod
    def read(self) -> npt.NDArray[Any]:
        """Read all values: C order, native byte order, of `shape` and `dtype`."""

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Read ``[start:stop]`` of axis 0; containers that can do so touch those bytes only."""
        return self.read()[start:stop]

    def row_range(self, start: int, stop: int) -> tuple[int, int]:
        """Return the rows that ``[start:stop]`` of axis 0 represents; an error if there is no such axis."""
        if not self.shape:
            raise TensorError("is 0-d, it has no rows")
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        return start, max(start, stop)

    def view_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return ``[start:stop]`` of axis 0 without a copy where the container can do so.

        No container of this package can: a mapping of a file that is truncated would end the process.
        """
        return self.read_rows(start, stop)

    def blocks(self, nbytes: int = BLOCK_BYTES, *, views: bool = False) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of whole rows of axis 0.

        Parameters
        ----------
        nbytes : int
            Aim for the size of one block, in bytes; a block has at least one row.
        views : bool
            Faster, for values that are used at once: memory of a block may be used again.

        Yields
        ------
        numpy.ndarray
            Blocks whose rows, one after the other, are those of `read`; a 0-d tensor is one 0-d block.
        """
        if not self.shape:
            yield self.read()
            return
        rows = max(1, nbytes * self.shape[0] // max(1, self.nbytes))
        rows = -(-rows // self.row_step) * self.row_step
        for start in range(0, self.shape[0], rows):
            stop = min(start + rows, self.shape[0])
            yield self.view_rows(start, stop) if views else self.read_rows(start, stop)

    def runs(self, ends: Iterable[int]) -> Iterator[npt.NDArray[Any]]:
        """Read the values once, front to back, in runs of any length.

        Parameters
        ----------
        ends : iterable of int
            For each run, the number of values up to its end; rising, the last is `size`.

        Yields
        ------
        numpy.ndarray
            1-D, in C order: what lies between one end and the next.
        """
        values = self.read().reshape(-1)
        for start, end in pairwise((0, *ends)):
            yield values[start:end]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.read(), dtype=dtype)

    def __repr__(self) -> str:
        return f"<Tensor {self.name!r} {self.shape} {self.dtype}>"


class Dump(Closing, Mapping[str, Tensor]):
    """A dump that is open for reading; a context manager that closes its file.

    Attributes
    ----------
    path : pathlib.Path
    container : str
        Name of the container format, e.g. ``"safetensors"``.
    ignored : dict of str to str
        What the file holds besides tensors: name, and why it is not listed.
    beside : dict of str to pathlib.Path
        Files of a directory that is read as one dump which are no part of it, by their place in it. They
        are copied where the directory is written again.
    """

    release: Callable[[], object] | None = None  # what was made for reading it

    def __init__(self, path: Path, container: str, tensors: Mapping[str, Tensor]) -> None:
        self.path = path
        self.container = container
        self._tensors = dict(tensors)
        self.ignored: dict[str, str] = {}
        self.beside: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"<Dump {self.path} ({self.container}, {len(self)} tensors)>"

    def files(self) -> list[Path]:
        """Return every file the dump consists of, the main one first."""
        return [self.path]

    def sha256(self) -> str:
        """SHA-256 over the dump's files in order, in hexadecimal."""
        digest = hashlib.sha256()
        for path in self.files():
            with reading(path), path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
        return digest.hexdigest()

    def rewrite(self, out: Path, replace: Replace, progress: TensorProgress | None = None) -> None:
        """Write the dump again in its own container, with some tensors replaced.

        Parameters
        ----------
        out : pathlib.Path
        replace : Replace
        progress : TensorProgress, optional

        Raises
        ------
        BitxError
            If the container has no writer (this default), or as `bitxcore.dumps.save`.
        """
        raise DumpError(
            f"a {self.container} dump can't be written back; name a .npz or .safetensors", path=out
        )

    def close(self) -> None:
        """Release files; the tensors can't be read afterwards."""
        if self.release is not None:
            self.release()


Replace = Callable[[Tensor], npt.NDArray[Any] | Iterable[npt.NDArray[Any]] | None]
"""New values of a tensor: an array of its shape and dtype; runs that add up to it, of whole rows (axis 0)
or 1-D, of values in C order; or None to leave the tensor as it is."""

TensorProgress = Callable[[Tensor], None]
"""Called after each tensor that was written or skipped."""
