"""Tracing a layer's weights back to the tensor that the file stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bitxcore.groups import Layout
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import Graph, attributes_of

_PASS = ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear")
"""Operators that change how constants are written down, not where they are."""


def bind(
    graph: Graph,
    node: Any,
    layer: Any,
    operand: int,
    layout: Layout | None = None,
    index: int | None = None,
    zero_point: int | None = None,
) -> NetworkLayer:
    """Tie a layer to the tensor its weights come from, following what only rewrites constants.

    Parameters
    ----------
    graph : Graph
    node : onnx.NodeProto
        What the layer is made of.
    layer : Layer
    operand : int
        Input of the node that holds the weights.
    layout : Layout, optional
        Of these weights.
    index : int, optional
        Which of a stack of weights is meant.
    zero_point : int, optional
        Input that holds their zero point.
    """
    layout = layout or Layout()
    name = node.input[operand]
    notes = _zero_point_note(graph, node, zero_point)
    if name not in graph.constant:
        return NetworkLayer(layer, weight_missing="the weights are computed at run time", notes=notes)
    while name not in graph.stored:
        producer = graph.producer[name]
        if producer.op_type == "Transpose" and layout.conv_groups == 1:
            perm = attributes_of(producer).get("perm")
            if len(graph.shapes.get(name, ())) != 2 or perm == [0, 1]:
                break
            layout = replace(layout, filter_axis=1 - layout.filter_axis)
        elif producer.op_type in _PASS:
            notes += _zero_point_note(graph, producer, 2) if producer.op_type == "DequantizeLinear" else ()
        else:
            break
        name = producer.input[0]
    if name not in graph.stored:
        why = f"the weights are computed from constants by {graph.producer[name].op_type}"
        return NetworkLayer(layer, weight_missing=why, notes=notes)
    return NetworkLayer(layer, graph.listed(name), layout, index, notes=notes)


def _zero_point_note(graph: Graph, node: Any, operand: int | None) -> tuple[str, ...]:
    import onnx

    if operand is None or operand >= len(node.input) or node.input[operand] == "":
        return ()
    tensor = graph.tensors.get(node.input[operand])
    if tensor is not None and not tensor.external_data and not onnx.numpy_helper.to_array(tensor).any():
        return ()
    return ("the weights' zero point is not subtracted",)
