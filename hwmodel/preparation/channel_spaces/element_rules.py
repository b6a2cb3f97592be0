"""Operators that treat each number by itself, or with its partner of another tensor."""

from __future__ import annotations

from hwmodel.preparation.channel_spaces.follower import Follower, Refused, Rule
from hwmodel.preparation.channel_spaces.ledger import Followed, Labels, Role

HOMOGENEOUS = ("Relu", "LeakyRelu", "Identity", "Dropout", "Neg", "Abs", "Cast")
"""Of one input: a positive factor passes through."""
UNARY = (
    *HOMOGENEOUS, "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Swish", "Gelu", "Erf", "Elu", "Selu",
    "Celu", "Mish", "Softplus", "Softsign", "ThresholdedRelu", "Clip", "Exp", "Log", "Sqrt",
    "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Not", "IsNaN",
)  # fmt: skip
_VIEWS = ("Identity", "Dropout", "Cast")
_FLOATS = (1, 10, 11, 16)
"""ONNX's types float, float16, double and bfloat16."""
ADDITIVE = ("Add", "Sub", "Sum", "Max", "Min", "Mean")
BINARY = (*ADDITIVE, "Mul", "Div", "Pow", "PRelu")


def _unary(f: Follower) -> None:
    x, kind = f.input(0), f.node.op_type
    if x.tensor and kind in _VIEWS:
        f.view(range(x.rank))
        return
    x = f.activation(0)
    if kind == "Clip":
        for place in (1, 2):
            if f.has(place) and not (f.input(place).tensor and f.input(place).rank == 0):
                size = 1 if f.input(place).dims == (1,) else None
                if size is None:
                    raise Refused("has bounds that are no numbers")
    passes = kind in HOMOGENEOUS and (kind != "Cast" or f.attributes.get("to") in _FLOATS)
    if f.scales and not passes:
        for labels in x.followed:
            f.fix(labels, f"{f.what} is not positively homogeneous")
    for place in range(len(f.node.output)):
        f.give(x.axes, place, dims=x.dims)


def _binary(f: Follower) -> None:
    inputs = [(place, f.input(place)) for place in range(len(f.node.input)) if f.has(place)]
    activations = [value for _, value in inputs if not value.tensor]
    if not activations:
        raise Refused("computes from stored tensors")
    if f.scales and f.node.op_type == "Mul" and len(activations) == 2 and _gated(f, activations):
        return
    kind, rank = f.node.op_type, max(value.rank for _, value in inputs)
    axes: list[Labels | None] = []
    dims: list[int | None] = []
    for axis in range(-rank, 0):
        lined = [(place, value) for place, value in inputs if value.rank >= -axis]
        axes.append(_lined_up(f, axis, lined, len(inputs)))
        lengths = {value.dims[axis] for _, value in lined}
        dims.append(lengths.pop() if len(lengths) == 1 else max(lengths - {1, None}, default=None))  # type: ignore[type-var]
    if f.scales and not _passes_factors(kind, inputs):
        for value in activations:
            for labels in value.followed:
                f.fix(labels, f"{f.what} is not positively homogeneous")
    f.give(axes, dims=dims)


def _gated(f: Follower, activations: list[Followed]) -> bool:
    """Pass the factors of one activation on where those of its partner are fixed, to 1."""
    loose = [v for v in activations if any(not f.ledger.are_fixed(labels) for labels in v.followed)]
    if len(loose) != 1:
        return False
    x, gate = loose[0], next(value for value in activations if value is not loose[0])
    if gate.rank > x.rank:
        return False
    dims = list(x.dims)
    for axis in range(-gate.rank, 0):
        labels, length = x.axes[axis], gate.dims[axis]
        if labels is not None and length not in (1, len(labels)):
            return False
        if labels is None and dims[axis] == 1:
            dims[axis] = length
    f.give(x.axes, dims=dims)
    return True


def _passes_factors(kind: str, inputs: list[tuple[int, Followed]]) -> bool:
    """Whether a factor of the followed channels passes through."""
    followed = [place for place, value in inputs if value.followed]
    if kind in ("Mul", "PRelu"):
        return len(followed) <= 1 and (kind == "Mul" or followed == [0])
    if kind == "Div":
        return followed in ([], [0])
    return kind != "Pow"


def _lined_up(f: Follower, axis: int, lined: list[tuple[int, Followed]], count: int) -> Labels | None:
    """Tie the channels that meet along one axis."""
    found = [labels for _, value in lined if (labels := value.axes[axis]) is not None]
    if not found:
        return None
    made = max(found, key=len)
    additive = f.node.op_type in ADDITIVE
    role: Role = "offset" if additive else "factor"
    broadcast = len(lined) < count
    for place, value in lined:
        labels, length = value.axes[axis], value.dims[axis]
        if labels is not None and len(labels) == len(made):
            f.ledger.tie(made, labels)
        elif length == 1 and len(made) > 1:
            broadcast = True
            if f.scales and additive:
                f.fix(labels, f"{f.what} spreads one channel over several")
        elif value.tensor and length == len(made) and value.source[axis] is not None:
            f.hold(place, axis % value.rank, made, role)
        else:
            f.fix(made, f"{f.what} joins them with others: {value.why or 'a part of a stored tensor'}")
    if f.scales and additive and broadcast:
        f.fix(made, f"{f.what} adds one number to all of them")
    return made


def _softmax(f: Follower) -> None:
    x = f.activation(0, 1)
    old = f.node.op_type != "LpNormalization" and f.opset < 13
    axis = int(f.attributes.get("axis", 1 if old else -1)) % x.rank
    for labels in x.axes[axis:] if old else [x.axes[axis]]:
        f.keep(labels, "normalises over them")
    for labels in x.followed if f.scales else []:
        f.fix(labels, f"{f.what} is not positively homogeneous")
    f.give(x.axes, dims=x.dims)


ELEMENTS: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LpNormalization"), _softmax),
}
"""Rules by operator."""
