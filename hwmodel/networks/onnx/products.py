"""Layers of matrix products."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import (
    SECOND,
    GraphOperand,
    product_operand,
    product_rows,
    turned_operand,
)
from hwmodel.networks.layers import Linear, MatMul
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import NO_LAYER, Found, Graph, LeftOut, attributes_of, name_of, operand_of
from hwmodel.networks.onnx.shapes import TensorShape
from hwmodel.networks.onnx.weights import bind

Zeros = tuple[int | None, int | None]
"""Inputs that hold the zero points of the left and of the right operand."""


def gemm(graph: Graph, node: Any, *, second: int = 1, zeros: Zeros = (None, None)) -> Found:
    """Product of two matrices, either of them stored the other way round.

    Parameters
    ----------
    graph : Graph
    node : onnx.NodeProto
    second : int
        Input that is its right side.
    zeros : tuple of (int or None)
    """
    attributes = attributes_of(node)
    a, b = graph.shapes[node.input[0]], graph.shapes[node.input[second]]
    names = (node.input[0], node.input[second])
    sides = zip(names, ("transBatchA", "transBatchB"), (a, b), strict=True)
    turned = {name for name, flag, shape in sides if attributes.get(flag) and len(shape) > 2}
    if turned & graph.constant:
        return LeftOut(NO_LAYER, True)
    a, b = (rows_behind_batch(x) if n in turned else x for n, x in zip(names, (a, b), strict=True))
    a_flips, b_flips = bool(attributes.get("transA", 0)), bool(attributes.get("transB", 0))
    a, b = (flipped(x) if flips else x for x, flips in ((a, a_flips), (b, b_flips)))
    found = _product(graph, node, second, a, b, a_flips=a_flips, b_flips=b_flips, zeros=zeros)
    if isinstance(found, LeftOut) or not turned:
        return found
    return [replace(e, reads=tuple(_turned(read, turned) for read in e.reads)) for e in found]


def _turned(read: GraphOperand, names: set[str]) -> GraphOperand:
    if not names.intersection(read.values):
        return read
    return replace(read, arrange=partial(turned_operand, arrange=read.arrange))


def rows_behind_batch(shape: TensorShape) -> TensorShape:
    """Shape with the first axis moved behind all others but the last (`transBatchA` of FusedMatMul)."""
    return (*shape[1:-1], shape[0], shape[-1])


def flipped(shape: TensorShape) -> TensorShape:
    """Exchange the last two axes."""
    return (*shape[:-2], *shape[-2:][::-1])


def matmul(graph: Graph, node: Any, *, second: int = 1, zeros: Zeros = (None, None)) -> Found:
    """Product of stacks of matrices; the parameters are those of `gemm`."""
    a, b = graph.shapes[node.input[0]], graph.shapes[node.input[second]]
    return _product(graph, node, second, a, b, zeros=zeros)


def packed_matmul(graph: Graph, node: Any) -> Found:
    """Product with weights of a few bits, several in a byte (MatMulNBits)."""
    attributes = attributes_of(node)
    a, inner, columns = graph.shapes[node.input[0]], attributes.get("K", 0), attributes.get("N", 0)
    if not a or a[-1] != inner:
        return LeftOut(f"its activations have shape {a}, its weights {inner} columns", True)
    layer = Linear(name_of(node), in_features=inner, out_features=columns, positions=prod(a[:-1]))
    arrange = partial(product_rows, stack=(), index=0, flips=False, columns=False)
    return [replace(bind(graph, node, layer, 1), reads=(operand_of(node, 0, None, arrange=arrange),))]


def _product(
    graph: Graph,
    node: Any,
    second: int,
    a: TensorShape,
    b: TensorShape,
    *,
    a_flips: bool = False,
    b_flips: bool = False,
    zeros: Zeros = (None, None),
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
            operand_of(node, 0, zeros[0], arrange=first),
            operand_of(node, second, zeros[1], arrange=last, operand=SECOND),
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
        place, zero_point = (second, zeros[1]) if a_stored else (0, zeros[0])
        read = operand_of(node, place, zero_point, arrange=arrange)
        bound = bind(graph, node, layer, operand, layout, i if stack else None)
        entries.append(replace(bound, reads=(read,)))
    return entries
