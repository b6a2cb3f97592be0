"""Weights and activations of one layer, checked against it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.errors import TensorError
from hwmodel.layers import Layer


def _check_precision(layer: Layer, what: str, x: npt.NDArray[Any] | None, bits: int | None) -> None:
    if bits is None:
        return
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or not 1 <= bits <= 64:
        raise TensorError(f"layer {layer.name!r}: {what} precision must be 1 to 64 bits, got {bits!r}")
    if x is None or x.dtype.kind not in "iu" or not x.size:
        return
    low, high = int(x.min()), int(x.max())
    limit = 1 << (bits - (low < 0))
    if low < -limit or high >= limit:
        index = int(np.argmax(x) if high >= limit else np.argmin(x))
        raise TensorError(
            f"layer {layer.name!r}: {what} [{index}] = {x.reshape(-1)[index]} does not fit {bits} bits"
        )


@dataclass(frozen=True, eq=False)
class Operands:
    """What flows through one layer.

    Parameters
    ----------
    weights : array_like, optional
        Output channel first: the layer's `weight_shape`; a `Linear` also takes
        ``(filters, ...)`` with as many values. Floats, or integers.
    activations : array_like, optional
        The layer's input.
    weight_bits, activation_bits : int, optional
        Precision of integer operands; the sign bit counts where there are negative values.
    """

    weights: npt.NDArray[Any] | None = None
    activations: npt.NDArray[Any] | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None

    def __post_init__(self) -> None:
        for field in ("weights", "activations"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, np.asarray(value))

    def check(self, layer: Layer) -> None:
        """Check shapes and precisions against `layer`.

        Raises
        ------
        TensorError
            Naming the layer, the operand, the shape it must have and the one it has.
        """
        w, a = self.weights, self.activations
        if w is not None:
            if not layer.has_weights:
                raise TensorError(
                    f"layer {layer.name!r}: both operands are activations, but weights were given"
                )
            flat = layer.operation == "linear" and w.ndim >= 1 and w.shape[0] == layer.filters
            if w.shape != layer.weight_shape and not (flat and w.size == layer.parameters):
                raise TensorError(
                    f"layer {layer.name!r}: weights must have shape {layer.weight_shape}, got {w.shape}"
                )
        if a is not None and layer.has_weights and prod(a.shape) != layer.input_count:
            raise TensorError(
                f"layer {layer.name!r}: activations must have {layer.input_count} values, got {a.size}"
                f" (shape {a.shape})"
            )
        _check_precision(layer, "weights", w, self.weight_bits)
        _check_precision(layer, "activations", a, self.activation_bits)
