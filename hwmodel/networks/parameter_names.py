"""Names of an exported graph: those that the user's module has for its parameters and its submodules."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.nn import Module

PREFIX = "module"
"""Name of the user's module in the one that is exported."""


def aliases_of(module: Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of each parameter and buffer; one that modules share has several."""
    names: dict[int, list[str]] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        names.setdefault(id(tensor), []).append(name)
    for name, tensor in named:
        yield name, tuple(names[id(tensor)])


_MULTIPLY = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Einsum")


def name_values(graph: Any, aliases: Mapping[str, tuple[str, ...]]) -> None:
    """Give values and nodes of the exported graph the names that the user's module has for them.

    Nodes that multiply are named after their parameters, others after their submodule. What is stored is no
    input, as the exporter has it.
    """
    stored = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in stored]:
        graph.input.remove(value)
    _rename(graph, {name: name.removeprefix(f"{PREFIX}.") for name in stored})
    made = {name: node for node in graph.node for name in node.output}
    taken: Counter[str] = Counter()
    for node in graph.node:
        *scope, operation = _scope(node.name)
        found = None
        if node.op_type in _MULTIPLY:
            weights = (_parameter(value, made, aliases) for value in (*node.input[1:2], node.input[0]))
            found = next(filter(None, weights), None)
        name = (
            ".".join((*scope, operation)) if found is None else _layer_name(aliases[found], ".".join(scope))
        )
        taken[name] += 1
        node.name = name if taken[name] == 1 else f"{name}#{taken[name]}"


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename stored values, also where bodies of control flow read them."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for value in graph.output:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for attribute in node.attribute:
            for body in filter(lambda g: g.node, (attribute.g, *attribute.graphs)):
                _rename(body, names)


def _scope(name: str) -> list[str]:
    """Cut ``/module/layer1/layer1.0/conv/Conv`` into the submodules' names: layer1.0, conv, Conv."""
    parts: list[str] = []
    for part in filter(None, name.split("/")):
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    if parts and parts[0].partition(".")[0] == PREFIX:
        parts[0] = parts[0].partition(".")[2]
    return [part for part in parts if part] or ["node"]


def _parameter(value: str, made: Mapping[str, Any], aliases: Mapping[str, Any]) -> str | None:
    """Find the first parameter that a value is made of alone, by nodes that compute nothing from inputs."""
    waiting, seen, found = [value], set(), None
    while waiting:
        name = waiting.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in aliases:
            found = name
        elif name in made and made[name].op_type in _MOVES:
            waiting += made[name].input
        elif name not in made or made[name].op_type != "Constant":
            return None
    return found


_MOVES = (
    "Identity",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Concat",
    "Cast",
    "Gather",
    "Mul",
)


def _layer_name(aliases: tuple[str, ...], where: str) -> str:
    """Name a layer after its parameter, of a shared one by the submodule that multiplies by it."""
    named = [_without_weight(name) for name in aliases]
    ends = (name for name in named if where and f".{name}".endswith(f".{where}"))
    return next(ends, named[0])


def _without_weight(parameter: str) -> str:
    """Cut ``fc.weight`` to fc, ``attn.in_proj_weight`` to attn.in_proj, ``lstm.weight_ih_l0`` to lstm.l0."""
    recurrent = re.fullmatch(r"(?:(.*)\.)?weight_(?:ih|hh)_(l\d+)(?:_reverse)?", parameter)
    if recurrent:
        return ".".join(filter(None, recurrent.groups()))
    return re.sub(r"(?<=.)[._]weight$", "", parameter)
