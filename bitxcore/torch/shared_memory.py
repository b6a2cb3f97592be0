"""Which tensors lie in the same memory: tied weights, and views that overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_WORK = 10_000
"""Steps that are spent on telling whether two tensors share an element; then it is taken that they do."""


@dataclass(frozen=True, slots=True)
class TensorMemory:
    """Where the elements of a strided tensor lie.

    Parameters
    ----------
    device : str
    start : int
        Address of the first element.
    dtype : str
    itemsize : int
        Bytes.
    shape, strides : tuple of int
        Strides in elements, not negative; 0 for an axis of one element.
    """

    device: str
    start: int
    dtype: str
    itemsize: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @staticmethod
    def of(value: Any) -> TensorMemory:
        """Return the memory of a tensor of PyTorch that has memory."""
        steps = tuple(step if n > 1 else 0 for n, step in zip(value.shape, value.stride(), strict=True))
        return TensorMemory(
            str(value.device),
            int(value.data_ptr()),
            str(value.dtype),
            int(value.element_size()),
            tuple(value.shape),
            steps,
        )

    @property
    def end(self) -> int:
        """Address behind the last element."""
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return self.start + (reach + 1) * self.itemsize

    @property
    def repeats(self) -> bool:
        """Whether elements share memory with each other, as those of an expanded tensor do.

        True also for strides that only look so: no axis steps over all that the smaller steps reach.
        """
        reach = 0
        for step, n in sorted(zip(self.strides, self.shape, strict=True)):
            if n > 1:
                if step <= reach:
                    return True
                reach += (n - 1) * step
        return False

    def overlaps(self, other: TensorMemory) -> bool:
        """Whether an element of one lies in an element of the other."""
        if self.device != other.device or self.end <= other.start or other.end <= self.start:
            return False
        shares: Any = np.shares_memory  # its types know no bound
        try:
            return bool(shares(_view(self), _view(other), max_work=MOST_WORK))
        except np.exceptions.TooHardError:
            return True


class _Addresses:
    """What NumPy takes for an array; its values are never read."""

    def __init__(self, memory: TensorMemory) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": f"|V{memory.itemsize}",
            "data": (memory.start, True),
            "shape": memory.shape,
            "strides": tuple(step * memory.itemsize for step in memory.strides),
        }


def _view(memory: TensorMemory) -> Any:
    return np.asarray(_Addresses(memory))


def overlapping(memories: Iterable[TensorMemory]) -> Iterator[tuple[TensorMemory, TensorMemory]]:
    """Yield every pair of different memories that overlap."""
    active: list[TensorMemory] = []
    for memory in sorted(set(memories), key=lambda p: (p.device, p.start)):
        active = [other for other in active if other.device == memory.device and other.end > memory.start]
        for other in active:
            if memory.overlaps(other):
                yield other, memory
        active.append(memory)
