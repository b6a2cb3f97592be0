"""Operators that change what stored numbers stand for, not where they are: casts, scales, zero points."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from bitxcore.dumps.onnx_weights.moves import Attributes
from bitxcore.dumps.onnx_weights.values import Array, Derived, Factor, Literal, Move, Origin, Stopped, numbers

_FLOATS: dict[int, Any] = {1: np.float32, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16}
_INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13, 21, 22})

Operands = list[Derived | Stopped | None]


def cast(value: Derived, kind: int | None) -> Derived | None:
    """Follow a cast; codes keep their integers, and floats are rounded as the graph does."""
    if value.coded:
        return replace(value, integer=value.integer and kind in _INTEGERS) if kind is not None else value
    if kind is None:
        return value
    if kind not in _FLOATS:
        return None
    return replace(value, recipe=Move(partial(_cast, dtype=np.dtype(_FLOATS[kind])), (value.recipe,)))


def _cast(x: Array, dtype: np.dtype[Any]) -> Array:
    return x.astype(dtype, copy=False)


def scaled(operands: Operands, divides: bool) -> Derived | None:
    """Follow a product or a quotient with something that is the same in every run."""
    place = _data(operands)
    value, factor = operands[place], operands[1 - place]
    if not isinstance(value, Derived) or (divides and place == 1):
        return None
    if isinstance(factor, Derived) and not _broadcasts(factor.shape, value.shape):
        return None
    own = {part.constant.name for part in value.parts}
    if isinstance(factor, Derived) and own & {part.constant.name for part in factor.parts}:
        return None  # a square, say: what is multiplied by then is no stored tensor
    recipe = value.recipe
    if not value.coded and isinstance(factor, Derived):
        recipe = Move(np.divide if divides else np.multiply, (recipe, factor.recipe))
    parts = tuple(with_scale(value, part, factor, divides) for part in value.parts)
    return replace(value, recipe=recipe, parts=parts)


def _broadcasts(factor: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a factor's shape broadcasts to `shape` without making it larger."""
    more = len(shape) - len(factor)
    return more >= 0 and all(n in (1, m) for n, m in zip(factor, shape[more:], strict=True))


def _data(operands: Operands) -> int:
    """Which of two operands holds the weights: the larger one; of equal ones codes before floats."""
    sizes = [x.size if isinstance(x, Derived) else -1 for x in operands[:2]]
    if sizes[0] == sizes[1]:
        first, second = operands[:2]
        coded = (
            isinstance(second, Derived) and second.coded and isinstance(first, Derived) and not first.coded
        )
        return int(coded)
    return int(sizes[1] > sizes[0])


def with_scale(value: Derived, part: Origin, factor: Derived | Stopped | None, divides: bool) -> Origin:
    """Note on a part what its numbers are multiplied by, where that follows the tensor's axes."""
    if not isinstance(factor, Derived):
        return part
    axes = _along(value, part, factor.shape)
    if axes is None:
        return part
    return replace(part, scales=(*part.scales, Factor(factor.recipe, axes, divides=divides)))


def less_zero_point(value: Derived, zero: Derived | Stopped | None) -> Derived:
    """Subtract a zero point that broadcasts to integers that stand for weights."""
    if not value.coded:
        return value
    if not isinstance(zero, Derived):
        return _unknown(value, "it is computed by " + (zero.operator if zero else "the network at run time"))
    if not _broadcasts(zero.shape, value.shape):
        return _unknown(value, f"it has shape {zero.shape}, the weights have {value.shape}")
    return _subtracted(value, zero)


def _subtracted(value: Derived, zero: Derived, block: int = 1, at: int = 0) -> Derived:
    """Subtract, and note for each tensor where along it the zero point applies."""
    known = numbers(zero)
    if known is not None and not known.any():
        return value
    parts = []
    for part in value.parts:
        axes = _along(value, part, zero.shape, block, at)
        if axes is None:
            parts.append(replace(part, unknown="it does not follow one tensor's axes"))
        else:
            parts.append(
                replace(part, zero_point=Factor(zero.recipe, axes, block, axes[at] if block > 1 else None))
            )
    function = partial(_subtract, axis=at, block=block)
    return replace(value, recipe=Move(function, (value.recipe, zero.recipe)), parts=tuple(parts))


