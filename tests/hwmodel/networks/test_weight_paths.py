"""Weights behind random ways of a graph, against ONNX Runtime's values of the operands."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.dumps import open_dump, save
from bitxcore.dumps.onnx_weights import evaluate, sources
from bitxcore.groups import Layout

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from tests.hwmodel.networks.random_weight_layers import (  # noqa: E402
    PLACES,
    draw,
    operands_model,
    whole_model,
)

UNKNOWN = "the weights' zero point is not known"


def run(model, feeds=None):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds or {})


def in_integers(operand, value):
    """Codes of an operand: what ONNX Runtime computes, less what the operator subtracts."""
    return value.astype(int) - operand.zero if operand.kind in ("i1", "u1") else value


def listed_names(dump, names):
    """Names that a dump gives to values of a graph, a body or a function."""
    short = {full.rsplit("/", 1)[-1]: full for full in dump}
    return {name: short[name] for name in names}


def check(seed, folder, seen):
    drawn = {mode: draw(seed, mode) for mode in ("real", "unit", "ids")}
    real, unit, ids = (run(operands_model(one)) for one in drawn.values())
    place = PLACES[seed % len(PLACES)]
    path = folder / "model.onnx"
    onnx.save(whole_model(drawn["real"], place), path)
    dump = open_dump(path)
    network = hw.load_network(path)
    paths = drawn["real"].paths
    names = listed_names(dump, [*paths.weights, *paths.others])
    wrong = [name for name in paths.others if dump[names[name]].is_weight]
    assert not wrong, f"{wrong} are no weights"
    entries = iter(network.layers)
    for operand, *values in zip(drawn["real"].operands, real, unit, ids, strict=True):
        check_operand(operand, *values, dump, names, paths, seen)
        codes = values[0] if operand.kind == "f4" else in_integers(operand, values[1])
        for want in operand.layers(codes):
            entry = next(entries)
            if entry.weight_missing:
                seen[entry.weight_missing] += 1
                assert entry.weight_missing.startswith(UNKNOWN), entry.weight_missing
                continue
            seen["read"] += 1
            got = entry.read(dump)
            assert got.size == want.size
            np.testing.assert_array_equal(got.reshape(want.shape).astype(want.dtype), want)
    assert next(entries, None) is None


def check_operand(operand, real, unit, ids, dump, names, paths, seen):
    """Compare what a dump knows of the stored tensors with what reaches the operand."""
    assert ids.shape == operand.shape
    ids = ids.astype(int)
    channel = np.broadcast_to(operand.channel(ids.shape), ids.shape)
    for name, (first, array) in paths.weights.items():
        here = (ids >= first) & (ids < first + array.size)
        if not here.any() or not array.ndim:
            continue
        tensor = dump[names[name]]
        assert tensor.is_weight, f"{name} reaches the operand"
        places = ids[here] - first
        whole_groups = operand.groups == 1 or array.shape == operand.shape
        if whole_groups:
            seen["rows"] += check_layout(tensor, places, channel[here])
        if array.dtype.kind == "f" or tensor.encoding.unknown:
            continue
        codes = codes_of(tensor)
        np.testing.assert_array_equal(codes.reshape(-1)[places], in_integers(operand, unit)[here])
        if operand.kind == "dq" and not repeated(dump, tensor):
            scaled = tensor.encoding.weights(array).reshape(-1)[places]
            np.testing.assert_allclose(scaled, real[here], rtol=1e-5, atol=1e-6)


def repeated(dump, tensor):
    """Whether scales that do not follow a tensor's axes apply to copies of its numbers."""
    for spread in (scale.spread for scale in tensor.encoding._part.scales if scale.spread):
        arrays = {name: np.zeros(dump[name].shape, int) for name in sources(spread.places)}
        arrays[tensor.name] = np.arange(1, tensor.size + 1).reshape(tensor.shape)
        places = evaluate(spread.places, arrays)
        if np.unique(places[places > 0], return_counts=True)[1].max(initial=0) > 1:
            return True
    return False


def codes_of(tensor):
    return tensor.encoding.codes(tensor.read())[0].astype(int)


