"""The tensors that a graph stores, in its initializers or in Constant nodes: read, and replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hwmodel.networks.onnx.graph import attributes_of

Array = npt.NDArray[Any]


class StoredTensors:
    """Stored tensors of a model's main graph, by the name of the value.

    Parameters
    ----------
    model : onnx.ModelProto
        Its tensors are replaced in place by `write`.
    """

    def __init__(self, model: Any) -> None:
        import onnx

        self._graph = model.graph
        external = onnx.TensorProto.EXTERNAL
        self._protos = {t.name: t for t in model.graph.initializer if t.data_location != external}
        self._nodes = {
            node.output[0]: node
            for node in model.graph.node
            if node.op_type == "Constant" and node.attribute[0].name in _KINDS
        }

    def __iter__(self) -> Iterator[str]:
        yield from self._protos
        yield from self._nodes

    def __contains__(self, name: str) -> bool:
        return name in self._protos or name in self._nodes

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._protos[name].dims) if name in self._protos else self.read(name).shape

    def read(self, name: str) -> Array:
        """Return the values of a tensor."""
        import onnx

        if name in self._protos:
            return np.asarray(onnx.numpy_helper.to_array(self._protos[name]))
        ((kind, value),) = attributes_of(self._nodes[name]).items()
        if kind == "value":
            return np.asarray(onnx.numpy_helper.to_array(value))
        return np.asarray(value, np.float32 if "float" in kind else np.int64)

    def write(self, name: str, values: Array) -> None:
        """Replace the values of a tensor; its shape may change, its name and comment stay."""
        import onnx

        proto = onnx.numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        if name in self._protos:
            proto.doc_string = self._protos[name].doc_string
            self._protos[name].CopyFrom(proto)
            # Old files list stored tensors among the inputs, with their shapes.
            for value in [v for v in self._graph.input if v.name == name]:
                value.CopyFrom(onnx.helper.make_tensor_value_info(name, proto.data_type, values.shape))
        else:
            proto.doc_string = getattr(attributes_of(self._nodes[name]).get("value"), "doc_string", "")
            del self._nodes[name].attribute[:]
            self._nodes[name].attribute.append(onnx.helper.make_attribute("value", proto))

    def add(self, name: str, values: Array) -> None:
        """Store one more tensor."""
        import onnx

        self._graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        self._protos[name] = self._graph.initializer[-1]


_KINDS = ("value", "value_float", "value_floats", "value_int", "value_ints")
