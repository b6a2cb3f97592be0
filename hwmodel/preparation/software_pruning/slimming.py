"""Channels by the scale of the batch normalisation behind them.

Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang: Learning Efficient Convolutional Networks through Network
Slimming, ICCV 2017.
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


class Slimming(ChannelRanking):
    """The channels with the smallest absolute scales of all layers go, by one threshold [paper].

    The paper trains with a penalty on the scales first.
    """

    name: ClassVar[str] = "slimming"
    summary: ClassVar[str] = "absolute scale of the batch normalisation behind it"
    source: ClassVar[str] = "Liu et al., ICCV 2017"
    scopes: ClassVar[tuple[str, ...]] = ("global", "layer")
    comparable: ClassVar[bool] = True

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Absolute scales."""
        if not channels.gammas:
            return "no batch normalisation is behind it: it may have been folded into the weights"
        return mean_over_layers(
            [np.abs(per_channel(gamma)).mean(axis=1) for gamma in channels.gammas.values()]
        )
