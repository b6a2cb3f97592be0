"""Random operators that multiply by what `random_weight_paths` draws, in random places of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto as T
from onnx import helper as oh

from tests.hwmodel.networks.random_weight_paths import TYPES, Paths

OPSETS = (oh.make_opsetid("", 21), oh.make_opsetid("com.microsoft", 1), oh.make_opsetid("own", 1))
PLACES = ("graph", "graph", "captured", "loop", "branch", "function", "called")
DEPTH = 5


@dataclass
class Multiplied:
    """An operand that holds weights.

    Parameters
    ----------
    value : str
    kind, shape
    layers : callable
        From the operand's numbers to those of each layer, the output channel first.
    channel : callable
        From a shape to the output channel of each element.
    groups : int
        Of a transposed convolution.
    zero : ndarray
        What the operator subtracts from the operand's integers, shaped to broadcast.
    """

    value: str
    kind: str
    shape: tuple[int, ...]
    layers: Callable[[np.ndarray], list[np.ndarray]]
    channel: Callable[[tuple[int, ...]], np.ndarray]
    groups: int = 1
    zero: np.ndarray = field(default_factory=lambda: np.zeros((), int))


@dataclass
class Drawn:
    """One graph, in one mode; `outputs` is the axis of its result's channels, where that is of floats."""

    paths: Paths
    node: object
    operands: list[Multiplied]
    x: tuple[str, tuple[int, ...]]
    y: int
    domain: str = ""
    outputs: int | None = None


def along(axis: int) -> Callable[[tuple[int, ...]], np.ndarray]:
    return lambda shape: np.moveaxis(
        np.broadcast_to(np.arange(shape[axis]), [*np.delete(shape, axis), shape[axis]]), -1, axis
    )


def draw(seed: int, mode: str = "real") -> Drawn:
    paths = Paths(seed, mode)
    return OPERATORS[int(paths.rng.integers(len(OPERATORS)))](paths)


def sizes(p: Paths, n: int, low: int = 2, high: int = 6) -> list[int]:
    return [int(v) for v in p.rng.integers(low, high, n)]


def kind_of(p: Paths) -> str:
    return p.pick_of("f4", "f4", "dq", "dq", "dq")


def matmul(p: Paths) -> Drawn:
    b, m, k, n = sizes(p, 4)
    stack, left, fused = p.chance(0.25), p.chance(0.25), p.chance(0.2)
    shape = (k, n) if not left else (m, k)
    shape = (b, *shape) if stack else shape
    kind = kind_of(p)
    w = p.value(kind, shape, DEPTH)
    axis = len(shape) - (2 if left else 1)
    x = (b, k, n) if left else (b, m, k)
    domain = "com.microsoft" if fused else ""
    node = oh.make_node(
        "FusedMatMul" if fused else "MatMul", [w, "x"] if left else ["x", w], ["y"], "layer", domain=domain
    )

    def layers(v):
        matrices = v.reshape(-1, *v.shape[-2:])
        return [matrix if left else matrix.T for matrix in matrices]

    return Drawn(
        p,
        node,
        [Multiplied(w, kind, shape, layers, along(axis))],
        ("f4", x),
        T.FLOAT,
        domain,
        -2 if left else -1,
    )


def gemm(p: Paths) -> Drawn:
    m, k, n = sizes(p, 3)
    left, flip = p.chance(0.25), int(p.chance(0.5))
    kind = kind_of(p)
    shape = ((m, k) if left else (k, n))[:: -1 if flip else 1]
    w = p.value(kind, shape, DEPTH)
    attributes = {"transA" if left else "transB": flip, "alpha": 0.5}
    inputs = [w, "x"] if left else ["x", w]
    if p.chance(0.5):
        inputs.append(p.other(np.zeros(n, "f4")))
    node = oh.make_node("Gemm", inputs, ["y"], "layer", **attributes)
    first = bool(left) != bool(flip)
    operand = Multiplied(w, kind, shape, lambda v: [v if first else v.T], along(0 if first else 1))
    return Drawn(p, node, [operand], ("f4", (k, n) if left else (m, k)), T.FLOAT, "", 0 if left else 1)


def conv(p: Paths) -> Drawn:
    ndim, groups = int(p.rng.integers(1, 3)), int(p.rng.integers(1, 3))
    out, inner = groups * int(p.rng.integers(1, 4)), int(p.rng.integers(1, 4))
    shape = (out, inner, *sizes(p, ndim, 1, 4))
    kind = kind_of(p)
    w = p.value(kind, shape, DEPTH)
    inputs = ["x", w, *([p.other(np.zeros(out, "f4"))] if p.chance(0.3) else [])]
    node = oh.make_node("Conv", inputs, ["y"], "layer", group=groups)
    operand = Multiplied(w, kind, shape, lambda v: [v], along(0))
    return Drawn(p, node, [operand], ("f4", (1, inner * groups, *[6] * ndim)), T.FLOAT, "", 1)


