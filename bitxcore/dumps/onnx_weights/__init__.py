"""From stored tensors of an ONNX graph to the operands that multiply by them: one reader for all.

A weight is a stored tensor that reaches a multiplying operand through data movement, scaling or
dequantising. Its output channel, its zero point and its scales follow from the way.
"""

from bitxcore.dumps.onnx_weights.encoding import Encoding
from bitxcore.dumps.onnx_weights.following import attributes_of, follow_all, stored
from bitxcore.dumps.onnx_weights.moves import transposed
from bitxcore.dumps.onnx_weights.operands import MULTIPLIED, Operand, multiplied, operand_value
from bitxcore.dumps.onnx_weights.uses import Use, weight_uses
from bitxcore.dumps.onnx_weights.values import (
    Literal,
    Move,
    Part,
    Recipe,
    Source,
    Stopped,
    Value,
    evaluate,
    sources,
)

__all__ = [
    "MULTIPLIED",
    "Encoding",
    "Literal",
    "Move",
    "Operand",
    "Part",
    "Recipe",
    "Source",
    "Stopped",
    "Use",
    "Value",
    "attributes_of",
    "evaluate",
    "follow_all",
    "multiplied",
    "operand_value",
    "sources",
    "stored",
    "transposed",
    "weight_uses",
]
