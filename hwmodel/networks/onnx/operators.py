"""Which operators become layers, and by which function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hwmodel.networks.onnx.attention import attention, multi_head_attention
from hwmodel.networks.onnx.convolutions import conv, conv_transpose
from hwmodel.networks.onnx.einsum import einsum
from hwmodel.networks.onnx.graph import Found, Graph
from hwmodel.networks.onnx.products import gemm, matmul, packed_matmul
from hwmodel.networks.onnx.recurrent import recurrent

Converter = Callable[[Graph, Any], Found]

STANDARD = ("", "ai.onnx", "com.microsoft")
"""Domains whose operators are known."""

CONVERTERS: dict[str, Converter] = {
    "Conv": conv,
    "FusedConv": conv,
    "ConvInteger": partial(conv, weight=1, zero_point=2),
    "QLinearConv": partial(conv, weight=3, zero_point=2),
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "FusedGemm": gemm,
    "FusedMatMul": gemm,
    "TransposeMatMul": gemm,
    "QGemm": partial(gemm, second=3, zeros=(2, 5)),
    "MatMul": matmul,
    "MatMulInteger": partial(matmul, zeros=(2, 3)),
    "MatMulIntegerToFloat": partial(matmul, zeros=(4, 5)),
    "DynamicQuantizeMatMul": partial(matmul, zeros=(None, 3)),
    "QLinearMatMul": partial(matmul, second=3, zeros=(2, 5)),
    "MatMulNBits": packed_matmul,
    "Einsum": einsum,
    "Attention": attention,
    "QAttention": attention,
    "MultiHeadAttention": multi_head_attention,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "DynamicQuantizeLSTM": partial(recurrent, features_first=True),
}


def converter_of(node: Any) -> Converter | None:
    """Return the function that makes layers of a node; None if there is none."""
    return CONVERTERS.get(node.op_type) if node.domain in STANDARD else None
