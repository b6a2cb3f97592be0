"""Operators with weights: they read channels, and make new ones."""

from __future__ import annotations

import numpy as np

from hwmodel.preparation.channel_spaces.follower import Follower, Refused, Rule
from hwmodel.preparation.channel_spaces.ledger import Labels


def _fix_others(f: Follower, axes: tuple[Labels | None, ...]) -> None:
    """Fix channels that lie along axes over which windows slide."""
    for labels in axes:
        f.fix(labels, f"{f.what} slides along them")


def _conv(f: Follower) -> None:
    x, w, groups = f.activation(0, 3), f.input(1), int(f.attributes.get("group", 1))
    outputs, inputs = w.dims[:2] if w.rank > 2 else (None, None)
    if outputs is None or inputs is None:
        raise Refused("has weights that are not stored")
    read = f.channels(x, 1)
    if len(read) != inputs * groups:
        raise Refused(f"reads {len(read)} channels with weights for {inputs * groups}")
    if groups == 1:
        f.hold(1, 1, read, "consumer", 0)
        made = f.fresh(outputs)
        f.hold(1, 0, made, "producer")
    elif inputs == 1 and outputs % groups == 0:
        made = np.repeat(read, outputs // groups)
        f.hold(1, 0, made, "factor")
        f.count("group", read)
    else:
        raise Refused(f"has {groups} groups of {inputs} channels each")
    _bias(f, made)
    _fix_others(f, x.axes[2:])
    f.give([x.axes[0], made, *[None] * (x.rank - 2)])


def _conv_transpose(f: Follower) -> None:
    x, w, groups = f.activation(0, 3), f.input(1), int(f.attributes.get("group", 1))
    inputs, outputs = w.dims[:2] if w.rank > 2 else (None, None)
    if outputs is None or inputs is None:
        raise Refused("has weights that are not stored")
    read = f.channels(x, 1)
    if groups == 1:
        f.hold(1, 0, read, "consumer", 1)
        made = f.fresh(outputs)
        f.hold(1, 1, made, "producer")
    elif inputs == groups:
        f.hold(1, 0, read, "factor")
        made = np.repeat(read, outputs)
        f.count("group", read)
    else:
        raise Refused(f"has {groups} groups of {inputs // groups} channels each")
    _bias(f, made)
    _fix_others(f, x.axes[2:])
    f.give([x.axes[0], made, *[None] * (x.rank - 2)])


def _bias(f: Follower, made: Labels) -> None:
    if f.has(2):
        f.hold(2, 0, made, "offset")


def _gemm(f: Follower) -> None:
    x, w = f.activation(0, 2), f.input(1)
    along, rows = (0, 1) if f.attributes.get("transA", 0) else (1, 0)
    reads, makes = (1, 0) if f.attributes.get("transB", 0) else (0, 1)
    if w.rank != 2 or (outputs := w.dims[makes]) is None:
        raise Refused("has weights that are not stored")
    f.hold(1, reads, f.channels(x, along), "consumer", makes)
    made = f.fresh(outputs)
    f.hold(1, makes, made, "producer")
    if f.has(2):
        bias = f.input(2)
        if bias.rank and bias.dims[-1] == outputs:
            f.hold(2, bias.rank - 1, made, "offset")
        elif not bias.tensor or (bias.rank and bias.dims[-1] != 1):
            raise Refused("has a bias that is not stored")
        elif f.scales:
            f.fix(made, f"{f.what} adds one number to all of them")
        if bias.rank > 1 and bias.dims[0] != 1:
            f.fix(x.axes[rows])
    f.give([x.axes[rows], made])


def _matmul(f: Follower) -> None:
    left, right = f.input(0), f.input(1)
    if left.tensor and right.tensor:
        raise Refused("computes from stored tensors")
    if not left.tensor and not right.tensor:
        reason = f"{f.what} multiplies two activations"
        for labels in (*left.followed, *right.followed):
            f.fix(labels, reason)
        f.give([None] * max(left.rank, right.rank), why=reason)
        return
    place = 1 if right.tensor else 0
    w, x = (right, left) if place else (left, right)
    reads, makes = (0, 1) if place else (1, 0)
    if w.rank != 2 or x.rank < 2 or (outputs := w.dims[makes]) is None:
        raise Refused(f"multiplies {x.rank} axes by {w.rank} stored ones")
    along = x.rank - 1 if place else x.rank - 2
    f.hold(place, reads, f.channels(x, along), "consumer", makes)
    made = f.fresh(outputs)
    f.hold(place, makes, made, "producer")
    axes = list(x.axes)
    axes[along] = made
    f.give(axes, dims=x.dims)


def _gather(f: Follower) -> None:
    table, indices = f.input(0), f.input(1)
    axis = int(f.attributes.get("axis", 0)) % max(table.rank, 1)
    if table.tensor and indices.tensor:
        if any(n != 1 for n in indices.dims):
            raise Refused("computes from stored tensors")
        others = (None,) * indices.rank
        f.view([*range(axis), *others, *range(axis + 1, table.rank)])
        return
    axes: list[Labels | None] = []
    for at in range(table.rank):
        labels, length = table.axes[at], table.dims[at]
        if at == axis:
            f.fix(labels, f"{f.what} picks some of them")
            axes += [None] * indices.rank
            continue
        if table.tensor and length is not None:
            labels = f.fresh(length)
            f.hold(0, at, labels, "producer")
        axes.append(labels)
    for taken in indices.followed:
        f.fix(taken, f"{f.what} takes them as indices")
    f.give(axes)


def _batch_normalisation(f: Follower) -> None:
    x = f.activation(0, 2)
    if f.attributes.get("training_mode", 0) or len([name for name in f.node.output if name]) > 1:
        raise Refused("is trained")
    read = f.channels(x, 1)
    f.hold(3, 0, read, "offset")
    f.hold(4, 0, read, "factor")
    f.give(_normalised(f, x.axes, read))


def _instance_normalisation(f: Follower) -> None:
    x = f.activation(0, 3)
    _fix_others(f, x.axes[2:])
    f.give(_normalised(f, x.axes, f.channels(x, 1)))


def _normalised(f: Follower, axes: tuple[Labels | None, ...], read: Labels) -> list[Labels | None]:
    """Hold scale and shift of each channel; a new factor begins behind them."""
    made = read
    if f.scales:
        f.fix(read, f"{f.what} takes factors out")
        made = f.fresh(len(read))
    f.hold(1, 0, made, "producer" if f.scales else "factor")
    f.hold(2, 0, made, "producer" if f.scales else "offset")
    return [axes[0], made, *axes[2:]]


def _layer_normalisation(f: Follower) -> None:
    x = f.activation(0, 1)
    first = int(f.attributes.get("axis", -1)) % x.rank
    axes = list(x.axes)
    for read in x.followed if f.scales else []:
        f.fix(read, f"{f.what} takes factors out")
    for axis in range(first, x.rank):
        length = x.dims[axis]
        if f.scales:
            one = first == x.rank - 1 and length is not None
            axes[axis] = f.fresh(length) if one and length else None
        labels = axes[axis]
        f.keep(x.axes[axis], "normalises over them")
        if labels is None:
            continue
        for place in [place for place in (1, 2) if f.has(place)]:
            role = "producer" if f.scales else ("factor", "offset")[place - 1]
            behind = f.input(place).rank - (x.rank - axis)
            if f.scales or (behind >= 0 and f.input(place).dims[behind] == len(labels)):
                f.hold(place, behind, labels, role)  # type: ignore[arg-type]
    f.give(axes, dims=x.dims)
    for place in (1, 2):
        f.give([*axes[:first], *[None] * (x.rank - first)], place)


LAYERS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Gather": _gather,
    "BatchNormalization": _batch_normalisation,
    "InstanceNormalization": _instance_normalisation,
    "LayerNormalization": _layer_normalisation,
}
"""Rules by operator."""
