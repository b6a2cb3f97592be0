"""Which operands of a graph's operators are multiplied by, and where their output channel sits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from bitxcore.dumps.onnx_weights.moves import Attributes
from bitxcore.dumps.onnx_weights.scaling import as_integers, at_axis, less_zero_point, narrowest, with_scale
from bitxcore.dumps.onnx_weights.values import Array, Derived, Factor, Move, Origin, Packing, Stopped
from bitxcore.groups import Layout

Rule = Callable[[Attributes, int], int | None]
"""From attributes and the number of dimensions to the axis of the output channel."""


def _first(_: Attributes, __: int) -> int:
    return 0


def _second(_: Attributes, __: int) -> int:
    return 1


def _third(_: Attributes, __: int) -> int:
    return 2


def _left(attributes: Attributes, ndim: int) -> int:
    """Output channel of ``A`` in ``A @ x``: its rows."""
    return ndim - 1 if attributes.get("transA") else max(ndim - 2, 0)


def _right(attributes: Attributes, ndim: int) -> int:
    """Output channel of ``B`` in ``x @ B``: its columns."""
    return max(ndim - 2, 0) if attributes.get("transB") else ndim - 1


def _free(place: int, attributes: Attributes, ndim: int) -> int | None:
    """Output channel of an operand of Einsum: the first axis that the other one lacks and the result has."""
    terms = einsum_terms(str(attributes.get("equation", "")))
    if terms is None or len(terms[place]) != ndim:
        return None
    other, out = terms[1 - place], terms[2]
    return next((i for i, label in enumerate(terms[place]) if label not in other and label in out), None)


def einsum_terms(equation: str) -> tuple[str, str, str] | None:
    """Split the equation of a product of two: labels of both and of the result; None if it is none."""
    text = equation.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != 2 or "." in text or any(len(set(term)) < len(term) for term in terms):
        return None
    if not arrow:
        both = "".join(terms)
        out = "".join(sorted(label for label in set(both) if both.count(label) == 1))
    return terms[0], terms[1], out


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand that may hold weights.

    Parameters
    ----------
    place : int
        Among the node's inputs.
    filter_axis : callable
        From attributes and dimensions to the axis of the output channel.
    scale, zero_point : int, optional
        Inputs that hold them.
    """

    place: int
    filter_axis: Rule
    scale: int | None = None
    zero_point: int | None = None


MULTIPLIED: dict[str, tuple[Operand, ...]] = {
    "Conv": (Operand(1, _first),),
    "FusedConv": (Operand(1, _first),),
    "DeformConv": (Operand(1, _first),),
    "ConvInteger": (Operand(1, _first, zero_point=3),),
    "QLinearConv": (Operand(3, _first, 4, 5),),
    "ConvTranspose": (Operand(1, _second),),
    "Gemm": (Operand(1, _right), Operand(0, _left)),
    "FusedGemm": (Operand(1, _right), Operand(0, _left)),
    "TransposeMatMul": (Operand(1, _right), Operand(0, _left)),
    "QGemm": (Operand(3, _right, 4, 5), Operand(0, _left, 1, 2)),
    "MatMul": (Operand(1, _right), Operand(0, _left)),
    "FusedMatMul": (Operand(1, _right), Operand(0, _left)),
    "MatMulInteger": (Operand(1, _right, zero_point=3), Operand(0, _left, zero_point=2)),
    "MatMulIntegerToFloat": (Operand(1, _right, 3, 5), Operand(0, _left, 2, 4)),
    "DynamicQuantizeMatMul": (Operand(1, _right, 2, 3),),
    "QLinearMatMul": (Operand(3, _right, 4, 5), Operand(0, _left, 1, 2)),
    "MatMulNBits": (Operand(1, _first),),
    "Einsum": (Operand(1, partial(_free, 1)), Operand(0, partial(_free, 0))),
    "Attention": (Operand(1, _second),),
    "QAttention": (Operand(1, _second, 4, 7),),
    "RNN": (Operand(1, _second), Operand(2, _second)),
    "GRU": (Operand(1, _second), Operand(2, _second)),
    "LSTM": (Operand(1, _second), Operand(2, _second)),
    "DynamicQuantizeLSTM": (Operand(1, _third, 8, 9), Operand(2, _third, 10, 11)),
}
"""Operators that multiply by an operand, which then holds weights if it is made of stored tensors."""


def multiplied(node: Any, attributes: Attributes) -> tuple[Operand, ...]:
    """Return the operands of a node that may hold weights."""
    if node.op_type == "Attention" and node.domain != "com.microsoft":
        return ()  # ONNX's own takes queries, keys and values, all of them activations
    return MULTIPLIED.get(node.op_type, ())


def operand_value(
    node: Any, attributes: Attributes, operand: Operand, values: Mapping[str, Derived | Stopped | None]
) -> Derived | Stopped | None:
    """Give what an operand is made of: without its zero point, and unpacked.

    Returns
    -------
    Derived, Stopped or None
        None if it is computed at run time.
    """

    def given(place: int | None) -> str:
        return node.input[place] if place is not None and place < len(node.input) else ""

    value = values.get(given(operand.place))
    if not isinstance(value, Derived) or not value.parts:
        return None if isinstance(value, Derived) else value
    if node.op_type == "MatMulNBits":
        return _unpacked(node, value, attributes, values.get(given(2)), values.get(given(3)))
    ndim = len(value.shape)
    axis = operand.filter_axis(attributes, ndim)
    if not value.coded or axis is None or value.quantiser or any(part.zero_point for part in value.parts):
        return value
    if name := given(operand.zero_point):
        zero = values.get(name)
        value = less_zero_point(value, at_axis(zero, axis, ndim) if isinstance(zero, Derived) else zero)
    scale = values.get(given(operand.scale))
    if isinstance(scale, Derived):
        value = _scaled_along(value, at_axis(scale, axis, ndim))
    return value


