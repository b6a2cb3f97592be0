"""Following stored tensors through the nodes of a graph to where they are multiplied by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

import numpy as np

from bitxcore.dumps.onnx_graph import Constant
from bitxcore.dumps.onnx_weights.moves import MOVES, Attributes, joined
from bitxcore.dumps.onnx_weights.scaling import (
    INTEGERS,
    cast,
    data_type,
    dequantized,
    less_zero_point,
    literal,
    quantized,
    scaled,
)
from bitxcore.dumps.onnx_weights.values import (
    MOST_DIMENSIONS,
    MOST_GROWTH,
    MOST_INTEGERS,
    MOST_MOVES,
    MOST_PARTS,
    Array,
    AsStored,
    Derived,
    Origin,
    Stopped,
    numbers,
)

STANDARD = ("", "ai.onnx", "com.microsoft")
"""Domains whose operators are known."""

FAKE_QUANTISERS = frozenset({"Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc"})
"""QONNX: they round floats to what fewer bits can say."""

_QONNX = ("qonnx", "onnx.brevitas", "finn")

_READ: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a.f,
    2: lambda a: a.i,
    3: lambda a: a.s.decode("utf-8", "replace"),
    6: lambda a: list(a.floats),
    7: lambda a: list(a.ints),
}
"""How attributes are read, by onnx.AttributeProto.AttributeType."""

_ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply}

Values = Mapping[str, Derived | Stopped | None]


def is_fake_quantiser(node: Any) -> bool:
    """Whether a node rounds floats to what fewer bits can say, as QONNX writes it."""
    return node.op_type in FAKE_QUANTISERS and str(node.domain).startswith(_QONNX)


def stored(constant: Constant) -> Derived:
    """See a tensor that the model holds as a value."""
    integer = holds_integers(constant)
    runs = tuple(frozenset({i} if n > 1 else ()) for i, n in enumerate(constant.shape))
    part = Origin(constant, tuple(range(len(constant.shape))), runs)
    whole = AsStored(constant.name)
    return Derived(whole, whole, constant.shape, (part,), coded=integer, integer=integer)


def holds_integers(constant: Constant) -> bool:
    """Whether a stored tensor is one of integers."""
    if constant.attribute_dtype is not None:
        return constant.attribute_dtype == "int64"
    return constant.proto.data_type in INTEGERS


def attributes_of(node: Any, given: Attributes | None = None) -> dict[str, Any]:
    """Attributes of a node that are numbers or text; those that refer to its function's take `given`."""
    found: dict[str, Any] = {}
    for a in node.attribute:
        if a.ref_attr_name:
            if given and a.ref_attr_name in given:
                found[a.name] = given[a.ref_attr_name]
        elif a.type in _READ:
            found[a.name] = _READ[a.type](a)
    return found


def follow(node: Any, values: Values, given: Attributes | None = None) -> dict[str, Derived | Stopped]:
    """Say what a node's results are made of, if that is stored tensors only.

    Parameters
    ----------
    node : onnx.NodeProto
    values : mapping of str to Derived or Stopped
        What is known of values before it.
    given : mapping, optional
        Attributes of the function that the node is in.

    Returns
    -------
    dict of str to Derived or Stopped
        By name; empty for what is computed at run time.
    """
    inputs = [values.get(name) if name else None for name in node.input]
    data = inputs[0] if inputs else None
    typed_only = node.op_type == "CastLike" and data is not None
    shape_only = node.op_type in ("Shape", "Size") and data is not None
    if any(a.HasField("g") or a.graphs for a in node.attribute):
        return {}
    if not (typed_only or shape_only) and (
        not any(node.input) or any(x is None for name, x in zip(node.input, inputs, strict=True) if name)
    ):
        return {}
    found = _results(node, inputs, attributes_of(node, given))
    if found is None:
        return dict.fromkeys(filter(None, node.output), _stopped(node, inputs))
    return {name: value for name, value in zip(node.output, found, strict=False) if name}


def _stopped(node: Any, inputs: list[Derived | Stopped | None]) -> Stopped:
    """Name the first operator on the way that is not followed, and what it was given."""
    names: dict[str, None] = {}
    for x in inputs:
        if isinstance(x, Derived):
            names |= dict.fromkeys(part.constant.name for part in x.parts)
        elif x is not None:
            names |= dict.fromkeys(x.constants)
    operator = next((x.operator for x in inputs if isinstance(x, Stopped)), node.op_type)
    return Stopped(operator, tuple(names)[:MOST_PARTS])


