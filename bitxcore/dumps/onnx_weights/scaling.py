"""Operators that change what stored numbers represent, not where they are: casts, scales, zero points."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from bitxcore.dumps.onnx_weights.moves import Attributes
from bitxcore.dumps.onnx_weights.values import (
    Array,
    Derived,
    Factor,
    Literal,
    Move,
    Origin,
    Quantiser,
    Spread,
    Stopped,
    numbers,
)
from bitxcore.errors import TensorError

_FLOATS: dict[int, Any] = {1: np.float32, 10: np.float16, 11: np.float64, 16: ml_dtypes.bfloat16}
RANGES = {
    2: (0, 255),
    3: (-128, 127),
    4: (0, 65535),
    5: (-32768, 32767),
    6: (-(1 << 31), (1 << 31) - 1),
    7: (-(1 << 63), (1 << 63) - 1),
    12: (0, (1 << 32) - 1),
    13: (0, (1 << 64) - 1),
    21: (0, 15),
    22: (-8, 7),
}
"""Ends of ONNX's integers."""

INTEGERS = frozenset(RANGES)

Operands = list[Derived | Stopped | None]


def cast(value: Derived, kind: int | None) -> Derived | None:
    """Follow a cast; codes keep their integers, and floats are rounded as the graph does."""
    if kind is None:
        return value
    if value.coded:
        if kind in _FLOATS:
            return replace(value, integer=False)
        return value if value.integer and kind in RANGES and _holds(kind, value) else None
    if kind not in _FLOATS:
        return None
    return replace(value, recipe=Move(partial(_cast, dtype=np.dtype(_FLOATS[kind])), (value.recipe,)))


def _holds(kind: int, value: Derived) -> bool:
    """Whether a type of integers holds whatever a value can be."""
    for part in value.parts:
        low, high = RANGES.get(data_type(part), RANGES[6])
        if part.zero_point or part.unknown or value.quantiser:
            low, high = low - high, high - low
        if low < RANGES[kind][0] or high > RANGES[kind][1]:
            return False
    return True


def data_type(part: Origin) -> int:
    """Type of a stored tensor by its number in ONNX."""
    constant = part.constant
    if constant.attribute_dtype is not None:
        return 7 if constant.attribute_dtype == "int64" else 1
    return int(constant.proto.data_type)


def _cast(x: Array, dtype: np.dtype[Any]) -> Array:
    return x.astype(dtype, copy=False)


def scaled(operands: Operands, divides: bool) -> Derived | None:
    """Follow a product or a quotient with something that is the same in every run."""
    place = _data(operands)
    value, factor = operands[place], operands[1 - place]
    if not isinstance(value, Derived) or (divides and place == 1):
        return None
    if isinstance(factor, Stopped):
        return _scaled_unknown(value, factor)
    if isinstance(factor, Derived) and not _broadcasts(factor.shape, value.shape):
        return None
    if divides and value.coded and value.integer:
        return None  # a quotient of integers is rounded
    own = {part.constant.name for part in value.parts}
    if isinstance(factor, Derived) and own & {part.constant.name for part in factor.parts}:
        return None  # a square, say: what is multiplied by then is not a stored tensor
    recipe = value.recipe
    if not value.coded and isinstance(factor, Derived):
        recipe = Move(np.divide if divides else np.multiply, (recipe, factor.recipe))
    parts = tuple(with_scale(value, part, factor, divides) for part in value.parts)
    return replace(value, recipe=recipe, parts=parts, scaled=True, quantiser=None)


def _scaled_unknown(value: Derived, factor: Stopped) -> Derived | None:
    """Follow a product with what is not followed; of two numbers per channel, say, neither is the weights."""
    if sum(n > 1 for n in value.shape) < 2:
        return None
    unknown = value.unknown if value.coded else f"the weights are scaled by what {factor.operator} computes"
    return replace(value, unknown=unknown, scaled=True, quantiser=None)


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
    return replace(part, scales=(*part.scales, factor_of(value, part, factor, divides=divides)))


