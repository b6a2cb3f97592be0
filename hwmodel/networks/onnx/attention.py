"""Layers of attention that is one operator: ONNX Runtime's fused ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import SECOND, GraphOperand, product_rows
from hwmodel.networks.layers import Linear, MatMul
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import NO_LAYER, Found, Graph, LeftOut, attributes_of, name_of, operand_of
from hwmodel.networks.onnx.weights import bind

_INSIDE = "it is inside a fused operator, which hands out its result only"


def attention(graph: Graph, node: Any) -> Found:
    """Project inputs to queries, keys and values by one matrix, and attend (Attention, QAttention)."""
    if node.domain != "com.microsoft":
        return LeftOut(NO_LAYER, True)
    attributes = attributes_of(node)
    batch, rows, features = graph.shapes[node.input[0]]
    wide = graph.shapes[node.input[1]][-1]
    heads = attributes["num_heads"]
    queries, _, values = attributes.get("qkv_hidden_sizes") or (wide // 3,) * 3
    quantised = node.op_type == "QAttention"
    past = 8 if quantised else 4
    before = _past_length(graph, node, past)
    projection = Linear(f"{name_of(node)}.qkv", features, wide, batch * rows)
    arrange = partial(product_rows, stack=(), index=0, flips=False, columns=False)
    read = operand_of(node, 0, 6 if quantised else None, arrange=arrange)
    return [
        replace(bind(graph, node, projection, 1, Layout(1)), reads=(read,)),
        *_products(node, batch * heads, rows, before + rows, queries // heads, values // heads),
    ]


def multi_head_attention(graph: Graph, node: Any) -> Found:
    """Attend to keys and values that are given (MultiHeadAttention)."""
    shapes = [graph.shapes[name] for name in node.input[:3] if name]
    if len(shapes) != 3 or len(shapes[0]) != 3:
        return LeftOut(NO_LAYER, True)
    query, key, value = shapes
    heads = attributes_of(node)["num_heads"]
    # Keys come as (batch, rows, heads * size) or (batch, heads, rows, size).
    attended = key[-2] + _past_length(graph, node, 6)
    size = value[-1] // heads if len(value) == 3 else value[-1]
    return _products(node, query[0] * heads, query[1], attended, query[2] // heads, size)


def _past_length(graph: Graph, node: Any, place: int) -> int:
    """Rows of keys and values that are given from before; their axis is the last but one."""
    name = node.input[place] if place < len(node.input) else ""
    return graph.shapes[name][-2] if name else 0


def _products(
    node: Any, batch: int, rows: int, attended: int, key_size: int, value_size: int
) -> list[NetworkLayer]:
    name = name_of(node)
    if min(batch, rows, attended, key_size, value_size) < 1 or not prod((batch, rows)):
        raise ValueError(f"node {name!r}: its heads do not divide its sizes")
    scores = MatMul(f"{name}.scores", rows=rows, inner=key_size, columns=attended, batch=batch)
    context = MatMul(f"{name}.context", rows=rows, inner=attended, columns=value_size, batch=batch)
    inside = (GraphOperand((), unrecorded=_INSIDE), GraphOperand((), operand=SECOND, unrecorded=_INSIDE))
    return [NetworkLayer(layer, reads=inside) for layer in (scores, context)]
