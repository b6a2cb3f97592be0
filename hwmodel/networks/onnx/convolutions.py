"""Layers of convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bitxcore.errors import TensorError
from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import GraphOperand
from hwmodel.networks.layers import Conv, ConvTranspose
from hwmodel.networks.onnx.graph import Found, Graph, attributes_of, name_of, operand_of
from hwmodel.networks.onnx.model_file import transposed_padding
from hwmodel.networks.onnx.shapes import TensorShape
from hwmodel.networks.onnx.weights import bind


def conv(graph: Graph, node: Any, weight: int = 1, zero_point: int | None = None) -> Found:
    """Convolution; `weight` is the input that holds the weights, `zero_point` that of the activations'."""
    attributes, x, w = _shapes(graph, node, weight)
    layer = conv_of(name_of(node), attributes, x, w)
    _check_output(graph, node, layer.out_size)
    last = partial(np.moveaxis, source=-1, destination=1)
    read = operand_of(node, 0, zero_point, **({"arrange": last} if attributes.get("channels_last") else {}))
    return [replace(bind(graph, node, layer, weight), reads=(read,))]


def conv_of(name: str, attributes: Mapping[str, Any], x: TensorShape, w: TensorShape) -> Conv:
    """Make the layer of a convolution's attributes and the shapes of its operands, channels second."""
    arguments = _arguments(attributes, x, w)
    mode = attributes.get("auto_pad") or "NOTSET"
    if mode.startswith("SAME"):
        padding = _same_padding(
            x[2:], w[2:], arguments["stride"], arguments["dilation"], mode == "SAME_UPPER"
        )
    else:
        padding = _explicit_padding(attributes, len(w) - 2) if mode == "NOTSET" else [(0, 0)] * (len(w) - 2)
    return Conv(name, out_channels=w[0], padding=tuple(padding), **arguments)


def conv_transpose(graph: Graph, node: Any) -> Found:
    """Transposed convolution."""
    attributes, x, w = _shapes(graph, node, 1)
    arguments = _arguments(attributes, x, w)
    ndim = len(w) - 2
    extra = tuple(attributes.get("output_padding", [0] * ndim))
    mode = attributes.get("auto_pad") or "NOTSET"
    wanted: list[int | None] = list(attributes.get("output_shape") or [None] * ndim)[-ndim:]
    padding = _explicit_padding(attributes, ndim) if mode == "NOTSET" else [(0, 0)] * ndim
    grown = list(extra)
    dimensions = zip(x[2:], w[2:], arguments["stride"], arguments["dilation"], extra, wanted, strict=True)
    for axis, (i, k, s, d, e, out) in enumerate(dimensions):
        whole = s * (i - 1) + e + d * (k - 1) + 1
        if out is None and not mode.startswith("SAME"):
            continue
        # What is too much is cropped; an output grows where its size is given only, not to i * s.
        total = whole - (i * s if out is None else out)
        padding[axis] = transposed_padding(total, mode)
        grown[axis] = e + (max(0, -total) if out is not None else 0)
    groups = arguments["groups"]
    layer = ConvTranspose(
        name_of(node),
        out_channels=w[1] * groups,
        padding=tuple(padding),
        output_padding=tuple(grown),
        **arguments,
    )
    _check_output(graph, node, layer.out_size)
    layout = Layout(filter_axis=1) if groups == 1 else Layout(filter_axis=1, conv_groups=groups)
    return [replace(bind(graph, node, layer, 1, layout), reads=(GraphOperand((node.input[0],)),))]


def _shapes(graph: Graph, node: Any, weight: int) -> tuple[dict[str, Any], TensorShape, TensorShape]:
    """Return the attributes, and the shapes of the activations, channels second, and of the weights."""
    attributes = attributes_of(node)
    x, w = graph.shapes[node.input[0]], graph.shapes[node.input[weight]]
    if attributes.get("channels_last"):
        x = (x[0], x[-1], *x[1:-1])
    if not 1 <= len(w) - 2 <= 3 or len(x) != len(w):
        raise TensorError(
            f"node {name_of(node)!r}: {node.op_type} of {x} with {w} is not 1-D to 3-D", path=graph.path
        )
    return attributes, x, w


def _arguments(attributes: Mapping[str, Any], x: TensorShape, w: TensorShape) -> dict[str, Any]:
    """Return what Conv and ConvTranspose share as arguments."""
    ndim = len(w) - 2
    return {
        "in_channels": x[1],
        "in_size": x[2:],
        "kernel": w[2:],
        "stride": tuple(attributes.get("strides", [1] * ndim)),
        "dilation": tuple(attributes.get("dilations", [1] * ndim)),
        "groups": attributes.get("group", 1),
        "batch": x[0],
    }


def _explicit_padding(attributes: Mapping[str, Any], ndim: int) -> list[tuple[int, int]]:
    pads = attributes.get("pads", [0] * 2 * ndim)
    return list(zip(pads[:ndim], pads[ndim:], strict=True))


def _same_padding(
    sizes: TensorShape, kernel: TensorShape, strides: TensorShape, dilations: TensorShape, upper: bool
) -> list[tuple[int, int]]:
    pairs = []
    for i, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
        pairs.append((total // 2, total - total // 2) if upper else (total - total // 2, total // 2))
    return pairs


def _check_output(graph: Graph, node: Any, size: TensorShape) -> None:
    inferred = graph.shapes.get(node.output[0], ())
    inferred = inferred[1:-1] if attributes_of(node).get("channels_last") else inferred[2:]
    if len(inferred) == len(size) and inferred != size:
        raise TensorError(
            f"node {name_of(node)!r}: output size {size} from its attributes, {inferred} inferred",
            path=graph.path,
            value=size,
        )
