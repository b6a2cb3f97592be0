"""Text that a model reads: whole lines that are right, and characters that are wrong.

A sample is one line of text or several, with a newline between them. Several are matched whatever their
order, so that the edits are fewest: each line that is there with one that was read at most. A line that was
missed counts as read empty, one that was invented as inserted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from bitxcore.errors import MissingExtraError, TensorError
from hwmodel.evaluation.metrics.metric_base import Array, Ratio


def edit_distance(some: str, other: str) -> int:
    """Count the fewest characters to insert, delete or replace that make one text of the other.

    Raises
    ------
    MissingExtraError
        If rapidfuzz is missing.

    Examples
    --------
    >>> edit_distance("kitten", "sitting"), edit_distance("", "abc")
    (3, 3)
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise MissingExtraError("rapidfuzz", "evaluation") from error
    return Levenshtein.distance(some, other)


def fewest_edits(some: list[str], other: list[str]) -> int:
    """Count the edits between lines, matched so that they are fewest.

    Examples
    --------
    >>> fewest_edits(["to be", "or nut"], ["or not", "to be", "that"])
    5
    """
    count = max(len(some), len(other))
    some, other = ([*lines, *[""] * (count - len(lines))] for lines in (some, other))
    if count == 1:
        return edit_distance(some[0], other[0])
    from scipy.optimize import linear_sum_assignment

    edits = np.array([[edit_distance(x, y) for y in other] for x in some], np.int64)
    return int(edits[linear_sum_assignment(edits)].sum())


class ExactLines(Ratio):
    """Share of lines that are read without a mistake."""

    name: ClassVar[str] = "exact_lines"
    is_share: ClassVar[bool] = True

    def records(self, outputs: Array, targets: Array) -> Array:
        """Count the lines of each sample ``(samples,)`` that are right, and those that are there.

        Equal lines are matched, as they are where the edits are fewest.
        """
        pairs = _lines(outputs, targets)
        return np.array(
            [[(Counter(lines) & Counter(true)).total(), len(true)] for lines, true in pairs], np.float64
        )


class CharacterErrors(Ratio):
    """Character error rate: edits between what is read and what is there, per character that is there."""

    name: ClassVar[str] = "cer"
    is_share: ClassVar[bool] = True
    higher_is_better: ClassVar[bool] = False

    def records(self, outputs: Array, targets: Array) -> Array:
        """Count the edits of each sample, and its characters; ends of lines are none.

        Raises
        ------
        MissingExtraError
            If rapidfuzz is missing.
        """
        pairs = _lines(outputs, targets)
        return np.array(
            [[fewest_edits(lines, true), sum(map(len, true))] for lines, true in pairs], np.float64
        )


def _lines(outputs: Array, targets: Array) -> list[tuple[list[str], list[str]]]:
    for what, array in (("the output", outputs), ("the labels", targets)):
        if array.ndim != 1 or array.dtype.kind not in "UO":
            raise TensorError(
                f"needs one line of text per sample; {what}: {array.dtype} of shape {array.shape}"
            )
    texts: Any = zip(outputs.tolist(), targets.tolist(), strict=True)
    return [(read.split("\n"), true.split("\n")) for read, true in texts]
