"""Which constants of an ONNX graph are weights, and where their output channel sits.

A constant is a weight if a layer multiplies by it. It is followed to the layer through the operators
that only move or rescale values. If several layers share it, the first in graph order decides;
a table that is looked up (Gather) and multiplied as well is a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from bitxcore.dumps.onnx_graph import Constant, Scope
from bitxcore.groups import Layout


@dataclass(frozen=True, slots=True)
class _Value:
    """A value made from one constant only.

    Parameters
    ----------
    constant : Constant
    shape : tuple of int
    axes : tuple of (int or None)
        For each axis the constant's axis that it is; None where axes were merged or split.
    """

    constant: Constant
    shape: tuple[int, ...]
    axes: tuple[int | None, ...]


Attributes = dict[str, Any]
Rule = Callable[[Attributes, int], int]


def _first(_: Attributes, ndim: int) -> int:
    return 0


def _second(_: Attributes, ndim: int) -> int:
    return 1


def _left(attributes: Attributes, ndim: int) -> int:
    """Output channel of ``A`` in ``A @ x``: its rows."""
    return ndim - 1 if attributes.get("transA") else max(ndim - 2, 0)


def _right(attributes: Attributes, ndim: int) -> int:
    """Output channel of ``B`` in ``x @ B``: its columns."""
    return max(ndim - 2, 0) if attributes.get("transB") else ndim - 1


# Operator -> (operand, rule for the axis of its output channel). ConvTranspose depends on `group`.
_WEIGHTS: dict[str, tuple[tuple[int, Rule], ...]] = {
    "Conv": ((1, _first),),
    "FusedConv": ((1, _first),),
    "DeformConv": ((1, _first),),
    "ConvInteger": ((1, _first),),
    "QLinearConv": ((3, _first),),
    "ConvTranspose": ((1, _second),),
    "Gemm": ((1, _right), (0, _left)),
    "QGemm": ((3, _right), (0, _left)),
    "MatMul": ((1, _right), (0, _left)),
    "FusedMatMul": ((1, _right), (0, _left)),
    "MatMulInteger": ((1, _right), (0, _left)),
    "MatMulIntegerToFloat": ((1, _right), (0, _left)),
    "DynamicQuantizeMatMul": ((1, _right),),
    "QLinearMatMul": ((3, _right), (0, _left)),
    "RNN": ((1, _second), (2, _second)),
    "GRU": ((1, _second), (2, _second)),
    "LSTM": ((1, _second), (2, _second)),
}
_ELEMENTWISE = {"Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"}


def weight_layouts(scopes: Iterable[Scope]) -> dict[str, Layout]:
    """Map the listed name of every weight to its layout; outer scopes first."""
    layouts: dict[str, Layout] = {}
    visible: dict[int, dict[str, _Value]] = {}
    for scope in scopes:
        values = dict(visible[id(scope.outer)]) if scope.outer else {}
        for name, (constant, *_) in scope.constants.items():
            values[name] = _Value(constant, constant.shape, tuple(range(len(constant.shape))))
        for node in scope.nodes:
            attributes = {a.name: a.i or list(a.ints) for a in node.attribute}
            for operand, rule in _WEIGHTS.get(node.op_type, ()):
                value = values.get(node.input[operand]) if operand < len(node.input) else None
                layout = _layout(node.op_type, attributes, value, rule) if value else None
                if value and layout:
                    layouts.setdefault(value.constant.name, layout)
            moved = _moved(node, attributes, values)
            if moved:
                values[node.output[0]] = moved
        visible[id(scope)] = values
    return layouts


def _layout(operator: str, attributes: Attributes, value: _Value, rule: Rule) -> Layout | None:
    groups = attributes.get("group") or 1
    axis = rule(attributes, len(value.shape))
    source = value.axes[axis] if 0 <= axis < len(value.axes) else None
    if operator == "ConvTranspose" and groups != 1:
        whole = value.axes == tuple(range(len(value.constant.shape)))
        fits = groups > 0 and source == 1 and value.shape[0] % groups == 0
        return Layout(1, groups) if whole and fits else None
    return None if source is None else Layout(source)


def _moved(node: Any, attributes: Attributes, values: dict[str, _Value]) -> _Value | None:
    """Return the node's output as a rearranged constant, if it is one."""
    value = values.get(node.input[0]) if node.input and node.output else None
    if value is None:
        return None
    if node.op_type in _ELEMENTWISE:
        return value
    if node.op_type == "Transpose":
        order = attributes.get("perm") or list(range(len(value.shape)))[::-1]
        if sorted(order) != list(range(len(value.shape))):
            return None
        return _Value(
            value.constant, tuple(value.shape[i] for i in order), tuple(value.axes[i] for i in order)
        )
    if node.op_type in _RESHAPES:
        argument = _integers(values.get(node.input[1])) if len(node.input) > 1 else attributes.get("axes")
        shape = _RESHAPES[node.op_type](value.shape, attributes, argument)
        return _reshaped(value, shape) if shape is not None else None
    return None


def _integers(value: _Value | None) -> list[int] | None:
    """Return the elements of a short embedded int64 constant."""
    if value is None or len(value.shape) > 1 or prod(value.shape) > 64:
        return None
    proto = value.constant.proto
    if value.constant.attribute_dtype is not None:
        return [*proto.ints] or [proto.i] if value.constant.attribute_dtype == "int64" else None
    if proto.data_type != 7 or proto.external_data:
        return None
    raw = proto.raw_data
    return [int.from_bytes(raw[i : i + 8], "little", signed=True) for i in range(0, len(raw), 8)] or [
        *proto.int64_data
    ]


def _reshape(shape: Sequence[int], attributes: Attributes, target: list[int] | None) -> list[int] | None:
    if target is None:
        return None
    if not attributes.get("allowzero"):
        if any(length == 0 and i >= len(shape) for i, length in enumerate(target)):
            return None
        target = [length or shape[i] for i, length in enumerate(target)]
    known = prod(length for length in target if length != -1)
    return [prod(shape) // known if length == -1 and known else length for length in target]


def _flatten(shape: Sequence[int], attributes: Attributes, _: list[int] | None) -> list[int] | None:
    axis = attributes.get("axis", 1) or 0
    return [prod(shape[:axis]), prod(shape[axis:])]


def _squeeze(shape: Sequence[int], _: Attributes, axes: list[int] | None) -> list[int] | None:
    if not axes:
        return [length for length in shape if length != 1]
    gone = {axis % len(shape) for axis in axes} if shape else set()
    return [length for i, length in enumerate(shape) if i not in gone]


def _unsqueeze(shape: Sequence[int], _: Attributes, axes: list[int] | None) -> list[int] | None:
    if not axes:
        return None
    ndim = len(shape) + len(axes)
    new, rest = {axis % ndim for axis in axes}, iter(shape)
    return [1 if i in new else next(rest, 1) for i in range(ndim)]


_RESHAPES = {"Reshape": _reshape, "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze}


def _reshaped(value: _Value, shape: list[int]) -> _Value | None:
    """Match the axes that a reshape leaves whole: same length, same number of elements before them."""
    if not prod(shape) or prod(shape) != prod(value.shape):
        return None
    old = {(prod(value.shape[:i]), n): value.axes[i] for i, n in reversed(list(enumerate(value.shape)))}
    return _Value(
        value.constant, tuple(shape), tuple(old.get((prod(shape[:i]), n)) for i, n in enumerate(shape))
    )
