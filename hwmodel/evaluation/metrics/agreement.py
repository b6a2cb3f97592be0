"""How far the pruned model's outputs are from the unpruned one's: agreement, which is not an accuracy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.metrics.metric_base import Array, Ratio


class Agreement(Ratio):
    """Share of samples of which both models' largest output is the same one."""

    name: ClassVar[str] = "agreement"
    against: ClassVar[str] = "unpruned"
    is_share: ClassVar[bool] = True

    def records(self, outputs: Array, targets: Array) -> Array:
        """Compare the places of the largest outputs; of several outputs per sample, of each."""
        same = outputs.argmax(axis=-1) == targets.argmax(axis=-1)
        flat = same.reshape(len(same), -1)
        return np.stack([flat.sum(axis=1), np.full(len(flat), flat.shape[1])], axis=1).astype(np.float64)


class Cosine(Ratio):
    """Mean cosine of the angle between both models' outputs."""

    name: ClassVar[str] = "cosine"
    against: ClassVar[str] = "unpruned"

    def records(self, outputs: Array, targets: Array) -> Array:
        """Cosine per sample, over all of its outputs; of two vectors of zeros 1, of one of them 0."""
        x, y = (array.reshape(len(array), -1).astype(np.float64) for array in (outputs, targets))
        lengths = np.asarray(np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
        both = np.asarray(~x.any(axis=1) & ~y.any(axis=1), np.float64)
        cosines: npt.NDArray[np.float64] = np.divide(
            (x * y).sum(axis=1), lengths, out=both, where=lengths > 0
        )
        return np.stack([cosines, np.ones_like(cosines)], axis=1)
