"""Operators that gather or spread values over places, channel by channel, and sums over axes."""

from __future__ import annotations

import numpy as np

from hwmodel.preparation.channel_spaces.follower import Follower, Refused, Rule
from hwmodel.preparation.channel_spaces.ledger import Labels

POOLS = (
    "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool",
)  # fmt: skip
HOMOGENEOUS_SUMS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
_WITHOUT_ZEROS = ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
"""What zeros add to is as if they were not there."""


def _pool(f: Follower) -> None:
    x = f.activation(0, 3)
    if len([name for name in f.node.output if name]) > 1:
        raise Refused("gives indices, too")
    for labels in x.axes[2:]:
        f.fix(labels, f"{f.what} slides along them")
    rest = 1 if f.node.op_type.startswith("Global") else None
    f.give([*x.axes[:2], *[None] * (x.rank - 2)], dims=[*x.dims[:2], *[rest] * (x.rank - 2)])


def _reduce(f: Follower) -> None:
    x, kind = f.activation(0), f.node.op_type
    given = f.attributes.get("axes")
    given = f.constant(1) if given is None else given
    if given is None and f.attributes.get("noop_with_empty_axes", 0):
        raise Refused("reduces nothing")
    axes = list(range(x.rank)) if given is None else [int(a) % x.rank for a in np.ravel(given)]
    made: list[Labels | None] = []
    dims: list[int | None] = []
    for axis, labels in enumerate(x.axes):
        if axis not in axes:
            made.append(labels)
            dims.append(x.dims[axis])
        elif f.attributes.get("keepdims", 1):
            made.append(None)
            dims.append(1)
        if axis in axes and kind not in _WITHOUT_ZEROS:
            f.keep(labels, "takes the mean or an extreme of them")
        if f.scales and (axis in axes or kind not in HOMOGENEOUS_SUMS):
            f.fix(labels, f"{f.what} mixes them, or is not positively homogeneous")
    f.give(made, dims=dims)


def _resize(f: Follower) -> None:
    x = f.activation(0, 1)
    last = f.node.op_type == "Resize" and f.opset > 10
    given = f.attributes.get("axes")
    axes = list(range(x.rank)) if given is None else [int(a) % x.rank for a in given]
    scales = f.attributes.get("scales")
    place = 2 if last else 1
    if scales is None and f.has(place):
        scales = f.constant(place)
    sizes = f.constant(3) if last and f.has(3) else None
    made, dims = list(x.axes), list(x.dims)
    for at, axis in enumerate(axes):
        labels = made[axis]
        by = None if scales is None or not len(scales) else float(scales[at])
        if by != 1:
            dims[axis] = None
        if labels is None or by == 1:
            continue
        if sizes is not None and int(sizes[at]) == len(labels):
            f.count(3, labels, at)
        else:
            f.fix(labels, f"{f.what} changes how many they are")
            made[axis] = None
    if f.scales and f.attributes.get("extrapolation_value", 0.0):
        for labels in x.followed:
            f.fix(labels, f"{f.what} fills with a number of its own")
    f.give(made, dims=dims)


POOLING: dict[str, Rule] = {
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys((*HOMOGENEOUS_SUMS, "ReduceProd", "ReduceSumSquare", "ReduceLogSumExp"), _reduce),
    "Resize": _resize,
    "Upsample": _resize,
}
"""Rules by operator."""
