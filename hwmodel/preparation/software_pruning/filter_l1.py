"""Filters by the sum of their absolute weights.

H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf: Pruning Filters for Efficient ConvNets, ICLR 2017.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.software_method import (
    Array,
    ChannelRanking,
    mean_over_layers,
    per_channel,
)


class FilterL1(ChannelRanking):
    """The filters with the smallest sums of absolute weights go [paper]."""

    name: ClassVar[str] = "l1"
    summary: ClassVar[str] = "sum of a filter's absolute weights"
    source: ClassVar[str] = "Li et al., ICLR 2017"

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Sum of the absolute weights of each filter."""
        return mean_over_layers([np.abs(per_channel(w)).sum(axis=1) for w in channels.writers.values()])
