"""Layers of Einsum: products of two operands that sum over what both have and the result has not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

from bitxcore.dumps.onnx_weights import einsum_terms
from bitxcore.groups import Layout
from hwmodel.networks.graph_operands import SECOND, rearranged_operand
from hwmodel.networks.layers import Linear, MatMul
from hwmodel.networks.network import NetworkLayer
from hwmodel.networks.onnx.graph import NO_LAYER, Found, Graph, LeftOut, attributes_of, name_of, operand_of
from hwmodel.networks.onnx.weights import bind


def einsum(graph: Graph, node: Any) -> Found:
    """Product of two operands whose axes have names."""
    terms = einsum_terms(attributes_of(node).get("equation", ""))
    if terms is None or len(node.input) != 2:
        return LeftOut(NO_LAYER, True)
    left, right, out = terms
    sizes: dict[str, int] = {}
    for term, name in zip((left, right), node.input, strict=True):
        shape = graph.shapes[name]
        if len(shape) != len(term):
            return LeftOut(f"{name!r} of shape {shape} does not fit its equation", True)
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
            if size not in (1, sizes[label]):
                return LeftOut(f"axis {label!r} of its equation has two sizes", True)
    alone = [label for label in set(left) ^ set(right) if label not in out]
    stretched = any(
        graph.shapes[n][i] != sizes[x]
        for t, n in zip(terms, node.input, strict=False)
        for i, x in enumerate(t)
    )
    inner = [label for label in left if label in right and label not in out]
    if alone or stretched or not inner:
        return LeftOut(NO_LAYER, True)
    return _product(graph, node, (left, right), out, inner, sizes)


def _product(
    graph: Graph, node: Any, terms: tuple[str, str], out: str, inner: list[str], sizes: dict[str, int]
) -> Found:
    stored = [name in graph.constant for name in node.input]
    if all(stored):
        return LeftOut("computed from constants before run time")
    batch = [label for label in terms[0] if label in terms[1] and label in out]
    free = [[label for label in term if label not in batch and label not in inner] for term in terms]
    many, depth = prod(sizes[x] for x in batch), prod(sizes[x] for x in inner)
    rows, columns = (prod(sizes[x] for x in labels) for labels in free)
    name = name_of(node)

    def order(place: int, *labels: list[str]) -> tuple[int, ...]:
        return tuple(terms[place].index(label) for part in labels for label in part)

    if not any(stored):
        product = MatMul(name, rows=rows, inner=depth, columns=columns, batch=many)
        first = partial(rearranged_operand, order=order(0, batch, free[0], inner), shape=(many, rows, depth))
        last = partial(
            rearranged_operand, order=order(1, batch, inner, free[1]), shape=(many, depth, columns)
        )
        reads = (
            operand_of(node, 0, None, arrange=first),
            operand_of(node, 1, None, arrange=last, operand=SECOND),
        )
        return [NetworkLayer(product, reads=reads)]
    place = int(stored[1])
    filters, positions = (columns, rows) if place else (rows, columns)
    arrange = (order(place, batch, free[place], inner), (many, filters, depth))
    other = order(1 - place, batch, free[1 - place], inner)
    entries = []
    for i in range(many):
        layer = Linear(name if many == 1 else f"{name}[{i}]", depth, filters, positions)
        read = operand_of(
            node,
            1 - place,
            None,
            arrange=partial(rearranged_operand, order=other, shape=(many, positions, depth), index=i),
        )
        bound = bind(graph, node, layer, place, Layout(), i, rearrange=arrange)
        entries.append(replace(bound, reads=(read,)))
    return entries
