"""Channels by how much their mean activation differs from sample to sample.

J.-H. Luo, J. Wu: An Entropy-based Pruning Method for CNN Compression, 2017 (arXiv 1706.05791).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitxcore.errors import OptionError
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.software_method import (
    Array,
    ChannelRanking,
    mean_over_layers,
)


@dataclass(frozen=True, kw_only=True)
class ChannelEntropy(ChannelRanking):
    """The channels whose globally averaged activations have the lowest entropy go [paper].

    Parameters
    ----------
    bins : int
        Of the histogram of a channel, from its lowest to its highest value [chosen: the paper does not say].
    """

    bins: int = 100

    name: ClassVar[str] = "entropy"
    summary: ClassVar[str] = "entropy of its mean activation over the samples"
    source: ClassVar[str] = "Luo and Wu, 2017"
    needs_data: ClassVar[bool] = True
    comparable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 1 << 16:
            raise OptionError(f"bins must be from 2 to 65536, got {self.bins}", value=self.bins)

    def of_samples(self, x: Array) -> Array:
        """Global average of a channel."""
        return np.asarray(np.mean(x, axis=2, dtype=np.float64))

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Entropy in nats."""
        return mean_over_layers([np.array([self._entropy(x) for x in pooled.T]) for pooled in channels.seen])

    def _entropy(self, x: Array) -> float:
        if x.min() == x.max():
            return 0.0
        counts, _ = np.histogram(x, self.bins)
        shares = counts[counts > 0] / len(x)
        return float(-(shares * np.log(shares)).sum())
