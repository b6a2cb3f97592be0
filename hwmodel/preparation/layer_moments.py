"""First and second moments of what a layer's filters multiply."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.networks.onnx.convolutions import conv_of
from hwmodel.operands.im2col import windows

Array = npt.NDArray[Any]

MOST_POSITIONS = 1 << 12
"""Positions of a batch that count; of more, as many that are evenly spread [chosen]."""


class Moments(ABC):
    """Moments over all positions of all batches.

    Parameters
    ----------
    filters : ndarray, shape (filters, ...)
        A layer's weights, output channel first.
    parts : int
        Groups that its channels are in.
    """

    def __init__(self, filters: Array, parts: int) -> None:
        self._shape = filters.shape
        reduction = int(np.prod(filters.shape[1:]))
        self._products = np.zeros((parts, reduction, reduction))
        self._sums = np.zeros((parts, reduction))
        self._count = 0

    def add(self, x: Array) -> None:
        """Add one batch of the layer's activations, as it reads them.

        Raises
        ------
        TensorError
            If the layer is none whose inputs can be gathered.
        """
        seen = self._read(x)
        if seen.shape[2] != self._sums.shape[1]:
            raise TensorError(f"{seen.shape[2]} inputs are read, the filters have {self._sums.shape[1]}")
        if seen.shape[1] > MOST_POSITIONS:
            seen = seen[:, np.linspace(0, seen.shape[1] - 1, MOST_POSITIONS).astype(np.int64)]
        for part, rows in enumerate(seen):
            wide = rows.astype(np.float64)
            self._products[part] += wide.T @ wide
            self._sums[part] += wide.sum(axis=0)
        self._count += seen.shape[1]

    @abstractmethod
    def _read(self, x: Array) -> Array:
        """Give what each position multiplies with one filter, ``(parts, positions, reduction)``."""

    @property
    def second(self) -> Array:
        """Means of products of two inputs, ``(parts, reduction, reduction)``; a part per group of filters."""
        return self._products / max(self._count, 1)

    def means(self, filters: Array) -> Array:
        """Mean of the outputs of filters, ``(filters,)``."""
        parts = self._in_parts(filters)
        found: Array = np.einsum("pfr,pr->pf", parts, self._sums / max(self._count, 1)).reshape(-1)
        return found

    def relative(self, error: Array, filters: Array) -> float:
        """Root of the outputs' mean squared error for an error of the filters, over that of the outputs."""
        whole = self._power(filters)
        return float(np.sqrt(max(self._power(error), 0.0) / whole)) if whole > 0 else 0.0

    def _power(self, filters: Array) -> float:
        parts = self._in_parts(filters)
        return float((np.matmul(parts, self.second) * parts).sum())

    def _in_parts(self, filters: Array) -> Array:
        parts, reduction = self._sums.shape
        return filters.reshape(parts, -1, reduction).astype(np.float64)


class LayerMoments(Moments):
    """Of a node of an ONNX graph.

    Parameters
    ----------
    layer : LayerNode
    filters : ndarray, shape (filters, ...)
    """

    def __init__(self, layer: LayerNode, filters: Array) -> None:
        super().__init__(filters, layer.conv_groups)
        self._layer = layer

    def _read(self, x: Array) -> Array:
        layer = self._layer
        if layer.node.op_type == "Conv":
            record = conv_of(layer.name, layer.attributes, x.shape, self._shape)
            return in_groups(windows(record, x), record.groups)
        if layer.node.op_type in ("Gemm", "MatMul"):
            turned = layer.channels_last(x)
            return turned.reshape(1, -1, turned.shape[-1])
        raise TensorError(f"inputs of {layer.node.op_type} are not gathered")


def in_groups(seen: Array, groups: int) -> Array:
    """Split windows, one group of channels after another: ``(groups, positions, reduction)``."""
    return seen.reshape(groups, seen.shape[0] // groups, -1)
