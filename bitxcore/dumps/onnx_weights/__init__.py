"""From stored tensors of an ONNX graph to the operands that multiply by them: one reader for all.

A weight is a stored tensor that reaches a multiplying operand through data movement, scaling or
dequantising. Its output channel, its zero point and its scales follow from the way.
"""

from bitxcore.dumps.onnx_weights.bodies import bodies_of
from bitxcore.dumps.onnx_weights.encoding import Encoding
from bitxcore.dumps.onnx_weights.fixed import why_fixed
from bitxcore.dumps.onnx_weights.following import attributes_of, follow_all, is_fake_quantiser, stored
from bitxcore.dumps.onnx_weights.moves import rearranged, transposed
from bitxcore.dumps.onnx_weights.operands import MULTIPLIED, Operand, einsum_terms, multiplied, operand_value
from bitxcore.dumps.onnx_weights.uses import Use, weight_uses
from bitxcore.dumps.onnx_weights.values import (
    AsStored,
    Derived,
    Literal,
    Move,
    Origin,
    Recipe,
    Stopped,
    evaluate,
    sources,
)

__all__ = [
    "MULTIPLIED",
    "AsStored",
    "Derived",
    "Encoding",
    "Literal",
    "Move",
    "Operand",
    "Origin",
    "Recipe",
    "Stopped",
    "Use",
    "attributes_of",
    "bodies_of",
    "einsum_terms",
    "evaluate",
    "follow_all",
    "is_fake_quantiser",
    "multiplied",
    "operand_value",
    "rearranged",
    "sources",
    "stored",
    "transposed",
    "weight_uses",
    "why_fixed",
]
