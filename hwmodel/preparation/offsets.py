"""Where an offset of a layer's outputs is stored: its bias, or what is added right behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.evaluation.runners.layer_nodes import LayerNode

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Offset:
    """A stored vector that shifts each output channel of one layer.

    Parameters
    ----------
    tensor : str
    stored : ndarray
    sign : int
        -1 where it is subtracted: the mean of a batch normalisation.
    """

    tensor: str
    stored: Array
    sign: int = 1

    def shifted(self, by: Array) -> Array:
        """Return the vector that shifts outputs further."""
        wide = self.stored.astype(np.float64) + self.sign * by.reshape(self.stored.shape)
        found: Array = wide.astype(self.stored.dtype)
        return found


class Offsets:
    """Offsets of a model's layers.

    Parameters
    ----------
    model : onnx.ModelProto
    """

    def __init__(self, model: Any) -> None:
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        outputs = {value.name for value in model.graph.output}
        self._readers: dict[str, list[Any]] = {name: [None] for name in outputs}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def of(self, layer: LayerNode, shape: tuple[int, ...]) -> Offset | None:
        """Find the offset of a layer with filters of that shape; None where no stored vector is its own."""
        node, filters = layer.node, shape[0]
        if len(node.input) > 2 and node.input[2]:
            plain = node.op_type == "Conv" or float(layer.attributes.get("beta", 1)) == 1
            return self._found(node.input[2], filters) if plain else None
        behind = self._readers.get(node.output[0], [])
        if len(behind) != 1 or behind[0] is None:
            return None
        (after,) = behind
        if after.op_type == "BatchNormalization" and after.input[0] == node.output[0]:
            return self._found(after.input[3], filters, sign=-1)
        others = [name for name in after.input if name != node.output[0]]
        if after.op_type != "Add" or len(others) != 1:
            return None
        found = self._found(others[0], filters)
        # The channels of a convolution are not the last axis, those of a product are.
        behind_channels = len(shape) - 2 if node.op_type == "Conv" else 0
        if found is not None and found.stored.ndim > behind_channels:
            channel = found.stored.ndim - 1 - behind_channels
            return found if found.stored.shape[channel] == filters else None
        return None

    def _found(self, name: str, filters: int, sign: int = 1) -> Offset | None:
        import onnx

        tensor = self._stored.get(name)
        if tensor is None or len(self._readers[name]) != 1 or int(np.prod(tuple(tensor.dims))) != filters:
            return None
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return Offset(name, np.asarray(onnx.numpy_helper.to_array(tensor)), sign)