def _subtract(codes: Array, zero: Array, axis: int, block: int) -> Array:
    """Subtract a zero point, in the narrowest integers that hold every difference."""
    if block > 1:
        zero = np.repeat(zero, block, axis=axis)[(slice(None),) * axis + (slice(codes.shape[axis]),)]
    return narrowest(codes.astype(np.int32) - zero.astype(np.int32))


def narrowest(codes: Array) -> Array:
    """Return integers in int8 if all magnitudes fit, else in int16, else in int32."""
    top = max(int(codes.max(initial=0)), -int(codes.min(initial=0)))
    return codes.astype(np.int8 if top < 1 << 7 else np.int16 if top < 1 << 15 else np.int32, copy=False)


def _unknown(value: Derived, why: str) -> Derived:
    return replace(value, parts=tuple(replace(part, unknown=why) for part in value.parts))


def _along(
    value: Derived, part: Origin, shape: tuple[int, ...], block: int = 1, at: int = 0
) -> tuple[int | None, ...] | None:
    """For each dimension of a factor the stored tensor's axis; None if it does not follow them."""
    more = len(value.shape) - len(shape)
    axes: list[int | None] = []
    for i, length in enumerate(shape):
        if length == 1 and not (block > 1 and i == at):
            axes.append(None)
            continue
        axis = part.axes[i + more]
        held = part.constant.shape[axis] if axis is not None else 0
        fits = -(-held // block) == length if i == at and block > 1 else held == length
        if axis is None or not fits:
            return None
        axes.append(axis)
    return tuple(axes)


def at_axis(factor: Derived, axis: int, ndim: int) -> Derived:
    """See one value per position of an axis so that it broadcasts."""
    if not factor.shape or factor.size == 1:
        shape: tuple[int, ...] = ()
    else:
        shape = (factor.size, *[1] * (ndim - 1 - axis))
    function = partial(np.reshape, shape=shape)
    return replace(factor, recipe=Move(function, (factor.recipe,)), shape=shape)


def dequantized(attributes: Attributes, operands: Operands) -> Derived | None:
    """Follow DequantizeLinear: of the whole tensor, along an axis, or in blocks along it."""
    value, scale, zero, *_ = *operands, None, None, None
    if not isinstance(value, Derived):
        return None
    if not value.coded:
        return value  # what a QuantizeLinear before it has made of floats
    ndim = len(value.shape)
    axis, block = int(attributes.get("axis", 1)), int(attributes.get("block_size", 0) or 0)
    if not -ndim <= axis < max(ndim, 1):
        axis = 0
    axis %= max(ndim, 1)
    if block:
        zero_shape = zero.shape if isinstance(zero, Derived) else ()
        if zero is not None and len(zero_shape) != ndim:
            return None
        if isinstance(zero, Derived):
            value = _subtracted(value, zero, block, axis)
        if isinstance(scale, Derived):
            parts = []
            for part in value.parts:
                along = _along(value, part, scale.shape, block, axis)
                factor = () if along is None else (Factor(scale.recipe, along, block, along[axis]),)
                parts.append(replace(part, scales=(*part.scales, *factor)))
            value = replace(value, parts=tuple(parts))
        return replace(value, integer=False)
    if isinstance(zero, Derived):
        value = less_zero_point(value, at_axis(zero, axis, ndim))
    elif zero is not None:
        value = less_zero_point(value, zero)
    if isinstance(scale, Derived):
        along_axis = at_axis(scale, axis, ndim)
        parts = [with_scale(value, part, along_axis, False) for part in value.parts]
        value = replace(value, parts=tuple(parts))
    return replace(value, integer=False)


def literal(array: Array) -> Derived:
    """See a small array as a value."""
    return Derived(Literal(array), array.shape, (), coded=False, integer=array.dtype.kind in "iu")
