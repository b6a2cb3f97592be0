"""Which constants of a whole model are weights, and how: the first layer that multiplies by one decides."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitxcore.dumps.onnx_graph import Scope
from bitxcore.dumps.onnx_weights.bodies import Readers, bodies_of, live_nodes
from bitxcore.dumps.onnx_weights.following import STANDARD, attributes_of, follow_all, holds_integers, stored
from bitxcore.dumps.onnx_weights.moves import Attributes, agreed
from bitxcore.dumps.onnx_weights.operands import layout_of, multiplied, operand_value
from bitxcore.dumps.onnx_weights.scaling_after import scaled_afterwards
from bitxcore.dumps.onnx_weights.values import Derived, Origin, Stopped, numbers
from bitxcore.groups import Layout

MOST_CALLS = 1 << 16
"""Nodes that are looked at inside functions, calls within calls included."""

MOST_NESTED_CALLS = 32


@dataclass(frozen=True, slots=True)
class Use:
    """How a layer uses a stored tensor.

    Parameters
    ----------
    layout : Layout
        Where the tensor has the layer's output channel; the first axis, where several share it.
    part : Origin
        The tensor on its way, as the layer meets it.
    coded : bool
        Whether its integers represent weights.
    """

    layout: Layout
    part: Origin
    coded: bool


Found = MutableMapping[str, Derived | Stopped | None]


def weight_uses(
    scopes: Iterable[Scope], functions: Sequence[Any], outputs: Iterable[str]
) -> tuple[dict[str, Use], dict[str, str]]:
    """Find every weight, and what becomes one in a way that is not followed.

    Parameters
    ----------
    scopes : iterable of Scope
        The main graph first.
    functions : sequence of onnx.FunctionProto
        Their bodies are followed where they are called, with what is handed to them.
    outputs : iterable of str
        Of the main graph: what they do not need is multiplied by nothing.

    Returns
    -------
    uses : dict of str to Use
        By the name that a dump lists.
    stopped : dict of str to str
        Tensors of which an operator makes what a layer multiplies by, and that operator.
    """
    by_prefix = {scope.prefix: scope for scope in scopes}
    search = _Search({(f.domain, f.name): f for f in functions}, by_prefix)
    main = by_prefix[""]
    search.through(_Place(""), main.nodes, ChainMap({**_constants(main)}), set(outputs))
    return search.uses, search.stopped


def _constants(scope: Scope) -> dict[str, Derived]:
    return {name: stored(constant) for name, (constant, *_) in scope.constants.items()}


@dataclass(frozen=True)
class _Place:
    """Where nodes are: the path of listed names, attributes that a function was given, depth of calls."""

    prefix: str
    given: Attributes | None = None
    depth: int = 0


Values = ChainMap[str, Derived | Stopped | None]


class _Search:
    """Goes through nodes, into the bodies that they hold and the functions that they call."""

    def __init__(self, functions: Mapping[tuple[str, str], Any], scopes: Mapping[str, Scope]) -> None:
        self.functions = functions
        self.uses: dict[str, Use] = {}
        self.stopped: dict[str, str] = {}
        self._scopes = scopes
        self._left = MOST_CALLS

    def through(self, place: _Place, nodes: Sequence[Any], values: Values, outputs: set[str]) -> None:
        """Follow nodes in their order, and note what those multiply by whose results are needed."""
        live = live_nodes(nodes, outputs)
        readers = Readers(nodes)
        for at, node in enumerate(nodes):
            function = self.functions.get((node.domain, node.op_type))
            if function is not None:
                values.update(self._call(place, node, function, values))
                continue
            if at in live and node.domain in STANDARD:
                self._multiplies(place, node, values, readers)
            results = self._bodies(place, node, values)
            follow_all([node], values, place.given)
            values.update(results)

    def _multiplies(self, place: _Place, node: Any, values: Values, readers: Readers) -> None:
        """Note the weights of a node; a product of stored tensors is computed before run time."""
        attributes = attributes_of(node, place.given)
        operands = multiplied(node, attributes)
        if operands and all(values.get(name) is not None for name in node.input if name):
            return
        for operand in operands:
            value = operand_value(node, attributes, operand, values)
            if isinstance(value, Stopped):
                for name in value.constants:
                    self.stopped.setdefault(name, value.operator)
            elif isinstance(value, Derived):
                value = scaled_afterwards(node, attributes, operand, value, values, readers)
                for part in value.parts:
                    layout = layout_of(node, attributes, operand, value, part)
                    if layout is not None:
                        coded = holds_integers(part.constant) or part.ends is not None
                        self._note(Use(layout, part, coded))

    def _bodies(self, place: _Place, node: Any, values: Values) -> Found:
        """Go through the bodies of a node; return what an If hands on whose condition is stored."""
        handed: Found = {}
        for attribute, body in bodies_of(node):
            prefix = f"{place.prefix}{node.name or ''.join(node.output[:1])}.{attribute}/"
            scope = self._scopes.get(prefix)
            inner: Values = values.new_child({**_constants(scope)} if scope else {})
            results = [output.name for output in body.output]
            self.through(replace(place, prefix=prefix), body.node, inner, set(results))
            if node.op_type == "If" and attribute == _branch(values.get(node.input[0])):
                handed = {
                    outer: inner[name]
                    for outer, name in zip(node.output, results, strict=False)
                    if outer and inner.get(name) is not None
                }
        return handed

    def _note(self, use: Use) -> None:
        """Note a use; the first one counts, but all must subtract the same zero point."""
        name = use.part.constant.name
        if first := self.uses.get(name):
            use = replace(first, part=agreed(first.part, use.part), coded=first.coded or use.coded)
        self.uses[name] = use

    def _call(self, place: _Place, node: Any, function: Any, values: Values) -> Found:
        """Go through a function's body with what a call hands to it; return what its results are."""
        self._left -= len(function.node)
        if self._left < 0 or place.depth > MOST_NESTED_CALLS:
            return {}
        prefix = f"{function.domain}.{function.name}/"
        scope = self._scopes.get(prefix)
        inner: Values = ChainMap({**_constants(scope)} if scope else {})
        for formal, actual in zip(function.input, node.input, strict=False):
            if actual in values:
                inner[formal] = values[actual]
        usual = attributes_of(_Attributes(function.attribute_proto))
        within = _Place(prefix, usual | attributes_of(node, place.given), place.depth + 1)
        self.through(within, function.node, inner, set(function.output))
        results = zip(function.output, node.output, strict=False)
        return {actual: inner[formal] for formal, actual in results if formal in inner and actual}


def _branch(condition: Derived | Stopped | None) -> str:
    """Name the branch that a stored condition takes; empty if it is not stored."""
    known = numbers(condition)
    if known is None or known.size != 1:
        return ""
    return "then_branch" if known.reshape(-1)[0] else "else_branch"


@dataclass(frozen=True)
class _Attributes:
    """What holds a function's default attributes, in the form of a node."""

    attribute: Any
