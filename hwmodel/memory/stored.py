"""What a layer takes in DRAM."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodel.networks.layers import Layer, MatMul


@dataclass(frozen=True)
class StoredBits:
    """What a layer's operands and results take in DRAM, all values together.

    Parameters
    ----------
    weights, activations, outputs : int
        In bits: `Layer.parameters` (or the second operand), `Layer.input_count` (the first operand) and
        `Layer.output_count` values.
    plain_weights : int, optional
        If weights are expanded on their way into the weight buffer: what they take there. The unpruned
        machine, too, keeps them like that in DRAM.
    """

    weights: int
    activations: int
    outputs: int
    plain_weights: int | None = None


def whole_words(bits: int, word: int) -> int:
    """Bits of the fewest words of `word` bits that hold `bits`.

    Examples
    --------
    >>> whole_words(9, 8)
    16
    """
    return -(-bits // word) * word


def dense_bits(layer: Layer, weight_bits: int, activation_bits: int) -> StoredBits:
    """Bits of a layer whose values all have one width; outputs have the activations'.

    Parameters
    ----------
    layer : Layer
    weight_bits, activation_bits : int
        Of one value. The second operand of a product of activations has the activations' width.
    """
    if isinstance(layer, MatMul):
        second = layer.batch * layer.inner * layer.columns
        first = layer.batch * layer.inner * layer.rows
        weights = second * activation_bits
    else:
        weights, first = layer.parameters * weight_bits, layer.input_count
    return StoredBits(weights, first * activation_bits, layer.output_count * activation_bits)
