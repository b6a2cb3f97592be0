"""Why an operator becomes no layer."""

from __future__ import annotations

from typing import Any

from hwmodel.networks.onnx.graph import Graph, LeftOut
from hwmodel.networks.onnx.operators import CONVERTERS, STANDARD

_UNMODELLED = frozenset(
    [
        "Einsum",
        "DeformConv",
        "QLinearConvTranspose",
        "QGemm",
        "FusedMatMul",
        "MatMulNBits",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "Attention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        "QAttention",
        "STFT",
        "DFT",
    ]
)
"""Operators that multiply and accumulate, of which no layer is made."""

_CONTROL = ("If", "Loop", "Scan", "SequenceMap")


def why_not(graph: Graph, node: Any) -> LeftOut:
    """Say why a node without a converter becomes no layer."""
    if node.op_type == "Constant":
        return LeftOut("holds data")
    if node.op_type in _CONTROL:
        inner = _operators(node)
        multiplies = any(op in CONVERTERS or op in _UNMODELLED for op in inner)
        return LeftOut(f"control flow: {len(inner)} operators in its bodies are not looked at", multiplies)
    if all(i in graph.constant for i in node.input) and node.input:
        return LeftOut("computed from constants before run time")
    if node.op_type in _UNMODELLED:
        return LeftOut("multiplies and accumulates, but there is no layer for it here", True)
    if node.domain not in STANDARD:
        return LeftOut(f"operator of another domain ({node.domain}): what it does is unknown", True)
    return LeftOut("element-wise, reduction or data movement")


def _operators(node: Any) -> list[str]:
    import onnx

    found = []
    for a in node.attribute:
        for body in (
            [a.g, *a.graphs] if a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) else []
        ):
            for inner in body.node:
                found += [inner.op_type, *_operators(inner)]
    return found