def conv_transpose(p: Paths) -> Drawn:
    groups, ndim = int(p.rng.integers(1, 3)), int(p.rng.integers(1, 3))
    inner, out = groups * int(p.rng.integers(1, 4)), int(p.rng.integers(1, 4))
    shape = (inner, out, *sizes(p, ndim, 1, 4))
    kind = kind_of(p)
    w = p.value(kind, shape, DEPTH - 2)
    node = oh.make_node("ConvTranspose", ["x", w], ["y"], "layer", group=groups)

    def layers(v):
        return [np.concatenate([np.swapaxes(part, 0, 1) for part in np.split(v, groups)])]

    def channel(s):
        group = np.arange(s[0]) // (s[0] // groups)
        return along(1)(s) + (group * s[1]).reshape(-1, *[1] * (len(s) - 1))

    operand = Multiplied(w, kind, shape, layers, channel, groups)
    return Drawn(p, node, [operand], ("f4", (1, inner, *[4] * ndim)), T.FLOAT, "", 1)


def recurrent(p: Paths) -> Drawn:
    operator = p.pick_of("LSTM", "GRU", "RNN")
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    directions, hidden, inner = int(p.rng.integers(1, 3)), *sizes(p, 2)
    operands = []
    for columns in (inner, hidden):
        shape, kind = (directions, gates * hidden, columns), kind_of(p)
        operands.append(Multiplied(p.value(kind, shape, DEPTH - 1), kind, shape, list, along(1)))
    inputs = ["x", *(o.value for o in operands)]
    if p.chance(0.5):
        inputs.append(p.other(np.zeros((directions, 2 * gates * hidden), "f4")))
    direction = "bidirectional" if directions == 2 else p.pick_of("forward", "reverse")
    node = oh.make_node(operator, inputs, ["y"], "layer", hidden_size=hidden, direction=direction)
    return Drawn(p, node, operands, ("f4", (3, 1, inner)), T.FLOAT)


def einsum(p: Paths) -> Drawn:
    b, k, n = sizes(p, 3)
    flip, kind = p.chance(0.5), kind_of(p)
    shape = (n, k) if flip else (k, n)
    w = p.value(kind, shape, DEPTH)
    node = oh.make_node("Einsum", ["x", w], ["y"], "layer", equation=f"bk,{'nk' if flip else 'kn'}->bn")
    operand = Multiplied(w, kind, shape, lambda v: [v if flip else v.T], along(0 if flip else 1))
    return Drawn(p, node, [operand], ("f4", (b, k)), T.FLOAT, "", 1)


def integers_of(p: Paths, kind: str, shape, axis: int):
    """Draw codes, their zero point for the operator, and the scale's length."""
    w = p.value(kind, shape, DEPTH)
    per_channel = p.chance(0.5)
    size = (shape[axis],) if per_channel else ()
    zero = p.code_array(size, kind)
    shaped = zero.astype(int).reshape(
        [-1 if i == axis else 1 for i in range(len(shape))] if per_channel else ()
    )
    return w, zero, shaped, size


def integer_matmul(p: Paths) -> Drawn:
    m, k, n = sizes(p, 3)
    kind, linear = p.pick_of("i1", "u1"), p.chance(0.5)
    w, zero, shaped, size = integers_of(p, kind, (k, n), 1)
    y = T.INT32
    if linear:
        scale, none = p.other(np.float32(0.1)), p.other(np.uint8(3))
        of_w = [p.other(p.numbers(size, "f4")), p.other(zero)]
        inputs, y = ["x", scale, none, w, *of_w, scale, none], T.UINT8
    elif p.chance(0.7):
        inputs = ["x", w, p.other(np.uint8(7)), p.other(zero)]
    else:
        inputs, shaped = ["x", w], np.zeros((), int)
    node = oh.make_node("QLinearMatMul" if linear else "MatMulInteger", inputs, ["y"], "layer")
    operand = Multiplied(w, kind, (k, n), lambda v: [v.T], along(1), zero=shaped)
    return Drawn(p, node, [operand], ("u1", (m, k)), y)


def integer_conv(p: Paths) -> Drawn:
    out, inner, *kernel = sizes(p, 4, 1, 4)
    kind, linear = p.pick_of("i1", "u1"), p.chance(0.5)
    shape = (out, inner, *kernel)
    w, zero, shaped, size = integers_of(p, kind, shape, 0)
    y = T.INT32
    if linear:
        scale, none = p.other(np.float32(0.1)), p.other(np.uint8(3))
        of_w = [p.other(p.numbers(size, "f4")), p.other(zero)]
        inputs, y = ["x", scale, none, w, *of_w, scale, none], T.UINT8
    else:
        inputs = ["x", w, p.other(np.uint8(7)), p.other(zero)]
    node = oh.make_node("QLinearConv" if linear else "ConvInteger", inputs, ["y"], "layer")
    operand = Multiplied(w, kind, shape, lambda v: [v], along(0), zero=shaped)
    return Drawn(p, node, [operand], ("u1", (1, inner, 6, 6)), y)


