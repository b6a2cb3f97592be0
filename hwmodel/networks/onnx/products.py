"""Layers of matrix products."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import SECOND, product_operand, product_rows
from hwmodel.networks.layers import Linear, MatMul
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import Found, Graph, LeftOut, attributes_of, name_of, operand_of
from hwmodel.networks.onnx.shapes import TensorShape
from hwmodel.networks.onnx.weights import bind


def gemm(graph: Graph, node: Any) -> Found:
    """Product of two matrices, either of them stored the other way round."""
    attributes = attributes_of(node)
    a, b = graph.shapes[node.input[0]], graph.shapes[node.input[1]]
    a_flips, b_flips = bool(attributes.get("transA", 0)), bool(attributes.get("transB", 0))
    a, b = a[::-1] if a_flips else a, b[::-1] if b_flips else b
    return _product(graph, node, 1, a, b, a_flips=a_flips, b_flips=b_flips)


def matmul(graph: Graph, node: Any, second: int = 1, zero_point: int | None = None) -> Found:
    """Product of stacks of matrices; `second` and `zero_point` are the inputs of its right side."""
    a, b = graph.shapes[node.input[0]], graph.shapes[node.input[second]]
    return _product(graph, node, second, a, b, zero_point=zero_point)


def _product(
    graph: Graph,
    node: Any,
    second: int,
    a: TensorShape,
    b: TensorShape,
    *,
    a_flips: bool = False,
    b_flips: bool = False,
    zero_point: int | None = None,
) -> Found:
    """Multiply ``(..., rows, inner)`` by ``(..., inner, columns)``; a constant side holds the weights."""
    a_stored, b_stored = node.input[0] in graph.constant, node.input[second] in graph.constant
    if a_stored and b_stored:
        return LeftOut("computed from constants before run time")
    a, vector_b = (1, *a) if len(a) == 1 else a, len(b) == 1
    b = (*b, 1) if vector_b else b
    rows, inner, columns = a[-2], a[-1], b[-1]
    batch = prod(np.broadcast_shapes(a[:-2], b[:-2]))
    name = name_of(node)
    if not (a_stored or b_stored):
        outer = np.broadcast_shapes(a[:-2], b[:-2])
        outer_b = outer
        if prod(b[:-2]) == 1:
            rows, batch, outer_b = rows * batch, 1, b[:-2]
        first = partial(
            product_operand, outer=outer, shape=(batch, rows, inner), flips=a_flips, columns=False
        )
        last = partial(
            product_operand, outer=outer_b, shape=(batch, inner, columns), flips=b_flips, columns=True
        )
        reads = (
            operand_of(node, zero_point, arrange=first),
            operand_of(node, zero_point, index=second, arrange=last, operand=SECOND),
        )
        product = MatMul(name, rows=rows, inner=inner, columns=columns, batch=batch)
        return [NetworkLayer(product, reads=reads)]
    if a_stored:
        operand, filters, uses, stack = 0, rows, columns, a[:-2]
        layout = Layout(filter_axis=1 if a_flips else 0)
    else:
        operand, filters, uses, stack = second, columns, rows, b[:-2]
        layout = Layout(filter_axis=0 if b_flips or vector_b else 1)
    copies = prod(stack)
    entries = []
    for i in range(copies):
        layer = Linear(
            name if copies == 1 else f"{name}[{i}]",
            in_features=inner,
            out_features=filters,
            positions=uses * batch // copies,
        )
        arrange = partial(
            product_rows,
            stack=stack,
            index=i,
            flips=b_flips if a_stored else a_flips,
            columns=a_stored,
        )
        read = operand_of(node, zero_point, index=second if a_stored else 0, arrange=arrange)
        bound = bind(graph, node, layer, operand, layout, i if stack else None)
        entries.append(replace(bound, reads=(read,)))
    return entries
