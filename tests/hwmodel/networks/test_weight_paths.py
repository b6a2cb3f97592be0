"""Weights behind random ways of a graph, against ONNX Runtime's values of the operands."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import hwmodel as hw
from bitxcore.dumps import open_dump
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


def run(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {})


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


@pytest.mark.parametrize("part", range(4))
def test_random_ways(part, tmp_path):
    check_many(range(part * 60, part * 60 + 60), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_many_random_ways(part, tmp_path):
    check_many(range(part * 600, part * 600 + 600), tmp_path)