def _scaled_along(value: Derived, scale: Derived) -> Derived:
    """Note a scale that broadcasts to a value."""
    return replace(value, parts=tuple(with_scale(value, part, scale, False) for part in value.parts))


def _unpacked(
    node: Any, value: Derived, attributes: Attributes, scale: object, zero: object
) -> Derived | Stopped:
    """Unpack the codes of MatMulNBits, shape (filters, columns), without their zero point."""
    packing = Packing(
        int(attributes.get("bits", 4)), int(attributes.get("K", 0)), int(attributes.get("block_size", 0))
    )
    filters = int(attributes.get("N", 0))
    if packing.bits not in (2, 4, 8) or packing.block < 1 or packing.columns < 1:
        return Stopped("MatMulNBits")
    blocks = -(-packing.columns // packing.block)
    if len(node.input) > 4 and node.input[4]:
        return Stopped("MatMulNBits, whose columns are in no order of blocks")
    if value.size != filters * blocks * packing.block * packing.bits // 8 or value.recipe.depth:
        return Stopped("MatMulNBits")
    more = (zero.recipe,) if isinstance(zero, Derived) else ()
    shape = (filters, packing.columns)
    part = value.parts[0]
    zero_point = Factor(zero.recipe) if isinstance(zero, Derived) else None
    scales = (Factor(scale.recipe),) if isinstance(scale, Derived) else ()
    runs = (frozenset({0}), frozenset(range(1, len(part.constant.shape))))
    whole = Origin(part.constant, (0, None), runs, zero_point, scales, packing=packing)
    recipe = Move(partial(unpack, packing=packing, filters=filters), (value.recipe, *more))
    return Derived(recipe, recipe, shape, (whole,), coded=True, integer=True)


def unpack(stored: Array, zero: Array | None = None, *, packing: Packing, filters: int) -> Array:
    """Unpack codes, less their zero points.

    Parameters
    ----------
    stored : ndarray of uint8
        Rows of blocks, the first code of a byte in its low bits.
    zero : ndarray, optional
        Zero points of the blocks, packed likewise, or one number each; half of the codes' range if left out.
    packing : Packing
    filters : int

    Returns
    -------
    ndarray of int8 or int16, (filters, columns)
    """
    blocks = -(-packing.columns // packing.block)
    codes = _split_bytes(stored.reshape(filters, -1), packing.bits).reshape(filters, blocks, packing.block)
    if zero is None:
        points: Array = np.int16(1 << (packing.bits - 1)).reshape(1, 1)
    elif zero.dtype == np.uint8:
        points = _split_bytes(zero.reshape(filters, -1), packing.bits)[:, :blocks]
    else:
        points = as_integers(zero).reshape(filters, blocks)
    return narrowest((codes - points[..., None]).reshape(filters, -1)[:, : packing.columns])


def pack_codes(codes: Array, before: Array, zero: Array | None, *, packing: Packing, filters: int) -> Array:
    """Put codes of `unpack` back, zero points added; what pads a row stays as it was in `before`."""
    blocks = -(-packing.columns // packing.block)
    nothing = np.zeros_like(before)
    offset = -unpack(nothing, zero, packing=packing, filters=filters).astype(np.int16)
    whole = _split_bytes(before.reshape(filters, -1), packing.bits)
    whole[:, : packing.columns] = codes + offset
    bits, per_byte = packing.bits, 8 // packing.bits
    lanes = whole.reshape(filters, blocks * packing.block // per_byte, per_byte).astype(np.uint8)
    packed = np.zeros(lanes.shape[:2], np.uint8)
    for i in range(per_byte):
        packed |= lanes[..., i] << (i * bits)
    return packed.reshape(before.shape)


def _split_bytes(stored: Array, bits: int) -> Array:
    """Split bytes into codes along the last axis, low bits first, as int16."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (
        ((stored[..., None] >> shifts) & ((1 << bits) - 1)).reshape(*stored.shape[:-1], -1).astype(np.int16)
    )


def layout_of(
    node: Any, attributes: Attributes, operand: Operand, value: Derived, part: Origin
) -> Layout | None:
    """Where a stored tensor has the output channel of an operand; None if the operand has none.

    Where the output channel is a part of one of the tensor's axes, it is that axis; where it runs over
    several, the numbers are taken as they are stored.
    """
    axis = operand.filter_axis(attributes, len(value.shape))
    if axis is None or not 0 <= axis < len(part.axes) or not part.constant.shape:
        return None
    source = part.axes[axis]
    groups = int(attributes.get("group", 1) or 1)
    if node.op_type == "ConvTranspose" and groups != 1:
        whole = part.axes == tuple(range(len(part.constant.shape)))
        fits = groups > 0 and source == 1 and value.shape[0] % groups == 0
        return Layout(1, groups) if whole and fits else Layout()
    if source is None and len(part.runs[axis]) == 1:
        (source,) = part.runs[axis]
    elif source is None and not part.runs[axis]:
        source = next((i for i, n in enumerate(part.constant.shape) if n == 1), None)
    return Layout() if source is None else Layout(source)
