"""Nodes of an ONNX graph that multiply activations by stored weights, and how they read their activations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.onnx_weights import Derived, multiplied, operand_value
from bitxcore.errors import TensorError
from hwmodel.networks.onnx.bodies import bodies
from hwmodel.networks.onnx.graph import Graph, attributes_of, name_of
from hwmodel.networks.onnx.operators import CONVERTERS, STANDARD

Array = npt.NDArray[Any]

SPATIAL = ("Conv", "FusedConv", "ConvTranspose")
MATRIX = ("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "TransposeMatMul")
"""Operators whose activation operand can be changed: one input, whose reduction is one axis."""


@dataclass(frozen=True, eq=False)
class LayerNode:
    """A node with weights.

    Parameters
    ----------
    name : str
        Of the layer, as `hwmodel.load_network` calls it.
    node : onnx.NodeProto
    weight : int
        Input of the node that holds the weights.
    tensors : tuple of str
        Stored tensors that the weights are made of, as a dump lists them.
    attributes : dict
    """

    name: str
    node: Any
    weight: int
    tensors: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def place(self) -> int:
        """Input of the node that holds the activations."""
        return 1 - self.weight

    @property
    def conv_groups(self) -> int:
        """Groups that a convolution's channels are in; 1 of a product."""
        return int(self.attributes.get("group", 1))

    def channels_last(self, x: Array) -> Array:
        """Move the axis along which the layer adds up to the end of its activations; a view."""
        if self.node.op_type in SPATIAL:
            return x if self.attributes.get("channels_last") else np.moveaxis(x, 1, -1)
        return np.swapaxes(x, -1, -2) if self._flipped and x.ndim > 1 else x

    def restored(self, y: Array) -> Array:
        """Undo `channels_last`."""
        if self.node.op_type in SPATIAL:
            return y if self.attributes.get("channels_last") else np.moveaxis(y, -1, 1)
        return np.swapaxes(y, -1, -2) if self._flipped and y.ndim > 1 else y

    @property
    def _flipped(self) -> bool:
        """Whether the sum of a product runs along the last axis but one of its activations."""
        if self.place == 0:
            return bool(self.attributes.get("transA", 0))
        return not self.attributes.get("transB", 0)


def layer_nodes(graph: Graph, tensors: Collection[str] | None = None) -> list[LayerNode]:
    """Find the layers whose activations can be changed, in the order in which they run.

    Parameters
    ----------
    graph : Graph
    tensors : collection of str, optional
        Only layers whose weights are all made of these; None: all.

    Raises
    ------
    TensorError
        If a layer with such weights is in a body of control flow, or of an operator whose activations are not
        one operand of floats.
    """
    found = []
    for node in graph.nodes:
        for inner in _inside(node):
            if inner.op_type in CONVERTERS and (name := _chosen_in(inner, tensors)) is not None:
                raise TensorError(
                    f"{inner.op_type} {name_of(inner)!r} is inside of {node.op_type} {name_of(node)!r}: a"
                    " graph can't be cut within a body of control flow",
                    path=graph.path,
                    tensor=name or None,
                )
        if node.domain not in STANDARD or all(name in graph.constant for name in node.input):
            continue
        attributes = attributes_of(node)
        for operand in multiplied(node, attributes):
            value = operand_value(node, attributes, operand, graph.made_of)
            if not isinstance(value, Derived):
                continue
            names = tuple(dict.fromkeys(part.constant.name for part in value.parts))
            if tensors is not None and not set(names) <= set(tensors):
                continue
            if reason := _why_not(node, attributes):
                raise TensorError(f"{node.op_type} {name_of(node)!r}: {reason}", path=graph.path)
            found.append(LayerNode(name_of(node), node, operand.place, names, attributes))
    return found


def _chosen_in(inner: Any, tensors: Collection[str] | None) -> str | None:
    """Give which of the tensors a layer in a body reads, empty if all are meant; None if it reads none."""
    if tensors is None:
        return ""
    # A body's own tensors are named with the path to it.
    found = (t for t in tensors if any(t == name or t.endswith(f"/{name}") for name in inner.input if name))
    return next(found, None)


def _inside(node: Any) -> list[Any]:
    return [n for _, body in bodies(node) for inner in body.node for n in (inner, *_inside(inner))]


def _why_not(node: Any, attributes: dict[str, Any]) -> str:
    """Say why the activations of an operator with weights can't be changed; empty if they can."""
    if node.op_type not in (*SPATIAL, *MATRIX):
        return f"activations can be changed of {', '.join(SPATIAL)}, {', '.join(MATRIX)} only"
    if attributes.get("transBatchA") or attributes.get("transBatchB"):
        return "matrices whose batch is not their first axis are not taken apart"
    return ""
