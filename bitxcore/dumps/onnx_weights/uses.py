"""Which constants of a whole model are weights, and how: the first layer that multiplies by one decides."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bitxcore.dumps.onnx_graph import Scope
from bitxcore.dumps.onnx_weights.following import STANDARD, attributes_of, follow_all, holds_integers, stored
from bitxcore.dumps.onnx_weights.moves import Attributes, agreed
from bitxcore.dumps.onnx_weights.operands import layout_of, multiplied, operand_value
from bitxcore.dumps.onnx_weights.values import Derived, Origin, Stopped
from bitxcore.groups import Layout

MOST_CALLS = 1 << 20
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
        Whether its integers stand for weights.
    """

    layout: Layout
    part: Origin
    coded: bool


Found = MutableMapping[str, Derived | Stopped | None]


def weight_uses(
    scopes: Iterable[Scope], functions: Sequence[Any] = ()
) -> tuple[dict[str, Use], dict[str, str]]:
    """Find every weight, and what becomes one in a way that is not followed.

    Parameters
    ----------
    scopes : iterable of Scope
        Outer ones first.
    functions : sequence of onnx.FunctionProto
        Their bodies are followed where they are called, with what is handed to them.

    Returns
    -------
    uses : dict of str to Use
        By the name that a dump lists.
    stopped : dict of str to str
        Tensors of which an operator makes what a layer multiplies by, and that operator.
    """
    found = list(scopes)
    bodies = {scope.prefix: scope for scope in found if scope.function}
    search = _Search({(f.domain, f.name): (f, bodies.get(f"{f.domain}.{f.name}/")) for f in functions})
    visible: dict[int, ChainMap[str, Derived | Stopped | None]] = {}
    for scope in found:
        if scope.function or (scope.outer and id(scope.outer) not in visible):
            continue
        # A chain: thousands of branches must not copy all that they could see.
        outer = visible[id(scope.outer)].maps if scope.outer else []
        values = ChainMap[str, Derived | Stopped | None]({**_constants(scope)}, *outer)
        search.through(scope.nodes, values)
        visible[id(scope)] = values
    return search.uses, search.stopped


def _constants(scope: Scope) -> dict[str, Derived]:
    return {name: stored(constant) for name, (constant, *_) in scope.constants.items()}


class _Search:
    """Goes through nodes, and into the functions that they call."""

    def __init__(self, functions: Mapping[tuple[str, str], tuple[Any, Scope | None]]) -> None:
        self.functions = functions
        self.uses: dict[str, Use] = {}
        self.stopped: dict[str, str] = {}
        self._left = MOST_CALLS

    def through(self, nodes: Any, values: Found, given: Attributes | None = None, depth: int = 0) -> None:
        """Follow nodes in their order, and note what they multiply by."""
        for node in nodes:
            function = self.functions.get((node.domain, node.op_type))
            if function is not None:
                values.update(self._call(node, *function, values, given, depth))
                continue
            if node.domain in STANDARD:
                attributes = attributes_of(node, given)
                for operand in multiplied(node, attributes):
                    value = operand_value(node, attributes, operand, values)
                    if isinstance(value, Stopped):
                        for name in value.constants:
                            self.stopped.setdefault(name, value.operator)
                    elif isinstance(value, Derived):
                        for part in value.parts:
                            layout = layout_of(node, attributes, operand, value, part)
                            if layout is not None:
                                coded = holds_integers(part.constant) or part.ends is not None
                                self._note(Use(layout, part, coded))
            follow_all([node], values, given)

    def _note(self, use: Use) -> None:
        """Note a use; the first one counts, but all must subtract the same zero point."""
        name = use.part.constant.name
        if first := self.uses.get(name):
            use = replace(first, part=agreed(first.part, use.part), coded=first.coded or use.coded)
        self.uses[name] = use

    def _call(
        self,
        node: Any,
        function: Any,
        scope: Scope | None,
        values: Found,
        outer: Attributes | None,
        depth: int,
    ) -> Found:
        """Go through a function's body with what a call hands to it; return what its results are."""
        self._left -= len(function.node)
        if self._left < 0 or depth > MOST_NESTED_CALLS:
            return {}
        inner: Found = dict(_constants(scope)) if scope else {}
        for formal, actual in zip(function.input, node.input, strict=False):
            if actual in values:
                inner[formal] = values[actual]
        usual = attributes_of(_Attributes(function.attribute_proto))
        self.through(function.node, inner, usual | attributes_of(node, outer), depth + 1)
        results = zip(function.output, node.output, strict=False)
        return {actual: inner[formal] for formal, actual in results if formal in inner and actual}


@dataclass(frozen=True)
class _Attributes:
    """What holds a function's default attributes, in the form of a node."""

    attribute: Any
