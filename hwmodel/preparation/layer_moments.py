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
    """Moments over all positions of all batches, of prepared inputs and of those of the model as it was.

    Arrays have a part per group of filters.

    Parameters
    ----------
    filters : ndarray, shape (filters, ...)
        A layer's weights, output channel first.
    parts : int
        Groups that its channels are in.
    centred : bool
        Whether second moments are those around the means: where an offset takes over the means.
    """

    def __init__(self, filters: Array, parts: int, *, centred: bool = False) -> None:
        self._filters, self._centred = filters, centred
        reduction = int(np.prod(filters.shape[1:]))
        self._products, self._crossed = (np.zeros((parts, reduction, reduction)) for _ in range(2))
        self._sums, self._original_sums = (np.zeros((parts, reduction)) for _ in range(2))
        self._count, self._power = 0, 0.0

    def add(self, x: Array, original: Array | None = None) -> None:
        """Add one batch of the layer's activations, as it reads them.

        Parameters
        ----------
        x : ndarray
        original : ndarray, optional
            Those of the model as it was; left out: the same.

        Raises
        ------
        TensorError
            If the layer is none whose inputs can be gathered.
        """
        seen = self._seen(x)
        before = seen if original is None else self._seen(original)
        filters = self._in_parts(self._filters)
        for part, (rows, others) in enumerate(zip(seen, before, strict=True)):
            wide = rows.astype(np.float64)
            other = wide if original is None else others.astype(np.float64)
            product = wide.T @ wide
            self._products[part] += product
            self._crossed[part] += product if original is None else other.T @ wide
            self._sums[part] += wide.sum(axis=0)
            self._original_sums[part] += other.sum(axis=0)
            self._power += float(np.square(other @ filters[part].T).sum())
        self._count += seen.shape[1]

    @property
    def second(self) -> Array:
        """Means of products of two inputs, ``(parts, reduction, reduction)``."""
        return self._around(self._products, self._sums)

    def targets(self, damping: float) -> Array:
        """Return the filters that give the outputs of the model as it was best, on prepared inputs.

        By least squares, with `damping` pulling to the filters as they were; asymmetric reconstruction, as in
        AdaRound (Nagel et al., ICML 2020).
        """
        second = self.second
        missing = self._around(self._crossed, self._original_sums) - second
        mean = np.diagonal(second, axis1=1, axis2=2).mean(axis=1)
        damped = second + np.eye(second.shape[1]) * np.where(mean > 0, damping * mean, 1.0)[:, None, None]
        found = self._in_parts(self._filters)
        asked = np.matmul(found, missing).transpose(0, 2, 1)
        found = found + np.linalg.solve(damped, asked).transpose(0, 2, 1)
        return found.reshape(self._filters.shape)

    def missing_means(self, prepared: Array) -> Array:
        """Mean of the outputs as they were, less that of prepared ones, ``(filters,)``."""
        before = self._outputs(self._filters, self._original_sums)
        return before - self._outputs(prepared, self._sums)

    def relative(self, prepared: Array, *, corrected: bool) -> float:
        """Root of the outputs' mean squared error over that of the outputs as they were.

        Parameters
        ----------
        prepared : ndarray
            Filters on prepared inputs.
        corrected : bool
            Whether an offset takes over the mean error.
        """
        after, before = self._in_parts(prepared), self._in_parts(self._filters)
        own = (np.matmul(after, self._products) * after).sum()
        error = float(own - 2 * (np.matmul(before, self._crossed) * after).sum()) + self._power
        if corrected:
            error -= float(np.square(self.missing_means(prepared)).sum()) * self._count
        return float(np.sqrt(max(error, 0.0) / self._power)) if self._power > 0 else 0.0

    def _outputs(self, filters: Array, sums: Array) -> Array:
        means = sums / max(self._count, 1)
        found: Array = np.einsum("pfr,pr->pf", self._in_parts(filters), means).reshape(-1)
        return found

    def _around(self, products: Array, left: Array) -> Array:
        count = max(self._count, 1)
        if not self._centred:
            return products / count
        means = left[:, :, None] * self._sums[:, None, :] / count**2
        found: Array = products / count - means
        return found

    def _in_parts(self, filters: Array) -> Array:
        parts, reduction = self._sums.shape
        return filters.reshape(parts, -1, reduction).astype(np.float64)

    def _seen(self, x: Array) -> Array:
        seen = self._read(x)
        if seen.shape[2] != self._sums.shape[1]:
            raise TensorError(f"{seen.shape[2]} inputs are read, the filters have {self._sums.shape[1]}")
        chosen = spread(seen.shape[1])
        return seen if chosen is None else seen[:, chosen]

    @abstractmethod
    def _read(self, x: Array) -> Array:
        """Give what each position multiplies with one filter, ``(parts, positions, reduction)``.

        Of all positions, or of those of `spread`.
        """


class LayerMoments(Moments):
    """Of a node of an ONNX graph.

    Parameters
    ----------
    layer : LayerNode
    filters : ndarray, shape (filters, ...)
    centred : bool
    """

    def __init__(self, layer: LayerNode, filters: Array, *, centred: bool = False) -> None:
        super().__init__(filters, layer.conv_groups, centred=centred)
        self._layer = layer

    def _read(self, x: Array) -> Array:
        layer = self._layer
        if layer.node.op_type == "Conv":
            record = conv_of(layer.name, layer.attributes, x.shape, self._filters.shape)
            return in_groups(windows(record, x, spread(record.positions)), record.groups)
        if layer.node.op_type in ("Gemm", "MatMul"):
            turned = layer.channels_last(x)
            return turned.reshape(1, -1, turned.shape[-1])
        raise TensorError(f"inputs of {layer.node.op_type} are not gathered")


def spread(positions: int) -> npt.NDArray[np.int64] | None:
    """Choose positions that count, of a batch; None: all."""
    if positions <= MOST_POSITIONS:
        return None
    return np.linspace(0, positions - 1, MOST_POSITIONS).astype(np.int64)


def in_groups(seen: Array, groups: int) -> Array:
    """Split windows, one group of channels after another: ``(groups, positions, reduction)``."""
    return seen.reshape(groups, seen.shape[0] // groups, -1)
