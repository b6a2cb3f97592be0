"""Tying a layer to the stored tensors that its weights are made of."""

from __future__ import annotations

from typing import Any

from bitxcore.dumps.onnx import is_readable
from bitxcore.dumps.onnx_nibbles import NIBBLES
from bitxcore.dumps.onnx_weights import (
    AsStored,
    Stopped,
    attributes_of,
    multiplied,
    operand_value,
    rearranged,
    transposed,
)
from bitxcore.groups import Layout
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import Graph


def bind(
    graph: Graph,
    node: Any,
    layer: Any,
    place: int,
    layout: Layout | None = None,
    index: int | None = None,
    rearrange: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> NetworkLayer:
    """Tie a layer to the tensors that its weights come from, followed as a dump's reader follows them.

    Parameters
    ----------
    graph : Graph
    node : onnx.NodeProto
        What the layer is made of.
    layer : Layer
    place : int
        Input of the node that holds the weights.
    layout : Layout, optional
        Of these weights, as the node takes them.
    index : int, optional
        Which of a stack of weights is meant.
    rearrange : tuple, optional
        Order of axes, and then a shape, to bring the operand into first.
    """
    layout = layout or Layout()
    attributes = attributes_of(node)
    operand = next(o for o in multiplied(node, attributes) if o.place == place)
    value = operand_value(node, attributes, operand, graph.made_of)
    if value is None or isinstance(value, Stopped):
        return NetworkLayer(layer, weight_missing=_why_missing(graph, node.input[place], value))
    if value.unknown:
        return NetworkLayer(layer, weight_missing=value.unknown)
    for part in value.parts:
        if not is_readable(part.constant):
            kind = part.constant.proto.data_type
            return NetworkLayer(layer, weight_missing=f"the weights are stored in ONNX's type {kind}")
    if rearrange is not None:
        value = rearranged(value, *rearrange)
    name = value.parts[0].constant.name
    narrow = getattr(value.parts[0].constant.proto, "data_type", 0) in NIBBLES
    if isinstance(value.recipe, AsStored) and not narrow:
        return NetworkLayer(layer, name, layout, index)
    if transposed(value) == (1, 0) and layout.conv_groups == 1 and not narrow:
        return NetworkLayer(layer, name, Layout(1 - layout.filter_axis), index)
    return NetworkLayer(layer, name, layout, index, recipe=value.recipe)


def _why_missing(graph: Graph, name: str, value: Stopped | None) -> str:
    if isinstance(value, Stopped):
        return f"the weights are computed from constants by {value.operator}"
    if name in graph.constant and name in graph.producer:
        return f"the weights are computed from constants by {graph.producer[name].op_type}"
    return "the weights are computed at run time"