def check_layout(tensor, places, channels):
    """Filters are output channels wherever some axis of the tensor is one; return 1 if they are rows instead.

    So they are where the output channel ran over several axes, of which a cut has left one.
    """
    fits = [a for a in layouts_of(tensor) if one_to_one(filters_of(tensor.shape, a)[places], channels)]
    if not fits or len(set(channels.tolist())) < 2 or tensor.layout in fits:
        return 0
    assert tensor.layout == Layout(), (tensor.layout, fits, tensor.shape)
    return 1


def layouts_of(tensor):
    groups = {tensor.layout.conv_groups, 1}
    return [
        *(Layout(axis) for axis in range(tensor.ndim)),
        *(Layout(1, g) for g in groups if g > 1 and tensor.ndim > 1),
    ]


def filters_of(shape, layout):
    """For each number of a tensor the filter that it belongs to."""
    turned = layout.turn(np.arange(int(np.prod(shape))).reshape(shape))
    filters = np.empty(turned.size, int)
    filters[turned.reshape(-1)] = np.repeat(np.arange(len(turned)), turned.size // len(turned))
    return filters


def one_to_one(filters, channels):
    pairs = set(zip(filters.tolist(), channels.tolist(), strict=True))
    return len(pairs) == len({f for f, _ in pairs}) == len({c for _, c in pairs})


def clears(seed, folder):
    """Clear a filter of the only weights of a graph: its output channel is cleared, no other; 1 if tried."""
    drawn, ids = draw(seed), draw(seed, "ids")
    if drawn.outputs is None or len(drawn.paths.weights) > 1:
        return 0
    ((_, (first, array)),) = drawn.paths.weights.items()
    rounded = array.dtype.kind == "f" and drawn.operands[0].kind != "f4"  # a float 0 is a code of its own
    if rounded or not array.ndim:
        return 0
    (places,) = run(operands_model(ids))
    channels = drawn.operands[0].channel(places.shape)
    path = folder / "whole.onnx"
    onnx.save(whole_model(drawn, "graph"), path)
    dump = open_dump(path)
    (tensor,) = (tensor for tensor in dump.values() if tensor.is_weight)
    if places.min() < 1 or (tensor.encoding and tensor.encoding.unknown):
        return 0
    filters = filters_of(array.shape, tensor.layout)[places.astype(int) - first]
    if not one_to_one(filters.reshape(-1), channels.reshape(-1)):
        return 0
    chosen = int(filters.flat[0])
    save(dump, folder / "cleared.onnx", lambda t: cleared(t, chosen) if t is tensor else None)
    x = {"x": np.random.default_rng(seed).uniform(1, 2, drawn.x[1]).astype("f4")}
    before, after = (
        np.moveaxis(run(onnx.load(file), x)[0], drawn.outputs, 0) for file in (path, folder / "cleared.onnx")
    )
    channel = int(channels[filters == chosen][0])
    np.testing.assert_allclose(after[channel], 0, atol=1e-5)
    np.testing.assert_array_equal(np.delete(after, channel, 0), np.delete(before, channel, 0))
    return 1


def cleared(tensor, chosen):
    stored = tensor.read()
    codes = stored if tensor.encoding is None else tensor.encoding.codes(stored)[0]
    turned = tensor.layout.turn(codes).copy()
    turned[chosen] = 0
    new = tensor.layout.restore(turned)
    return new if tensor.encoding is None else tensor.encoding.stored(new, stored)


def test_filters_are_output_channels(tmp_path):
    assert sum(clears(seed, tmp_path) for seed in range(250)) > 25


@pytest.mark.slow
def test_many_filters_are_output_channels(tmp_path):
    assert sum(clears(seed, tmp_path) for seed in range(250, 2250)) > 200


def check_many(seeds, folder):
    seen = Counter()
    for seed in seeds:
        try:
            check(seed, folder, seen)
        except Exception as error:
            error.add_note(f"the graph of seed {seed}")
            raise
    assert seen.pop("read") >= len(seeds)
    assert seen.pop("rows", 0) <= 2 + len(seeds) / 100
    assert not +seen  # no weights that were not found


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 4))])
def test_random_ways(part, tmp_path):
    check_many(range(part * 60, part * 60 + 60), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_many_random_ways(part, tmp_path):
    check_many(range(part * 600, part * 600 + 600), tmp_path)
