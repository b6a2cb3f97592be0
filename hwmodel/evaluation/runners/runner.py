"""What runs a model on samples, and counts them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


class Runner(ABC):
    """A model that is ready to run.

    Attributes
    ----------
    batch : int or None
        Samples that it takes at a time; None: as many as it is given.
    shapes : dict of str to tuple of int
        By input: the shape of one sample, of the first that was run.
    first : dict of str to ndarray
        By input: the first sample that was run; of a model of a fixed batch, so many.
    runs : int
        Samples that were run. A task that runs a model several times for one sample of its own, as a text
        recogniser on each line of a page, has more of these.
    """

    batch: int | None = None

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.first: dict[str, Array] = {}
        self.runs = 0

    def __call__(self, feeds: dict[str, Array]) -> list[Array]:
        """Run a batch, samples along the first axis of each input; return the model's outputs."""
        if not self.shapes:
            self.shapes = {name: array.shape[1:] for name, array in feeds.items()}
            self.first = {name: array[: self.batch or 1].copy() for name, array in feeds.items()}
        self.runs += len(next(iter(feeds.values())))
        return self.outputs(feeds)

    @abstractmethod
    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch."""