def _results(
    node: Any, inputs: list[Derived | Stopped | None], attributes: dict[str, Any]
) -> list[Derived] | None:
    """Values of a node's outputs, or None if it is not followed; what grows or nests too far is not."""
    try:
        found = _moved(node, inputs, attributes)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None  # attributes that contradict each other: whoever runs the graph says so
    return None if found is None or any(map(_too_much, found)) else found


def _too_much(value: Derived) -> bool:
    held = sum(np.prod(part.constant.shape, dtype=object) for part in value.parts)
    return (
        value.recipe.depth > MOST_MOVES
        or len(value.parts) > MOST_PARTS
        or len(value.shape) > MOST_DIMENSIONS
        or value.size > max(MOST_GROWTH * held, MOST_INTEGERS)
    )


def _moved(
    node: Any, inputs: list[Derived | Stopped | None], attributes: dict[str, Any]
) -> list[Derived] | None:
    operator, data = node.op_type, inputs[0]
    if is_fake_quantiser(node):
        return [data] if isinstance(data, Derived) else None
    if node.domain not in STANDARD:
        return None
    if operator in ("Mul", "Div", "Sub", "Add") and (result := _arithmetic(operator, inputs)) is not None:
        return [literal(result)]
    if operator in ("Mul", "Div"):
        product = scaled(inputs, operator == "Div")
        return None if product is None else [product]
    if operator == "Concat":
        whole = [x for x in inputs if isinstance(x, Derived)]
        joint = joined(whole, int(attributes.get("axis", 0))) if len(whole) == len(inputs) else None
        return None if joint is None else [joint]
    if not isinstance(data, Derived):
        return None
    if operator in ("Shape", "Size"):
        ends = slice(attributes.get("start"), attributes.get("end"))
        sizes = np.array(data.shape, np.int64)
        return [literal(np.array(data.size, np.int64) if operator == "Size" else sizes[ends])]
    if operator == "Sub" and data.coded and not data.scaled and not data.quantiser:
        return [less_zero_point(data, inputs[1])]
    if operator in ("Cast", "CastLike"):
        same = cast(data, attributes.get("to") if operator == "Cast" else _like(inputs[1]))
        return None if same is None else [same]
    if operator == "QuantizeLinear":
        rounded = quantized(attributes, inputs)
        return None if rounded is None else [rounded]
    if operator == "DequantizeLinear":
        codes = dequantized(attributes, inputs)
        return None if codes is None else [codes]
    if operator not in MOVES:
        return None
    arguments = {"outputs": len(node.output), "operands": sum(map(bool, node.input))}
    return MOVES[operator](
        {**arguments, **attributes},
        data,
        lambda place: _argument(inputs, place),
    )


def _argument(inputs: list[Derived | Stopped | None], place: int) -> Array | None:
    """Integers of an operand; None if it is left out."""
    if place >= len(inputs) or inputs[place] is None:
        return None
    known = numbers(inputs[place])
    if known is None:
        raise ValueError("a size or a place is not known")
    return known


def _like(value: Derived | Stopped | None) -> int | None:
    """Type of a value that is stored as it is; None if it is not known."""
    if isinstance(value, Derived) and isinstance(value.recipe, AsStored):
        return data_type(value.parts[0]) or None
    return None


def _arithmetic(operator: str, inputs: list[Derived | Stopped | None]) -> Array | None:
    """Compute with sizes and places: int64 whatever they are made of."""
    if any(not (isinstance(x, Derived) and _is_argument(x)) for x in inputs):
        return None
    first, second = (numbers(x) for x in inputs)
    if first is None or second is None:
        return None
    if operator == "Div":
        return np.trunc(np.divide(first, second)).astype(np.int64)
    return np.asarray(_ARITHMETIC[operator](first, second))


def _is_argument(value: Derived) -> bool:
    return value.integer and all(
        part.constant.attribute_dtype == "int64" or getattr(part.constant.proto, "data_type", 0) == 7
        for part in value.parts
    )


def follow_all(
    nodes: Iterable[Any],
    values: MutableMapping[str, Derived | Stopped | None],
    given: Attributes | None = None,
) -> None:
    """Follow through nodes in their order; `values` grows by what is found."""
    for node in nodes:
        found = follow(node, values, given)
        values.update(found)
        for name in node.output if node.op_type != "Constant" else ():
            if name not in found and name in values:
                values[name] = None  # another value than the outer one of that name
