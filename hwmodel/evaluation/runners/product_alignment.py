"""Run-time product alignment: the bits that a weight keeps depend on the activation that it meets.

Bitlet's RTL aligns the exponents of products, ``e(weight) + e(activation)``, where BitX aligns those of the
weights (H. Lu et al., Distilling Bit-level Sparsity Parallelism for General Purpose Deep Learning
Acceleration, MICRO 2021). Here BitX's choice of rows is made so: for each output position, the rows of a
group are those of its weights times the powers of two of the activations. An activation of zero leaves its
weight out of the choice, as the product is zero whatever is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import bitxcore as bx
from bitxcore.errors import TensorError, error_context
from bitxcore.formats import number_format
from bitxcore.groups import Grouping, grid
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.evaluation.runners.runner import Array
from hwmodel.networks.onnx.convolutions import conv_of
from hwmodel.operands.im2col import windows

BLOCK = 1 << 20
"""Weights, each as often as it is used, that are pruned at once."""


@dataclass
class ProductOnes:
    """Counts over all products of weights and activations that were computed.

    Attributes
    ----------
    products : int
    live : int
        Those whose activation is not zero.
    ones : int
        Kept ones of their weights; a weight that meets a zero keeps none.
    plain_ones, plain_live_ones : int
        With rows chosen by the weights alone, as many of them: of all products, and of those that are live.
    groups : int
        Groups, each as often as it is used.
    group_cycles, plain_group_cycles : int
        Most kept ones of a weight of each, at least 1: cycles of a CU that waits at each group. A PE of BitX
        extracts a group once for 16 positions. By products each position has rows of its own, and needs an
        extraction of its own.
    """

    products: int = 0
    live: int = 0
    ones: int = 0
    plain_ones: int = 0
    plain_live_ones: int = 0
    groups: int = 0
    group_cycles: int = 0
    plain_group_cycles: int = 0


class ProductAlignment:
    """Computes layers whose weights keep the rows that matter to each output position.

    Every weight is pruned once for each use: the cost is the multiply-accumulates of the model, each a weight
    that is pruned. Sums are of the weights' dtype, in another order than ONNX Runtime's.

    Parameters
    ----------
    rows : int
        Rows that a group keeps.
    group : int or None
    grouping : str
        As of `bitxcore.prune`, over a filter of the layer.
    window : int, optional
    format : str, optional
        Float format that the weights are in, which decides the default of `window`; None: their dtype's.

    Attributes
    ----------
    counts : ProductOnes
        Of all calls.

    Examples
    --------
    A large activation makes its weight's rows the ones that are kept:

    >>> weights, activations = np.array([[1.5, 1.25]], np.float32), np.array([[1.0, 8.0]], np.float32)
    >>> ProductAlignment(rows=1, group=2).kept(weights, activations).tolist()
    [[[0.0, 1.0]]]
    >>> bx.prune(weights, rows=1, group=2).values.tolist()
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        rows: int,
        group: int | None = 8,
        *,
        grouping: Grouping = "flat",
        window: int | None = None,
        format: str | None = None,  # noqa: A002
    ) -> None:
        self._options: dict[str, Any] = {"rows": rows, "group": group, "grouping": grouping}
        self._window = window or (number_format(format).default_window if format else None)
        self.counts = ProductOnes()

    def __call__(self, layer: LayerNode, inputs: list[Array | None]) -> Array:
        """Compute what the layer's node writes.

        Raises
        ------
        TensorError
            If it is not a Conv, Gemm or MatMul of floats with one matrix of weights.
        """
        with error_context(layer=layer.name):
            x, w = inputs[layer.place], inputs[layer.weight]
            bias = inputs[2] if len(inputs) > 2 else None
            if x is None or w is None or x.dtype not in (np.float32, np.float64) or x.dtype != w.dtype:
                raise TensorError("products are aligned of float32 or float64 only")
            if layer.node.op_type == "Conv":
                return self._convolved(layer, x, w, bias)
            if layer.node.op_type not in ("Gemm", "MatMul") or w.ndim != 2:
                raise TensorError(
                    f"products are aligned of Conv, Gemm and MatMul only, with one matrix of weights; this is"
                    f" {layer.node.op_type} with weights {w.shape}"
                )
            return self._multiplied(layer, x, w, bias)

    def kept(self, weights: Array, activations: Array) -> Array:
        """Prune the weights for each position.

        Parameters
        ----------
        weights : float array (filters, ...)
        activations : float array (positions, ...)
            What each position multiplies with a filter.

        Returns
        -------
        float array (positions, filters, ...)
            A weight that meets a zero is zero.
        """
        scales, _ = _scales(weights, activations)
        wide = self._pruned(weights, scales).astype(np.float64)
        with np.errstate(divide="ignore"):
            back = np.where(scales > 0, 1 / scales.astype(np.float64), 0)
        return np.asarray((wide * back[:, None]).astype(weights.dtype))

    def _pruned(self, weights: Array, scales: Array) -> Array:
        """Prune weights times the activations' powers of two; shape (positions, filters, ...)."""
        # In C order, so that the rows are a view, which is pruned in place.
        scaled: Array = np.multiply(weights.astype(scales.dtype), scales[:, None], order="C")
        rows = scaled.reshape(-1, *weights.shape[1:])
        own = number_format(weights.dtype.name).default_window
        bx.prune(rows, window=self._window or own, out=rows, **self._options)
        return scaled

    def _sums(self, weights: Array, activations: Array) -> Array:
        """Add up products; shape (positions, filters)."""
        found = np.empty((len(activations), len(weights)), weights.dtype)
        cut = grid(weights.shape, self._options["group"], self._options["grouping"])
        plain = bx.essential_bits(bx.prune(weights, window=self._window, **self._options).values)
        plain_cycles = _cycles(plain, cut)
        uses = np.count_nonzero(activations, axis=0)
        counts = self.counts
        counts.products += weights.size * len(activations)
        counts.live += len(weights) * int(uses.sum())
        counts.plain_ones += int(plain.sum(dtype=np.int64)) * len(activations)
        counts.plain_live_ones += int((plain.sum(axis=0, dtype=np.int64) * uses).sum())
        counts.groups += cut.filters * cut.groups * len(activations)
        counts.plain_group_cycles += plain_cycles * len(activations)
        step = max(1, BLOCK // weights.size)
        for start in range(0, len(activations), step):
            some = activations[start : start + step]
            scales, top = _scales(weights, some)
            pruned = self._pruned(weights, scales)
            ones = bx.essential_bits(pruned)
            counts.ones += int(ones.sum(dtype=np.int64))
            counts.group_cycles += _cycles(ones, cut)
            significands = np.ldexp(np.frexp(some)[0].astype(scales.dtype), top)
            flat = pruned.reshape(*pruned.shape[:2], -1)
            found[start : start + step] = (flat @ significands.reshape(len(some), -1, 1))[..., 0]
        return found

    def _convolved(self, layer: LayerNode, x: Array, w: Array, bias: Array | None) -> Array:
        record = conv_of(layer.name, layer.attributes, x.shape, w.shape)
        seen = windows(record, x)
        seen = seen.reshape(record.groups, -1, *seen.shape[1:])
        filters = w.reshape(record.groups, -1, *w.shape[1:])
        sums = [self._sums(*pair) for pair in zip(filters, seen, strict=True)]
        y = np.stack(sums).reshape(record.groups, record.batch, -1, filters.shape[1])
        assert isinstance(record.out_size, tuple)
        y = y.transpose(1, 0, 3, 2).reshape(record.batch, w.shape[0], *record.out_size)
        return y if bias is None else y + bias.reshape(-1, *[1] * len(record.out_size))

    def _multiplied(self, layer: LayerNode, x: Array, w: Array, bias: Array | None) -> Array:
        on_the_right = layer.weight == 1
        flips = layer.attributes.get("transB" if on_the_right else "transA", 0)
        filters = np.ascontiguousarray(w if bool(flips) == on_the_right else w.T)
        turned = layer.channels_last(x)
        y = self._sums(filters, turned.reshape(-1, turned.shape[-1]))
        y = y.reshape(*turned.shape[:-1], len(filters))
        if not on_the_right and y.ndim > 1:
            y = np.swapaxes(y, -1, -2)
        if layer.node.op_type == "MatMul":
            return y
        y *= w.dtype.type(layer.attributes.get("alpha", 1))
        return y if bias is None else y + bias * w.dtype.type(layer.attributes.get("beta", 1))


def _scales(weights: Array, activations: Array) -> tuple[Array, int]:
    """Powers of two of the activations, 0 for zeros, over the largest, ``2**top``.

    They have a dtype in which weights times them are exact.

    Raises
    ------
    TensorError
        If there is none.
    """
    exponents = np.frexp(activations)[1]
    live = activations != 0
    top = int(exponents.max(where=live, initial=-(1 << 20)))
    if top == -(1 << 20):
        return np.zeros(activations.shape, weights.dtype), 0
    exponents = np.where(live, exponents - top, 0)
    low = int(exponents.min())
    least = int(np.frexp(weights)[1].min(where=weights != 0, initial=1 << 20))
    for dtype in (weights.dtype, np.dtype(np.float64)):
        room = np.finfo(dtype).minexp + 1
        if low > room and low + least > room and (dtype.itemsize > 4 or top <= 127):
            scales: Array = np.where(live, np.ldexp(dtype.type(1), exponents), dtype.type(0))
            return scales, top
    raise TensorError("products of weights and activations leave the range of float64")


def _cycles(ones: Array, cut: Any) -> int:
    """Most ones of a weight of each group, at least 1, added up."""
    # (parts, members of a lane, lanes): groups are cut along the members.
    lanes = ones.reshape(-1, cut.length, cut.stride)
    largest = np.maximum.reduceat(lanes, np.arange(0, cut.length, cut.group), axis=1)
    return int(np.maximum(largest, 1).sum(dtype=np.int64))
