"""Random graphs of nested control flow, with the multiply-accumulates that they should have.

Every value is (2, 8) and every weight (8, 8), so a layer that runs once has 128.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as oh
from onnx import numpy_helper as on

MACS = 2 * 8 * 8
STEPS = 3
"""Length of what Scan goes through."""


@dataclass
class Case:
    """A model and what should be found in it."""

    model: onnx.ModelProto
    macs: int
    given: dict[str, np.ndarray]


@dataclass
class _Body:
    nodes: list = field(default_factory=list)
    stored: list = field(default_factory=list)


class Generator:
    """Draws one graph."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.count = 0
        self.rate = int(self.rng.choice([8000, 16000]))

    def name(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def case(self) -> Case:
        body = _Body()
        out, macs = self.chain(body, "x", 3)
        stored = [
            on.from_array(self.weights(), "shared"),
            on.from_array(np.int64(2), "two"),
            on.from_array(np.int64(0), "zero"),
            on.from_array(np.int64(16000), "wide"),
            on.from_array(np.array(True), "true"),
            on.from_array(np.array(False), "false"),
            on.from_array(np.float32(0), "nought"),
        ]
        body.nodes.insert(0, oh.make_node("Transpose", ["shared"], ["turned"], perm=[1, 0]))
        graph = oh.make_graph(
            body.nodes,
            "g",
            [
                oh.make_tensor_value_info("x", T.FLOAT, [2, 8]),
                oh.make_tensor_value_info("xs", T.FLOAT, [STEPS, 2, 8]),
                oh.make_tensor_value_info("sr", T.INT64, []),
            ],
            [oh.make_tensor_value_info(out, T.FLOAT, None)],
            [*stored, *body.stored],
        )
        model = oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8)
        return Case(model, macs, {"sr": np.array(self.rate)})

    def weights(self) -> np.ndarray:
        return self.rng.standard_normal((8, 8)).astype(np.float32)

    def chain(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        """Append a few steps to a body; return the last value and the multiply-accumulates."""
        steps = [self.layer, self.layer, self.relu, self.dead]
        if depth:
            steps += [self.loop, self.loop, self.scan, self.decided, self.decided, self.undecided]
        total = 0
        for _ in range(self.rng.integers(1, 4)):
            value, macs = steps[self.rng.integers(len(steps))](body, value, depth)
            total += macs
        return value, total

    def layer(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        weight = str(self.rng.choice(["shared", "turned", "initializer", "constant"]))
        if weight in ("initializer", "constant"):
            kind, weight = weight, self.name("w")
            tensor = on.from_array(self.weights(), weight)
            if kind == "initializer":
                body.stored.append(tensor)
            else:
                body.nodes.append(oh.make_node("Constant", [], [weight], value=tensor))
        out = self.name("mm")
        body.nodes.append(oh.make_node("MatMul", [value, weight], [out]))
        return out, MACS

    def relu(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        out = self.name("relu")
        body.nodes.append(oh.make_node("Relu", [value], [out]))
        return out, 0

    def dead(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        """Append layers that nobody reads."""
        first, second = self.name("dead"), self.name("dead")
        body.nodes.append(oh.make_node("MatMul", [value, "shared"], [first]))
        body.nodes.append(oh.make_node("MatMul", [first, "turned"], [second]))
        return value, 0

    def loop(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        i, c, state = self.name("i"), self.name("c"), self.name("state")
        inside = _Body()
        # Captured values take the state's place at times.
        out, macs = self.chain(inside, state, depth - 1)
        joined, ends, scanned = self.name("joined"), self.name("ends"), self.name("scanned")
        inside.nodes.append(oh.make_node("Add", [out, value], [joined]))
        runs = int(self.rng.integers(0, 4))
        kind = self.rng.integers(3)
        if kind == 0:  # the limit is stored
            limit = self.name("limit")
            body.stored.append(on.from_array(np.int64(runs), limit))
            inside.nodes.append(oh.make_node("Identity", [c], [ends]))
        elif kind == 1:  # the limit is a size: 2
            shape, limit, runs = self.name("shape"), self.name("limit"), 2
            body.nodes.append(oh.make_node("Shape", [value], [shape]))
            body.nodes.append(oh.make_node("Gather", [shape, "zero"], [limit]))
            inside.nodes.append(oh.make_node("Identity", ["true"], [ends]))
        else:  # ends where the number of the run exceeds two
            limit, runs = "", 4
            inside.nodes.append(oh.make_node("LessOrEqual", [i, "two"], [ends]))
        outputs = [
            oh.make_tensor_value_info(ends, T.BOOL, []),
            oh.make_tensor_value_info(joined, T.FLOAT, [2, 8]),
        ]
        results = [self.name("loop")]
        if self.rng.integers(2):  # a layer whose results are collected, and read by nobody
            inside.nodes.append(oh.make_node("MatMul", [state, "shared"], [scanned]))
            outputs.append(oh.make_tensor_value_info(scanned, T.FLOAT, [2, 8]))
            results.append(self.name("collected"))
        inputs = [
            oh.make_tensor_value_info(i, T.INT64, []),
            oh.make_tensor_value_info(c, T.BOOL, []),
            oh.make_tensor_value_info(state, T.FLOAT, [2, 8] if self.rng.integers(2) else None),
        ]
        graph = oh.make_graph(inside.nodes, "loop", inputs, outputs, inside.stored)
        first = "true" if limit == "" or self.rng.integers(2) else ""
        body.nodes.append(oh.make_node("Loop", [limit, first, value], results, body=graph))
        return results[0], runs * macs

    def scan(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        state, item, joined, collected = (self.name(n) for n in ("state", "item", "joined", "collected"))
        inside = _Body([oh.make_node("Add", [state, item], [joined])])
        out, macs = self.chain(inside, joined, depth - 1)
        inside.nodes.append(oh.make_node("Identity", [out], [collected]))
        inputs = [oh.make_tensor_value_info(n, T.FLOAT, None) for n in (state, item)]
        outputs = [oh.make_tensor_value_info(n, T.FLOAT, None) for n in (out, collected)]
        graph = oh.make_graph(inside.nodes, "scan", inputs, outputs, inside.stored)
        results = [self.name("scan"), self.name("all")]
        body.nodes.append(oh.make_node("Scan", [value, "xs"], results, body=graph, num_scan_inputs=1))
        return results[0], STEPS * macs

    def branches(self, body: _Body, value: str, depth: int, condition: str) -> tuple[str, tuple[int, int]]:
        found, graphs = [], []
        start = self.count
        for _ in range(2):
            if self.rng.integers(2):  # branches may use the same names
                start, self.count = max(self.count, start), start
            inside = _Body()
            out, macs = self.chain(inside, value, depth - 1)
            if out == value:
                out = self.name("same")
                inside.nodes.append(oh.make_node("Identity", [value], [out]))
            found.append(macs)
            output = oh.make_tensor_value_info(out, T.FLOAT, None)
            graphs.append(oh.make_graph(inside.nodes, "branch", [], [output], inside.stored))
        self.count = max(self.count, start) + 100
        result = self.name("if")
        body.nodes.append(
            oh.make_node("If", [condition], [result], then_branch=graphs[0], else_branch=graphs[1])
        )
        return result, (found[0], found[1])

    def decided(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        kind = self.rng.integers(3)
        if kind == 0:
            then = bool(self.rng.integers(2))
            condition = "true" if then else "false"
        elif kind == 1:
            condition, then = self.name("is_wide"), self.rate == 16000
            body.nodes.append(oh.make_node("Equal", ["sr", "wide"], [condition]))
        else:
            shape, size, condition, then = self.name("shape"), self.name("size"), self.name("is_two"), True
            body.nodes.append(oh.make_node("Shape", [value], [shape]))
            body.nodes.append(oh.make_node("Gather", [shape, "zero"], [size]))
            body.nodes.append(oh.make_node("Equal", [size, "two"], [condition]))
        result, macs = self.branches(body, value, depth, condition)
        return result, macs[0 if then else 1]

    def undecided(self, body: _Body, value: str, depth: int) -> tuple[str, int]:
        total, condition = self.name("sum"), self.name("positive")
        body.nodes.append(oh.make_node("ReduceSum", [value], [total], keepdims=0))
        body.nodes.append(oh.make_node("Greater", [total, "nought"], [condition]))
        result, macs = self.branches(body, value, depth, condition)
        return result, max(macs)
