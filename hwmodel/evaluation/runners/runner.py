"""Runners: run a model on samples, and count them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Runner(ABC):
    """A model that is ready to run.

    Attributes
    ----------
    batch : int or None
        Samples that it takes at a time; None: as many as it is given.
    shape_runs : dict of shapes to int
        Samples that were run, by the shapes of one of them: by input, without the batch; those that only fill
        up a batch do not count. A task that runs a model several times for one sample of its own, as a text
        recogniser on each line of a page, has more than samples; a model whose inputs vary in size has
        several shapes.
    first : dict of shapes to dict of str to ndarray
        By shapes, by input: the first sample that was run; of a model of a fixed batch, so many.
    """

    batch: int | None = None

    def __init__(self) -> None:
        self.shape_runs: dict[Shapes, int] = {}
        self.first: dict[Shapes, dict[str, Array]] = {}

    def __call__(self, feeds: dict[str, Array], count: int | None = None) -> list[Array]:
        """Run a batch, samples along the first axis of each input; return the model's outputs.

        Parameters
        ----------
        feeds : dict of str to ndarray
        count : int, optional
            Samples that count, where the others only fill up a batch; by default all.
        """
        shapes = tuple((name, array.shape[1:]) for name, array in feeds.items())
        count = len(next(iter(feeds.values()))) if count is None else count
        if shapes not in self.first:
            self.first[shapes] = {name: array[: self.batch or 1].copy() for name, array in feeds.items()}
        self.shape_runs[shapes] = self.shape_runs.get(shapes, 0) + count
        return self.outputs(feeds)

    @property
    def runs(self) -> int:
        """Samples that were run."""
        return sum(self.shape_runs.values())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one sample, by input: the shapes that most samples have, the first of several."""
        none: tuple[Shapes, int] = ((), 0)
        return dict(max(self.shape_runs.items(), key=lambda item: item[1], default=none)[0])

    @abstractmethod
    def outputs(self, feeds: dict[str, Array]) -> list[Array]:
        """Run one batch."""
