"""A graph, with what making layers of its nodes asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.shapes import TensorShape, infer, run_on_zeros, written


@dataclass(frozen=True)
class LeftOut:
    """Why no layer is made of a node, and whether it multiplies and accumulates all the same."""

    reason: str
    multiplies: bool = False


Found = list[NetworkLayer] | LeftOut


class Graph:
    """A graph whose values have shapes.

    Parameters
    ----------
    path : pathlib.Path
        Where the model was read from.
    model : onnx.ModelProto
        With the sizes of its inputs set.
    needed : iterable of str
        Values whose shapes will be asked for. Where ONNX infers none, the graph is run once on zeros.

    Attributes
    ----------
    nodes : sequence of onnx.NodeProto
    producer : dict of str to onnx.NodeProto
        The node that writes a value.
    stored : dict of str to tuple of int
        Shapes of what the file stores: initialisers, and outputs of Constant nodes.
    tensors : dict of str to onnx.TensorProto
        Those of them that are dense.
    constant : set of str
        Values that are the same in every run, and the empty name of an operand that is left out.
    shapes : dict of str to tuple of int
    notes : tuple of str
        Where shapes came from, if not from the file.
    """

    def __init__(self, path: Path, model: Any, needed: Iterable[str]) -> None:
        self.path = path
        model = infer(path, model)
        graph = model.graph
        self.nodes = graph.node
        self.producer = {name: node for node in graph.node for name in node.output}
        self.tensors: dict[str, Any] = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self.tensors |= ((node.output[0], a.t) for a in node.attribute if a.name == "value")
        self.stored: dict[str, TensorShape] = {name: tuple(t.dims) for name, t in self.tensors.items()}
        self.stored |= {t.values.name: tuple(t.dims) for t in graph.sparse_initializer}
        self.constant = set(self.stored) | {""}
        for node in graph.node:
            if all(i in self.constant for i in node.input) and not node.op_type.startswith("Random"):
                self.constant.update(node.output)
        self.shapes = self.stored | written(graph)
        self.notes: tuple[str, ...] = ()
        if unknown := sorted(set(needed) - set(self.shapes)):
            inputs = {i.name: self.shapes[i.name] for i in graph.input if i.name not in self.stored}
            self.shapes |= run_on_zeros(path, model, unknown, inputs)
            self.notes = ("some shapes were read off a run on zeros with ONNX Runtime",)


def name_of(node: Any) -> str:
    """Name of a node; of a nameless one its output's."""
    return str(node.name or node.output[0])


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes of a node as Python values."""
    import onnx

    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def operand_of(node: Any, weights_zero_point: int | None, *, index: int = 0, **fields: Any) -> GraphOperand:
    """Operand `index` of a node; quantised operators have the first one's zero point at 2."""
    at = None if weights_zero_point is None else 2 if index == 0 else weights_zero_point
    zero_point = node.input[at] if at is not None and at < len(node.input) else ""
    return GraphOperand((node.input[index],), zero_point=zero_point, **fields)
