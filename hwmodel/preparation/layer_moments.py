"""First and second moments of what a layer's filters multiply."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.networks.onnx.convolutions import conv_of
from hwmodel.operands.im2col import windows

Array = npt.NDArray[Any]

MOST_POSITIONS = 1 << 12
"""Positions of a batch that count; of more, evenly spread ones do."""


class LayerMoments:
    """Sums over all positions of all batches.

    Parameters
    ----------
    layer : LayerNode
    filters : ndarray, shape (filters, ...)
        The layer's weights, output channel first.

    Attributes
    ----------
    second : ndarray, shape (parts, reduction, reduction)
        Mean of the products of inputs; a part for each group of a convolution.
    first : ndarray, shape (parts, reduction)
        Mean of the inputs.
    """

    def __init__(self, layer: LayerNode, filters: Array) -> None:
        self._layer, self._shape = layer, filters.shape
        reduction = int(np.prod(filters.shape[1:]))
        parts = layer.conv_groups
        self._second = np.zeros((parts, reduction, reduction))
        self._first = np.zeros((parts, reduction))
        self._count = 0

    def add(self, x: Array) -> None:
        """Add one batch of the layer's activations, as its node reads them.

        Raises
        ------
        TensorError
            If the layer is none whose inputs can be gathered.
        """
        seen = self._seen(x)
        for part, rows in enumerate(seen):
            wide = rows.astype(np.float64)
            self._second[part] += wide.T @ wide
            self._first[part] += wide.sum(axis=0)
        self._count += seen.shape[1]

    @property
    def second(self) -> Array:
        return self._second / max(self._count, 1)

    @property
    def first(self) -> Array:
        return self._first / max(self._count, 1)

    def _seen(self, x: Array) -> Array:
        """Give ``(parts, positions, reduction)``."""
        layer = self._layer
        if layer.node.op_type == "Conv":
            record = conv_of(layer.name, layer.attributes, x.shape, self._shape)
            seen = windows(record, x)
            seen = seen.reshape(record.groups, seen.shape[0] // record.groups, -1)
        elif layer.node.op_type in ("Gemm", "MatMul"):
            turned = layer.channels_last(x)
            seen = turned.reshape(1, -1, turned.shape[-1])
        else:
            raise TensorError(f"inputs of {layer.node.op_type} are not gathered")
        if seen.shape[1] > MOST_POSITIONS:
            seen = seen[:, np.linspace(0, seen.shape[1] - 1, MOST_POSITIONS).astype(np.int64)]
        return seen
