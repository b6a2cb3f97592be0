"""ONNX tensors of 4-bit integers, two in a byte, the first one in the low bits."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bitxcore.dumps.base import Tensor
from bitxcore.dumps.trust import Place, reading
from bitxcore.errors import DumpError
from bitxcore.groups import Layout

NIBBLES: dict[int, np.dtype[Any]] = {21: np.dtype(ml_dtypes.uint4), 22: np.dtype(ml_dtypes.int4)}
"""onnx.TensorProto.DataType -> dtype, one element per byte in memory."""


def packed_bytes(shape: tuple[int, ...]) -> int:
    """Bytes that a tensor of 4-bit integers takes in a file."""
    return -(-prod(shape) // 2)


class NibbleTensor(Tensor):
    """A tensor of int4 or uint4, embedded or in a file beside the graph."""

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        place: Place,
        layout: Layout | None,
        load: Callable[[], npt.NDArray[np.uint8]],
    ) -> None:
        super().__init__(name, shape, dtype, layout, layout is not None)
        self._place = place
        self._load = load

    def read(self) -> npt.NDArray[Any]:
        """Read all values."""
        with reading(self._place):
            packed = self._load()
            if packed.size != packed_bytes(self.shape):
                raise DumpError(
                    f"shape {list(self.shape)} of {self.dtype} needs {packed_bytes(self.shape)} bytes,"
                    f" {packed.size} are there"
                )
        codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)[: self.size]
        if self.dtype == ml_dtypes.int4:
            codes = (codes.astype(np.int8) ^ 8) - 8
        return codes.astype(self.dtype).reshape(self.shape)


def pack_nibbles(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Pack 4-bit integers as a file has them."""
    codes = values.reshape(-1).astype(np.int8).astype(np.uint8) & 15
    even = np.append(codes, np.zeros(codes.size % 2, np.uint8))
    return np.asarray(even[::2] | (even[1::2] << 4))
