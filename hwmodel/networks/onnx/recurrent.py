"""Layers of recurrent operators."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import recurrent_operands
from hwmodel.networks.layers import Linear
from hwmodel.networks.onnx.graph import Found, Graph, attributes_of, name_of
from hwmodel.networks.onnx.weights import bind


def recurrent(graph: Graph, node: Any, *, features_first: bool = False) -> Found:
    """LSTM, GRU and RNN: per direction, the gates' input matrix and their recurrent matrix.

    Parameters
    ----------
    graph : Graph
    node : onnx.NodeProto
    features_first : bool
        Whether the matrices are stored (features, gates).
    """
    attributes = attributes_of(node)
    x = graph.shapes[node.input[0]]
    batch, sequence = (x[0], x[1]) if attributes.get("layout", 0) else (x[1], x[0])
    entries = []
    for what, operand, steps in (("input", 1, 1), ("recurrent", 2, sequence)):
        directions, rows, columns = graph.shapes[node.input[operand]]
        if features_first:
            rows, columns = columns, rows
        for d in range(directions):
            suffix = what if directions == 1 else f"{what}[{d}]"
            layer = Linear(
                f"{name_of(node)}.{suffix}",
                in_features=columns,
                out_features=rows,
                positions=sequence * batch,
                steps=steps,
            )
            reads = recurrent_operands(node, attributes, d, sequence)
            bound = bind(graph, node, layer, operand, Layout(int(features_first)), index=d)
            entries.append(replace(bound, reads=(reads[operand - 1],)))
    return entries
