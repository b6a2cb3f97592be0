"""Are samples still in the same order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from bitxcore.errors import TensorError
from hwmodel.evaluation.metrics.metric_base import Array, Metric


class Spearman(Metric):
    """Rank correlation of both models' outputs, one number per sample."""

    name: ClassVar[str] = "spearman"
    against: ClassVar[str] = "unpruned"

    def records(self, outputs: Array, targets: Array) -> Array:
        """Put the pruned and the unpruned model's number of each sample side by side."""
        if outputs.size != len(outputs):
            raise TensorError(f"needs one number per sample, (samples,); the output has {outputs.shape}")
        return np.stack([outputs.reshape(-1), targets.reshape(-1)], axis=1).astype(np.float64)

    def total(self, records: Array) -> float:
        """Correlate the ranks; equal numbers share theirs. NaN where all numbers of a model are equal."""
        from scipy.stats import spearmanr

        if len(records) < 2 or not np.ptp(records, axis=0).all():
            return float("nan")
        return float(spearmanr(records[:, 0], records[:, 1]).statistic)