def factor_of(
    value: Derived, part: Origin, factor: Derived, block: int = 1, at: int = 0, *, divides: bool = False
) -> Factor:
    """Say where a scale or a zero point of a value applies along one of its stored tensors."""
    axes = _along(value, part, factor.shape, block, at)
    if axes is None:
        spread = Spread(value.places, value.shape, at, block)
        return Factor(factor.recipe, divides=divides, spread=spread)
    return Factor(factor.recipe, axes, block, axes[at] if block > 1 else None, divides)


def less_zero_point(value: Derived, zero: Derived | Stopped | None) -> Derived:
    """Subtract a zero point that broadcasts to integers that represent weights."""
    if not value.coded:
        return value
    if not isinstance(zero, Derived):
        return _unknown(value, "it is computed by " + (zero.operator if zero else "the network at run time"))
    if not _broadcasts(zero.shape, value.shape):
        return _unknown(value, f"it has shape {zero.shape}, the weights have {value.shape}")
    known = numbers(zero)
    if known is not None and (known != np.rint(known)).any():
        return _unknown(value, "it is no integer")
    return _subtracted(value, zero)


def _subtracted(value: Derived, zero: Derived, block: int = 1, at: int = 0) -> Derived:
    """Subtract, and note for each tensor where along it the zero point applies."""
    known = numbers(zero)
    if known is not None and not known.any():
        return value
    parts = []
    for part in value.parts:
        if part.zero_point:
            part = replace(part, unknown="several are subtracted from it")
        factor = replace(factor_of(value, part, zero, block, at), known=known)
        parts.append(replace(part, zero_point=factor))
    function = partial(_subtract, axis=at, block=block)
    return replace(value, recipe=Move(function, (value.recipe, zero.recipe)), parts=tuple(parts))


def _subtract(codes: Array, zero: Array, axis: int, block: int) -> Array:
    """Subtract a zero point, in the narrowest integers that hold every difference."""
    if block > 1:
        zero = np.repeat(zero, block, axis=axis)[(slice(None),) * axis + (slice(codes.shape[axis]),)]
    return narrowest(codes.astype(np.int32) - as_integers(zero))


def as_integers(zero: Array) -> Array:
    """Return zero points as integers.

    Raises
    ------
    TensorError
        If one is a fraction.
    """
    if zero.dtype.kind not in "iub":
        zero = zero.astype(np.float64)
        if not np.array_equal(zero, np.rint(zero)):
            raise TensorError("a zero point is no integer")
    return zero.astype(np.int32)


def narrowest(codes: Array) -> Array:
    """Return integers in int8 if all magnitudes fit, else in int16, else in int32."""
    top = max(int(codes.max(initial=0)), -int(codes.min(initial=0)))
    return codes.astype(np.int8 if top < 1 << 7 else np.int16 if top < 1 << 15 else np.int32, copy=False)


def _unknown(value: Derived, why: str) -> Derived:
    parts = tuple(replace(part, unknown=why) for part in value.parts)
    return replace(value, parts=parts, unknown=f"the weights' zero point is not known: {why}")


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


def quantiser_of(attributes: Attributes, operands: Operands, ndim: int) -> Quantiser:
    """Read the arguments of QuantizeLinear and DequantizeLinear."""
    scale, zero = [*operands[1:], None, None][:2]
    axis = int(attributes.get("axis", 1))
    if not -ndim <= axis < max(ndim, 1):
        axis = 0
    return Quantiser(scale, zero, axis % max(ndim, 1), int(attributes.get("block_size", 0) or 0))


def dequantized(attributes: Attributes, operands: Operands) -> Derived | None:
    """Follow DequantizeLinear: of the whole tensor, along an axis, or in blocks along it."""
    value = operands[0]
    if not isinstance(value, Derived) or (value.coded and not value.integer):
        return None
    how = quantiser_of(attributes, operands, len(value.shape))
    if not value.coded:
        return value  # what a QuantizeLinear that is not computed has made of floats
    if value.quantiser is not None:
        return replace(value, integer=False) if how.undoes(value.quantiser) else None
    found = _in_blocks(value, how) if how.block else _along_axis(value, how)
    return None if found is None else replace(found, integer=False, scaled=True, quantiser=how)


