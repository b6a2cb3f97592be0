"""Weights by their magnitude.

S. Han, J. Pool, J. Tran, W. J. Dally: Learning both Weights and Connections for Efficient Neural Networks,
NIPS 2015.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from hwmodel.preparation.software_pruning.shares import lowest, taken
from hwmodel.preparation.software_pruning.software_method import Array, WeightChoice


class WeightMagnitude(WeightChoice):
    """The smallest weights go, of each layer or of all together."""

    name: ClassVar[str] = "magnitude"
    summary: ClassVar[str] = "absolute value of a weight"
    source: ClassVar[str] = "Han et al., NIPS 2015"

    def masks(self, weights: Mapping[str, Array], ratio: float, scope: str) -> dict[str, Array | str]:
        """Keep all but the smallest."""
        return lowest_zeroed(
            {name: np.abs(w.astype(np.float64)) for name, w in weights.items()}, ratio, scope
        )


def lowest_zeroed(scores: Mapping[str, Array], ratio: float, scope: str) -> dict[str, Array | str]:
    """Say of each weight whether it stays, where the lowest scores of each layer, or of all, go."""
    flat = {name: of.reshape(-1) for name, of in scores.items()}
    parts = [[name] for name in flat] if scope == "layer" else [list(flat)]
    found: dict[str, Array | str] = {}
    for names in parts:
        together = np.concatenate([flat[name] for name in names])
        stays = np.ones(len(together), bool)
        stays[lowest(together, taken(len(together), ratio))] = False
        ends = np.cumsum([len(flat[name]) for name in names])[:-1]
        found |= {
            name: part.reshape(scores[name].shape)
            for name, part in zip(names, np.split(stays, ends), strict=True)
        }
    return found
