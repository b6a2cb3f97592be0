"""Random ways from stored tensors to a value of a graph, drawn backwards from the value's shape.

The same seed gives the same way in three modes: "real" as it is; "unit" with every scale of codes 1, so that
ONNX Runtime computes the codes less their zero point; "ids" with every stored number replaced by a number of
its own and all arithmetic left out, so that it tells which stored number each element is.
"""

from __future__ import annotations

from math import prod

import ml_dtypes
import numpy as np
from onnx import TensorProto as T
from onnx import helper as oh
from onnx import numpy_helper as on

TYPES = {
    "f4": (np.dtype("f4"), T.FLOAT),
    "f2": (np.dtype("f2"), T.FLOAT16),
    "i1": (np.dtype("i1"), T.INT8),
    "u1": (np.dtype("u1"), T.UINT8),
    "i0": (np.dtype(ml_dtypes.int4), T.INT4),
    "u0": (np.dtype(ml_dtypes.uint4), T.UINT4),
    "i4": (np.dtype("i4"), T.INT32),
}
RANGES = {"i1": (-128, 128), "u1": (0, 256), "i0": (-8, 8), "u0": (0, 16)}
CODES = ("i1", "u1", "i0", "u0")

MOVES = ("identity", "transpose", "reshape", "squeeze", "unsqueeze", "flatten")
CUTS = ("slice", "concat", "split", "gather", "pick", "expand", "pad")
WAYS = {
    "f4": (*MOVES, *CUTS, "factor", "factor", "from_half"),
    "f2": (*MOVES, *CUTS),
    "dq": (*MOVES, *CUTS, "factor", "dequantise", "dequantise", "blocks", "from_cast", "again"),
    "i1": (*MOVES, *CUTS, "quantise"),
    "u1": (*MOVES, *CUTS, "quantise"),
    "i0": ("transpose",),
    "u0": ("transpose",),
    "i4": (*MOVES, *CUTS, "widen", "less"),
}
"""What a value of a kind can come from; "dq" is float32 that codes stand for."""


