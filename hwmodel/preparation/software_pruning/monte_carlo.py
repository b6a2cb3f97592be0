"""Weights, or input channels, that are drawn by their importance.

P. Drineas, R. Kannan, M. W. Mahoney: Fast Monte Carlo Algorithms for Matrices I: Approximating Matrix
Multiplication, SIAM J. Comput. 36(1), 2006. The paper approximates ``A B`` by a few columns of A with the
rows of B that they meet, drawn with replacement with probabilities by their squared norms, and each divided
by its probability. Ours are: the criterion for single weights; draws without replacement, so that the number
that stays is exact; and what stays is not scaled, as a mask changes no value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np

from bitxcore.errors import OptionError
from hwmodel.preparation.software_pruning.channel_candidates import ChannelCandidate
from hwmodel.preparation.software_pruning.software_method import (
    Array,
    ChannelRanking,
    WeightChoice,
    mean_over_layers,
    per_channel,
)
from hwmodel.preparation.software_pruning.weight_magnitude import lowest_zeroed

_SOURCE = "Drineas, Kannan and Mahoney, 2006"


@dataclass(frozen=True, kw_only=True)
class MonteCarlo(WeightChoice):
    """Weights stay with probabilities proportional to their squares.

    Parameters
    ----------
    seed : int
        Of the draws; each tensor has its own, of the seed and its name.
    expected : bool
        Rank by the probabilities in place of drawing: of single weights, that is by magnitude.
    """

    seed: int = 0
    expected: bool = False

    name: ClassVar[str] = "monte-carlo"
    summary: ClassVar[str] = "drawn with probabilities by the squares of weights"
    source: ClassVar[str] = _SOURCE

    def __post_init__(self) -> None:
        _check(self.seed)

    def masks(self, weights: Mapping[str, Array], ratio: float, scope: str) -> dict[str, Array | str]:
        """Keep what is drawn."""
        keys = {
            name: _keys(np.square(w.astype(np.float64)), name, self.seed, self.expected)
            for name, w in weights.items()
        }
        return lowest_zeroed(keys, ratio, scope)


@dataclass(frozen=True, kw_only=True)
class MonteCarloChannels(ChannelRanking):
    """Channels stay with probabilities proportional to the squared norms of the weights that read them.

    Parameters
    ----------
    seed : int
        Of the draws; each space of channels has its own, of the seed and its name.
    expected : bool
        Rank by the probabilities in place of drawing.
    """

    seed: int = 0
    expected: bool = False

    name: ClassVar[str] = "monte-carlo-channels"
    summary: ClassVar[str] = "drawn with probabilities by the squared norms of the weights that read it"
    source: ClassVar[str] = _SOURCE
    scopes: ClassVar[tuple[str, ...]] = ("layer",)

    def __post_init__(self) -> None:
        _check(self.seed)

    def scores(self, channels: ChannelCandidate) -> Array | str:
        """Keys whose highest are the draws."""
        if not channels.readers:
            return "no layer reads it"
        importance = mean_over_layers(
            [np.square(per_channel(w)).sum(axis=1) for w in channels.readers.values()]
        )
        return _keys(importance, channels.name, self.seed, self.expected)


def _check(seed: int) -> None:
    if seed < 0:
        raise OptionError(f"seed must be from 0, got {seed}", value=seed)


def _keys(importance: Array, name: str, seed: int, expected: bool) -> Array:
    """Give keys of which the highest k are k draws without replacement by importance.

    The logarithm plus Gumbel noise: the highest key is a draw, the next one a draw among the others, and so
    on.
    """
    with np.errstate(divide="ignore"):
        keys: Array = np.log(importance)
    if expected:
        return keys
    rng = np.random.default_rng([seed, crc32(name.encode())])
    return keys + rng.gumbel(size=keys.shape)