def contributed_matmul(p: Paths) -> Drawn:
    """ONNX Runtime's own products of codes."""
    m, k, n = sizes(p, 3)
    kind, operator = (
        p.pick_of("i1", "u1"),
        p.pick_of("QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
    )
    flip = operator == "QGemm" and p.chance(0.5)
    axis, shape = (0, (n, k)) if flip else (1, (k, n))
    w, zero, shaped, size = integers_of(p, kind, shape, axis)
    scale, none = p.other(np.float32(0.1)), p.other(np.uint8(3))
    of_w = [p.other(p.numbers(size, "f4")), p.other(zero)]
    inputs, attributes = {
        "QGemm": (["x", scale, none, w, *of_w], {"transB": int(flip)}),
        "MatMulIntegerToFloat": (["x", w, scale, of_w[0], none, of_w[1]], {}),
        "DynamicQuantizeMatMul": (["x", w, *of_w], {}),
    }[operator]
    node = oh.make_node(operator, inputs, ["y"], "layer", domain="com.microsoft", **attributes)
    operand = Multiplied(w, kind, shape, lambda v: [v if flip else v.T], along(axis), zero=shaped)
    x = "f4" if operator == "DynamicQuantizeMatMul" else "u1"
    return Drawn(p, node, [operand], (x, (m, k)), T.FLOAT, "com.microsoft")


OPERATORS = (
    matmul, matmul, gemm, gemm, conv, conv, conv_transpose, recurrent, einsum,
    integer_matmul, integer_conv, contributed_matmul,
)  # fmt: skip


# -- models ----------------------------------------------------------------------------------------


def operands_model(drawn: Drawn):
    """Make a model whose outputs are the operands, nothing else."""
    paths = drawn.paths
    kinds = [TYPES["f4" if o.kind == "dq" or paths.mode == "ids" else o.kind][1] for o in drawn.operands]
    outputs = [
        oh.make_tensor_value_info(o.value, kind, None) for o, kind in zip(drawn.operands, kinds, strict=True)
    ]
    return model(paths.nodes, [], outputs, paths.stored)


def model(nodes, inputs, outputs, stored, functions=()):
    graph = oh.make_graph(nodes, "g", inputs, outputs, stored)
    return oh.make_model(graph, opset_imports=OPSETS, ir_version=10, functions=list(functions))


def whole_model(drawn: Drawn, place: str):
    """Make the model that is read: the operator, and what leads to it, in a graph, a body or a function."""
    kind, shape = drawn.x
    x = oh.make_tensor_value_info("x", TYPES[kind][1], list(shape))
    y = oh.make_tensor_value_info("y", drawn.y, None)
    paths = drawn.paths
    nodes, stored = list(paths.nodes), list(paths.stored)
    if place == "captured":
        return model([*nodes, branches([drawn.node], [], y)], [x, CONDITION], [y], stored)
    if place == "branch":
        return model([branches([*nodes, drawn.node], stored, y)], [x, CONDITION], [y], [])
    if place == "loop":
        return model([*nodes, *loop(drawn)], [x], [y], stored)
    if place == "function":
        names = [t.name for t in stored]
        body = oh.make_function("own", "F", ["x", *names], ["y"], [*nodes, drawn.node], OPSETS[:2])
        return model([oh.make_node("F", ["x", *names], ["y"], domain="own")], [x], [y], stored, [body])
    if place == "called":
        names, results = [t.name for t in stored], [o.value for o in drawn.operands]
        inside = [node for node in nodes if not set(node.output) & (set(drawn.node.input) - set(results))]
        outside = [node for node in nodes if node not in inside]
        body = oh.make_function("own", "F", names, results, inside, OPSETS[:2])
        call = oh.make_node("F", names, results, domain="own")
        return model([*outside, call, drawn.node], [x], [y], stored, [body])
    return model([*nodes, drawn.node], [x], [y], stored)


CONDITION = oh.make_tensor_value_info("condition", T.BOOL, [])


def branches(nodes, stored, y):
    """Make an If, one of whose branches is these nodes; the other one has no layer."""
    empty = oh.make_tensor("none", y.type.tensor_type.elem_type, [1], [0])
    other = oh.make_graph([oh.make_node("Constant", [], ["y"], value=empty)], "else", [], [y])
    return oh.make_node(
        "If",
        ["condition"],
        ["y"],
        "if",
        then_branch=oh.make_graph(nodes, "then", [], [y], stored),
        else_branch=other,
    )


def loop(drawn: Drawn):
    """Make a Loop of two rounds that multiplies."""
    inner = oh.make_node("Identity", ["inner.in"], ["inner.out"])
    node = type(drawn.node)()
    node.CopyFrom(drawn.node)
    node.output[0] = "inner.y"
    body = oh.make_graph(
        [inner, node],
        "body",
        [oh.make_tensor_value_info("i", T.INT64, []), oh.make_tensor_value_info("inner.in", T.BOOL, [])],
        [
            oh.make_tensor_value_info("inner.out", T.BOOL, []),
            oh.make_tensor_value_info("inner.y", drawn.y, None),
        ],
    )
    return [
        oh.make_node("Constant", [], ["rounds"], value=oh.make_tensor("r", T.INT64, [], [2])),
        oh.make_node("Constant", [], ["on"], value=oh.make_tensor("o", T.BOOL, [], [1])),
        oh.make_node("Loop", ["rounds", "on"], ["y"], "loop", body=body),
    ]
