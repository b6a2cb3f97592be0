"""Operators that only move numbers: what each does to an array, to its shape, and to its axes.

Each rule takes a node's attributes, its stored operands and their integers, and gives the moved value, or
None if it does not follow. Shapes are found on arrays without memory (all strides 0), so a bomb stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from bitxcore.dumps.onnx_weights.values import (
    Array,
    AsStored,
    Derived,
    Factor,
    Move,
    Origin,
    Recipe,
    sources,
)

Attributes = Mapping[str, Any]
Integers = Callable[[int], Array | None]
"""Integers of a node's operand by its place; None if they are not known."""

Rule = Callable[[Attributes, Derived, Integers], list[Derived] | None]


Along = Callable[[tuple[Any, ...], Any], tuple[Any, ...]]
"""From what is known of a value's axes to what is of the moved one's; the second is nothing known."""


def moved(
    value: Derived,
    function: Callable[..., Array],
    shape: Sequence[int],
    axes: Along,
    runs: Along | None = None,
) -> Derived:
    """Return what a function makes of a value.

    Parameters
    ----------
    value : Derived
    function : callable
    shape : sequence of int
        Of the result.
    axes, runs : callable
        From these of an `Origin` to the result's; `runs` is like `axes` unless it is given.
    """
    parts = tuple(
        replace(part, axes=axes(part.axes, None), runs=(runs or axes)(part.runs, NOTHING))
        for part in value.parts
    )
    quantiser = value.quantiser if value.quantiser and value.quantiser.whole else None
    recipe = Move(function, (value.recipe,))
    places = recipe if value.places is value.recipe else Move(function, (value.places,))
    return replace(value, recipe=recipe, places=places, shape=tuple(shape), parts=parts, quantiser=quantiser)


NOTHING: frozenset[int] = frozenset()


def _viewed(
    value: Derived, function: Callable[[Array], Array], axes: Along | None = None, runs: Along | None = None
) -> list[Derived]:
    """Move by a function that returns views, whose shape so costs nothing."""
    before = value.shape
    shape = function(np.broadcast_to(np.int8(0), before)).shape
    if axes is None:
        axes = lambda old, _: _regrouped(old, before, shape)  # noqa: E731
        runs = lambda old, _: _spread(old, before, shape)  # noqa: E731
    return [moved(value, function, shape, axes, runs)]


