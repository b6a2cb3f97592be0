"""Text that a model reads: whole lines that are right, and characters that are wrong."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.evaluation.metrics.metric_base import Array, Ratio


def edit_distance(some: str, other: str) -> int:
    """Count the fewest characters to insert, delete or replace that make one text of the other.

    Examples
    --------
    >>> edit_distance("kitten", "sitting"), edit_distance("", "abc")
    (3, 3)
    """
    across = np.array([ord(character) for character in other], np.int64)
    steps = np.arange(len(other) + 1)
    row = steps
    for done, character in enumerate(some, start=1):
        row = np.concatenate([[done], np.minimum(row[1:] + 1, row[:-1] + (across != ord(character)))])
        # Insertions run along the row: entry j is the least of entry k + (j - k) for k up to j.
        row = np.minimum.accumulate(row - steps) + steps
    return int(row[-1])


class ExactLines(Ratio):
    """Share of lines that are read without a mistake."""

    name: ClassVar[str] = "exact_lines"
    is_share: ClassVar[bool] = True

    def records(self, outputs: Array, targets: Array) -> Array:
        """Compare lines ``(samples,)`` of text."""
        pairs = _lines(outputs, targets)
        return np.array([[line == true, 1] for line, true in pairs], np.float64)


class CharacterErrors(Ratio):
    """Character error rate: edits between what is read and what is there, per character that is there."""

    name: ClassVar[str] = "cer"
    is_share: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = False

    def records(self, outputs: Array, targets: Array) -> Array:
        """Count the edits of each line, and its characters."""
        pairs = _lines(outputs, targets)
        return np.array([[edit_distance(line, true), len(true)] for line, true in pairs], np.float64)


def _lines(outputs: Array, targets: Array) -> list[tuple[Any, Any]]:
    for what, array in (("the output", outputs), ("the labels", targets)):
        if array.ndim != 1 or array.dtype.kind not in "UO":
            raise TensorError(
                f"needs one line of text per sample; {what}: {array.dtype} of shape {array.shape}"
            )
    return list(zip(outputs.tolist(), targets.tolist(), strict=True))
