"""Operators that move, join, cut or pool values."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from hwmodel.preparation.channel_spaces.follower import Follower, Refused, Rule, spread
from hwmodel.preparation.channel_spaces.ledger import Labels


def _transpose(f: Follower) -> None:
    x = f.input(0)
    order = [int(a) for a in f.attributes.get("perm", range(x.rank - 1, -1, -1))]
    if x.tensor:
        f.view(order)
    else:
        f.give([x.axes[a] for a in order], dims=[x.dims[a] for a in order])


def _axes(f: Follower, place: int, rank: int) -> list[int] | None:
    """Read axes from the attribute, or from an input; None where none are given."""
    given = f.attributes.get("axes")
    if given is None and place:
        given = f.constant(place)
    return None if given is None else [int(a) % rank for a in np.ravel(given)]


def _squeeze(f: Follower) -> None:
    x = f.input(0)
    gone = _axes(f, 1, x.rank)
    if gone is None:
        if None in x.dims:
            raise Refused("removes axes that are not known")
        gone = [axis for axis, length in enumerate(x.dims) if length == 1]
    kept = [axis for axis in range(x.rank) if axis not in gone]
    for axis in gone:
        f.fix(x.axes[axis])
    _regrouped(f, kept)


def _unsqueeze(f: Follower) -> None:
    x = f.input(0)
    given = f.attributes.get("axes")
    new = np.ravel(f.constant(1) if given is None else given)
    rank = x.rank + len(new)
    places = {int(a) % rank for a in new}
    old = iter(range(x.rank))
    _regrouped(f, [None if at in places else next(old) for at in range(rank)])


def _regrouped(f: Follower, axes: Sequence[int | None]) -> None:
    """Give the input with axes of length 1 added (None) or taken out."""
    x = f.input(0)
    if x.tensor:
        f.view(axes)
    else:
        dims = [1 if a is None else x.dims[a] for a in axes]
        f.give([None if a is None else x.axes[a] for a in axes], dims=dims)


def _flatten(f: Follower) -> None:
    x = f.activation(0, 1)
    cut = int(f.attributes.get("axis", 1))
    cut = cut + x.rank if cut < 0 else cut
    axes: list[Labels | None] = []
    for part in (range(cut), range(cut, x.rank)):
        if all(x.axes[axis] is None for axis in part):
            axes.append(None)
        elif len(part) == 1:
            axes.append(x.axes[part[0]])
        else:
            axes.append(_block(f, part)[0])
    f.give(axes)


def _block(f: Follower, part: range, into: Sequence[int] | None = None) -> list[Labels | None]:
    """Follow channels from a block of axes, all of known length, to another; by default to one axis.

    An axis keeps its channels where they lie along one axis of the new block; all others are fixed.
    """
    x = f.input(0)
    lengths = [x.dims[axis] for axis in part]
    if None in lengths:
        raise Refused("joins axes of unknown length")
    shape = [int(n) for n in lengths if n is not None]
    new = [prod(shape)] if into is None else list(into)
    found: list[Labels | None] = [None] * len(new)
    for at, axis in enumerate(part):
        labels = x.axes[axis]
        if labels is None:
            continue
        whole = spread(labels, shape, at).reshape(new)
        for place in range(len(new)):
            first = whole[tuple(slice(None) if a == place else 0 for a in range(len(new)))]
            if (len(labels) > 1 and new[place] == 1) or found[place] is not None:
                continue
            if np.array_equal(spread(first, new, place), whole):
                found[place] = first.copy()
                break
        else:
            f.fix(labels, f"{f.what} splits them over axes, or joins them with others")
    return found


def _reshape(f: Follower) -> None:
    x = f.input(0)
    if x.tensor:
        _reshape_stored(f)
        return
    zero_is_none = bool(f.attributes.get("allowzero", 0))
    wanted = f.sizes(1)
    out = f.known_dims()
    if wanted is None and (out is None or not x.ranked):
        raise Refused("gives an unknown number of axes")
    if wanted is None:
        wanted = [None] * len(out or ())
    # The length of an axis of the same value, at the same place, is what a 0 represents.
    same = [0 if size == (x.name, at) and not zero_is_none else size for at, size in enumerate(wanted)]
    numbers = [size if isinstance(size, int) else None for size in same]
    inferred = out is not None and len(out) == len(numbers)
    dims: list[int | None] = list(out or ()) if inferred else [None] * len(numbers)
    for at, length in enumerate(numbers):
        if length is not None and length > 0:
            dims[at] = length
        elif length == 0 and at < x.rank and not zero_is_none:
            dims[at] = x.dims[at]
    axes = _reshaped(f, dims, numbers)
    lost = x.followed and any(labels is None for labels in axes)
    why = f"{f.what} moves them" if lost else ""
    f.give(axes, dims=[n if axes[at] is None else None for at, n in enumerate(dims)], why=why)
    for at, labels in enumerate(axes):
        length = numbers[at]
        if labels is None or length in (-1, 0):
            continue
        if length is not None and f.is_stored(1):
            f.count(1, labels, at)
        else:
            f.keep(labels, "takes its sizes from other nodes")


def _reshaped(f: Follower, dims: list[int | None], wanted: list[int | None]) -> list[Labels | None]:
    """Follow channels of the first input to axes of those lengths."""
    x = f.input(0)
    labelled = [axis for axis in range(x.rank) if x.axes[axis] is not None]
    same = 0  # axes at the front that stay
    while same < min(x.rank, len(dims)) and _stays(f, same, dims, wanted):
        same += 1
    if max(labelled, default=-1) < same:
        return [*x.axes[:same], *[None] * (len(dims) - same)]
    for i in range(labelled[0], -1, -1):
        block = x.dims[i:]
        if None in block:
            break
        size = prod(n for n in block if n is not None)
        for j in range(len(dims), -1, -1):
            tail = dims[j:]
            at_first = i == j <= same
            if at_first and tail.count(None) == 1 and size % (prod(n for n in tail if n) or 1) == 0:
                rest = size // (prod(n for n in tail if n) or 1)
                tail = [rest if n is None else n for n in tail]
            # Blocks at the end are the same numbers if they are as many, whatever lies in front.
            if None not in tail and prod(n for n in tail if n is not None) == size:
                return [*[None] * j, *_block(f, range(i, x.rank), [n for n in tail if n is not None])]
    for labels in x.followed:
        f.fix(labels, f"{f.what} moves them to sizes that are not known")
    return [None] * len(dims)


def _stays(f: Follower, at: int, dims: list[int | None], wanted: list[int | None]) -> bool:
    """Whether an axis has the same length before and behind."""
    length = f.input(0).dims[at]
    copied = wanted[at] == 0 and not f.attributes.get("allowzero", 0)
    return copied or (length is not None and length == dims[at])


def _reshape_stored(f: Follower) -> None:
    """See a stored tensor with axes of length 1 added or taken out."""
    x, wanted = f.input(0), f.constant(1)
    lengths = [n for n in x.dims if n is not None]
    if wanted is None or len(lengths) != x.rank:
        raise Refused("reshapes a part of a stored tensor")
    new = [lengths[at] if n == 0 and at < x.rank else int(n) for at, n in enumerate(wanted.tolist())]
    known = prod(n for n in new if n != -1)
    new = [prod(lengths) // max(known, 1) if n == -1 else n for n in new]
    old = [axis for axis, n in enumerate(lengths) if n != 1]
    if [n for n in new if n != 1] != [lengths[axis] for axis in old]:
        raise Refused("reshapes a stored tensor")
    left = iter(old)
    f.view([None if n == 1 else next(left) for n in new])


def _concat(f: Follower) -> None:
    inputs = [(place, f.input(place)) for place in range(len(f.node.input))]
    activations = [value for _, value in inputs if not value.tensor]
    if not activations:
        raise Refused("computes from stored tensors")
    rank = activations[0].rank
    along = int(f.attributes["axis"]) % max(rank, 1)
    axes: list[Labels | None] = []
    for axis in range(rank):
        if all(value.axes[axis] is None for value in activations):
            axes.append(None)
        elif axis != along:
            made = next(value.axes[axis] for value in activations if value.axes[axis] is not None)
            axes.append(made)
            for place, value in inputs:
                _meet(f, place, value, axis, made)
        else:
            axes.append(np.concatenate([_part(f, place, value, axis) for place, value in inputs]))
    f.give(axes)


def _meet(f: Follower, place: int, value: Any, axis: int, made: Labels | None) -> None:
    assert made is not None
    if value.tensor:
        f.hold(place, axis, made, "producer")
    elif value.axes[axis] is not None and len(value.axes[axis]) == len(made):
        f.ledger.tie(made, value.axes[axis])
    else:
        f.fix(made, f"{f.what} joins them with others: {value.why}")


def _part(f: Follower, place: int, value: Any, axis: int) -> Labels:
    """Channels of one input along the axis of joining; stored ones are channels of their own."""
    if not value.tensor:
        return f.channels(value, axis)
    made = f.fresh(value.dims[axis])
    f.hold(place, axis, made, "producer")
    return made


def _split(f: Follower) -> None:
    x = f.activation(0, 1)
    axis = int(f.attributes.get("axis", 0)) % x.rank
    labels, count = x.axes[axis], len(f.node.output)
    sizes = f.attributes.get("split")
    where: str | int = "split" if sizes is not None else 1
    sizes = f.constant(1) if sizes is None else sizes
    if sizes is None and labels is not None:
        each = -(-len(labels) // count)
        sizes = [min(each, len(labels) - at * each) for at in range(count)]
        f.keep(labels, "splits them evenly")
        where = ""
    start = 0
    for place in range(count):
        axes = list(x.axes)
        if labels is not None and sizes is not None:
            axes[axis] = part = labels[start : start + int(sizes[place])]
            start += len(part)
            f.ledger.apart.append(part)
            if where != "":
                f.count(where, part, place)
        f.give(axes, place)


def _slice(f: Follower) -> None:
    x = f.input(0)
    if "starts" in f.attributes:
        starts, ends = f.attributes["starts"], f.attributes["ends"]
        given = f.attributes.get("axes")
    else:
        starts, ends, given = None, None, f.constant(3)
        if any(labels is not None for labels in x.axes):
            starts, ends = _or_none(f, 1), _or_none(f, 2)
    if given is None:
        count = len(starts) if starts is not None else f.input(1).dims[0]
        given = range(x.rank if count is None else count)
    axes = [int(a) % x.rank for a in given]
    if x.tensor:
        f.view(range(x.rank), axes)
        return
    steps = None if "starts" in f.attributes or not f.has(4) else f.constant(4)
    made = list(x.axes)
    for at, axis in enumerate(axes):
        labels = made[axis]
        if labels is None:
            continue
        if starts is None or ends is None or (steps is not None and steps[at] < 0):
            f.fix(labels, f"{f.what} cuts them at places that are computed, or turns them round")
            made[axis] = None
            continue
        step = 1 if steps is None else int(steps[at])
        made[axis] = part = labels[int(starts[at]) : int(ends[at]) : step]
        f.ledger.apart.append(part)
        f.keep(labels, "cuts them by their number")
    dims = [None if axis in axes else x.dims[axis] for axis in range(x.rank)]
    f.give(made, dims=dims)


def _or_none(f: Follower, place: int) -> Any:
    try:
        return f.constant(place)
    except Refused:
        return None


def _pad(f: Follower) -> None:
    x = f.activation(0, 1)
    pads = f.attributes.get("pads", f.attributes.get("paddings"))
    pads = f.constant(1) if pads is None else pads
    if pads is None:
        raise Refused("has no pads")
    given = None if not f.has(3) else f.constant(3)
    axes = list(range(x.rank)) if given is None else [int(a) % x.rank for a in given]
    made, dims = list(x.axes), list(x.dims)
    for at, axis in enumerate(axes):
        if int(pads[at]) or int(pads[at + len(axes)]):
            f.fix(made[axis], f"{f.what} adds some of its own")
            made[axis] = dims[axis] = None
    filled = f.constant(2) if f.has(2) else f.attributes.get("value", 0.0)
    if f.scales and f.attributes.get("mode", "constant") == "constant" and np.any(np.asarray(filled)):
        for labels in x.followed:
            f.fix(labels, f"{f.what} pads with another number than zero")
    f.give(made, dims=dims)


def _shape(f: Follower) -> None:
    x = f.activation(0)
    for labels in x.followed:
        f.keep(labels, "reads how many they are")
    f.give([None] if f.node.op_type == "Shape" else [])


SHAPES: dict[str, Rule] = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Shape": _shape,
    "Size": _shape,
}
"""Rules by operator."""
