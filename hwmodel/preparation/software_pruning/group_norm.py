"""Filters and input channels by the norms of the groups that group lasso drives to zero.

W. Wen, C. Wu, Y. Wang, Y. Chen, H. Li: Learning Structured Sparsity in Deep Neural Networks, NIPS 2016.
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


class GroupNorm(ChannelRanking):
    """Channels with the smallest norms of what writes and what reads them go.

    The paper trains with the sum of these norms as a penalty; without that training they only rank. Its
    groups are filters ``W[n, :, :, :]`` and input channels ``W[:, c, :, :]`` of every layer [paper]: a
    channel has those of all layers that it goes through.
    """

    name: ClassVar[str] = "group-norm"
    summary: ClassVar[str] = "L2 norms of its filters and of the weights that read it"
    source: ClassVar[str] = "Wen et al., NIPS 2016"

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Mean of the groups' norms."""
        groups = [*channels.writers.values(), *channels.readers.values()]
        return mean_over_layers([np.linalg.norm(per_channel(w), axis=1) for w in groups])
