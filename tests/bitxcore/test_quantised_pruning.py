"""Pruning of weights that integers stand for: codes less their zero point, by the definition on integers."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

import bitxcore as bx
from bitxcore import reference
from bitxcore.batch import inspect_dump, prune_dump
from tests.bitxcore.oracle import codes_of, members

onnx = pytest.importorskip("onnx")
make = onnx.helper
from_array = onnx.numpy_helper.from_array
node = make.make_node

TYPES = {
    "int8": (np.dtype("i1"), -128, 127),
    "uint8": (np.dtype("u1"), 0, 255),
    "int4": (np.dtype(ml_dtypes.int4), -8, 7),
    "uint4": (np.dtype(ml_dtypes.uint4), 0, 15),
}


class Case:
    """A model of one quantised layer, with Python integers of all that it holds.

    `numbers`, `zeros` and `scales` have one entry for each weight, the output channel first.
    """

    def __init__(self, seed: int, folder) -> None:
        self.rng = np.random.default_rng(seed)
        self.path = folder / "model.onnx"
        self.filters, self.columns = (int(n) for n in self.rng.integers(2, 20, 2))
        kinds = (self.dequantised, self.in_blocks, self.weight_only, self.integer_product, self.packed)
        self.nodes, self.stored = [], {}
        kinds[seed % len(kinds)]()
        graph = make.make_graph(
            self.nodes,
            "g",
            [make.make_tensor_value_info("x", 1 if self.floats else 2, [3, self.columns])],
            [make.make_tensor_value_info("y", 1 if self.floats else 6, None)],
            [from_array(np.asarray(value), name) for name, value in self.stored.items()],
        )
        sets = [make.make_opsetid("", 21), make.make_opsetid("com.microsoft", 1)]
        onnx.save(make.make_model(graph, opset_imports=sets, ir_version=10), self.path)

    floats = True
    turned = False

    def draw(self, kind: str) -> None:
        """Draw numbers, the output channel first."""
        self.dtype, self.low, self.high = TYPES[kind]
        middle = self.rng.integers(self.low, self.high + 1)
        numbers = self.rng.normal(middle, (self.high - self.low) / 6, (self.filters, self.columns))
        self.numbers = np.clip(np.rint(numbers), self.low, self.high).astype(int)

    def zero(self, shape) -> np.ndarray:
        return self.rng.integers(self.low, self.high + 1, shape)

    def per_weight(self, values) -> np.ndarray:
        return np.broadcast_to(values, (self.filters, self.columns))

    def weight(self) -> np.ndarray:
        w = self.numbers.astype(self.dtype)
        return w if self.turned else w.T

    def dequantised(self) -> None:
        self.draw(self.rng.choice(list(TYPES)))
        self.turned = bool(self.rng.integers(2))
        size = self.rng.choice([0, self.filters])
        zero, scale = self.zero(size or ()), self.rng.uniform(0.01, 0.1, size or ()).astype("f4")
        self.stored |= {"w": self.weight(), "s": scale, "z": zero.astype(self.dtype)}
        self.zeros, self.scales = (self.per_weight(v[:, None] if size else v) for v in (zero, scale))
        axis = 0 if self.turned else 1
        self.nodes += [node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=axis)]
        self.nodes += [node("Gemm", ["x", "d"], ["y"], transB=int(self.turned))]

    def in_blocks(self) -> None:
        self.draw(self.rng.choice(list(TYPES)))
        block = int(self.rng.integers(2, 6))
        blocks = -(-self.columns // block)
        zero = self.zero((self.filters, blocks))
        scale = self.rng.uniform(0.01, 0.1, (self.filters, blocks)).astype("f4")
        self.stored |= {"w": self.weight(), "s": scale.T, "z": zero.T.astype(self.dtype)}
        self.zeros, self.scales = (np.repeat(v, block, axis=1)[:, : self.columns] for v in (zero, scale))
        self.nodes += [node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0, block_size=block)]
        self.nodes += [node("MatMul", ["x", "d"], ["y"])]

    def weight_only(self) -> None:
        self.draw(self.rng.choice(["int8", "uint8"]))
        zero = self.zero((self.filters,))
        scale = self.rng.uniform(0.01, 0.1, self.filters).astype("f4")
        self.stored |= {"w": self.weight(), "s": scale, "z": zero.astype("f4")}
        self.zeros, self.scales = self.per_weight(zero[:, None]), self.per_weight(scale[:, None])
        self.nodes += [node("Cast", ["w"], ["c"], to=1), node("Sub", ["c", "z"], ["b"])]
        self.nodes += [node("Mul", ["b", "s"], ["d"]), node("MatMul", ["x", "d"], ["y"])]

    def integer_product(self) -> None:
        self.draw(self.rng.choice(["int8", "uint8"]))
        self.floats = False
        size = self.rng.choice([0, self.filters])
        zero = self.zero(size or ())
        self.stored |= {"w": self.weight(), "a": np.uint8(3), "z": zero.astype(self.dtype)}
        self.zeros, self.scales = self.per_weight(zero[:, None] if size else zero), self.per_weight(1.0)
        self.nodes += [node("MatMulInteger", ["x", "w", "a", "z"], ["y"])]

    def packed(self) -> None:
        bits, block = int(self.rng.choice([4, 8])), 16
        self.draw("uint4" if bits == 4 else "uint8")
        blocks = -(-self.columns // block)
        scale = self.rng.uniform(0.01, 0.1, (self.filters, blocks)).astype("f4")
        how = self.rng.choice(["none", "packed"])
        zero = (
            np.full((self.filters, blocks), 1 << (bits - 1))
            if how == "none"
            else self.zero((self.filters, blocks))
        )
        padded = self.rng.integers(0, 1 << bits, (self.filters, blocks * block))
        padded[:, : self.columns] = self.numbers
        self.stored |= {"w": pack(padded, bits).reshape(self.filters, blocks, -1), "s": scale.reshape(-1)}
        inputs = ["x", "w", "s"]
        if how == "packed":
            self.stored["z"] = pack(zero, bits)
            inputs.append("z")
        self.zeros, self.scales = (np.repeat(v, block, axis=1)[:, : self.columns] for v in (zero, scale))
        self.padding, self.bits = padded, bits
        sizes = {"K": self.columns, "N": self.filters, "bits": bits, "block_size": block}
        self.nodes += [node("MatMulNBits", inputs, ["y"], domain="com.microsoft", **sizes)]

    def written(self, numbers: np.ndarray) -> np.ndarray:
        """Bytes that a file should hold for numbers."""
        if hasattr(self, "padding"):
            whole = self.padding.copy()
            whole[:, : self.columns] = numbers
            return pack(whole, self.bits).reshape(self.stored["w"].shape)
        w = numbers.astype(self.dtype)
        return w if self.turned else w.T


def pack(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Pack rows of codes into bytes, the first one in the low bits."""
    if bits == 8:
        return numbers.astype("u1")
    even = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2))).astype("u1")
    return even[:, 0::2] | even[:, 1::2] << 4


