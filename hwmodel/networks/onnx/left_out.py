"""Why an operator becomes no layer."""

from __future__ import annotations

from typing import Any

from bitxcore.dumps.onnx_weights import is_fake_quantiser
from hwmodel.networks.onnx.bodies import bodies, reads
from hwmodel.networks.onnx.graph import NO_LAYER, Graph, LeftOut
from hwmodel.networks.onnx.operators import CONVERTERS, STANDARD

_UNMODELLED = frozenset(
    [
        "DeformConv",
        "QLinearConvTranspose",
        "DecoderMaskedSelfAttention",
        "GemmFastGelu",
        "GemmFloat8",
        "GroupQueryAttention",
        "LongformerAttention",
        "MatMulBnb4",
        "MatMulFpQ4",
        "MoE",
        "PackedAttention",
        "QOrderedMatMul",
        "SparseAttention",
        "STFT",
        "DFT",
    ]
)
"""Operators that multiply and accumulate, of which no layer is made."""


def why_not(graph: Graph, node: Any) -> LeftOut:
    """Say why a node without a converter becomes no layer."""
    if node.op_type == "Constant":
        return LeftOut("holds data")
    if all(i in graph.constant for i in reads(node)) and reads(node):
        return LeftOut("computed from constants before run time")
    if bodies(node):
        return LeftOut("control flow: no operator in its bodies multiplies and accumulates")
    if node.op_type in _UNMODELLED:
        return LeftOut(NO_LAYER, True)
    if is_fake_quantiser(node):
        return LeftOut("rounds to what fewer bits can say")
    if node.domain not in STANDARD:
        return LeftOut(f"operator of another domain ({node.domain}): what it does is unknown", True)
    return LeftOut("element-wise, reduction or data movement")


def multiplies_inside(node: Any) -> bool:
    """Whether a node has bodies in which something multiplies and accumulates, or may."""
    return any(
        inner.op_type in CONVERTERS
        or inner.op_type in _UNMODELLED
        or inner.domain not in STANDARD
        or multiplies_inside(inner)
        for _, body in bodies(node)
        for inner in body.node
    )