def _in_blocks(value: Derived, how: Quantiser) -> Derived | None:
    ndim, zero, scale = len(value.shape), how.zero, how.scale
    if zero is not None and len(zero.shape if isinstance(zero, Derived) else ()) != ndim:
        return None
    if isinstance(zero, Derived):
        value = _subtracted(value, zero, how.block, how.axis)
    if not isinstance(scale, Derived):
        return value
    parts = []
    for part in value.parts:
        factor = factor_of(value, part, scale, how.block, how.axis)
        parts.append(replace(part, scales=(*part.scales, factor)))
    return replace(value, parts=tuple(parts))


def _along_axis(value: Derived, how: Quantiser) -> Derived:
    ndim, zero, scale = len(value.shape), how.zero, how.scale
    if isinstance(zero, Derived):
        value = less_zero_point(value, at_axis(zero, how.axis, ndim))
    elif zero is not None:
        value = less_zero_point(value, zero)
    if not isinstance(scale, Derived):
        return value
    along = at_axis(scale, how.axis, ndim)
    return replace(value, parts=tuple(with_scale(value, part, along, False) for part in value.parts))


def quantized(attributes: Attributes, operands: Operands) -> Derived | None:
    """Follow QuantizeLinear: of floats, whose codes are computed, or back to the codes that they were."""
    value = operands[0]
    if not isinstance(value, Derived):
        return None
    how = quantiser_of(attributes, operands, len(value.shape))
    if value.coded:
        return replace(value, integer=True) if not value.integer and how.undoes(value.quantiser) else None
    scale, zero = how.scale, how.zero
    kind = int(attributes.get("output_dtype", 0))
    if isinstance(zero, Derived):
        kind = kind or next(map(data_type, zero.parts), 0)
    ends = RANGES.get(kind or 2)
    if not isinstance(scale, Derived) or isinstance(zero, Stopped) or ends is None:
        return value
    function = partial(_quantize, ends=ends, axis=how.axis, block=how.block)
    recipe = Move(function, (value.recipe, scale.recipe, *([zero.recipe] if zero is not None else [])))
    parts = tuple(_with_ends(part, ends) for part in value.parts)
    return replace(value, recipe=recipe, parts=parts, coded=True, integer=True, scaled=False)


def _with_ends(part: Origin, ends: tuple[int, int]) -> Origin:
    if part.scales or part.ends:
        return replace(part, ends=ends, unknown="the graph scales its numbers, and quantises them then")
    return replace(part, ends=ends)


def _quantize(
    x: Array, scale: Array, zero: Array | None = None, *, ends: tuple[int, int], axis: int, block: int
) -> Array:
    """Round to codes, half to even, and keep them between their ends."""
    scale = _spread_along(scale, x, axis, block)
    codes = np.rint(x / scale.astype(x.dtype)).astype(np.float64)
    if zero is not None:
        codes = codes + _spread_along(zero, x, axis, block).astype(np.float64)
    return narrowest(np.clip(codes, *ends).astype(np.int32))


def _spread_along(factor: Array, x: Array, axis: int, block: int) -> Array:
    """Bring a scale or a zero point into a shape that broadcasts to `x`."""
    if block:
        return np.repeat(factor, block, axis=axis)[(slice(None),) * axis + (slice(x.shape[axis]),)]
    return factor.reshape(()) if factor.size == 1 else factor.reshape(-1, *[1] * (x.ndim - 1 - axis))


def literal(array: Array) -> Derived:
    """See a small array as a value."""
    integer = array.dtype.kind in "iu"
    known = Literal(array)
    return Derived(known, known, array.shape, (), coded=integer, integer=integer)