class Paths:
    """Draws values of one graph; `nodes` and `stored` grow by what makes them."""

    def __init__(self, seed: int, mode: str = "real") -> None:
        self.rng = np.random.default_rng(seed)
        self.mode = mode
        self.nodes: list = []
        self.stored: list = []
        self.weights: dict[str, tuple[int, np.ndarray]] = {}
        self.others: list[str] = []
        self.count = 0
        self.next_id = 1

    # -- parts ---------------------------------------------------------------------------------

    def name(self, what: str) -> str:
        self.count += 1
        return f"{what}{self.count}"

    def add(self, operator: str, inputs, outputs: int = 1, **attributes) -> list[str]:
        names = [self.name(operator.lower()) for _ in range(outputs)]
        self.nodes.append(oh.make_node(operator, list(inputs), names, **attributes))
        return names

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick_of(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def store(self, array: np.ndarray, name: str) -> str:
        if self.chance(0.3):
            tensor = on.from_array(array, f"{name}.data")
            self.nodes.append(oh.make_node("Constant", [], [name], value=tensor))
        else:
            self.stored.append(on.from_array(array, name))
        return name

    def other(self, array: np.ndarray) -> str:
        """Store something that is no weight."""
        name = self.store(np.asarray(array), self.name("c"))
        self.others.append(name)
        return name

    def integers(self, values) -> str:
        """Store integers, or have the graph compute them from a shape."""
        values = [int(v) for v in values]
        computed = self.chance(0.25)
        if not computed or not values or min(values) < 0 or max(values) > 64:
            return self.other(np.array(values, "i8"))
        shaped = self.other(np.zeros((values[0], 3), "f4"))
        first = self.add("Gather", [*self.add("Shape", [shaped]), self.other(np.array([0]))], axis=0)
        return self.add("Concat", [*first, self.other(np.array(values[1:], "i8"))], axis=0)[0]

    def numbers(self, shape, kind: str) -> np.ndarray:
        """Scales of powers of two would hide an error: these are any."""
        return self.rng.uniform(0.25, 1.5, shape).astype(TYPES[kind][0])

    def code_array(self, shape, kind: str) -> np.ndarray:
        return self.rng.integers(*RANGES[kind], shape).astype(TYPES[kind][0])

    def kept(self, array: np.ndarray) -> np.ndarray:
        """Return a scale of codes as the mode has it."""
        return np.ones_like(array) if self.mode == "unit" else array

    def typed(self, kind: str) -> np.dtype:
        return TYPES["f4"][0] if self.mode == "ids" else TYPES[kind][0]

    # -- values --------------------------------------------------------------------------------

    def value(self, kind: str, shape, depth: int) -> str:
        shape = tuple(int(n) for n in shape)
        if depth <= 0 or prod(shape) > 4000:
            return self.leaf(kind, shape)
        ways = WAYS[kind]
        way = ways[int(self.rng.integers(len(ways)))]
        if len(shape) == 0 or (len(shape) >= 5 and way in ("squeeze", "pick")):
            way = "identity"
        return getattr(self, way)(kind, shape, depth - 1)

    def leaf(self, kind: str, shape) -> str:
        if kind == "dq":
            return self.dequantise(kind, shape, 0)
        if kind == "i4":
            return self.widen(kind, shape, 0)
        if kind in ("f4", "f2"):
            array = self.rng.standard_normal(shape).astype(TYPES[kind][0])
        else:
            array = self.code_array(shape, kind)
        name = self.name("w")
        self.weights[name] = (self.next_id, array)
        ids = np.arange(self.next_id, self.next_id + array.size, dtype="f4").reshape(shape)
        self.next_id += array.size
        return self.store(ids if self.mode == "ids" else array, name)

    # -- moves ---------------------------------------------------------------------------------

    def identity(self, kind, shape, depth):
        return self.add("Identity", [self.value(kind, shape, depth)])[0]

    def transpose(self, kind, shape, depth):
        order = self.rng.permutation(len(shape))
        if self.chance(0.3):
            return self.add("Transpose", [self.value(kind, shape[::-1], depth)])[0]
        before = [shape[i] for i in np.argsort(order)]
        return self.add("Transpose", [self.value(kind, before, depth)], perm=[int(i) for i in order])[0]

    def reshape(self, kind, shape, depth):
        before = self.factored(prod(shape)) if self.chance(0.5) else self.split_or_merged(shape)
        target = list(shape)
        how = self.rng.random()
        if how < 0.4 and prod(shape):
            target[int(self.rng.integers(len(target)))] = -1
        elif how < 0.6 and before[0] == shape[0]:
            target[0] = 0
        return self.add("Reshape", [self.value(kind, before, depth), self.integers(target)])[0]

    def factored(self, size: int) -> list[int]:
        parts = []
        for _ in range(int(self.rng.integers(1, 4))):
            divisors = [d for d in range(1, min(size, 64) + 1) if size % d == 0]
            parts.append(self.pick_of(*divisors))
            size //= parts[-1]
        return [*parts, size]

    def split_or_merged(self, shape) -> list[int]:
        """Split an axis in two, or merge two that are neighbours."""
        i = int(self.rng.integers(len(shape)))
        if self.chance(0.5) and i + 1 < len(shape):
            return [*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :]]
        d = self.pick_of(*[d for d in range(1, shape[i] + 1) if shape[i] % d == 0])
        return [*shape[:i], d, shape[i] // d, *shape[i + 1 :]]

    def squeeze(self, kind, shape, depth):
        at = int(self.rng.integers(len(shape) + 1))
        x = self.value(kind, (*shape[:at], 1, *shape[at:]), depth)
        if 1 not in shape and self.chance(0.3):
            return self.add("Squeeze", [x])[0]
        return self.add("Squeeze", [x, self.integers([at - (len(shape) + 1) * self.chance(0.5)])])[0]

    def unsqueeze(self, kind, shape, depth):
        if 1 not in shape:
            return self.identity(kind, shape, depth)
        at = shape.index(1)
        x = self.value(kind, (*shape[:at], *shape[at + 1 :]), depth)
        return self.add("Unsqueeze", [x, self.integers([at])])[0]

    def flatten(self, kind, shape, depth):
        if len(shape) != 2:
            return self.transpose(kind, shape, depth)
        first, second = self.factored(shape[0]), self.factored(shape[1])
        x = self.value(kind, (*first, *second), depth)
        return self.add("Flatten", [x], axis=len(first))[0]

    # -- cuts ----------------------------------------------------------------------------------

    def axis(self, shape) -> int:
        return int(self.rng.integers(len(shape)))

    def slice(self, kind, shape, depth):
        a = self.axis(shape)
        step, start = int(self.rng.integers(1, 3)), int(self.rng.integers(0, 3))
        length = start + (shape[a] - 1) * step + 1 + int(self.rng.integers(0, 2))
        x = self.value(kind, (*shape[:a], length, *shape[a + 1 :]), depth)
        last = start + (shape[a] - 1) * step
        if self.chance(0.5):
            cut = (start, last + 1, step)
        else:
            cut = (last, start - 1 if start else -(1 << 40), -step)
        starts, ends, steps = ([v] for v in cut)
        axis = a - len(shape) * self.chance(0.3)
        if cut[2] == 1 and self.chance(0.5):
            return self.add("Slice", [x, self.integers(starts), self.integers(ends), self.integers([axis])])[
                0
            ]
        arguments = [self.integers(starts), self.integers(ends), self.integers([axis]), self.integers(steps)]
        return self.add("Slice", [x, *arguments])[0]

    def concat(self, kind, shape, depth):
        a = self.axis(shape)
        if shape[a] < 2:
            return self.identity(kind, shape, depth)
        n = int(self.rng.integers(1, shape[a]))
        parts = [self.value(kind, (*shape[:a], m, *shape[a + 1 :]), depth - 1) for m in (n, shape[a] - n)]
        return self.add("Concat", parts, axis=a - len(shape) * self.chance(0.3))[0]

    def split(self, kind, shape, depth):
        a, more, first = self.axis(shape), int(self.rng.integers(1, 4)), self.chance(0.5)
        even = self.chance(0.3)
        more = shape[a] if even else more
        x = self.value(kind, (*shape[:a], shape[a] + more, *shape[a + 1 :]), depth)
        sizes = [shape[a], more] if first else [more, shape[a]]
        if even:
            return self.add("Split", [x], 2, axis=a, num_outputs=2)[not first]
        return self.add("Split", [x, self.integers(sizes)], 2, axis=a)[not first]

    def gather(self, kind, shape, depth):
        a = self.axis(shape)
        length = int(self.rng.integers(max(1, shape[a] - 1), shape[a] + 3))
        if length >= shape[a] and self.chance(0.7):
            indices = self.rng.permutation(length)[: shape[a]]
        else:
            indices = self.rng.integers(0, length, shape[a])
        indices = indices - length * self.rng.integers(0, 2, shape[a])
        x = self.value(kind, (*shape[:a], length, *shape[a + 1 :]), depth)
        index = self.other(indices.astype(self.pick_of("i8", "i4")))
        return self.add("Gather", [x, index], axis=a)[0]

    def pick(self, kind, shape, depth):
        a, length = int(self.rng.integers(len(shape) + 1)), int(self.rng.integers(1, 3))
        x = self.value(kind, (*shape[:a], length, *shape[a:]), depth)
        return self.add("Gather", [x, self.other(np.int64(self.rng.integers(length)))], axis=a)[0]

    def expand(self, kind, shape, depth):
        a = self.axis(shape)
        if shape[a] > 4:
            return self.identity(kind, shape, depth)
        before = shape[1:] if a == 0 and self.chance(0.5) else (*shape[:a], 1, *shape[a + 1 :])
        return self.add("Expand", [self.value(kind, before, depth), self.integers(shape)])[0]

    def pad(self, kind, shape, depth):
        a = self.axis(shape)
        if shape[a] < 3:
            return self.identity(kind, shape, depth)
        before, after = np.zeros((2, len(shape)), int)
        before[a], after[a] = self.rng.integers(0, 2, 2)
        x = self.value(kind, [n - b - e for n, b, e in zip(shape, before, after, strict=True)], depth)
        inputs = [x, self.integers([*before, *after])]
        if self.chance(0.3):
            inputs.append(self.other(np.array(0, self.typed("f4" if kind == "dq" else kind))))
        return self.add("Pad", inputs)[0]

    # -- scales and zero points ----------------------------------------------------------------

    def factor(self, kind, shape, depth):
        a = self.axis(shape)
        along = [n if i == a else 1 for i, n in enumerate(shape)]
        numbers = self.numbers(self.pick_of((), along, along[a:]), "f4")
        operator, first = self.pick_of("Mul", "Div"), self.chance(0.7) or prod(shape) == 1 or numbers.size > 1
        x = self.value(kind, shape, depth)
        scale = self.other(self.kept(numbers) if kind == "dq" else numbers)
        if self.mode == "ids":
            return self.add("Identity", [x])[0]
        return self.add(operator, [x, scale] if first or operator == "Div" else [scale, x])[0]

    def from_half(self, kind, shape, depth):
        x = self.value("f2", shape, depth)
        return self.cast(x, "f4")

    def cast(self, x, kind):
        like = self.other(np.zeros(1, TYPES[kind][0])) if self.chance(0.2) else None
        if self.mode == "ids":
            return self.add("Identity", [x])[0]
        if like:
            return self.add("CastLike", [x, like])[0]
        return self.add("Cast", [x], to=TYPES[kind][1])[0]

    def scale_and_zero(self, shape, kind: str):
        """Draw a scale, a zero point and the axis that they run along, None for one of all."""
        a = self.axis(shape) if shape and self.chance(0.6) else None
        size = () if a is None else (shape[a],)
        scale = self.numbers(size, "f4") * np.float32(0.02)
        zero = self.code_array(size, kind) if self.chance(0.7) else None
        return scale, zero, a

    def dequantise(self, kind, shape, depth):
        codes = self.pick_of(*CODES)
        scale, zero, a = self.scale_and_zero(shape, codes)
        return self.linear("DequantizeLinear", self.value(codes, shape, depth), self.kept(scale), zero, a)

    def linear(self, operator, x, scale, zero, a, **attributes):
        names = [self.other(array) for array in (scale, zero) if array is not None]
        if self.mode == "ids":
            return self.add("Identity", [x])[0]
        if a is not None:
            attributes["axis"] = a
        return self.add(operator, [x, *names], **attributes)[0]

    def blocks(self, kind, shape, depth):
        if len(shape) < 2:
            return self.dequantise(kind, shape, depth)
        codes, a, block = self.pick_of(*CODES), self.axis(shape), int(self.rng.integers(2, 4))
        size = [-(-n // block) if i == a else n for i, n in enumerate(shape)]
        scale = self.numbers(size, "f4") * np.float32(0.02)
        zero = self.code_array(size, codes) if self.chance(0.6) else None
        x = self.value(codes, shape, depth)
        return self.linear("DequantizeLinear", x, self.kept(scale), zero, a, block_size=block)

    def from_cast(self, kind, shape, depth):
        """Weight-only: a cast, and perhaps a zero point and a scale."""
        if self.chance(0.3):
            x = self.cast(self.value("i4", shape, depth), "f4")
        else:
            codes = self.pick_of(*CODES)
            x = self.cast(self.value(codes, shape, depth), "f4")
            if self.chance(0.5):
                x = self.subtracted(x, shape, codes, np.dtype("f4"))
        return x

    def subtracted(self, x, shape, codes, dtype):
        _, zero, a = self.scale_and_zero(shape, codes)
        if zero is None:
            return x
        along = () if a is None else [n if i == a else 1 for i, n in enumerate(shape)]
        name = self.other(zero.astype(dtype).reshape(along))
        return self.add("Identity", [x])[0] if self.mode == "ids" else self.add("Sub", [x, name])[0]

    def widen(self, kind, shape, depth):
        return self.cast(self.value(self.pick_of("i1", "u1"), shape, depth), "i4")

    def less(self, kind, shape, depth):
        codes = self.pick_of("i1", "u1")
        x = self.cast(self.value(codes, shape, depth), "i4")
        return self.subtracted(x, shape, codes, np.dtype("i4"))

    def quantise(self, kind, shape, depth):
        """Codes that the graph makes of floats."""
        scale, zero, a = self.scale_and_zero(shape, kind)
        zero = np.zeros(scale.shape, TYPES[kind][0]) if zero is None else zero
        return self.linear("QuantizeLinear", self.value("f4", shape, depth), scale, zero, a)

    def again(self, kind, shape, depth):
        """Dequantise, quantise and dequantise once more, by one scale and one zero point."""
        codes = self.pick_of("i1", "u1")
        scale, zero, a = self.scale_and_zero(shape, codes)
        zero = np.zeros(scale.shape, TYPES[codes][0]) if zero is None else zero
        x = self.value(codes, shape, depth)
        for operator in ("DequantizeLinear", "QuantizeLinear", "DequantizeLinear"):
            x = self.linear(operator, x, self.kept(scale), zero, a)
        return x
