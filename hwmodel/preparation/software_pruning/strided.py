"""The same strided positions of all kernels of a layer.

S. Anwar, K. Hwang, W. Sung: Structured Pruning of Deep Convolutional Neural Networks, ACM JETC 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import numpy as np

from hwmodel.preparation.software_pruning.software_method import Array, WeightChoice


class Strided(WeightChoice):
    """In all kernels of a layer the positions ``offset + i * stride`` stay [paper].

    The stride is the smallest that takes away at least the ratio, whatever the offset; the offset is the one
    that keeps most magnitude [chosen]. A kernel has at least one position left, so that a ratio that is too
    high for it is not reached.
    """

    name: ClassVar[str] = "strided"
    summary: ClassVar[str] = "positions of a kernel at one stride, in all kernels of a layer"
    source: ClassVar[str] = "Anwar et al., 2017"
    scopes: ClassVar[tuple[str, ...]] = ("layer",)

    def masks(self, weights: Mapping[str, Array], ratio: float, scope: str) -> dict[str, Array | str]:
        """Keep strided positions."""
        return {name: self._mask(w, ratio) for name, w in weights.items()}

    def _mask(self, weights: Array, ratio: float) -> Array | str:
        positions = prod(weights.shape[2:])
        if positions < 2:
            return "its kernels have a single position"
        allowed = positions * (1 - ratio) + 1e-9
        stride = next((s for s in range(1, positions) if -(-positions // s) <= allowed), positions)
        kernels = np.abs(weights.astype(np.float64)).reshape(-1, positions)
        magnitudes = kernels.sum(axis=0)
        offset = max(range(stride), key=lambda at: float(magnitudes[at::stride].sum()))
        stays = np.zeros(positions, bool)
        stays[offset::stride] = True
        return np.broadcast_to(stays, kernels.shape).reshape(weights.shape)