def by_definition(codes: np.ndarray, form, group: int, **options) -> np.ndarray:
    """Prune codes, group by group, on Python's integers."""
    stored = codes_of(codes.astype(form.dtype), form)
    after = stored.copy()
    for _, _, at in members(codes.shape, group, "flat"):
        after[at] = reference.prune_group([int(c) for c in stored[at]], form, form.default_window, **options)[
            0
        ]
    return after.view(form.dtype).reshape(codes.shape).astype(int)


def check(seed: int, folder) -> None:
    case = Case(seed, folder)
    rng = np.random.default_rng(seed)
    options = {"rows": int(rng.integers(1, 5)), "group": int(rng.choice([4, 8, 16]))}
    if rng.integers(2):
        options["rounding"] = "nearest"
    with bx.open_dump(case.path) as dump:
        assert [name for name, tensor in dump.items() if tensor.is_weight] == ["w"]
        (found,) = inspect_dump(dump, group=options["group"])
        (row,) = prune_dump(dump, folder / "pruned.onnx", **options)
    codes = case.numbers - case.zeros
    assert np.abs(codes).max() <= row.format.max_magnitude
    assert (found.statistics.values, row.values) == (codes.size, codes.size)
    assert found.statistics.zeros == np.count_nonzero(codes == 0)
    pruned = by_definition(codes, row.format, **options)
    numbers = np.clip(pruned + case.zeros, case.low, case.high)
    with bx.open_dump(folder / "pruned.onnx") as dump:
        np.testing.assert_array_equal(dump["w"].read(), case.written(numbers))
        for name in case.stored.keys() - {"w"}:
            assert dump[name].read().tobytes() == np.asarray(case.stored[name]).tobytes()
    before, after = codes * case.scales.astype("f8"), (numbers - case.zeros) * case.scales.astype("f8")
    want = math.dist(before.ravel(), after.ravel()) / (math.hypot(*before.ravel()) or 1)
    assert row.relative_error == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert row.changed_values == np.count_nonzero(before != after)
    assert (row.zeros_before, row.zeros_after) == tuple(np.count_nonzero(w == 0) for w in (before, after))


@pytest.mark.parametrize("part", range(5))
def test_codes_are_pruned_by_the_definition(part, tmp_path):
    for seed in range(part, 60, 5):
        check(seed, tmp_path)


@pytest.mark.slow
def test_many_codes_are_pruned_by_the_definition(tmp_path):
    for seed in range(60, 1000):
        check(seed, tmp_path)
