"""Scales of integer weights that the graph applies to the product, behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bitxcore.dumps.onnx_weights.bodies import Readers
from bitxcore.dumps.onnx_weights.moves import Attributes
from bitxcore.dumps.onnx_weights.operands import Operand
from bitxcore.dumps.onnx_weights.scaling import at_axis, with_scale
from bitxcore.dumps.onnx_weights.values import Derived, Stopped

_PRODUCTS = {"MatMulInteger": 1, "ConvInteger": 1}
"""Operators that give sums of integers, and their operand of weights."""


def scaled_afterwards(
    node: Any,
    attributes: Attributes,
    operand: Operand,
    value: Derived,
    values: Mapping[str, Derived | Stopped | None],
    readers: Readers,
) -> Derived:
    """Note the scales that a product of integers is multiplied by, as ONNX Runtime's quantiser writes them.

    The product is cast to floats and multiplied by a scale of the activations, of the weights, or by the
    product of both.

    Parameters
    ----------
    node : onnx.NodeProto
    attributes : mapping
    operand : Operand
    value : Derived
        Its value; returned as it is where no scale follows.
    values : mapping of str to Derived or Stopped
        What is made of stored tensors only.
    readers : Readers
        Of the node's graph.
    """
    if _PRODUCTS.get(node.op_type) != operand.place or not value.coded:
        return value
    axis = operand.filter_axis(attributes, len(value.shape))
    after = readers.only(node.output[0])
    if axis is None or after is None or after.op_type != "Cast":
        return value
    after = readers.only(after.output[0])
    filters = value.shape[axis]
    while after is not None and after.op_type == "Mul":
        for scale in _scales(after.input, values, readers):
            if scale.size == filters and max(scale.shape, default=1) == filters:
                along = at_axis(scale, axis, len(value.shape))
                parts = tuple(with_scale(value, part, along, False) for part in value.parts)
                value = replace(value, parts=parts)
        after = readers.only(after.output[0])
    return value


def _scales(names: Any, values: Mapping[str, Derived | Stopped | None], readers: Readers) -> list[Derived]:
    """Find stored factors among some names, and in the products that others are."""
    found = []
    for name in names:
        value = values.get(name)
        if isinstance(value, Derived):
            found.append(value)
        elif (maker := readers.maker(name)) is not None and maker.op_type == "Mul":
            found += [x for x in map(values.get, maker.input) if isinstance(x, Derived)]
    return found
