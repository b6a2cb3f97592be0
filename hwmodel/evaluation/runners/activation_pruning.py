"""Pruning the activations of layers while a model runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import bitxcore as bx
from bitxcore.errors import TensorError, error_context
from bitxcore.formats import FLOATS
from hwmodel.evaluation.runners.layer_nodes import LayerNode
from hwmodel.evaluation.runners.runner import Array


class ActivationPruning:
    """Prunes what layers read: groups of consecutive input channels at one position.

    An activation of a convolution is in several windows. With groups of channels it loses the same bits for
    each of them, so that it can be pruned once, before the layer; with any other grouping what it loses
    depends on the window. Groups do not cross the groups of a convolution, as a filter reads one of them.
    Activations of a product are grouped along its sum.

    Parameters
    ----------
    rows : int
        Rows that a group keeps.
    group : int
    window : int, optional
        As of `bitxcore.prune`.
    format : str, optional
        A float format, to which activations are rounded first; or ``"fixed<N>"``, with one scale for each
        entry of the first axis, so that what a sample gives does not depend on the others. None: as they are.
    criterion, rounding : str
        As of `bitxcore.prune`.

    Examples
    --------
    >>> prune = ActivationPruning(rows=1, group=2)
    >>> prune.rows_of(np.array([[1.5, 1.0, 0.75, 0.0]], np.float32)).tolist()
    [[1.0, 1.0, 0.5, 0.0]]
    """

    def __init__(
        self,
        rows: int,
        group: int = 8,
        *,
        window: int | None = None,
        format: str | None = None,  # noqa: A002
        criterion: str = "topn",
        rounding: str = "truncate",
    ) -> None:
        self._format = format
        self._options: dict[str, Any] = {
            "rows": rows,
            "group": group,
            "window": window,
            "criterion": criterion,
            "rounding": rounding,
        }

    def __call__(self, layer: LayerNode, x: Array) -> Array:
        """Prune the activations of a layer.

        Raises
        ------
        TensorError
            If they are not floats, or hold a NaN or Inf.
        """
        with error_context(layer=layer.name):
            if x.dtype.newbyteorder("=") not in {form.dtype for form in FLOATS.values()}:
                raise TensorError(f"its activations are {x.dtype}: only floats are pruned at run time")
            turned = layer.channels_last(x)
            parts = turned.reshape(*turned.shape[:-1], layer.conv_groups, -1)
            pruned = self.rows_of(parts).reshape(turned.shape)
        return np.ascontiguousarray(layer.restored(pruned))

    def rows_of(self, x: Array) -> Array:
        """Prune ``(samples, ..., channels)``: each row of channels is cut into groups of its own."""
        if not x.size:
            return x
        form = self._format
        if form is not None and form not in FLOATS:
            fixed = bx.quantize(x, int(form.removeprefix("fixed")), per_channel=x.ndim > 1)
            codes = bx.prune(_rows(fixed.codes), format=f"int{fixed.bits}", **self._options).values
            return replace(fixed, codes=codes.reshape(x.shape)).dequantize(x.dtype)
        with np.errstate(over="ignore"):
            narrow = x if form is None else x.astype(bx.number_format(form).dtype)
        return bx.prune(_rows(narrow), **self._options).values.reshape(x.shape).astype(x.dtype)


def _rows(x: Array) -> Array:
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))
