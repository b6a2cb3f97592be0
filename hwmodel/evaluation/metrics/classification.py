"""Is the right class the first, or among the first five."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.evaluation.metrics.metric_base import Array, Ratio


class Top1(Ratio):
    """Share of samples whose class has the largest output."""

    name: ClassVar[str] = "top1"
    places: ClassVar[int] = 1
    is_share: ClassVar[bool] = True

    def records(self, outputs: Array, targets: Array) -> Array:
        """Hold the largest outputs of ``(samples, classes)`` against class numbers.

        Raises
        ------
        TensorError
            If the output is not a score per class, or a label is not a class of it.
        """
        if outputs.ndim != 2:
            raise TensorError(
                f"needs one score per class, (samples, classes); the output has shape {outputs.shape}"
            )
        if targets.dtype.kind not in "iu" or targets.ndim != 1:
            raise TensorError(
                f"labels must be class numbers, one per sample; got {targets.dtype} of shape {targets.shape}"
            )
        classes = outputs.shape[1]
        wrong = np.flatnonzero((targets < 0) | (targets >= classes))
        if wrong.size:
            first = int(wrong[0])
            raise TensorError(
                f"label {targets[first]} of sample {first} is no class: the model has {classes}",
                index=first,
                value=targets[first],
                hint=f"number the classes from 0 to {classes - 1}",
            )
        # Stable: of equal outputs the first class wins, on every machine.
        best = np.argsort(-outputs, axis=1, kind="stable")[:, : self.places]
        hit = (best == targets[:, None]).any(axis=1)
        return np.stack([hit, np.ones_like(hit)], axis=1).astype(np.float64)


class Top5(Top1):
    """Share of samples whose class has one of the five largest outputs."""

    name: ClassVar[str] = "top5"
    places: ClassVar[int] = 5
