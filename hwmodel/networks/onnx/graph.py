"""A graph, with what making layers of its nodes asks for."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from weakref import proxy

import numpy as np
import numpy.typing as npt

from bitxcore.dumps.onnx_graph import PLAIN, Constant
from bitxcore.dumps.onnx_weights import Derived, Stopped, follow_all, stored
from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.bodies import live_nodes, reads
from hwmodel.networks.onnx.runs import PartRuns
from hwmodel.networks.onnx.shapes import Shapes, TensorShape, infer, written

_T = TypeVar("_T")

RANDOM = ("Random", "Bernoulli", "Multinomial")
"""How the names of operators begin whose results differ from run to run."""


@dataclass(frozen=True)
class LeftOut:
    """Why no layer is made of a node, and whether it multiplies and accumulates all the same."""

    reason: str
    multiplies: bool = False


Found = list[NetworkLayer] | LeftOut

NO_LAYER = "multiplies and accumulates, but there is no layer for it here"
"""Why an operator that computes becomes no layer."""


class Graph:
    """A graph whose values have shapes.

    Parameters
    ----------
    path : pathlib.Path
        Where the model was read from.
    model : onnx.ModelProto
        With the sizes of its inputs set. The body of a Loop is a model, too: what it captures are inputs.
    given : mapping of str to ndarray
        Inputs whose values are known.
    outer : Graph, optional
        The graph that holds this one as a body.

    Attributes
    ----------
    depth : int
        Bodies that it is in.
    nodes : sequence of onnx.NodeProto
    live : set of str
        Values that somebody reads, outputs included.
    producer : mapping of str to onnx.NodeProto
        The node that writes a value.
    tensors : mapping of str to onnx.TensorProto
        What the file stores: dense initialisers, and outputs of Constant nodes.
    stored : mapping of str to tuple of int
        Shapes of these, and of sparse ones.
    constant : set of str
        Values that are the same in every run, and the empty name of an operand that is left out.
    decided : set of str
        Values that follow from constants, sizes and the inputs that are given.
    shapes : Shapes
    dtypes : dict of str to numpy.dtype
        Of the values whose type is known.
    notes : tuple of str
        Where shapes came from, if not from the file.
    """

    def __init__(
        self,
        path: Path,
        model: Any,
        given: Mapping[str, npt.NDArray[Any]] | None = None,
        outer: Graph | None = None,
    ) -> None:
        self.path = path
        self.outer = outer
        self.depth: int = outer.depth + 1 if outer else 0
        self.model = infer(path, model)
        self.given = dict(given or {})
        graph = self.model.graph
        self.nodes = graph.node
        self.live = live_nodes(graph.node, [o.name for o in graph.output])[1]
        tensors: dict[str, Any] = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                tensors |= ((node.output[0], a.t) for a in node.attribute if a.name == "value")
        held: dict[str, TensorShape] = {name: tuple(t.dims) for name, t in tensors.items()}
        held |= {t.values.name: tuple(t.dims) for t in graph.sparse_initializer}
        producer = {name: node for node in graph.node for name in node.output}
        self.constant = set(held) | {""}
        if outer is not None:
            # What is captured is constant, stored or made where it comes from.
            self.constant |= outer.constant - {name for node in graph.node for name in node.output}
        self.producer: ChainMap[str, Any] = _within(producer, outer.producer if outer else None)
        self.tensors: ChainMap[str, Any] = _within(tensors, outer.tensors if outer else None)
        self.stored: ChainMap[str, TensorShape] = _within(held, outer.stored if outer else None)
        self.shapes = Shapes(held | written(graph))
        self.inferred = frozenset(self.shapes)
        self.dtypes = _dtypes(graph, tensors)
        self.decided = self.constant | set(self.given)
        for node in graph.node:
            if node.op_type.startswith(RANDOM):
                continue
            values = reads(node)
            if all(i in self.constant for i in values):
                self.constant.update(node.output)
            sized = node.op_type in ("Shape", "Size") and node.input[0] in self.shapes
            if sized or all(i in self.decided for i in values):
                self.decided.update(node.output)
        self.runs = PartRuns(proxy(self))  # a cycle would keep given inputs until some collection
        self._held = _held_constants(graph)
        self._lent = {t.name for t in graph.initializer if not t.doc_string} if outer else set()
        self.notes: tuple[str, ...] = ()

    def need(self, names: Iterable[str], multiplies: Callable[[Any], object]) -> None:
        """Ask for shapes; where ONNX infers none, the graph is run once, on zeros where no input is given.

        Parameters
        ----------
        names : iterable of str
            Values.
        multiplies : callable
            Whether layers are made of a node.
        """
        if unknown := sorted(set(names) - set(self.shapes) - {""}):
            found, failed = self.runs.shapes(unknown, multiplies)
            self.shapes |= found
            self.shapes.failed |= failed
            if found:
                on = "the given inputs" if self.given else "zeros"
                self.notes = (f"some shapes were read off a run on {on} with ONNX Runtime",)

    def value(self, name: str) -> npt.NDArray[Any] | None:
        """Value of what is decided; None if it is not, or can't be computed."""
        return self.values([name]).get(name)

    def values(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Values of those that are decided and can be computed."""
        return self.runs.values([name for name in names if name and name in self.decided])

    def listed(self, name: str) -> str:
        """Name of a stored tensor as a dump lists it."""
        tensor = self.tensors.get(name)
        return (tensor.doc_string if tensor is not None else "") or name

    @cached_property
    def made_of(self) -> ChainMap[str, Derived | Stopped | None]:
        """What values are made of that come from stored tensors only, as a dump's reader follows them."""
        outer = self.outer.made_of.maps if self.outer else []
        # What a body was given the value of is still made of what it is made of outside.
        lent = {name for name in self._lent if any(name in values for values in outer)}
        held: dict[str, Derived | Stopped | None] = {
            name: value for name, value in self._held.items() if name not in lent
        }
        values = ChainMap[str, Derived | Stopped | None](held, *outer)
        follow_all(self.nodes, values)
        return values


def _held_constants(graph: Any) -> dict[str, Derived | Stopped]:
    """Tensors that a graph holds, each under the name that a dump lists it by."""
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        for a in node.attribute if node.op_type == "Constant" else ():
            if a.name in PLAIN:
                found[node.output[0]] = a.t if a.HasField("t") else a
    return {name: stored(Constant(proto.doc_string or name, proto)) for name, proto in found.items()}


def _within(own: dict[str, _T], outer: ChainMap[str, _T] | None) -> ChainMap[str, _T]:
    return ChainMap(own) if outer is None else outer.new_child(own)


def _dtypes(graph: Any, tensors: Mapping[str, Any]) -> dict[str, np.dtype[Any]]:
    import onnx

    kinds = {name: t.data_type for name, t in tensors.items()}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    to_numpy = onnx.helper.tensor_dtype_to_np_dtype
    known = {k for k in set(kinds.values()) if k not in (0, onnx.TensorProto.STRING)}
    return {name: np.dtype(to_numpy(kind)) for name, kind in kinds.items() if kind in known}


def name_of(node: Any) -> str:
    """Name of a node; of a nameless one its output's."""
    return str(node.name or next(filter(None, node.output), node.op_type))


def attributes_of(node: Any) -> dict[str, Any]:
    """Attributes of a node as Python values."""
    import onnx

    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def operand_of(node: Any, place: int, zero_point: int | None, **fields: Any) -> GraphOperand:
    """See an input of a node as an operand; `zero_point` is the input that holds its zero point, if any."""
    given = zero_point is not None and zero_point < len(node.input)
    zero = node.input[zero_point] if given and zero_point is not None else ""
    return GraphOperand((node.input[place],), zero_point=zero, **fields)
