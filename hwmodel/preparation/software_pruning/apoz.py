"""Channels by the share of zeros among their activations.

H. Hu, R. Peng, Y.-W. Tai, C.-K. Tang: Network Trimming: A Data-Driven Neuron Pruning Approach towards
Efficient Deep Architectures, 2016 (arXiv 1607.03250).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.software_method import (
    Array,
    ChannelRanking,
    mean_over_layers,
)


class APoZ(ChannelRanking):
    """The channels with the highest average percentage of zeros go [paper]."""

    name: ClassVar[str] = "apoz"
    summary: ClassVar[str] = "share of its activations that are not zero"
    source: ClassVar[str] = "Hu et al., 2016"
    needs_data: ClassVar[bool] = True
    comparable: ClassVar[bool] = True

    def of_samples(self, x: Array) -> Array:
        """Share of positions that are zero."""
        return np.asarray(np.mean(x == 0, axis=2, dtype=np.float64))

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Share that is not zero."""
        if not any(zeros.any() for zeros in channels.seen):
            return "none of its activations is zero"
        return mean_over_layers([1 - zeros.mean(axis=0) for zeros in channels.seen])