def _regrouped(
    axes: tuple[int | None, ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[int | None, ...]:
    """Match the axes that a reshape leaves whole: same length, same number of elements before them."""
    if not prod(after):
        return (None,) * len(after)
    old = {(prod(before[:i]), n): axes[i] for i, n in reversed(list(enumerate(before)))}
    return tuple(old.get((prod(after[:i]), n)) for i, n in enumerate(after))


def _spread(
    runs: tuple[frozenset[int], ...], before: tuple[int, ...], after: tuple[int, ...]
) -> tuple[frozenset[int], ...]:
    """Say for each axis after a reshape over what it runs: of which of the axes before its index depends."""
    inner = [(prod(before[i + 1 :]), prod(before[i:])) for i in range(len(before))]

    def depends(i: int, first: int, last: int) -> bool:
        low, high = inner[i]
        return before[i] > 1 and bool(first % high) and bool(low % last)

    if not prod(after):
        return (NOTHING,) * len(after)
    return tuple(
        NOTHING.union(
            *(runs[i] for i in range(len(before)) if depends(i, prod(after[j + 1 :]), prod(after[j:])))
        )
        if n > 1
        else NOTHING
        for j, n in enumerate(after)
    )


def _same(axes: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
    return axes


def _whole_but(cut: Sequence[int]) -> Along:
    """Axes of a value of which some were cut: these are no longer the stored tensor's."""
    return lambda axes, none: tuple(none if i in cut else axis for i, axis in enumerate(axes))


# -- functions that recipes hold: at module level, so that they can be pickled -------------------


def _reshape(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)


def _transpose(x: Array, order: tuple[int, ...]) -> Array:
    return x.transpose(order)


def _slice(x: Array, cuts: tuple[tuple[int | None, ...], ...]) -> Array:
    return x[tuple(slice(*cut) for cut in cuts)]


def _take(x: Array, indices: Array, axis: int) -> Array:
    return np.take(x, indices, axis=axis)


def _expand(x: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(x, shape)


def _pad(x: Array, widths: tuple[tuple[int, int], ...]) -> Array:
    return np.pad(x, widths)


# -- rules -----------------------------------------------------------------------------------------


def _transposed(attributes: Attributes, value: Derived, _: Integers) -> list[Derived] | None:
    order = tuple(attributes.get("perm") or range(len(value.shape))[::-1])
    if sorted(order) != list(range(len(value.shape))):
        return None
    return _viewed(value, partial(_transpose, order=order), lambda old, _: tuple(old[i] for i in order))


def _to_shape(value: Derived, shape: Sequence[int] | None) -> list[Derived] | None:
    if shape is None or min(shape, default=1) < 0 or prod(shape) != value.size:
        return None
    return _viewed(value, partial(_reshape, shape=tuple(map(int, shape))))


def _reshaped(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    target = integers(1) if "shape" not in attributes else np.array(attributes["shape"])
    if target is None:
        return None
    shape = [int(n) for n in target.reshape(-1)]
    if not attributes.get("allowzero"):
        if any(n == 0 and i >= len(value.shape) for i, n in enumerate(shape)):
            return None
        shape = [n or value.shape[i] for i, n in enumerate(shape)]
    known = prod(n for n in shape if n != -1)
    return _to_shape(value, [value.size // known if n == -1 and known else n for n in shape])


def _flattened(attributes: Attributes, value: Derived, _: Integers) -> list[Derived] | None:
    axis = _axis(attributes.get("axis", 1), len(value.shape) + 1)
    return None if axis is None else _to_shape(value, [prod(value.shape[:axis]), prod(value.shape[axis:])])


def _axes(attributes: Attributes, integers: Integers, ndim: int, place: int = 1) -> list[int] | None:
    """Axes of an attribute or an operand, counted from the first; None if there are none."""
    given = attributes.get("axes")
    found = integers(place) if given is None else np.array(given)
    axes = None if found is None else [_axis(int(i), ndim) for i in found.reshape(-1)]
    return None if axes is None or None in axes else [axis for axis in axes if axis is not None]


def _axis(axis: int, ndim: int) -> int | None:
    return axis % ndim if -ndim <= axis < ndim else None


def _squeezed(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    given = "axes" in attributes or integers(1) is not None
    gone = _axes(attributes, integers, len(value.shape)) if given else None
    if given and gone is None:
        return None
    if gone is None:
        gone = [i for i, n in enumerate(value.shape) if n == 1]
    return _to_shape(value, [n for i, n in enumerate(value.shape) if i not in gone])


def _unsqueezed(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    found = integers(1) if "axes" not in attributes else np.array(attributes["axes"])
    new = None if found is None else _axes(attributes, integers, len(value.shape) + found.size)
    if not new or len(set(new)) < len(new):
        return None
    rest = iter(value.shape)
    return _to_shape(value, [1 if i in new else next(rest) for i in range(len(value.shape) + len(new))])


def _sliced(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    ndim = len(value.shape)
    starts, ends = (
        integers(place) if name not in attributes else np.array(attributes[name])
        for place, name in ((1, "starts"), (2, "ends"))
    )
    if starts is None or ends is None or starts.size != ends.size:
        return None
    place = 3 if "starts" not in attributes else 0
    axes = _axes(attributes, integers, ndim, place) if place or "axes" in attributes else None
    steps = integers(4) if place else None
    axes = list(range(starts.size)) if axes is None else axes
    steps = np.ones(starts.size, np.int64) if steps is None else steps
    if not len(axes) == starts.size == steps.size or (steps == 0).any() or max(axes, default=0) >= ndim:
        return None
    cuts: list[tuple[int | None, ...]] = [(None, None, None)] * ndim
    for axis, start, end, step in zip(axes, starts.flat, ends.flat, steps.flat, strict=True):
        # Python's rules are ONNX's, but for an end below the first element.
        last = None if step < 0 and int(end) < -value.shape[axis] else int(end)
        cuts[axis] = (int(start), last, int(step))
    cut = [i for i, (start, end, step) in enumerate(cuts) if (start, end, step) != (None, None, None)]
    return _viewed(value, partial(_slice, cuts=tuple(cuts)), _whole_but(cut), _same)


def _split(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    axis = _axis(attributes.get("axis", 0), len(value.shape))
    outputs = int(attributes.get("outputs", 0))
    found = integers(1) if "split" not in attributes else np.array(attributes["split"])
    if axis is None or not outputs:
        return None
    length = value.shape[axis]
    each = -(-length // outputs)
    sizes = [min(each, max(0, length - i * each)) for i in range(outputs)]
    if found is not None:
        sizes = [int(n) for n in found.flat]
    if min(sizes) < 0 or sum(sizes) != length or len(sizes) != outputs:
        return None
    ends = np.cumsum(sizes).tolist()
    results = []
    for start, end in zip([0, *ends], ends, strict=False):
        cuts = tuple((start, end, 1) if i == axis else (None,) * 3 for i in range(len(value.shape)))
        results += _viewed(value, partial(_slice, cuts=cuts), _whole_but([axis]), _same)
    return results


def _gathered(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    axis, indices = _axis(attributes.get("axis", 0), len(value.shape)), integers(1)
    if axis is None or indices is None:
        return None
    length = value.shape[axis]
    if indices.size and not -length <= int(indices.min()) <= int(indices.max()) < length:
        return None
    shape = (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :])

    def axes(old: tuple[Any, ...], none: Any) -> tuple[Any, ...]:
        return (*old[:axis], *(none,) * indices.ndim, *old[axis + 1 :])

    def runs(old: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        return (*old[:axis], *(old[axis],) * indices.ndim, *old[axis + 1 :])

    return [moved(value, partial(_take, indices=indices, axis=axis), shape, axes, runs)]


def _expanded(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    target = integers(1)
    if target is None or target.size > 32 or (target < 0).any():
        return None
    shape = np.broadcast_shapes(value.shape, tuple(map(int, target.flat)))
    more = len(shape) - len(value.shape)

    def axes(old: tuple[Any, ...], none: Any) -> tuple[Any, ...]:
        whole = zip(old, value.shape, shape[more:], strict=True)
        return ((none,) * more) + tuple(axis if before == after else none for axis, before, after in whole)

    return [moved(value, partial(_expand, shape=shape), shape, axes)]


def _padded(attributes: Attributes, value: Derived, integers: Integers) -> list[Derived] | None:
    ndim = len(value.shape)
    pads = integers(1) if "pads" not in attributes else np.array(attributes["pads"])
    zeros = integers(2)
    usual = (attributes.get("mode") or "constant") == "constant" and not attributes.get("value")
    if not usual or pads is None or pads.size != 2 * ndim or (pads < 0).any() or integers(3) is not None:
        return None
    if attributes.get("operands", 2) > 2 and (zeros is None or zeros.any()):
        return None
    before, after = pads.reshape(2, ndim).tolist()
    widths = tuple(zip(before, after, strict=True))
    shape = [n + b + a for n, (b, a) in zip(value.shape, widths, strict=True)]
    grown = [i for i, width in enumerate(widths) if any(width)]
    return [moved(value, partial(_pad, widths=widths), shape, _whole_but(grown), _same)]


def joined(values: Sequence[Derived], axis: int) -> Derived | None:
    """Put values together along an axis."""
    first = values[0]
    place = _axis(axis, len(first.shape))
    if place is None or any(len(value.shape) != len(first.shape) for value in values):
        return None
    rest = {(*value.shape[:place], *value.shape[place + 1 :]) for value in values}
    if len(rest) > 1 or len({value.coded for value in values}) > 1:
        return None
    length = sum(value.shape[place] for value in values)
    shape = (*first.shape[:place], length, *first.shape[place + 1 :])
    cut = _whole_but([place] if len(values) > 1 else [])
    parts: dict[str, Origin] = {}
    for part in (part for value in values for part in value.parts):
        part = replace(part, axes=cut(part.axes, None))
        name = part.constant.name
        parts[name] = agreed(parts[name], part) if name in parts else part
    function = partial(_concatenate, axis=place)
    recipe = places = Move(function, tuple(value.recipe for value in values))
    if any(value.places is not value.recipe for value in values):
        places = Move(function, tuple(value.places for value in values))
    return Derived(
        recipe,
        places,
        shape,
        tuple(parts.values()),
        first.coded,
        integer=all(value.integer for value in values),
        scaled=any(value.scaled for value in values),
        unknown=next((value.unknown for value in values if value.unknown), ""),
    )


def agreed(part: Origin, other: Origin) -> Origin:
    """Return what is known of a tensor that is used twice; the first use counts."""
    if not part.unknown and part.ends != other.ends:
        return replace(part, unknown="the graph quantises it for one layer in another way than for the next")
    if part.unknown or (not other.unknown and same_factor(part.zero_point, other.zero_point)):
        return part
    return replace(part, unknown=other.unknown or "several are subtracted from it")


def same_factor(a: Factor | None, b: Factor | None) -> bool:
    """Whether two zero points are the same."""
    if a is None or b is None:
        return a is b
    if (a.axes, a.block, a.along, a.spread) != (b.axes, b.block, b.along, b.spread):
        return False
    if a.known is not None and b.known is not None:
        return np.array_equal(a.known, b.known)
    return a.recipe == b.recipe or sources(a.recipe) == sources(b.recipe)


def _concatenate(*arrays: Array, axis: int) -> Array:
    return np.concatenate(arrays, axis=axis)


def rearranged(value: Derived, order: tuple[int, ...], shape: tuple[int, ...]) -> Derived:
    """Transpose a value and reshape it."""
    (turned,) = _viewed(value, partial(_transpose, order=order), lambda old, _: tuple(old[i] for i in order))
    (whole,) = _viewed(turned, partial(_reshape, shape=shape))
    return whole


def transposed(value: Derived) -> tuple[int, ...] | None:
    """Return the order of a stored tensor's axes in a value that is it, transposed; None if it is not."""
    orders: list[tuple[int, ...]] = []
    recipe: Recipe = value.recipe
    while isinstance(recipe, Move):
        function = recipe.function
        if not isinstance(function, partial) or function.func is not _transpose:
            return None
        orders.append(function.keywords["order"])
        recipe = recipe.inputs[0]
    order = tuple(range(len(value.shape)))
    for turn in reversed(orders):
        order = tuple(order[i] for i in turn)
    return order if isinstance(recipe, AsStored) else None


def _as_it_is(_: Attributes, value: Derived, __: Integers) -> list[Derived]:
    return [value]


MOVES: dict[str, Rule] = {
    "Identity": _as_it_is,
    "Dropout": _as_it_is,
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Slice": _sliced,
    "Split": _split,
    "Gather": _gathered,
    "Expand": _expanded,
    "Pad": _padded,
}
"""Operators whose first operand is moved; the others say how."""
