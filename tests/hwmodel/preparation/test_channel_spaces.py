"""Channel spaces: what they are in small networks, and that changes of them leave the outputs as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitxcore.errors import BitxError, TensorError
from hwmodel.preparation.channel_spaces import (
    equalised,
    find_spaces,
    float_error,
    mean_shift,
    permute_channels,
    permuted,
    remove_channels,
    scale_channels,
)

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


class Net:
    """Builds a small network; stored tensors are drawn as they are named."""

    def __init__(self, shape=("N", 3, 8, 8), seed=0):
        self.rng = np.random.default_rng(seed)
        self.shape, self.nodes, self.stored, self.values = shape, [], {}, 0

    def store(self, *shape, positive=False, name=None):
        x = self.rng.standard_normal(shape)
        name = name or f"w{len(self.stored)}"
        self.stored[name] = np.asarray(np.abs(x) + 0.5 if positive else x, np.float32)
        return name

    def numbers(self, *values, kind=np.int64):
        self.stored[f"w{len(self.stored)}"] = np.asarray(values, kind)
        return f"w{len(self.stored) - 1}"

    def op(self, kind, *inputs, outputs=1, **attributes):
        self.values += 1
        names = [f"v{self.values}" + (f".{i}" if i else "") for i in range(outputs)]
        node = onnx.helper.make_node(kind, inputs, names, name=f"n{self.values}", **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def conv(self, x, inputs, outputs, kernel=3, bias=True, **more):
        groups = more.get("group", 1)
        pads = [kernel // 2] * 4
        w = [self.store(outputs, inputs // groups, kernel, kernel), *([self.store(outputs)] if bias else [])]
        return self.op("Conv", x, *w, pads=pads, **more)

    def norm(self, x, channels):
        w = [self.store(channels, positive=i in (0, 3)) for i in range(4)]
        return self.op("BatchNormalization", x, *w)

    def model(self, *outputs, inputs=1):
        make = onnx.helper
        graph = make.make_graph(
            self.nodes,
            "small",
            [make.make_tensor_value_info("x", inputs, self.shape)],
            [make.make_tensor_value_info(name, 1, None) for name in outputs],
            [onnx.numpy_helper.from_array(x, name) for name, x in self.stored.items()],
        )
        made = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=9)
        made = onnx.shape_inference.infer_shapes(made)
        del made.graph.value_info[:]
        onnx.checker.check_model(made)
        return made


def feeds(model, seed=1):
    (value,) = [v for v in model.graph.input if v.name == "x"]
    shape = [d.dim_value or 2 for d in value.type.tensor_type.shape.dim]
    rng = np.random.default_rng(seed)
    if value.type.tensor_type.elem_type == 7:
        return {"x": rng.integers(0, 7, shape)}
    return {"x": rng.standard_normal(shape).astype(np.float32)}


def error_of(before, after):
    onnx.checker.check_model(after)
    return max(e.relative for e in float_error(before, after, [feeds(before)]).values())


def free(model, purpose="order"):
    return {s.name: s for s in find_spaces(model, purpose) if not s.fixed and s.channels > 1}


def stored_of(model):
    return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}


# -- small networks ----------------------------------------------------------------------------------


def residual(n):
    x = n.op("Relu", n.conv("x", 3, 6))
    for _ in range(2):
        y = n.op("Relu", n.conv(x, 6, 10))
        x = n.op("Relu", n.op("Add", n.conv(y, 10, 6, bias=False), x))
    return n.conv(x, 6, 4, 1)


def normalised(n):
    x = n.op("LeakyRelu", n.norm(n.conv("x", 3, 6, bias=False), 6), alpha=0.2)
    x = n.op("PRelu", n.norm(n.conv(x, 6, 6, group=6), 6), n.store(6, 1, 1))
    return n.op("GlobalAveragePool", n.conv(x, 6, 4, 1))


def joined(n):
    a = n.op("Relu", n.conv("x", 3, 4))
    b = n.op("Relu", n.conv("x", 3, 6))
    both = n.op("Concat", a, b, axis=1)
    c = n.op("Add", n.conv(both, 10, 10), both)
    d = n.op("Concat", n.op("MaxPool", c, kernel_shape=[3, 3], pads=[1] * 4), a, axis=1)
    return n.conv(n.op("Relu", n.norm(d, 14)), 14, 5)


def multiplied(n):
    x = n.op("Relu", n.conv("x", 3, 4))
    x = n.op("Relu", n.conv(x, 4, 12, group=4))
    return n.conv(x, 12, 5)


def flattened(n):
    x = n.op("Relu", n.conv("x", 3, 5))
    x = n.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = n.op("Gemm", n.op("Flatten", x), n.store(80, 7), n.store(7))
    x = n.op("Gemm", n.op("Relu", x), n.store(9, 7), transB=1)
    x = n.op("Add", n.op("MatMul", n.op("Relu", x), n.store(9, 11)), n.store(11))
    return n.op("Gemm", n.op("Relu", x), n.store(11, 3), n.store(1))


def reshaped(n):
    x = n.op("Relu", n.conv("x", 3, 5))
    x = n.op("Transpose", x, perm=[0, 2, 3, 1])
    x = n.op("Relu", n.op("MatMul", x, n.store(5, 6)))
    x = n.op("Reshape", x, n.numbers(-1, 384))
    return n.op("MatMul", x, n.store(384, 3))


def squeezed(n):
    x = n.op("HardSwish", n.conv("x", 3, 6))
    s = n.op("Relu", n.conv(n.op("GlobalAveragePool", x), 6, 4, 1))
    s = n.op("Sigmoid", n.conv(s, 4, 6, 1))
    x = n.op("Mul", n.op("Mul", x, s), n.store(6, 1, 1))
    return n.conv(x, 6, 4)


def gated(n):
    x = n.op("Relu", n.conv("x", 3, 6))
    s = n.op("Relu", n.conv(n.op("GlobalAveragePool", x), 6, 4, 1))
    x = n.op("Add", n.op("Mul", n.op("HardSigmoid", n.conv(s, 4, 6, 1)), x), x)
    x = n.op("Mul", x, n.op("Sigmoid", n.conv(x, 6, 1)))
    return n.conv(x, 6, 4)


def divided(n):
    x = n.conv("x", 3, 10)
    a, b = n.op("Split", x, n.numbers(4, 6), axis=1, outputs=2)
    c = n.op("Relu", n.conv(a, 4, 6))
    return n.conv(n.op("Concat", n.op("Add", c, b), n.op("Relu", a), axis=1), 10, 3)


def swapped(n):
    a, b = n.op("Split", n.conv("x", 3, 8), axis=1, num_outputs=2, outputs=2)
    return n.conv(n.op("Concat", b, n.op("Relu", a), axis=1), 8, 3)


def enlarged(n):
    x = n.op("Relu", n.op("ConvTranspose", "x", n.store(3, 6, 2, 2), n.store(6), strides=[2, 2]))
    x = n.op("Relu", n.op("ConvTranspose", x, n.store(6, 2, 2, 2), group=6, strides=[2, 2]))
    x = n.op("Pad", x, n.numbers(0, 0, 1, 1, 0, 0, 1, 1))
    x = n.op("Resize", x, "", n.numbers(1, 1, 0.5, 0.5, kind=np.float32))
    x = n.op("ReduceMean", n.conv(x, 12, 7), n.numbers(2, 3), keepdims=0)
    return n.op("MatMul", x, n.store(7, 3))


def shared(n):
    w = n.store(6, 6, 3, 3)
    x = n.op("Relu", n.conv("x", 3, 6))
    x = n.op("Relu", n.op("Conv", x, w, pads=[1] * 4))
    x = n.op("Relu", n.op("Conv", x, w, pads=[1] * 4))
    return n.conv(x, 6, 4)


def decomposed(n):
    """Pictures as sequences, of a length that is computed; normalisation in pieces; sums without zero."""
    x = n.conv("x", 3, 6)
    front = n.op("Slice", n.op("Shape", x), n.numbers(0), n.numbers(2))
    x = n.op("Transpose", n.op("Reshape", x, n.op("Concat", front, n.numbers(-1), axis=0)), perm=[0, 2, 1])
    centred = n.op("Sub", x, n.op("ReduceMean", x, n.numbers(-1)))
    power = n.op("ReduceMean", n.op("Pow", centred, n.numbers(2, kind=np.float32)), n.numbers(-1))
    x = n.op("Mul", n.op("Div", centred, n.op("Sqrt", power)), n.store(6))
    y = n.op("Softmax", n.op("MatMul", n.op("Add", x, n.store(6)), n.store(6, 9)), axis=-1)
    x = n.op("Add", n.op("MatMul", y, n.store(9, 6)), x)
    return n.op("MatMul", n.op("Gather", x, n.numbers(3), axis=1), n.store(6, 4))


def regrouped(n):
    x = n.op("Relu", n.op("InstanceNormalization", n.conv("x", 3, 8), n.store(8), n.store(8)))
    x = n.op("Slice", x, n.numbers(0, 1), n.numbers(6, 7), n.numbers(1, 2))
    x = n.op("Unsqueeze", n.op("GlobalMaxPool", x), n.numbers(1))
    x = n.op("Squeeze", x, n.numbers(1, 3, 4))
    w = n.op("Squeeze", n.store(7, 1, 6), n.numbers(1))
    x = n.op("Relu", n.op("Gemm", x, w, transB=1))
    x = n.op("Transpose", n.op("MatMul", n.store(5, 7), n.op("Transpose", x, perm=[1, 0])), perm=[1, 0])
    return n.op("MatMul", n.op("Relu", x), n.store(5, 3))


CONVOLUTIONS = [
    residual, normalised, joined, multiplied, flattened, reshaped, squeezed, gated, divided, swapped,
    enlarged, shared, decomposed, regrouped,
]  # fmt: skip


def encoder(n):
    """Word and place embeddings, a gated product of two halves, products stored the other way round."""
    x = n.op("Add", n.op("Gather", n.store(7, 8, name="table"), "x"), n.store(5, 8))
    for _ in range(2):
        y = n.op("LayerNormalization", x, n.store(8), n.store(8))
        y = n.op("Gelu", n.op("MatMul", y, n.op("Transpose", n.store(12, 8))))
        a, b = n.op("Split", y, axis=-1, num_outputs=2, outputs=2)
        x = n.op("Add", n.op("MatMul", n.op("Mul", a, b), n.store(6, 8)), x)
    x = n.op("LayerNormalization", x, n.store(8))
    return n.op("MatMul", x, n.op("Transpose", "table"))


def build(make, seed=0):
    if make is encoder:
        n = Net((2, 5), seed)
        out = make(n)
        return n.model(out, inputs=7)
    n = Net(seed=seed)
    out = make(n)
    return n.model(out)


@pytest.mark.parametrize("make", [*CONVOLUTIONS, encoder])
def test_reordering_is_absorbed(make):
    model, rng = build(make), np.random.default_rng(3)
    spaces = free(model)
    assert spaces
    turned = permute_channels(model, {n: rng.permutation(s.channels) for n, s in spaces.items()})
    assert error_of(model, turned) < 3e-6
    before, after = stored_of(model), stored_of(turned)
    held = {h.tensor for s in spaces.values() for h in s.holders}
    assert all(np.array_equal(before[name], after[name]) != (name in held) for name in before)
    assert [s.name for s in find_spaces(turned)] == [s.name for s in find_spaces(model)]


@pytest.mark.parametrize("make", [*CONVOLUTIONS, encoder])
def test_powers_of_two_are_absorbed_exactly(make):
    model, rng = build(make), np.random.default_rng(3)
    factors = {n: np.exp2(rng.integers(-4, 5, s.channels)) for n, s in free(model, "scale").items()}
    assert factors or make is decomposed
    assert error_of(model, scale_channels(model, factors)) == 0
    odd = {n: f * rng.uniform(0.8, 1.25, len(f)) for n, f in factors.items()}
    assert error_of(model, scale_channels(model, odd)) < 3e-6
    rounded = stored_of(scale_channels(model, odd, powers_of_two=True))
    wanted = stored_of(scale_channels(model, factors))
    assert all(np.array_equal(rounded[name], wanted[name]) for name in wanted)


def silenced(model, gone):
    """Set what makes some channels to zero."""
    quiet = onnx.ModelProto()
    quiet.CopyFrom(model)
    tensors = {t.name: t for t in quiet.graph.initializer}
    for space in find_spaces(model):
        for holder in space.holders:
            if space.name in gone and holder.role in ("producer", "offset"):
                values = onnx.numpy_helper.to_array(tensors[holder.tensor]).copy()
                np.moveaxis(values, holder.axis, 0)[np.isin(holder.channels, gone[space.name])] = 0
                tensors[holder.tensor].CopyFrom(onnx.numpy_helper.from_array(values, holder.tensor))
    return quiet


@pytest.mark.parametrize("make", [*CONVOLUTIONS, encoder])
def test_channels_that_are_zero_can_go(make):
    model, rng = build(make), np.random.default_rng(4)
    spaces = {n: s for n, s in free(model).items() if not s.unremovable}
    assert spaces or make in (encoder, decomposed, swapped)
    kept = {n: np.sort(rng.permutation(s.channels)[: rng.integers(1, s.channels)]) for n, s in spaces.items()}
    quiet = silenced(model, {n: np.setdiff1d(np.arange(spaces[n].channels), k) for n, k in kept.items()})
    smaller = remove_channels(quiet, kept)
    assert error_of(quiet, smaller) < 3e-6
    left = {s.name.partition("[")[0]: s.channels for s in find_spaces(smaller)}
    assert all(left[n] == len(k) for n, k in kept.items() if "[" not in n)
    sizes = [sum(x.size for x in stored_of(m).values()) for m in (model, smaller)]
    assert not spaces or sizes[1] < sizes[0]


LAYER = st.sampled_from(["conv", "point", "depthwise", "residual", "concat", "norm", "relu", "pool", "pad"])


@given(st.lists(LAYER, min_size=1, max_size=7), st.integers(0, 99), st.sampled_from(["flatten", "pool"]))
@settings(max_examples=40)
def test_chains_stay_the_same(layers, seed, end):
    n = Net(seed=seed)
    x, channels = n.conv("x", 3, 4), 4
    earlier = {}
    for layer in layers:
        earlier.setdefault(channels, x)
        if layer in ("conv", "point"):
            outputs = int(n.rng.integers(2, 7))
            x, channels = n.conv(x, channels, outputs, 3 if layer == "conv" else 1), outputs
        elif layer == "depthwise":
            times = int(n.rng.integers(1, 3))
            x, channels = n.conv(x, channels, channels * times, group=channels), channels * times
        elif layer == "residual":
            x = n.op("Add", x, earlier[channels])
        elif layer == "concat":
            other, value = list(earlier.items())[int(n.rng.integers(len(earlier)))]
            x, channels = n.op("Concat", x, value, axis=1), channels + other
        elif layer == "norm":
            x = n.norm(x, channels)
        elif layer == "relu":
            x = n.op("Relu", x)
        elif layer == "pool":
            x = n.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4)
        else:
            x = n.conv(n.op("Pad", x, n.numbers(0, 0, 1, 0, 0, 0, 0, 1)), channels, channels, 1)
            x = n.op("MaxPool", x, kernel_shape=[2, 2])
    x = n.op("Flatten", x if end == "flatten" else n.op("GlobalAveragePool", x))
    places = 64 if end == "flatten" else 1
    model = n.model(n.op("Gemm", x, n.store(5, channels * places), n.store(5), transB=1))
    rng = np.random.default_rng(seed)
    spaces = free(model)
    turned = permute_channels(model, {k: rng.permutation(s.channels) for k, s in spaces.items()})
    assert error_of(model, turned) < 1e-5
    scales = free(model, "scale")
    factors = {k: np.exp2(rng.integers(-2, 3, s.channels)) for k, s in scales.items()}
    assert error_of(model, scale_channels(model, factors)) < 1e-6
    kept = {k: range(max(1, s.channels // 2)) for k, s in spaces.items() if not s.unremovable}
    quiet = silenced(model, {k: np.arange(len(v), spaces[k].channels) for k, v in kept.items()})
    assert error_of(quiet, remove_channels(quiet, kept)) < 1e-5


@given(st.permutations([0, 1, 2, 3]), st.lists(st.sampled_from([2, 3, 4, 6]), max_size=3), st.data())
@settings(max_examples=60)
def test_axes_that_are_moved_and_cut_are_followed_or_fixed(order, cuts, data):
    n = Net((2, 3, 4, 3))
    x = n.op("Transpose", n.op("Relu", n.conv("x", 3, 6)), perm=order)
    left, target = 2 * 6 * 4 * 3, []
    for cut in cuts:
        if left % cut == 0:
            target.append(cut)
            left //= cut
    target.insert(data.draw(st.integers(0, len(target))), left)
    wanted = n.numbers(*target)
    if data.draw(st.booleans()):  # computed, so that the shape is known by inference only
        wanted = n.op("Mul", wanted, n.numbers(1))
    x = n.op("Reshape", x, wanted)
    if data.draw(st.booleans()):
        x = n.op("Reshape", n.op("Relu", x), n.numbers(-1, *target[1:]))
    model = n.model(n.op("MatMul", n.op("Unsqueeze", x, n.numbers(0)), n.store(target[-1], 5)))
    spaces = {k: s for k, s in free(model).items() if s.channels > 1}
    rng = np.random.default_rng(0)
    turned = permute_channels(model, {k: rng.permutation(s.channels) for k, s in spaces.items()})
    assert error_of(model, turned) < 3e-6
    kept = {k: range(s.channels - 2) for k, s in spaces.items() if not s.unremovable}
    quiet = silenced(model, {k: [s.channels - 1, s.channels - 2] for k, s in spaces.items()})
    assert error_of(quiet, remove_channels(quiet, kept)) < 3e-6


# -- what the spaces are -----------------------------------------------------------------------------


def holders(space):
    return {(h.tensor, h.axis): (h.role, h.repeats) for h in space.holders}


def test_a_residual_sum_ties_the_ends_of_its_block():
    spaces = free(build(residual))
    assert {n: s.channels for n, s in spaces.items()} == {"v1": 6, "v3": 10, "v8": 10}
    assert holders(spaces["v1"]) == {
        ("w0", 0): ("producer", 1), ("w1", 0): ("offset", 1), ("w2", 1): ("consumer", 1),
        ("w4", 0): ("producer", 1), ("w5", 1): ("consumer", 1), ("w7", 0): ("producer", 1),
        ("w8", 1): ("consumer", 1),
    }  # fmt: skip


def test_a_space_can_be_a_part_of_an_axis():
    spaces = free(build(joined))
    # A sum with both joined values ties the layer behind them to one or the other.
    assert {n: s.channels for n, s in spaces.items()} == {"v1": 4, "v3": 6}
    norm = {h.tensor: h.channels for h in spaces["v1"].holders}["w10"]
    assert norm.tolist() == [0, 1, 2, 3, *[-1] * 6, 0, 1, 2, 3]


def test_flattening_repeats_channels():
    spaces = free(build(flattened))
    assert holders(spaces["v1"])["w2", 0] == ("consumer", 16)
    kernels = {h.tensor: h for h in spaces["v1"].holders}["w2"]
    assert kernels.channels.tolist() == np.repeat(np.arange(5), 16).tolist()
    assert kernels.filter_axis == 1
    last = {h.tensor: h for h in find_spaces(build(reshaped))[2].holders}["w4"]
    assert last.channels.tolist() == np.tile(np.arange(6), 64).tolist()


def test_depthwise_layers_multiply_channels_one_by_one():
    spaces = free(build(multiplied))
    assert holders(spaces["v1"]) == {
        ("w0", 0): ("producer", 1), ("w1", 0): ("offset", 1), ("w2", 0): ("factor", 3),
        ("w3", 0): ("offset", 3), ("w4", 1): ("consumer", 3),
    }  # fmt: skip
    smaller = remove_channels(build(multiplied), {"v1": [1, 3]})
    assert [a.i for a in smaller.graph.node[2].attribute if a.name == "group"] == [2]


def test_halves_of_a_split_stay_apart():
    spaces = free(build(divided))
    assert {n: s.channels for n, s in spaces.items()} == {"v1[0:4]": 4, "v1[4:10]": 6}


def test_normalised_channels_change_places_only():
    spaces = free(build(encoder))
    hidden = next(iter(spaces.values()))
    assert hidden.channels == 8
    assert hidden.unremovable == "LayerNormalization 'n3' normalises over them"
    with pytest.raises(TensorError, match="can't be removed: LayerNormalization 'n3'"):
        remove_channels(build(encoder), {hidden.name: [0, 1]})
    # The gated halves are one channel each, twice along the axis that makes them.
    assert [(s.channels, s.holders[0].repeats) for s in spaces.values()][1:] == [(6, 2), (6, 2)]


def fixed(model, purpose="order"):
    return {s.name: s.fixed for s in find_spaces(model, purpose) if s.fixed}


def test_inputs_and_outputs_are_fixed():
    assert fixed(build(residual)) == {
        "x": "'x' is an input of the graph",
        "v13": "'v13' is an output of the graph",
    }
    n = Net()
    x = n.op("Relu", n.conv("x", 3, 6))
    inside = n.op("Relu", n.conv(x, 6, 5))
    model = n.model(inside, n.conv(inside, 5, 4))
    assert fixed(model)["v3"] == "'v4' is an output of the graph"
    assert [*free(model)] == ["v1"]


@pytest.mark.parametrize(("reader", "reason"), [
    (lambda n, x: n.conv(x, 6, 6, group=2), "Conv 'n3' has 2 groups of 3 channels each"),
    (lambda n, x: n.op("Reshape", x, n.numbers(0, 2, 3, 64)), "Reshape 'n3' splits them over axes, or joins"),
    (lambda n, x: n.op("CumSum", x, n.numbers(1)), "CumSum 'n3' is not followed"),
    (lambda n, x: n.op("Gather", x, n.numbers(0, 2), axis=1), "Gather 'n3' picks some of them"),
    (lambda n, x: n.op("MatMul", x, n.op("Transpose", x, perm=[0, 1, 3, 2])), "MatMul 'n4' multiplies two"),
    (lambda n, x: n.op("Pad", x, n.numbers(0, 1, 0, 0, 0, 0, 0, 0)), "Pad 'n3' adds some of its own"),
    (lambda n, x: n.op("Add", x, n.op("ReduceSum", "x", n.numbers(1), keepdims=0)), ""),
])  # fmt: skip
def test_what_is_not_followed_fixes_channels(reader, reason):
    n = Net((2, 3, 8, 8))
    x = n.op("Relu", n.conv("x", 3, 6))
    if not reason:  # lined up with another axis, by chance of the same length
        n.shape, reason = (6, 3, 8, 8), "Add 'n4' joins them with others: 'x' is an input of the graph"
    model = n.model(reader(n, x))
    assert fixed(model)["v1"].startswith(reason)
    with pytest.raises(TensorError, match="can't be reordered"):
        permute_channels(model, {"v1": range(6)})


def test_stored_tensors_of_other_uses_are_fixed():
    n = Net()
    w = n.store(6, 3, 3, 3)
    x = n.op("Relu", n.op("Conv", "x", w, pads=[1] * 4))
    y = n.conv(x, 6, 4)
    squares = n.op("ReduceSumSquare", w, keepdims=0)
    model = n.model(n.op("Mul", y, squares))
    assert fixed(model)["v1"] == "ReduceSumSquare 'n4' computes from stored tensors"
    n = Net(("N", 3, 8, 6))
    bias = n.store(6)  # also added along the width of the pictures
    x = n.op("Conv", n.op("Add", "x", bias), n.store(6, 3, 1, 1), bias)
    model = n.model(n.conv(x, 6, 4))
    assert fixed(model)["v2"] == "'w0' is read by Add 'n1', too"


def test_bodies_of_control_flow_fix_what_they_read():
    n = Net()
    x = n.op("Relu", n.conv("x", 3, 6))
    make = onnx.helper
    bodies = [
        make.make_graph(
            [make.make_node(kind, [x], [kind])], kind, [], [make.make_tensor_value_info(kind, 1, [None] * 4)]
        )
        for kind in ("Relu", "Neg")
    ]
    n.stored["yes"] = np.asarray(True)
    y = n.op("If", "yes", then_branch=bodies[0], else_branch=bodies[1])
    model = n.model(n.conv(y, 6, 4))
    assert fixed(model)["v1"] == "If 'n3' is not followed"


def test_constants_can_be_nodes():
    model = build(flattened)
    spaces = [(s.name, s.fixed, holders(s)) for s in find_spaces(model)]
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
    del moved.graph.initializer[:], moved.graph.node[:]
    moved.graph.node.extend([*nodes, *model.graph.node])
    assert [(s.name, s.fixed, holders(s)) for s in find_spaces(moved)] == spaces
    order = {"v1": [4, 2, 0, 1, 3]}
    assert error_of(model, permute_channels(moved, order)) < 3e-6
    kept = {"v1": [0, 2]}
    assert error_of(remove_channels(model, kept), remove_channels(moved, kept)) == 0


def test_stored_tensors_can_be_listed_as_inputs():
    model = build(flattened)
    old = onnx.ModelProto()
    old.CopyFrom(model)
    for tensor in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        old.graph.input.append(info)
    old.graph.initializer[0].doc_string = "its name"
    kept = {"v1": [0, 2]}
    smaller = remove_channels(old, kept)
    assert error_of(remove_channels(model, kept), smaller) < 3e-6
    assert smaller.graph.initializer[0].doc_string == "its name"


def test_weights_that_make_and_read_the_same_channels_are_not_scaled():
    n = Net((2, 8))
    w = n.store(8, 8)
    x = n.op("MatMul", "x", n.store(8, 8))
    x = n.op("Gemm", n.op("Relu", x), w)
    x = n.op("Gemm", n.op("Relu", x), w, transB=1)
    model = n.model(n.op("MatMul", n.op("Relu", x), n.store(8, 3)))
    # Its second axis is made by one layer and read by the next.
    assert "shares 'w0' with a layer of another kind" in fixed(model, "scale")["v3"]
    turned = permute_channels(model, {k: range(7, -1, -1) for k in free(model)})
    assert error_of(model, turned) < 3e-6


@pytest.mark.parametrize(("kind", "reason"), [
    ("Sigmoid", "Sigmoid 'n2' is not positively homogeneous"),
    ("HardSwish", "HardSwish 'n2' is not positively homogeneous"),
    ("Gelu", "Gelu 'n2' is not positively homogeneous"),
])  # fmt: skip
def test_only_homogeneous_operators_pass_factors(kind, reason):
    n = Net()
    model = n.model(n.conv(n.op(kind, n.conv("x", 3, 6)), 6, 4))
    assert fixed(model, "scale")["v1"] == reason
    with pytest.raises(TensorError, match="can't be scaled"):
        scale_channels(model, {"v1": [1.0] * 6})
    assert [*free(model)] == ["v1"]


def test_a_gate_lets_factors_pass():
    spaces = free(build(gated), "scale")
    assert {n: s.channels for n, s in spaces.items()} == {"v1": 6, "v4": 4}
    n = Net()
    x = n.op("Relu", n.conv("x", 3, 6))
    model = n.model(n.conv(n.op("Mul", x, n.op("Relu", n.conv("x", 3, 6))), 6, 4))
    assert fixed(model, "scale")["v1"] == "Mul 'n5' is not positively homogeneous"


def test_one_number_added_to_all_channels_takes_no_factors():
    n = Net()
    model = n.model(n.conv(n.op("Add", n.conv("x", 3, 6), n.store(1)), 6, 4))
    assert fixed(model, "scale")["v1"] == "Add 'n2' adds one number to all of them"
    assert [*free(model)] == ["v1"]


def test_mistakes_are_refused():
    model = build(residual)
    for call, message in [
        (lambda: permute_channels(model, {"none": [0]}), "no channel space is called 'none'"),
        (lambda: permute_channels(model, {"v1": [0] * 6}), "must be one of its 6 channels"),
        (lambda: remove_channels(model, {"v1": []}), "some of 0 to 5, in ascending order"),
        (lambda: remove_channels(model, {"v1": [2, 1]}), "some of 0 to 5, in ascending order"),
        (lambda: remove_channels(model, {"v1": [6]}), "some of 0 to 5, in ascending order"),
        (lambda: remove_channels(model, {"x": [0]}), "'x' is an input of the graph"),
        (lambda: scale_channels(model, {"v1": [1.0]}), "6 positive numbers"),
        (lambda: scale_channels(model, {"v1": [0.0] * 6}), "6 positive numbers"),
        (lambda: scale_channels(model, {"v1": [2.0**200] * 6}), "leave the range"),
        (lambda: float_error(model, model, []), "no batches"),
    ]:
        with pytest.raises(BitxError, match=message):
            call()


# -- sizes made alike --------------------------------------------------------------------------------


@pytest.mark.parametrize("grouping", ["flat", "channel", "kernel"])
def test_shift_is_that_of_the_definition(grouping):
    rng = np.random.default_rng(2)
    w = rng.standard_normal((3, 5, 2, 2)) * (rng.random((3, 5, 2, 2)) > 0.2)
    shifts = []
    for filters in w:
        kernels = filters.reshape(5, 4)
        rows = {"flat": [filters.ravel()], "channel": kernels.T, "kernel": kernels}
        for row in rows[grouping]:
            for at in range(0, len(row), 3):
                e = [np.frexp(v)[1] for v in row[at : at + 3] if v]
                shifts += [max(e) - one for one in e]
    assert mean_shift(w, 3, grouping) == (pytest.approx(np.mean(shifts)), len(shifts))


@pytest.mark.parametrize("grouping", ["flat", "channel"])
@pytest.mark.parametrize("change", [equalised, permuted])
def test_members_of_a_group_become_alike(grouping, change):
    model = build(residual)
    uneven = np.exp2(np.random.default_rng(7).integers(-5, 6, 10))
    model = scale_channels(model, {"v3": uneven, "v8": uneven[::-1]})
    after, changes = change(model, 4, grouping)
    assert error_of(model, after) == 0 if change is equalised else error_of(model, after) < 3e-6
    for space in changes:
        assert bool(space.done) != bool(space.refused)
        assert (space.shift_after < space.shift_before) == bool(space.done)
    done = {c.space: c.shift_before - c.shift_after for c in changes if c.done}
    assert {"v3", "v8"} <= set(done)
    assert min(done["v3"], done["v8"]) > 0.2
    # What is reported is what a second look finds.
    again = {c.space: c.shift_before for c in change(after, 4, grouping)[1]}
    assert all(again[c.space] == pytest.approx(c.shift_after) for c in changes)


def test_kernels_of_one_channel_can_not_become_more_alike():
    model = build(residual)
    for change in (equalised, permuted):
        changes = change(model, None, "kernel")[1]
        assert not any(c.done for c in changes)
        others = {c.refused for c in changes if c.space not in fixed(model)}
        assert others == {"alignment would shift no less"}


def test_factors_keep_stored_numbers_normal():
    n = Net()
    x = n.op("Relu", n.conv("x", 3, 4, bias=False))
    model = n.model(n.conv(x, 4, 3))
    tensors = {t.name: t for t in model.graph.initializer}
    for name, axis in (("w0", 0), ("w1", 1)):
        values = onnx.numpy_helper.to_array(tensors[name]).copy()
        np.moveaxis(values, axis, 0)[1] *= np.float32(2.0**-120)
        tensors[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    after, _ = equalised(model, 4, "channel")
    assert error_of(model, after) == 0


# -- real models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "order", "scale"), [
    ("digits", 7, 7), ("detector", 12, 12), ("transformer", 5, 8),
    *(pytest.param(*one, marks=[pytest.mark.models, pytest.mark.slow])
      for one in [("crops", 24, 7), ("minilm", 6, 0), ("ocr", 24, 2)]),
])  # fmt: skip
def test_samples_stay_the_same(name, order, scale):
    from hwmodel.evaluation import task
    from hwmodel.networks.onnx import read_model

    one = task(name)
    model = read_model(one.model)
    batch = {k: v[:4] for k, v in next(iter(one.samples())).feeds.items()}
    spaces, scales, rng = free(model), free(model, "scale"), np.random.default_rng(0)
    assert (len(spaces), len(scales)) == (order, scale)
    turned = permute_channels(model, {n: rng.permutation(s.channels) for n, s in spaces.items()})
    # Text recognition ends in a softmax of large numbers.
    most = 1e-4 if name == "ocr" else 3e-6
    assert all(e.relative < most for e in float_error(model, turned, [batch]).values())
    factors = {n: np.exp2(rng.integers(-3, 4, s.channels)) for n, s in scales.items()}
    errors = float_error(model, scale_channels(model, factors), [batch])
    assert all(e.absolute == 0 for e in errors.values())
