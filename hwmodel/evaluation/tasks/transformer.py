"""Text: the sample transformer foretells Python's help topics that it has not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from bitxcore.data import data_folder
from hwmodel.evaluation.datasets.pydoc_text import encode, held_out_windows, pydoc_text
from hwmodel.evaluation.tasks.task_base import Samples, Task, in_batches

CONTEXT = 128
BATCH = 32
UNSCORED = -1


class Transformer(Task):
    """Windows of 128 characters over the held-out eighth of the help topics that come with Python."""

    name: ClassVar[str] = "transformer"
    summary: ClassVar[str] = "the sample transformer on Python's help topics that it has not read: characters"

    def __init__(self) -> None:
        text = pydoc_text()
        self._seen = text.train
        self._windows = held_out_windows(encode(text.held_out), CONTEXT)
        self.metrics = ("bits_per_character", "agreement", "cosine")
        count = int(self._windows.scored.sum())
        self.title = f"text: data/samples/pydoc_transformer.onnx on {count:,} held-out characters"
        if text.remark:
            self.title += f" ({text.remark})"
        self.model = data_folder("samples") / "pydoc_transformer.onnx"

    def samples(self, quick: bool = False) -> Iterator[Samples]:
        """Give the windows, those of `docs/recipes/pydoc_transformer.py`; quickly every fifth.

        Each character counts once, in the window that shows the most before it: labels are -1 elsewhere.
        """
        inputs, targets, scored = (array[:: 5 if quick else 1] for array in self._windows)
        yield from in_batches({"ids": inputs}, np.where(scored, targets, UNSCORED), BATCH)

    def calibration(self, count: int) -> Iterator[Samples]:
        """Give stretches of the text that the network was trained on, evenly spread over it."""
        codes = encode(self._seen)
        starts = np.linspace(0, len(codes) - CONTEXT - 1, count).astype(np.int64)
        places = starts[:, None] + np.arange(CONTEXT)
        yield from in_batches({"ids": codes[places]}, codes[places + 1], BATCH)
