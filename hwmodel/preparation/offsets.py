"""Where an offset of a layer's outputs is stored: its bias, or what is added right behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.runners.layer_nodes import LayerNode

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Offset:
    """A stored vector that shifts each output channel of one layer.

    Parameters
    ----------
    tensor : str
    sign : int
        -1 where it is subtracted: the mean of a batch normalisation.
    """

    tensor: str
    sign: int = 1

    def shifted(self, stored: Array, by: Array) -> Array:
        """Return the vector that shifts outputs further."""
        wide = stored.astype(np.float64) + self.sign * by.reshape(stored.shape)
        return wide.astype(stored.dtype)


def offset_of(
    layer: LayerNode, nodes: list[Any], stored: Mapping[str, tuple[int, ...]], filters: int
) -> Offset | None:
    """Find a layer's offset; None where no stored vector is its own.

    Parameters
    ----------
    layer : LayerNode
    nodes : list of onnx.NodeProto
        All nodes of the graph.
    stored : mapping of str to tuple of int
        Shapes of the stored tensors.
    filters : int
    """
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def own(name: str) -> bool:
        shape = stored.get(name)
        return shape is not None and int(np.prod(shape)) == filters and len(readers[name]) == 1

    node = layer.node
    if node.op_type in ("Conv", "Gemm") and len(node.input) > 2 and node.input[2]:
        plain = node.op_type == "Conv" or float(layer.attributes.get("beta", 1)) == 1
        return Offset(node.input[2]) if plain and own(node.input[2]) else None
    behind = readers.get(node.output[0], [])
    if len(behind) != 1:
        return None
    (after,) = behind
    if after.op_type == "BatchNormalization" and own(after.input[3]):
        return Offset(after.input[3], sign=-1)
    if after.op_type == "Add":
        (other,) = [name for name in after.input if name != node.output[0]] or [""]
        if own(other) and _is_per_channel(stored[other], layer.node.op_type):
            return Offset(other)
    return None


def _is_per_channel(shape: tuple[int, ...], operator: str) -> bool:
    """Whether a vector of that shape is added along the layer's output channels."""
    if operator == "Conv":
        return len(shape) >= 3 and all(size == 1 for at, size in enumerate(shape) if at != len(shape) - 3)
    return len(shape) == 1 or all(size == 1 for size in shape[:-1])
