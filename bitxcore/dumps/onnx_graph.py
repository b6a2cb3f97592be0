"""The constants of an ONNX model and the scopes they are visible in; works on parsed protobuf."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bitxcore.dumps.trust import NameBudget

_ATTRIBUTE_DTYPES = {
    "value_float": "float32",
    "value_floats": "float32",
    "value_int": "int64",
    "value_ints": "int64",
}

PLAIN = frozenset({"value", *_ATTRIBUTE_DTYPES})
"""Attributes of a Constant node that hold a tensor, dense and of numbers."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written down in the model.

    Parameters
    ----------
    name : str
        As listed: the graph's own name, after the path of the subgraph it is in.
    proto : onnx.TensorProto or onnx.AttributeProto
        Where it is written: a tensor, or a plain attribute of a Constant node.
    """

    name: str
    proto: Any

    @property
    def attribute_dtype(self) -> str | None:
        """Dtype of a plain attribute; None for a tensor."""
        return _ATTRIBUTE_DTYPES[self.proto.name] if hasattr(self.proto, "floats") else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Declared shape."""
        if self.attribute_dtype is None:
            return tuple(self.proto.dims)
        if self.proto.name == "value_floats":
            return (len(self.proto.floats),)
        return (len(self.proto.ints),) if self.proto.name == "value_ints" else ()


@dataclass(slots=True)
class Scope:
    """A graph, subgraph or function body.

    Parameters
    ----------
    prefix : str
        Path of listed names; empty for the main graph.
    nodes : sequence of onnx.NodeProto
    outer : Scope or None
        The scope whose values can be seen from here.
    names : NameBudget
        Of the model.
    constants : dict of str to list of Constant
        By the name of the value; more than one is an error of the file.
    ignored : dict of str to str
        Listed name, and why it is not a tensor.
    function : bool
        Whether it is the body of a function, which sees nothing but what a call hands to it.
    """

    prefix: str
    nodes: Any
    outer: Scope | None
    names: NameBudget
    constants: dict[str, list[Constant]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    function: bool = False

    def ignore(self, value: str, reason: str) -> None:
        """Enter a value that is not a tensor."""
        self.names.take(len(self.prefix) + len(value))
        self.ignored[self.prefix + value] = reason

    def add(self, value: str, proto: Any) -> None:
        """Enter one constant."""
        self.names.take(len(self.prefix) + len(value))
        self.constants.setdefault(value, []).append(Constant(self.prefix + value, proto))


def scopes(model: Any) -> Iterator[Scope]:
    """Yield every scope of a model, outer ones first.

    Raises
    ------
    DumpError
        If listed names, which repeat those of the nodes around them, are together far larger than the
        model.
    """
    names = NameBudget.of(model.ByteSize())
    yield from _graph(model.graph, "", None, names)
    for function in model.functions:
        prefix = f"{function.domain}.{function.name}/"
        yield from _body(Scope(prefix, function.node, None, names, function=True))


def _graph(graph: Any, prefix: str, outer: Scope | None, names: NameBudget) -> Iterator[Scope]:
    scope = Scope(prefix, graph.node, outer, names)
    for tensor in graph.initializer:
        scope.add(tensor.name, tensor)
    for tensor in graph.sparse_initializer:
        scope.ignore(tensor.values.name, "sparse tensor")
    yield from _body(scope)


def _body(scope: Scope) -> Iterator[Scope]:
    inner = []
    for node in scope.nodes:
        for attribute in node.attribute:
            if node.op_type == "Constant" and node.output:
                _constant(scope, node.output[0], attribute)
            if not attribute.HasField("g") and not attribute.graphs:
                continue
            path = f"{scope.prefix}{node.name or ''.join(node.output[:1])}.{attribute.name}"
            scope.names.take(len(path) * (1 + len(attribute.graphs)))
            if attribute.HasField("g"):
                inner.append((attribute.g, f"{path}/"))
            inner += [(graph, f"{path}.{index}/") for index, graph in enumerate(attribute.graphs)]
    yield scope
    for graph, prefix in inner:
        yield from _graph(graph, prefix, scope, scope.names)


def _constant(scope: Scope, value: str, attribute: Any) -> None:
    if attribute.name == "value" and attribute.HasField("t"):
        scope.add(value, attribute.t)
    elif attribute.name in _ATTRIBUTE_DTYPES:
        scope.add(value, attribute)
    elif attribute.name in {"sparse_value", "value_string", "value_strings"}:
        scope.ignore(value, "sparse tensor" if attribute.name == "sparse_value" else "text")
