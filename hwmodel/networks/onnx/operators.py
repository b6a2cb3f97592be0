"""Which operators become layers, and by which function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hwmodel.networks.onnx.convolutions import conv, conv_transpose
from hwmodel.networks.onnx.graph import Found, Graph
from hwmodel.networks.onnx.products import gemm, matmul
from hwmodel.networks.onnx.recurrent import recurrent

Converter = Callable[[Graph, Any], Found]

STANDARD = ("", "ai.onnx", "com.microsoft")
"""Domains whose operators are known."""

CONVERTERS: dict[str, Converter] = {
    "Conv": conv,
    "FusedConv": conv,
    "ConvInteger": partial(conv, weight=1, zero_point=3),
    "QLinearConv": partial(conv, weight=3, zero_point=5),
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "FusedGemm": gemm,
    "MatMul": matmul,
    "MatMulInteger": partial(matmul, second=1, zero_point=3),
    "QLinearMatMul": partial(matmul, second=3, zero_point=5),
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
}


def converter_of(node: Any) -> Converter | None:
    """Return the function that makes layers of a node; None if there is none."""
    return CONVERTERS.get(node.op_type) if node.domain in STANDARD else None
